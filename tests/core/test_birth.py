"""The unit and the ids with which a port is created: the decision about a row before its
creation."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.constants import HELD
from support.raw_rows import raw_rows
from support.rows import IDENTITY, SETTINGS, VIF_UUID, World, apply, base, row, tap, unit, vif
from xenvif_tagger.core import birth, mark
from xenvif_tagger.core.decision import Settings
from xenvif_tagger.core.port import Port

HOLD = Settings(boot=SETTINGS.boot, hold_bridges=["xenbr0"])
SEEN = {"vif": {"xs-vif-uuid": "vif-a"}, "boot": SETTINGS.boot}  # the mark of a row of this boot


def born(sibling=None, how=SETTINGS, name="tap12.0", **more):
    siblings = [Port(**sibling)] if sibling else []
    return birth.born(name, "xenbr0", dict(IDENTITY), siblings, how, **more)


def noted(ids):
    return mark.parse(ids["Port"].get(mark.KEY))


def test_a_lone_port_is_born_as_by_the_stock_script_with_our_mark():
    given_unit, ids, _ = born()
    assert given_unit == {} and ids["Interface"] == {}
    assert noted(ids) == SEEN


def test_a_port_is_born_with_its_siblings_unit_and_ids_and_a_base():
    given_unit, ids, decision = born(vif(unit(5), {"vm-id": "v", "iface-id": "i"}))
    assert given_unit == unit(5)
    assert ids["Interface"] == {"vm-id": "v"}
    assert noted(ids)["base"]["unit"] == unit(5) and noted(ids)["base"]["port"] == VIF_UUID
    assert noted(ids)["kept"] == {"port": VIF_UUID, "iface-id": "i"}
    assert decision.source == "vif12.0" and decision.target == "tap12.0"


def test_a_replugged_vif_gets_its_iface_id_back():
    kept = {"kept": {"port": "port-old", "iface-id": "i"}}
    given_unit, ids, _ = born(tap(unit(5), mark=kept), name="vif12.0")
    assert given_unit == unit(5) and ids["Interface"] == {"iface-id": "i"}


@pytest.mark.parametrize("sibling", [
    vif(unit(5), identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"})), vif(unit(5), bridge="br1"),
    vif(unit(5), ofport=-1)], ids=["another VIF's", "elsewhere", "left over"])
def test_a_row_that_may_not_lend_gives_a_new_port_nothing(sibling):
    given_unit, ids, _ = born(sibling)
    assert given_unit == {} and ids["Interface"] == {} and "base" not in noted(ids)


@pytest.mark.parametrize("sibling", [
    None, vif(), vif(HELD, mark={"held": HELD}), vif(unit(4095, "trunk", [4095])),
    vif(unit(5), identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"}))],
    ids=["none", "no unit", "held", "dead", "another VIF's"])
def test_on_a_hold_bridge_a_port_without_a_lent_vlan_is_born_held(sibling):
    given_unit, ids, decision = born(sibling, HOLD)
    assert given_unit == HELD and noted(ids)["held"] == HELD
    assert decision.reason
    # On a bridge that does not hold, only a held sibling makes the new port held.
    assert (born(sibling)[0] == HELD) == bool(sibling and sibling["port_ids"])


@pytest.mark.parametrize("lent", [unit(5), unit(None, "trunk", [5, 6])], ids=str)
def test_on_a_hold_bridge_a_siblings_real_vlan_is_lent(lent):
    given_unit, ids, _ = born(vif(lent), HOLD)
    assert given_unit == lent and "held" not in noted(ids)


def test_a_schema_without_cvlans_has_another_form_of_hold():
    assert born(None, HOLD, cvlans=False)[0] == unit(4095)


def test_on_a_fake_bridge_a_port_gets_no_unit_from_us_and_is_not_held():
    given_unit, ids, _ = born(vif(unit(5)), HOLD, toolstack_unit=unit(7))
    assert given_unit == {} and "held" not in noted(ids)
    assert born(None, HOLD, toolstack_unit=unit(7))[0] == {}


@pytest.mark.parametrize("how", [SETTINGS, HOLD])
@pytest.mark.parametrize("lone", [True, False])
def test_a_port_deleted_and_added_in_one_call_keeps_its_unit_and_ids(lone, how):
    """VIF.set_locking_mode: del-port and add-port of a port that is in use."""
    world = World(vif(unit(5), {"iface-id": "i", "vm-id": "v"}), *[] if lone else [tap()])
    world.settings = how
    world.mirror()
    before = Port(**world["vif"])
    given_unit, ids, decision = birth.born(
        "vif12.0", "xenbr0", dict(IDENTITY), [] if lone else [Port(**world["tap"])], how,
        before=before)
    assert given_unit == unit(5)
    assert ids["Interface"] == {"iface-id": "i", "vm-id": "v"}
    assert noted(ids).get("base", {}).get("unit") == (None if lone else unit(5))
    assert {key: value for key, value in noted(ids).items() if key != "base"} == before.mark
    assert all(change.row == "vif12.0" or change.key == mark.KEY for change in decision.changes)


def test_a_clear_of_the_sibling_after_the_hooks_read_is_a_change():
    """Somebody clears the tap between the hook's read and add-port of the vif. The hook's second
    look reads the vif's new row, whose mark has the base, so the clear is the later change."""
    world = World(vif(unit(5)), tap(unit(5)))
    world.mirror()
    assert "base" in world.mark("tap")
    given_unit, ids, _ = birth.born(
        "vif12.0", "xenbr0", dict(IDENTITY), [Port(**world["tap"])], SETTINGS,
        before=Port(**world["vif"]))
    world.plug("vif", given_unit, port_ids=ids["Port"])
    world.clear("tap")
    world.mirror()
    assert world.units() == ({}, {})


def test_a_replaced_port_of_the_agent_is_an_orphan_until_the_agent_binds_it():
    """The agent's notes in other_config go with the deleted row. So the new row's mark must say to
    which network the VLAN belongs."""
    world = World(vif({}, {"iface-id": "i"}))
    world.bind("vif", 5)
    world.mirror()
    given_unit, ids, _ = birth.born(
        "vif12.0", "xenbr0", dict(IDENTITY), [], SETTINGS, before=Port(**world["vif"]))
    world.plug("vif", given_unit, ids=ids["Interface"], port_ids=ids["Port"])
    assert world.mirror().state == "orphan" and world["vif"]["unit"] == unit(5)
    world.bind("vif", 5)
    assert world.mirror().state == "single"
    del world["vif"]["interface_ids"]["iface-id"]
    world["vif"]["other_config"] = {}
    world.rivals = {5: ["net-2"]}
    world.mirror()
    assert world["vif"]["unit"] == HELD


@pytest.mark.parametrize("bound", [False, True])
def test_an_iface_id_comes_back_from_the_sibling_unless_the_agent_has_bound_it(bound):
    """Neutron's agent with its default settings does not see an iface-id that is set after
    add-port."""
    world = World(vif(unit(5), {"iface-id": "i"}), tap())
    world.mirror()
    changes = birth.dying("vif12.0", [Port(**world["vif"]), Port(**world["tap"])]).changes
    world.rows = apply(world.rows, changes)
    world.unplug("vif")
    assert world["tap"]["interface_ids"]["iface-id"] == "i"
    if bound:
        world.bind("tap", 5)
    world.mirror()
    given_unit, ids, _ = birth.born(
        "vif12.0", "xenbr0", dict(IDENTITY), [Port(**world["tap"])], SETTINGS)
    assert ids["Interface"] == ({} if bound else {"iface-id": "i"})
    world.plug("vif", given_unit, ids=ids["Interface"], port_ids=ids["Port"])
    world.mirror()
    assert [side for side in ("vif", "tap") if "iface-id" in world[side]["interface_ids"]] == [
        "tap" if bound else "vif"]


def test_ids_about_the_deleted_port_itself_are_not_kept():
    before = Port(**vif(unit(5), {"iface-status": "active", "ovn-installed": "true", "x": "1"},
                        mark=SEEN))
    _, ids, _ = birth.born("vif12.0", "xenbr0", dict(IDENTITY), [], SETTINGS, before=before)
    assert ids["Interface"] == {"x": "1"}


@pytest.mark.parametrize("left, ofport", [
    ({"boot": "boot-before"}, -1), ({}, -1), ({"boot": "boot-before"}, 3)],
    ids=["seen before", "never seen", "seen before, and with the new device"])
def test_a_row_of_an_earlier_boot_gives_a_new_port_nothing(left, ofport):
    """The host has booted, and the guest has by chance the domid that the guest had before the
    boot. The new device is there before the hook runs, so ovs-vswitchd may have opened the device
    for the old row."""
    noted_then = dict(left, vif={"xs-vif-uuid": "vif-a"}) if left else None
    before = Port(**vif(unit(5), {"iface-id": "i"}, mark=noted_then, ofport=ofport))
    given_unit, ids, _ = born(name="vif12.0", before=before)
    assert given_unit == {} and ids["Interface"] == {}


def test_a_vlan_of_another_network_is_not_lent_at_birth():
    followed = base(unit(5), "port-old", network="net-1")
    sibling = tap(unit(5), mark={"base": followed}, rivals=["net-2"])
    assert born(sibling, name="vif12.0")[0] == HELD
    assert born(dict(sibling, rivals=["net-1"]), name="vif12.0")[0] == unit(5)


def test_the_base_has_no_key_that_the_sibling_lacks():
    """Found by the model: with the key in the base, the next look took the key for one that
    somebody had removed from the sibling."""
    before = Port(**vif(unit(5), {"x": "1"}, mark=SEEN))
    sibling = tap(unit(5), mark={"base": base(unit(5), VIF_UUID)})
    given_unit, ids, _ = born(sibling, name="vif12.0", before=before)
    world = World(sibling)
    world.plug("vif", given_unit, ids=ids["Interface"], port_ids=ids["Port"])
    world.mirror()
    for side in ("vif", "tap"):
        assert world[side]["interface_ids"]["x"] == "1"


def test_another_vifs_row_of_the_same_name_gives_a_new_port_nothing():
    other = Port(**vif(unit(5), {"iface-id": "i"}, identity=dict(IDENTITY, **{"xs-vif-uuid": "b"})))
    given_unit, ids, _ = born(name="vif12.0", before=other)
    assert given_unit == {} and ids["Interface"] == {}


@settings(max_examples=300)
@given(raw_rows("vif"), st.sampled_from([SETTINGS, HOLD]))
def test_no_look_after_the_birth_changes_the_new_row(sibling, how):
    """The new row has its final unit and ids at birth: the next decision changes only marks."""
    given_unit, ids, _ = born(sibling, how)
    # No mark can name the UUID of a new row.
    made = row("tap", given_unit, ids["Interface"], port_ids=ids["Port"], uuid="port-new")
    world = World(sibling, made)
    world.settings = how
    changed = [change for change in world.decide().changes
               if change.row == "tap12.0" and change.key != mark.KEY]
    assert changed == []


def dying(name, *ports):
    """The changes when a port goes: set of (row, key, new value)."""
    decision = birth.dying(name, list(ports))
    return {(change.row, change.key, change.new) for change in decision.changes}


GONE = {("tap12.0", "iface-id", None), ("tap12.0", "attached-mac", None)}
TAP = Port(**tap({}, {"iface-id": "i"}))


def test_an_unplugged_port_loses_its_iface_id_if_a_living_port_has_the_same():
    living = Port(**vif(unit(5), {"iface-id": "i"}))
    assert dying("tap12.0", living, TAP) == GONE
    assert {row for row, _, _ in dying("vif12.0", living, TAP)} == {"vif12.0"}


def test_the_living_port_with_the_same_iface_id_may_be_another_domains():
    """Local migration: one VM has two domains at once."""
    migrated = Port(**vif(unit(5), {"iface-id": "i"}, name="vif13.0", uuid="port-13"))
    assert dying("tap12.0", TAP, migrated) == GONE


def test_an_iface_id_that_only_the_unplugged_port_has_goes_to_its_sibling():
    living = Port(**vif(unit(5)))
    assert dying("tap12.0", living, TAP) == GONE | {("vif12.0", "iface-id", "i")}


@pytest.mark.parametrize("living", [
    vif(unit(5), {"iface-id": "j"}), vif(unit(5), {"iface-id": "i"}, ofport=-1), vif(ofport=-1),
    vif(unit(5), identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"})),
    vif(unit(5), other_config={"net_uuid": "another"})],
    ids=["another", "gone", "gone without", "another VIF's", "with notes of another network"])
def test_an_unplugged_port_keeps_its_iface_id_if_no_sibling_may_take_it(living):
    ports = [Port(**living), TAP]
    assert birth.dying("tap12.0", ports) is None
    assert birth.dying("tap12.0", [TAP]) is None
