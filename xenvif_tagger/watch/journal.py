"""The watcher's log: by the library's vlog, so that ``vlog/set`` rules it; never a flood."""
import logging
import os
import time

import ovs.util
import ovs.vlog

from ..output.text import clean

LINES = 20  # in a second, at most

vlog = ovs.vlog.Vlog("watch")


def open_log(name):
    """Begin to log, to syslog (facility daemon) and, unless that is the journal anyway, to stderr.

    :param str name: the ident of our lines
    """
    ovs.util.PROGRAM_NAME = name
    ovs.vlog.Vlog.init()
    # The one without a file would have its warnings printed by Python, once more.
    logging.getLogger("file").addHandler(logging.NullHandler())
    ovs.vlog.Vlog.set_pattern("console", "%d{%Y-%m-%d %H:%M:%S}%0p %0m")
    # %P, the pid, is lost in the library's patterns (ovs/vlog.py, _build_message).
    ovs.vlog.Vlog.set_pattern("syslog", name + "[" + str(os.getpid()) + "]: %0m")
    # What the library says of each step of each try to connect.
    ovs.vlog.Vlog.set_level("reconnect", "any", "warn")
    if "JOURNAL_STREAM" in os.environ:
        ovs.vlog.Vlog.set_level("any", "console", "off")


class Journal(object):
    """Lines for people, at most so many a second; then one that says how many are missing."""

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self._second = None
        self._lines = 0
        self._left_out = 0

    def say(self, line):
        self._write(vlog.info, line)

    def warn(self, line):
        self._write(vlog.warn, line)

    def _write(self, how, line):
        self.flush()
        if self._lines < LINES:
            self._lines += 1
            how(clean(line))
        else:
            self._left_out += 1

    def flush(self):
        """Begin a new second if there is one: say what the last one left out."""
        second = int(self.clock())
        if second != self._second:
            left_out, self._left_out = self._left_out, 0
            self._second, self._lines = second, 0
            if left_out:
                self._lines = 1
                vlog.info("%d more lines in a second: left out" % left_out)

    def next_alarm(self):
        """When to call flush(), seconds of the clock; None where nothing was left out."""
        return self._second + 1 if self._left_out else None
