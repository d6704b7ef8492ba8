"""The watcher's log, by Open vSwitch's vlog: ``ovs-appctl vlog/set`` sets the log's levels. The log
takes a limited number of lines in a second."""
import logging
import os
import time
from typing import Callable, Optional

import ovs.util
import ovs.vlog

from ..output.text import clean

LINES = 20  # the most lines in a second

vlog = ovs.vlog.Vlog("watch")


def open_log(name: str) -> None:
    """Begin to log to syslog (facility daemon); also to stderr, unless stderr is the journal, which
    has the syslog's lines already.

    :param str name: the ident of our lines
    """
    ovs.util.PROGRAM_NAME = name
    ovs.vlog.Vlog.init()
    # vlog's logger "file" has no handler where there is no log file: Python's logging would print
    # its warnings to stderr a second time.
    logging.getLogger("file").addHandler(logging.NullHandler())
    ovs.vlog.Vlog.set_pattern("console", "%d{%Y-%m-%d %H:%M:%S}%0p %0m")
    # The pid is text here: the library leaves %P out of its patterns (ovs/vlog.py, _build_message).
    ovs.vlog.Vlog.set_pattern("syslog", name + "[" + str(os.getpid()) + "]: %0m")
    # At "info" the library logs each step of each try to connect.
    ovs.vlog.Vlog.set_level("reconnect", "any", "warn")
    if "JOURNAL_STREAM" in os.environ:
        ovs.vlog.Vlog.set_level("any", "console", "off")


class Journal(object):
    """The log's writer: at most LINES lines a second, then a line that counts the lines left out.

    :param clock: function that gives seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._second = 0  # the second in which the lines below were counted
        self._lines = 0
        self._left_out = 0

    def say(self, line: str) -> None:
        """Write a line of level info."""
        self._write(vlog.info, line)

    def warn(self, line: str) -> None:
        """Write a line of level warning."""
        self._write(vlog.warn, line)

    def _write(self, log: Callable[[str], None], line: str) -> None:
        self.flush()
        if self._lines < LINES:
            self._lines += 1
            log(clean(line))
        else:
            self._left_out += 1

    def flush(self) -> None:
        """If a new second has begun, write how many lines were left out in the last second."""
        second = int(self.clock())
        if second != self._second:
            left_out, self._left_out = self._left_out, 0
            self._second, self._lines = second, 0
            if left_out:
                self._lines = 1
                vlog.info("%d more lines within a second were left out" % left_out)

    def next_alarm(self) -> Optional[float]:
        """When to call flush(), seconds of the clock; None if no line was left out."""
        return self._second + 1 if self._left_out else None
