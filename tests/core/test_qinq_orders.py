"""A held port becomes a QinQ tunnel. OpenNebula's driver, or an agent, sets
vlan_mode=dot1q-tunnel, tag and cvlans, in one transaction or in three, in any order, and the
watcher looks or does not look between two transactions."""
import itertools

import pytest

from support.constants import HELD, SIDES
from support.rows import World, tap, unit, vif

STEPS = {"vlan_mode": "dot1q-tunnel", "tag": 100, "cvlans": [10, 20]}
TUNNEL = unit(100, "dot1q-tunnel", cvlans=[10, 20])
HOW = {"listed": ["xenbr0"], "not listed any more": []}
# For each moment between two steps, whether the watcher looks then. (False, False) is also the case
# of one transaction.
SEEN = list(itertools.product([True, False], repeat=len(STEPS) - 1))


def held(how, lone=None):
    """A world with two held ports; with `lone`, only with the port of that side."""
    rows = [row(HELD, mark={"held": HELD}) for side, row in (("vif", vif), ("tap", tap))
            if lone in (None, side)]
    world = World(*rows, hold_bridges=HOW[how])
    world.mirror()
    return world


def go(world, side, order, seen, steps=STEPS):
    for column, looks in zip(order, seen + (True,)):
        world.set(side, **{column: steps[column]})
        if looks:
            world.mirror()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=str)
def test_both_held_ports_become_the_tunnel(order, seen, side, how):
    world = held(how)
    go(world, side, order, seen)
    assert world.units() == (TUNNEL, TUNNEL)
    assert "held" not in world.mark("vif") and "held" not in world.mark("tap")
    assert world.decide().state == "in-sync"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=str)
def test_a_lone_held_port_becomes_the_tunnel(order, seen, side, how):
    world = held(how, lone=side)
    go(world, side, order, seen)
    assert world[side]["unit"] == TUNNEL and "held" not in world.mark(side)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=str)
def test_a_held_port_stays_closed_until_the_tunnels_tag_comes(order, seen, side):
    world = held("listed")
    for column, looks in zip(order, seen + (True,)):
        if column == "tag":
            break
        world.set(side, **{column: STEPS[column]})
        assert world[side]["unit"]["tag"] == 4095
        if looks:
            world.mirror()
        assert [found["tag"] for found in world.units()] == [4095, 4095]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("order", list(itertools.permutations(["tag", "vlan_mode"])), ids=str)
@pytest.mark.parametrize("seen", [(True,), (False,)], ids=str)
def test_a_tag_and_a_clear_of_vlan_mode_make_an_access_port(order, seen, side):
    """Neutron's agent from 16.0 on clears vlan_mode of a dead port; older agents clear nothing."""
    world = held("listed")
    go(world, side, order, seen, {"tag": 5, "vlan_mode": None})
    assert world.units() == (unit(5), unit(5))


@pytest.mark.parametrize("side", SIDES)
def test_a_tag_alone_makes_an_access_port(side):
    world = held("listed")
    go(world, side, ["tag"], ())
    assert world.units() == (unit(100), unit(100))
