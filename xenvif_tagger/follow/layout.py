"""The lines with which ``status --follow`` fills a terminal: pure functions, so that tests can try
any size."""
import heapq
import re
from typing import List, Sequence, Set, Tuple

from ..core.decision import Outcome
from ..output import report, text

_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")  # what click.style writes
# One in so many of the terminal's lines is kept for the last changes, even if the table could fill
# all lines.
SHARE = 4


def lay_out(outcomes: Sequence[Outcome], size: Tuple[int, int], colour: bool, vms: report.Vms,
            notes: List[str], since: str, changes: List[str]) -> List[str]:
    """The lines that fill a terminal: the table, the notes, the last changes.

    :param size: the terminal's columns and lines
    :param vms: the VMs of the VIFs, by XAPI
    :param notes: lines that a small terminal shows first of all
    :param since: the time of day since which changes are listed
    :param changes: a line for each change, the newest last
    :returns: lines that fit the terminal in length and in number
    """
    width, height = size
    change_lines = min(max(height // SHARE, 3), len(changes) + 2)
    table = _table(outcomes, width, max(height - len(notes) - change_lines, 2), colour, vms)
    # On a terminal of very few lines the notes are shown whole, and the table is cut.
    lines = table[:max(height - len(notes), 0)] + notes
    room = height - len(lines) - 2
    if room >= 0:
        lines += ["", "changes since %s:%s" % (since, "" if changes else " none")]
        lines += changes[-room:] if room else []
    return [clip(line, width) for line in lines[:height]]


def _table(outcomes: Sequence[Outcome], width: int, height: int, colour: bool,
           vms: report.Vms) -> List[str]:
    """The table in at most ``height`` lines. If there are more VIFs than fit, the remarkable VIFs
    come first, and the last line counts the VIFs without a row."""
    if not outcomes:
        return [report.NOTHING]
    is_crowded = len(outcomes) >= height
    room = height - 2 if is_crowded else height - 1  # lines beside the header and the last line
    shortlist = outcomes
    if is_crowded:  # there may be 10,000 VIFs: make the lines of no more VIFs than may fit
        shortlist = heapq.nsmallest(room, outcomes, key=lambda outcome: (
            not report.is_remarkable(outcome), outcome.vif))
    # In a crowded table each remarkable VIF is sure of a line for its row. The lines that are left
    # (spare) go to the reasons below these rows and to the other VIFs, in the table's order. A
    # reason that does not fit is left out; the first other VIF that does not fit ends the table.
    is_sure = [not is_crowded or report.is_remarkable(outcome) for outcome in shortlist]
    spare = room - sum(is_sure)
    (header,), *blocks = report.blocks(shortlist, width, colour, vms)
    lines = [header]
    shown: Set[Tuple[int, int]] = set()
    for outcome, block, sure in zip(shortlist, blocks, is_sure):
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
