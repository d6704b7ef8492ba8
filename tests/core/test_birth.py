"""What a port is created with: the decision about a row that is not there yet."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.constants import HELD
from support.raw_rows import raw_rows
from support.rows import IDENTITY, SETTINGS, VIF_UUID, World, row, tap, unit, vif
from xenvif_tagger.core import birth, mark
from xenvif_tagger.core.decision import Settings
from xenvif_tagger.core.port import Port

HOLD = Settings(boot=SETTINGS.boot, hold_bridges=["xenbr0"])


def born(sibling=None, how=SETTINGS, name="tap12.0", **more):
    siblings = [Port(**sibling)] if sibling else []
    return birth.born(name, "xenbr0", dict(IDENTITY), siblings, how, **more)


def noted(ids):
    return mark.parse(ids["Port"].get(mark.KEY))


def test_alone_it_is_as_stock_makes_it_but_for_the_stamp():
    given_unit, ids, _ = born()
    assert given_unit == {} and ids["Interface"] == {}
    assert noted(ids) == {"vif": {"xs-vif-uuid": "vif-a"}, "boot": SETTINGS.boot}


def test_it_has_its_siblings_unit_and_ids_and_the_base():
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
def test_nothing_is_lent_by_a_row_that_may_not(sibling):
    given_unit, ids, _ = born(sibling)
    assert given_unit == {} and ids["Interface"] == {} and "base" not in noted(ids)


@pytest.mark.parametrize("sibling", [
    None, vif(), vif(HELD, mark={"held": HELD}), vif(unit(4095, "trunk", [4095])),
    vif(unit(5), identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"}))],
    ids=["none", "no unit", "held", "dead", "another VIF's"])
def test_on_a_hold_bridge_it_is_held(sibling):
    given_unit, ids, decision = born(sibling, HOLD)
    assert given_unit == HELD and noted(ids)["held"] == HELD
    assert decision.reason
    # On any other bridge only a held sibling makes the new port held.
    assert (born(sibling)[0] == HELD) == bool(sibling and sibling["port_ids"])


@pytest.mark.parametrize("lent", [unit(5), unit(None, "trunk", [5, 6])], ids=str)
def test_on_a_hold_bridge_any_other_unit_is_lent(lent):
    given_unit, ids, _ = born(vif(lent), HOLD)
    assert given_unit == lent and "held" not in noted(ids)


def test_a_schema_without_cvlans_has_another_form():
    assert born(None, HOLD, cvlans=False)[0] == unit(4095)


def test_a_fake_bridge_gives_the_tag_itself_and_holds_nothing():
    given_unit, ids, _ = born(vif(unit(5)), HOLD, fake=True)
    assert given_unit == {} and "held" not in noted(ids)
    assert born(None, HOLD, fake=True)[0] == {}


@settings(max_examples=300)
@given(raw_rows("vif"), st.sampled_from([SETTINGS, HOLD]))
def test_born_it_needs_nothing_more(sibling, how):
    """The row has its final unit and ids at birth: no look after the add-port changes them."""
    given_unit, ids, _ = born(sibling, how)
    # No mark can name the UUID of a new row.
    made = row("tap", given_unit, ids["Interface"], port_ids=ids["Port"], uuid="port-new")
    world = World(sibling, made)
    world.settings = how
    changed = [change for change in world.decide().changes
               if change.row == "tap12.0" and change.key != mark.KEY]
    assert changed == []


def test_the_dying_port_loses_its_iface_id_if_the_living_has_the_same():
    ports = [Port(**vif(unit(5), {"iface-id": "i"})), Port(**tap(unit(5), {"iface-id": "i"}))]
    decision = birth.dying("tap12.0", ports)
    assert [(change.row, change.key, change.new) for change in decision.changes] == [
        ("tap12.0", "iface-id", None), ("tap12.0", "attached-mac", None)]
    assert [change.row for change in birth.dying("vif12.0", ports).changes] == ["vif12.0"] * 2


@pytest.mark.parametrize("living", [
    vif(unit(5)), vif(unit(5), {"iface-id": "j"}), vif(unit(5), {"iface-id": "i"}, ofport=-1),
    vif(unit(5), {"iface-id": "i"}, identity=dict(IDENTITY, **{"xs-vif-uuid": "vif-b"}))],
    ids=["without", "another", "gone", "another VIF's"])
def test_else_it_is_left_alone(living):
    assert birth.dying("tap12.0", [Port(**living), Port(**tap({}, {"iface-id": "i"}))]) is None
    assert birth.dying("tap12.0", [Port(**tap({}, {"iface-id": "i"}))]) is None
