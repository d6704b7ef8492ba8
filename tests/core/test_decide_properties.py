"""Properties that the decision has for any two rows: hypothesis searches for two rows whose
decision lacks a property."""
import copy
import json
import os

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.constants import HELD
from support.raw_rows import EXCLUDED, OTHER, UUIDS, raw_rows, units
from support.rows import BOOT, VIF_UUID, World, apply, row, tap, unit, vif
from xenvif_tagger.core import hold, identity, mark
from xenvif_tagger.core.names import SIDES
from xenvif_tagger.core.port import Port, cell_of
from xenvif_tagger.core.unit import UNIT, is_closed, is_open_trunk, is_real, vlan_of


@st.composite
def worlds(draw):
    """Two rows and settings; now and then the tap's mark has the units seen in a conflict."""
    vif, tap = draw(raw_rows("vif")), draw(raw_rows("tap"))
    if draw(st.booleans()):
        noted = mark.parse(tap["port_ids"].get(mark.KEY))
        noted["seen"] = {"port": draw(st.sampled_from([VIF_UUID, "port-old"])),
                         "vif": draw(st.one_of(st.just(vif["unit"]), units)),
                         "tap": draw(st.one_of(st.just(tap["unit"]), units))}
        tap["port_ids"][mark.KEY] = mark.encode(noted)
    world = World(vif, tap, iface_id=draw(st.sampled_from(["one", "both"])),
                  exclude=[EXCLUDED + "*"], policing=draw(st.booleans()),
                  hold_bridges=draw(st.sampled_from([[], ["xenbr0"]])))
    world.rivals = {5: draw(st.sampled_from([(), (), ("net-1",), ("net-2",), ("net-1", "net-2")]))}
    return world


any_world = given(world=worlds(), prefer=st.sampled_from([None, None, "vif", "tap"]))
# Set EXAMPLES=20000 in the environment for a long search.
many = settings(max_examples=int(os.environ.get("EXAMPLES", "200")))


def after(world, decision):
    return apply(world.rows, decision.changes)


@many
@any_world
def test_a_second_decision_about_the_written_rows_changes_nothing(world, prefer):
    first = world.decide(prefer=prefer)
    world.rows = after(world, first)
    # A refused choice by hand decides nothing about the pair, so the second decision is made
    # with the same choice. (A refused pair is in conflict if its tag is another network's, too.)
    second = world.decide(prefer=prefer if first.state in ("refused", "conflict") else None)
    assert second.changes == []
    if first.is_substantial() and first.state == "drift":
        # (A sibling is closed while the agent has yet to tag its own port.)
        assert second.state == ("drift" if "has no tag yet" in first.reason else "in-sync")


def test_a_row_with_policing_and_no_identity_gets_no_identity():
    world = World(vif(), tap(identity={}, policing={"ingress_policing_rate": 100}), policing=True)
    world.mirror()
    assert world["vif"]["policing"] == {} and world["tap"]["interface_ids"] == {}


@many
@any_world
def test_a_pair_that_is_in_sync_has_one_unit_and_one_base(world, prefer):
    world.rows = after(world, world.decide(prefer=prefer))
    decision = world.mirror()
    if decision.state == "in-sync":
        assert world["vif"]["unit"] == world["tap"]["unit"]
        noted = [world.mark(side) for side in SIDES]
        assert sum("base" in found for found in noted) == 1
        assert not any("seen" in found for found in noted)


@many
@any_world
def test_a_decision_writes_only_the_two_rows_and_only_cells_that_differ(world, prefer):
    decision = world.decide(prefer=prefer)
    cells = [(change.table, change.row, change.column, change.key) for change in decision.changes]
    assert {change.row for change in decision.changes} <= {"vif12.0", "tap12.0"}
    assert len(set(cells)) == len(cells)
    after(world, decision)  # asserts that each change's old value is the row's


@many
@any_world
def test_a_column_or_key_that_we_do_not_mirror_is_never_written(world, prefer):
    for change in world.decide(prefer=prefer).changes:
        assert change.column != "other_config" or cell_of(change) in UNIT
        if change.column == "external_ids" and change.key != mark.KEY:
            assert not change.key.startswith(EXCLUDED)
            assert change.key != "iface-status" and not change.key.startswith("ovn-installed")
            if change.key in identity.KEYS:
                # A key of identity goes only to a row that had no such key.
                assert change.old is None
                assert not identity.keys_of(world[change.row]["interface_ids"])
        if change.column.startswith("ingress_policing"):
            assert world.settings.policing


@many
@any_world
def test_the_agents_own_port_keeps_its_tag_and_its_interface_row(world, prefer):
    ports = {side: Port(**world[side]) for side in SIDES}
    managed = [side for side in SIDES if ports[side].managed]
    decision = world.decide(prefer=prefer)
    for change in decision.changes:
        side = change.row[:3]
        if side in managed:
            assert change.table != "Interface"
            if len(managed) == 1 and change.column == "tag":
                # A held port without a real tag is not bound yet: the hold may write its tag.
                assert hold.is_held(ports[side])


@many
@any_world
def test_a_contradicting_identity_is_refused_and_nothing_crosses(world, prefer):
    vif, tap = (Port(**world[side]) for side in SIDES)
    seen = [vif.ids["Interface"], tap.ids["Interface"], vif.mark.get("vif", {}),
            tap.mark.get("vif", {})]
    clash = any(identity.contradiction(one, other) for one in seen for other in seen)
    decision = world.decide(prefer=prefer)
    if clash or vif.bridge != tap.bridge:
        told = decision.state == "conflict" and "has this tag in use for" in decision.reason
        assert decision.state == "refused" or told
    if decision.state == "refused":
        assert decision.source is None
        # Each row gets the unit and ids that it would get if it were alone; but the base and the
        # notes of a left-over row tell of its sibling, too: whose its VLAN was, and its trunks.
        for side in SIDES:
            alone = World(world[side])
            alone.settings, alone.rivals = world.settings, world.rivals
            lone = alone.decide()
            if not any(words in decision.reason + lone.reason for words in (
                    "another network's by now", "had lost its trunks")):
                assert after(world, decision)[world[side]["name"]] == after(
                    alone, lone)[world[side]["name"]]


@many
@any_world
def test_a_row_that_may_not_lend_gives_nothing(world, prefer):
    """A left-over row, or a row without identity: when its values change, the decision about the
    other row stays the same."""
    vif, tap = (Port(**world[side]) for side in SIDES)
    ports = {"vif": vif, "tap": tap}
    for side in SIDES:
        if identity.may_lend(ports[side], BOOT):
            continue
        changed = copy.deepcopy(world)
        changed[side]["interface_ids"]["unheard-of"] = "1"
        changed[side]["port_ids"]["unheard-of"] = "1"
        name = world[OTHER[side]]["name"]
        result = after(changed, changed.decide(prefer=prefer))[name]
        assert "unheard-of" not in result["interface_ids"]
        assert "unheard-of" not in result["port_ids"]
        tag = ports[side].unit.get("tag")
        if tag is not None and is_real(ports[side].unit) and world.decide().state != "refused":
            given = {change.new for change in world.decide(prefer=prefer).changes
                     if change.row == name and change.column == "tag"}
            assert tag not in given or tag == (ports[OTHER[side]].mark.get("base") or {}).get(
                "unit", {}).get("tag")


@many
@any_world
def test_nothing_but_a_real_tag_opens_a_held_port(world, prefer):
    ports = {side: Port(**world[side]) for side in SIDES}
    decision = world.decide(prefer=prefer)
    rows = after(world, decision)
    listed = {side for side in SIDES if ports[side].bridge in world.settings.hold_bridges}
    for side in SIDES:
        if hold.is_held(ports[side]) and (side in listed or decision.state == "refused"
                                          or not prefer):
            found = Port(**rows[world[side]["name"]])
            assert hold.is_held(found) or is_real(found.unit)
            if hold.is_held(found):
                assert is_closed(found.unit)
                # A form that somebody has made of the hold's form stays if no frame gets through.
                assert vlan_of(found.unit) == (
                    vlan_of(ports[side].unit) if is_closed(ports[side].unit) else HELD)


@many
@any_world
def test_a_dead_port_is_never_left_an_open_trunk(world, prefer):
    rows = after(world, world.decide(prefer=prefer))
    for found in rows.values():
        if found["unit"].get("tag") == 4095 and found["unit"].get("vlan_mode") == "trunk":
            assert not is_open_trunk(found["unit"])


def exchanged(world):
    """The same world, with the names of the two sides exchanged."""
    vif, tap = copy.deepcopy(world["tap"]), copy.deepcopy(world["vif"])
    seen = mark.parse(world["tap"]["port_ids"].get(mark.KEY)).get("seen")
    for side, found in (("vif", vif), ("tap", tap)):
        found["name"], found["uuid"] = side + "12.0", UUIDS[side]
        text = found["port_ids"].get(mark.KEY)
        if text is None:
            continue
        noted = mark.parse(text)
        noted.pop("seen", None)
        for field in ("base", "kept"):
            if field in noted and noted[field]["port"] == UUIDS[side]:
                noted[field]["port"] = UUIDS[OTHER[side]]
        found["port_ids"][mark.KEY] = mark.encode(noted)
    if seen:
        noted = mark.parse(tap["port_ids"].get(mark.KEY))
        noted["seen"] = dict(seen, vif=seen["tap"], tap=seen["vif"])
        tap["port_ids"][mark.KEY] = mark.encode(noted)
    turned = World(vif, tap)
    turned.settings, turned.rivals = world.settings, world.rivals
    return turned


def without_marks(found):
    found = dict(found, port_ids=dict(found["port_ids"]))
    for key in ("name", "uuid"):
        found.pop(key)
    found["port_ids"].pop(mark.KEY, None)
    return found


@many
@any_world
def test_exchanging_the_names_of_the_sides_exchanges_the_result(world, prefer):
    turned = exchanged(world)
    here = world.decide(prefer=prefer)
    there = turned.decide(prefer=OTHER.get(prefer))
    assert here.state == there.state
    rows, turned_rows = after(world, here), after(turned, there)
    assert without_marks(rows["vif12.0"]) == without_marks(turned_rows["tap12.0"])
    assert without_marks(rows["tap12.0"]) == without_marks(turned_rows["vif12.0"])


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(list(value))}
    return value


@many
@any_world
def test_the_order_of_keys_does_not_matter(world, prefer):
    turned = copy.deepcopy(world)
    for side in SIDES:
        found = reordered(turned[side])
        if mark.KEY in found["port_ids"]:
            found["port_ids"][mark.KEY] = json.dumps(
                reordered(mark.parse(found["port_ids"][mark.KEY])))
        turned.rows[found["name"]] = found
    here, there = world.decide(prefer=prefer), turned.decide(prefer=prefer)
    assert (here.state, here.reason, here.source, here.target) == (
        there.state, there.reason, there.source, there.target)
    # The old text of a mark is left out: its keys stand in the order in which they were written.
    assert [_new_cell(change) for change in here.changes] == [
        _new_cell(change) for change in there.changes]


def _new_cell(change):
    return change.table, change.row, change.column, change.key, change.new


@many
@given(world=worlds(), side=st.sampled_from(SIDES), expired=st.booleans())
def test_a_second_decision_about_a_lone_row_changes_nothing(world, side, expired):
    world.unplug(side)
    expired = list(UUIDS.values()) if expired else []
    first = world.decide(expired=expired)
    assume(first.changes)
    world.rows = after(world, first)
    assert world.decide(expired=expired).changes == []


@many
@given(st.one_of(st.text(max_size=20), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["vif", "boot", "base", "kept", "held", "seen", "port", "unit", "tag",
                         "trunks", "Port", "Interface", "policing", "iface-id"]), inner),
    max_leaves=12).map(json.dumps)))
def test_no_text_in_the_mark_breaks_a_decision(text):
    world = World(row("vif", unit(5), port_ids={mark.KEY: text}),
                  row("tap", unit(6), port_ids={mark.KEY: text}))
    world.mirror()
