"""The plug driver of libxl's dom0 (xl, libvirt): one process beside the stock vif-openvswitch.

hotplug/vif-openvswitch-tagger starts it before the one ovs-vsctl command of that script, and reads
lines from its standard output:

    +WORD       to be appended to the command, as many as there are
    =SECONDS    the end of the answer; how long to wait for what is done after the command
    !REASON     it can't be done; also the end

Then it waits until the command has been run, and its standard input is closed; it ends when it has
looked once more.

Standard library only, as hook.py.
"""
import os
import sys
import time

from . import hook

LIMIT = 0.9  # seconds that the script waits in all
BUDGET = 0.75  # those of them that are the database's, the start of Python included
UNKNOWN_START = 0.1  # what it takes to get here, where the script can't tell when it began


def main(device, started, args):
    """Answer, wait, look again.

    :param str device: the port, vif1.0 or vif1.0-emu
    :param str started: when the script began to wait, seconds since the epoch; "" if unknown
    :param args: the words of its ovs-vsctl command, list of str
    """
    spent = _spent(started)
    begun = time.monotonic()
    values = hook.read_config()
    values["plug", "timeout"] = round(
        max(min(values["plug", "timeout"], BUDGET) - spent, 0.05), 2)
    adds = "add-port" in args
    job = hook.Plug(device, "filter" if adds else "clear", values)
    if adds:
        extra = (job.attempt("before add-port", job.additions, args) or [[]])[0]
    else:
        extra = []
        job.attempt("before del-port", job.before_del_port)
    left = LIMIT - spent - (time.monotonic() - begun)
    _answer(["+" + word for word in extra] + ["=%.2f" % max(left, 0.05)])
    answered = time.monotonic()
    os.read(0, 1)  # until it is closed: the command has been run
    if adds:
        job.sibling = None  # whether the command took our words can't be told from here
        job.attempt("after add-port", job.look_again, time.monotonic() - answered)
    os._exit(0)  # the script waits: not for the interpreter to tidy up


def _spent(started):
    """The seconds that went by before we got here."""
    try:
        spent = time.time() - float(started)
    except ValueError:
        return UNKNOWN_START
    return spent if 0 <= spent <= LIMIT else UNKNOWN_START  # else the clock was set


def _answer(lines):
    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(1, data):]


def run(arguments):
    """What the script calls: main's parameters, one after the other."""
    sys.argv[0] = "vif-openvswitch-tagger"  # its name in the syslog
    try:
        main(arguments[0], arguments[1], arguments[2:])
    except Exception as error:
        _answer(["!%s: %s" % (type(error).__name__, " ".join(str(error).split()))])
        os.read(0, 1)
