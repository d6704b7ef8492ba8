"""The model of test_watch_model.py with an agent that gives VLANs to networks, and gives a returned
VLAN to another network. Whatever has happened, when all programs have come to rest no port of a
guest is in another guest's VLAN (support/model_agent.py).
"""
import os

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from support import model_agent
from support.invariants import BOOT, GRACE, LOOK, RESTART, STANDBY, STEP
from support.model_actors import HOLD, HOSTS, OPEN, World, begin
from support.model_agent import ACTORS, Agent, check, rest
from support.ovsdb_model import Model, Pair, settings
from xenvif_tagger.core.names import SIDES

BY_NAME = {actor.__name__: actor for actor in ACTORS}
OFTEN = [[], ["poll", "restart_neutron"], ["set_iface_id", "restart_neutron", "unplug"],
         ["set_iface_id", "restart_neutron", "unplug", "plug_hooked"],
         ["poll", "both_have_iface_id", "admin"],
         ["set_iface_id", "restart_neutron", "plug", "device_gone"],
         ["set_iface_id", "restart_neutron", "move"]]


@st.composite
def programs(draw):
    """A host, its bridge and the acts on the host: few kinds of acts in each example, so that the
    acts meet."""
    kinds = draw(st.sampled_from(OFTEN)) + draw(st.lists(
        st.sampled_from(sorted(BY_NAME) + [RESTART, STANDBY, GRACE, BOOT]),
        min_size=1, max_size=4, unique=True))
    step = st.tuples(st.sampled_from(kinds * max(1, 6 // len(kinds)) + [LOOK] * 3 + [STEP] * 4),
                     st.integers(0, 2), st.sampled_from(SIDES), st.integers(0, 11))
    return (draw(st.sampled_from(HOSTS)), draw(st.sampled_from(["one", "one", "both"])),
            draw(st.sampled_from([OPEN, HOLD])), draw(st.integers(0, 4)),
            draw(st.lists(step, max_size=30)))


def run(program):
    """Run a program to its end, let all come to rest, and check the world; returns the world."""
    host, iface_id, bridge, begun, acts = program
    model = Model()
    world = World(model, settings(iface_id=iface_id, hold_bridges=[HOLD]), host)
    world.bridges = [bridge] * 3
    world.agent = Agent(world)
    watchers = Pair(model, world.settings)
    begin(world, min(begun, 2), watchers.settle)
    if begun > 2:  # the agent has bound a port of all guests (3), or of one guest (4)
        for slot in range(3 if begun == 3 else 1):
            world.start(BY_NAME["set_iface_id"], slot, SIDES[slot % 2], 0)
        world.start(model_agent.poll, 0, "vif", 1)
        world.finish()
        watchers.settle()
    for what, slot, side, number in acts:
        if what == LOOK:
            watchers.active.receive(None if number > 5 else number)
            watchers.active.look()
        elif what == STANDBY:
            watchers.standby.receive(number)
        elif what == RESTART:
            watchers.restart()
        elif what == GRACE:
            watchers.active.pass_grace()
        elif what == STEP:
            world.step(number)
        elif what == BOOT:
            world.boot()
            world.agent.start()
            watchers = Pair(model, world.settings)
        else:
            world.start(BY_NAME[what], slot, side, number)
            if what in ("unlist", "restored"):
                watchers = Pair(model, world.settings)
    rest(world, watchers.settle)
    check(world)
    return world


# Set EXAMPLES=30000 in the environment for a long search.
many = hypothesis_settings(
    max_examples=int(os.environ.get("EXAMPLES", "300")))


@many
@given(programs())
def test_no_port_is_in_anothers_vlan_after_a_random_history(program):
    run(program)


def acts(*names):
    """A program's acts, each followed by a look. A text is ``[slot ]act[ side[ number]]``; the
    defaults are slot 0, the vif and 1."""
    made = []
    for name in names:
        words = name.split()
        slot = int(words.pop(0)) if words[0].isdigit() else 0
        made.append((words[0], slot, words[1] if len(words) > 1 else "vif",
                     int(words[2]) if len(words) > 2 else 1))
        made.append((LOOK, 0, "vif", 11))
    return made


# The agent has bound the vif of slot 0. These acts give that vif's VLAN to the guest of slot 1.
GIVEN_AWAY = ["poll", "restart_neutron", "1 set_iface_id", "poll"]
HISTORIES = {
    "the agent's port is unplugged": ["unplug vif 0"] + GIVEN_AWAY,
    "a re-plug before the VLAN goes": ["unplug vif 0", "plug_hooked"] + GIVEN_AWAY,
    "a re-plug after the VLAN has gone": ["unplug vif 0"] + GIVEN_AWAY + ["plug_hooked"],
    "a re-plug on another bridge": ["unplug vif 0"] + ["move"] + GIVEN_AWAY,
    "the device of the agent's port goes": ["device_gone vif 1"] + GIVEN_AWAY,
    "the device of the agent's port goes, and a re-plug of the sibling": [
        "device_gone vif 1"] + GIVEN_AWAY + ["plug_hooked tap"],
    "iface-id on both, and the agent's port goes": [
        "both_have_iface_id", "unplug vif 0"] + GIVEN_AWAY,
    "iface-id on both, down and up on the other row": [
        "both_have_iface_id", "admin vif 0", "admin vif 0"],
    "iface-id on both, down on the other row": ["both_have_iface_id", "admin vif 2"],
    "a take-over": ["unplug vif 1", "poll"] + GIVEN_AWAY,
    "local migration": ["2 unplug vif 0", "2 unplug tap 0", "0 migrate"] + GIVEN_AWAY,
    "a re-plug in place": ["plug_hooked vif"] + GIVEN_AWAY,
    "a re-plug in place without a sibling": ["unplug tap 0", "plug_hooked vif"] + GIVEN_AWAY,
    "a bridge that is not listed any more": ["1 unlist", "1 choose", "2 choose tap"] + GIVEN_AWAY,
    "a database of an earlier boot": ["restored", "admin vif 1", "admin vif 1"] + GIVEN_AWAY,
    "rows without identity": ["strip_identity tap", "unplug vif 0"] + GIVEN_AWAY,
    "plugged without our hook": ["plug", "plug tap"] + GIVEN_AWAY,
}


@pytest.mark.parametrize("bridge", [OPEN, HOLD])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("iface_id", ["one", "both"])
@pytest.mark.parametrize("history", HISTORIES)
def test_no_port_is_in_anothers_vlan_after_this_history(history, iface_id, host, bridge):
    run((host, iface_id, bridge, 4, acts(*HISTORIES[history])))


@pytest.mark.parametrize("history", [
    "a take-over", "local migration", "a re-plug in place", "a re-plug in place without a sibling"])
@pytest.mark.parametrize("bridge", [OPEN, HOLD])
@pytest.mark.parametrize("host", HOSTS)
def test_the_agent_has_the_guests_port_bound_in_the_end(history, host, bridge):
    """In these histories a port of the guest stays: our writes must not make the agent lose that
    port."""
    world = run((host, "one", bridge, 4, acts(*HISTORIES[history])))
    assert "10#port" in world.agent.bound
