"""A dry run of the stock setup-vif-rules: does its add-port go through the function in which our
hook adds words to that command?

doctor/stock.py runs this as a process of its own. The hook's own code (plug.stock.run_here,
plug.hook.Plug.around) runs the stock script, for a VIF that does not exist. No command is executed:
the stock script runs all its commands through the function doexec of its common.py, and the dry run
replaces doexec by a function that only notes the commands down. Before that, shut() disables all
other functions by which this process could start a process or change a file.
"""
import builtins
import io
import json
import os
import sys
import types
from typing import Any, Callable, Dict, List, Tuple

# No domain has so high an id (xen/include/public/xen.h, DOMID_FIRST_RESERVED).
DEVICE = "tap65535.0"
VM = "00000000-0000-4000-8000-000000000000"
# The part of a VIF's metadata, as xenopsd writes it, that common.py reads.
METADATA = {"backend": ["Local", "xenvif-tagger"], "mac": "02:00:00:00:00:00", "mtu": 1500,
            "other_config": {}, "locking_mode": "Unlocked", "extra_private_keys": {}}
PROOF = "external_ids:xenvif-tagger-doctor=proof"
# The functions of the module os that start a process, and those that change a file or a process.
STARTS = ("fork", "forkpty", "system", "posix_spawn", "posix_spawnp", "execv", "execve")
CHANGES = ("unlink", "remove", "rename", "replace", "rmdir", "mkdir", "link", "symlink", "chmod",
           "chown", "truncate", "mkfifo", "mknod", "kill", "killpg")


def _refuse(*_args: Any, **_named: Any) -> Any:
    raise PermissionError(
        "the script would have done more than run commands by common.doexec")


def shut() -> None:
    """Make this process unable to start another process or to change a file."""
    import _posixsubprocess

    # Replaced before subprocess is imported: newer versions of subprocess import the function
    # itself, not its module.
    _replace(_posixsubprocess, "fork_exec", _refuse)
    import posix
    import subprocess
    import syslog

    for module in os, posix:
        for name in STARTS + CHANGES:
            if hasattr(module, name):
                _replace(module, name, _refuse)
    _replace(subprocess, "Popen", _refuse)
    _replace(syslog, "syslog", lambda *_: None)
    guarded, read_only = _guarded(io.open), _read_only(os.open)
    for module, opener in ((builtins, guarded), (io, guarded), (os, read_only), (posix, read_only)):
        _replace(module, "open", opener)


def _replace(owner: Any, name: str, function: Callable[..., Any]) -> None:
    setattr(owner, name, function)


def _guarded(opener: Callable[..., Any]) -> Callable[..., Any]:
    """open(), but for reading only; the file of our VIF's metadata has METADATA."""
    def guarded(path: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
        if str(path).endswith("/VM/%s/vif.0" % VM):
            return io.StringIO(json.dumps(METADATA))
        return _refuse() if set(mode) & set("wax+") else opener(path, mode, *args, **named)
    return guarded


def _read_only(opener: Callable[..., Any]) -> Callable[..., Any]:
    """os.open(), but for reading only."""
    def guarded(path: Any, flags: int, *args: Any, **named: Any) -> Any:
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        return _refuse() if flags & writes else opener(path, flags, *args, **named)
    return guarded


def names_add_port(code: types.CodeType) -> bool:
    """Whether compiled code has the word add-port among its constants."""
    return any(constant == "add-port" or isinstance(constant, types.CodeType)
               and names_add_port(constant) for constant in code.co_consts)


def probe(stock_script: str) -> Dict[str, Any]:
    """Make the dry run.

    :param stock_script: the script's path
    :returns: a dict with proved (bool): the script's add-port went through doexec, with the words
        that our hook adds; doexec (bool): the script's common.py has the function doexec; add_port
        (bool): the script's code has the word add-port; commands (int): how many commands the
        script would have run; problem (str or None): how the script ended, if it did not end well
    """
    report: Dict[str, Any] = {"proved": False, "doexec": False, "add_port": False, "commands": 0,
                              "problem": None}
    commands: List[List[str]] = []

    def doexec(args: Any, *_more: Any, **_named: Any) -> Tuple[int, io.StringIO, io.StringIO]:
        commands.append([str(word) for word in args])
        # xenstore has nothing about this VIF, so xenstore-read fails.
        is_missing = os.path.basename(commands[-1][0]) == "xenstore-read"
        return int(is_missing), io.StringIO(""), io.StringIO("")

    try:
        from ..plug import hook, stock

        shut()
        with open(stock_script, "rb") as stream:
            report["add_port"] = names_add_port(compile(stream.read(), stock_script, "exec"))
        sys.argv[:] = [stock_script, "classic", DEVICE, VM, "0", "filter"]
        sys.path.insert(0, os.path.dirname(stock_script))
        import common

        report["doexec"] = callable(getattr(common, "doexec", None))
        common.doexec = doexec
        if hasattr(common, "VIF"):
            # Without the kernel module openvswitch, as on a machine that is no dom0, the script
            # would use the Linux bridge.
            common.VIF.get_mode = lambda _: "openvswitch"
        _replace(stock, "log", lambda _: None)
        _replace(hook, "log", lambda _: None)
        # The hook's part of the plug has no database here, and adds PROOF to the add-port command.
        plug = hook.Plug(DEVICE, "filter", {})
        _replace(plug, "connect", _refuse)
        _replace(plug, "before_replug", lambda *_: None)
        _replace(plug, "additions",
                 lambda *_: ([["--", "set", "port", DEVICE, PROOF]], None))
        _replace(plug, "look_again", lambda *_: None)
        stock.run_here(stock_script, plug)
    except SystemExit as error:
        report["problem"] = (
            "the script ended with exit status %s" % error.code if error.code else None)
    except BaseException as error:
        report["problem"] = "%s: %s" % (type(error).__name__, error)
    report["commands"] = len(commands)
    report["proved"] = any("add-port" in words and DEVICE in words and PROOF in words
                          for words in commands)
    return report


def main() -> None:
    """The main program: print the result of probe() for the script argv[1], as JSON."""
    output = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    report = probe(sys.argv[1])
    if report["problem"] and "exit status" in report["problem"] and sys.stderr.getvalue().strip():
        report["problem"] = sys.stderr.getvalue().strip().splitlines()[-1]  # the end of a traceback
    sys.stderr = stderr
    output.write(json.dumps(report))
    output.flush()
    os._exit(0)
