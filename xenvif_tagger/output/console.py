"""How every command prints its output and its errors, and its exit codes (docs/design.md 6)."""
import os
import sys
from typing import NoReturn

import click

from ..host.paths import NAME
from .text import clean

# The exit codes beside 0. Code 0 means that the command did its work, or found nothing to do.
NOT_ALIKE = 1
USAGE = 2
UNREACHABLE = 3


class BadUsage(click.ClickException):
    """The user's command is wrong in a way that click does not find; the message names the cure."""

    exit_code = USAGE


class Unavailable(click.ClickException):
    """A server that the command needs, other than the database, can't be reached; the message
    names the cure."""

    exit_code = UNREACHABLE


def emit(text: str) -> None:
    """Print a text and a newline on standard output."""
    # In a locale without UTF-8 (Python 3.6 in a systemd unit) write() would raise for some
    # characters, so they are escaped.
    encoding = sys.stdout.encoding or "ascii"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        fail_unwritten(error)


def warn(message: str) -> None:
    """Print a message as one line on standard error."""
    try:
        sys.stderr.write("%s: %s\n" % (NAME, clean(" ".join(message.split()))))
        sys.stderr.flush()  # Python 3.6 would keep the line in its buffer until the end
    except OSError:
        # Nobody can read the line, so only our exit status is left to report the error. At its
        # exit Python would try again to write the line, fail, and put a status of its own in place
        # of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def fail(message: str, code: int) -> NoReturn:
    """Print a message as one line on standard error, and exit with a code."""
    warn(message)
    sys.exit(code)


def fail_unwritten(error: OSError) -> NoReturn:
    """Exit because standard output can't be written."""
    # At its exit Python writes the text that is left in the buffer, and would fail again: so
    # standard output becomes /dev/null.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    fail("can't write the output: %s" % error.strerror, UNREACHABLE)


def unknown(target: str) -> str:
    """The message about a port or domain (target) that has no port in the database."""
    return "%s: no such port on any bridge: see '%s status'" % (target, NAME)
