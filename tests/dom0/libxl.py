"""The calls by which libxl (xl, libvirt) plugs and unplugs a VIF."""

import uuid

from .stock import XEN_SCRIPTS
from .vif import Vif

DAEMON = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}


class Toolstack(object):
    """The part of Dom0 that plays libxl."""

    def add_libxl_vif(self, domid, devid, bridge="xenbr0", vm_uuid=None, name="guest", mac=None,
                      script="vif-openvswitch", **backend):
        """Write a VIF's keys to xenstore; returns the Vif.

        bridge: may name VLANs too: "xenbr0.5:6:7" means tag 5 and trunks 6 and 7.
        backend: further keys of the VIF's backend, such as ip or vifname.
        """
        vif = Vif(
            domid, devid, str(vm_uuid or uuid.uuid4()), bridge=bridge, name=name,
            mac=mac or "00:16:3e:%02x:%02x:%02x" % (domid >> 8 & 255, domid & 255, devid),
            script=script if script.startswith("/") else XEN_SCRIPTS + "/" + script,
        )
        self.vifs[domid, devid] = vif
        write = self.xenstore.write
        write("/local/domain/%d/vm" % domid, "/vm/" + vif.vm_uuid)
        write("/vm/%s/uuid" % vif.vm_uuid, vif.vm_uuid)
        write("/vm/%s/name" % vif.vm_uuid, name)
        keys = {
            "frontend-id": domid, "online": 1, "state": 1, "script": vif.script, "mac": vif.mac,
            "bridge": bridge, "handle": devid, "type": "vif",
        }
        for key, value in dict(keys, **backend).items():
            write(vif.backend + "/" + key, value)
        return vif

    def plug_libxl_vif(self, domid, devid, **added):
        """libxl's first call of the script.

        With options, add_libxl_vif is called with them first. Like the other calls here, this one
        returns the script's subprocess.CompletedProcess.
        """
        vif = self._libxl_vif(domid, devid, added)
        self._have(vif.vif)
        return self._libxl(vif, "online", "vif")

    def plug_libxl_emu(self, domid, devid, **added):
        """libxl's second call of the script, once QEMU has made its device."""
        vif = self._libxl_vif(domid, devid, added)
        self._have(vif.emu)
        return self._libxl(vif, "add", "tap")

    def unplug_libxl_vif(self, domid, devid):
        """libxl's call when the guest ends. The vif's device still exists at that time."""
        return self._libxl(self.vifs[domid, devid], "offline", "vif")

    def unplug_libxl_emu(self, domid, devid):
        """libxl's call when the guest ends. QEMU and its device are gone by that time."""
        vif = self.vifs[domid, devid]
        self._have_not(vif.emu)
        return self._libxl(vif, "remove", "tap")

    def _libxl_vif(self, domid, devid, added):
        if added or (domid, devid) not in self.vifs:
            return self.add_libxl_vif(domid, devid, **added)
        return self.vifs[domid, devid]

    def _libxl(self, vif, action, kind):
        env = dict(
            DAEMON, script=vif.script, XENBUS_TYPE="vif", XENBUS_PATH=vif.backend,
            XENBUS_BASE_PATH="backend", netdev="", INTERFACE=vif.emu, vif=vif.vif,
        )
        return self.run(vif.script, action, "type_if=" + kind, env=env)
