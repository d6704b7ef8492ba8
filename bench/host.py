"""What bench/run measures on: private Open vSwitches full of pairs, and an installed command."""
import compileall
import os
import shutil
import subprocess
import sys

import click

from private_ovs import PrivateOvs
from xenvif_tagger import config
from xenvif_tagger.oneshot import OneShot
from xenvif_tagger.ovsdb import Client

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BRIDGE = "xapi0"
FIRST = 12  # the first domain; the others follow
OLD, NEW = 5, 6  # the tag that a pair has, and the one that one side is given
TIMEOUT = 60
PAIRS_AT_ONCE = 500


def install(directory):
    """Install as dom0 does: compiled, and without a virtual environment, which costs some 20 ms.

    Changes the environment that commands get. Returns the command to run (list).
    """
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = directory
    for package in (os.path.join(ROOT, "xenvif_tagger"), os.path.dirname(click.__file__)):
        shutil.copytree(package, os.path.join(directory, os.path.basename(package)),
                        ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(directory, quiet=1)
    script = os.path.join(directory, "xenvif-tagger")
    with open(script, "w") as stream:
        stream.write("from xenvif_tagger.cli import main\nmain()\n")
    return [python(), script]


def python():
    """This interpreter outside of its virtual environment: the path."""
    return os.path.realpath(sys.executable)


class Host:
    """An Open vSwitch with so many ports: pairs that are alike, of one VIF a domain.

    Only ovsdb-server: README.md says why.
    """

    def __init__(self, stack, ports):
        self.ports = ports
        self.domids = range(FIRST, FIRST + ports // 2)
        self._ovs = stack.enter_context(PrivateOvs())
        self._ovs.add_bridge(BRIDGE)
        self._ovs.add_many_ports(BRIDGE, (
            port for domid in self.domids for port in _pair(domid)))
        with self.client() as client:
            shot(client).mirror()  # each pair gets the mark that it has in real life
        self._alike = self._snapshot()

    def client(self):
        return Client(self._ovs.remote, TIMEOUT)

    def run(self, *command):
        """Run a command as on this host; it must succeed."""
        subprocess.run(command, env=self._ovs.env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, check=True)

    def tag_vifs(self, domids):
        """Make these pairs as they were, apart from the vif's tag, which an agent has changed."""
        operations = []
        for domid in domids:
            for name in ("vif%d.0" % domid, "tap%d.0" % domid):
                for table, where, row in self._alike[name]:
                    if table == "Port" and name.startswith("vif"):
                        row = dict(row, tag=NEW)
                    operations.append({"op": "update", "table": table, "where": where, "row": row})
        at_once = 4 * PAIRS_AT_ONCE
        for start in range(0, len(operations), at_once):
            self._ovs.transact(*operations[start:start + at_once])

    def check(self, domids):
        """Make sure that what was measured was done."""
        wanted = {"tap%d.0" % domid for domid in domids}
        rows = self._ovs.transact({"op": "select", "table": "Port", "where": [["tag", "==", NEW]],
                                   "columns": ["name"]})[0]["rows"]
        missing = wanted - {row["name"] for row in rows}
        if missing:
            sys.exit("bench: not mirrored: %s" % ", ".join(sorted(missing)[:5]))

    def _snapshot(self):
        """What tag_vifs() writes: dict of name -> list of (table, where, row)."""
        found = {}
        for table, columns in (("Port", ["tag", "vlan_mode", "trunks", "external_ids"]),
                               ("Interface", ["external_ids"])):
            for row in self._ovs.transact({"op": "select", "table": table, "where": [],
                                           "columns": ["_uuid", "name"] + columns})[0]["rows"]:
                found.setdefault(row["name"], []).append((
                    table, [["_uuid", "==", row["_uuid"]]], {key: row[key] for key in columns}))
        return found


def shot(client):
    return OneShot(client, config.parse("")[0])


def _pair(domid):
    """The ports of a XenServer guest's NIC, in VLAN OLD: arguments for PrivateOvs.add_port."""
    vm, vif = "8a7f5c3e-0c51-4c1b-9d2e-%012d" % domid, "3d1c8b7a-52e4-4b0c-8c9f-%012d" % domid
    both = {"xs-vm-uuid": vm, "xs-vif-uuid": vif,
            "xs-network-uuid": "f0e4a2c6-9b1d-47a8-a3c5-5d2e7b9c0a05",
            "attached-mac": "02:00:00:%02x:%02x:00" % divmod(domid, 256)}
    agent = {"iface-id": vif, "vm-id": vm, "iface-status": "active"}
    yield {"name": "vif%d.0" % domid, "tag": OLD, "ofport": 2 * domid,
           "external_ids": dict(both, **agent)}
    yield {"name": "tap%d.0" % domid, "tag": OLD, "ofport": 2 * domid + 1, "external_ids": both}
