"""A dry run of the stock setup-vif-rules: does its add-port command come by where we add to it?

Run as a process of its own by doctor/stock.py. The very code that the hook uses (stock.run_here,
hook.Plug.around) runs the stock script for a VIF that there is not. Nothing is executed: doexec of
its common.py, by which it runs all its commands, is replaced by one that only notes them down; and
whatever else would start a process or change a file is shut off in this one first.
"""
import builtins
import io
import json
import os
import sys
import types

DEVICE = "tap65535.0"  # above any domain's id (xen/include/public/xen.h, DOMID_FIRST_RESERVED)
VM = "00000000-0000-4000-8000-000000000000"
# As xenopsd writes it: what common.py reads of it.
METADATA = {"backend": ["Local", "xenvif-tagger"], "mac": "02:00:00:00:00:00", "mtu": 1500,
            "other_config": {}, "locking_mode": "Unlocked", "extra_private_keys": {}}
PROOF = "external_ids:xenvif-tagger-doctor=proof"
STARTS = ("fork", "forkpty", "system", "posix_spawn", "posix_spawnp", "execv", "execve")
CHANGES = ("unlink", "remove", "rename", "replace", "rmdir", "mkdir", "link", "symlink", "chmod",
           "chown", "truncate", "mkfifo", "mknod", "kill", "killpg")


def _refuse(*_args, **_named):
    raise PermissionError("it would have done more than run commands by common.doexec")


def shut():
    """From now on this process starts no other, and changes no file."""
    import _posixsubprocess

    # Before subprocess is imported: newer ones take the function itself along.
    _posixsubprocess.fork_exec = _refuse
    import posix
    import subprocess
    import syslog

    for module in os, posix:
        for name in STARTS + CHANGES:
            if hasattr(module, name):
                setattr(module, name, _refuse)
    subprocess.Popen = _refuse
    syslog.syslog = lambda *_: None
    builtins.open = io.open = _guarded(io.open)
    os.open = posix.open = _read_only(os.open)


def _guarded(opener):
    def guarded(path, mode="r", *args, **named):
        if str(path).endswith("/VM/%s/vif.0" % VM):
            return io.StringIO(json.dumps(METADATA))
        return _refuse() if set(mode) & set("wax+") else opener(path, mode, *args, **named)
    return guarded


def _read_only(opener):
    def guarded(path, flags, *args, **named):
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        return _refuse() if flags & writes else opener(path, flags, *args, **named)
    return guarded


def names_add_port(code):
    """Whether the word stands somewhere in the compiled code."""
    return any(constant == "add-port" or isinstance(constant, types.CodeType)
               and names_add_port(constant) for constant in code.co_consts)


def probe(stock_script):
    """What comes of the dry run: dict.

    proved (bool): its add-port came by, and was given what we add; doexec, add_port (bool): its
    common.py has that function, its code has that word; commands (int): how many it would have
    run; problem (str or None): how it ended, if not as it should.
    """
    found = {"proved": False, "doexec": False, "add_port": False, "commands": 0, "problem": None}
    commands = []

    def doexec(args, *_more, **_named):
        commands.append([str(word) for word in args])
        # xenstore has nothing about this VIF.
        missing = os.path.basename(commands[-1][0]) == "xenstore-read"
        return int(missing), io.StringIO(""), io.StringIO("")

    try:
        from ..plug import hook, stock

        shut()
        with open(stock_script, "rb") as stream:
            found["add_port"] = names_add_port(compile(stream.read(), stock_script, "exec"))
        sys.argv[:] = [stock_script, "classic", DEVICE, VM, "0", "filter"]
        sys.path.insert(0, os.path.dirname(stock_script))
        import common

        found["doexec"] = callable(getattr(common, "doexec", None))
        common.doexec = doexec
        if hasattr(common, "VIF"):
            # Where the module is not loaded (or this is no dom0) it would be Linux bridge's turn.
            common.VIF.get_mode = lambda _: "openvswitch"
        stock.log = hook.log = lambda _: None
        ours = hook.Plug(DEVICE, "filter", {})
        ours.connect = _refuse
        ours.additions = lambda _: [["--", "set", "port", DEVICE, PROOF]]
        ours.look_again = lambda _: None
        stock.run_here(stock_script, ours)
    except SystemExit as error:
        found["problem"] = "it ended with exit status %s" % error.code if error.code else None
    except BaseException as error:
        found["problem"] = "%s: %s" % (type(error).__name__, error)
    found["commands"] = len(commands)
    found["proved"] = any("add-port" in words and DEVICE in words and PROOF in words
                          for words in commands)
    return found


def main():
    """``-c`` of the process: prints what probe() gives for argv[1]."""
    output = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    stderr, sys.stderr = sys.stderr, io.StringIO()
    found = probe(sys.argv[1])
    if found["problem"] and "exit status" in found["problem"] and sys.stderr.getvalue().strip():
        found["problem"] = sys.stderr.getvalue().strip().splitlines()[-1]  # of a traceback
    sys.stderr = stderr
    output.write(json.dumps(found))
    output.flush()
    os._exit(0)
