"""The pure parts of ``status --follow``: the words for changes, and the table's layout."""
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.following import SETTINGS, outcome, port
from support.printed import columns_of
from xenvif_tagger.core.decide import decide_vif
from xenvif_tagger.core.decision import Outcome
from xenvif_tagger.follow import changes as follow_changes
from xenvif_tagger.follow import layout as follow_layout
from xenvif_tagger.output import report

VIF = port("vif1.0", unit={"tag": 5})
MARKED = port("vif1.0", unit={"tag": 5}, port_ids={"xenvif-tagger": "{}"})


@pytest.mark.parametrize("before, after, lines", [
    ([], [VIF], ["vif1.0 new on br, tag 5"]),
    ([], [VIF, port("tap1.0", unit={"tag": 6})], [
        "vif1.0 new on br, tag 5", "tap1.0 new on br, tag 6", "vif1.0 state conflict"]),
    ([VIF], [], ["vif1.0 gone"]),
    ([VIF], [VIF], []),
    ([VIF], [MARKED], []),
    ([VIF], [port("vif1.0")], ["vif1.0 tag 5 -> trunk"]),
    ([VIF], [port("vif1.0", unit={"tag": 5, "trunks": [1, 2], "vlan_mode": "native-tagged"})],
     ["vif1.0 tag 5 -> 5 native-tagged:1,2"]),
    ([VIF], [port("vif1.0", uuid="v", unit={"tag": 6})],
     ["vif1.0 made anew", "vif1.0 tag 5 -> 6"]),
    ([VIF], [port("vif1.0", bridge="b", unit={"tag": 5})], ["vif1.0 bridge br -> b"]),
    ([VIF], [port("vif1.0", unit={"tag": 5}, ofport=-1)], ["vif1.0 device gone"]),
    ([port("vif1.0", unit={"tag": 5}, ofport=-1)], [VIF], ["vif1.0 device back"]),
    ([VIF], [port("vif1.0", unit={"tag": 5}, ids={"iface-id": "x"}, port_ids={"k": "\x1b"})],
     ['vif1.0 iface-id (none) -> "x"', 'vif1.0 k (none) -> "\\u001b"']),
    ([VIF, port("tap1.0")], [VIF, port("tap1.0", unit={"tag": 5})],
     ["tap1.0 tag trunk -> 5", "vif1.0 state drift -> in-sync"]),
    ([VIF, port("tap1.0", unit={"tag": 5})], [VIF],
     ["tap1.0 gone", "vif1.0 state in-sync -> single"]),
])
def test_changes_in_words(before, after, lines):
    assert follow_changes.lines(before and outcome(*before), after and outcome(*after)) == lines


def many(wrong, right):
    """Outcomes of VIFs: first `right` VIFs in sync, then `wrong` VIFs in conflict."""
    found = []
    for number in range(right + wrong):
        ids = {"xen-vm-name": "虚x" * (number % 9)}
        trunks = {"tag": 5, "trunks": list(range(1 + number)), "vlan_mode": "native-tagged"}
        ports = [port("vif%d.0" % number, ids=ids, unit=trunks), port(
            "tap%d.0" % number, ids=ids, unit={"tag": 6} if number >= right else trunks)]
        found.append(Outcome((number, 0), ports, decide_vif(ports, SETTINGS)))
        assert found[-1].decision.state == ("conflict" if number >= right else "in-sync")
    return found


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 200), st.integers(1, 70),
       st.integers(0, 30), st.integers(1, 3))
def test_the_table_fits_a_terminal_of_any_size(wrong, right, width, height, changed, notes):
    outcomes = many(wrong, right)
    news = ["虚change %d" % number for number in range(changed)]
    lines = follow_layout.lay_out(outcomes, (width, height), True, {}, ["a note"] * notes,
                                  "12:00:00", news)
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    assert len(lines) <= height
    assert max(map(columns_of, plain)) <= width
    assert plain.count("a note"[:width]) >= min(notes, height)
    # Every VIF is either shown or counted; and no VIF in conflict is hidden while a VIF in sync is
    # shown.
    if width >= 100 and height >= 8:
        shown = [int(found.group(1)) for found in (
            re.search(r" vif(\d+)\.0 .*(in-sync|conflict)$", line) for line in plain) if found]
        hidden = [found.group(1) for found in (
            re.match(r"no room for (\d+) VIF", line) for line in plain) if found]
        assert len(shown) + sum(map(int, hidden)) == len(outcomes)
        if hidden:
            there = [number >= right for number in shown]
            assert there == sorted(there, reverse=True)
            assert sum(there) == wrong or all(there)
        else:
            assert shown == sorted(shown)
        if changed and not hidden:
            assert plain[-1] == news[-1]


def test_rows_go_before_reasons():
    """If all rows fit, but not all reasons, the rows keep their order, and as many reasons as fit
    are shown."""
    outcomes = many(6, 2)
    lines = follow_layout.lay_out(outcomes, (120, 14), False, {}, ["a note"], "12:00:00", [])
    assert "no room" not in "".join(lines)
    assert sum(" vif" in line and line.endswith(("in-sync", "conflict")) for line in lines) == 8
    assert sum(line.startswith("    ") for line in lines) == 2
    assert lines[-3:] == ["a note", "", "changes since 12:00:00: none"]


def test_a_table_that_just_fits():
    outcomes = many(0, 5)
    needed = len(report.table(outcomes, 100, False)) + 1 + 2
    for height, fits in ((needed + 1, True), (needed, True), (needed - 4, False)):
        lines = follow_layout.lay_out(outcomes, (100, height), False, {}, ["a note"],
                                      "12:00:00", [])
        assert ("no room" not in "".join(lines)) == fits, lines
