"""The watcher's log, by Open vSwitch's vlog: ``ovs-appctl vlog/set`` sets the log's levels. The log
takes a limited number of lines in a second, and never waits for a reader (outlets.py)."""
import logging
import os
import time
from typing import Callable, Dict, Mapping, Optional

import ovs.util
import ovs.vlog

from ..output.text import clean
from .outlets import Outlet, Stderr, Syslog

LINES = 20  # the most lines in a second

vlog = ovs.vlog.Vlog("watch")


def open_log(name: str) -> "Journal":
    """Begin to log to syslog (facility daemon); also to stderr, unless stderr is the journal, which
    has the syslog's lines already.

    :param str name: the ident of our lines
    """
    ovs.util.PROGRAM_NAME = name
    # The pid is text here: the library leaves %P out of its patterns (ovs/vlog.py, _build_message).
    ident = "%s[%d]" % (name, os.getpid())
    syslog, stderr = Syslog(ident), Stderr()
    ovs.vlog.Vlog.add_syslog_handler = staticmethod(syslog.use_facility)
    ovs.vlog.Vlog.init()
    # vlog's logger "file" has no handler where there is no log file: Python's logging would print
    # its warnings to stderr a second time.
    for logger, handler in (("file", logging.NullHandler()), ("syslog", syslog),
                            ("console", stderr)):
        logging.getLogger(logger).handlers[:] = [handler]
    ovs.vlog.Vlog.set_pattern("console", "%d{%Y-%m-%d %H:%M:%S}%0p %0m")
    ovs.vlog.Vlog.set_pattern("syslog", ident + ": %0m")
    # At "info" the library logs each step of each try to connect.
    ovs.vlog.Vlog.set_level("reconnect", "any", "warn")
    if "JOURNAL_STREAM" in os.environ:
        ovs.vlog.Vlog.set_level("any", "console", "off")
    return Journal({"syslog": syslog, "stderr": stderr})


class Journal(object):
    """The log's writer: at most LINES lines a second, then a line that counts the lines left out.

    :param outlets: where the lines go
    :param clock: function that gives seconds, monotonic
    """

    def __init__(self, outlets: Mapping[str, Outlet],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._outlets = outlets
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

    def dropped(self) -> Dict[str, int]:
        """How many lines each outlet has dropped because nobody took them."""
        return {name: outlet.dropped for name, outlet in self._outlets.items()}

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
