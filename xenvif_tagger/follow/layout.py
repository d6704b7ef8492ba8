"""What ``status --follow`` shows on a terminal, as lines: pure, so that any size can be tried."""
import heapq
import re

from ..output import report, text

_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # what click.style makes
# Of the lines, the part that is kept for the last changes where the table wants all.
SHARE = 4


def lay_out(outcomes, size, colour, vms, notes, since, changes):
    """The lines that fill a terminal: the table, the notes, the last changes.

    :param outcomes: list of decision.Outcome
    :param size: (columns, lines)
    :param vms: as report.table takes them
    :param notes: list of str: what is to be seen whatever else there is no room for
    :param str since: the time of day from which on changes are shown
    :param changes: list of str, the newest last
    :returns: list of str, no more and no longer than fit
    """
    width, height = size
    kept = min(max(height // SHARE, 3), len(changes) + 2)
    shown = _table(outcomes, width, max(height - len(notes) - kept, 2), colour, vms)
    # Where next to nothing fits, the notes do, and what of the table is left.
    shown = shown[:max(height - len(notes), 0)] + notes
    room = height - len(shown) - 2
    if room >= 0:
        shown += ["", "changes since %s:%s" % (since, "" if changes else " none")]
        shown += changes[-room:] if room else []
    return [clip(line, width) for line in shown[:height]]


def _table(outcomes, width, height, colour, vms):
    """The table in at most so many lines. If there are more VIFs, those that are not as they should
    be come first, and the last line says how many do not fit."""
    if not outcomes:
        return [report.NOTHING]
    crowded = len(outcomes) >= height
    room = height - 2 if crowded else height - 1  # for all but the header and the last line
    first = outcomes
    if crowded:  # no more is made into lines than may fit: there can be 10,000
        first = heapq.nsmallest(room, outcomes, key=lambda outcome: (
            not report.is_news(outcome), outcome.vif))
    # A row without its reason rather than none; but what is as it should be has what is left.
    has_room = [not crowded or report.is_news(outcome) for outcome in first]
    spare = room - sum(has_room)
    (header,), *blocks = report.blocks(first, width, colour, vms)
    lines, there = [header], set()
    for outcome, block, has in zip(first, blocks, has_room):
        if len(block) - has <= spare:
            spare -= len(block) - has
        elif has:
            block = block[:1]
        else:
            break
        lines += block
        there.add(outcome.vif)
    if crowded:
        lines.append("no room for " + report.summary(
            [outcome for outcome in outcomes if outcome.vif not in there]))
    return lines


def clip(line, width):
    """The line without what goes beyond so many columns, its colours ended."""
    found = []
    for part in _STYLE.split(line):
        if not part.startswith("\x1b"):
            part = text.cut(part, width)
            width -= text.size(part)
        found.append(part)
    return "".join(found)
