"""The output of ``status --follow``: a terminal that is redrawn, or lines for a pipe or a file.

Escape sequences: ECMA-48, and xterm's ctlseqs for the alternate screen, the cursor and wrapping.
"""
import fcntl
import os
import select
import stat
import sys
import termios
import tty
from typing import Any, Iterable, List, Optional, Tuple

import ovs.poller

from ..output.console import emit

# Entering: the alternate screen, the cursor hidden, lines not wrapped. (If a character takes more
# columns than we count, a wrapped line would push all lines below it down.)
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
PATIENCE = 1000  # ms for which we wait, when leaving, for a terminal that takes no output


class Gone(Exception):
    """The terminal, or the reader of the pipe, has gone: nobody sees the output any more."""


def is_terminal() -> bool:
    """Whether standard output is a terminal on which lines can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen(object):
    """The terminal behind standard output. A context manager: on exit, the terminal is set as it
    was before."""

    def __init__(self) -> None:
        self._file = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "ascii"
        mode = fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_ACCMODE
        self._has_keys = mode == os.O_RDWR
        self._settings: Optional[List[Any]] = None  # of the terminal before (termios(3))
        # The lines on the terminal, so that draw() writes only those that differ; None: unknown.
        self._lines: Optional[List[str]] = None

    def __enter__(self) -> "Screen":
        sys.stdout.flush()
        self._settings = termios.tcgetattr(self._file)
        try:
            tty.setcbreak(self._file)  # keys reach us at once, and the terminal does not echo them
            self._write(_ENTER)
        except BaseException:
            self.__exit__()
            raise
        self.forget()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            termios.tcflow(self._file, termios.TCOON)  # after Ctrl-S the next calls would block
            if self._settings is not None:
                termios.tcsetattr(self._file, termios.TCSANOW, self._settings)
            if select.select([], [self._file], [], PATIENCE / 1000)[1]:
                self._write(_LEAVE)
        except (OSError, termios.error):
            pass  # the terminal is gone

    def size(self) -> Tuple[int, int]:
        """The terminal's columns and lines. The variable COLUMNS does not count: we fill the
        window."""
        columns, lines = os.get_terminal_size(self._file)
        return columns or 80, lines or 24

    def forget(self) -> None:
        """Let the next draw() write every line: the terminal's size or content may have changed."""
        self._lines = None

    @property
    def is_stale(self) -> bool:
        """Whether the terminal must be drawn even if no row has changed."""
        return self._lines is None

    def draw(self, lines: Iterable[str]) -> None:
        """Show these lines, which must fit the terminal."""
        text = "\x1b[2J" if self._lines is None else ""
        old, new = self._lines or [], list(lines)
        for number in range(max(len(new), len(old))):
            line = new[number] if number < len(new) else ""
            if number >= len(old) or line != old[number]:
                # The line is cleared before it is written, not after: after a line as wide as the
                # terminal the cursor stands on the line's last character, which clearing would take
                # away.
                text += "\x1b[%d;1H\x1b[K%s" % (number + 1, line)
        self._lines = new
        self._write(text)

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._file, data):]

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Let a poller wake when a key is pressed."""
        if self._has_keys:
            poller.fd_wait(self._file, select.POLLIN)

    def is_ended(self) -> bool:
        """Read the keys pressed since the last call, and say whether q was among them. After any
        key, the next draw() writes every line.

        :raises Gone: the terminal has gone
        """
        if not self._has_keys or not select.select([self._file], [], [], 0)[0]:
            return False
        try:
            keys = os.read(self._file, 1024)
        except OSError:
            keys = b""
        if not keys:
            raise Gone
        self.forget()
        return b"q" in keys.lower()


class Lines(object):
    """Standard output that is no terminal: each line is printed once. A context manager, as Screen
    is."""

    is_stale = False

    def __init__(self) -> None:
        # The reader of a pipe can go: select(2) then says that the pipe is ready. Only pipes are
        # watched, because select(2) always says that a file is ready.
        self._is_pipe = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def print(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for line in lines:
            emit(line)

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Let a poller wake when the reader of the pipe goes."""
        if self._is_pipe:
            poller.fd_wait(sys.stdout.fileno(), select.POLLIN)

    def is_ended(self) -> bool:
        """False: there are no keys.

        :raises Gone: the reader of the pipe has gone
        """
        if self._is_pipe and select.select([sys.stdout], [], [], 0)[0]:
            raise Gone
        return False
