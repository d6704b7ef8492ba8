"""Runs the stock setup-vif-rules in this process, with our additions (docs/design.md 2.1).

Standard library only, as hook.py.
"""
import builtins
import os
import signal
import sys
import types

from ..host.paths import PACKAGE, STOCK, USUAL
from .hook import COMPLETE, Plug, log, read_config  # noqa: F401  COMPLETE: see hook.py

MYPY = False
if MYPY:
    from typing import List, Optional, Tuple

    from ..host.config import Values


class NotInProcess(Exception):
    """The stock script can't be run in this process; str() says why. None of it has run."""


def find_stock(values: "Values", hook: str) -> str:
    """The path of the stock script: the config file's, else one of its usual places.

    :param str hook: the path of our own script, which would run itself for ever if the config file
        named it as the stock script
    :raises LookupError: there is no stock script
    """
    chosen: "Optional[str]" = values["plug", "stock_script"]
    places = ([chosen] if chosen else []) + [os.path.join(place, STOCK) for place in USUAL]
    for place in places:
        if _is_usable(place, hook):
            return place
        if place == chosen:
            log("stock_script %s: not a script that can be run: ignored" % chosen)
    raise LookupError("no stock script at %s" % " or ".join(places))


def _is_usable(place: str, hook: str) -> bool:
    try:
        return (os.path.isfile(place) and os.access(place, os.X_OK)
                and not os.path.samefile(place, hook))
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False


def run_here(stock: str, plug: Plug) -> None:
    """Run the stock script as the main program of this process.

    :raises NotInProcess: the script can't be run here, and none of it has run
    """
    try:
        with open(stock, "rb") as stream:
            source = stream.read()
        first_line = source.split(b"\n", 1)[0]
        if b"python" in first_line and b"python3" not in first_line:
            raise NotInProcess("the script is for Python 2")
        code = compile(source, stock, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotInProcess(str(error))
    # argv[0] and sys.path[0] are as the interpreter would set them for the stock script. common.py
    # derives PATH from argv[0] while it is imported.
    sys.argv[0] = stock
    sys.path.insert(0, os.path.dirname(stock))
    try:
        import common

        common.doexec = plug.around(common.doexec)
    except Exception as error:
        raise NotInProcess("its common.py: %s: %s" % (type(error).__name__, error))
    # Functions of the stock script read globals that the script sets only if its name is __main__.
    module = types.ModuleType("__main__")
    module.__file__ = stock
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)
    except (Exception, KeyboardInterrupt) as error:
        if sys.excepthook is not sys.__excepthook__:
            raise  # the script has set an excepthook of its own
        _print_traceback(error)
        if isinstance(error, KeyboardInterrupt) and sys.version_info >= (3, 8):
            # Since Python 3.8 the interpreter ends by the signal itself.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(1)
    finally:
        plug.look_if_unseen()


def _print_traceback(error: BaseException) -> None:
    """Print the traceback of an exception in the stock script, without the frames of our code."""
    import traceback

    printed = traceback.TracebackException(type(error), error, error.__traceback__)
    chain: "List[Optional[traceback.TracebackException]]" = [printed]
    seen: "List[traceback.TracebackException]" = []
    while chain:
        link = chain.pop()
        if link is None or link in seen:
            continue
        seen.append(link)
        link.stack[:] = [frame for frame in link.stack
                         if not os.path.abspath(frame.filename).startswith(PACKAGE + os.sep)]
        chain += [link.__cause__, link.__context__]
    if sys.stderr is not None:
        sys.stderr.write("".join(printed.format()))


def run_beside(stock: str, plug: Plug, arguments: "List[str]") -> None:
    """Run the stock script as a process of its own, then mirror the VIF, then exit with the
    script's exit code."""
    import subprocess

    if plug.action == "clear":
        plug.attempt("before unplugging", plug.before_del_port)
    code = subprocess.call([stock] + arguments)
    if plug.action == "filter" and code == 0:
        plug.attempt("after plugging", plug.look_again)
    if code < 0:
        try:
            signal.signal(-code, signal.SIG_DFL)
        except OSError:
            pass  # SIGKILL, whose handler nobody can set
        os.kill(os.getpid(), -code)
    sys.exit(code)


def prepare(arguments: "List[str]", hook: str) -> "Tuple[str, Plug]":
    """Make ready all that ``run`` needs, so that any failure comes before the stock script begins.

    :param arguments: the stock script's arguments, without its name
    :param str hook: the path of our own script
    :returns: ``(stock, plug)``, the first parameters of ``run``
    :raises Exception: anything can be wrong; the stock script has not begun
    """
    values = read_config()
    device, action = (arguments[1], arguments[4]) if len(arguments) == 5 else ("", "")
    return find_stock(values, hook), Plug(device, action, values)


def run(stock: str, plug: Plug, arguments: "List[str]") -> None:
    """Run the stock script with our additions, and exit with the script's exit code."""
    try:
        run_here(stock, plug)
    except NotInProcess as error:
        log("%s: %s is run as a process of its own: %s" % (
            plug.device or "no device", stock, error))
        run_beside(stock, plug, arguments)
