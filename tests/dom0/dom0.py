"""A stand-in dom0, in which plug scripts run for real. Any number of them can run at a time.

    with Dom0() as dom0:
        dom0.add_bridge("xenbr0")
        dom0.add_vif(1, 0, bridge="xenbr0")
        dom0.plug_vif(1, 0)
        assert dom0.ovs.interface("vif1.0")["external_ids"]["xs-vif-uuid"]

A Dom0 has namespaces of its own for mounts, network and processes. Programs inside can write to
/usr, /etc, /opt, /var, /run and /dev, and these writes are thrown away at the end. A real
ovsdb-server and ovs-vswitchd run at the usual socket, the stock scripts (stock.py) are at their
usual places, and there are a xenstore and /dev/log. /usr/bin/python3 is the Python under test,
without its site-packages. /tmp and the checkout are the host's.

A Dom0 needs root, util-linux, iproute2 and Open vSwitch. The test process itself stays outside.
"""

import contextlib
import os
import subprocess
import sys

from support.private_ovs import PrivateOvs

from . import libxl, stock, xapi
from .devices import Device
from .namespaces import HERE, Dom0Error, Namespaces
from .syslog import Syslog
from .vif import Vif
from .xenstore import Xenstore

__all__ = ["Dom0", "Dom0Error", "Vif"]
UDEVD = "/lib/systemd/systemd-udevd"
CLIENTS = ("read", "write", "rm", "list", "exists")


class Dom0(xapi.Toolstack, libxl.Toolstack):
    """A stand-in dom0; the module's docstring names its parts.

    python    the interpreter that becomes /usr/bin/python3 inside
    scripts   a directory with real stock scripts; the default is XEN_SCRIPTS, else our stand-ins
    vswitchd  as in PrivateOvs: with "dummy" no frame moves, with "userspace" frames do move
    bridge    True: the Open vSwitch module is missing, so the scripts use the Linux bridge
    udev      True: a real systemd-udevd runs the stock rule for each tap that appears or goes
    """

    def __init__(self, python=sys.executable, scripts=None, vswitchd="dummy", bridge=False,
                 udev=False):
        self.python = os.path.realpath(python)
        self.scripts = scripts
        self.bridge_mode = bridge
        self.udev = udev
        self.vifs = {}  # (domid, devid): Vif
        self.devices = {}  # name: Device
        self._inside = Namespaces()
        self.xenstore = Xenstore(self._inside)
        self.ovs = _Ovs(self._inside, vswitchd)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *unused):
        self.stop()

    # -- life

    def start(self):
        self._stack.callback(self._inside.stop)
        self._inside.start()
        self._stack.callback(self._remove_devices)
        self._stack.callback(self.ovs.stop)
        self.ovs.start()
        self._inside.bind_ovs(self.ovs.dir)
        self._log = Syslog(self.path("/dev/log"))
        self._stack.callback(self._log.close)
        self._furnish()
        if self.udev:
            self._start_udevd()
        return self

    def stop(self):
        """End all processes inside, Open vSwitch too, and remove all that these processes made."""
        self._stack.close()

    @property
    def pid(self):
        """The pid of the first process inside, as seen from outside."""
        return self._inside.pid

    def _furnish(self):
        if not self.bridge_mode:
            os.mkdir(self.path("/sys/module/openvswitch"))
        for path, text in stock.files(self.scripts).items():
            self.write_file(path, text, 0o644 if path.endswith(".rules") else 0o755)
        for name in os.listdir(os.path.join(HERE, "bin")):
            with open(os.path.join(HERE, "bin", name), "rb") as stream:
                text = stream.read()
            if name == "xenstore":
                for client in CLIENTS:
                    self.write_file("/usr/bin/xenstore-" + client, text, 0o755)
            else:
                self.write_file("/usr/sbin/" + name, text, 0o755)
        link = self.path("/usr/bin/python3")
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(self.python, link)

    def _start_udevd(self):
        # Hide Debian's own rules: the events of the host's devices arrive inside too, and udevd
        # would apply those rules to the host's devices.
        self.run("mount", "-n", "-t", "tmpfs", "rules", "/usr/lib/udev/rules.d", check=True)
        # The command returns once its daemon listens. The daemon inherits the output streams, and
        # would keep a pipe of ours open.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if self.run(UDEVD, "--daemon", "--resolve-names=never", **quiet).returncode:
            raise Dom0Error("%s didn't start" % UDEVD)

    # -- acts

    def run(self, *args, **options):
        """Run a command inside and return a subprocess.CompletedProcess with the output as text.

        Options: env (default: only PATH and HOME), check (raise Dom0Error on failure), timeout,
        input, and those of subprocess.Popen. The command's working directory is /.
        """
        return self._inside.run(args, **options)

    def popen(self, *args, **options):
        """Start a command inside; returns the subprocess.Popen. The options are those of run()."""
        return self._inside.popen(args, **options)

    def kill(self, process):
        """End a command that popen() started. (The Popen's pid is nsenter's, which only waits.)"""
        self._inside.kill(process)

    def in_netns(self, function):
        """Call function() in the network namespace, to open a socket, say; returns its result."""
        return self._inside.in_netns(function)

    def path(self, inside):
        """The path outside of the file that has this path inside."""
        return self._inside.path(inside)

    def read_file(self, path):
        with open(self.path(path), encoding="utf-8") as stream:
            return stream.read()

    def write_file(self, path, content, mode=0o644):
        place = self.path(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.islink(place):
            os.unlink(place)  # an absolute link, followed from outside, leads to the host's file
        with open(place, "wb") as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(place, mode)

    def syslog(self):
        """The messages sent to /dev/log until now: a list of "tag: text"."""
        return self._log.lines()

    # -- network

    def add_bridge(self, name):
        """Add a bridge of the kind that the scripts use: Open vSwitch's or Linux's."""
        if self.bridge_mode:
            self.run("ip", "link", "add", name, "type", "bridge", check=True)
        else:
            self.ovs.add_bridge(name)

    def create_device(self, name):
        """Create a network device; returns the Device, which is its guest side."""
        self.devices[name] = self.in_netns(lambda: Device(name))
        return self.devices[name]

    def remove_device(self, name):
        """Remove a device, as QEMU does by closing its tap, and as netback does with its vif."""
        self.devices.pop(name).close()

    def _remove_devices(self):
        for name in list(self.devices):
            self.remove_device(name)

    def udev_settle(self):
        """Wait until udev has handled all events from before this call.

        With udev=True, create_device("tap1.0") is a plug and remove_device is an unplug; plug_tap
        would plug the tap a second time. Only Xen's kernel sends the event of a vif: use plug_vif.
        """
        self.run("udevadm", "settle", "--timeout=30", check=True)

    def device_names(self):
        return sorted(os.listdir(self.path("/sys/class/net")))

    def is_up(self, name):
        return bool(int(self.read_file("/sys/class/net/%s/flags" % name), 16) & 1)


class _Ovs(PrivateOvs):
    """A PrivateOvs whose ovs-vswitchd runs in dom0's network namespace, with its devices."""

    def __init__(self, inside, vswitchd):
        super().__init__(vswitchd=vswitchd)
        self._inside = inside

    def _start_vswitchd(self):
        self._inside.ready()  # furnishing went on while ovsdb-server started
        super()._start_vswitchd()

    def _spawn(self, *command):
        if command[0] == "ovs-vswitchd":
            command = tuple(self._inside.enter("net")) + command
        return super()._spawn(*command)
