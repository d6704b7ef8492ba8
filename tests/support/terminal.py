"""Runs a command in a terminal of the tests' own, and reads the screen as a person sees it.

The command's output goes through a terminal emulator, pyte. pyte has no alternate screen, so the
last bytes of the output (`raw`) and the terminal's settings tell whether the command has left the
terminal as it was.
"""
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

from support.command import command, environment
from support.constants import LONG

ALTERNATE, BACK = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A command that runs in a terminal, as a context manager.

    raw (bytes): the command's whole output. process: subprocess.Popen.
    """

    def __init__(self, *args, db=None, size=(80, 24), env=None, argv=None):
        self._master, self._slave = pty.openpty()
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.resize(*size)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            argv or command(*args, db=db), stdin=self._slave, stdout=self._slave,
            stderr=self._slave, env=environment(**dict({"TERM": "xterm"}, **(env or {}))),
            preexec_fn=self._own)

    def _own(self):
        """In the command's process: make the terminal its controlling one, which sends the signals
        of Ctrl-C and of a hangup."""
        os.setsid()
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for end in self._master, self._slave:
            if end is not None:
                os.close(end)

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys):
        os.write(self._master, keys)

    def hold(self):
        """Stop the output as Ctrl-S does: the command's writes wait."""
        termios.tcflow(self._slave, termios.TCOOFF)

    def go_on(self):
        termios.tcflow(self._slave, termios.TCOON)

    def wait_until_delivered(self):
        """Wait until no signal is pending for the process: two pending signals of one kind would
        arrive as one."""
        limit = time.monotonic() + LONG
        pending = True
        while pending:
            assert time.monotonic() < limit
            with open("/proc/%d/status" % self.process.pid) as stream:
                pending = any(line.startswith(("SigPnd", "ShdPnd")) and int(line.split()[1], 16)
                              for line in stream)

    def hang_up(self):
        """Hang up, as when the line to the terminal is cut."""
        for end in self._master, self._slave:
            os.close(end)
        self._master = self._slave = None

    def lines(self):
        """The lines on the screen, without the empty lines at the end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def text(self):
        return "\n".join(self.lines())

    def read(self, seconds):
        """Read output of the command; waits this many seconds at most. Returns whether any came."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        data = os.read(self._master, 1 << 16)
        self.raw += data
        self._stream.feed(data)
        return True

    def until(self, condition):
        """Wait until condition(the screen's text) is true; returns the text."""
        limit = time.monotonic() + LONG
        while not condition(self.text()):
            left = limit - time.monotonic()
            # The command may end as soon as it has written the text: so ask first, and read then.
            is_running = self.process.poll() is None
            has_written = self.read(max(0, min(left, 0.5)))
            assert left > 0 and (is_running or has_written), self.text()
        return self.text()

    def shows(self, *words):
        """Wait until all of the words are on the screen; returns the text."""
        return self.until(lambda text: all(word in text for word in words))

    def end(self):
        """Wait until the command has ended; returns its exit code."""
        limit = time.monotonic() + LONG
        while self.process.poll() is None:
            assert time.monotonic() < limit, self.text()
            self.read(0.02)
        while self.read(0):
            pass
        return self.process.returncode

    def assert_restored(self):
        """Check that the terminal is as it was before the command."""
        assert self.raw.count(ALTERNATE) == self.raw.count(BACK) > 0
        assert self.raw.rindex(BACK) > self.raw.rindex(ALTERNATE)
        assert not self.screen.cursor.hidden
        assert pyte.modes.DECAWM in self.screen.mode
        assert termios.tcgetattr(self._slave) == self.before
