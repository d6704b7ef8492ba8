"""A terminal that is filled and kept up to date; and in its place, for pipes and files, lines.

Escape sequences: ECMA-48, and xterm's ctlseqs for the alternate screen, the cursor and wrapping.
"""
import fcntl
import os
import select
import stat
import sys
import termios
import tty

from ..output.console import emit

# The alternate screen, no cursor, no wrapping: a character that is wider than we think must not
# push all that is below it down.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
PATIENCE = 1000  # ms for a terminal that takes nothing, when it is to be left


class Gone(Exception):
    """Nobody looks on any more."""


def is_terminal():
    """Whether standard output is a terminal that can be filled."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Screen(object):
    """The terminal behind standard output, as a context manager: as it was, afterwards."""

    def __init__(self):
        self._file = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "ascii"
        mode = fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_ACCMODE
        self._has_keys = mode == os.O_RDWR
        self._before = None  # how the terminal was set
        self._lines = []  # what it shows; to draw is to write what differs

    def __enter__(self):
        sys.stdout.flush()
        self._before = termios.tcgetattr(self._file)
        try:
            tty.setcbreak(self._file)  # keys come at once, and are not shown
            self._write(_ENTER)
        except BaseException:
            self.__exit__()
            raise
        self.forget()
        return self

    def __exit__(self, *_):
        try:
            termios.tcflow(self._file, termios.TCOON)  # Ctrl-S would hold up the rest
            termios.tcsetattr(self._file, termios.TCSANOW, self._before)
            if select.select([], [self._file], [], PATIENCE / 1000)[1]:
                self._write(_LEAVE)
        except (OSError, termios.error):
            pass  # it is gone

    def size(self):
        """(columns, lines). Not by COLUMNS: the window is what is filled."""
        columns, lines = os.get_terminal_size(self._file)
        return columns or 80, lines or 24

    def forget(self):
        """Draw all of it the next time: its size, or what it shows, may be another."""
        self._lines = None

    @property
    def is_stale(self):
        """Whether it is to be drawn, whatever has changed."""
        return self._lines is None

    def draw(self, lines):
        """Let it show these, which must fit."""
        before = self._lines
        text = "" if before is not None else "\x1b[2J"
        before = before or []
        for number in range(max(len(lines), len(before))):
            line = lines[number] if number < len(lines) else ""
            if number >= len(before) or line != before[number]:
                # Cleared first: after a line that is as wide as the terminal the cursor stands on
                # its last character.
                text += "\x1b[%d;1H\x1b[K%s" % (number + 1, line)
        self._lines = list(lines)
        self._write(text)

    def _write(self, text):
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._file, data):]

    def wait(self, poller):
        if self._has_keys:
            poller.fd_wait(self._file, select.POLLIN)

    def ends(self):
        """Take the keys pressed: whether q was among them. Any other draws all of it anew.

        :raises Gone: the terminal has
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
    """Standard output that is no terminal: line by line."""

    def __enter__(self):
        # select(2) tells of a pipe that nobody reads from any more; a file is always ready.
        self._is_pipe = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
        return self

    def __exit__(self, *_):
        pass

    def say(self, lines):
        for line in lines:
            emit(line)

    is_stale = False

    def wait(self, poller):
        if self._is_pipe:
            poller.fd_wait(sys.stdout.fileno(), select.POLLIN)

    def ends(self):
        """Never by a key.

        :raises Gone: the reader has
        """
        if self._is_pipe and select.select([sys.stdout], [], [], 0)[0]:
            raise Gone
        return False
