"""Tests of the private Open vSwitch that the other tests use: a PrivateOvs changes nothing on the
host, and behaves as Open vSwitch does."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from support.constants import ROOT
from support.private_ovs import OvsError, PrivateOvs, schema_like_2_5, schema_with_extra

ODD = [
    "a b, c=d",
    'quote " backslash \\ brace { bracket ]',
    "new\nline\ttab",
    "ünïcode ☃ \U0001f600",
    "",
    "'; drop",
    "[1,2]",
    "true",
    "5",
]


def alive(pid):
    """Whether the process runs. A zombie, which waits for its new parent to reap it, does not."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited %d s in vain" % seconds
        time.sleep(0.005)


def test_two_switches_at_a_time_are_separate(ovs):
    with PrivateOvs() as other:
        ovs.add_bridge("br0")
        ovs.add_port("br0", "vif1.0", tag=5)
        other.add_bridge("br0")
        other.add_port("br0", "vif1.0", tag=6)
        assert ovs.port("vif1.0")["tag"] == [5]
        assert other.vsctl("get", "port", "vif1.0", "tag") == "6\n"
        assert ovs.dir != other.dir
        assert other.appctl("ovsdb-server", "version").startswith("ovsdb-server")
    assert ovs.vsctl("list-ports", "br0") == "vif1.0\n"


@pytest.mark.parametrize("vswitchd", [None, "dummy"])
def test_stop_leaves_nothing(vswitchd):
    switch = PrivateOvs(vswitchd=vswitchd).start()
    directory = switch.dir
    pids = [pid for pid in (switch.server_pid, switch.vswitchd_pid) if pid]
    assert len(pids) == (2 if vswitchd else 1)
    assert all(alive(pid) for pid in pids)
    switch.stop()
    assert not any(alive(pid) for pid in pids)
    assert not os.path.exists(directory)
    switch.stop()  # a second stop() does no harm


def test_stop_ends_a_paused_server():
    with PrivateOvs() as switch:
        pid = switch.server_pid
        switch.pause()
    assert not alive(pid)


def test_a_killed_parent_takes_the_daemons_along():
    code = (
        "import sys, time; sys.path.insert(0, %r)\n"
        "from support.private_ovs import PrivateOvs\n"
        "ovs = PrivateOvs(vswitchd='dummy').start()\n"
        "print(ovs.server_pid, ovs.vswitchd_pid, ovs.dir, flush=True)\n"
        "time.sleep(60)\n"
    ) % os.path.join(ROOT, "tests")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    server, switch, directory = child.stdout.readline().decode().split()
    child.kill()
    child.wait()
    child.stdout.close()
    wait_until(lambda: not alive(int(server)) and not alive(int(switch)))
    shutil.rmtree(directory)  # kill -9 leaves the directory and nothing else


def test_odd_strings_go_through(ovs):
    ids = {"key %s" % value: value for value in ODD}
    ovs.add_bridge("br0")
    uuid = ovs.add_port("br0", "vif1.0", ids, port_external_ids=ids, other_config=ids)
    assert ovs.interface("vif1.0")["external_ids"] == ids
    port = ovs.port("vif1.0")
    assert port["_uuid"] == uuid
    assert port["external_ids"] == ids
    assert port["other_config"] == ids
    assert ovs.vsctl("--columns=name", "find", "port", "name=vif1.0").split()[-1] == "vif1.0"
    snowman = ODD[3]
    ovs.vsctl("set", "port", "vif1.0", 'external_ids:x="%s"' % snowman)
    assert ovs.port("vif1.0")["external_ids"]["x"] == snowman


def test_columns_arrive_where_they_belong(ovs):
    ovs.add_bridge("br0")
    ovs.add_port(
        "br0",
        "tap1.0",
        {"iface": "i"},
        {"port": "p"},
        tag=7,
        vlan_mode="native-untagged",
        trunks=[9, 7],
        cvlans=[3],
        other_config={"net_uuid": "n"},
        ofport=-1,
        error="gone",
    )
    port, interface = ovs.port("tap1.0"), ovs.interface("tap1.0")
    assert (port["tag"], port["vlan_mode"]) == ([7], ["native-untagged"])
    assert (port["trunks"], port["cvlans"]) == ([7, 9], [3])
    assert (port["external_ids"], port["other_config"]) == ({"port": "p"}, {"net_uuid": "n"})
    assert port["interfaces"] == [interface["_uuid"]]
    assert interface["external_ids"] == {"iface": "i"}
    assert (interface["ofport"], interface["error"]) == ([-1], ["gone"])
    ovs.delete_port("tap1.0")
    assert ovs.port("tap1.0") is None
    assert ovs.interface("tap1.0") is None


def test_add_many_ports_returns_the_uuids_in_order(ovs):
    ovs.add_bridge("br0")
    rows = [{"name": "vif%d.0" % n, "tag": n} for n in range(1, 1501)]
    uuids = ovs.add_many_ports("br0", rows)
    names = {row["_uuid"]: row["name"] for row in ovs.rows("Port")}
    assert [names[uuid] for uuid in uuids] == [row["name"] for row in rows]
    assert len(ovs.vsctl("list-ports", "br0").split()) == 1500


def test_a_schema_like_that_of_2_5_lacks_cvlans():
    with PrivateOvs(schema=schema_like_2_5()) as old:
        old.add_bridge("br0")
        old.add_port("br0", "vif1.0", tag=5)
        assert "cvlans" not in old.port("vif1.0")
        with pytest.raises(OvsError, match="cvlans"):
            old.add_port("br0", "vif2.0", cvlans=[5])
        with pytest.raises(OvsError, match="dot1q-tunnel"):
            old.add_port("br0", "vif2.0", vlan_mode="dot1q-tunnel")
        old.restart_server(schema=schema_with_extra({"Port": {"later": {"type": "string"}}}))
        assert old.port("vif1.0")["tag"] == [5]
        assert old.port("vif1.0")["later"] == ""
        assert old.port("vif1.0")["cvlans"] == []


def test_the_database_outlives_a_restart(ovs):
    ovs.add_bridge("br0")
    before = ovs.server_pid
    ovs.stop_server(kill=True)
    with pytest.raises(OSError):
        ovs.transact()
    ovs.start_server()
    assert ovs.server_pid != before
    assert ovs.port("br0")["name"] == "br0"


def test_pause_is_a_hang_and_resume_ends_it(ovs):
    ovs.pause()
    with pytest.raises(OSError):
        ovs.transact({"op": "comment", "comment": "x"}, timeout=0.1)
    ovs.resume()
    assert ovs.rows("Bridge") == []


def test_the_database_log_shows_transactions_and_comments(ovs):
    before = ovs.database_log().count("\nrecord ")
    ovs.add_bridge("br0")
    ovs.transact(
        {"op": "update", "table": "Port", "where": [], "row": {"tag": 5}},
        {"op": "comment", "comment": "because we can"},
    )
    log = ovs.database_log()
    assert log.count("\nrecord ") == before + 2
    assert "because we can" in log


def test_the_text_of_an_error_names_the_cause(ovs):
    with pytest.raises(OvsError, match="no bridge named br9"):
        ovs.add_port("br9", "vif1.0")
    assert ovs.port("vif1.0") is None
    with pytest.raises(OvsError, match="no row"):
        ovs.vsctl("set", "port", "nobody", "tag=1")
    with pytest.raises(OvsError, match="nosuch"):
        ovs.transact({"op": "select", "table": "nosuch", "where": []})


def test_a_server_that_cannot_start_says_why(ovs):
    ovs.stop_server()
    with open(ovs.database, "w") as database:
        database.write("not a database")
    with pytest.raises(OvsError, match="ovsdb-server ended with"):
        ovs.start_server()


def test_dummy_gives_any_name_an_ofport(ovs_dummy):
    ovs_dummy.add_bridge("br0")
    ovs_dummy.add_port("br0", "vif1.0", tag=5)
    interface = ovs_dummy.interface("vif1.0")
    assert interface["ofport"][0] > 0
    assert interface["error"] == []
    ovs_dummy.vsctl("set", "interface", "vif1.0", "type=nonsense")
    assert ovs_dummy.interface("vif1.0")["ofport"] == [-1]
    assert "could not open" in ovs_dummy.interface("vif1.0")["error"][0]


@pytest.fixture
def netns():
    """A network namespace for the test. (Making one needs root, as `make test` does.)"""
    name = "ovs-test-%d" % os.getpid()
    subprocess.check_call(["ip", "netns", "add", name])
    yield name
    subprocess.check_call(["ip", "netns", "del", name])


def test_userspace_opens_real_devices_and_removes_its_own(netns):
    def devices():
        output = subprocess.check_output(["ip", "-n", netns, "-o", "link"])
        return [line.split(":")[1].split("@")[0].strip() for line in output.decode().splitlines()]

    before = devices()
    with PrivateOvs(vswitchd="userspace", netns=netns) as switch:
        veth = ["link", "add", "vif1.0", "type", "veth", "peer", "name", "guest"]
        subprocess.check_call(["ip", "-n", netns] + veth)
        switch.add_bridge("xapi0")
        switch.add_port("xapi0", "vif1.0", tag=5)
        switch.add_port("xapi0", "vif2.0", tag=5)
        assert switch.interface("vif1.0")["ofport"][0] > 0
        assert switch.interface("vif2.0")["ofport"] == [-1]
        assert "xapi0" in devices()
    assert sorted(devices()) == sorted(before + ["vif1.0", "guest"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stop_after_a_daemon_died_by_itself(how):
    with PrivateOvs(vswitchd="dummy") as switch:
        os.kill(switch.vswitchd_pid, how)
        os.kill(switch.server_pid, how)
        directory = switch.dir
    assert not os.path.exists(directory)
