"""What `pool` prints: one table, or one JSON text, of all hosts."""
import collections
import json
import textwrap

from ..core.decision import STATES
from ..output import checks, report
from ..output.checks import FAIL, OK, SKIP, WARN
from ..output.text import clean, indented
from .answers import checks_of, is_watched, pairs_of, version_of

_STATES = (OK, WARN, FAIL, SKIP)


def as_json(answers, function):
    """The Answers of all hosts as JSON text; output is what the command prints on that host."""
    told = {
        "hosts": [{
            "host": {"uuid": answer.host.uuid, "name": answer.host.name},
            "live": answer.host.live, "exit": answer.code, "problem": answer.problem,
            "stderr": answer.stderr, "output": answer.output} for answer in answers],
        "answered": sum(answer.problem is None for answer in answers)}
    if function == "version":
        told["differ"] = len(_versions(answers)) > 1
    return json.dumps(told, indent=2, sort_keys=True)


def lines(answers, function, width, colour, details):
    """The table of all hosts that have answered, and the sums below it: list of lines.

    :param answers: list of Answer
    :param int width: columns to fill
    :param bool colour: whether to colour states
    :param bool details: whether to show what can't be told, too
    """
    good = [answer for answer in answers if answer.problem is None]
    make = {"doctor": _doctor, "version": _version}.get(function, _pairs)
    return (make(good, width, colour, details) if good else []) + ["%d of %d host%s answered" % (
        len(good), len(answers), "" if len(answers) == 1 else "s")]


def _pairs(answers, width, colour, _details):
    # A group for each host: in a column of 80, hosts with long names would all be cut alike.
    seen = [(answer, pairs_of(answer.output)) for answer in answers]
    rows = iter(report.grid([report.HEADER] + [row for _, pairs in seen for row, _, _ in pairs],
                            width - 2, report.CUT, colour))
    lines = ["  " + next(rows)]
    for answer, pairs in seen:
        lines += _wrapped("%s: %s; watcher: %s" % (
            answer.host.label, _sum("VIF", [row[-1] for row, _, _ in pairs]),
            "running" if is_watched(answer.output) else "not running"), width)
        for row, reason, _ in pairs:
            lines.append("  " + next(rows))
            state = STATES.get(row[-1])  # another version's may be unknown here
            if state is None or state.shows_reason:
                lines += ["  " + line for line in indented(reason, width - 2)]
    lines.append(_sum("VIF", [row[-1] for _, pairs in seen for row, _, _ in pairs]))
    without = sum(not is_watched(answer.output) for answer in answers)
    lines.append("watcher: %s" % (
        "not running on %d of these hosts" % without if without else "running"))
    return lines


def _doctor(answers, width, colour, details):
    rows, below, states = [("HOST",) + _STATES], [[]], []
    for answer in answers:
        found = checks_of(answer.output)
        count = collections.Counter(check.state for check in found)
        rows.append([answer.host.label] + ["%*d" % (len(state), count[state]) for state in _STATES])
        told = [check for check in found if check.state not in (OK, () if details else SKIP)]
        # (Without its header.)
        below.append(["  " + line for line in checks.table(told, width - 2, colour)[1:]])
        states += [check.state for check in found]
    lines = report.grid(rows, width, {0: None}, False)
    return [each for line, more in zip(lines, below) for each in [line] + more] + [
        _sum("check", states)]


def _version(answers, width, _colour, _details):
    rows = [("HOST", "VERSION")] + [
        (answer.host.label, version_of(answer.output)) for answer in answers]
    count = _versions(answers)
    return report.grid(rows, width, {0: None}, False) + _wrapped(
        "the versions differ: %s: run dom0-install.sh of the newest on the others" % ", ".join(
            "%s on %d" % (version, count[version]) for version in sorted(count))
        if len(count) > 1 else "the same version on each host", width)


def _versions(answers):
    return collections.Counter(
        version_of(answer.output) for answer in answers if answer.problem is None)


def _wrapped(text, width):
    return textwrap.wrap(clean(text), max(width, 40), subsequent_indent="  ")


def _sum(what, states):
    """``3 VIFs: 1 drift, 2 in-sync``."""
    count = collections.Counter(states)
    return clean("%d %s%s: %s" % (
        len(states), what, "" if len(states) == 1 else "s", ", ".join(
            "%d %s" % (count[state], state) for state in sorted(count)) or "none"))
