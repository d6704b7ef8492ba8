"""The results of `doctor`'s checks, and how they are printed: as a table or as JSON."""
import json
import textwrap
from typing import Iterable, List, NamedTuple, Optional, Sequence

import click

from .text import clean

OK = "OK"
WARN = "WARN"  # the host works, but a person should know of something
FAIL = "FAIL"  # a guest's network is wrong, or will be wrong after the guest's next plug
SKIP = "SKIP"  # the check could not be made here; the result says why

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}
_NAMED = 3  # a result names so many items of a kind, and counts the others

Check = NamedTuple("Check", [
    ("name", str),
    ("state", str),  # one of the four above
    ("found", str),  # the result, in words
    ("cure", Optional[str]),  # the command that mends the fault; None where there is none
])


def first_few(texts: Iterable[str]) -> str:
    """The first few of some texts, and how many more there are."""
    texts = list(texts)
    more = len(texts) - _NAMED
    return "; ".join(texts[:_NAMED]) + ("; and %d more" % more if more > 0 else "")


def as_json(checks: Iterable[Check]) -> str:
    """The checks as JSON text."""
    return json.dumps({"checks": [dict(check._asdict()) for check in checks]}, indent=2,
                      sort_keys=True)


def table(checks: Sequence[Check], width: int, colour: bool) -> List[str]:
    """The checks in lines: each result beside its check's name, and the cure below the result.

    :param width: columns to fill
    :param colour: whether to colour the states
    """
    name_size = max([len(check.name) for check in checks] + [len("CHECK")])
    indent = " " * (name_size + 8)
    lines = [_row("CHECK", name_size, "STATE", "FOUND", colour, None)]
    for check in checks:
        result = _wrap(check.found, width - len(indent)) or [""]
        # Name and state are cleaned too: the table of a pool shows checks that another host sent.
        lines.append(_row(clean(check.name), name_size, clean(check.state), result[0], colour,
                          _COLOURS.get(check.state)))
        lines += [indent + line for line in result[1:]]
        if check.cure:
            # The cure is never wrapped: if a user pastes a wrapped command, the shell runs only the
            # first line.
            lines.append("%s-> %s" % (indent, clean(check.cure)))
    return lines


def _row(name: str, name_size: int, state: str, result: str, colour: bool,
         fg: Optional[str]) -> str:
    cell = state.ljust(6)
    if colour and fg:
        cell = click.style(state, fg=fg) + cell[len(state):]
    return ("%s  %s%s" % (name.ljust(name_size), cell, result)).rstrip()


def _wrap(text: str, width: int) -> List[str]:
    # No word is broken: users copy paths from the table.
    return textwrap.wrap(clean(text), max(width, 30), break_long_words=False,
                         break_on_hyphens=False)


def summary(checks: Sequence[Check]) -> str:
    """``29 checks: 25 OK, 1 WARN, 3 SKIP``."""
    counts = [(state, sum(check.state == state for check in checks))
              for state in (OK, WARN, FAIL, SKIP)]
    return "%d checks: %s" % (len(checks), ", ".join(
        "%d %s" % (count, state) for state, count in counts if count))
