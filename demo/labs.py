"""The switch, the guest and its neighbours: on real network devices, or on OVS's dummy ones.

RealLab gives each machine a network namespace without a name, which the kernel removes with the
last process in it. DummyLab needs no privilege at all. Both have the same methods, so that demo.py
needs one story only:

    ping(count)          how many of so many pings of the guest to its neighbour in VLAN 5 are
                         answered
    send(port, frames)   sends frames from the machine behind this port
    receive(port)        [(vlan, frame)] that the machine behind this port has received since the
                         last call
"""

import contextlib
import ctypes
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import time

MAC = {  # of the machine behind each port; vif12.0 and tap12.0 are one NIC of one guest
    "vif12.0": "2e:5f:1c:0a:77:12",
    "tap12.0": "2e:5f:1c:0a:77:12",
    "peer5": "2e:5f:1c:0a:77:05",
    "peer6": "2e:5f:1c:0a:77:06",
    "other6": "2e:5f:1c:0a:77:66",
}
ADDRESS = {"tap12.0": "192.0.2.12", "peer5": "192.0.2.5"}
ETHERTYPE = 0x88B5  # the IEEE's number for local experiments: no other frame here has it
BROADCAST = "ff:ff:ff:ff:ff:ff"
PATIENCE = 10  # seconds to wait, on a busy machine, for frames that take milliseconds
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # a user's PATH lacks these two
_LIBC = ctypes.CDLL(None, use_errno=True)


class NotPermitted(Exception):
    """Real devices in namespaces are not possible here. The text names the part that is missing."""


class LabError(Exception):
    """The switch or its machines don't work, so neither the bug nor the cure can be shown."""


# ---- frames -----------------------------------------------------------------------------------


def frame(source, destination, payload, ethertype=ETHERTYPE):
    macs = bytes.fromhex((destination + source).replace(":", ""))
    return (macs + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


def parse(data):
    """(VLAN or None, the frame without its 802.1Q tag)."""
    if data[12:14] == b"\x81\x00":
        return struct.unpack("!H", data[14:16])[0] & 0xFFF, data[:12] + data[16:]
    return None, data


def payload_of(data):
    return data[14:].rstrip(b"\0") if data[12:14] == struct.pack("!H", ETHERTYPE) else b""


def wait_for(lab, port, wanted):
    """Receive on `port` until all payloads in `wanted` are there; returns all frames received."""
    came, missing = [], set(wanted)
    deadline = time.monotonic() + PATIENCE
    while missing:
        if time.monotonic() > deadline:
            raise LabError("%d frames never came to %s" % (len(missing), port))
        new = lab.receive(port)
        came += new
        missing.difference_update(payload_of(data) for _, data in new)
        if not new:
            time.sleep(0.002)
    return came


def broadcasts(lab, count):
    """VLAN 6's peer6 sends `count` broadcasts. Returns (how many came to other6, also in VLAN 6,
    [the VLAN tag of each that came to the guest]).

    This function waits for frames, not for a fixed time. The switch handles the frames of one port
    in order: so once other6 has the last broadcast, the switch has also sent the guest's copy of
    that broadcast, if there is one. Then peer5, whose frames always reach the guest, sends a frame,
    and the guest receives that frame last.
    """
    batch = os.urandom(4).hex()
    names = [("%s %d" % (batch, number)).encode() for number in range(count)]
    fence = (batch + " fence").encode()
    for port in ("other6", "tap12.0"):
        lab.receive(port)  # drop the frames received before
    lab.send("peer6", [frame(MAC["peer6"], BROADCAST, name) for name in names])
    other = wait_for(lab, "other6", names)
    lab.send("peer5", [frame(MAC["peer5"], BROADCAST, fence)])
    guest = wait_for(lab, "tap12.0", [fence])
    return (
        sum(payload_of(data) in names for _, data in other),
        [vlan for vlan, data in guest if payload_of(data) in names],
    )


# ---- real devices -----------------------------------------------------------------------------


def _call(function, *arguments):
    if function(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter_namespace():
    """Put this process into a network namespace of its own: the demo's dom0."""
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            _call(_LIBC.unshare, CLONE_NEWNET)
        else:  # as root of a user namespace this process may make a network namespace
            _call(_LIBC.unshare, CLONE_NEWUSER | CLONE_NEWNET)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", "0 %d 1" % user),
                ("gid_map", "0 %d 1" % group),
            ):
                with open("/proc/self/" + name, "w") as stream:
                    stream.write(text)
    except OSError as error:
        raise NotPermitted("namespaces (unshare: %s)" % error.strerror)
    try:  # the bridge itself is a tap device
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise NotPermitted("/dev/net/tun (%s)" % error.strerror)


class RealLab:
    what = "real frames, between network namespaces"
    ping_note = ""
    listen_note = "The guest listens on its NIC, as `tcpdump -e -n -i eth0` does."
    vswitchd = "userspace"

    def __init__(self):
        for tool, package in (("ip", "iproute2"), ("ping", "iputils-ping")):
            if not shutil.which(tool, path=PATH):
                raise LabError("there is no `%s` here: install %s" % (tool, package))
        enter_namespace()
        self._dom0 = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._namespaces, self._sockets = {}, {}
        guest = self._new_namespace()
        for port in MAC:
            name = "eth1" if port == "vif12.0" else "eth0"
            space = guest if port in ("tap12.0", "vif12.0") else self._new_namespace()
            self._namespaces[port] = space
            try:
                self._ip(
                    *"link add {} type veth peer name {} address {} netns /proc/self/fd/{}".format(
                        port, name, MAC[port], space
                    ).split()
                )
            except LabError as error:
                raise NotPermitted("veth devices (%s)" % error)
            self._ip("link", "set", port, "up")
            if port == "vif12.0":
                continue  # the guest has no PV driver yet, so it does not use vif12.0
            if port in ADDRESS:
                self._ip("addr", "add", ADDRESS[port] + "/24", "dev", name, within=space)
            self._ip("link", "set", name, "up", within=space)
            with self._inside(space):  # a packet socket stays in its namespace
                self._sockets[port] = _packet_socket(name)

    def port_options(self, port):
        return []

    def ping(self, count):
        command = "ping -n -c %d -i 0.2 -W 2 %s" % (count, ADDRESS["peer5"])
        result = self._run(command.split(), self._namespaces["tap12.0"])
        found = re.search(r"(\d+) packets transmitted, (\d+) received", result.stdout)
        if not found or int(found.group(1)) != count:
            raise LabError("ping: %s" % (result.stderr or result.stdout).strip())
        return int(found.group(2))

    def send(self, port, frames):
        for data in frames:
            self._sockets[port].send(data)

    def receive(self, port):
        """(The kernel takes the 802.1Q tag off a frame, and hands both over.)"""
        frames = []
        while select.select([self._sockets[port]], [], [], 0)[0]:
            data, extra, _, address = self._sockets[port].recvmsg(2048, 256)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            vlan, data = parse(data)
            for level, kind, value in extra:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, tci = struct.unpack_from("I12xH", value)
                    if status & TP_STATUS_VLAN_VALID:
                        vlan = tci & 0xFFF
            frames.append((vlan, data))
        return frames

    def _new_namespace(self):
        _call(_LIBC.unshare, CLONE_NEWNET)
        try:
            return os.open("/proc/self/ns/net", os.O_RDONLY)
        finally:
            _call(_LIBC.setns, self._dom0, CLONE_NEWNET)

    @contextlib.contextmanager
    def _inside(self, space):
        _call(_LIBC.setns, space, CLONE_NEWNET)
        try:
            yield
        finally:
            _call(_LIBC.setns, self._dom0, CLONE_NEWNET)

    def _run(self, command, space):
        with self._inside(space):
            return subprocess.run(
                command,
                env=dict(os.environ, PATH=PATH, LC_ALL="C"),  # C: the output of ping is parsed
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                pass_fds=list(self._namespaces.values()),
            )

    def _ip(self, *arguments, within=None):
        result = self._run(("ip",) + arguments, within or self._dom0)
        if result.returncode:
            raise LabError("ip %s: %s" % (" ".join(arguments), result.stderr.strip()))


SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4  # linux/if_packet.h
ETH_P_ALL = 3


def _packet_socket(device):
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    made.bind((device, ETH_P_ALL))
    return made


# ---- dummy devices ----------------------------------------------------------------------------


class DummyLab:
    """ovs-vswitchd's own test devices: frames go in by ovs-appctl and come out into a file."""

    what = "made-up frames, through OVS's dummy devices"
    ping_note = ("The demo plays both machines: it sends each request in at tap12.0, and, if the "
                 "request comes out at peer5, sends peer5's reply in there.")
    listen_note = "The demo counts the frames that ovs-vswitchd sends out of tap12.0."
    vswitchd = "dummy"

    def __init__(self, ovs):
        self._ovs = ovs
        self._read = dict.fromkeys(MAC, 24)  # a pcap file's header

    def port_options(self, port):
        return ["options:tx_pcap=" + self._file(port)]

    def ping(self, count):
        """Send the guest's request, and the neighbour's reply if the request has reached it."""
        answered = 0
        for number in range(count):
            kinds = (("tap12.0", "peer5", 8), ("peer5", "tap12.0", 0))  # echo request, reply
            if all(self._crosses(*kind, number=number) for kind in kinds):
                answered += 1
        return answered

    def send(self, port, frames):
        packets = [data.hex() for data in frames]
        self._ovs.appctl("ovs-vswitchd", "netdev-dummy/receive", port, *packets)

    def receive(self, port):
        frames = []
        with open(self._file(port), "rb") as stream:
            stream.seek(self._read[port])
            while True:
                header = stream.read(16)
                if len(header) < 16:
                    break
                length = struct.unpack("=8xI4x", header)[0]
                data = stream.read(length)
                if len(data) < length:
                    break  # ovs-vswitchd has not written the whole frame yet
                frames.append(parse(data))
                self._read[port] = stream.tell()
        return frames

    def _crosses(self, source, target, kind, number):
        data = frame(MAC[source], MAC[target], _echo(source, target, kind, number), 0x0800)
        self.receive(target)
        self.send(source, [data])
        # Wait until two more frames, one after the other, have crossed the switch. (One more frame
        # is not enough: in a round over its ports the switch may handle that frame before ours.)
        for _turn in range(2):
            fence = os.urandom(8).hex().encode()
            self.send("peer6", [frame(MAC["peer6"], BROADCAST, fence)])
            wait_for(self, "other6", [fence])
        return (None, data) in self.receive(target)

    def _file(self, port):
        return os.path.join(self._ovs.dir, port + ".pcap")


def _echo(source, target, kind, number):
    """An IPv4 packet with an ICMP echo request (8) or reply (0)."""
    icmp = struct.pack("!BBHHH", kind, 0, 0, 12, number)
    icmp = icmp[:2] + _checksum(icmp) + icmp[4:]
    addresses = socket.inet_aton(ADDRESS[source]) + socket.inet_aton(ADDRESS[target])
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), number, 0, 64, 1, 0) + addresses
    return head[:10] + _checksum(head) + head[12:] + icmp


def _checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
