"""The watcher's replica has the rows of the database as the one-shot reader reads the rows, and
names the VIFs to look at: all VIFs whose rows changed, and no other VIFs."""
import time

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller
import pytest

from support.private_ovs import to_map
from support.watching import PATIENCE
from xenvif_tagger.core import mark
from xenvif_tagger.core.port import Port
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.vswitch import Vswitch
from xenvif_tagger.replica.replica import Replica

ovs_idl, ovs_jsonrpc = ovs.db.idl, ovs.jsonrpc  # `ovs` is a fixture's name here


class Copy(object):
    """A replica beside the database that it copies."""

    def __init__(self, ovs):
        self.ovs = ovs
        self.replica = Replica(ovs.remote, False)
        self._run(lambda: self.replica.is_current)

    def _run(self, over):
        until = time.monotonic() + PATIENCE
        self.replica.run()
        while not over():
            assert time.monotonic() < until
            poller = ovs.poller.Poller()
            self.replica.wait(poller)
            poller.timer_wait(100)
            poller.block()
            self.replica.run()

    def after(self, *operations):
        """Do a transaction; returns the VIFs to look at then (set). Checks that the replica equals
        the database."""
        self.replica.changed.clear()
        for vif in self.replica.vifs():
            self.replica.ports(vif)  # the replica knows a VIF from its first reading on
        self.ovs.transact(*operations)
        heard = []
        self.replica.ask("echo", [], heard.append)
        self._run(lambda: heard)
        self.check()
        return set(self.replica.changed)

    def check(self):
        with Client(self.ovs.remote, PATIENCE) as client:
            there = Vswitch(client).read_all()
        mine = {vif: self.replica.ports(vif)[0] for vif in self.replica.vifs()}
        assert {vif: plain(ports) for vif, ports in mine.items() if ports} == {
            vif: plain(ports) for vif, ports in there.items() if ports}


def plain(ports):
    # (The replica does not ask for the columns of policing here.)
    return sorted(repr([getattr(port, name) for name in Port.__slots__ if name != "policing"])
                  for port in ports)


@pytest.fixture
def copy(ovs, monkeypatch):
    for module, name in ((ovs_idl, "data"), (ovs_idl, "ColumnDefaultDict"), (ovs_idl, "Row"),
                         (ovs_jsonrpc, "Connection")):
        # At the test's end monkeypatch restores the module's own attribute.
        monkeypatch.setattr(module, name, getattr(module, name))
    for bridge in "br0", "br1":
        ovs.add_bridge(bridge)
    ovs.vsctl("add-br", "fake", "br0", "5")
    for number in 1, 2:
        ovs.add_port("br0", "vif%d.0" % number, {})
    ovs.add_port("br0", "eth0", {})
    made = Copy(ovs)
    yield made
    made.replica.close()


BOTH = {(1, 0), (2, 0)}


def port(name, **row):
    return {"op": "update", "table": "Port", "where": [["name", "==", name]], "row": row}


def interface(name, **row):
    return {"op": "update", "table": "Interface", "where": [["name", "==", name]], "row": row}


def test_a_change_of_our_columns_names_the_vif(copy):
    for trunks in ([1, 2, 3], [2, 4], [4], [], [7, 8]):
        assert copy.after(port("vif1.0", trunks=["set", trunks])) == {(1, 0)}
    for ids in ({"a": "1", "b": "2"}, {"b": "3", "c": "4"}, {}):
        assert copy.after(interface("vif1.0", external_ids=to_map(ids))) == {(1, 0)}
    for tag in (5, 6, ["set", []]):
        assert copy.after(port("vif1.0", tag=tag)) == {(1, 0)}


def test_a_change_of_other_rows_and_columns_names_no_vif(copy):
    assert copy.after(interface("vif1.0", ingress_policing_rate=5)) == set()
    assert copy.after(port("eth0", tag=7)) == set()
    assert copy.after(port("fake", external_ids=to_map({"a": "b"}))) == set()
    assert copy.after({"op": "update", "table": "Bridge", "where": [["name", "==", "br0"]],
                       "row": {"other_config": to_map({"a": "b"})}}) == set()


def test_a_vlan_bridge_is_no_bridge(copy):
    """A port is on the bridge whose row has the port, whatever the tag of a VLAN ("fake") bridge
    is. No change of a VLAN bridge concerns a VIF: 1,000 VLAN bridges cause no look at a VIF."""
    def bridges():
        return {vif: [port.bridge for port in copy.replica.ports(vif)[0]]
                for vif in copy.replica.vifs()}

    on_br0 = {(1, 0): ["br0"], (2, 0): ["br0"]}
    assert copy.after(port("vif1.0", tag=5)) == {(1, 0)} and bridges() == on_br0
    for operations in (
            [port("fake", tag=6)], [port("fake", tag=["set", []])], [port("fake", tag=5)],
            [port("fake", fake_bridge=False)], [port("fake", fake_bridge=True)],
            move(copy, "fake", "br0", "br1"), move(copy, "fake", "br1", "br0"),
            move(copy, "fake", "br0", None)[:1]):
        assert copy.after(*operations) == set() and bridges() == on_br0
    copy.ovs.vsctl("add-br", "another", "br0", "5")
    assert copy.after() == set() and bridges() == on_br0
    copy.ovs.vsctl("add-port", "another", "vif3.0")
    assert copy.after() == {(3, 0)} and bridges()[3, 0] == ["br0"]
    assert copy.replica.ports((3, 0))[0][0].unit == {"tag": 5}
    assert copy.after(*move(copy, "another", "br0", None)[:1]) == set()


def move(copy, name, *bridges):
    """The operations that move a port from its bridge to other bridges."""
    uuid = ["uuid", copy.ovs.port(name)["_uuid"]]
    return [{"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
             "mutations": [["ports", how, uuid]]}
            for how, bridge in zip(("delete", "insert"), bridges)]


def test_a_port_that_moves_to_another_bridge(copy):
    for bridges in ("br0", "br1"), ("br1", "br0"):
        assert copy.after(*move(copy, "vif1.0", *bridges)) == {(1, 0)}
        assert copy.replica.ports((1, 0))[0][0].bridge == bridges[1]


def test_a_port_replaced_in_one_transaction(copy):
    """The transaction deletes a port and adds a port of the same name."""
    gone, = move(copy, "vif1.0", "br0")
    come = [{"op": "insert", "table": "Interface", "row": {"name": "vif1.0"}, "uuid-name": "i"},
            {"op": "insert", "table": "Port", "uuid-name": "p",
             "row": {"name": "vif1.0", "interfaces": ["named-uuid", "i"]}},
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br1"]],
             "mutations": [["ports", "insert", ["named-uuid", "p"]]]}]
    assert copy.after(gone, *come) == {(1, 0)}
    assert copy.replica.vifs() == BOTH
    gone, = move(copy, "vif1.0", "br1")
    assert copy.after(gone) == {(1, 0)}
    assert copy.replica.vifs() == {(2, 0)}


def test_a_deleted_bridge_takes_its_ports_along(copy):
    copy.ovs.vsctl("del-br", "br0")
    assert copy.after() == BOTH  # by this answer the bridge has gone
    assert copy.replica.vifs() == set()


def test_a_bond_is_no_vifs_port(copy):
    assert copy.after(
        {"op": "insert", "table": "Interface", "row": {"name": "x"}, "uuid-name": "i"},
        {"op": "mutate", "table": "Port", "where": [["name", "==", "vif1.0"]],
         "mutations": [["interfaces", "insert", ["named-uuid", "i"]]]}) == {(1, 0)}
    assert copy.replica.ports((1, 0)) == ([], {})


# ---- a VLAN that the agent has given to another network ------------------------------------------


FOLLOWED = {"base": {"port": "00000000-0000-0000-0000-000000000001", "unit": {"tag": 5},
                     "Port": {}, "Interface": {}, "policing": {}, "network": "net-1"}}
BOUND = {"net_uuid": "net-2", "tag": "5"}


def following(copy):
    """Let vif1.0 follow a deleted port of net-1 in VLAN 5."""
    copy.after(port("vif1.0", tag=5, external_ids=to_map({mark.KEY: mark.encode(FOLLOWED)})))


def rivals(copy):
    return copy.replica.ports((1, 0))[0][0].rivals


LAST = {
    "its notes": port("vif2.0", other_config=to_map(BOUND)),
    "its tag": port("vif2.0", tag=5),
    "its iface-id": interface("vif2.0", external_ids=to_map({"iface-id": "b"})),
    "its device": interface("vif2.0", ofport=3),
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a port of its network"])
@pytest.mark.parametrize("last", sorted(LAST) + ["its bridge"])
def test_a_port_that_proves_that_a_vlan_is_another_networks_names_the_vif_in_it(copy, last, beside):
    """Whatever comes last, and also if the agent has a port of that network already, which proves
    nothing: its device is gone."""
    if beside:
        copy.ovs.add_port("br0", "vif3.0", {"iface-id": "c"}, tag=5, other_config=BOUND, ofport=-1)
    following(copy)
    if last == "its bridge":
        copy.after(*move(copy, "vif2.0", "br0", "br1"))
    else:
        copy.after(interface("vif2.0", ofport=-1))
    copy.after(*[LAST[name] for name in LAST if name != last])
    assert not rivals(copy)
    done = copy.after(*(move(copy, "vif2.0", "br1", "br0") if last == "its bridge"
                        else [LAST[last]]))
    assert done == BOTH and rivals(copy) == {"net-2"}


@pytest.mark.parametrize("how", ["its tag", "its iface-id", "its device", "its row"])
def test_a_proof_that_goes_names_the_vif(copy, how):
    following(copy)
    copy.after(*LAST.values())
    assert rivals(copy) == {"net-2"}
    ends = {"its tag": [port("vif2.0", tag=6)],
            "its iface-id": [interface("vif2.0", external_ids=to_map({}))],
            "its device": [interface("vif2.0", ofport=-1)],
            "its row": move(copy, "vif2.0", "br0")}
    assert (1, 0) in copy.after(*ends[how]) and not rivals(copy)


def test_a_proof_names_a_vif_whose_network_is_not_known_by_the_port(copy):
    """The notes of the port's sibling, or a base with another tag, may tell whose the VLAN was."""
    other = dict(FOLLOWED["base"], unit={"tag": 6}, network="net-2")
    for ids in {}, {mark.KEY: mark.encode({"base": other})}:
        copy.after(port("vif1.0", tag=5, external_ids=to_map(ids)))
        copy.after(port("vif2.0", tag=7))
        assert copy.after(*LAST.values()) == BOTH and rivals(copy) == {"net-2"}


def test_a_port_in_its_own_networks_vlan_names_no_other_vif(copy):
    """All ports of a network are in one VLAN: to bind one of them concerns no other VIF."""
    following(copy)
    ours = dict(BOUND, net_uuid="net-1")
    for name in "its iface-id", "its device", "its tag":
        copy.after(LAST[name])
    assert copy.after(port("vif2.0", other_config=to_map(ours))) == {(2, 0)}
    assert copy.after(interface("vif2.0", ofport=-1)) == {(2, 0)}
