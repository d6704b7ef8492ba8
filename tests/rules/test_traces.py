"""The traces of docs/design.md 4.10, as far as rows alone can tell the traces, on a real
ovsdb-server.

A run stands for a watcher that looks, no run for a watcher that is down. A plug is a new row; with
our hook the new row has the sibling's unit and a base at its birth. Some parts are tested
elsewhere, since they need the code of the hook or of the watcher:

* (d), (j), (o): that the hook reads again after add-port, and what it writes at birth;
* (g): that a port plugged on a listed bridge is born held;
* (m): that the hook appends no unit on a fake bridge;
* (n): that the hook takes iface-id and attached-mac off the dying row before the delete;
* (p): the watcher's clock: here the test says that the grace is over.
"""
import pytest

from support.constants import DEAD_FORM, HELD, SIDES
from support.lab import (
    DEAD,
    NONE,
    OPEN,
    OTHER,
    T5,
    T6,
    T7,
    TRUNK,
    XEN,
    A,
    B,
    Lab,
    add_port,
    base_of,
)
from support.rows import unit
from xenvif_tagger.core.port import after


@pytest.fixture
def lab(ovs):
    return Lab(ovs)


@pytest.fixture
def hold(ovs):
    return Lab(ovs, bridges=("br0",))


def pair(lab, **how):
    for side in SIDES:
        lab.plug(side, **how)
    lab.run()


def born(lab, side, **how):
    """Plug a row as our hook makes it: with the sibling's unit, and a base that names the
    sibling."""
    sibling = lab.ovs.port(lab.name(OTHER[side]))["_uuid"]
    found = lab.unit(OTHER[side])
    lab.plug(side, found, noted=base_of(found, sibling), **how)


def assert_both(lab, unit):
    assert lab.units() == (unit, unit)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("managed", [True, False])
def test_trace_a_retagged_at_once(lab, side, managed):
    pair(lab)
    if managed:
        lab.ids(side, iface_id="port-a")
    lab.bind(side, T5) if managed else lab.set(side, T5)
    lab.run()
    assert_both(lab, T5)
    lab.set(side, T7)
    lab.run()
    assert_both(lab, T7)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("looks", ["between", "after"])
def test_trace_b_tag_and_other_config_in_two_transactions(lab, side, looks):
    pair(lab)
    lab.ids(side, iface_id="port-a")
    lab.set(side, T5)
    if looks == "between":
        lab.run()
        assert_both(lab, T5)
    lab.bind(side)
    lab.run()
    assert_both(lab, T5)
    lab.set(side, T7)
    lab.run()
    assert_both(lab, T7)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("found", [DEAD, DEAD_FORM], ids=str)
@pytest.mark.parametrize("tagged", SIDES)
def test_trace_c_dead_while_the_watcher_is_down(lab, tagged, side, found):
    pair(lab)
    lab.set(tagged, T5)
    lab.run()
    lab.set(side, found)
    lab.run()
    assert_both(lab, found)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("meanwhile", [T7, DEAD, NONE, TRUNK], ids=str)
def test_trace_d_retagged_between_read_and_add_port(lab, side, meanwhile):
    """The watcher finds these rows if the hook's second look did not repair the rows."""
    pair(lab)
    lab.set("vif", T5)
    lab.run()
    lab.unplug(side)
    sibling = lab.ovs.port(lab.name(OTHER[side]))["_uuid"]
    lab.set(OTHER[side], meanwhile)
    lab.plug(side, T5, noted=base_of(T5, sibling))
    lab.run()
    assert_both(lab, meanwhile)


def launder(lab):
    """Write the vif's identity to the tap of the same number, as ovs-xapi-sync does."""
    lab.ids("tap", **{key.replace("-", "_"): value for key, value in A.items()})


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_trace_e_left_over_of_another_guest(lab, seen, early):
    """Either a run has seen the left-over row alive, or no run has seen the row and its device is
    gone. ovs-xapi-sync writes before or after the next run."""
    lab.plug("tap", unit(77), {"iface-id": "port-b", "x": "b"}, B)
    if seen:
        lab.run()
    else:
        lab.gone("tap")
    lab.plug("vif")
    if early:
        launder(lab)
    lab.run()
    launder(lab)
    lab.run()
    for _ in range(2):
        assert lab.unit("vif") == NONE and lab.iface("vif") == A and lab.port_ids("vif") == {}
        lab.unplug("vif")
        lab.run()
        lab.plug("vif")
        lab.run()
    lab.set("vif", T5)
    lab.run()
    assert lab.unit("vif") == T5
    lab.unplug("tap")
    lab.plug("tap")
    lab.run()
    assert_both(lab, T5)
    assert lab.iface("vif") == A and lab.iface("tap") == A


def test_trace_e_left_over_without_device_gets_an_identity_and_a_device(lab):
    """The new guest's tap appears: ovs-vswitchd opens the old row's device before the stock script
    deletes the row."""
    lab.plug("tap", unit(77), identity=B)
    lab.gone("tap")
    assert lab.run().state == "single"
    launder(lab)
    lab.ovs.transact({"op": "update", "table": "Interface", "where": [["name", "==", "tap12.0"]],
                      "row": {"ofport": 7, "error": ["set", []]}})
    lab.plug("vif")
    assert lab.run().state == "refused"
    assert lab.unit("vif") == NONE


@pytest.mark.parametrize("key", sorted(A))
@pytest.mark.parametrize("side", SIDES)
def test_trace_f_an_operator_removes_an_identity_key(lab, side, key):
    lab.paired(T5)
    lab.ids(side, **{key.replace("-", "_"): None})
    lab.run()
    assert lab.iface(OTHER[side]) == dict(A, probe="1")
    lab.set("vif", T7)
    lab.run()
    assert_both(lab, T7)


@pytest.mark.parametrize("tagged", SIDES)
@pytest.mark.parametrize("second", SIDES)
@pytest.mark.parametrize("looks", [True, False])
def test_trace_g_second_held_sibling_and_a_tag_while_the_watcher_is_down(hold, second, tagged,
                                                                         looks):
    hold.plug(OTHER[second], HELD, noted={"held": HELD})
    hold.plug(second, HELD, noted={"held": HELD})
    if looks:
        hold.run()
    hold.set(tagged, dict(HELD, tag=7))
    hold.run()
    assert_both(hold, T7)
    assert not any("held" in hold.mark(side) for side in SIDES)


def test_trace_g_marks_left_on_a_single_port(hold):
    hold.plug("vif", HELD, noted={"held": HELD})
    hold.plug("tap", HELD, noted={"held": HELD})
    hold.run()
    hold.set("vif", dict(HELD, tag=7))
    hold.unplug("tap")
    hold.run()
    assert hold.unit("vif") == T7 and "held" not in hold.mark("vif")


@pytest.mark.parametrize("alone", [True, False])
def test_trace_g_stock_set_trunks_on_a_held_port(hold, alone):
    """A dot1q-tunnel does not use its trunks: the held form with trunks lets nothing through, so
    the trunks stay."""
    hold.plug("vif", HELD, noted={"held": HELD})
    if not alone:
        hold.plug("tap", HELD, noted={"held": HELD})
    for trunks in ({"trunks": [5, 6]}, {}):
        hold.set("vif", dict(HELD, **trunks))
        hold.run()
        assert hold.unit("vif") == dict(HELD, **trunks) and (alone or hold.unit("tap") == HELD)
    hold.set("vif", dict(HELD, tag=5))
    hold.run()
    assert hold.unit("vif") == T5 and (alone or hold.unit("tap") == T5)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("looks", [True, False])
def test_trace_h_other_config_first_and_vlan_mode_never_cleared(ovs, side, held, looks):
    lab = Lab(ovs, bridges=("br0",))
    before, noted = (HELD, {"held": HELD}) if held else (DEAD_FORM, None)
    pair(lab, unit=before, noted=noted, ids={})
    lab.ids(side, iface_id="port-a")
    lab.bind(side)
    if looks:
        lab.run()
        assert_both(lab, before)
    lab.set(side, dict(before, tag=5))
    lab.run()
    assert_both(lab, T5 if held else unit(5, "trunk", [4095]))


@pytest.mark.parametrize("side", SIDES)
def test_trace_h_other_config_first_does_not_open_the_sibling(lab, side):
    """The port was re-plugged without our hook, and an older agent binds it: a run comes between
    the agent's two transactions."""
    lab.paired(T5)
    lab.unplug(side)
    lab.plug(side, ids={"iface-id": "port-a"})
    lab.bind(side)
    lab.run()
    assert lab.unit(OTHER[side]) == T5
    lab.set(side, T7)
    lab.run()
    assert_both(lab, T7)


STEPS = [DEAD_FORM, unit(5, "trunk", [4095]), T5]
SPLIT = [DEAD_FORM, unit(5, "trunk", [4095]), unit(5, None, [4095]), T5]


@pytest.mark.parametrize("steps", [STEPS, SPLIT], ids=["three", "four"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("looks", range(8))
@pytest.mark.parametrize("managed", [True, False])
def test_trace_i_dead_form_and_bind_in_steps(lab, managed, looks, side, steps):
    """looks: bit N says that the watcher looks after step N."""
    pair(lab)
    for number, step in enumerate(steps):
        lab.set(side, step)
        if managed and number == 1:
            lab.ids(side, iface_id="port-a")
            lab.bind(side)
        if looks >> number & 1:
            lab.run()
            assert_both(lab, step)
    lab.run()
    assert_both(lab, T5)


CLOSED = [TRUNK, unit(None, None, [5, 6]), unit(5, "native-untagged", [5, 6])]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("hooked", [True, False])
def test_trace_j_stock_clear_after_the_plug(lab, hooked, looks, side, closed):
    pair(lab)
    lab.set(OTHER[side], closed)
    lab.run()
    assert_both(lab, closed)
    lab.unplug(side)
    if hooked:
        born(lab, side)
    else:
        lab.plug(side)
        lab.run()
    if looks:
        lab.run()
    lab.set(side, {key: value for key, value in closed.items() if key != "trunks"})
    lab.run()
    assert_both(lab, closed)


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_trace_j_stock_clear_when_the_sibling_is_gone_by_then(lab, closed):
    pair(lab)
    lab.set("tap", closed)
    lab.run()
    lab.unplug("vif")
    born(lab, "vif")
    lab.unplug("tap")
    lab.set("vif", {key: value for key, value in closed.items() if key != "trunks"})
    lab.run()
    assert lab.unit("vif") == closed


@pytest.mark.parametrize("boot", ["now", "before", "unstamped"])
def test_trace_k_the_agent_binds_a_gone_emulated_row(lab, boot):
    emu = "vif12.0-emu"
    if boot == "unstamped":
        lab.plug(emu, identity=XEN, ofport=-1)
    else:
        lab.plug(emu, identity=XEN)
        lab.boot = None if boot == "now" else "boot-before"
        lab.run()
        lab.boot = None
        lab.gone(emu)
    lab.plug("vif", identity=XEN)
    lab.run()
    lab.ids(emu, iface_id="port-a")
    lab.bind(emu, T5)
    decision = lab.run()
    assert lab.unit(emu) == T5
    assert lab.unit("vif") == (T5 if boot == "now" else NONE)
    assert decision.state == ("mirrored" if boot == "now" else "refused")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tagged", SIDES)
def test_trace_l_a_clear_while_the_watcher_is_down(lab, tagged, side):
    pair(lab)
    lab.set(tagged, T5)
    lab.run()
    lab.set(side, NONE)
    lab.run()
    assert_both(lab, NONE)


def test_trace_m_fake_bridges_and_vif_move(lab):
    """xs-network-uuid tells the move: the fake bridges are no part of the decision."""
    moved = dict(A, **{"xs-network-uuid": "net-6"})
    for name, tag in (("fake5", "5"), ("fake6", "6")):
        lab.ovs.vsctl("add-br", name, "br0", tag)
    add_port(lab, "fake5", "vif")
    add_port(lab, "fake5", "tap")
    lab.run()
    assert_both(lab, T5)
    lab.unplug("vif")
    add_port(lab, "fake6", "vif", moved)
    assert lab.run().state == "refused" and lab.units() == (T6, T5)
    lab.unplug("vif")
    add_port(lab, "fake5", "vif")
    assert lab.run().state == "in-sync" and lab.units() == (T5, T5)
    lab.unplug("vif")
    add_port(lab, "fake6", "vif", moved)
    lab.unplug("tap")
    add_port(lab, "fake6", "tap", moved)
    assert lab.run().state == "in-sync" and lab.units() == (T6, T6)


@pytest.mark.parametrize("both", [True, False])
def test_trace_n_tap_deleted_at_take_over(lab, both):
    """Before the delete, the hook takes keys off the dying row: test_plug.py tests that part of
    (n)."""
    lab.plug("vif", T5, {"iface-id": "port-a"})
    lab.bind("vif")
    lab.plug("tap", ids={"iface-id": "port-a"} if both else {})
    lab.run()
    vif = lab.ovs.port("vif12.0"), lab.ovs.interface("vif12.0")
    # The watcher sees the hook's first transaction before the delete, and must not mirror it.
    lab.ids("tap", iface_id=None, attached_mac=None)
    lab.run()
    assert lab.ovs.interface("vif12.0") == vif[1]
    lab.unplug("tap")
    lab.run()
    assert (lab.ovs.port("vif12.0"), lab.ovs.interface("vif12.0")) == vif


@pytest.mark.parametrize("tagged", SIDES)
def test_trace_n_with_iface_id_both_the_dying_row_loses_its_iface_id(ovs, tagged):
    """With iface_id = both the vif is not (or not yet) the agent's own: the vif's iface-id must
    stay."""
    lab = Lab(ovs, iface_id="both")
    for side in SIDES:
        lab.plug(side, T5 if side == tagged else NONE, {"iface-id": "port-a"})
    lab.run()
    lab.ids("tap", iface_id=None, attached_mac=None)
    lab.unplug("tap")
    lab.run()
    assert lab.iface("vif", "iface-id") == "port-a" and lab.unit("vif") == T5


@pytest.mark.parametrize("hooked", [True, False])
@pytest.mark.parametrize("looks", [True, False])
def test_trace_o_vif_replugged(lab, looks, hooked):
    lab.plug("vif", T5, {"iface-id": "port-a"})
    lab.bind("vif")
    lab.plug("tap")
    lab.run()
    lab.unplug("vif")
    if looks:
        lab.run()
    if hooked:
        born(lab, "vif", ids={"iface-id": "port-a"})
    else:
        lab.plug("vif")
    lab.run()
    assert_both(lab, T5)
    assert lab.iface("vif", "iface-id") == "port-a" and lab.iface("tap", "iface-id") is None
    # The agent had forgotten the network and sets a new tag: the sibling's tag is stale.
    lab.bind("vif", T7)
    lab.run()
    assert_both(lab, T7)


@pytest.mark.parametrize("listed", [True, False])
def test_trace_p_the_agents_port_gone_for_longer_than_the_grace(ovs, listed):
    lab = Lab(ovs, bridges=("br0",) if listed else ())
    lab.plug("vif", T5, {"iface-id": "port-a"})
    lab.bind("vif")
    lab.plug("tap")
    lab.run()
    lab.unplug("vif")
    assert lab.run().state == "orphan" and lab.unit("tap") == T5
    decision = lab.core(expired=True)
    unit, ids = after(decision.tap, decision.changes)
    assert (decision.state, unit) == (("held", HELD) if listed else ("orphan", T5))
    if not listed:
        return
    lab.set("tap", unit)
    lab.ids("tap", "Port", **ids["Port"])
    # VLAN 5 is another network's by now. The vif comes back, and is held as the tap is, until an
    # agent sets a tag.
    lab.plug("vif")
    lab.run()
    assert_both(lab, HELD)
    assert lab.iface("vif", "iface-id") == "port-a"
    lab.bind("vif", dict(HELD, tag=6))
    lab.run()
    assert_both(lab, T6)


def test_trace_p_on_a_held_pair_that_was_released(hold):
    """The tap, the agent's own port, goes: the agent may give the vif's VLAN to another network."""
    hold.plug("vif", HELD, noted={"held": HELD})
    hold.plug("tap", HELD, {"iface-id": "port-a"}, noted={"held": HELD})
    hold.run()
    hold.bind("tap", dict(HELD, tag=5))
    hold.run()
    assert_both(hold, T5)
    hold.unplug("tap")
    assert hold.core(expired=True).state == "held"


def test_a_person_may_open_a_port_that_lost_its_trunks(lab):
    """A person may open a port in spite of the repair in (j)."""
    lab.paired(TRUNK)
    lab.set("vif", OPEN)
    lab.run("vif")
    assert_both(lab, OPEN)
