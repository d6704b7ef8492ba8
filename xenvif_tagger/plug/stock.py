"""Runs the stock setup-vif-rules in this process, with our part in it (docs/design.md 2.1).

Standard library only, as hook.py.
"""
import builtins
import os
import signal
import sys
import types

from ..host.paths import PACKAGE, STOCK, USUAL
from .hook import COMPLETE, Plug, log, read_config  # noqa: F401  see there


class NotInProcess(Exception):
    """The stock script can't be run in this process; str() says why. Nothing of it was done."""


def find_stock(values, hook):
    """The path of the stock script: by the config, else where it usually is.

    :param str hook: our own script: whoever names that one as the stock script would never end
    :raises LookupError: there is none
    """
    chosen = values["plug", "stock_script"]
    places = ([chosen] if chosen else []) + [os.path.join(place, STOCK) for place in USUAL]
    for place in places:
        if _is_usable(place, hook):
            return place
        if place == chosen:
            log("stock_script %s: not a script that can be run: ignored" % chosen)
    raise LookupError("no stock script at %s" % " or ".join(places))


def _is_usable(place, hook):
    try:
        return (os.path.isfile(place) and os.access(place, os.X_OK)
                and not os.path.samefile(place, hook))
    except (OSError, ValueError):  # ValueError: a NUL in it
        return False


def run_here(stock, plug):
    """Run the stock script as the main program of this process.

    :raises NotInProcess: it can't be, and nothing was done
    """
    try:
        with open(stock, "rb") as stream:
            source = stream.read()
        first = source.split(b"\n", 1)[0]
        if b"python" in first and b"python3" not in first:
            raise NotInProcess("it is for Python 2")
        code = compile(source, stock, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotInProcess(str(error))
    # As the interpreter would have it. common.py takes its PATH from argv[0] when it is imported.
    sys.argv[0] = stock
    sys.path.insert(0, os.path.dirname(stock))
    try:
        import common

        common.doexec = plug.around(common.doexec)
    except Exception as error:
        raise NotInProcess("its common.py: %s: %s" % (type(error).__name__, error))
    # Functions of the stock script read globals that its __main__ block sets.
    module = types.ModuleType("__main__")
    module.__file__ = stock
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)
    except (Exception, KeyboardInterrupt) as error:
        if sys.excepthook is not sys.__excepthook__:
            raise  # it says itself how it wants to end
        _print_traceback(error)
        if isinstance(error, KeyboardInterrupt) and sys.version_info >= (3, 8):
            # As the interpreter has ended since then.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(1)
    finally:
        plug.look_if_unseen()


def _print_traceback(error):
    """As the interpreter would print it, had it been given the stock script: without our part."""
    import traceback

    told = traceback.TracebackException(type(error), error, error.__traceback__)
    chain, seen = [told], []
    while chain:
        each = chain.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        each.stack[:] = [frame for frame in each.stack
                         if not os.path.abspath(frame.filename).startswith(PACKAGE + os.sep)]
        chain += [each.__cause__, each.__context__]
    if sys.stderr is not None:
        sys.stderr.write("".join(told.format()))


def run_beside(stock, plug, arguments):
    """Run the stock script as a process of its own, and mirror at once; exits as it does."""
    import subprocess

    if plug.action == "clear":
        plug.attempt("before unplugging", plug.before_del_port)
    code = subprocess.call([stock] + arguments)
    if plug.action == "filter" and code == 0:
        plug.attempt("after plugging", plug.look_again, 0)
    if code < 0:
        try:
            signal.signal(-code, signal.SIG_DFL)
        except OSError:
            pass  # SIGKILL: nothing to be reset
        os.kill(os.getpid(), -code)
    sys.exit(code)


def prepare(arguments, hook):
    """What has to be known before the stock script is run.

    :param arguments: the stock script's, without its name
    :param str hook: the path of our own script
    :returns: ``(stock, plug)`` for run
    :raises Exception: it can't be known; nothing was done
    """
    values = read_config()
    device, action = (arguments[1], arguments[4]) if len(arguments) == 5 else ("", "")
    return find_stock(values, hook), Plug(device, action, values)


def run(stock, plug, arguments):
    """Run the stock script, with our part in it; exits as it does."""
    try:
        run_here(stock, plug)
    except NotInProcess as error:
        log("%s: %s is run as a process of its own: %s" % (
            plug.device or "no device", stock, error))
        run_beside(stock, plug, arguments)
