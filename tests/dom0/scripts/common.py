#!/usr/bin/python3
"""A stand-in for xapi's module of this name, as far as setup-vif-rules uses it.

As in the original, the module at its import takes its PATH, and its name in the log, from
sys.argv[0]; and VIF finds its metadata only after set_xenopsd_backend().
"""

import json
import os
import subprocess
import sys
import syslog

path = "/sbin:/usr/sbin:/bin:/usr/bin:" + os.path.dirname(sys.argv[0])
command_name = sys.argv[0]
xs_read = "/usr/bin/xenstore-read"
xenops_base_path = "/var/run/nonpersistent/xenopsd"
xenops_path = None
ON_ERROR_LOG, ON_ERROR_FAIL = 1, 2
MODE_OPENVSWITCH, MODE_BRIDGE = "openvswitch", "bridge"


def set_xenopsd_backend(backend):
    global xenops_path
    xenops_path = os.path.join(xenops_base_path, backend)


def send_to_syslog(msg):
    syslog.syslog("%s[%d] - %s" % (command_name, os.getpid(), msg))


def doexec(args):
    """Run a command, wait for its end, return its exit code and streams."""
    send_to_syslog(args)
    process = subprocess.Popen(
        ["/usr/bin/env", "PATH=" + path] + args,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    return process.wait(), process.stdout, process.stderr


def run(on_error, args):
    """Run a command; if the command fails, log that, and with ON_ERROR_FAIL end this process."""
    code, _, stderr = doexec(args)
    if code:
        said = "%s exitted with %d: %s" % (" ".join(args), code, stderr)
        if on_error == ON_ERROR_FAIL:
            send_to_syslog("FATAL: " + said)
            sys.exit(1)
        send_to_syslog(said)


class VIF:
    def __init__(self, vif_name, vm_uuid, devid):
        self.vif_name, self.vm_uuid, self.devid = vif_name, vm_uuid, devid
        with open("%s/VM/%s/vif.%d" % (xenops_path, vm_uuid, devid)) as stream:
            self.json = json.load(stream)

    def get_mode(self):
        mode = MODE_BRIDGE
        if os.path.exists("/sys/module/openvswitch"):
            mode = MODE_OPENVSWITCH
        send_to_syslog("common.py: Detected network backend as: '%s'" % mode)
        return mode

    def get_bridge(self):
        kind, name = self.json["backend"]
        if kind == "Local":
            return name
        send_to_syslog("VIF %s/%d: no network backend %s" % (self.vm_uuid, self.devid, kind))
        return None

    def get_mac(self):
        return self.json["mac"]

    def get_external_ids(self):
        ids = {"xs-vm-uuid": self.vm_uuid}
        code, stdout, _ = doexec([xs_read, "/vm/%s/final-uuid" % self.vm_uuid])
        if code == 0:  # on a migration's target: the UUID that the VM will have
            ids["xs-vm-uuid"] = stdout.readline().strip()
        for key in ("vif-uuid", "network-uuid"):
            if key in self.json["extra_private_keys"]:
                ids["xs-" + key] = self.json["extra_private_keys"][key]
        ids["attached-mac"] = self.get_mac()
        return ids

    def get_locking_mode(self):
        config = {"mac": self.get_mac(), "locking_mode": "", "ipv4_allowed": [],
                  "ipv6_allowed": []}
        mode = self.json.get("locking_mode", "")
        if isinstance(mode, list):
            mode, addresses = mode
            config["ipv4_allowed"] = addresses["ipv4"]
            config["ipv6_allowed"] = addresses["ipv6"]
        config["locking_mode"] = mode.lower()
        send_to_syslog("Got locking config: %r" % config)
        return config


class Interface:
    def __init__(self, vif_name, uuid, devid):
        self.vif = VIF(vif_name, uuid, int(devid))

    def get_vif(self):
        return self.vif
