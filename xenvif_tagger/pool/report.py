"""The output of `pool`: one table, or one JSON text, of all hosts."""
import collections
import json
import textwrap
from typing import Counter, Iterable, List, Sequence

from ..core.decision import STATES
from ..output import checks, report
from ..output.checks import FAIL, OK, SKIP, WARN
from ..output.text import clean, indented
from .answers import checks_of, is_watched, pairs_of, unpaired_of, version_of
from .hosts import Answer

_STATES = (OK, WARN, FAIL, SKIP)


def as_json(answers: Sequence[Answer], function: str) -> str:
    """The answers of all hosts as JSON text; ``output`` is what the command prints on the host."""
    whole = {
        "hosts": [{
            "host": {"uuid": answer.host.uuid, "name": answer.host.name},
            "live": answer.host.live, "exit": answer.code, "problem": answer.problem,
            "stderr": answer.stderr, "output": answer.output} for answer in answers],
        "answered": sum(answer.problem is None for answer in answers)}
    if function == "version":
        whole["differ"] = len(_versions(answers)) > 1
    return json.dumps(whole, indent=2, sort_keys=True)


def lines(answers: Sequence[Answer], function: str, width: int, colour: bool,
          details: bool) -> List[str]:
    """The table of all hosts that have answered, and the sums below it.

    :param width: columns to fill
    :param colour: whether to colour states
    :param details: whether to list the checks in state SKIP, too
    """
    answered = [answer for answer in answers if answer.problem is None]
    if not answered:
        table = []
    elif function == "doctor":
        table = _doctor(answered, width, colour, details)
    elif function == "version":
        table = _version(answered, width)
    else:
        table = _pairs(answered, width, colour)
    return table + ["%d of %d host%s answered" % (
        len(answered), len(answers), "" if len(answers) == 1 else "s")]


def _pairs(answers: Sequence[Answer], width: int, colour: bool) -> List[str]:
    # Each host has a line of its own, and its VIFs below that line: in a column HOST, which would
    # be narrow, long host names would be cut to the same text.
    by_host = [(answer, pairs_of(answer.output)) for answer in answers]
    rows = iter(report.grid([report.HEADER] + [pair.row for _, pairs in by_host for pair in pairs],
                            width - 2, report.CUT, colour))
    text = ["  " + next(rows)]
    for answer, pairs in by_host:
        text += _wrapped("%s: %s; watcher: %s" % (
            answer.host.label, _sum("VIF", [pair.row[-1] for pair in pairs]),
            "running" if is_watched(answer.output) else "not running"), width)
        for pair in pairs:
            text.append("  " + next(rows))
            state = STATES.get(pair.row[-1])  # None: a state that only the host's version has
            if state is None or state.shows_reason:
                text += ["  " + line for line in indented(pair.reason, width - 2)]
        for line in report.unpaired(unpaired_of(answer.output)):
            text += _wrapped("  " + line, width)
    text.append(_sum("VIF", [pair.row[-1] for _, pairs in by_host for pair in pairs]))
    unwatched = sum(not is_watched(answer.output) for answer in answers)
    text.append("watcher: %s" % (
        "not running on %d of these hosts" % unwatched if unwatched else "running"))
    return text


def _doctor(answers: Sequence[Answer], width: int, colour: bool, details: bool) -> List[str]:
    rows: List[Sequence[str]] = [("HOST",) + _STATES]
    below: List[List[str]] = [[]]  # for each row the lines below it
    states: List[str] = []
    for answer in answers:
        results = checks_of(answer.output)
        count = collections.Counter(check.state for check in results)
        rows.append([answer.host.label] + ["%*d" % (len(state), count[state]) for state in _STATES])
        left_out = (OK,) if details else (OK, SKIP)
        table = checks.table([check for check in results if check.state not in left_out],
                             width - 2, colour)
        below.append(["  " + line for line in table[1:]])  # all but the header
        states += [check.state for check in results]
    host_lines = report.grid(rows, width, {0: None}, False)
    return [line for row, check_lines in zip(host_lines, below) for line in [row] + check_lines] + [
        _sum("check", states)]


def _version(answers: Sequence[Answer], width: int) -> List[str]:
    rows = [("HOST", "VERSION")] + [
        (answer.host.label, version_of(answer.output)) for answer in answers]
    count = _versions(answers)
    return report.grid(rows, width, {0: None}, False) + _wrapped(
        "the versions differ: %s: run the newest dom0-install.sh on the other hosts" % ", ".join(
            "%s on %d" % (version, count[version]) for version in sorted(count))
        if len(count) > 1 else "the same version on each host", width)


def _versions(answers: Iterable[Answer]) -> Counter[str]:
    return collections.Counter(
        version_of(answer.output) for answer in answers if answer.problem is None)


def _wrapped(text: str, width: int) -> List[str]:
    return textwrap.wrap(clean(text), max(width, 40), subsequent_indent="  ")


def _sum(kind: str, states: Sequence[str]) -> str:
    """``3 VIFs: 1 drift, 2 in-sync``.

    :param kind: the noun for the things counted: "VIF" or "check"
    """
    count = collections.Counter(states)
    return clean("%d %s%s: %s" % (
        len(states), kind, "" if len(states) == 1 else "s", ", ".join(
            "%d %s" % (count[state], state) for state in sorted(count)) or "none"))
