"""How every command talks to people and scripts, and how it ends (docs/design.md 6)."""
import os
import sys

import click

from ..host.paths import NAME
from .text import clean

# Exit codes, but for 0: done, or nothing to do.
NOT_ALIKE = 1
USAGE = 2
UNREACHABLE = 3


class BadUsage(click.ClickException):
    """Wrong usage that click itself does not find; the message names the cure."""

    exit_code = USAGE


class Unavailable(click.ClickException):
    """What is needed, and is no database, can't be reached; the message names the cure."""

    exit_code = UNREACHABLE


def emit(text):
    """Print for whoever reads standard output."""
    # A locale without UTF-8 (Python 3.6 in a systemd unit) must not cost the answer.
    encoding = sys.stdout.encoding or "ascii"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What stands in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        fail("can't write the output: %s" % error.strerror, UNREACHABLE)


def warn(message):
    """Say what is wrong in one line."""
    try:
        sys.stderr.write("%s: %s\n" % (NAME, clean(" ".join(message.split()))))
        sys.stderr.flush()  # Python 3.6 would keep it until the end
    except OSError:
        # Nobody hears it: then the exit status is what says it, and not one of Python's own, which
        # would try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def fail(message, code):
    """Say what is wrong in one line, and exit."""
    warn(message)
    sys.exit(code)


def unknown(target):
    """What to say of a port or domain that the database has not got."""
    return "%s: no such port on any bridge: see '%s status'" % (target, NAME)
