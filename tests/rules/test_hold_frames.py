"""On real devices, no frame passes a held port, and a port that is born tagged lets through no
frame of another VLAN.

Each frame is a broadcast with a payload of its own. The tests wait for frames, not for a time: the
switch takes up to 32 frames from each port in turn. So a test sends a few more frames, each when
the frame before has arrived; when the last of these arrives, all earlier frames have arrived, too.
"""
import collections
import itertools
import os
import struct
import threading
import time

import pytest

from dom0 import Dom0
from support.constants import HELD, HOOK

CONFIG = "/etc/xenvif-tagger.conf"
PLUGS = int(os.environ.get("XENVIF_TAGGER_PLUGS", "5"))
PATIENCE = 120  # seconds to wait for a frame that takes a millisecond
BURST = 32  # openvswitch/ovs lib/dp-packet.h, NETDEV_MAX_BURST
EACH = 4  # frames of each kind that a sender sends
RATE = 1000  # frames a second in each VLAN
POLL = 2  # seconds between two looks of an agent

Q, AD = 0x8100, 0x88A8  # the TPIDs of IEEE 802.1Q and 802.1ad
ETHERTYPE = 0x88B5  # IEEE's for local experiments
GUESTS = ("untagged", "q0", "q1", "q5", "q6", "q4094", "q4095", "ad5", "ad5/q6", "ad4095",
          "q5/q4095", "ad4095/q5", "ad4095/q4095", "q4095/q4095")
# The guests' neighbours, each with its VLAN unit. "spy" is a trunk that hears every frame.
PORTS = {"peer5": {"tag": 5}, "peer6": {"tag": 6}, "trunk": {}, "spy": {}, "dead": {"tag": 4095}}
TOWARDS = [(port, "untagged") for port in ("peer5", "peer6", "dead")] + [
    ("trunk", kind) for kind in GUESTS]
# The frames that reach an access port of VLAN 5: (sender, kind).
OPEN = dict.fromkeys([("peer5", "untagged")] + [
    ("trunk", kind) for kind in ("q5", "ad5", "ad5/q6", "q5/q4095")], EACH)
# No vlan_mode stops the VLANs that the port's lists name. So the held form names 4095, which IEEE
# 802.1Q reserves (table 9-2): only the held guest itself can send frames tagged with 4095.
RESERVED = ("q4095", "ad4095", "ad4095/q5", "ad4095/q4095", "q4095/q4095")


def frame(kind, payload):
    """A broadcast: kind is "untagged", or its tags from the outermost: "ad5/q6"."""
    tags = b""
    for tag in kind.split("/") if kind != "untagged" else ():
        tpid, vlan = (AD, tag[2:]) if tag.startswith("ad") else (Q, tag[1:])
        tags += struct.pack("!HH", tpid, int(vlan))
    head = b"\xff" * 6 + b"\x2e\x5f\x1c\x0a\x77\x01" + tags + struct.pack("!H", ETHERTYPE)
    return (head + payload).ljust(64, b"\0")


def parse(data):
    """(the frame's tags, as a kind of frame(); payload)"""
    at, tags = 12, []
    while True:
        kind, tci = struct.unpack_from("!HH", data, at)
        if kind not in (Q, AD):
            return "/".join(tags) or "untagged", data[at + 2:].rstrip(b"\0")
        tags.append(("q" if kind == Q else "ad") + str(tci & 0xFFF))
        at += 4


class Wire(object):
    """A Dom0 whose bridge has the guests' neighbours on it."""

    def __init__(self, dom0, config=""):
        self.dom0 = dom0
        self.numbers = itertools.count()
        dom0.add_bridge("xenbr0")
        if config:
            dom0.write_file(CONFIG, config)
        for name, columns in PORTS.items():
            dom0.create_device(name)
            dom0.ovs.add_port("xenbr0", name, **columns)
            dom0.run("ip", "link", "set", name, "up", check=True)

    # -- ports

    def plug(self, domid, kind="tap", hook=HOOK):
        """Plug a VIF's vif or tap."""
        if (domid, 0) not in self.dom0.vifs:
            self.dom0.add_vif(domid, 0, setup_vif_rules=hook)
        plug = self.dom0.plug_tap if kind == "tap" else self.dom0.plug_vif
        done = plug(domid, 0)
        assert done.returncode == 0, done
        return "%s%d.0" % (kind, domid)

    def vsctl(self, *args):
        self.dom0.ovs.vsctl(*args)

    def unit(self, port):
        row = self.dom0.ovs.port(port)
        return {column: row[column] if column in ("trunks", "cvlans") else row[column][0]
                for column in ("tag", "vlan_mode", "trunks", "cvlans") if row[column]}

    # -- frames

    def name(self, what="frame"):
        return ("%s %d." % (what, next(self.numbers))).encode()

    def receive(self, port):
        """[(tags, payload)] that came to this port since the last call."""
        return [parse(data) for data in self.dom0.devices[port].receive()]

    def send(self, port, kinds, each=EACH):
        """Send `each` frames of each kind; returns {payload: kind}."""
        sent = {self.name(kind): kind for kind in kinds for _ in range(each)}
        for payload, kind in sent.items():
            self.dom0.devices[port].send(frame(kind, payload))
        return sent

    def fence(self, backlog):
        """Return when the switch has handled all frames sent, of which each port has at most
        `backlog`."""
        for _ in range(backlog // BURST + 2):
            self.until("trunk", "spy")

    def until(self, sender, receiver):
        """Send one frame and wait until it arrives; other frames that arrive there are dropped."""
        payload = self.name("fence")
        self.dom0.devices[sender].send(frame("untagged", payload))
        deadline = time.monotonic() + PATIENCE
        while payload not in [came for _, came in map(parse, self.dom0.devices[
                receiver].receive(0.1))]:
            assert time.monotonic() < deadline, "no frame from %s to %s" % (sender, receiver)

    def settle(self):
        """Return when no flow from before the last change handles frames any more."""
        for command in ("revalidator/wait", "revalidator/purge"):
            self.dom0.ovs.appctl("ovs-vswitchd", command)

    def came_in(self, port, towards=None):
        """Send all kinds towards a port; returns {(sender, kind): how many frames arrived}."""
        self.settle()
        towards = towards or TOWARDS
        self.receive(port)
        sent = {}
        for sender, kinds in itertools.groupby(towards, lambda pair: pair[0]):
            for payload, kind in self.send(sender, [kind for _, kind in kinds]).items():
                sent[payload] = sender, kind
        self.fence(len(sent))
        return collections.Counter(
            sent[payload] for _, payload in self.receive(port) if payload in sent)

    def went_out(self, port, others=()):
        """Send all kinds from the guest; returns {kind: {receiver: how many frames arrived}}."""
        self.settle()
        found = {}
        for kind in GUESTS:
            came = self._listen(self.send(port, [kind]), list(PORTS) + list(others))
            if came:
                found[kind] = came
        return found

    def _listen(self, sent, ports):
        came, fences = collections.Counter(), []
        deadline = time.monotonic() + PATIENCE
        while len(fences) < 4:
            fences.append(self.name("fence"))
            self.dom0.devices["trunk"].send(frame("untagged", fences[-1]))
            seen = set()
            while fences[-1] not in seen:
                assert time.monotonic() < deadline, "no frame from trunk to spy"
                for port in ports:
                    for _, payload in self.receive(port):
                        seen.add(payload if port == "spy" else None)
                        came[port] += payload in sent
        return +came


@pytest.fixture(scope="module")
def wire():
    """A Wire whose config is empty, so no port is held: for ports that a test adds itself."""
    with Dom0(vswitchd="userspace") as dom0:
        yield Wire(dom0)


@pytest.fixture
def holding():
    with Dom0(vswitchd="userspace") as dom0:
        yield Wire(dom0, "[hold]\nbridges = xenbr0\n")


def assert_closed(wire, port, others=()):
    assert wire.came_in(port) == {}
    out = wire.went_out(port, others)
    assert set(out) <= set(RESERVED), out
    for kind in out:
        assert set(out[kind]) <= {"trunk", "spy"} | set(others), (kind, out)


def assert_open(wire, port):
    assert wire.came_in(port) == OPEN
    out = wire.went_out(port)
    assert set(out) == {"untagged", "q0"}
    for kind in out:
        assert out[kind] == dict.fromkeys(("peer5", "trunk", "spy"), EACH)


# Neutron's agent binds in one transaction (neutron/agent/linux/openvswitch_agent:
# OVSNeutronAgent.port_bound); another agent may use three.
BIND = ("set", "Port", "{}", "tag=5"), ("clear", "Port", "{}", "vlan_mode"), (
    "clear", "Port", "{}", "trunks")


def bind(wire, port, transactions):
    commands = [[word.format(port) for word in command] for command in BIND]
    if transactions == 1:
        wire.vsctl(*sum((["--"] + command for command in commands), [])[1:])
    else:
        for command in commands:
            wire.vsctl(*command)


@pytest.mark.parametrize("transactions", (1, 3))
def test_a_held_port_is_closed_until_the_agent_binds_it(holding, transactions):
    wire = holding
    vif, other = wire.plug(1, "vif"), wire.plug(2, "vif")
    assert wire.unit(vif) == wire.unit(other) == HELD
    assert_closed(wire, vif, [other])
    wire.vsctl("clear", "Port", vif, "trunks")  # xapi 26.17 and later, after the link is up
    assert_closed(wire, vif, [other])
    tap = wire.plug(1, "tap")
    assert wire.unit(tap) == HELD
    wire.vsctl("clear", "Port", tap, "trunks")
    assert_closed(wire, tap, [vif, other])

    bind(wire, vif, transactions)  # no watcher runs
    assert_open(wire, vif)
    assert_closed(wire, tap, [other])
    wire.plug(1, "tap")
    assert wire.unit(vif) == wire.unit(tap) == {"tag": 5}


def test_the_vifs_late_clear_of_trunks_leaves_it_held(holding):
    """The stock vif-real itself sends the late clear here."""
    wire = holding
    wire.dom0.add_vif(1, 0, setup_vif_rules=HOOK, trunks=())
    vif, tap = wire.plug(1, "vif"), wire.plug(1, "tap")
    assert wire.unit(vif) == wire.unit(tap) == HELD
    assert_closed(wire, vif, [tap])
    assert_closed(wire, tap, [vif])


def test_no_port_is_held_by_default(wire):
    vif = wire.plug(9, "vif")
    assert wire.unit(vif) == {}
    assert len(wire.came_in(vif)) == len(TOWARDS)  # the port is a trunk of every VLAN


# The form in use, and the forms that we decided against: (form, the frames that come in when the
# port has the form, the frames that come in after the late `clear trunks`). "4095": only frames of
# that VLAN.
FORMS = [
    ("dot1q-tunnel cvlans=4095", "", ""),
    ("dot1q-tunnel", "4095", "4095"),
    ("dot1q-tunnel cvlans=0", "4095", "4095"),
    ("access", "4095", "4095"),
    ("trunk trunks=4095", "4095", "open"),
    ("native-tagged trunks=4095", "4095", "open"),
    ("native-untagged trunks=4095", "4095", "open"),
]


@pytest.mark.parametrize("form, as_set, cleared", FORMS)
def test_the_frames_that_each_form_of_a_hold_lets_in(wire, form, as_set, cleared):
    port = "form%d" % [row[0] for row in FORMS].index(form)
    wire.dom0.create_device(port)
    wire.dom0.ovs.add_port("xenbr0", port, tag=4095)
    try:
        wire.dom0.run("ip", "link", "set", port, "up", check=True)
        wire.vsctl("set", "Port", port, *("vlan_mode=" + form).split())
        for expected in (as_set, cleared):
            found = set(wire.came_in(port))
            if expected == "open":
                assert {("peer5", "untagged"), ("peer6", "untagged")} <= found
            elif expected == "4095":
                assert found == {("dead", "untagged")} | {("trunk", kind) for kind in RESERVED}
            else:
                assert not found
            wire.vsctl("clear", "Port", port, "trunks")
        bind(wire, port, 1)
        assert_open(wire, port)
    finally:
        wire.dom0.ovs.delete_port(port)
        wire.dom0.remove_device(port)


# ---- born tagged ------------------------------------------------------------------------------


class Worker(object):
    """Calls step() of a subclass in a thread until the end of the `with`; the end raises the
    thread's exception."""

    def __enter__(self):
        self.ending, self.error = threading.Event(), None
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, *unused):
        self.ending.set()
        self.thread.join()
        if self.error is not None and kind is None:
            raise self.error

    def _work(self):
        try:
            while not self.ending.is_set():
                self.step()
        except BaseException as error:
            self.error = error

    def wait_for(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE), self.error


class Senders(Worker):
    """peer5 and peer6 send RATE frames a second each, with the payload "5 N." or "6 N."."""

    def __init__(self, wire):
        self.wire, self.begun, self.count = wire, time.monotonic(), 0

    def step(self):
        due = int((time.monotonic() - self.begun) * RATE)
        for number in range(self.count, due):
            for vlan in "56":
                payload = ("%s %d." % (vlan, number)).encode()
                self.wire.dom0.devices["peer" + vlan].send(frame("untagged", payload))
        self.count = due
        self.ending.wait(0.001)


class Listener(Worker):
    """The guest's side of a device: counts the frames from VLAN 5 and from VLAN 6."""

    def __init__(self, device):
        self.device, self.heard, self.last = device, collections.Counter(), -1

    def step(self):
        frames = [parse(data)[1] for data in self.device.receive(0.01)]
        with self.changed:
            for payload in frames:
                vlan, number = payload.rstrip(b".").split()
                self.heard[vlan.decode()] += 1
                if vlan == b"5":
                    self.last = int(number)
            self.changed.notify_all()


class Agent(Worker):
    """Tags the ports that have no tag, every POLL seconds."""

    def __init__(self, wire):
        self.wire, self.tagged = wire, collections.Counter()

    def step(self):
        names = [row["name"] for row in self.wire.dom0.ovs.rows("Port")
                 if row["name"] in ("vif2.0", "tap2.0") and not row["tag"]]
        for name in names:
            self.wire.vsctl("set", "Port", name, "tag=5")
        self.wire.settle()
        with self.changed:
            self.tagged.update(names)
            self.changed.notify_all()
        self.ending.wait(POLL)


def heard_during_plug(wire, domid, hook, senders, agent=None):
    """Plug a tap; returns the counts of frames that the guest heard until the tap was tagged and
    the guest heard VLAN 5."""
    tap = "tap%d.0" % domid
    with Listener(wire.dom0.create_device(tap)) as listener:
        before = agent.tagged[tap] if agent else 0
        wire.plug(domid, "tap", hook)
        if agent:
            agent.wait_for(lambda: agent.tagged[tap] > before)
        now = senders.count
        listener.wait_for(lambda: listener.last > now)
    wire.dom0.unplug_tap(domid, 0)
    return listener.heard


def test_no_foreign_frame_crosses_a_tap_whose_vif_is_tagged(capsys):
    with Dom0(vswitchd="userspace") as dom0:
        wire = Wire(dom0)
        stock = "/usr/libexec/xenopsd/setup-vif-rules"
        wire.vsctl("set", "Port", wire.plug(1, "vif"), "tag=5")
        wire.plug(2, "vif", stock)
        ours, theirs = [], []
        with Agent(wire) as agent, Senders(wire) as senders:
            agent.wait_for(lambda: agent.tagged["vif2.0"])
            for _ in range(PLUGS):
                ours.append(heard_during_plug(wire, 1, HOOK, senders))
                theirs.append(heard_during_plug(wire, 2, stock, senders, agent))
            rate = senders.count / (time.monotonic() - senders.begun)
    foreign, before = ([heard["6"] for heard in heards] for heards in (ours, theirs))
    with capsys.disabled():
        print("\n%d plugs at %d frames/s in each VLAN: foreign frames heard: %d; stock with an "
              "agent every %d s: %d to %d, %d in all" % (
                  PLUGS, rate, sum(foreign), POLL, min(before), max(before), sum(before)))
    assert sum(foreign) == 0
    assert all(heard["5"] for heard in ours)
    assert sum(before) > 0
