"""A stand-in dom0, in which plug scripts run for real; any number at a time, each by itself.

    with Dom0() as dom0:
        dom0.add_bridge("xenbr0")
        dom0.add_vif(1, 0, bridge="xenbr0")
        dom0.plug_vif(1, 0)
        assert dom0.ovs.interface("vif1.0")["external_ids"]["xs-vif-uuid"]

It has namespaces of its own for mounts, network and processes; /usr, /etc, /opt, /var, /run and
/dev that can be written to and are thrown away; a real ovsdb-server and ovs-vswitchd at the usual
socket; the stock scripts (stock.py) at their usual places; a xenstore; /dev/log; and as
/usr/bin/python3 the Python under test, bare. /tmp and the checkout are the host's.

It takes root, util-linux, iproute2 and Open vSwitch. The process that uses it stays outside.
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
    """See the module.

    python    the interpreter that is /usr/bin/python3 in there
    scripts   a directory with real stock scripts; default XEN_SCRIPTS, or our stand-ins
    vswitchd  as PrivateOvs has it: with "dummy" no frame moves, with "userspace" they do
    bridge    True: no Open vSwitch module, so that the scripts use the Linux bridge
    udev      True: a real systemd-udevd runs the stock rule on taps that come and go
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
        """End everything in there, ovs too, and leave nothing of it."""
        self._stack.close()

    @property
    def pid(self):
        """The first process in there."""
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
        # Debian's own rules are for the host's devices, whose events come in here, too.
        self.run("mount", "-n", "-t", "tmpfs", "rules", "/usr/lib/udev/rules.d", check=True)
        # It returns when it listens. (Its daemon would keep a pipe of ours open.)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if self.run(UDEVD, "--daemon", "--resolve-names=never", **quiet).returncode:
            raise Dom0Error("%s didn't start" % UDEVD)

    # -- acts

    def run(self, *args, **options):
        """Run a command in there and return a subprocess.CompletedProcess with its output as text.

        env (default: a PATH and HOME only), check (raise Dom0Error), timeout, input, and what
        subprocess.Popen takes. Its cwd is /.
        """
        return self._inside.run(args, **options)

    def popen(self, *args, **options):
        """Start a command in there; returns the subprocess.Popen. Options as of run()."""
        return self._inside.popen(args, **options)

    def kill(self, process):
        """End what popen() started. (Its pid is that of nsenter, which only waits for it.)"""
        self._inside.kill(process)

    def in_netns(self, function):
        """function() run in there as far as the network goes: the socket that it makes, say."""
        return self._inside.in_netns(function)

    def path(self, inside):
        """Where the file of this name in there is found from outside."""
        return self._inside.path(inside)

    def read_file(self, path):
        with open(self.path(path), encoding="utf-8") as stream:
            return stream.read()

    def write_file(self, path, content, mode=0o644):
        place = self.path(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.islink(place):
            os.unlink(place)  # from out here an absolute link leads to the host's file
        with open(place, "wb") as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(place, mode)

    def syslog(self):
        """What was sent to /dev/log until now: a list of "tag: text"."""
        return self._log.lines()

    # -- network

    def add_bridge(self, name):
        """A bridge of the kind that the scripts use."""
        if self.bridge_mode:
            self.run("ip", "link", "add", name, "type", "bridge", check=True)
        else:
            self.ovs.add_bridge(name)

    def create_device(self, name):
        """A network device, whose guest side is the Device returned."""
        self.devices[name] = self.in_netns(lambda: Device(name))
        return self.devices[name]

    def remove_device(self, name):
        """As when QEMU closes its tap, or netback its vif."""
        self.devices.pop(name).close()

    def _remove_devices(self):
        for name in list(self.devices):
            self.remove_device(name)

    def udev_settle(self):
        """Wait until udev has done all there was to do for what happened before this call.

        With udev=True, create_device("tap1.0") is a plug and remove_device an unplug; plug_tap
        would be a second one. A vif's event can't be had without Xen's kernel: use plug_vif.
        """
        self.run("udevadm", "settle", "--timeout=30", check=True)

    def device_names(self):
        return sorted(os.listdir(self.path("/sys/class/net")))

    def is_up(self, name):
        return bool(int(self.read_file("/sys/class/net/%s/flags" % name), 16) & 1)


class _Ovs(PrivateOvs):
    """A PrivateOvs whose ovs-vswitchd has dom0's devices."""

    def __init__(self, inside, vswitchd):
        super().__init__(vswitchd=vswitchd)
        self._inside = inside

    def _start_vswitchd(self):
        self._inside.ready()  # it had all the time that ovsdb-server needed
        super()._start_vswitchd()

    def _spawn(self, *command):
        if command[0] == "ovs-vswitchd":
            command = tuple(self._inside.enter("net")) + command
        return super()._spawn(*command)
