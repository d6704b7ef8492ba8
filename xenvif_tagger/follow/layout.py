"""The lines with which ``status --follow`` fills a terminal: pure, so that tests can try any size.
"""
import heapq
import re
from typing import List, Sequence, Set, Tuple

from ..core.decision import Outcome
from ..output import report, text

_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # what click.style writes
# Of the terminal's lines one in so many is kept for the last changes, even where the table could
# fill them all.
SHARE = 4


def lay_out(outcomes: Sequence[Outcome], size: Tuple[int, int], colour: bool, vms: report.Vms,
            notes: List[str], since: str, changes: List[str]) -> List[str]:
    """The lines that fill a terminal: the table, the notes, the last changes.

    :param size: the terminal's columns and lines
    :param vms: what XAPI has told of the VMs
    :param notes: lines that a small terminal shows first of all
    :param since: the time of day from which on changes are listed
    :param changes: a line each, the newest last
    :returns: lines that fit the terminal, no longer and no more than it has
    """
    width, height = size
    kept = min(max(height // SHARE, 3), len(changes) + 2)
    table = _table(outcomes, width, max(height - len(notes) - kept, 2), colour, vms)
    # On a terminal of very few lines the notes take theirs first, and the table is cut.
    lines = table[:max(height - len(notes), 0)] + notes
    room = height - len(lines) - 2
    if room >= 0:
        lines += ["", "changes since %s:%s" % (since, "" if changes else " none")]
        lines += changes[-room:] if room else []
    return [clip(line, width) for line in lines[:height]]


def _table(outcomes: Sequence[Outcome], width: int, height: int, colour: bool,
           vms: report.Vms) -> List[str]:
    """The table in at most ``height`` lines. If it has more VIFs than fit, the remarkable ones come
    first, and the last line counts those without a row."""
    if not outcomes:
        return [report.NOTHING]
    is_crowded = len(outcomes) >= height
    room = height - 2 if is_crowded else height - 1  # for all but the header and the last line
    first = outcomes
    if is_crowded:  # of up to 10,000 VIFs, make lines of no more than may fit
        first = heapq.nsmallest(room, outcomes, key=lambda outcome: (
            not report.is_remarkable(outcome), outcome.vif))
    # In a crowded table each remarkable VIF is sure of a line for its row. The lines that are left
    # (spare) go to the reasons below these rows and to the other VIFs, in the table's order. A
    # reason that does not fit is left out; the first other VIF that does not fit ends the table.
    is_sure = [not is_crowded or report.is_remarkable(outcome) for outcome in first]
    spare = room - sum(is_sure)
    (header,), *blocks = report.blocks(first, width, colour, vms)
    lines = [header]
    shown: Set[Tuple[int, int]] = set()
    for outcome, block, sure in zip(first, blocks, is_sure):
        if len(block) - sure <= spare:
            spare -= len(block) - sure
        elif sure:
            block = block[:1]
        else:
            break
        lines += block
        shown.add(outcome.vif)
    if is_crowded:
        lines.append("no room for " + report.summary(
            [outcome for outcome in outcomes if outcome.vif not in shown]))
    return lines


def clip(line: str, width: int) -> str:
    """The line cut to so many columns; the escape sequences of its colours are all kept, so that a
    colour that begins before the cut also ends."""
    pieces = []
    for piece in _STYLE.split(line):
        if not piece.startswith("\x1b"):
            piece = text.cut(piece, width)
            width -= text.size(piece)
        pieces.append(piece)
    return "".join(pieces)
