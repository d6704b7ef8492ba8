"""Signals that end this process, once what it must give back has been given back."""
import os
import signal


class Ended(BaseException):
    """A signal has come that ends us; its number."""


def catch(numbers):
    """Let the first of these signals (list of int) raise Ended; all of them are ignored then."""
    def end(number, _):
        handle(numbers, signal.SIG_IGN)
        raise Ended(number)

    handle(numbers, end)


def handle(numbers, handler):
    """Give all of these signals the same handler, or SIG_IGN, or SIG_DFL."""
    for number in numbers:
        signal.signal(number, handler)


def end_by(ended):
    """End by the signal of an Ended, as our parent must see: Ctrl-C ends a shell's loop, too."""
    number, = ended.args
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
