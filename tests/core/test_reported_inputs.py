"""Small inputs, from public bug reports and from the models, that earlier versions decided wrong.
Each test holds one rule."""
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.constants import DEAD_FORM, HELD, NEUTRON, SIDES
from support.raw_rows import OTHER, marks
from support.rows import BOOT, IDENTITY, TAP_UUID, VIF_UUID, World, base, row, tap, unit, vif
from xenvif_tagger.core import mark

LISTED = ["xenbr0"]
STAMP = {"vif": {"xs-vif-uuid": "vif-a"}, "boot": BOOT}
BEFORE = dict(STAMP, boot="boot-before")
ANOTHER = dict(NEUTRON, net_uuid="net-2")


# -- a port without a VLAN is closed on a listed bridge, whoever plugged it

@pytest.mark.parametrize("rows", [
    [vif(ofport=3)], [vif(ofport=3), tap(ofport=4)],
    [vif(), tap(identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"}))],
    [tap(), row("tap", name="vif12.0-emu", uuid="port-emu")], [vif(unit(cvlans=[10]))]],
    ids=["alone", "a pair", "a refused pair", "two taps", "with cvlans that mean nothing"])
def test_on_a_listed_bridge_a_port_plugged_without_our_hook_is_closed(rows):
    world = World(*rows, hold_bridges=LISTED)
    world.mirror()
    for found in world.rows.values():
        assert found["unit"] == HELD and mark.parse(found["port_ids"][mark.KEY])["held"] == HELD


def test_on_a_listed_bridge_the_agents_own_port_is_left_to_the_agent():
    world = World(vif({}, {"iface-id": "i"}, other_config=NEUTRON), hold_bridges=LISTED)
    world.mirror()
    assert world["vif"]["unit"] == {}


@pytest.mark.parametrize("rows", [[vif()], [vif(), tap()], [vif(unit(cvlans=[10]))]], ids=len)
def test_on_a_bridge_not_listed_a_port_stays_as_the_stock_script_makes_it(rows):
    world = World(*rows)
    world.mirror()
    assert [found["unit"] for found in world.rows.values()] == [found["unit"] for found in rows]


# -- a row of an earlier boot may lend if its device lives

@pytest.mark.parametrize("side", SIDES)
def test_living_ports_with_marks_of_an_earlier_boot_follow_each_other(side):
    world = World(vif(unit(5), mark=BEFORE, ofport=3), tap(unit(5), mark=BEFORE, ofport=4))
    world.mirror()
    world.set(side, tag=7)
    assert world.mirror().state == "drift"
    assert world.tags() == (7, 7)


@pytest.mark.parametrize("side", SIDES)
def test_a_person_may_choose_between_living_rows_of_an_earlier_boot(side):
    world = World(vif(unit(5), mark=BEFORE, ofport=3), tap(unit(6), mark=BEFORE, ofport=4))
    assert world.mirror(prefer=side).state == "drift"
    assert world.tags() == ((5, 5) if side == "vif" else (6, 6))


@pytest.mark.parametrize("marked", [BEFORE, None], ids=["of an earlier boot", "never seen alive"])
def test_a_row_without_device_that_this_boot_has_not_seen_lends_nothing(marked):
    world = World(vif(unit(5), mark=marked, ofport=-1), tap(ofport=4))
    world.mirror()
    assert world["tap"]["unit"] == {}


# -- rows without any identity

@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("lent", [{}, unit(5)], ids=str)
def test_nothing_crosses_to_or_from_a_row_without_identity(side, lent):
    rows = {side: row(side, lent, identity={}), OTHER[side]: row(OTHER[side], unit(6))}
    world = World(*rows.values())
    assert world.mirror().state == "refused"
    assert world[side]["unit"] == lent and world[side]["interface_ids"] == {}
    assert world.mark(side) == {}
    assert world[OTHER[side]]["unit"] == unit(6)


# -- both rows have iface-id, and the agent may set one row dead

def both_with_iface_id(owner, tag=5, iface_id="both"):
    """Both rows have iface-id. The agent has bound the row of `owner`; our base is on the other
    row."""
    world = World(vif({}, {"iface-id": "i"}), tap({}, {"iface-id": "i"}), iface_id=iface_id)
    world.bind(owner, tag)
    world.mirror()
    assert world.tags() == (tag, tag) and "base" in world.mark(OTHER[owner])
    return world


@pytest.mark.parametrize("iface_id", ["one", "both"])
@pytest.mark.parametrize("owner", SIDES)
def test_a_pair_follows_the_agent_that_sets_the_other_row_dead_and_alive_again(owner, iface_id):
    world = both_with_iface_id(owner, iface_id=iface_id)
    world.set(OTHER[owner], tag=4095)
    world.mirror()
    assert world.tags() == (4095, 4095)
    world.set(OTHER[owner], tag=5)
    world.mirror()
    assert world.tags() == (5, 5)


@pytest.mark.parametrize("owner", SIDES)
def test_another_tag_than_4095_on_the_agents_ports_sibling_is_taken_back(owner):
    world = both_with_iface_id(owner)
    world.set(OTHER[owner], tag=7)
    world.mirror()
    assert world.tags() == (5, 5)


@pytest.mark.parametrize("owner", SIDES)
def test_a_dead_tag_on_a_sibling_without_iface_id_is_taken_back(owner):
    """The agent finds no port by a row without iface-id, so the 4095 on that row is not the
    agent's: the agent's own port stays alive."""
    world = both_with_iface_id(owner)
    del world[OTHER[owner]]["interface_ids"]["iface-id"]
    world.mirror()
    world[OTHER[owner]]["interface_ids"].pop("iface-id", None)
    world.settings.iface_id = "one"
    world.set(OTHER[owner], tag=4095)
    world.mirror()
    assert world.tags() == (5, 5)


@pytest.mark.parametrize("owner", SIDES)
def test_a_dead_tag_on_the_sibling_is_taken_back_if_the_agents_port_changed_too(owner):
    world = both_with_iface_id(owner)
    world.set(OTHER[owner], tag=4095)
    world.set(owner, tag=6)
    world.mirror()
    assert world.tags() == (6, 6)


@pytest.mark.parametrize("owner", SIDES)
def test_a_dead_tag_is_taken_back_when_the_agent_binds_its_port_anew(owner):
    """The mark notes a conflict between two dead forms; then the agent binds its own port."""
    world = both_with_iface_id(owner)
    world[owner]["other_config"] = {}
    world.set(owner, tag=4095)
    world[OTHER[owner]]["unit"] = DEAD_FORM
    assert world.mirror().state == "conflict"
    world.bind(owner, 5)
    world.mirror()
    assert world.tags() == (5, 5)


@pytest.mark.parametrize("dead", [unit(4095), DEAD_FORM], ids=str)
@pytest.mark.parametrize("side", SIDES)
def test_a_real_tag_on_a_held_port_wins_over_a_dead_sibling(side, dead):
    """The agent sets each port dead that the agent does not know; a port that the agent set dead
    has no mark of a hold."""
    rows = {side: row(side), OTHER[side]: row(OTHER[side], dead)}
    world = World(*rows.values(), hold_bridges=LISTED)
    assert world.mirror().state == "held"
    assert world[side]["unit"] == HELD and world[OTHER[side]]["unit"] == dead
    world.set(side, tag=7)
    world.mirror()
    assert world.units() == (unit(7), unit(7))


# -- the orphan of a refused pair

def moved(**settings):
    """VIF.move: the vif is plugged anew on another bridge; the tap stays on its bridge."""
    world = World(vif(unit(5)), tap(unit(5)), **settings)
    world.mirror()
    world.unplug("vif")
    world.plug("vif", bridge="xenbr1")
    return world


def test_a_row_of_a_refused_pair_is_an_orphan_if_its_base_names_a_deleted_row():
    world = moved(hold_bridges=LISTED)
    decision = world.mirror()
    assert decision.state == "refused" and [port.name for port in decision.orphans] == ["tap12.0"]
    assert world.tags() == (None, 5)
    assert world.mirror(expired=[TAP_UUID]).orphans  # decided before the hold is written
    assert world["tap"]["unit"] == HELD and world["vif"]["unit"] == {}
    assert not world.mirror().orphans


def test_on_a_bridge_not_listed_an_orphan_is_not_held_after_its_grace():
    world = moved()
    world.mirror(expired=[TAP_UUID])
    assert world["tap"]["unit"] == unit(5)


def test_a_row_of_a_refused_pair_is_no_orphan_if_its_base_names_its_sibling():
    world = moved(hold_bridges=LISTED)
    world["vif"]["uuid"] = world.mark("tap")["base"]["port"]
    assert world.decide().orphans == []


def test_both_taps_of_a_vif_may_be_orphans():
    world = World(tap(unit(5), mark=dict(STAMP, base=base(unit(5), "port-old"))),
                  row("tap", unit(6), name="vif12.0-emu", uuid="port-emu",
                      mark=dict(STAMP, base=base(unit(6), "port-old"))))
    assert [port.uuid for port in world.decide().orphans] == ["port-tap", "port-emu"]


# -- clearing one side of a conflict

def conflict(was, **settings):
    world = World(vif(was), tap(was), **settings)
    world.mirror()
    world.set("vif", tag=6)
    world.set("tap", tag=7)
    assert world.mirror().state == "conflict"
    return world


@pytest.mark.parametrize("was", [unit(5), {}], ids=str)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bridges", [[], LISTED], ids=["not listed", "listed"])
def test_clearing_one_side_of_a_conflict_chooses_the_other_side(was, side, bridges):
    world = conflict(was, hold_bridges=bridges)
    world.clear(side)
    decision = world.mirror()
    assert world.tags() == ((7, 7) if side == "vif" else (6, 6))
    assert "changed from tag 5" not in decision.reason


def test_clearing_both_sides_of_a_conflict_ends_it_without_a_vlan():
    world = conflict(unit(5))
    world.clear("vif")
    world.clear("tap")
    assert world.mirror().state == "in-sync" and world.units() == ({}, {})


@pytest.mark.parametrize("side", SIDES)
def test_clearing_one_side_of_an_alike_pair_clears_both(side):
    world = World(vif(unit(5)), tap(unit(5)))
    world.mirror()
    world.clear(side)
    world.mirror()
    assert world.units() == ({}, {})


# -- the way out of a hold

def held(lone, bridges=LISTED):
    made = [found for found in (vif(), tap()) if lone is None or found["name"].startswith(lone)]
    world = World(*made, hold_bridges=bridges)
    world.settings.hold_bridges = frozenset(LISTED)
    world.mirror()
    world.settings.hold_bridges = frozenset(bridges)
    return world


@pytest.mark.parametrize("lone", [None, "vif", "tap"])
@pytest.mark.parametrize("prefer", SIDES)
def test_a_person_opens_a_held_port_whose_bridge_is_not_listed_any_more(lone, prefer):
    world = held(lone, [])
    world.mirror()
    assert all(found["unit"] == HELD for found in world.rows.values()), "by itself it stays closed"
    if lone not in (None, prefer):
        return
    world.mirror(prefer=prefer)
    for found in world.rows.values():
        assert found["unit"] == {} and "held" not in mark.parse(found["port_ids"].get(mark.KEY))


@pytest.mark.parametrize("lone", [None, "vif", "tap"])
@pytest.mark.parametrize("prefer", SIDES)
def test_nobody_opens_a_held_port_whose_bridge_is_listed(lone, prefer):
    world = held(lone)
    decision = world.mirror(prefer=prefer)
    assert all(found["unit"] == HELD for found in world.rows.values())
    if lone is None:
        assert decision.state == "refused"


# -- a held port's form that somebody has changed

@pytest.mark.parametrize("form, stands", [
    (unit(4095), True), (unit(4095, "dot1q-tunnel", cvlans=[10, 20]), True),
    (unit(4095, "access"), True), (dict(HELD, trunks=[5, 6]), True),
    (unit(4095, "trunk"), False), (DEAD_FORM, False), (unit(4095, "native-tagged"), False),
    ({}, False), (unit(None, "dot1q-tunnel", cvlans=[10]), False), (unit(None, None, [5]), False)],
    ids=str)
@pytest.mark.parametrize("lone", [None, "vif", "tap"])
def test_a_held_port_in_another_closed_form_is_not_put_back(lone, form, stands):
    world = held(lone)
    side = lone or "vif"
    world[side]["unit"] = form
    world.mirror()
    assert world[side]["unit"] == (form if stands else HELD)
    assert world.decide().state == "held"


def test_vlan_settings_of_other_config_are_part_of_the_unit():
    qinq = dict(unit(5, "dot1q-tunnel", cvlans=[10]), **{
        "other_config:qinq-ethtype": "802.1q", "other_config:priority-tags": "if-nonzero"})
    world = World(vif(qinq), tap())
    world.mirror()
    assert world.units() == (qinq, qinq)
    world.set("tap", **{"other_config:qinq-ethtype": None})
    world.mirror()
    assert world.units()[0] == world.units()[1] != qinq


# -- the mark's value

FOREIGN = set(",= '\"")


@given(marks("vif"), st.text(), st.text(alphabet=",=|;% '\"\\{}:7C"))
def test_a_mark_has_no_character_at_which_other_programs_split(fields, text, odd):
    fields = dict(fields, boot=text, vif={"xs-vif-uuid": odd})
    value = mark.encode(fields)
    assert not FOREIGN & set(value)
    assert mark.parse(value) == fields


def test_a_mark_written_as_json_is_read_and_not_rewritten():
    world = World(vif(unit(5)), tap(unit(5)))
    world.mirror()
    for side in SIDES:
        world[side]["port_ids"][mark.KEY] = json.dumps(world.mark(side))
    assert world.decide().changes == []


# -- a VLAN that became another network's

def followed(lone=True, managed="vif", **settings):
    """The agent binds the port of the side `managed`, and the sibling follows. With `lone`, the
    agent's own port is unplugged then."""
    world = World(vif({}, {"iface-id": "i"} if managed == "vif" else None),
                  tap({}, {"iface-id": "i"} if managed == "tap" else None), **settings)
    world.bind(managed, 5)
    world.mirror()
    if lone:
        world.unplug(managed)
    return world


def given_away(world, to="net-2"):
    """The agent uses the tag for the network `to`, on a third port."""
    world.rivals = {5: [to]}


def test_the_base_names_the_network_of_the_vlan():
    world = followed(lone=False)
    assert world.mark("tap")["base"]["network"] == "net-1"
    world.set("vif", tag=6)
    world.mirror()
    # The agent's notes on the row still name tag 5, so they may not belong to tag 6.
    assert "network" not in world.mark("tap")["base"]
    world["vif"]["other_config"] = dict(ANOTHER, tag="6")
    world.mirror()
    assert world.mark("tap")["base"]["network"] == "net-2"


@pytest.mark.parametrize("bridges", [[], LISTED], ids=["not listed", "listed"])
@pytest.mark.parametrize("managed", SIDES)
def test_an_orphan_whose_vlan_went_to_another_network_is_closed_on_any_bridge(managed, bridges):
    world = followed(managed=managed, hold_bridges=bridges)
    left = OTHER[managed]
    assert world.mirror().state == "orphan" and world[left]["unit"] == unit(5)
    given_away(world, to="net-1")
    assert world.decide().state == "orphan", "another port of the same network"
    given_away(world)
    decision = world.mirror()
    assert decision.state == "held" and "another network's" in decision.reason
    assert world[left]["unit"] == HELD and "base" not in world.mark(left)


def test_a_row_of_a_refused_pair_whose_vlan_went_to_another_network_is_closed():
    world = followed()
    world.plug("vif", bridge="xenbr1")
    given_away(world)
    assert world.mirror().state == "refused"
    assert world.units() == ({}, HELD)


def test_a_vlan_that_went_to_another_network_is_not_lent_to_a_plugged_port():
    world = followed()
    given_away(world)
    world.plug("vif")
    world.mirror()
    assert world.units() == (HELD, HELD)


def test_an_operators_tag_wins_over_another_networks_vlan():
    """The vif is plugged with tag 6, set by hand: an operator's decision, which the orphan gets."""
    world = followed()
    given_away(world)
    world.plug("vif", unit(6))
    world.mirror()
    assert world.tags() == (6, 6)


def test_a_port_that_got_an_orphans_vlan_is_closed_with_the_orphan():
    """The vif is plugged anew and gets the orphan's tag; then the agent gives the VLAN to another
    network."""
    world = followed()
    world.plug("vif")
    world.mirror()
    assert world.tags() == (5, 5)
    given_away(world)
    assert world.mirror().state == "held"
    assert world.units() == (HELD, HELD)


def test_an_agents_port_without_device_does_not_lend_another_networks_vlan():
    """libxl: when PV drivers take over, the row of the -emu port stays, and the agent has bound
    that row."""
    world = followed(lone=False, managed="tap")
    world["tap"]["ofport"] = -1
    given_away(world)
    world.mirror()
    assert world.units() == (HELD, unit(5))


def test_another_networks_vlan_on_the_agents_living_port_is_only_reported():
    world = followed(lone=False)
    given_away(world)
    decision = world.mirror()
    assert decision.state == "conflict" and "net-2" in decision.reason
    assert world.tags() == (5, 5)


def test_another_networks_vlan_on_a_lone_port_of_the_agent_is_reported():
    """Both rows have iface-id, and the stock script deletes the tap: the agent takes the VLAN back,
    although its own port is there."""
    world = followed(lone=False)
    world.unplug("tap")
    given_away(world)
    decision = world.mirror()
    assert decision.state == "conflict" and "net-2" in decision.reason
    assert world["vif"]["unit"] == unit(5), "the agent's own port"


def test_the_base_names_the_network_although_the_agents_row_has_no_iface_id():
    """The iface-id of the agent's port was removed before our first look; the agent's notes are
    still there."""
    world = World(vif(), tap())
    world.bind("vif", 5)
    world.mirror()
    assert world.mark("tap")["base"]["network"] == "net-1"


def test_another_networks_vlan_on_the_agents_port_of_a_refused_pair_is_reported():
    world = followed(lone=False)
    world.unplug("tap")
    world.plug("tap", bridge="xenbr1")
    given_away(world)
    decision = world.mirror()
    assert decision.state == "conflict" and "bridge" in decision.reason


@pytest.mark.parametrize("side", SIDES)
def test_a_pair_with_another_networks_vlan_and_no_iface_id_is_closed(side):
    """The agent's port has lost its iface-id and has lent its VLAN, so only the agent's notes on
    that row name the VLAN's network."""
    world = World(vif(), tap())
    world.bind(side, 5)
    world.mirror()
    assert world.tags() == (5, 5)
    given_away(world)
    world.mirror()
    assert world.units() == (HELD, HELD)


def test_a_lone_port_without_its_iface_id_and_with_another_networks_vlan_is_closed():
    """The agent took the VLAN back; the agent's notes on the row name the network that had the
    VLAN."""
    world = World(vif({}, {"iface-id": "i"}))
    world.bind("vif", 5)
    given_away(world)
    assert world.mirror().state == "conflict", "the agent's own port"
    del world["vif"]["interface_ids"]["iface-id"]
    assert world.mirror().state == "held" and world["vif"]["unit"] == HELD


@pytest.mark.parametrize("tags", [unit(7), unit(4095)], ids=str)
def test_a_tag_set_by_hand_on_an_orphan_stays(tags):
    world = followed()
    world["tap"]["unit"] = tags
    given_away(world)
    world.mirror()
    assert world["tap"]["unit"] == tags


# -- the stock script's late clear, in a conflict

@pytest.mark.parametrize("side", SIDES)
def test_the_late_clear_of_trunks_decides_no_conflict(side):
    trunks = unit(None, "trunk", [5, 6])
    rows = {side: row(side, trunks), OTHER[side]: row(OTHER[side], unit(4095))}
    world = World(*rows.values())
    assert world.mirror().state == "conflict"
    world.set(side, trunks=None)
    assert world.mirror().state == "conflict"
    assert world[side]["unit"] == trunks and world[OTHER[side]]["unit"] == unit(4095)


def test_a_choice_by_hand_beside_a_port_whose_hold_has_ended():
    """The vif's mark still has the hold, which the agent's tag has ended: nothing is held, so the
    choice counts, and a second decision changes nothing."""
    world = World(vif(unit(5), mark={"held": HELD}), tap(HELD), hold_bridges=LISTED)
    world.mirror(prefer="tap")
    assert world.units() == (HELD, HELD)
    assert world.decide().changes == []


@pytest.mark.parametrize("side", SIDES)
def test_a_base_with_another_tag_does_not_say_whose_the_vlan_is(side):
    """Found by the search of the properties: the first decision trusted the network of such a base,
    and the second one, which renewed the base, closed both ports."""
    rows = {side: {"other_config": dict(NEUTRON)}, OTHER[side]: {
        "unit": unit(5), "mark": {"base": base(unit(7), network="net-2", port={
            "vif": VIF_UUID, "tap": TAP_UUID}[side])}}}
    world = World(vif(**rows["vif"]), tap(**rows["tap"]))
    given_away(world)
    assert world.mirror().state == "held"
    assert world.decide().changes == []


@pytest.mark.parametrize("side", SIDES)
def test_an_old_base_says_whose_the_vlan_is_only_for_a_row_that_has_kept_it(side):
    """Found by the search of the properties: the other row brought the tag, and the second decision
    closed both ports."""
    old = {"mark": {"base": base(unit(5), network="net-2", port="port-old")}}
    rows = {side: old, OTHER[side]: {"unit": unit(5)}}
    world = World(vif(**rows["vif"]), tap(**rows["tap"]))
    given_away(world, to="net-1")
    world.mirror()
    assert world.units() == (unit(5), unit(5)) and world.decide().changes == []


@pytest.mark.parametrize("side", SIDES)
def test_a_base_closes_the_row_that_it_names_in_a_refused_pair_too(side):
    """Found by the model of ground truth: after a re-plug in place the new row holds the base; then
    its identity was taken off, and the agent gave the VLAN away."""
    rows = {side: {"unit": unit(5), "identity": {}, "mark": {"base": base(
        unit(5), network="net-1", port={"vif": TAP_UUID, "tap": VIF_UUID}[side])}},
        OTHER[side]: {"unit": unit(5)}}
    world = World(vif(**rows["vif"]), tap(**rows["tap"]))
    given_away(world, to="net-2")
    assert world.mirror().state == "refused" and world.units() == (HELD, HELD)
