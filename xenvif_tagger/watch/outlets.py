"""The outlets of the watcher's log: the log daemon and standard error. No outlet ever waits.

The handlers of Python's logging, which the library's vlog uses, wait for a log daemon that hangs,
and for the reader of a full pipe; meanwhile the watcher would mirror nothing.
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
    """Writes each line at once, or drops and counts the line. As soon as a line can be written
    again, the outlet first writes how many lines were dropped.

    dropped (int): how many lines were dropped, in all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self._reported = 0  # how many of the dropped lines the log has been told of

    def emit(self, record: logging.LogRecord) -> None:
        """Python's logging calls this method for each line."""
        try:
            if self._reported != self.dropped:
                self.write(logging.WARNING, self.head() + "%d lines were dropped here: nobody "
                           "took them" % (self.dropped - self._reported))
                self._reported = self.dropped
            self.write(record.levelno, record.getMessage())
        except OSError:
            self.dropped += 1

    def head(self) -> str:
        """The beginning of a line that the outlet itself adds. All other lines come with the
        beginning that vlog's pattern gives."""
        raise NotImplementedError

    def write(self, level: int, line: str) -> None:
        """Write a line at once.

        :raises OSError: the line can't be written at once
        """
        raise NotImplementedError


class Syslog(Outlet):
    """The log daemon behind the socket /dev/log.

    facility (str): the syslog facility of the lines, by a name in FACILITIES of ovs.vlog.

    :param str ident: the word with which each line begins
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

    def __init__(self) -> None:
        super().__init__()
        self._cut = False  # whether the last bytes written are the beginning of a dropped line

    def head(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S WARN ")

    def write(self, level: int, line: str) -> None:
        data = self._cut * b"\n" + line.encode("utf-8", "backslashreplace") + b"\n"
        while data:
            # A pipe that is ready takes PIPE_BUF bytes without a wait (poll(2), pipe(7)).
            if not select.select([], [STDERR], [], 0)[1]:
                raise BlockingIOError
            data = data[os.write(STDERR, data[:select.PIPE_BUF]):]
            self._cut = bool(data)
