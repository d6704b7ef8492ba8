"""dom0-install.sh --uninstall and the database: our marks, and the ports that are held."""
import json
import os
import re

import pytest

from support.install_host import (
    CONFIG,
    DONE,
    MARKS_LEFT,
    write,
)
from support.private_ovs import PrivateOvs, schema_like_2_5
from xenvif_tagger.core import mark

HELD = {"boot": "b", "held": {"tag": 4095, "vlan_mode": "dot1q-tunnel", "cvlans": [4095]}}


@pytest.mark.parametrize("schema", [None, schema_like_2_5], ids=["newest", "2.5"])
def test_uninstall_removes_the_marks_and_nothing_else(host, schema):
    host.ovs = PrivateOvs(schema=schema and schema())
    host.start()
    ids = {mark.KEY: mark.encode({"boot": "b, \"c'"}), "other": "it's"}
    rows = [{"name": "vif%d.0" % number, "port_external_ids": ids, "tag": 5}
            for number in range(1200)]
    host.ovs.add_many_ports("br0", rows)
    host.ovs.add_port("br0", "tap1.0", {"iface-id": "i"}, {mark.KEY: "{}", "x": "y"}, tag=7)
    host.ovs.add_port("br0", "eth0", {}, {"x": "y"}, trunks=[1, 2])
    before = {port["name"]: port for port in host.ovs.rows("Port")}
    host.install()
    assert {port["name"]: port for port in host.ovs.rows("Port")} == before
    result = host.install("--uninstall")
    assert result.code == DONE and result.err == "" and "ports: 1201" in result.out, result
    for port in host.ovs.rows("Port"):
        was = before[port["name"]]
        was["external_ids"].pop(mark.KEY, None)
        assert dict(port, _version=0) == dict(was, _version=0)


def test_uninstall_names_the_held_ports(up):
    up.ovs.add_port("br0", "tap1.0", {}, {mark.KEY: mark.encode(HELD)}, **HELD["held"])
    # (A mark as an older version wrote it.)
    up.ovs.add_port("br0", "tap2.0", {}, {mark.KEY: json.dumps(HELD)}, tag=4095)
    up.ovs.add_port("br0", "tap3.0", {}, {mark.KEY: mark.encode(HELD)}, tag=5)
    up.ovs.add_port("br0", "tap4.0", {}, {mark.KEY: '{"boot":"held"}'}, tag=4095)
    up.ovs.add_port("br0", "tap5.0", {}, {}, tag=4095)
    up.install()
    result = up.install("--uninstall")
    assert result.code == DONE and "2 ports are held" in result.err, result
    assert re.search(r": tap(1\.0 tap2|2\.0 tap1)\.0$", result.err, re.M), result
    assert up.ovs.port("tap1.0")["cvlans"] == [4095]
    # The command that the message gives opens a held port.
    command = re.search("ovs-vsctl set Port NAME .*", result.err).group(0)
    up.run("sh", "-c", command.replace("NAME", "tap1.0").replace("VLAN", "5", 1).replace(
        "ovs-vsctl", "ovs-vsctl --no-wait"))
    assert (up.ovs.port("tap1.0")["tag"], up.ovs.port("tap1.0")["vlan_mode"]) == ([5], [])
    up.assert_as_before()


def test_a_database_that_is_down(up):
    up.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
    up.install()
    up.ovs.stop_server()
    result = up.install("--uninstall")
    assert result.code == MARKS_LEFT and "database" in result.err, result
    up.assert_as_before()
    up.ovs.start_server()
    # The command that the message gives removes the marks.
    command = re.search(r"for p in .* done", result.err).group(0)
    up.run("sh", "-c", command.replace("ovs-vsctl", "ovs-vsctl --no-wait"))
    assert up.ovs.port("vif1.0")["external_ids"] == {}


def test_a_port_that_goes_while_the_marks_are_removed(host):
    write(host.at("/usr/local/sbin/ovs-vsctl"), """#!/bin/sh
case $* in *remove*) /usr/bin/ovs-vsctl --no-wait del-port br0 vif1.0 ;; esac
exec /usr/bin/ovs-vsctl "$@"
""", 0o755)
    host.start()
    for name in ("vif1.0", "vif2.0"):
        host.ovs.add_port("br0", name, {}, {mark.KEY: "{}"})
    host.install()
    assert host.install("--uninstall").code == DONE
    assert not host.ovs.port("vif1.0") and host.ovs.port("vif2.0")["external_ids"] == {}


def test_marks_in_the_database_that_the_config_names(up):
    with PrivateOvs() as other:
        other.add_bridge("br0")
        other.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
        os.link(other.socket_path, os.path.join(up.ovs.dir, "other.sock"))
        up.write(CONFIG, "[mirror]\nremote = x\n[ ovsdb ]\n"
                         " remote = unix:/run/openvswitch/other.sock\n")
        up.install()
        assert up.install("--uninstall").code == DONE
        assert other.port("vif1.0")["external_ids"] == {}
