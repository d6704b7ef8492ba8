"""The progress bar of the pool's commands on a terminal, and Ctrl-C."""
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from support.command import environment
from support.constants import LONG
from support.pool import CALL


class OnTerminal:
    """The running command, with standard error or all of its output on a terminal."""

    def __init__(self, argv, stdout=None):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xenvif_tagger"] + list(argv), stdin=subprocess.DEVNULL,
            env=environment(TERM="xterm"), stdout=stdout or slave, stderr=slave,
            start_new_session=True)
        os.close(slave)
        self.seen = ""

    def read(self, until=None):
        """Read the terminal until this text has come; without a text, until the output ends.
        Returns all of the output so far."""
        while until is None or until not in self.seen:
            assert select.select([self._master], [], [], LONG)[0], self.seen
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the last process has closed the terminal
                data = b""
            if not data:
                assert until is None, self.seen
                return self.seen
            self.seen += data.decode()
        return self.seen

    def end(self):
        self.read()
        self.process.wait(LONG)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def assert_cursor(terminal):
    """Check that the command has not left the cursor hidden."""
    assert terminal.seen.rfind("\x1b[?25h") >= terminal.seen.rfind("\x1b[?25l"), terminal.seen


def test_the_progress_bar(pool, alike):
    for number in range(3):
        pool.add("host-%d" % number, alike)
    with OnTerminal(pool.argv("version"), subprocess.PIPE) as terminal:
        assert terminal.end() == 0
        assert "hosts" in terminal.seen and "3/3" in terminal.seen
        out = terminal.process.stdout.read().decode()
        terminal.process.stdout.close()
        assert "3/3" not in out and "3 of 3 hosts answered" in out
    with OnTerminal(pool.argv("version")) as terminal:
        assert terminal.end() == 0
        assert terminal.seen.index("3/3") < terminal.seen.index("3 of 3 hosts answered")
        assert_cursor(terminal)
    with OnTerminal(("-q",) + pool.argv("version")) as terminal:
        assert (terminal.end(), terminal.seen) == (0, "")


@pytest.mark.parametrize("bar", [True, False])
def test_interrupted(pool, alike, bar):
    """Ctrl-C ends the command at once, with one line; the command logs out, and shows the
    terminal's cursor again."""
    pool.add("one", alike)
    two = pool.add("two", alike)
    pool.server.fault(CALL, "hang", host=two)
    argv = pool.argv("check", "--timeout", "1000")
    with OnTerminal(argv if bar else ("-q",) + argv) as terminal:
        if bar:
            terminal.read("1/2")
        else:
            until = time.monotonic() + LONG
            while pool.server.calls[CALL] < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen
        assert terminal.seen.endswith("xenvif-tagger: interrupted\r\n")
        assert_cursor(terminal)
    assert pool.server.sessions == set()
