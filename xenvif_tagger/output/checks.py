"""What a check of `doctor` says, and how it is told: a table for people, JSON for scripts."""
import json
import textwrap
from collections import namedtuple

import click

from .text import clean

OK = "OK"
WARN = "WARN"  # works, with something that a person should know
FAIL = "FAIL"  # some guest's network is not what it should be, or its next plug won't be
SKIP = "SKIP"  # can't be told here; found says why

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
_MANY = 3  # of a kind that are named; the others are counted

# state: one of the above; found: what was found, in words; cure: the command that mends it, None
# where there is nothing to mend.
Check = namedtuple("Check", "name state found cure")


def some(items):
    """The first few of some texts, and how many more there are (str)."""
    items = list(items)
    more = len(items) - _MANY
    return "; ".join(items[:_MANY]) + ("; and %d more" % more if more > 0 else "")


def as_json(checks):
    """The checks (list of Check) as JSON text."""
    return json.dumps({"checks": [dict(check._asdict()) for check in checks]}, indent=2,
                      sort_keys=True)


def table(checks, width, colour):
    """The checks in lines: what was found beside each, and the cure below it.

    :param int width: columns to fill
    :param bool colour: whether to colour the states
    """
    size = max([len(check.name) for check in checks] + [len("CHECK")])
    indent = " " * (size + 8)
    lines = [_row("CHECK", size, "STATE", "FOUND", colour, None)]
    # All of it, name and state too: on a pool's table it is what another host says.
    for check in checks:
        found = _wrap(check.found, width - len(indent)) or [""]
        lines.append(_row(clean(check.name), size, clean(check.state), found[0], colour,
                          _COLOURS.get(check.state)))
        lines += [indent + line for line in found[1:]]
        if check.cure:
            # Never wrapped: of a command pasted in two lines the first half would be run alone.
            lines.append("%s-> %s" % (indent, clean(check.cure)))
    return lines


def _row(name, size, state, found, colour, fg):
    cell = state.ljust(6)
    if colour and fg:
        cell = click.style(state, fg=fg) + cell[len(state):]
    return ("%s  %s%s" % (name.ljust(size), cell, found)).rstrip()


def _wrap(text, width):
    # Paths are to be copied: not broken within a word.
    return textwrap.wrap(clean(text), max(width, 30), break_long_words=False,
                         break_on_hyphens=False)


def summary(checks):
    """``29 checks: 25 OK, 1 WARN, 3 SKIP``."""
    count = [(state, sum(check.state == state for check in checks))
             for state in (OK, WARN, FAIL, SKIP)]
    return "%d checks: %s" % (len(checks), ", ".join(
        "%d %s" % (number, state) for state, number in count if number))
