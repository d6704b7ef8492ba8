"""The plug driver of libxl's dom0 (xl, libvirt): one process beside the stock vif-openvswitch.

hotplug/vif-openvswitch-tagger starts this process before the one ovs-vsctl command of that script,
and reads lines from its standard output:

    +WORD       a word to be appended to the command; there may be any number of these lines
    =SECONDS    the last line: how long the script waits for this process after the command
    !REASON     the last line: why there are no words

The script closes this process's standard input once the command has been run. This process then
reads the sibling again, and ends.

Standard library only, as hook.py.
"""
import os
import sys
import time

from . import hook

MYPY = False
if MYPY:
    from typing import Iterable, List

# Shares of [plug] timeout, which is 1 s if nobody has set it.
LIMIT = 0.9  # that the script waits in all
BUDGET = 0.75  # for the start of Python and the database together
UNKNOWN_START = 0.1  # seconds for the start of Python, if the script can't say when it began


def main(device: str, started: str, args: "List[str]") -> None:
    """Answer the script, wait for its command, read the sibling again.

    :param str device: the port, vif1.0 or vif1.0-emu
    :param str started: when the script began to wait, seconds since the epoch; "" if unknown
    :param args: the words of the script's ovs-vsctl command
    """
    begun = time.monotonic()
    values = dict(hook.read_config())
    seconds = values["plug", "timeout"]
    spent = _spent(started, seconds)
    values["plug", "timeout"] = round(max(BUDGET * seconds - spent, 0.05), 2)
    adds = "add-port" in args
    job = hook.Plug(device, "filter" if adds else "clear", values)
    extra: "List[str]" = []
    if adds:
        answer = job.attempt("before add-port", job.additions, args)
        if answer is not None:
            extra = answer[0][0]
    else:
        job.attempt("before del-port", job.before_del_port)
    left = LIMIT * seconds - spent - (time.monotonic() - begun)
    _answer(["+" + word for word in extra] + ["=%.2f" % max(left, 0.05)])
    os.read(0, 1)  # returns when the script closes it: the command has been run
    if adds:
        # Whether the command took our words can't be told from here: so look in any case.
        job.attempt("after add-port", job.look_again)
    os._exit(0)  # the script waits, and need not wait for the interpreter to tidy up


def _spent(started: str, most: float) -> float:
    """The seconds from `started` until now; more than `most` are not believed."""
    try:
        spent = time.time() - float(started)
    except ValueError:
        return UNKNOWN_START
    return spent if 0 <= spent <= most else UNKNOWN_START  # out of bounds: the clock was set


def _answer(lines: "Iterable[str]") -> None:
    """Write lines to standard output."""
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(1, data):]


def run(arguments: "List[str]") -> None:
    """The script calls this: the arguments are main's parameters, one after the other."""
    sys.argv[0] = "vif-openvswitch-tagger"  # the ident of our lines in the syslog
    try:
        main(arguments[0], arguments[1], arguments[2:])
    except Exception as error:
        _answer(["!%s: %s" % (type(error).__name__, " ".join(str(error).split()))])
        os.read(0, 1)
