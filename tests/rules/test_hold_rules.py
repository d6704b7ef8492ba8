"""The rules of docs/design.md 4.6 on a real ovsdb-server: which ports are held, repaired and
released."""
import itertools

import pytest

from support.constants import DEAD_FORM, HELD, SIDES
from support.lab import DEAD, NONE, OPEN, OTHER, T5, T6, T7, TRUNK, B, Lab, assert_came_to
from support.private_ovs import PrivateOvs, schema_like_2_5
from support.rows import unit
from xenvif_tagger.core.port import after

GAPING = unit(4095, "trunk")
MARK = {"held": HELD}


@pytest.fixture
def lab(ovs):
    return Lab(ovs, bridges=("br0",))


def held_pair(lab):
    """A pair that a run has held after a clear, on a listed bridge."""
    lab.paired(T5)
    lab.set("vif", NONE)
    assert lab.run().state == "held"
    assert_held(lab, *SIDES)
    return lab


def assert_held(lab, *sides):
    for side in sides:
        assert lab.unit(side) == HELD and "held" in lab.mark(side)


def assert_released(lab, unit, *sides):
    for side in sides:
        assert lab.unit(side) == unit and "held" not in lab.mark(side)


@pytest.mark.parametrize("holder", SIDES)
@pytest.mark.parametrize("side", SIDES)
def test_a_clear_on_a_listed_bridge_holds_both(lab, side, holder):
    lab.paired(T5, holder)
    lab.set(side, NONE)
    assert lab.run().state == "held"
    assert_held(lab, *SIDES)


def test_a_clear_on_a_bridge_not_listed_is_copied(ovs):
    lab = Lab(ovs, bridges=("br1",)).paired(T5)
    lab.set("vif", NONE)
    assert lab.run().state == "mirrored" and lab.units() == (NONE, NONE)


# The unit of a held port that an agent binds: with all columns of the hold, with cvlans only (an
# agent clears the columns that it knows), or with none.
BOUND = [dict(HELD, tag=7), unit(7, None, [], [4095]), T7]


@pytest.mark.parametrize("bound", BOUND, ids=str)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("managed", [True, False])
def test_a_real_tag_on_either_releases_both(lab, side, bound, managed):
    held_pair(lab)
    lab.set(side, bound)
    if managed:
        lab.ids(side, iface_id="port-a")
        lab.bind(side)
    assert lab.run().state == "mirrored"
    assert_released(lab, T7, *SIDES)


@pytest.mark.parametrize("side", SIDES)
def test_columns_that_the_agent_sets_beside_the_tag_stay(lab, side):
    held_pair(lab)
    lab.set(side, unit(7, "native-untagged", [5, 7], [4095]))
    lab.run()
    assert_released(lab, unit(7, "native-untagged", [5, 7]), *SIDES)


OPENING = [NONE, TRUNK, OPEN, DEAD_FORM, GAPING, unit(None, None, [5]),
           unit(None, "dot1q-tunnel", [], [4095]), unit(None, "access")]
# The forms that somebody may make of the hold's form and that let through no VLAN but 4095.
CLOSED = [DEAD, unit(4095, "access"), dict(HELD, trunks=[5]), dict(HELD, cvlans=[10, 20]),
          unit(4095, "dot1q-tunnel")]


@pytest.mark.parametrize("found", OPENING, ids=str)
@pytest.mark.parametrize("sides", [("vif",), ("tap",), SIDES], ids=str)
def test_only_a_real_tag_opens_a_held_port(lab, sides, found):
    held_pair(lab)
    for side in sides:
        lab.set(side, found)
    assert lab.run().state == "held"
    assert_held(lab, *SIDES)


@pytest.mark.parametrize("found", CLOSED, ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_a_held_port_in_another_closed_form_is_not_put_back(lab, side, found):
    """An agent that makes a QinQ port may set vlan_mode and cvlans before the tag."""
    held_pair(lab)
    lab.set(side, found)
    decision = lab.run()
    assert decision.state == "held" and not decision.is_substantial()
    assert lab.unit(side) == found
    assert_held(lab, OTHER[side])
    lab.set(side, T7)
    lab.run()
    assert_released(lab, T7, *SIDES)


QINQ = {"vlan_mode": "dot1q-tunnel", "tag": 100, "cvlans": [10, 20]}


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("order", list(itertools.permutations(QINQ)), ids=str)
def test_a_held_port_becomes_a_qinq_port_in_any_order_of_columns(lab, order, looks):
    """tests/core/test_qinq_orders.py has more of the interleavings, without a server."""
    held_pair(lab)
    for column in order:
        lab.set("tap", dict(lab.unit("tap"), **{column: QINQ[column]}))
        if looks:
            lab.run()
    lab.run()
    assert_released(lab, QINQ, *SIDES)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_a_choice_by_hand_without_a_real_tag_does_not_open_a_held_port(lab, side, single):
    held_pair(lab)
    if single:
        lab.unplug(OTHER[side])
    lab.set(side, NONE)
    decision = lab.run(side)
    assert decision.state == "refused" and "only a real tag opens" in decision.reason
    assert_held(lab, *((side,) if single else SIDES))


@pytest.mark.parametrize("sides", [("vif",), ("tap",), SIDES], ids=str)
def test_a_port_that_is_not_yet_closed_is_in_drift(lab, sides):
    """Until the hold is written, the port is a trunk of every VLAN."""
    for side in sides:
        lab.plug(side)
    assert [outcome.state for outcome in lab.shot().look([(12, 0)])] == ["drift"]
    lab.run()
    assert [outcome.state for outcome in lab.shot().look([(12, 0)])] == ["held"]


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_a_choice_by_hand_opens_a_held_port_whose_bridge_is_not_listed_any_more(lab, side, single):
    """The way out of a hold. The port does not open without the choice: a mistake in the config
    must never open all ports."""
    held_pair(lab)
    sides = (side,) if single else SIDES
    if single:
        lab.unplug(OTHER[side])
    lab.values["hold", "bridges"] = ()
    assert lab.run().state == "held"
    assert_held(lab, *sides)
    lab.set(side, NONE)
    assert lab.run().state == "held"
    assert_held(lab, *sides)
    decision = lab.run(side)
    assert decision.state in ("in-sync", "mirrored", "single")
    for each in sides:
        assert lab.unit(each) == NONE and "held" not in lab.mark(each)
        assert "%s is open to every VLAN" % lab.name(each) in decision.reason


@pytest.mark.parametrize("sides", [("vif",), ("tap",), SIDES], ids=str)
def test_on_a_listed_bridge_a_port_without_a_vlan_is_closed_whoever_plugged_it(lab, sides):
    """Our hook did not plug the port: the hook failed, xenopsd's config lost the line that names
    the hook, or the VIF was plugged before the installation."""
    for side in sides:
        lab.plug(side)
    assert lab.run().state == "held"
    assert_held(lab, *sides)


@pytest.mark.parametrize("found", [NONE, OPEN, unit(None, None, [5]), unit(None, "access"),
                                   unit(None, "dot1q-tunnel", [], [7]), unit(None, None, [], [7])],
                         ids=str)
def test_a_unit_that_counts_as_no_vlan_is_held(lab, found):
    """The unit has no tag, vlan_mode or trunks. (cvlans have a meaning in a dot1q-tunnel only.)"""
    lab.plug("vif", found)
    decision = lab.run()
    if set(found) <= {"cvlans"}:
        assert decision.state == "held"
        assert_held(lab, "vif")
    else:
        assert decision.state == "single" and lab.unit("vif") == found


def test_two_different_real_tags_release_both_and_are_a_conflict(lab):
    held_pair(lab)
    lab.set("vif", dict(HELD, tag=6))
    lab.set("tap", T7)
    assert lab.run().state == "conflict"
    assert_released(lab, T6, "vif")
    assert_released(lab, T7, "tap")
    lab.run("vif")
    assert lab.units() == (T6, T6)


def test_two_equal_real_tags_release_both(lab):
    held_pair(lab)
    for side in SIDES:
        lab.set(side, dict(HELD, tag=7))
    lab.run()
    assert_released(lab, T7, *SIDES)


@pytest.mark.parametrize("side", SIDES)
def test_a_single_port_is_restored_and_released(lab, side):
    lab.plug(side, HELD, noted=MARK)
    assert lab.run().state == "held"
    for found in OPENING:
        lab.set(side, found)
        assert lab.run().state == "held"
        assert_held(lab, side)
    for found in CLOSED:
        lab.set(side, found)
        assert lab.run().state == "held" and lab.unit(side) == found
    lab.set(side, dict(HELD, tag=7))
    assert lab.run().state == "single"
    assert_released(lab, T7, side)


@pytest.mark.parametrize("side", SIDES)
def test_a_sibling_plugged_beside_a_held_port_is_held(lab, side):
    lab.plug(side, HELD, noted=MARK)
    lab.plug(OTHER[side])
    assert lab.run().state == "held"
    assert_held(lab, *SIDES)


@pytest.mark.parametrize("found", [DEAD, DEAD_FORM], ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_an_agents_dead_form_beside_a_held_port_stays(lab, side, found):
    lab.plug(side, HELD, noted=MARK)
    lab.plug(OTHER[side], found)
    assert lab.run().state == "held"
    assert_held(lab, side)
    assert lab.unit(OTHER[side]) == found
    lab.set(OTHER[side], T7)
    lab.run()
    assert_released(lab, T7, *SIDES)


@pytest.mark.parametrize("found", [DEAD, DEAD_FORM, HELD], ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_an_agents_dead_form_is_mirrored_as_any_unit(lab, side, found):
    lab.paired(T5)
    lab.set(side, found)
    assert lab.run().state == "mirrored" and lab.units() == (found, found)
    assert not any("held" in lab.mark(each) for each in SIDES)
    lab.set(OTHER[side], T7)
    lab.run()
    assert lab.units() == (T7, T7)


def apart(lab):
    """Make the pair a refused pair."""
    lab.ovs.add_bridge("br1")
    lab.unplug("vif")
    lab.plug("vif", T6, bridge="br1")


@pytest.mark.parametrize("bound", BOUND, ids=str)
def test_each_row_of_a_refused_pair_is_held_and_released_by_itself(lab, bound):
    held_pair(lab)
    apart(lab)
    lab.set("tap", NONE)
    assert lab.run().state == "refused"
    assert_held(lab, "tap")
    lab.set("tap", bound)
    assert lab.run().state == "refused"
    assert_released(lab, T7, "tap")
    assert lab.unit("vif") == T6


@pytest.mark.parametrize("side", SIDES)
def test_a_row_of_a_refused_pair_stays_held_beside_another_guests_tag(lab, side):
    lab.plug(side, HELD, noted=MARK)
    lab.plug(OTHER[side], T5, identity=B)
    assert lab.run().state == "refused"
    assert_held(lab, side)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("how", ["single", "pair", "refused", "managed"])
def test_a_dead_trunk_without_trunks_is_repaired(ovs, how, listed):
    """The sibling gets the repaired form; on a listed bridge a sibling without a VLAN gets the
    hold's form."""
    lab = Lab(ovs, bridges=("br0",) if listed else ())
    lab.plug("tap", GAPING, {"iface-id": "port-a"})
    if how == "managed":
        lab.bind("tap")
    if how != "single":
        lab.plug("vif", identity=B if how == "refused" else lab.iface("tap"))
    lab.run()
    assert lab.unit("tap") == DEAD_FORM
    if how in ("pair", "managed"):
        assert lab.unit("vif") == (HELD if listed else DEAD_FORM)


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_lost_trunks_of_a_lone_or_refused_row_are_repaired(ovs, listed, refused):
    """4.5, 4: a row that has lost only its trunks since the pair's base, and so is open, is
    repaired; 4.6: the repair looks at each row by itself."""
    lab = Lab(ovs, bridges=("br0",) if listed else ()).paired(TRUNK)
    if refused:
        apart(lab)
    else:
        lab.unplug("vif")
    lab.set("tap", OPEN)
    assert lab.run().state == ("refused" if refused else "orphan")
    assert lab.unit("tap") == TRUNK


@pytest.mark.parametrize("grace_over,listed,was,becomes", [
    (True, True, T5, HELD), (True, True, TRUNK, HELD),
    (False, True, T5, T5), (True, False, T5, T5)], ids=str)
@pytest.mark.parametrize("holder", SIDES)
def test_an_orphan_is_held_after_the_grace_on_a_listed_bridge(ovs, holder, grace_over, listed, was,
                                                              becomes):
    lab = Lab(ovs, bridges=("br0",) if listed else ()).paired(was, holder)
    lab.unplug(OTHER[holder])
    decision = lab.core(expired=grace_over)
    assert after(decision.ports()[0], decision.changes)[0] == becomes
    assert decision.state == ("held" if becomes == HELD else "orphan")


def test_a_row_without_a_base_is_no_orphan(lab):
    """The base is on the row that goes: the row that stays has followed no sibling."""
    lab.paired(T5)
    lab.unplug("tap")
    assert lab.core(expired=True).state == "single"


def test_a_held_pair_has_a_base_for_its_ids(lab):
    lab.paired(T5, **{"vm-id": "1", "iface-id": "port-a"})
    lab.set("vif", NONE)
    lab.run()
    lab.ids("tap", vm_id=None)
    assert lab.run().state == "held"
    assert lab.iface("vif", "vm-id") is None
    lab.unplug("vif")
    lab.plug("vif")
    lab.run()
    assert_held(lab, *SIDES)
    assert lab.iface("vif", "iface-id") == "port-a"


@pytest.mark.parametrize("side", SIDES)
def test_the_agents_own_port_is_not_held(lab, side):
    """4.5, 1: we never write a managed row's tag; the managed row's sibling keeps its unit until
    the agent sets a tag."""
    lab.paired(T5)
    lab.ids(side, iface_id="port-a")
    lab.bind(side)
    lab.run()
    lab.set(side, NONE)
    assert lab.run().state == "drift"
    assert lab.unit(side) == NONE and lab.unit(OTHER[side]) == T5
    lab.set(side, T7)
    lab.run()
    assert_released(lab, T7, *SIDES)


def test_on_a_bridge_not_listed_two_ports_without_a_vlan_stay(ovs):
    lab = Lab(ovs)
    lab.plug("vif")
    lab.plug("tap")
    assert lab.run().state == "in-sync" and lab.units() == (NONE, NONE)


@pytest.fixture
def lab_2_5():
    with PrivateOvs(schema=schema_like_2_5()) as ovs:
        yield Lab(ovs, bridges=("br0",))


@pytest.mark.parametrize("side", SIDES)
def test_without_cvlans_a_held_port_is_an_access_port_of_4095(lab_2_5, side):
    lab = lab_2_5.paired(TRUNK)
    lab.set(side, NONE)  # more than the trunks is cleared: a person or an agent decided so
    assert lab.run().state == "held" and lab.units() == (DEAD, DEAD)
    for found in (NONE, OPEN, GAPING, DEAD_FORM):
        lab.set(side, found)
        assert lab.run().state == "held" and lab.units() == (DEAD, DEAD)
    lab.set(side, T7)
    assert lab.run().state == "mirrored"
    assert_released(lab, T7, *SIDES)


def test_without_cvlans_other_units_are_mirrored_as_usual(lab_2_5):
    lab = lab_2_5.paired(TRUNK)
    lab.set("vif", unit(5, "native-untagged", [5, 6]))
    lab.run()
    assert lab.units() == (unit(5, "native-untagged", [5, 6]),) * 2
    lab.set("vif", T6)
    lab.set("tap", T7)
    assert_came_to(lab, lab.run(), "conflict", (T6, T7))


def test_a_hold_survives_an_upgrade_to_a_schema_with_cvlans(lab_2_5):
    lab = lab_2_5.paired(T5)
    lab.set("vif", NONE)
    lab.run()
    assert lab.units() == (DEAD, DEAD)
    with PrivateOvs() as newer:
        schema = newer.schema
    lab.ovs.restart_server(schema)
    assert lab.run().state == "held"
    assert lab.units() == (DEAD, DEAD)  # the old form still lets nothing through
    lab.set("tap", NONE)
    lab.run()
    assert_held(lab, "tap")
    lab.set("tap", dict(HELD, tag=7))
    lab.run()
    assert_released(lab, T7, *SIDES)
