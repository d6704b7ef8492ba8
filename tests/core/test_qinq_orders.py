"""A port of a QinQ network, on a held port: whoever makes it sets vlan_mode=dot1q-tunnel, tag and
cvlans, in one transaction or in three, in any order, and the watcher looks in between or does not
(OpenNebula's driver and agents do)."""
import itertools

import pytest

from support.constants import HELD, SIDES
from support.rows import World, tap, unit, vif

STEPS = {"vlan_mode": "dot1q-tunnel", "tag": 100, "cvlans": [10, 20]}
TUNNEL = unit(100, "dot1q-tunnel", cvlans=[10, 20])
HOW = {"listed": ["xenbr0"], "not listed any more": []}
# Which of the moments between two steps the watcher sees. Where it sees none: one transaction.
SEEN = list(itertools.product([True, False], repeat=len(STEPS) - 1))


def held(how, lone=None):
    """Two held ports, or one."""
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
def test_both_become_the_tunnel(order, seen, side, how):
    world = held(how)
    go(world, side, order, seen)
    assert world.units() == (TUNNEL, TUNNEL)
    assert "held" not in world.mark("vif") and "held" not in world.mark("tap")
    assert world.decide().state == "in-sync"


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=str)
def test_a_port_alone_becomes_the_tunnel(order, seen, side, how):
    world = held(how, lone=side)
    go(world, side, order, seen)
    assert world[side]["unit"] == TUNNEL and "held" not in world.mark(side)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=str)
def test_until_the_tag_nothing_gets_through(order, seen, side):
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
def test_an_agent_that_clears_the_mode_has_an_access_port(order, seen, side):
    """Neutron's agent from 16.0 on clears vlan_mode of a dead port, older ones clear nothing."""
    world = held("listed")
    go(world, side, order, seen, {"tag": 5, "vlan_mode": None})
    assert world.units() == (unit(5), unit(5))


@pytest.mark.parametrize("side", SIDES)
def test_an_agent_that_clears_nothing_has_an_access_port(side):
    world = held("listed")
    go(world, side, ["tag"], ())
    assert world.units() == (unit(100), unit(100))
