"""What wakes ``status --follow`` beside the database: signals, threads, the watcher's pidfile."""
import contextlib
import fcntl
import os
import select
import signal

from ..host import signals
from ..host.paths import pidfile_path

ENDS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Signals(object):
    """Signals that wake the loop.

    is_noticed (bool): a file beside the watcher's pidfile has come or gone; whoever has looked at
    the pidfile sets it to False.

    :param screen: the screen.Screen that a changed size or Ctrl-Z is about, or None
    """

    def __init__(self, screen):
        # A pipe: a pair of sockets takes some 280 signals, and for each one more while the terminal
        # takes nothing (Ctrl-S, and a window that is resized) Python prints what is no error.
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._screen = screen
        self.is_noticed = False
        self._is_suspended = False
        # nohup has one ignored, and a shell's & another.
        self._ends = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]

    @contextlib.contextmanager
    def caught(self):
        """Within, signals wake the loop, and those of ENDS raise host.signals.Ended."""
        signal.set_wakeup_fd(self._waker)
        signals.catch(self._ends)
        signal.signal(signal.SIGIO, self._notice)
        if self._screen:
            signal.signal(signal.SIGWINCH, lambda *_: self._screen.forget())
            signal.signal(signal.SIGTSTP, self._suspend)
        directory = _watch_pidfile()
        try:
            yield
        finally:
            if directory is not None:
                os.close(directory)
            signal.set_wakeup_fd(-1)
            signals.handle(self._ends, signal.SIG_DFL)

    def ignore_ends(self):
        """From now on no signal raises Ended."""
        signals.handle(self._ends, signal.SIG_IGN)

    def _notice(self, *_):
        self.is_noticed = True

    def _suspend(self, *_):
        self._is_suspended = True

    def stop_if_suspended(self):
        """After Ctrl-Z: stop, with the terminal as it was, until we are called back."""
        if not self._is_suspended:
            return
        self._is_suspended = False
        self._screen.__exit__()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._suspend)
        self._screen.__enter__()

    # -- the loop's pipe

    def wake(self):
        """Wake the loop, from whichever thread."""
        with contextlib.suppress(BlockingIOError):  # full: then it wakes without us
            os.write(self._waker, b"x")

    def wait(self, poller):
        poller.fd_wait(self._woken, select.POLLIN)

    def drain(self):
        """Forget by what the loop was woken."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 1 << 16)


def _watch_pidfile():
    """Let SIGIO come when a file in its directory does or goes (fcntl(2), F_NOTIFY); the
    directory's descriptor, None where that can't be."""
    try:
        directory = os.open(os.path.dirname(pidfile_path()), os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_MODIFY
                    | fcntl.DN_DELETE | fcntl.DN_MULTISHOT)
    except OSError:  # a kernel or a file system without it
        pass
    return directory
