"""Signals that end this process only after it has cleaned up: has reset the terminal, for example.
"""
import os
import signal
from typing import Any, Iterable


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
