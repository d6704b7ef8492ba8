"""Where the watcher's log goes: the log daemon and standard error. No line ever waits there.

The handlers of Python's logging, which the library's vlog uses, wait for a log daemon that hangs,
and for the reader of a full pipe: the watcher would stand still with them.
"""
import logging
import os
import select
import socket
import time
from logging.handlers import SysLogHandler as Names
from typing import Optional

STDERR = 2


class Outlet(logging.Handler):
    """Writes each line at once, or drops the line and counts it. Before the next line that can be
    written comes one that tells how many were dropped.

    dropped (int): how many lines, in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._told = 0  # of those that were dropped

    def emit(self, record: logging.LogRecord) -> None:
        """logging calls this for each line."""
        try:
            if self._told != self.dropped:
                self.write(logging.WARNING, self.head() + "%d lines were dropped here: nobody "
                           "took them" % (self.dropped - self._told))
                self._told = self.dropped
            self.write(record.levelno, record.getMessage())
        except OSError:
            self.dropped += 1

    def head(self) -> str:
        """What stands before the text in a line."""
        raise NotImplementedError

    def write(self, level: int, line: str) -> None:
        """Write a line at once.

        :raises OSError: that is not possible
        """
        raise NotImplementedError


class Syslog(Outlet):
    """The log daemon behind the socket /dev/log.

    facility (str): of the lines, by its name in FACILITIES of ovs.vlog.

    :param str ident: with which the lines begin
    """

    def __init__(self, ident: str) -> None:
        super().__init__()
        self.facility = "daemon"
        self._ident = ident
        self._socket: Optional[socket.socket] = None

    def head(self) -> str:
        return self._ident + ": "

    def write(self, level: int, line: str) -> None:
        severity = Names.LOG_ERR if level >= logging.ERROR else (
            Names.LOG_WARNING if level >= logging.WARNING else Names.LOG_INFO)
        priority = Names.facility_names[self.facility] << 3 | severity
        data = b"<%d>%s\0" % (priority, line.encode("utf-8", "backslashreplace"))
        if self._socket is not None:
            try:
                self._socket.send(data)
                return
            except BlockingIOError:  # the daemon does not read
                raise
            except OSError:  # the daemon was restarted, and has a new socket
                self._socket.close()
                self._socket = None
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            fresh.setblocking(False)
            fresh.connect("/dev/log")
            fresh.send(data)
        except OSError:
            fresh.close()
            raise
        self._socket = fresh

    def use_facility(self, facility: Optional[str] = None) -> None:
        """Stand in for add_syslog_handler of the library's Vlog."""
        self.facility = facility or self.facility


class Stderr(Outlet):
    """Standard error."""

    def head(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S WARN ")

    def write(self, level: int, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        while data:
            # Who may write may write so many bytes without waiting (poll(2), pipe(7)).
            if not select.select([], [STDERR], [], 0)[1]:
                raise BlockingIOError
            data = data[os.write(STDERR, data[:select.PIPE_BUF]):]
