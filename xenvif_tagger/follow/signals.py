"""The signals and threads that wake ``status --follow``, as the database does; a change of the
watcher's pidfile comes as a signal, too."""
import contextlib
import os
import select
import signal
from typing import Iterator, Optional

import ovs.poller

from ..host import signals
from ..host.paths import pidfile_path
from .screen import Screen

ENDS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Signals(object):
    """Signals that wake the loop.

    :param screen: the Screen to redraw when its size changes, and to leave at Ctrl-Z; or None
    """

    def __init__(self, screen: Optional[Screen]) -> None:
        # A pipe, not a pair of sockets: a pair of sockets is full after some 280 signals. While the
        # terminal takes no output (Ctrl-S) a window that is resized sends more signals, and Python
        # would print a traceback for each signal that did not fit.
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._screen = screen
        self._is_pidfile_touched = False
        self._is_suspended = False
        # Signals that our parent has set to be ignored stay ignored: nohup sets SIGHUP so, and a
        # shell's & sets SIGINT so.
        self._ends = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Within this context signals wake the loop, and those in ENDS raise host.signals.Ended."""
        signal.set_wakeup_fd(self._waker)
        signals.catch(self._ends)
        signal.signal(signal.SIGIO, self._touch_pidfile)
        if self._screen:
            signal.signal(signal.SIGWINCH, self._forget)
            signal.signal(signal.SIGTSTP, self._suspend)
        directory = signals.watch_directory(os.path.dirname(pidfile_path()), modified=True)
        try:
            yield
        finally:
            signals.end_watching([directory])
            signal.set_wakeup_fd(-1)
            signals.handle(self._ends, signal.SIG_DFL)

    def ignore_ends(self) -> None:
        """From now on no signal raises Ended."""
        signals.handle(self._ends, signal.SIG_IGN)

    # -- the watcher's pidfile

    @property
    def is_pidfile_touched(self) -> bool:
        """Whether a file in the directory of the watcher's pidfile has come, gone or been written
        to since the last take_pidfile_touch()."""
        return self._is_pidfile_touched

    def take_pidfile_touch(self) -> bool:
        """Return is_pidfile_touched, and set it to False: the caller is about to read the pidfile.
        """
        is_touched, self._is_pidfile_touched = self._is_pidfile_touched, False
        return is_touched

    def _touch_pidfile(self, *_: object) -> None:
        self._is_pidfile_touched = True

    # -- the terminal

    def _forget(self, *_: object) -> None:
        if self._screen:
            self._screen.forget()

    def _suspend(self, *_: object) -> None:
        self._is_suspended = True

    def stop_if_suspended(self) -> None:
        """After Ctrl-Z: leave the screen and stop this process until the shell continues us."""
        if not self._is_suspended or not self._screen:
            return
        self._is_suspended = False
        self._screen.__exit__()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        self._screen.__enter__()

    # -- the loop's pipe

    def wake(self) -> None:
        """Wake the loop; any thread may call this."""
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes the loop already
            os.write(self._waker, b"x")

    def wait(self, poller: ovs.poller.Poller) -> None:
        """Let a poller wake when a signal comes, or when wake() is called."""
        poller.fd_wait(self._woken, select.POLLIN)

    def drain(self) -> None:
        """Empty the pipe after the loop was woken."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)
