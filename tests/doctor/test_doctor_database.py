"""`doctor` on the rows of the database, and on the programs that write iface-id."""
import subprocess

import pytest

from support.constants import LONG
from support.doctor_host import (
    CONFIG,
    NO_DATABASE,
    NO_WATCHER,
    XAPI_SYNC_PID,
    ids,
    plug,
    prepared,
    reach,
)
from support.private_ovs import PrivateOvs, schema_like_2_5
from support.watching import Watching


def test_database_unreachable(host, switch):
    switch.stop_server()
    found = host.is_ill(switch, "ovsdb", "FAIL", "is ovsdb-server running?", **NO_DATABASE)
    assert found["cure"] == "systemctl start openvswitch"


def test_database_hangs(host, switch):
    host.write(CONFIG, "[ovsdb]\ntimeout = 0.2\n")
    switch.pause()
    try:
        host.is_ill(switch, "ovsdb", "FAIL", "no answer within 0.2 s", **NO_DATABASE)
    finally:
        switch.resume()


def test_open_vswitch_was_not_started_by_ovs_ctl(host, switch):
    switch.vsctl("clear", "Open_vSwitch", ".", "ovs_version")
    host.is_ill(switch, "ovsdb", "WARN", "unknown version")


def test_hold_on_an_old_schema(host):
    host.write(CONFIG, "[hold]\nbridges = br0\n")
    with PrivateOvs(schema_like_2_5()) as ovs:
        prepared(ovs)
        host.is_ill(ovs, "ovsdb", "WARN", "7.12.1", "cvlans")


def test_drift(host, switch):
    plug(host, switch, {"tag": 5})
    switch.vsctl("set", "Port", "vif1.0", "tag=7")
    found = host.is_ill(switch, "drift", "FAIL", "vif1.0 and tap1.0")
    assert found["cure"] == "xenvif-tagger mirror all"
    assert host.run(switch, "-q", "mirror", "all")[0] == 0
    assert host.doctor(switch)["drift"]["state"] == "OK"


def test_a_port_that_is_not_yet_closed(host, switch):
    host.write(CONFIG, "[hold]\nbridges = br0\n")
    switch.add_port("br0", "vif1.0", ids(1))
    host.is_ill(switch, "drift", "FAIL", "vif1.0", "closed until it has a real tag",
                unmarked="WARN")
    host.run(switch, "mirror", "all")
    assert host.doctor(switch)["drift"]["state"] == "OK"


def test_drift_that_waits_for_the_agent(host, switch):
    plug(host, switch, {"other_config": {"net_uuid": "n"}, "external_ids": ids(1, iface_id="i")},
         {"tag": 5})
    host.is_ill(switch, "drift", "WARN", "has no tag yet")


def test_conflict(host, switch):
    plug(host, switch, {"tag": 5}, {"tag": 7})
    found = host.is_ill(switch, "conflict", "FAIL", "tag 5", "tag 7")
    assert found["cure"].startswith("xenvif-tagger mirror port vif1.0 --from vif")


def test_refused(host, switch):
    plug(host, switch, tap={"external_ids": ids(2)})
    found = host.is_ill(switch, "refused", "WARN", "different VIFs")
    assert found["cure"] == "xe vif-unplug uuid=uuid-1 && xe vif-plug uuid=uuid-1"


@pytest.mark.parametrize("listed", ["br9", '"br0"', "br0;", "br*", "xapi5"])
def test_a_bridge_in_hold_that_the_host_does_not_have(host, switch, listed):
    switch.vsctl("add-br", "xapi5", "br0", "5")  # a VLAN bridge, which has no Bridge row
    host.write(CONFIG, "[hold]\nbridges = br0, %s\n" % listed)
    found = host.is_ill(switch, "hold-bridges", "WARN", listed)
    assert "br0," not in found["found"] and host.at(CONFIG) in found["cure"]


def test_held(host, switch):
    host.write(CONFIG, "[hold]\nbridges = br0\n")
    switch.add_port("br0", "vif1.0", ids(1))
    switch.add_port("br0", "tap1.0", ids(1), tag=5)
    host.run(switch, "-q", "mirror", "all")
    switch.vsctl("clear", "Port", "vif1.0", "tag")
    host.run(switch, "-q", "mirror", "all")
    host.run_dir = switch.dir
    host.is_ill(switch, "held", "WARN", "vif1.0", "tap1.0", "watcher would know since when",
                watcher="FAIL", **NO_WATCHER)
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        found = host.doctor(switch)["held"]
        assert found["state"] == "OK" and "vif1.0" in found["found"], found
        host.patch = "from xenvif_tagger.doctor import ports; ports.LONG_HELD = 0"
        found = host.is_ill(switch, "held", "WARN", "vif1.0 held for", "tap1.0 held for")
        assert found["cure"].startswith("ovs-vsctl set Port vif1.0 tag=VLAN")


def test_held_on_a_bridge_that_is_not_listed_any_more(host, switch):
    """The command that doctor prints opens the port."""
    host.write(CONFIG, "[hold]\nbridges = br0\n")
    plug(host, switch)
    assert switch.port("tap1.0")["tag"] == [4095]
    host.write(CONFIG, "")
    found = host.is_ill(switch, "held", "WARN", "vif1.0", "does not list the bridge")
    assert found["cure"] == "xenvif-tagger mirror port vif1.0 --from vif"
    host.run(switch, *found["cure"].split()[1:])
    assert host.doctor(switch)["held"]["state"] == "OK"
    assert switch.port("vif1.0")["tag"] == switch.port("tap1.0")["tag"] == []


def test_a_vlan_that_the_agent_has_given_to_another_network(host, switch):
    """doctor prints no command that chooses a side: the agent has forgotten one of the two
    ports."""
    for number, network in (1, "n"), (2, "other"):
        plug(host, switch, {"tag": 5, "external_ids": ids(number, iface_id="p%d" % number),
                            "other_config": {"net_uuid": network, "tag": "5"}}, {"tag": 5}, number)
    found = host.is_ill(switch, "conflict", "FAIL", "for network n", "for network other")
    assert found["cure"] == "xe vif-unplug uuid=uuid-1 && xe vif-plug uuid=uuid-1"
    assert host.run(switch, "check")[0] == 1


def test_a_port_that_the_agent_does_not_see(host, switch):
    plug(host, switch, {"tag": 5, "external_ids": ids(1, iface_id="a"),
                        "other_config": {"net_uuid": "n", "tag": "5"}})
    plug(host, switch, {"external_ids": ids(2, iface_id="b")}, number=2)
    host.run_dir = switch.dir
    host.is_ill(switch, "unbound", "SKIP", "only a watcher would know", watcher="FAIL",
                **NO_WATCHER)
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        assert set(watcher.stats()["unbound_seconds"]) == {"vif2.0"}
        assert host.doctor(switch)["unbound"]["state"] == "OK"
        host.patch = "from xenvif_tagger.doctor import ports; ports.LONG_HELD = 0"
        found = host.is_ill(switch, "unbound", "WARN", "vif2.0 and tap2.0", "minimize_polling=true")
        assert found["cure"] == "systemctl restart neutron-openvswitch-agent"
        assert "vif1.0" not in found["found"]
        switch.vsctl("set", "Port", "vif2.0", "tag=5", "other_config:net_uuid=n")
        watcher.settle()
        assert watcher.stats()["unbound_seconds"] == {}
    host.patch = ""


def test_ports_that_cannot_be_paired(host, switch):
    for name in "web0", "web0-emu":
        switch.add_port("br0", name, {"xen-vm-uuid": "a", "attached-mac": "00:0a"})
    found = host.is_ill(switch, "unpaired", "FAIL", "web0 and web0-emu", "vifname=")
    assert found["cure"].startswith("xl config-update")


def test_dead_vlan(host, switch):
    plug(host, switch, {"tag": 4095, "external_ids": ids(1, iface_id="port-id")}, {"tag": 4095})
    found = host.is_ill(switch, "dead-vlan", "WARN", "vif1.0; tap1.0")
    assert "openstack port show port-id" in found["cure"]


def test_siblings_on_different_bridges(host, ovs_dummy):
    """The command that doctor prints mends the fault, and leaves no port without a tag meanwhile.
    """
    prepared(ovs_dummy).add_bridge("br1")
    plug(host, ovs_dummy, {"bridge": "br1", "tag": 5}, {"tag": 7})
    found = host.is_ill(ovs_dummy, "bridges", "WARN", "br0", "br1")
    subprocess.run(["sh", "-c", found["cure"]], env=ovs_dummy.env, check=True, timeout=LONG)
    assert ovs_dummy.port("tap1.0")["tag"] == [5]
    host.run(ovs_dummy, "-q", "mirror", "all")
    checks = host.doctor(ovs_dummy)
    assert (checks["bridges"]["state"], checks["refused"]["state"]) == ("OK", "OK")


def test_orphan(host, switch):
    plug(host, switch, {"tag": 5})
    switch.delete_port("vif1.0")
    found = host.is_ill(switch, "orphans", "WARN", "tap1.0", "tag 5")
    code, _, err = host.run(switch, *found["cure"].split()[1:])
    assert (code, err) == (0, "")
    assert host.doctor(switch)["orphans"]["state"] == "OK"


def test_a_port_plugged_without_our_hook(host, switch):
    plug(host, switch, seen=False)
    found = host.is_ill(switch, "unmarked", "WARN", "vif1.0; tap1.0")
    assert host.run(switch, *found["cure"].split()[1:])[0] == 0
    assert host.doctor(switch)["unmarked"]["state"] == "OK"


def test_a_port_plugged_without_any_script(host, switch):
    switch.add_port("br0", "vif1.0")
    host.is_ill(switch, "unmarked", "WARN", "names the VIF")


def test_of_many_faults_most_are_only_counted(host, switch):
    for number in range(1, 6):
        plug(host, switch, {"tag": 5}, {"tag": 7}, number=number, seen=number == 5)
    assert host.doctor(switch)["conflict"]["found"].endswith("and 2 more")


def both(number, **tap):
    external_ids = ids(number, iface_id="port-id")
    return {"external_ids": external_ids}, dict(tap, external_ids=external_ids)


def test_iface_id_on_both(host, switch):
    plug(host, switch, *both(1))
    found = host.is_ill(switch, "iface-id", "WARN", "vif1.0 and tap1.0")
    assert found["cure"] == "ovs-vsctl remove Interface tap1.0 external_ids iface-id"


def test_iface_id_on_both_as_the_config_wants(host, switch):
    host.write(CONFIG, "[mirror]\niface_id = both\n")
    plug(host, switch, *both(1))
    checks = host.doctor(switch)
    assert checks["iface-id"]["state"] == "WARN" and checks["iface-id"]["cure"] is None


def test_iface_id_on_both_under_neutron(host, switch):
    """The cure removes iface-id from the tap, even if the agent has bound the tap: the tap is the
    port that goes when PV drivers take over."""
    vif, tap = both(1, tag=5, other_config={"net_uuid": "n"})
    plug(host, switch, vif, tap)
    found = host.is_ill(switch, "iface-id", "FAIL", "DOWN")
    assert found["cure"] == "ovs-vsctl remove Interface tap1.0 external_ids iface-id"
    switch.vsctl(*found["cure"].split()[1:])
    assert host.doctor(switch)["iface-id"]["state"] == "OK"


def sync(host):
    host.process(XAPI_SYNC_PID, "/usr/bin/python3", "/usr/share/openvswitch/scripts/ovs-xapi-sync",
                 "unix:/var/run/openvswitch/db.sock")


def test_an_ovs_xapi_sync_that_writes_no_iface_id(host, switch):
    sync(host)
    plug(host, switch, {"tag": 5})
    checks = host.doctor(switch)["ovs-xapi-sync"]
    assert checks["state"] == "OK" and "pid %d" % XAPI_SYNC_PID in checks["found"]


def test_ovs_xapi_sync(host, switch):
    sync(host)
    plug(host, switch, *both(1))
    found = host.is_ill(switch, "ovs-xapi-sync", "WARN", "DOWN", **{"iface-id": "WARN"})
    assert found["cure"] == "systemctl disable --now openvswitch-xapi-sync"


def test_ovs_xapi_sync_under_neutron(host, switch):
    sync(host)
    vif, tap = both(1, tag=5, other_config={"net_uuid": "n"})
    plug(host, switch, vif, tap)
    host.is_ill(switch, "ovs-xapi-sync", "FAIL", "DOWN", **{"iface-id": "FAIL"})


def test_ovs_xapi_sync_without_a_database(host, switch):
    sync(host)
    switch.stop_server()
    host.is_ill(switch, "ovs-xapi-sync", "WARN", ovsdb="FAIL", **NO_DATABASE)
