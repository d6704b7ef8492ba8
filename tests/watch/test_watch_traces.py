"""The traces of docs/design.md 4.10 with a real watcher, which is stopped, killed or stopped by
SIGSTOP where a trace says that it is down.

test_traces.py has the same traces by single looks, with more variants of each. test_plug.py tests
the real hook's writes at a plug (d, g, j, m, n, o); here the stock script's commands go through the
hook's Plug. Host.check (story.py) compares the whole history with the writes that are allowed, and
so proves each "never" of docs/design.md.
"""
import functools
import json
import socket
from itertools import product

import pytest

from support.actors import Nic, act
from support.constants import DEAD_FORM, HELD, SIDES
from support.rows import unit
from support.story import HOLD, History, Host, ask
from xenvif_tagger.core import mark

T5, T6, T7, DEAD, NONE = unit(5), unit(6), unit(7), unit(4095), {}
TRUNK = unit(None, "trunk", [5, 6])
DOWN = ("stopped", "killed", "paused")
EITHER = (True, False)

down = pytest.mark.parametrize("how", DOWN)


def nics_for(*axes):
    """Make a NIC of a new guest for each combination of values: list of (nic, values...)."""
    return [(Nic(20 + number, "%x" % number),) + values
            for number, values in enumerate(product(*axes))]


def other(nic, side):
    return nic.tap if side == "vif" else nic.vif


def set_unit(host, name, unit):
    """Set all columns of the unit at once, as an operator does."""
    act(host.operator.unit(name, **{column: unit.get(column) for column in (
        "tag", "vlan_mode", "trunks", "cvlans")}))


# ---- (a) ---------------------------------------------------------------------------------------


class Wire:
    """A connection to the database that sends transactions in quick succession."""

    def __init__(self, ovs):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(ovs.socket_path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def call(self, method, *params):
        self._socket.sendall(json.dumps({"method": method, "params": params, "id": 0}).encode())
        text = self._socket.recv(1 << 16)
        while text.count(b"{") > text.count(b"}"):
            text += self._socket.recv(1 << 16)
        assert json.loads(text.decode())["error"] is None, text

    def tag(self, uuid, tag):
        self.call("transact", "Open_vSwitch", {
            "op": "update", "table": "Port", "where": [["_uuid", "==", ["uuid", uuid]]],
            "row": {"tag": tag}})


@pytest.mark.parametrize("managed", EITHER)
@pytest.mark.parametrize("side", SIDES)
def test_trace_a_tag_5_copied_then_tag_7_at_once(ovs, side, managed):
    """Tag 7 comes a little later at each try, until it comes while our copy of tag 5 is on its way,
    which the watcher's stats show as a lost race. No row gets tag 5 after tag 7."""
    nic = Nic(12)
    with Host(ovs) as host, Wire(ovs) as wire:
        host.old_pairs([nic], T7, side if managed else None)
        uuid = ovs.port(getattr(nic, side))["_uuid"]
        for _ in range(50):
            for distance in range(0, 40, 2):
                wire.tag(uuid, 5)
                for _echo in range(distance):
                    wire.call("echo")
                wire.tag(uuid, 7)
                host.settle()
                host.assert_both(nic, T7)
            if json.loads(ask(host.watcher.socket, "stats", "--json"))["retries"]:
                break
        else:
            pytest.fail("no race was lost in 1000 tries")


# ---- (b) ---------------------------------------------------------------------------------------


@down
def test_trace_b_restart_between_tag_and_other_config(ovs, how):
    """The watcher goes down before the tag, or after; the agent writes other_config before the
    watcher is up again, or after."""
    cases = nics_for(SIDES, EITHER, EITHER)
    with Host(ovs, paced=False) as host:
        host.old_pairs([nic for nic, _, _, _ in cases], NONE)
        binds = []
        for nic, side, seen, _ in cases:
            act(host.operator.ids(getattr(nic, side), iface_id=nic.iface_id))
            binds.append(host.agent.bind(getattr(nic, side), "net-1", 5))
            if seen:
                assert next(binds[-1]) == "tag"
        host.settle()
        with host.away(how):
            for (nic, _, seen, early), steps in zip(cases, binds):
                assert host.unit(nic.vif) == host.unit(nic.tap) == (T5 if seen else NONE)
                if not seen:
                    assert next(steps) == "tag"
                if early:
                    assert next(steps) == "other_config"
        for (nic, side, _, _), steps in zip(cases, binds):
            act(steps)
            host.settle()
            host.assert_both(nic, T5)
            act(host.agent.bind(getattr(nic, side), "net-2", 7))
        host.settle()
        host.agent.lost("net-1")
        for nic, _, _, _ in cases:
            host.assert_both(nic, T7)


# ---- (c) ---------------------------------------------------------------------------------------


@down
def test_trace_c_dead_set_on_either_side_while_down(ovs, how):
    cases = nics_for(SIDES, (DEAD, DEAD_FORM))
    own = Nic(12)
    with Host(ovs) as host:
        host.old_pairs([nic for nic, _, _ in cases], T5)
        host.old_pairs([own], NONE)
        host.do(host.operator.ids(own.vif, iface_id=own.iface_id),
                host.agent.bind(own.vif, "net-1", 6))
        with host.away(how):
            for nic, side, form in cases:
                set_unit(host, getattr(nic, side), form)
            act(host.agent.dead(own.vif))
        for nic, _, form in cases:
            host.assert_both(nic, form)
        host.assert_both(own, DEAD)
        host.do(host.agent.bind(own.vif, "net-1", 6))
        host.assert_both(own, T6)


# ---- (d) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("watching", EITHER)
def test_trace_d_retagged_between_the_hooks_read_and_add_port(ovs, watching):
    """The hook's second look sees the new tag; a watcher may see the tag, too, and decides the
    same."""
    cases = nics_for(SIDES, (T7, DEAD, NONE, TRUNK), ("meanwhile", "afterwards"))
    with Host(ovs, hook=True) as host:
        host.old_pairs([nic for nic, _, _, _ in cases], T5)
        if not watching:
            host.down("paused")
        for nic, side, new, when in cases:
            retag = functools.partial(set_unit, host, other(nic, side), new)
            act(host.stock.filter(getattr(nic, side), nic, **{when: retag}))
            if not watching:
                host.assert_both(nic, new)
        if not watching:
            host.up()
        host.settle()
        for nic, _, new, _ in cases:
            host.assert_both(nic, new)


@down
def test_trace_d_the_hook_dies_before_its_second_look(ovs, how):
    cases = nics_for(SIDES, (T7, DEAD, NONE, TRUNK))

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    with Host(ovs, hook=True) as host:
        host.old_pairs([nic for nic, _, _ in cases], T5)
        with host.away(how):
            for nic, side, new in cases:
                retag = functools.partial(set_unit, host, other(nic, side), new)
                with pytest.raises(Killed):
                    act(host.stock.filter(getattr(nic, side), nic, meanwhile=retag,
                                          afterwards=kill))
                assert host.unit(getattr(nic, side)) == T5
        for nic, _, new in cases:
            host.assert_both(nic, new)


# ---- (e) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", EITHER)
@pytest.mark.parametrize("seen", ["alive", "gone"])
def test_trace_e_left_over_tap_of_another_guest(ovs, seen, hook):
    """B's tap with tag 77 is left over, and ovs-xapi-sync gives the row A's identity: A's ports
    never get tag 77."""
    b, a = Nic(12, "b"), Nic(12, "a")
    with Host(ovs, hook=hook, paced=hook) as host:
        ovs.add_port("br0", b.tap, b.xapi_ids, tag=77, ofport=8 if seen == "alive" else -1,
                     error=None if seen == "alive" else "could not open network device")
        host.settle()
        host.do(host.stock.add(a.vif, a))
        for _ in range(2):
            host.sync_until_quiet()
            assert host.ids(a.tap)["xs-vif-uuid"] == "vif-a0"  # the left-over now has A's identity
            assert host.unit(a.vif) == NONE
            host.do(host.stock.add(a.vif, a))
            assert host.unit(a.vif) == NONE
        if seen == "gone":  # ovs-vswitchd opens A's device before the stock script deletes the row
            host.vswitchd.opened(a.tap)
            host.settle()
            assert host.unit(a.vif) == NONE
        host.do(host.agent.bind(a.vif, "net-1", 5))
        assert host.unit(a.vif) == T5 and host.state(a) == "refused"
        # The row that is made anew belongs to A.
        host.do(host.stock.add(a.tap, a))
        host.sync_until_quiet()
        host.assert_both(a, T5)
        assert unit(77) not in History(ovs).units(a.vif)


# ---- (f) ---------------------------------------------------------------------------------------


def test_trace_f_identity_key_removed_by_an_operator(ovs):
    """However often the watcher looks, the sibling keeps the key; xs-vif-uuid or the MAC alone
    proves the pair."""
    cases = nics_for(SIDES, sorted(Nic(1).xapi_ids))
    with Host(ovs) as host:
        host.old_pairs([nic for nic, _, _ in cases], T5)
        away = cases[::2]
        for nic, side, key in cases:
            if (nic, side, key) not in away:
                act(host.operator.ids(getattr(nic, side), **{key: None}))
        with host.away("stopped"):
            for nic, side, key in away:
                act(host.operator.ids(getattr(nic, side), **{key: None}))
        for nic, side, _ in cases:
            assert host.ids(other(nic, side)) == nic.xapi_ids
            act(host.operator.unit(nic.vif, tag=7))
        host.settle()
        for nic, side, key in cases:
            assert host.ids(other(nic, side)) == nic.xapi_ids
            assert key not in host.ids(getattr(nic, side))
            host.assert_both(nic, T7)


# ---- (g) ---------------------------------------------------------------------------------------


@down
def test_trace_g_second_held_sibling_and_a_tag_while_down(ovs, how):
    cases = nics_for(SIDES, SIDES, EITHER)
    with Host(ovs, HOLD, hook=True, paced=False) as host:
        for nic, second, _, looks in cases:
            act(host.stock.add(other(nic, second), nic))
            if looks:
                act(host.stock.add(getattr(nic, second), nic))
        host.settle()
        with host.away(how):
            for nic, second, tagged, looks in cases:
                if not looks:
                    act(host.stock.add(getattr(nic, second), nic))
                host.assert_both(nic, HELD)
                act(host.operator.unit(getattr(nic, tagged), tag=7))
        for nic, _, _, _ in cases:
            host.assert_both(nic, T7)
            assert not any("held" in host.mark(name) for name in (nic.vif, nic.tap))
            assert NONE not in History(ovs).units(nic.vif) + History(ovs).units(nic.tap)


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_trace_g_marks_left_on_a_single_port(ovs, how):
    """While the watcher is down, the port gets a tag and its sibling goes: the hold ends all the
    same."""
    nic = Nic(12)
    with Host(ovs, HOLD, hook=True) as host:
        host.do(host.stock.add(nic.vif, nic), host.stock.add(nic.tap, nic))
        with host.away(how):
            act(host.operator.unit(nic.vif, tag=7))
            act(host.stock.clear(nic.tap))
        assert host.unit(nic.vif) == T7 and "held" not in host.mark(nic.vif)


@pytest.mark.parametrize("paced", EITHER)
def test_trace_g_stock_sets_trunks_on_a_held_port(ovs, paced):
    """The trunks of a VIF (xapi 26.17) open neither a lone held port nor a held pair, so the trunks
    stay: a dot1q-tunnel does not use its trunks, nor does an access port."""
    alone, nic, cleared = Nic(12), Nic(13, "e"), Nic(14, "f")
    with Host(ovs, HOLD, hook=True, paced=paced) as host:
        host.do(host.stock.add(alone.vif, alone, trunks=[5, 6]))
        assert host.unit(alone.vif) == dict(HELD, trunks=[5, 6])
        for each in (nic, cleared):
            for name in (each.vif, each.tap):
                host.do(host.stock.add(name, each, trunks=[5, 6]))
            host.do(host.stock.set_trunks([each.vif, each.tap], [7]))
            host.assert_both(each, dict(HELD, trunks=[7]))
        host.do(host.stock.late_clear(alone.vif),
                host.stock.set_trunks([cleared.vif, cleared.tap], []))
        assert host.unit(alone.vif) == HELD
        host.assert_both(cleared, HELD)
        # None of these writes was undone.
        assert not [record for record in History(ovs).ours()
                    for name in set(record.before) & set(record.after)
                    if record.before[name].unit != record.after[name].unit]
        host.do(host.operator.unit(alone.vif, tag=5), host.operator.unit(nic.tap, tag=5),
                host.operator.unit(cleared.tap, tag=5))
        assert host.unit(alone.vif) == T5
        host.assert_both(nic, unit(5, None, [7]))
        host.assert_both(cleared, T5)


# ---- (h) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", EITHER)
@pytest.mark.parametrize("release", ["yoga", "queens"])
def test_trace_h_other_config_first_and_vlan_mode_never_cleared(ovs, release, held):
    """The agent of queens leaves the vlan_mode and trunks of Neutron's dead form on its port, and
    the sibling gets these columns. Whichever release binds the port, the hold's columns are
    gone."""
    nic = Nic(12)
    with Host(ovs, HOLD, hook=True, release=release) as host:
        if held:
            host.do(host.stock.add(nic.vif, nic), host.stock.add(nic.tap, nic))
        else:
            host.old_pairs([nic], DEAD_FORM)
        before = HELD if held else DEAD_FORM
        host.do(host.operator.ids(nic.vif, iface_id=nic.iface_id))
        steps = host.agent.bind(nic.vif, "net-1", 5)
        for _ in range(2):
            assert next(steps).startswith("other_config")
            host.settle()
            host.assert_both(nic, before)
        with host.away("paused"):
            act(steps)
        after = unit(5, "trunk", [4095]) if release == "queens" and not held else T5
        host.assert_both(nic, after)


# ---- (i) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("managed", EITHER)
def test_trace_i_dead_form_then_tag_then_the_clears(ovs, managed):
    """The agent writes three transactions; the watcher looks or does not look after each."""
    cases = nics_for(SIDES, EITHER, EITHER)
    steps = [DEAD_FORM, unit(5, "trunk", [4095]), T5]
    with Host(ovs) as host:
        for own in SIDES:
            host.old_pairs([nic for nic, side, _, _ in cases if side == own], T6,
                           own if managed else None)
        for number in range(3):
            for nic, side, first, second in cases:
                set_unit(host, getattr(nic, side), steps[number])
                looks = (first, second, True)[number]
                if looks:
                    host.settle()
                    host.assert_both(nic, steps[number])
                elif number < 2:
                    # The next transaction comes before the watcher can look.
                    with host.away("paused"):
                        set_unit(host, getattr(nic, side), steps[number + 1])
        for nic, _, _, _ in cases:
            host.assert_both(nic, T5)
        host.agent.vlans = {"net-1": 5}


# ---- (j) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, hook", [("stopped", True), ("killed", False), ("paused", True),
                                       ("paused", False)])
def test_trace_j_watcher_started_between_plug_and_stock_clear(ovs, how, hook):
    """The watcher starts between the plug and the clear of trunks, or after the clear: in the
    second case the base from the hook has the trunks."""
    closed = (TRUNK, unit(None, None, [5, 6]), unit(5, "native-untagged", [5, 6]))
    cases = nics_for(SIDES, closed, ("between", "after") if hook else ("between",))
    with Host(ovs, hook=hook) as host:
        for form in closed:
            host.old_pairs([nic for nic, _, found, _ in cases if found == form], form)
        steps = []
        with host.away(how):
            for nic, side, _, up in cases:
                steps.append(host.stock.add(getattr(nic, side), nic))
                while next(steps[-1]) != "add-port":
                    pass
                if up == "after":
                    act(steps[-1])
        for left in steps:
            act(left)
        host.settle()
        for nic, _, form, _ in cases:
            host.assert_both(nic, form)


@pytest.mark.parametrize("how", ["stopped", "paused"])
def test_trace_j_stock_clear_when_the_sibling_is_gone_by_then(ovs, how):
    nic = Nic(12)
    with Host(ovs, hook=True) as host:
        host.old_pairs([nic], TRUNK)
        with host.away(how):
            steps = host.stock.add(nic.vif, nic)
            while next(steps) != "add-port":
                pass
            act(host.stock.clear(nic.tap))
            act(steps)
            assert host.unit(nic.vif) == unit(None, "trunk")
        assert host.unit(nic.vif) == TRUNK


# ---- (k) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("boot, how", [("now", "stopped"), ("now", "paused"), ("before", "killed"),
                                       ("never-seen-alive", "stopped")])
def test_trace_k_agent_binds_a_gone_emulated_row(ovs, boot, how):
    nic = Nic(12)
    with Host(ovs) as host:
        if boot == "never-seen-alive":
            ovs.add_port("br0", nic.emu, nic.libxl_ids, ofport=-1)
        else:
            host.do(host.libxl.add(nic.emu, nic))
            host.vswitchd.gone(nic.emu)
            assert host.mark(nic.emu)["boot"]
        host.settle()
        with host.away(how):
            # The test writes the stamp of another boot by hand: a run writes only this boot's.
            if boot == "before":
                noted = dict(host.mark(nic.emu), boot="boot-before")
                act(host.operator.ids(nic.emu, "Port", **{mark.KEY: mark.encode(noted)}))
            act(host.libxl.add(nic.vif, nic))
            act(host.operator.ids(nic.emu, iface_id=nic.iface_id))
            # An agent that looks for ports finds no row with ofport -1: this agent found the
            # port before its device went.
            act(host.agent.bind(nic.emu, "net-1", 5))
        lent = boot == "now"
        assert host.unit(nic.emu) == T5 and host.unit(nic.vif) == (T5 if lent else NONE)
        assert host.state(nic) == ("in-sync" if lent else "refused")


# ---- (l) ---------------------------------------------------------------------------------------


@down
def test_trace_l_a_clear_while_down(ovs, how):
    cases = nics_for(SIDES, SIDES)
    with Host(ovs) as host:
        host.old_pairs([nic for nic, _, _ in cases], NONE)
        for nic, tagged, _ in cases:
            act(host.operator.unit(getattr(nic, tagged), tag=5))
        host.settle()
        for nic, _, _ in cases:
            host.assert_both(nic, T5)
        with host.away(how):
            for nic, _, cleared in cases:
                act(host.operator.unit(getattr(nic, cleared), tag=None))
        for nic, _, _ in cases:
            host.assert_both(nic, NONE)


# ---- (m) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", EITHER)
def test_trace_m_fake_bridges_and_vif_move(ovs, hook):
    """The two fake bridges have one Bridge row: xs-network-uuid tells the move."""
    nic = Nic(12, bridge="fake5")

    def move(bridge):
        nic.xapi_ids["xs-network-uuid"] = "net-" + bridge
        host.do(host.stock.move(nic, bridge))

    with Host(ovs, hook=hook) as host:
        for name, tag in (("fake5", "5"), ("fake6", "6")):
            ovs.vsctl("add-br", name, "br0", tag)
        host.do(host.stock.add(nic.vif, nic), host.stock.add(nic.tap, nic))
        host.assert_both(nic, T5)
        move("fake6")
        assert host.state(nic) == "refused"
        assert (host.unit(nic.vif), host.unit(nic.tap)) == (T6, T5)
        move("fake5")
        host.assert_both(nic, T5)
        assert host.state(nic) == "in-sync"
        move("fake6")
        host.do(host.stock.add(nic.tap, nic))
        host.assert_both(nic, T6)
        assert host.state(nic) == "in-sync"
        # Only ovs-vsctl gives the ports a tag, at add-port on a fake bridge.
        assert not [record for record in History(ovs).ours() for name in (nic.vif, nic.tap)
                    if name in record.before
                    and record.before[name].unit != record.after[name].unit]


@pytest.mark.parametrize("tag", (10, 11))
def test_trace_m_a_fake_bridge_has_the_agents_tag(ovs, tag):
    """Two ports of one Bridge row are on one bridge, whichever fake bridges dom0 has."""
    nic, second = Nic(12), Nic(13, "e")
    with Host(ovs, hook=True) as host:
        ovs.vsctl("add-br", "fake10", "br0", "10")
        for each in (nic, second):
            host.do(host.stock.add(each.vif, each), host.stock.add(each.tap, each))
            host.do(host.operator.ids(each.vif, iface_id=each.iface_id))
        host.do(host.agent.bind(nic.vif, "net-1", tag), host.operator.unit(second.tap, tag=tag))
        # (ovs-vsctl's del-br would delete the guests' ports with the fake bridge's tag, too.)
        for change in (lambda: None, lambda: ovs.delete_port("fake10"),
                       lambda: ovs.vsctl("add-br", "fake10", "br0", str(tag))):
            change()
            host.settle()
            for each in (nic, second):
                host.assert_both(each, unit(tag))
                assert host.state(each) == "in-sync"
        for each in (nic, second):
            host.do(host.stock.add(each.tap, each))
            host.assert_both(each, unit(tag))


# ---- (n) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("both, how", [(True, "stopped"), (True, "paused"), (False, "killed")])
def test_trace_n_tap_deleted_at_take_over(ovs, both, how):
    """The watcher sees the hook's two transactions one after the other, or both at once, or is
    down."""
    nic, seen, unseen = Nic(12), Nic(13, "e"), Nic(14, "f")
    with Host(ovs, "[mirror]\niface_id = both\n" if both else "", hook=True) as host:
        pairs = (nic, seen, unseen)
        host.old_pairs(pairs, T5, own="vif")
        before = [(host.interface_version(each.vif), host.unit(each.vif)) for each in pairs]
        for each in pairs:
            assert ("iface-id" in host.ids(each.tap)) == both
        # The test writes the hook's first transaction itself. The watcher looks, and gives the
        # tap the keys back, so that the hook has keys to remove.
        if both:
            act(host.operator.ids(nic.tap, iface_id=None, attached_mac=None))
            host.settle()
            assert "iface-id" in host.ids(nic.tap)
        act(host.stock.clear(nic.tap))
        host.do(host.stock.clear(seen.tap))
        with host.away(how):
            act(host.stock.clear(unseen.tap))
        # With iface-id on one port only, the stock script alone deletes the other port.
        assert [record.comment for record in History(ovs).ours()
                if "Bridge" in record.tables] == both * [
                    "xenvif-tagger: %s is unplugged" % each.tap for each in pairs]
        assert before == [(host.interface_version(each.vif), host.unit(each.vif))
                          for each in pairs]
        for each in pairs:
            assert host.ids(each.vif) == dict(each.xapi_ids, **{"iface-id": each.iface_id})


# ---- (o) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook, how", [(True, "stopped"), (False, "killed"), (False, "paused")])
def test_trace_o_vif_replugged(ovs, hook, how):
    """With the watcher up or down, the vif gets its tag and its iface-id back. The hook gives the
    iface-id to the tap at the vif's unplug, and back to the vif at the re-plug."""
    nic = Nic(12)
    with Host(ovs, hook=hook) as host:
        host.old_pairs([nic], T5, own="vif")
        with host.away(how):
            act(host.stock.clear(nic.vif))
            assert (host.ids(nic.tap).get("iface-id") == nic.iface_id) == hook
            act(host.stock.add(nic.vif, nic))
        for _ in range(2):
            host.assert_both(nic, T5)
            assert host.ids(nic.vif)["iface-id"] == nic.iface_id
            assert "iface-id" not in host.ids(nic.tap)
            host.do(host.stock.clear(nic.vif), host.stock.add(nic.vif, nic))
        # The agent had forgotten the network and sets a new tag: the sibling's tag is
        # stale.
        host.agent.vlans = {}
        host.do(host.agent.bind(nic.vif, "net-1", 7))
        host.assert_both(nic, T7)


@pytest.mark.parametrize("how", DOWN[:2])
def test_trace_o_the_agent_has_bound_the_tap_meanwhile(ovs, how):
    """An agent that sees the iface-id on the tap binds the tap: then the iface-id stays on the
    tap."""
    nic = Nic(12)
    with Host(ovs, hook=True) as host:
        host.old_pairs([nic], T5, own="vif")
        with host.away(how):
            act(host.stock.clear(nic.vif))
            act(host.agent.bind(nic.tap, "net-1", 5))
            act(host.stock.add(nic.vif, nic))
        host.assert_both(nic, T5)
        assert host.ids(nic.tap)["iface-id"] == nic.iface_id
        assert "iface-id" not in host.ids(nic.vif)


# ---- (p) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", DOWN[:2])
@pytest.mark.parametrize("listed", EITHER)
def test_trace_p_agents_port_gone_for_longer_than_the_grace(ovs, listed, how):
    """A watcher that was down when the agent's port went begins the grace at its start. The hook
    gives the iface-id to the tap at the vif's unplug, and back to the vif at the re-plug."""
    nic, tenant = Nic(12), Nic(13, "e")
    bridge = "br0" if listed else "br1"
    with Host(ovs, "[hold]\nbridges = %s\norphan_grace = 0.3\n" % bridge, hook=True) as host:
        host.old_pairs([nic], T5, own="vif")
        with host.away(how):
            act(host.stock.clear(nic.vif))
        assert host.ids(nic.tap)["iface-id"] == nic.iface_id
        host.agent.lost(nic.vif)
        host.extra = 1  # the grace
        if not listed:
            host.watcher.until(lambda: host.state(nic) == "orphan")
            assert host.unit(nic.tap) == T5
            return
        host.watcher.until(lambda: host.unit(nic.tap) == HELD)
        host.old_pairs([tenant], NONE)
        host.do(host.operator.ids(tenant.vif, iface_id=tenant.iface_id),
                host.agent.bind(tenant.vif, "net-2", 5))
        given_away = host.count()
        host.do(host.stock.add(nic.vif, nic))
        host.assert_both(nic, HELD)
        assert host.ids(nic.vif)["iface-id"] == nic.iface_id
        assert "iface-id" not in host.ids(nic.tap)
        host.do(host.agent.bind(nic.vif, "net-1", 6))
        host.assert_both(nic, T6)
        host.assert_both(tenant, T5)
        assert not [record for record in History(ovs).records[given_away - 1:]
                    for name in (nic.vif, nic.tap)
                    if name in record.after and record.after[name].unit == T5]
