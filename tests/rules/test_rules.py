"""The rules of docs/design.md 4.3 to 4.5, on a real ovsdb-server: a test makes rows, runs the
one-shot driver once, and compares the rows.

Each test shows a sentence of the design; where a base is needed, an earlier run has written it. The
rules of 4.6 are in test_hold_rules.py.
"""

import pytest

from support.constants import HELD, NEUTRON, SIDES
from support.lab import (
    DEAD,
    DIFFER,
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
    assert_came_to,
    base_of,
)
from support.rows import unit
from xenvif_tagger.core import mark


def with_ids(**changed):
    made = dict(A)
    for key, value in changed.items():
        made.pop(key.replace("_", "-"))
        if value is not None:
            made[key.replace("_", "-")] = value
    return made


@pytest.mark.parametrize("identity", [
    A, with_ids(attached_mac="00:16:3E:00:00:0A"), {"xs-vif-uuid": "vif-a"},
    {"attached-mac": "00:16:3e:00:00:0a"}, with_ids(xs_vif_uuid=None, xs_vm_uuid=None)])
@pytest.mark.parametrize("side", SIDES)
def test_one_identity_key_on_both_and_no_contradiction_prove_a_pair(lab, side, identity):
    lab.plug(side, T5, identity=identity)
    lab.plug(OTHER[side])
    assert lab.run().state == "mirrored" and lab.units() == (T5, T5)


@pytest.mark.parametrize("identity", [
    B, with_ids(xs_vif_uuid="vif-b"), with_ids(xs_vm_uuid="vm-b"), with_ids(xs_network_uuid="n"),
    with_ids(attached_mac="00:16:3e:00:00:0b"),
    {"xs-vm-uuid": "vm-a", "xs-network-uuid": "net-a"}, {"xen-vm-uuid": "vm-a"}])
@pytest.mark.parametrize("side", SIDES)
def test_a_pair_with_a_contradiction_or_without_proof_is_refused(lab, side, identity):
    lab.plug(side, T5, {"iface-id": "port-a", "x": "1"}, identity)
    lab.plug(OTHER[side])
    assert_refused(lab)


def assert_refused(lab, ways=(None,) + SIDES):
    """A run writes nothing but our own mark, with --from too, and the command reports the
    refusal."""
    standing = lab.units(), [lab.iface(side) for side in SIDES], [
        lab.port_ids(side) for side in SIDES]
    for prefer in ways:
        decision = lab.run(prefer)
        assert decision.state == "refused" and decision.source is None
        assert standing == (lab.units(), [lab.iface(side) for side in SIDES],
                            [lab.port_ids(side) for side in SIDES])
    code, printed = lab.command("mirror", "port", "vif12.0")
    assert code == 1 and [pair["state"] for pair in printed["pairs"]] == ["refused"]


@pytest.mark.parametrize("tagged", SIDES)
@pytest.mark.parametrize("ids", [{}, {"iface-status": "active", "y": "2", "iface-id": "port-b"}],
                         ids=["bare", "with other keys"])
@pytest.mark.parametrize("side", SIDES)
def test_a_row_without_identity_is_refused(lab, side, ids, tagged):
    """No stock script makes a row without identity. In an earlier version such a row of another VM
    got the VLAN of the port with the same domid."""
    lab.plug(side, T5 if side == tagged else NONE, ids, identity={}, port_ids={"z": "3"})
    lab.plug(OTHER[side], NONE if side == tagged else T5, {"x": "1"})
    assert_refused(lab)


@pytest.mark.parametrize("side", SIDES)
def test_a_row_whose_identity_changed_under_its_stamp_stays_refused(lab, side):
    lab.plug(side, T7, identity=B)
    lab.run()
    lab.ids(side, **{key.replace("-", "_"): value for key, value in A.items()})
    lab.plug(OTHER[side])
    assert_refused(lab)
    lab.unplug(side)
    lab.plug(side)
    assert lab.run().state == "in-sync" and lab.units() == (NONE, NONE)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("tag", [10, 11])
def test_a_tag_that_a_fake_bridge_has_too_is_mirrored_as_any_tag(lab, tag, side):
    """dom0 has a VLAN network whose fake bridge has the tag that an agent sets."""
    lab.ovs.vsctl("add-br", "xapi5", "br0", "10")
    lab.plug("vif")
    lab.plug("tap")
    lab.run()
    lab.set(side, unit(tag))
    assert lab.run().state == "mirrored" and lab.units() == (unit(tag), unit(tag))
    code, printed = lab.command("status", "12")
    pair = printed["pairs"][0]
    assert (code, pair["state"], pair["bridge"]) == (0, "in-sync", "br0")


def test_ports_plugged_on_fake_bridges(lab):
    """ovs-vsctl add-port on a fake bridge sets the tag; xs-network-uuid tells a VIF.move between
    two fake bridges."""
    for name, tag in (("fake5", "5"), ("fake6", "6")):
        lab.ovs.vsctl("add-br", name, "br0", tag)
    add_port(lab, "fake5", "vif")
    add_port(lab, "fake5", "tap")
    assert lab.run().state == "in-sync" and lab.units() == (T5, T5)
    lab.unplug("vif")
    add_port(lab, "fake6", "vif", dict(A, **{"xs-network-uuid": "net-6"}))
    assert_refused(lab)
    assert lab.units() == (T6, T5)


@pytest.mark.parametrize("side", SIDES)
def test_siblings_on_different_bridges_are_refused(lab, side):
    lab.ovs.add_bridge("br1")
    lab.plug(side, T5, bridge="br1")
    lab.plug(OTHER[side])
    assert_refused(lab)


@pytest.mark.parametrize("how", [{"ofport": -1}, {"error": "could not open network device"}])
@pytest.mark.parametrize("stamped", ["now", "before", None])
@pytest.mark.parametrize("side", SIDES)
def test_a_row_that_is_gone_lends_if_stamped_in_this_boot(lab, side, stamped, how):
    lab.plug(side, T6, {"x": "1"}, **({} if stamped else how))
    if stamped:
        lab.boot = "boot-before" if stamped == "before" else None
        lab.run()
        lab.boot = None
        lab.interface(side, **how)
    lab.plug(OTHER[side])
    if stamped == "now":
        assert lab.run().state == "mirrored" and lab.units() == (T6, T6)
        assert lab.iface(OTHER[side], "x") == "1"
    else:
        assert_refused(lab, (None, side))


@pytest.mark.parametrize("side", SIDES)
def test_a_living_row_lends_whatever_boot_is_in_its_stamp(lab, side):
    """The database was restored from a backup made before the last boot."""
    lab.boot = "boot-before"
    lab.plug(side, T6)
    lab.run()
    lab.boot = None
    lab.plug(OTHER[side])
    assert lab.run().state == "mirrored" and lab.units() == (T6, T6)


def test_a_port_that_is_not_opened_yet_lends(lab):
    lab.plug("tap", T5)
    lab.plug("vif")
    assert lab.ovs.interface("tap12.0")["ofport"] == []
    assert lab.run().state == "mirrored" and lab.units() == (T5, T5)


# ---- 4.1 Pair -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["vif", "vif12.0-emu"])
def test_the_names_of_a_pair_of_libxl(lab, side):
    other = "vif12.0-emu" if side == "vif" else "vif"
    lab.plug(side, T5, identity=XEN)
    lab.plug(other, identity=XEN)
    assert lab.run().state == "mirrored" and lab.unit(other) == T5


def test_a_vif_with_two_emulated_nics_is_refused(lab):
    for side in SIDES + ("vif12.0-emu",):
        lab.plug(side, NONE if side == "vif" else T5)
    assert lab.run().state == "refused" and lab.unit("vif") == NONE


@pytest.mark.parametrize("name", [
    "vif12.0x", "vif012.0", "tap12.0-emu", "vif12", "vif-1.0", "tap12.00", "Vif12.0", "vif12.0.0",
    "vif\u0661\u0662.0", "vif\u00b912.0", "tap 12.0", "tap+12.0", "tap12.0_"])
def test_a_port_with_a_name_like_a_vifs_is_left_alone(lab, name):
    lab.plug(name, T5)
    lab.plug("tap" if name.startswith("vif") else "vif")
    before = lab.ovs.port(name)
    assert lab.run().state == "single"
    code, printed = lab.command("mirror", "all")
    assert code == 0 and lab.ovs.port(name) == before
    assert not any(side and side["port"] == name for pair in printed["pairs"]
                   for side in (pair["vif"], pair["tap"]))


def test_domains_1_12_and_120_are_not_mixed_up(lab):
    lab.plug("vif", T5)
    lab.plug("tap")
    for domid, tags in (("12", (5, 5)), ("1", (11, 11)), ("120", (12, 12))):
        others = {name: lab.ovs.port(name) for name in ("vif1.0", "tap1.0", "vif12.0", "tap12.0",
                                                        "vif120.0", "tap120.0", "vif12.1", "eth0")}
        code, printed = lab.command("mirror", "dom", domid)
        first = printed["pairs"][0]
        assert (code, first["state"], first["domid"]) == (0, "mirrored", int(domid))
        assert (first["vif"]["tag"], first["tap"]["tag"]) == tags
        for name, row in others.items():
            if not name.startswith(("vif%s." % domid, "tap%s." % domid)):
                assert lab.ovs.port(name) == row


# ---- 4.4 What is mirrored -----------------------------------------------------------------------

WHOLE = [T5, unit(0), DEAD, TRUNK, unit(None, None, [5, 6]), unit(5, "native-untagged", [5, 6]),
         unit(5, "native-tagged", [6]), unit(5, "access"), unit(5, "dot1q-tunnel", [], [7, 8]),
         unit(None, None, [], [7]), unit(4095, "trunk", [4095]), unit(5, "trunk", [1, 2, 4095])]


@pytest.mark.parametrize("unit", WHOLE, ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_the_unit_is_lent_to_an_empty_sibling_as_a_whole(lab, side, unit):
    lab.plug(side, unit)
    lab.plug(OTHER[side])
    decision = lab.run()
    assert (decision.state, decision.source, decision.target) == (
        "mirrored", lab.name(side), lab.name(OTHER[side]))
    assert lab.units() == (unit, unit)


@pytest.mark.parametrize("unit", WHOLE, ids=str)
@pytest.mark.parametrize("was", [NONE, T6, unit(7, "dot1q-tunnel", [], [9])], ids=str)
def test_a_retag_replaces_the_whole_unit(lab, was, unit):
    lab.paired(was)
    lab.set("tap", unit)
    assert lab.run().state == "mirrored" and lab.units() == (unit, unit)


ETHTYPE, PRIORITY = "802.1q", "if-nonzero"


@pytest.mark.parametrize("side", SIDES)
def test_qinq_ethtype_and_priority_tags_are_of_the_unit(lab, side):
    """qinq-ethtype and priority-tags are VLAN settings of Open vSwitch in a Port's other_config. We
    write no other key of other_config."""
    tunnel = unit(100, "dot1q-tunnel", [], [10, 20])
    lab.paired(T5)
    lab.other_config(side, dict(NEUTRON, **{"qinq-ethtype": ETHTYPE, "priority-tags": PRIORITY,
                                            "x": "1"}))
    lab.other_config(OTHER[side], {"y": "2"})
    lab.set(side, tunnel)
    assert lab.run().source == lab.name(side)
    assert lab.units() == (tunnel, tunnel)
    sibling = lab.name(OTHER[side])
    assert lab.ovs.port(sibling)["other_config"] == {
        "y": "2", "qinq-ethtype": ETHTYPE, "priority-tags": PRIORITY}
    lab.other_config(side, {"qinq-ethtype": ETHTYPE, "priority-tags": "never"})
    lab.run()
    assert lab.ovs.port(sibling)["other_config"] == {
        "y": "2", "qinq-ethtype": ETHTYPE, "priority-tags": "never"}
    lab.other_config(side, {})
    lab.run()
    assert lab.ovs.port(sibling)["other_config"] == {"y": "2"}
    assert lab.ovs.port(lab.name(side))["other_config"] == {}


@pytest.mark.parametrize("side", SIDES)
def test_a_new_sibling_gets_qinq_ethtype_too(lab, side):
    lab.plug(side, unit(100, "dot1q-tunnel"), other_config={"qinq-ethtype": ETHTYPE, "x": "1"})
    lab.plug(OTHER[side])
    assert lab.run().source == lab.name(side)
    assert lab.ovs.port(lab.name(OTHER[side]))["other_config"] == {"qinq-ethtype": ETHTYPE}


NEVER = {"iface-status": "active", "ovn-installed": "true", "ovn-installed-ts": "1"}


@pytest.mark.parametrize("side", SIDES)
def test_other_columns_and_keys_are_never_mirrored(lab, side):
    ids = dict(NEVER, **{"vm-id": "a b, c=d", "quote": '"\\{', "empty": "", "sn\u00f6": "\u2603"})
    lab.plug(side, T5, ids, port_ids=dict(ids, fake="1"), other_config=dict(NEUTRON, x="1"))
    lab.plug(OTHER[side])
    lab.run()
    given = {key: value for key, value in ids.items() if key not in NEVER}
    assert lab.iface(OTHER[side]) == dict(A, **given)
    assert lab.port_ids(OTHER[side]) == dict(given, fake="1")
    assert lab.ovs.port(lab.name(OTHER[side]))["other_config"] == {}


@pytest.mark.parametrize("missing", ["xs_vif_uuid", "xs_vm_uuid", "attached_mac"])
def test_identity_keys_are_not_given_to_a_row_that_has_one(lab, missing):
    lab.plug("vif", T5)
    lab.plug("tap", identity=with_ids(**{missing: None}))
    lab.run()
    assert lab.iface("tap") == with_ids(**{missing: None}) and lab.iface("vif") == A


@pytest.mark.parametrize("side", SIDES)
def test_iface_id_on_one_is_kept_in_the_mark_and_given_back(lab, side):
    lab.paired(T5, **{"iface-id": "port-a"} if side == "vif" else {})
    if side == "tap":
        lab.ids("tap", iface_id="port-a")
        lab.run()
    assert lab.iface(OTHER[side], "iface-id") is None
    lab.unplug(side)
    lab.run()
    lab.plug(side)
    lab.run()
    assert lab.iface(side, "iface-id") == "port-a" and lab.units() == (T5, T5)
    assert lab.iface(OTHER[side], "iface-id") is None
    # An iface-id that somebody else has removed is not brought back.
    lab.ids(side, iface_id=None)
    lab.run()
    assert lab.iface(side, "iface-id") is None
    lab.unplug(side)
    lab.plug(side)
    lab.run()
    assert lab.iface(side, "iface-id") is None


def test_with_iface_id_one_we_remove_no_iface_id_from_two_rows_that_have_it(lab):
    lab.plug("vif", T5, {"iface-id": "port-a"})
    lab.plug("tap", NONE, {"iface-id": "port-a"})
    lab.run()
    assert [lab.iface(side, "iface-id") for side in SIDES] == ["port-a"] * 2


def test_with_iface_id_both_the_sibling_gets_iface_id(ovs):
    lab = Lab(ovs, iface_id="both").paired(T5, **{"iface-id": "port-a"})
    assert lab.iface("tap", "iface-id") == "port-a"
    lab.ids("tap", iface_id="port-b")
    lab.run()
    assert lab.iface("vif", "iface-id") == "port-b"
    lab.ids("vif", iface_id=None)
    lab.run()
    assert lab.iface("tap", "iface-id") is None


def test_exclude_names_a_key_or_the_beginning_of_keys(ovs):
    lab = Lab(ovs, exclude=("vm-id", "nsx*"))
    ids = {"vm-id": "1", "vm-id2": "2", "nsx": "3", "nsx-a": "4", "ns": "5"}
    lab.plug("vif", T5, ids, port_ids=ids)
    lab.plug("tap")
    lab.run()
    assert lab.iface("tap") == dict(A, **{"vm-id2": "2", "ns": "5"})
    assert lab.port_ids("tap") == {"vm-id2": "2", "ns": "5"}


@pytest.mark.parametrize("on", [True, False])
def test_policing_is_mirrored_only_by_option(ovs, on):
    lab = Lab(ovs, policing=on).paired(T5)
    lab.interface("vif", ingress_policing_rate=1000, ingress_policing_burst=100)
    assert lab.run().state == ("mirrored" if on else "in-sync")
    row = ovs.interface("tap12.0")
    assert (row["ingress_policing_rate"], row["ingress_policing_burst"]) == (
        (1000, 100) if on else (0, 0))
    lab.interface("tap", ingress_policing_rate=0)
    lab.run()
    assert ovs.interface("vif12.0")["ingress_policing_rate"] == (0 if on else 1000)


# ---- 4.5 Which way: rules 2, 3, 4 and 7 ----------------------------------------------------------


# (the unit in which both rows were alike; the present unit of one row; the present unit of the
# other row; the unit of both after a run; the unit of both after a run without a base)
HISTORIES = [
    (NONE, NONE, NONE, NONE, NONE),
    (T5, T5, T5, T5, T5),
    (T5, T7, T7, T7, T7),
    (NONE, T5, NONE, T5, T5),
    (NONE, DEAD, NONE, DEAD, DEAD),
    (T5, T7, T5, T7, DIFFER),
    (T5, NONE, T5, NONE, T5),
    (T5, DEAD, T5, DEAD, DIFFER),
    (DEAD, T5, DEAD, T5, DIFFER),
    (T5, TRUNK, T5, TRUNK, DIFFER),
    (T5, unit(5, "access"), T5, unit(5, "access"), DIFFER),
    (T5, T6, T7, DIFFER, DIFFER),
    (NONE, T6, T7, DIFFER, DIFFER),
    (T5, NONE, T7, DIFFER, T7),
    (T5, DEAD, NONE, DIFFER, DEAD),
    # A row that lost its trunks and nothing else is repaired where the loss opens the port.
    (TRUNK, OPEN, TRUNK, TRUNK, DIFFER),
    (TRUNK, OPEN, OPEN, TRUNK, OPEN),
    (unit(None, None, [5, 6]), NONE, unit(None, None, [5, 6]), unit(None, None, [5, 6]),
     unit(None, None, [5, 6])),
    (unit(5, "native-untagged", [5]), unit(5, "native-untagged"), unit(5, "native-untagged", [5]),
     unit(5, "native-untagged", [5]), DIFFER),
    (unit(5, "native-tagged", [5]), unit(5, "native-tagged"), unit(5, "native-tagged", [5]),
     unit(5, "native-tagged", [5]), DIFFER),
    (TRUNK, OPEN, T7, T7, DIFFER),
    # Where the loss opens nothing, or more than the trunks went, an agent or a person has decided.
    (unit(5, None, [5]), T5, unit(5, None, [5]), T5, DIFFER),
    (unit(5, "access", [5]), unit(5, "access"), unit(5, "access", [5]), unit(5, "access"), DIFFER),
    (TRUNK, NONE, TRUNK, NONE, TRUNK),
    (TRUNK, unit(None, "trunk", [5]), TRUNK, unit(None, "trunk", [5]), DIFFER),
    (unit(5, "trunk", [5]), OPEN, unit(5, "trunk", [5]), OPEN, DIFFER),
]


@pytest.mark.parametrize("was,one,other,expected,_", HISTORIES, ids=str)
@pytest.mark.parametrize("holder", SIDES)
@pytest.mark.parametrize("side", SIDES)
def test_rules_2_3_4_7_with_a_base(lab, side, holder, was, one, other, expected, _):
    lab.paired(was, holder)
    lab.set(side, one)
    lab.set(OTHER[side], other)
    found = lab.units()
    assert_came_to(lab, lab.run(), expected, found)


@pytest.mark.parametrize("_,one,other,__,expected", HISTORIES, ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_rules_2_3_4_7_without_a_base(lab, side, _, one, other, __, expected):
    lab.plug(side, one)
    lab.plug(OTHER[side], other)
    found = lab.units()
    assert_came_to(lab, lab.run(), expected, found)


# (the unit in which both rows were alike; the follower's present unit; the unit of the new row on
# the other side; the unit of both after a run). A base that names a deleted row says nothing about
# the units.
REPLUGGED = [
    (T5, T5, NONE, T5), (T5, T5, T7, DIFFER), (T5, T5, DEAD, DIFFER), (NONE, NONE, T5, T5),
    (T5, T6, NONE, T6), (T5, DEAD, NONE, DEAD), (T5, T6, T7, DIFFER), (T5, NONE, T7, T7),
    (T5, NONE, NONE, NONE), (T5, T6, T5, DIFFER), (TRUNK, OPEN, NONE, TRUNK),
]


@pytest.mark.parametrize("was,follower,new,expected", REPLUGGED, ids=str)
@pytest.mark.parametrize("holder", SIDES)
def test_a_base_that_names_a_deleted_row_decides_nothing(lab, holder, was, follower, new, expected):
    lab.paired(was, holder)
    lab.unplug(OTHER[holder])
    lab.set(holder, follower)
    lab.plug(OTHER[holder], new)
    found = lab.units()
    assert_came_to(lab, lab.run(), expected, found)


@pytest.mark.parametrize("left,new,expected", [(T5, NONE, T5), (T5, T5, T5), (T5, T7, DIFFER)])
@pytest.mark.parametrize("holder", SIDES)
def test_rows_whose_base_was_deleted_are_decided_without_a_base(lab, holder, left, new, expected):
    lab.paired(T5, holder)
    lab.unplug(holder)
    lab.plug(holder, new)
    found = lab.units()
    assert_came_to(lab, lab.run(), expected, found)


@pytest.mark.parametrize("vif,tap,expected", [
    (T5, T7, T7), (T7, T5, T7), (T5, NONE, NONE), (NONE, T5, NONE), (T6, T7, DIFFER)], ids=str)
def test_rule_5_of_two_bases_the_one_that_names_the_other_row_counts(lab, vif, tap, expected):
    """Our hook makes such rows when it creates the vif anew: the tap's base names the old vif."""
    lab.paired(T5)
    lab.unplug("vif")
    lab.plug("vif", T5, noted=base_of(T5, lab.ovs.port("tap12.0")["_uuid"]))
    lab.set("vif", vif)
    lab.set("tap", tap)
    assert_came_to(lab, lab.run(), expected, (vif, tap))


@pytest.mark.parametrize("both_name", [True, False])
@pytest.mark.parametrize("vif,tap,expected", [
    (T5, T5, T5), (T5, T7, DIFFER), (T7, T5, DIFFER), (T5, NONE, T5)], ids=str)
def test_rule_5_of_two_bases_both_or_neither_name_the_other_row(lab, vif, tap, expected, both_name):
    lab.paired(T5)
    port = lab.ovs.port("tap12.0")["_uuid"] if both_name else "port-gone"
    lab.note("vif", **base_of(T5, port))
    if not both_name:
        lab.note("tap", **base_of(T5, "port-gone"))
    lab.set("vif", vif)
    lab.set("tap", tap)
    assert_came_to(lab, lab.run(), expected, (vif, tap))


@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_rule_7_whoever_changes_after_a_conflict_wins(lab, side, base):
    if base:
        lab.paired(T5)
        lab.set("vif", T6)
        lab.set("tap", T7)
    else:
        lab.plug("vif", T6)
        lab.plug("tap", T7)
    assert lab.run().state == "conflict"
    assert lab.run().changes == []
    lab.set(side, T5)
    decision = lab.run()
    assert decision.source == lab.name(side)
    assert_came_to(lab, decision, T5, None)


@pytest.mark.parametrize("side", SIDES)
def test_rule_7_clearing_one_side_of_a_conflict_chooses_the_other_side(lab, side):
    """The vif has tag 6, the tap 7, the base 5: in an earlier version a clear of the tap's tag
    opened both ports."""
    lab.paired(T5)
    lab.set("vif", T6)
    lab.set("tap", T7)
    assert lab.run().state == "conflict"
    lab.set(side, NONE)
    decision = lab.run()
    assert decision.source == lab.name(OTHER[side])
    assert_came_to(lab, decision, T7 if side == "vif" else T6, None)


def test_rule_7_a_conflict_stays_if_both_rows_changed(lab):
    lab.plug("vif", T6)
    lab.plug("tap", T7)
    lab.run()
    lab.set("vif", T5)
    lab.set("tap", DEAD)
    assert_came_to(lab, lab.run(), DIFFER, (T5, DEAD))


@pytest.mark.parametrize("side", SIDES)
def test_from_resolves_a_conflict(lab, side):
    lab.plug("vif", T6, {"x": "vif"})
    lab.plug("tap", T7, {"x": "tap"})
    code, printed = lab.command("mirror", "dom", "12")
    assert code == 1 and printed["pairs"][0]["state"] == "conflict"
    assert lab.command("check")[0] == 1
    code, printed = lab.command("mirror", "port", "vif12.0", "--from", side)
    assert code == 0 and printed["pairs"][0]["state"] == "mirrored"
    wanted = T6 if side == "vif" else T7
    assert lab.units() == (wanted, wanted)
    assert [lab.iface(each, "x") for each in SIDES] == [side, side]


@pytest.mark.parametrize("side", SIDES)
def test_from_may_open_a_trunk(lab, side):
    lab.paired(TRUNK)
    lab.set(side, OPEN)
    lab.run(side)
    assert lab.units() == (OPEN, OPEN)


# ---- 4.5 rule 1 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own,other", [
    (T5, NONE), (T5, T7), (DEAD, T5), (T5, DEAD), (unit(4095, "trunk", [4095]), T5), (TRUNK, T7)])
@pytest.mark.parametrize("base", [None, "own", "other"])
@pytest.mark.parametrize("side", SIDES)
def test_rule_1_the_agents_own_port_decides_and_is_not_written(lab, side, base, own, other):
    if base:
        lab.paired(T6, side if base == "own" else OTHER[side])
        lab.set(side, own)
        lab.set(OTHER[side], other)
    else:
        lab.plug(side, own)
        lab.plug(OTHER[side], other)
    lab.ids(side, iface_id="port-a", x="own")
    lab.ids(OTHER[side], vm_id="vm")
    lab.bind(side)
    before = lab.ovs.interface(lab.name(side))
    decision = lab.run()
    assert decision.source == lab.name(side) and lab.units() == (own, own)
    assert lab.ovs.interface(lab.name(side)) == before
    sibling = lab.ovs.port(lab.name(OTHER[side]))
    assert sibling["other_config"] == {}
    assert lab.iface(OTHER[side], "x") == "own"
    assert lab.iface(OTHER[side], "iface-id") is None
    # The agent's own port decides even if a person chooses the other row.
    lab.set(OTHER[side], T7)
    lab.run(OTHER[side])
    assert lab.unit(side) == own


@pytest.mark.parametrize("both", [True, False], ids=["iface-id on both", "on one"])
@pytest.mark.parametrize("side", SIDES)
def test_rule_1_the_agent_may_make_the_other_port_dead(lab, side, both):
    """With iface-id on both rows the agent takes the Interface modified last, and the agent's notes
    stay on the row that the agent had before."""
    lab.paired(T5)
    lab.ids(side, iface_id="port-a")
    lab.bind(side)
    if both:
        lab.ids(OTHER[side], iface_id="port-a")
    lab.run()
    lab.set(OTHER[side], DEAD)
    lab.run()
    assert lab.units() == ((DEAD, DEAD) if both else (T5, T5))
    if both:
        lab.set(OTHER[side], T5)
        lab.run()
        assert lab.units() == (T5, T5)


@pytest.mark.parametrize("side", SIDES)
def test_rule_1_needs_iface_id_and_net_uuid(lab, side):
    """The agent's notes in other_config stay on a row that the agent has left, without iface-id."""
    lab.paired(T5)
    lab.bind(side)
    lab.set(OTHER[side], T7)
    lab.run()
    assert lab.units() == (T7, T7)


@pytest.mark.parametrize("base", [True, False])
def test_rule_1_with_both_rows_managed(lab, base):
    for side in SIDES:
        lab.plug(side, T5 if base else unit(5 + SIDES.index(side)), {"iface-id": "port-a"})
        lab.bind(side)
    if base:
        lab.run()
        lab.set("tap", T6)
        lab.run()
        assert lab.units() == (T6, T6)
    else:
        assert_came_to(lab, lab.run(), DIFFER, (T5, T6))


@pytest.mark.parametrize("side", SIDES)
def test_both_managed_in_different_networks(lab, side):
    """If both rows had one tag, the agent's restart would end in a KeyError
    (_restore_local_vlan_map)."""
    for each in SIDES:
        lab.plug(each, T5, {"iface-id": "port-a"})
        lab.bind(each)
    lab.run()
    lab.bind(side, T6, net_uuid="net-2")
    assert lab.run().state == DIFFER
    assert lab.units() == ((T6, T5) if side == "vif" else (T5, T6))
    lab.bind(OTHER[side], net_uuid="net-2")  # the agent now has both ports in one network
    lab.run()
    assert lab.units() == (T6, T6)


@pytest.mark.parametrize("side", SIDES)
def test_lost_trunks_of_the_agents_own_port_are_not_copied(lab, side):
    """Rule 4: "a row, follower or owner, that lost only its trunks is repaired"."""
    lab.paired(TRUNK)
    lab.ids(side, iface_id="port-a")
    lab.bind(side)
    lab.run()
    lab.set(side, OPEN)
    lab.run()
    assert lab.unit(OTHER[side]) == TRUNK


# ---- 4.5 rule 6 ---------------------------------------------------------------------------------

# (a key's value when both rows were alike; the key's present value on one row; the key's present
# value on the other row; the values on both after a run)
KEYS = [
    ("1", "2", "1", ("2", "2")), ("1", None, "1", (None, None)), (None, "2", None, ("2", "2")),
    ("1", "2", "3", ("2", "3")), (None, "2", "3", ("2", "3")), ("1", None, None, (None, None)),
    ("1", "2", "2", ("2", "2")), ("1", "", "1", ("", ""))]


@pytest.mark.parametrize("was,one,other,expected", KEYS)
@pytest.mark.parametrize("table", ["Port", "Interface"])
@pytest.mark.parametrize("side", SIDES)
def test_rule_6_with_a_base(lab, side, table, was, one, other, expected):
    lab.paired(T5)
    lab.ids("vif", table, x=was)
    lab.run()
    lab.ids(side, table, x=one)
    lab.ids(OTHER[side], table, x=other)
    decision = lab.run()
    found = lab.port_ids if table == "Port" else lab.iface
    assert (found(side).get("x"), found(OTHER[side]).get("x")) == expected
    assert ("each port keeps its own x" in decision.reason) == (expected[0] != expected[1])


@pytest.mark.parametrize("one,other,expected", [
    ("1", None, ("1", "1")), ("1", "2", ("1", "2")), ("1", "1", ("1", "1"))])
@pytest.mark.parametrize("table", ["Port", "Interface"])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stale", [True, False])
def test_rule_6_without_a_base(lab, stale, side, table, one, other, expected):
    if stale:
        lab.paired(T5, side)
        lab.unplug(OTHER[side])
    else:
        lab.plug(side, T5)
    lab.plug(OTHER[side], T5)
    lab.ids(side, table, x=one)
    lab.ids(OTHER[side], table, x=other)
    lab.run()
    found = lab.port_ids if table == "Port" else lab.iface
    assert (found(side).get("x"), found(OTHER[side]).get("x")) == expected


@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_rule_6_holds_beside_the_agents_own_port(lab, side, base):
    """The sibling's value can't go to the Interface row of the agent's own port, so each row keeps
    its value: rules 1 to 5 compare units only, and the program that wrote the sibling's value would
    write that value again."""
    lab.plug(side, T5, {"iface-id": "port-a", "x": "own"}, other_config=NEUTRON)
    lab.plug(OTHER[side], T5, {"x": "own" if base else "other"})
    if base:
        lab.run()
        lab.ids(OTHER[side], x="other")
    decision = lab.run()
    assert (lab.iface(side, "x"), lab.iface(OTHER[side], "x")) == ("own", "other")
    assert "each port keeps its own x" in decision.reason


# ---- 4.5 rule 8, and nothing to do --------------------------------------------------------------


def follow_the_agents(lab, gone="vif"):
    """The agent binds the port of side `gone` in net-1, the sibling follows, and the agent's port
    is unplugged."""
    lab.plug(gone, ids={"iface-id": "port-a"})
    lab.bind(gone, T5)
    lab.plug(OTHER[gone])
    lab.run()
    assert lab.mark(OTHER[gone])["base"]["network"] == "net-1"
    lab.unplug(gone)
    assert lab.run().state == "orphan" and lab.unit(OTHER[gone]) == T5


def give_away(lab, tag=5, network="net-2", bridge="br0", **columns):
    """Add another tenant's port, bound by the agent to this VLAN."""
    lab.ovs.add_port(bridge, "vif20.0", dict(B, **{"iface-id": "port-b"}), tag=tag, other_config={
        "net_uuid": network, "tag": str(tag)}, **columns)


@pytest.mark.parametrize("gone", SIDES)
def test_an_orphan_whose_vlan_is_another_networks_is_closed_on_any_bridge(lab, gone):
    """In an earlier version the tap heard 1,582 of 1,582 broadcasts of the tenant that had got the
    tap's VLAN."""
    follow_the_agents(lab, gone)
    give_away(lab)
    orphan = OTHER[gone]
    code, printed = lab.command("check", "12")
    assert code == 1 and "another network" in printed["pairs"][0]["reason"]
    code, printed = lab.command("mirror", "all")
    assert lab.unit(orphan) == HELD and "held" in lab.mark(orphan)
    assert lab.unit("vif20.0") == T5
    assert lab.run().changes == []
    # A sibling that is plugged anew is held, too, until the agent binds that port.
    lab.plug(gone, ids={"iface-id": "port-a"})
    lab.run()
    assert lab.units() == (HELD, HELD)
    lab.bind(gone, unit(6), tag="6")
    lab.run()
    assert lab.units() == (T6, T6)


@pytest.mark.parametrize("gone", SIDES)
def test_a_choice_by_hand_does_not_keep_a_vlan_that_is_another_networks(lab, gone):
    follow_the_agents(lab, gone)
    give_away(lab)
    assert lab.run(OTHER[gone]).state == "held" and lab.unit(OTHER[gone]) == HELD


@pytest.mark.parametrize("side", SIDES)
def test_from_names_a_side_that_has_no_port(lab, side):
    follow_the_agents(lab, side)
    decision = lab.run(side)
    assert decision.state == "refused" and decision.changes == []
    assert decision.reason.startswith("there is no %s that could be the source" % side)


@pytest.mark.parametrize("side", SIDES)
def test_the_notes_of_a_row_say_whose_the_siblings_vlan_is(lab, side):
    """The agent's notes are on a row that has no tag; the sibling has the tag of the notes. Whoever
    reads the rows of one VIF, and whoever reads all rows, finds that the VLAN is another network's.
    """
    lab.plug(side, other_config={"net_uuid": "net-1", "tag": "5"})
    lab.plug(OTHER[side], T5)
    give_away(lab)
    _, printed = lab.command("status")
    found = [pair for pair in printed["pairs"] if pair["domid"] == 12]
    assert "another network" in found[0]["reason"]
    lab.run()
    assert lab.unit(OTHER[side]) == HELD and lab.unit(side) in ({}, HELD)


@pytest.mark.parametrize("how", [
    {"network": "net-1"}, {"tag": 6}, {"bridge": "br1"}, {"ofport": -1}], ids=str)
def test_a_port_that_does_not_prove_that_a_vlan_was_given_away(lab, how):
    """The port is in the orphan's network, has another tag, is on another bridge, or has no
    device."""
    lab.ovs.add_bridge("br1")
    follow_the_agents(lab)
    give_away(lab, **how)
    assert lab.run().state == "orphan" and lab.unit("tap") == T5


def test_a_port_that_the_agent_has_only_tagged_is_no_proof(lab):
    """The agent writes a port's tag before its notes in other_config: until then the notes name the
    port's former tag."""
    follow_the_agents(lab)
    lab.ovs.add_port("br0", "vif20.0", dict(B, **{"iface-id": "port-b"}), tag=5, other_config={
        "net_uuid": "net-2", "tag": "9"})
    assert lab.run().state == "orphan" and lab.unit("tap") == T5


def test_a_vif_that_was_moved_leaves_an_orphan(lab):
    """The pair is refused, and the tap's base names the vif's deleted row."""
    lab.ovs.add_bridge("br1")
    follow_the_agents(lab)
    lab.plug("vif", T6, bridge="br1")
    decision = lab.run()
    assert decision.state == "refused" and lab.unit("tap") == T5
    assert [port.name for port in lab.core().orphans] == ["tap12.0"]
    give_away(lab)
    lab.run()
    assert lab.units() == (T6, HELD)


def test_the_agents_own_port_with_another_networks_vlan_is_reported(lab):
    """Such a row is left when both rows had iface-id and the stock script deleted the tap: the
    agent took the VLAN back, and the vif kept its tag and net_uuid."""
    lab.plug("vif", ids={"iface-id": "port-a"})
    lab.bind("vif", T5)
    assert lab.run().state == "single"
    give_away(lab)
    assert lab.run().state == "conflict" and lab.unit("vif") == T5
    code, printed = lab.command("check", "12")
    assert code == 1 and "forgotten" in printed["pairs"][0]["reason"]


@pytest.mark.parametrize("holder", SIDES)
def test_rule_8_an_orphan_keeps_its_unit_and_lends_it(lab, holder):
    lab.paired(T5, holder)
    lab.unplug(OTHER[holder])
    assert lab.run().state == "orphan" and lab.unit(holder) == T5
    assert lab.core(expired=True).state == "orphan"
    lab.plug(OTHER[holder])
    assert lab.run().state == "mirrored" and lab.units() == (T5, T5)


@pytest.mark.parametrize("side", SIDES)
def test_a_port_without_sibling_is_stamped_and_left(lab, side):
    lab.plug(side, T5)
    decision = lab.run()
    assert decision.state == "single" and lab.unit(side) == T5
    assert lab.mark(side) == {"vif": {"xs-vif-uuid": "vif-a"}, "boot": lab.shot().settings.boot}
    assert lab.command("mirror", "dom", "12")[0] == 0


def test_a_run_with_nothing_to_do_makes_no_transaction(lab):
    lab.paired(T5)
    count = lab.transactions()
    code, printed = lab.command("mirror", "dom", "12")
    assert code == 0 and [pair["state"] for pair in printed["pairs"]] == ["in-sync", "single"]
    # The run stamped vif12.1, a row that no run had seen before.
    assert lab.transactions() == count + 1
    assert lab.command("mirror", "dom", "12")[0] == 0
    assert lab.transactions() == count + 1


def test_rows_that_are_alike_from_the_start_get_only_a_base(lab):
    lab.plug("vif", T5)
    lab.plug("tap", T5)
    decision = lab.run()
    assert decision.state == "in-sync"
    assert {change.key for change in decision.changes} == {mark.KEY}
    assert "base" in lab.mark("tap") and "base" not in lab.mark("vif")
