"""The calls by which xenopsd and udev plug and change a VIF on XenServer and XCP-ng."""

import json
import uuid

from .stock import LIBEXEC
from .vif import Vif, numbers

VIF_SCRIPT = LIBEXEC + "/vif"
SETUP_VIF_RULES = LIBEXEC + "/setup-vif-rules"
METADATA = "/var/run/nonpersistent/xenopsd/classic/VM/%s/vif.%d"
# The environment of a daemon's children. udev's children have less (udev_env).
DAEMON = {"PATH": "/sbin:/usr/sbin:/bin:/usr/bin", "LANG": "en_US.UTF-8"}


class Toolstack(object):
    """The part of Dom0 that plays xapi."""

    def add_vif(self, domid, devid, vm_uuid=None, vif_uuid=None, mac=None, bridge="xenbr0",
                network_uuid=None, locking_mode=None, ipv4=(), ipv6=(), trunks=None,
                setup_vif_rules=SETUP_VIF_RULES, final_uuid=None):
        """Write a VIF's keys to xenstore, and the VIF's metadata, as xenopsd does before the plug.

        Identities that are not given are made up.
        locking_mode: None (unlocked), "locked" or "disabled".
        trunks: a list of VLANs, which vif-real sets; with an empty list vif-real clears the trunks.
        None: as a xapi of these scripts' version writes: an empty list, or no key.
        final_uuid: the VM's final uuid, on the target of a migration.
        Returns the Vif.
        """
        vif = Vif(
            domid, devid, str(vm_uuid or uuid.uuid4()),
            vif_uuid=str(vif_uuid or uuid.uuid4()),
            network_uuid=str(network_uuid or uuid.uuid4()),
            mac=mac or "00:16:3e:%02x:%02x:%02x" % (domid >> 8 & 255, domid & 255, devid),
            setup_vif_rules=setup_vif_rules, bridge=bridge,
            locking_mode=locking_mode, ipv4=list(ipv4), ipv6=list(ipv6), trunks=trunks,
        )
        self.vifs[domid, devid] = vif
        write = self.xenstore.write
        write("/local/domain/%d/vm" % domid, "/vm/" + vif.vm_uuid)
        write("/vm/%s/uuid" % vif.vm_uuid, vif.vm_uuid)
        if final_uuid:
            write("/vm/%s/final-uuid" % vif.vm_uuid, final_uuid)
        for key, value in (
            ("frontend-id", domid), ("online", 1), ("state", 1), ("script", VIF_SCRIPT),
            ("mac", vif.mac), ("handle", devid),
        ):
            write(vif.backend + "/" + key, value)
        for key, value in (
            ("vif-uuid", vif.vif_uuid), ("network-uuid", vif.network_uuid), ("mac", vif.mac),
            ("setup-vif-rules", setup_vif_rules), ("xenopsd-backend", "classic"), ("MTU", 1500),
            ("bridge", bridge), ("bridge-MAC", "fe:ff:ff:ff:ff:ff"),
        ):
            write(vif.private + "/" + key, value)
        if trunks is None and self.needs_trunks:
            trunks = ()
        if trunks is not None:
            write(vif.private + "/trunks", ",".join(str(vlan) for vlan in trunks))
        self._write_metadata(vif)
        return vif

    def plug_vif(self, domid, devid):
        """udev's call when netback has made the vif. Makes the device if there is none yet.

        Like the other calls here, this one returns the script's subprocess.CompletedProcess.
        """
        vif = self.vifs[domid, devid]
        self._have(vif.vif)
        return self._udev(vif, "online", "vif")

    def plug_tap(self, domid, devid):
        """udev's call when QEMU has made its tap. Makes the device if there is none yet."""
        vif = self.vifs[domid, devid]
        self._have(vif.tap)
        return self._udev(vif, "add", "tap")

    def unplug_vif(self, domid, devid):
        """udev's call when the vif is gone. Removes the device if there still is one."""
        vif = self.vifs[domid, devid]
        self._have_not(vif.vif)
        return self._udev(vif, "remove", "vif")

    def unplug_tap(self, domid, devid):
        """udev's call when the tap is gone. Removes the device if there still is one."""
        vif = self.vifs[domid, devid]
        self._have_not(vif.tap)
        return self._udev(vif, "remove", "tap")

    def move_vif(self, domid, devid, bridge):
        """VIF.move: xenopsd calls the script for vif and tap, but the tap stays on its bridge."""
        vif = self.vifs[domid, devid]
        vif.bridge = bridge
        self._write_metadata(vif)
        self.xenstore.write(vif.private + "/bridge", bridge)
        results = []
        for kind in ("vif", "tap"):
            env = dict(
                DAEMON, script=VIF_SCRIPT, XENBUS_TYPE=kind, XENBUS_BASE_PATH="backend",
                XENBUS_PATH="backend/%s/%d/%d" % (kind, domid, devid), XENBUS_PREFIX="",
                INTERFACE=kind + vif.number,
            )
            results.append(self.run(VIF_SCRIPT, "move", "type_if=" + kind, env=env))
        return results[0]

    def set_locking_mode(self, domid, devid, mode, ipv4=(), ipv6=()):
        """VIF.set_locking_mode of a running HVM guest: setup-vif-rules runs for vif and tap.

        Returns both results. Where there is no tap the tap's call fails, which xenopsd ignores.
        """
        vif = self.vifs[domid, devid]
        vif.locking_mode, vif.ipv4, vif.ipv6 = mode, list(ipv4), list(ipv6)
        self._write_metadata(vif)
        return self.filter(vif.vif), self.filter(vif.tap)

    def set_trunks(self, domid, devid, trunks):
        """VIF.set_trunks of a running guest, with the calls of newer versions of xapi."""
        vif = self.vifs[domid, devid]
        vif.trunks = list(trunks)
        text = ",".join(str(vlan) for vlan in trunks)
        self.xenstore.write(vif.private + "/trunks", text)
        for port in (vif.vif, vif.tap):
            what = ("set", "Port", port, "trunks=" + text) if text else (
                "clear", "Port", port, "trunks")
            self.run("/usr/bin/ovs-vsctl", *what, env=DAEMON)

    def filter(self, device, script=None):
        """Call setup-vif-rules for this device with the action "filter", as xenopsd does."""
        return self._setup_vif_rules(device, "filter", script)

    def clear(self, device, script=None):
        return self._setup_vif_rules(device, "clear", script)

    @property
    def needs_trunks(self):
        """Whether this vif-real fails where xenstore has no `trunks` key."""
        return "Failed to read ${PRIVATE}/trunks" in self.read_file(LIBEXEC + "/vif-real")

    @property
    def sets_trunks(self):
        """Whether this vif-real writes the port's trunks."""
        return "trunks" in self.read_file(LIBEXEC + "/vif-real")

    # -- how

    def _setup_vif_rules(self, device, action, script):
        vif = self.vifs[numbers(device)]
        script = script or vif.setup_vif_rules
        args = ("classic", device, vif.vm_uuid, vif.devid, action)
        return self.run(script, *args, env=DAEMON)

    def udev_env(self, vif, action, kind):
        """The environment that udev gives its rule's program: the event's properties only."""
        if kind == "tap":
            return {
                "ACTION": action, "SUBSYSTEM": "net", "INTERFACE": vif.tap,
                "DEVPATH": "/devices/virtual/net/" + vif.tap,
            }
        return {
            "ACTION": action, "SUBSYSTEM": "xen-backend", "vif": vif.vif, "script": VIF_SCRIPT,
            "DEVPATH": "/devices/vif-%d-%d" % (vif.domid, vif.devid), "XENBUS_TYPE": "vif",
            "XENBUS_PATH": vif.backend, "XENBUS_BASE_PATH": "backend",
        }

    def _udev(self, vif, action, kind):
        env = self.udev_env(vif, action, kind)
        return self.run(VIF_SCRIPT, action, "type_if=" + kind, env=env)

    def _have(self, device):
        if device not in self.devices:
            self.create_device(device)

    def _have_not(self, device):
        if device in self.devices:
            self.remove_device(device)

    def _write_metadata(self, vif):
        mode = (vif.locking_mode or "unlocked").capitalize()
        metadata = {
            "id": [vif.vm_uuid, str(vif.devid)], "position": vif.devid, "mac": vif.mac,
            "carrier": True, "mtu": 1500, "backend": ["Local", vif.bridge], "other_config": {},
            "locking_mode": [mode, {"ipv4": vif.ipv4, "ipv6": vif.ipv6}]
            if mode == "Locked" else mode,
            "extra_private_keys": {
                "vif-uuid": vif.vif_uuid, "network-uuid": vif.network_uuid,
            },
            "ipv4_configuration": "Unspecified4", "ipv6_configuration": "Unspecified6",
        }
        self.write_file(METADATA % (vif.vm_uuid, vif.devid), json.dumps(metadata))
