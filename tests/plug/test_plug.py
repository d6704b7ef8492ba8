"""The hook in a stand-in dom0: the plug has all effects of the stock script, and the port is born
with its sibling's unit.

With XEN_SCRIPTS=DIRECTORY the stock scripts are real ones. XENVIF_TAGGER_PLUGS: the number of plugs
in the proof of P1.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from dom0 import Dom0
from dom0.xapi import DAEMON, SETUP_VIF_RULES
from support.constants import CONFIG, DEAD_FORM, HELD, HOOK, LONG, PATIENT, ROOT
from support.plugging import plug, unplug
from support.private_ovs import _plain as plain
from support.private_ovs import to_map
from xenvif_tagger.core import mark
from xenvif_tagger.host import config
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.oneshot import OneShot

INSTALLED = "/opt/xenvif-tagger"
PLUGS = int(os.environ.get("XENVIF_TAGGER_PLUGS", "20"))
TRUNK = {"vlan_mode": "trunk", "trunks": [5, 6]}
IDENTITY = {"xs-vm-uuid", "xs-vif-uuid", "xs-network-uuid", "attached-mac"}


@pytest.fixture
def dom0():
    with Dom0() as made:
        made.add_bridge("xenbr0")
        made.write_file(CONFIG, PATIENT)
        yield made


def unit(dom0, port):
    row = dom0.ovs.port(port)
    return {column: row[column] if column in ("trunks", "cvlans") else row[column][0]
            for column in ("tag", "vlan_mode", "trunks", "cvlans") if row[column]}


def ids(dom0, port):
    return dom0.ovs.interface(port)["external_ids"]


def marked(dom0, port):
    return mark.parse(dom0.ovs.port(port)["external_ids"].get(mark.KEY))


def set_unit(dom0, port, unit):
    dom0.ovs.vsctl("set", "Port", port, *[
        "%s=%s" % (column, json.dumps(value)) for column, value in unit.items()])


def set_id(dom0, port, key, value):
    dom0.ovs.vsctl("set", "Interface", port, "external_ids:%s=%s" % (key, json.dumps(value)))


def mirror(dom0, domid):
    """Mirror the VIF once, as a person or the watcher does after the plug."""
    values = config.parse(dom0.read_file(CONFIG) if os.path.exists(dom0.path(CONFIG)) else "")[0]
    outcome, = OneShot(Client(dom0.ovs.remote, LONG), values).mirror([(domid, 0)])
    assert outcome.problem is None
    return outcome.decision


def ours(dom0):
    """Our lines in the syslog."""
    return [line.split("xenvif-tagger: ", 1)[1] for line in dom0.syslog()
            if "xenvif-tagger: " in line]


def wrap(dom0, path, before):
    """Put a shell script in front of a command of the dom0: the text runs before the command."""
    # The command may be a link, even to the host's file.
    dom0.run("mv", path, path + ".real", check=True)
    dom0.write_file(path, '#!/bin/sh\n%s\nexec %s.real "$@"\n' % (before, path), 0o755)


# ---- the effects of the stock script ----------------------------------------------------------


def calls(dom0):
    """The commands that the stock script logged since the last call, without the numbers that
    differ from plug to plug, and without our words."""
    lines = dom0.syslog()
    new, dom0.told = lines[getattr(dom0, "told", 0):], len(lines)
    commands = [line.split(" - ", 1)[1] for line in new if "setup-vif-rules[" in line]
    commands = [re.sub(r", '--', 'set', 'port', 'tap1.0'.*\]", "]", line) for line in commands]
    return [re.sub(r"in_port=\d+|-ofport', '\d+", "PORT", line) for line in commands]


def flows(dom0):
    found = dom0.run("ovs-ofctl", "--no-stats", "dump-flows", "xenbr0", check=True).stdout
    return sorted(re.sub(r"in_port=\w+", "in_port=PORT", line) for line in found.splitlines())


def seen(dom0, done):
    """The effects of a call of the script, without the unit and marks that we add."""
    port = None if dom0.bridge_mode else dom0.ovs.port("tap1.0")
    vif = dom0.vifs[1, 0]
    return {
        "result": (done.returncode, done.stdout, done.stderr),
        "calls": calls(dom0),
        "flows": None if dom0.bridge_mode else flows(dom0),
        "ids": port and ids(dom0, "tap1.0"),
        "up": dom0.is_up("tap1.0"),
        "xenstore": dom0.xenstore.list(vif.hotplug),
        "master": os.path.exists(dom0.path("/sys/class/net/tap1.0/master")),
    }


@pytest.mark.parametrize("bridge", (False, True), ids=("openvswitch", "bridge"))
@pytest.mark.parametrize("mode", (None, "locked", "disabled"))
def test_a_plug_by_the_hook_has_the_effects_of_the_stock_script(bridge, mode):
    with Dom0(bridge=bridge) as dom0:
        dom0.add_bridge("xenbr0")
        vif = dom0.add_vif(1, 0, locking_mode=mode, ipv4=["192.0.2.1"], ipv6=["2001:db8::1"])
        dom0.write_file("/opt/pvs", '#!/bin/sh\necho "$*" >>/var/log/pvs\n', 0o755)
        dom0.xenstore.write(vif.private + "/pvs-interface", "x")
        dom0.xenstore.write(vif.private + "/setup-pvs-proxy-rules", "/opt/pvs")
        dom0.create_device("vif1.0")
        dom0.create_device("tap1.0")
        dom0.filter("vif1.0", SETUP_VIF_RULES)
        if not bridge and mode != "disabled":
            dom0.ovs.vsctl("set", "Port", "vif1.0", "tag=5")
        calls(dom0)
        dom0.write_file("/var/log/pvs", "")

        found = {}
        for script in (SETUP_VIF_RULES, HOOK):
            found[script] = [seen(dom0, dom0.filter("tap1.0", script)),  # plugged, again,
                             seen(dom0, dom0.filter("tap1.0", script)),
                             seen(dom0, dom0.clear("tap1.0", script)),  # unplugged, again
                             seen(dom0, dom0.clear("tap1.0", script))]
            found[script].append(None if bridge else dom0.read_file("/var/log/pvs"))
            dom0.write_file("/var/log/pvs", "")
        assert found[HOOK] == found[SETUP_VIF_RULES]
        plugged = found[HOOK][0]
        assert plugged["result"] == (0, "", "") and plugged["calls"] and plugged["up"]
        if not bridge:
            assert bool(plugged["ids"]) == (mode != "disabled")
            assert len(plugged["flows"]) > 10 if mode == "locked" else len(plugged["flows"]) == 1
        else:
            assert not ours(dom0)


def test_the_hooks_usage_errors_are_those_of_the_stock_script(dom0):
    results = {}
    for script in (SETUP_VIF_RULES, HOOK):
        results[script] = [dom0.run(script, *args, env=DAEMON) for args in (
            (), ("classic", "tap1.0"), ("classic", "tap1.0", "no-such-vm", "0", "filter"))]
    for stock, own in zip(*results.values()):
        assert own.returncode == stock.returncode != 0
        assert own.stdout == stock.stdout
        assert own.stderr.split("\n")[-2:] == stock.stderr.split("\n")[-2:]


def processes(dom0, script, action, device="tap1.0"):
    """For each process, in order: the programs that the process has executed."""
    dom0.run("rm", "-rf", "/run/trace", check=True)
    os.mkdir(dom0.path("/run/trace"))
    dom0.run("strace", "-ff", "-qq", "-e", "trace=execve,exit_group", "-o", "/run/trace/of",
             script, "classic", device, dom0.vifs[1, 0].vm_uuid, "0", action, env=DAEMON,
             check=True)
    names = sorted(os.listdir(dom0.path("/run/trace")), key=lambda name: int(name.split(".")[1]))
    return [re.findall(r'execve\("([^"]+)".*\) = 0$', dom0.read_file("/run/trace/" + name), re.M)
            for name in names]


def test_no_process_more_than_stock(dom0):
    set_unit(dom0, plug(dom0, 1), {"tag": 5})
    for action in "filter", "clear":
        plug(dom0, 1, "tap")
        first, *started = processes(dom0, HOOK, action)
        assert first[0] == HOOK
        plug(dom0, 1, "tap")
        assert started == processes(dom0, SETUP_VIF_RULES, action)[1:]
        assert len([programs for programs in started if "/bin/ovs-vsctl" in programs]) >= 3


@pytest.mark.parametrize("where", ("in place", "installed"))
@pytest.mark.parametrize("stock", ("config", "/usr/libexec/xenopsd", "/opt/xensource/libexec"))
def test_places_of_the_hook_and_of_the_stock_script(dom0, where, stock):
    hook = HOOK
    if where == "installed":
        for part in "hotplug", "xenvif_tagger":
            shutil.copytree(os.path.join(ROOT, part), dom0.path(INSTALLED + "/" + part))
        hook = INSTALLED + "/hotplug/setup-vif-rules"
    elsewhere = "/opt/else" if stock == "config" else stock
    if elsewhere != os.path.dirname(SETUP_VIF_RULES):
        dom0.run("mkdir", "-p", elsewhere, check=True)
        for name in "setup-vif-rules", "common.py":
            dom0.run("mv", os.path.dirname(SETUP_VIF_RULES) + "/" + name, elsewhere, check=True)
    if stock == "config":
        dom0.write_file(CONFIG, PATIENT + "stock_script = /opt/else/setup-vif-rules\n")
    set_unit(dom0, plug(dom0, 1, setup_vif_rules=hook), {"tag": 5})
    assert unit(dom0, plug(dom0, 1, "tap")) == {"tag": 5}
    assert any(elsewhere + "/setup-vif-rules[" in line for line in dom0.syslog())


# ---- the second look --------------------------------------------------------------------------

RETAG = """case "$*" in
*add-port*tap1.0*) /usr/bin/ovs-vsctl.real %s;;
esac"""
ORDER = """[ "$*" != "link set tap1.0 up" ] ||
    /usr/bin/ovs-vsctl.real get Port tap1.0 tag vlan_mode trunks | tr '\\n' ' ' >/run/before-up"""


@pytest.mark.parametrize("change, before_up, expected", [
    ("set Port vif1.0 tag=6", "6 [] [] ", {"tag": 6}),
    ("set Port vif1.0 tag=4095", "4095 [] [] ", {"tag": 4095}),
    ("clear Port vif1.0 tag -- set Port vif1.0 vlan_mode=trunk trunks=5,6", "[] trunk [5, 6] ",
     TRUNK),
    ("clear Port vif1.0 tag", "[] [] [] ", {})])
def test_a_sibling_retagged_between_read_and_add_port(dom0, change, before_up, expected):
    vif = plug(dom0, 1)
    set_unit(dom0, vif, {"tag": 5})
    wrap(dom0, "/usr/bin/ovs-vsctl", RETAG % change)
    wrap(dom0, "/usr/sbin/ip", ORDER)
    tap = "tap1.0"
    dom0.create_device(tap)
    assert dom0.filter(tap).returncode == 0
    add_port = [line for line in dom0.syslog() if "'add-port'" in line and "'tap1.0'" in line]
    assert "'tag=5'" in add_port[-1]  # the port was born with the unit that the hook had read
    assert unit(dom0, vif) == unit(dom0, tap) == expected
    # The hook mended the port before its link was up.
    assert dom0.read_file("/run/before-up") == before_up
    assert mirror(dom0, 1).changes == []


# ---- re-plugs and unplugs ---------------------------------------------------------------------


def test_set_locking_mode_keeps_tags_and_iface_id(dom0):
    vif = plug(dom0, 1)
    set_unit(dom0, vif, {"tag": 5})
    set_id(dom0, vif, "iface-id", "port-1")
    tap = plug(dom0, 1, "tap")
    assert "iface-id" not in ids(dom0, tap)
    for mode in ("locked", "unlocked", "locked"):
        uuids = [dom0.ovs.port(port)["_uuid"] for port in (vif, tap)]
        for done in dom0.set_locking_mode(1, 0, mode, ipv4=["192.0.2.1"]):
            assert done.returncode == 0, done
        assert unit(dom0, vif) == unit(dom0, tap) == {"tag": 5}
        assert ids(dom0, vif)["iface-id"] == "port-1" and "iface-id" not in ids(dom0, tap)
        assert not set(uuids) & {dom0.ovs.port(port)["_uuid"] for port in (vif, tap)}
    assert mirror(dom0, 1).changes == []


@pytest.mark.parametrize("dying, living", (("tap", "vif"), ("vif", "tap")))
def test_an_unplugged_port_loses_its_ids_before_its_row_goes(dom0, dying, living):
    dom0.write_file(CONFIG, PATIENT + "[mirror]\niface_id = both\n")
    set_id(dom0, plug(dom0, 1), "iface-id", "port-1")
    set_unit(dom0, "vif1.0", {"tag": 5})
    plug(dom0, 1, "tap")
    gone, stays = dying + "1.0", living + "1.0"
    before = ids(dom0, stays)
    assert before == ids(dom0, gone) and before["iface-id"] == "port-1"
    count = len(dom0.ovs.records())
    unplug(dom0, 1, dying)
    new = dom0.ovs.records()[count:]
    # A record of the log shows the columns that its transaction changed.
    taken, = [number for number, text in enumerate(new) if "external_ids=" in text]
    deleted, = [number for number, text in enumerate(new) if "delete row" in text]
    assert taken < deleted
    changed = re.search(
        r'table Interface row "%s" .*diff:\s+external_ids=\{(.*)\}' % gone, new[taken])
    assert sorted(re.findall(r"([a-z-]+)=", changed.group(1))) == ["attached-mac", "iface-id"]
    assert ids(dom0, stays) == before and unit(dom0, stays) == {"tag": 5}
    assert dom0.ovs.port(gone) is None


class XapiSync(threading.Thread):
    """A stand-in for ovs-xapi-sync: each change of an Interface wakes the thread, and if iface-id
    and attached-mac are gone from the port's Interface, the thread writes both back.

    The read of one row stands for the daemon's look at all rows, which takes longer. Without a read
    this thread is sometimes faster than any daemon: the server takes one request of each connection
    in turn, and may get the thread's write before the hook's second transaction three times in a
    row.
    """

    def __init__(self, dom0, port):
        super().__init__(daemon=True)
        found = ids(dom0, port)
        back = to_map({key: found[key] for key in ("iface-id", "attached-mac")})
        where = [["name", "==", port], ["external_ids", "excludes", back]]
        self.read = {"op": "select", "table": "Interface", "where": where}
        self.write = {"op": "mutate", "table": "Interface", "where": where, "mutations": [
            ["external_ids", "insert", back]]}
        self.remote = dom0.ovs.remote
        self.tries = 0
        self.over = threading.Event()
        self.watches = threading.Event()
        self.start()
        assert self.watches.wait(LONG)

    def run(self):
        with Client(self.remote, LONG) as client:
            client.monitor({"Interface": ["external_ids"]})
            self.watches.set()
            while not self.over.is_set():
                if client.wait_update(0.05):
                    self.tries += 1
                    if client.transact([self.read])[0]["rows"]:
                        client.transact([self.write])

    def end(self):
        self.over.set()
        self.join(LONG)


def test_the_port_goes_before_ovs_xapi_sync_can_write_its_ids_back(dom0):
    """In an earlier version a process of its own deleted the port, and ovs-xapi-sync was faster in
    20 of 20 tries."""
    plug(dom0, 1)
    plug(dom0, 1, "tap")
    set_id(dom0, "vif1.0", "iface-id", "port-1")
    for _ in range(20):
        set_id(dom0, "tap1.0", "iface-id", "port-1")
        sync = XapiSync(dom0, "tap1.0")
        count = len(dom0.ovs.records())
        done = dom0.clear("tap1.0")
        sync.end()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert sync.tries  # a change has woken the thread
        changed = [text for text in dom0.ovs.records()[count:]
                   if 'row "tap1.0"' in text and ("external_ids=" in text or "delete row" in text)]
        assert "delete row" in changed[-1] and '"xenvif-tagger: ' in changed[-1]
        assert '"xenvif-tagger: ' in changed[-2]  # the last change of the ids was our removal
        assert any("'del-port', 'tap1.0'" in line for line in calls(dom0))  # by the stock script
        dom0.ovs.add_port("xenbr0", "tap1.0", dict(ids(dom0, "vif1.0")))
    assert ids(dom0, "vif1.0")["iface-id"] == "port-1"


@pytest.mark.parametrize("dying, living", (("tap", "vif"), ("vif", "tap")))
def test_an_iface_id_that_only_the_unplugged_port_has_goes_to_its_sibling(dom0, dying, living):
    """Otherwise the agent would lose its port when PV drivers take over and the tap goes."""
    plug(dom0, 1)
    plug(dom0, 1, "tap")
    gone, stays = dying + "1.0", living + "1.0"
    set_unit(dom0, gone, {"tag": 5})
    set_id(dom0, gone, "iface-id", "port-1")
    mirror(dom0, 1)
    assert unit(dom0, stays) == {"tag": 5} and "iface-id" not in ids(dom0, stays)
    count = len(dom0.ovs.records())
    unplug(dom0, 1, dying)
    moved, deleted = [text for text in dom0.ovs.records()[count:] if '"xenvif-tagger: ' in text]
    assert moved.count("external_ids=") == 2 and "delete row" in deleted
    assert dom0.ovs.port(gone) is None
    assert unit(dom0, stays) == {"tag": 5} and ids(dom0, stays)["iface-id"] == "port-1"


def test_a_lone_port_keeps_its_ids_when_it_is_unplugged(dom0):
    """The agent must notice when the VIF's last port goes."""
    set_id(dom0, plug(dom0, 1), "iface-id", "port-1")
    count = len(dom0.ovs.records())
    unplug(dom0, 1, "vif")
    assert not any("external_ids=" in text for text in dom0.ovs.records()[count:])
    assert dom0.ovs.port("vif1.0") is None


def test_a_local_migration(dom0):
    """Two domains of one VM run at a time: neither pair gets the other's tag or keys."""
    set_unit(dom0, plug(dom0, 1), {"tag": 5})
    set_id(dom0, "vif1.0", "iface-id", "port-1")
    was = dom0.vifs[1, 0]
    new = plug(dom0, 2, vm_uuid=was.vm_uuid, vif_uuid=was.vif_uuid, mac=was.mac,
               network_uuid=was.network_uuid)
    assert unit(dom0, new) == {} and set(ids(dom0, new)) == IDENTITY
    set_unit(dom0, new, {"tag": 7})
    assert unit(dom0, plug(dom0, 2, "tap")) == {"tag": 7}
    assert unit(dom0, plug(dom0, 1, "tap")) == {"tag": 5}
    unplug(dom0, 1, "tap")
    unplug(dom0, 1, "vif")
    assert unit(dom0, new) == unit(dom0, "tap2.0") == {"tag": 7}


def test_a_local_migration_with_one_iface_id(dom0):
    """The old domain's vif goes while the new domain's vif has the same iface-id."""
    set_id(dom0, plug(dom0, 1), "iface-id", "port-1")
    was = dom0.vifs[1, 0]
    new = plug(dom0, 2, vm_uuid=was.vm_uuid, vif_uuid=was.vif_uuid, mac=was.mac,
               network_uuid=was.network_uuid)
    set_id(dom0, new, "iface-id", "port-1")
    before, count = ids(dom0, new), len(dom0.ovs.records())
    unplug(dom0, 1, "vif")
    taken, deleted = [text for text in dom0.ovs.records()[count:] if '"xenvif-tagger: ' in text]
    assert "iface-id" in taken and "delete row" not in taken and "delete row" in deleted
    assert ids(dom0, new) == before and dom0.ovs.port("vif1.0") is None


@pytest.mark.parametrize("tag", (10, 11))
def test_a_fake_bridge_with_the_agents_tag(dom0, tag):
    """A fake bridge with the tag that an agent sets changes nothing at a plug."""
    dom0.ovs.vsctl("add-br", "xapi5", "xenbr0", "10")
    set_unit(dom0, plug(dom0, 1), {"tag": tag})
    count = len(dom0.ovs.records())
    assert unit(dom0, plug(dom0, 1, "tap")) == {"tag": tag}
    born, = [text for text in dom0.ovs.records()[count:] if "insert row" in text]
    assert "tag=%d" % tag in born
    assert mirror(dom0, 1).state == "in-sync"


def test_on_a_fake_bridge_a_port_has_the_bridges_tag_until_the_second_look(dom0):
    """ovs-vsctl add-port on a fake bridge sets the fake bridge's tag."""
    dom0.ovs.vsctl("add-br", "xapi5", "xenbr0", "10")
    vif = plug(dom0, 1, bridge="xapi5")
    assert unit(dom0, vif) == {"tag": 10}
    dom0.ovs.vsctl("set", "Port", vif, "tag=7", "other_config:net_uuid=n", "other_config:tag=7",
                   "--", "set", "Interface", vif, "external_ids:iface-id=i")
    count = len(dom0.ovs.records())
    tap = plug(dom0, 1, "tap")
    born, *later = [text for text in dom0.ovs.records()[count:] if "insert row" in text
                    or '"xenvif-tagger: ' in text]
    assert "insert row" in born and "tag=10" in born
    assert unit(dom0, vif) == unit(dom0, tap) == {"tag": 7}
    assert len(later) == 1 and mirror(dom0, 1).state == "in-sync"


@pytest.mark.parametrize("both", (True, False), ids=("vif and tap", "vif alone"))
def test_a_replug_in_place_keeps_the_ports_unit_and_ids(dom0, both):
    """VIF.set_locking_mode of a running guest; a guest with PV drivers may have only the vif."""
    vif = plug(dom0, 1)
    if both:
        plug(dom0, 1, "tap")
    set_unit(dom0, vif, {"tag": 5})
    set_id(dom0, vif, "iface-id", "port-1")
    set_id(dom0, vif, "vm-id", "v")
    mirror(dom0, 1)
    for mode in ("locked", "unlocked"):
        before, noted, count = ids(dom0, vif), marked(dom0, vif), len(dom0.ovs.records())
        uuid = dom0.ovs.port(vif)["_uuid"]
        if both:
            done = dom0.set_locking_mode(1, 0, mode, ipv4=["192.0.2.1"])[0]
        else:
            done = dom0.filter(vif)
        assert done.returncode == 0
        assert dom0.ovs.port(vif)["_uuid"] != uuid
        assert unit(dom0, vif) == {"tag": 5} and ids(dom0, vif) == before
        if not both:
            assert marked(dom0, vif) == noted
        born = [text for text in dom0.ovs.records()[count:]
                if 'table Interface insert row "vif1.0"' in text]
        assert len(born) == 1 and "tag=5" in born[0] and "port-1" in born[0]
    decision = mirror(dom0, 1)
    assert (decision.state, decision.changes) == ("in-sync" if both else "single", [])


def test_a_change_of_a_vif_replugged_in_place_is_mirrored(dom0):
    """The mark of the tap still names the vif's deleted row; the base of the vif's new row
    counts."""
    vif = plug(dom0, 1)
    plug(dom0, 1, "tap")
    set_unit(dom0, vif, {"tag": 5})
    mirror(dom0, 1)
    assert dom0.filter(vif).returncode == 0
    set_unit(dom0, vif, {"tag": 7})
    assert mirror(dom0, 1).source == vif and unit(dom0, "tap1.0") == {"tag": 7}


@pytest.mark.parametrize("whose", ("another VIF's", "of an earlier boot"))
def test_a_left_over_row_of_the_same_name_gives_a_new_port_nothing(dom0, whose):
    vif = plug(dom0, 1)
    set_unit(dom0, vif, {"tag": 5})
    set_id(dom0, vif, "iface-id", "port-1")
    mirror(dom0, 1)
    if whose == "another VIF's":
        unplug(dom0, 1, "vif")
        dom0.ovs.add_port("xenbr0", vif, {"xs-vif-uuid": "b", "iface-id": "port-2"}, tag=5)
        mirror(dom0, 1)
        assert marked(dom0, vif)["boot"]
    else:
        noted = dict(marked(dom0, vif), boot="an-earlier-one")
        dom0.ovs.vsctl("set", "Port", vif, "external_ids:%s=%s" % (
            mark.KEY, json.dumps(mark.encode(noted))))
    plug(dom0, 1)
    assert unit(dom0, vif) == {} and set(ids(dom0, vif)) == IDENTITY


# ---- a VLAN that is another tenant's by now ---------------------------------------------------


def reclaimed(dom0):
    """Plug A's pair, bind the vif in VLAN 5 and delete the vif; then the agent gives VLAN 5 to B's
    vif."""
    for domid, network in ((1, "net-a"), (2, "net-b")):
        vif = plug(dom0, domid)
        if domid == 1:
            plug(dom0, 1, "tap")
        dom0.ovs.vsctl("set", "Port", vif, "tag=5", "other_config:net_uuid=" + network,
                       "other_config:tag=5", "--", "set", "Interface", vif,
                       "external_ids:iface-id=port-%d" % domid)
        mirror(dom0, domid)
        if domid == 1:
            assert marked(dom0, "tap1.0")["base"]["network"] == network
            dom0.ovs.delete_port("vif1.0")  # (unplugged without the hook: iface-id goes with it)


def test_a_vlan_of_another_network_is_not_lent_at_birth(dom0):
    """In an earlier version a vif that was plugged anew heard 118 of 138 frames of the tenant that
    had got the VLAN."""
    reclaimed(dom0)
    count = len(dom0.ovs.records())
    vif = plug(dom0, 1)
    born, = [text for text in dom0.ovs.records()[count:]
             if 'table Interface insert row "vif1.0"' in text]
    assert "tag=5" not in born and "tag=4095" in born
    assert unit(dom0, vif) == unit(dom0, "tap1.0") == HELD
    assert unit(dom0, "vif2.0") == {"tag": 5}
    assert any("vif1.0 is plugged: " in line
               and "tap1.0 had a VLAN (tag 5) that is another network's by now" in line
               for line in ours(dom0))


def test_one_select_reads_the_network_of_a_vlan(dom0):
    """The server sends only the ports that the agent has bound to another network, however many
    ports the VLAN has. Where the rows name no network, the hook sends no select of a VLAN's
    network."""
    reclaimed(dom0)
    for number, notes in ((7, {}), (8, {"net_uuid": "net-a", "tag": "5"})):  # of A's network, too
        for side in "vif", "tap":
            dom0.ovs.add_port("xenbr0", "%s%d.0" % (side, number), {}, tag=5, other_config=notes)
    asked, by_tag = [], []
    client = Client(dom0.ovs.remote, LONG)
    transact = client.transact

    def note(operations):
        results = transact(operations)
        asked.append(operations)
        by_tag.extend(result["rows"] for operation, result in zip(operations, results)
                      if ["tag", "==", 5] in operation["where"])
        return results

    client.transact = note
    # (A's vif is there again, and in the same VLAN: one select is enough for both.)
    dom0.ovs.add_port("xenbr0", "vif1.0", ids(dom0, "tap1.0"), tag=5)
    ports = OneShot(client, config.parse("")[0]).vswitch.read_beside("xenbr0", (1, 0))[0]
    assert [port.rivals for port in ports] == [{"net-b"}] * 2
    assert [[row["name"] for row in rows] for rows in by_tag] == [["vif2.0"]] and len(asked) == 3
    del asked[:]
    dom0.ovs.delete_port("vif2.0")
    plug(dom0, 3)
    OneShot(client, config.parse("")[0]).vswitch.read_beside("xenbr0", (3, 0))
    assert len(asked) == 2 and not any(
        condition[0] == "tag" for operations in asked for operation in operations
        for condition in operation["where"])


# ---- a site's own stock script that sets a VLAN -----------------------------------------------


SET = '    args = [vsctl, "--timeout=30", "add-port", bridge_name, vif.vif_name]\n'
SITE = [("tag=7 trunks=5,6", {"tag": 7, "trunks": [5, 6]}), ("tag=7", {"tag": 7}),
        ("vlan-mode=trunk trunks=[5,6]", TRUNK)]


@pytest.mark.parametrize("said, expected", SITE)
def test_the_unit_of_a_sites_own_stock_script_wins(dom0, said, expected):
    """The script calls add-port BRIDGE DEV -- set port DEV tag=7 trunks=5,6."""
    dom0.write_file(CONFIG, PATIENT + "[hold]\nbridges = xenbr0\n")
    text = dom0.read_file(SETUP_VIF_RULES)
    if SET not in text:
        pytest.skip("other stock scripts than ours")
    dom0.write_file(SETUP_VIF_RULES, text.replace(
        SET, SET + '    args += ["--", "set", "port", vif.vif_name] + %r\n' % said.split()), 0o755)
    count = len(dom0.ovs.records())
    for kind in ("vif", "tap"):
        assert unit(dom0, plug(dom0, 1, kind)) == expected
    assert not any("4095" in text for text in dom0.ovs.records()[count:])
    assert mirror(dom0, 1).state == "in-sync"


def test_a_tap_left_on_the_old_bridge(dom0):
    dom0.add_bridge("xenbr1")
    set_unit(dom0, plug(dom0, 1), {"tag": 5})
    plug(dom0, 1, "tap")
    assert dom0.move_vif(1, 0, "xenbr1").returncode == 0
    assert unit(dom0, "vif1.0") == {} and unit(dom0, "tap1.0") == {"tag": 5}
    assert "base" not in marked(dom0, "vif1.0")
    bridges = {port: dom0.ovs.vsctl("port-to-br", port).strip() for port in ("vif1.0", "tap1.0")}
    assert bridges == {"vif1.0": "xenbr1", "tap1.0": "xenbr0"}
    set_unit(dom0, "vif1.0", {"tag": 9})
    assert mirror(dom0, 1).state == "refused"
    assert dom0.move_vif(1, 0, "xenbr0").returncode == 0  # the vif moves back
    assert unit(dom0, "vif1.0") == {"tag": 5}


def test_windows_deletes_and_adds_the_vif_twice(dom0):
    """The PV drivers of Windows have the vif deleted and added while the tap is still there."""
    set_unit(dom0, plug(dom0, 1), {"tag": 5})
    set_id(dom0, "vif1.0", "iface-id", "port-1")
    plug(dom0, 1, "tap")
    for _ in range(2):
        unplug(dom0, 1, "vif")
        assert unit(dom0, "tap1.0") == {"tag": 5}
        assert ids(dom0, "tap1.0")["iface-id"] == "port-1"  # given to the port that stays
        plug(dom0, 1)
        assert unit(dom0, "vif1.0") == {"tag": 5}
        # The agent of Neutron's default sees only the iface-id that add-port has set.
        assert ids(dom0, "vif1.0")["iface-id"] == "port-1"
        assert "iface-id" not in ids(dom0, "tap1.0")
    unplug(dom0, 1, "tap")
    assert unit(dom0, "vif1.0") == {"tag": 5} and ids(dom0, "vif1.0")["iface-id"] == "port-1"


# ---- the late set or clear of trunks: newer xapi's last step of a plug ------------------------


def late(dom0, domid, kind, trunks):
    """Plug with a vif-real that ends with a set or clear of the port's trunks; returns the port's
    name."""
    count = len(dom0.ovs.records())
    port = plug(dom0, domid, kind, trunks=trunks)
    if not dom0.sets_trunks:  # real scripts of an older version do not write trunks
        what = ["set", "Port", port, "trunks=" + ",".join(map(str, trunks))] if trunks else [
            "clear", "Port", port, "trunks"]
        dom0.ovs.vsctl(*what)
    assert len(dom0.ovs.records()) > count
    return port


def test_the_late_clear_on_a_held_port(dom0):
    dom0.write_file(CONFIG, PATIENT + "[hold]\nbridges = xenbr0\n")
    for kind in "vif", "tap":
        assert unit(dom0, late(dom0, 1, kind, ())) == HELD
    assert mirror(dom0, 1).changes == []


@pytest.mark.parametrize("had", (DEAD_FORM, TRUNK), ids=("dead", "trunk"))
def test_the_late_clear_of_trunks_is_mended(dom0, had):
    vif = late(dom0, 1, "vif", ())
    set_unit(dom0, vif, had)
    tap = late(dom0, 1, "tap", ())
    # The hook has ended before the clear: the watcher or a person mirrors next.
    assert unit(dom0, vif) == had
    mirror(dom0, 1)
    assert unit(dom0, vif) == unit(dom0, tap) == had
    # The result is the same if a plug of the vif comes next.
    dom0.ovs.vsctl("clear", "Port", tap, "trunks")
    dom0.filter(vif)
    assert unit(dom0, vif) == unit(dom0, tap) == had


def test_the_late_clear_on_an_access_port(dom0):
    set_unit(dom0, late(dom0, 1, "vif", ()), {"tag": 5})
    assert unit(dom0, late(dom0, 1, "tap", ())) == {"tag": 5}
    assert mirror(dom0, 1).changes == []


def test_the_late_set_of_trunks(dom0):
    vif = late(dom0, 1, "vif", (5, 6))
    assert unit(dom0, vif) == {"trunks": [5, 6]}
    assert unit(dom0, late(dom0, 1, "tap", (5, 6))) == {"trunks": [5, 6]}
    assert mirror(dom0, 1).state == "in-sync"


def test_the_late_set_of_trunks_on_a_held_port(dom0):
    dom0.write_file(CONFIG, PATIENT + "[hold]\nbridges = xenbr0\n")
    vif = late(dom0, 1, "vif", (5, 6))
    assert unit(dom0, vif) == dict(HELD, trunks=[5, 6])  # a dot1q-tunnel does not use its trunks
    tap = late(dom0, 1, "tap", (5, 6))
    assert mirror(dom0, 1).state == "held"
    assert unit(dom0, vif) == unit(dom0, tap) == dict(HELD, trunks=[5, 6])


# ---- the proof of P1 --------------------------------------------------------------------------


class Monitor(object):
    """A bare OVSDB monitor (RFC 7047, 4.1.5) of all Ports and Interfaces."""

    COLUMNS = {"Port": ["name", "tag", "vlan_mode", "trunks", "cvlans", "external_ids"],
               "Interface": ["name", "external_ids"]}

    def __init__(self, ovs):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(180)
        self.socket.connect(ovs.socket_path)
        self.text = ""
        tables = {table: {"columns": columns} for table, columns in self.COLUMNS.items()}
        self.send({"method": "monitor", "params": ["Open_vSwitch", None, tables], "id": 1})
        assert self.next()["error"] is None

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode())

    def next(self):
        while True:
            try:
                message, end = json.JSONDecoder().raw_decode(self.text)
            except ValueError:
                self.text += self.socket.recv(1 << 20).decode()
                continue
            self.text = self.text[end:]
            if message.get("method") != "echo":
                return message
            self.send({"id": message["id"], "result": message["params"], "error": None})

    def first(self, name):
        """The first update that has a new Port of this name: {table: the row in that table}."""
        while True:
            update = self.next()["params"][1]
            rows = {table: row["new"] for table in update for row in update[table].values()
                    if row.get("new", {}).get("name") == name and "old" not in row}
            if "Port" in rows:
                return {table: {column: plain(value) for column, value in row.items()}
                        for table, row in rows.items()}


@contextlib.contextmanager
def all_cores_busy():
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
               for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for burner in burners:
            burner.send_signal(signal.SIGKILL)
            burner.wait()


def test_p1_a_port_first_appears_with_its_siblings_unit(dom0, capsys):
    odd = {"vm-id": "a b, c=\"d\"", "k\u00e9y": "v\u00e4lue \U0001f600 {[']}\\"}
    vif = plug(dom0, 1)
    dom0.create_device("tap1.0")
    found = []
    monitor = Monitor(dom0.ovs)
    for key, value in odd.items():
        set_id(dom0, vif, json.dumps(key, ensure_ascii=False), value)
    with all_cores_busy():
        for number in range(PLUGS):
            tag = 5 + number % 4000
            set_unit(dom0, vif, {"tag": tag, "vlan_mode": "native-untagged", "trunks": [tag, 4001]})
            done = dom0.filter("tap1.0")
            assert done.returncode == 0, done
            first = monitor.first("tap1.0")
            lent = {key: first["Interface"]["external_ids"].get(key) for key in odd}
            noted = mark.parse(first["Port"]["external_ids"].get(mark.KEY))
            found.append(
                (first["Port"]["tag"], first["Port"]["vlan_mode"], first["Port"]["trunks"])
                == (tag, "native-untagged", [tag, 4001])
                and lent == odd and IDENTITY <= set(first["Interface"]["external_ids"])
                and noted["base"]["unit"]["tag"] == tag)
            # Unplug the tap: otherwise the tap would lend to the vif.
            assert dom0.clear("tap1.0").returncode == 0
    with capsys.disabled():
        print("\nP1: %d of %d plugs born as their sibling, all cores busy" % (
            sum(found), len(found)))
    assert len(found) == PLUGS and all(found)
