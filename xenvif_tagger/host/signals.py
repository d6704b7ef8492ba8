"""Signals: those that end this process only after it has cleaned up (has reset the terminal, for
example), and the one by which the kernel tells of a change in a directory."""
import fcntl
import os
import signal
from typing import Any, Iterable, Optional


class Ended(BaseException):
    """A signal has come that must end this process. args: (number of the signal,)."""


def catch(numbers: Iterable[int]) -> None:
    """Let the first of these signals raise Ended; from then on the process ignores all of them."""
    def end(number: int, _: Any) -> None:
        handle(numbers, signal.SIG_IGN)
        raise Ended(number)

    handle(numbers, end)


def handle(numbers: Iterable[int], handler: Any) -> None:
    """Give all of these signals one handler: a function as for signal.signal, SIG_IGN or SIG_DFL.
    """
    for number in numbers:
        signal.signal(number, handler)


def end_by(ended: Ended) -> None:
    """End this process by the signal that raised ``ended``: our parent must see that signal, so
    that Ctrl-C ends a shell's loop, too."""
    number, = ended.args
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def watch_directory(path: str, modified: bool = False) -> Optional[int]:
    """Have the kernel send SIGIO when a file of a directory comes or goes (fcntl(2), F_NOTIFY).

    :param modified: whether SIGIO is also to come when a process writes to a file of the directory
    :returns: the directory's descriptor, which must stay open; None if the directory can't be
        opened
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_DELETE
                    | fcntl.DN_RENAME | fcntl.DN_MULTISHOT | (fcntl.DN_MODIFY if modified else 0))
    except OSError:  # a kernel or a file system without F_NOTIFY
        pass
    return directory


def end_watching(directories: Iterable[Optional[int]]) -> None:
    """Close what watch_directory has opened, and ignore SIGIO from now on. When Python ends, it
    gives all handled signals their default action (pylifecycle.c, _PySignal_Fini), and that of
    SIGIO ends the process: a change in a directory would become our exit status."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for directory in directories:
        if directory is not None:
            os.close(directory)
