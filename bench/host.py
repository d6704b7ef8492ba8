"""Private Open vSwitches full of pairs, and the installed command, for the benchmarks."""
import importlib
import os
import shutil
import subprocess
import sys

from support.private_ovs import PrivateOvs
from xenvif_tagger.host import config
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.oneshot import OneShot

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BRIDGE = "xapi0"
FIRST = 12  # the first domain; the others follow
OLD, NEW = 5, 6  # the tag of a pair, and the tag that an agent gives to its vif
TIMEOUT = 60
PAIRS_AT_ONCE = 500


def install(directory, packages=("click",), interpreter=sys.executable):
    """Install the command as dom0 has it: compiled, and without a virtual environment, whose start
    takes some 20 ms.

    Changes the environment that commands get. Returns the words of the command (list).

    :param packages: names of the packages that we depend on; a package that `interpreter` lacks is
        taken from the Python that runs this function
    """
    places = [os.path.join(ROOT, "xenvif_tagger")] + [
        _place(package, interpreter) for package in packages]
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ["PYTHONPATH"] = directory
    for package in places:
        shutil.copytree(package, os.path.join(directory, os.path.basename(package)),
                        ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.check_call([python(interpreter), "-m", "compileall", "-q", directory])
    script = os.path.join(directory, "xenvif-tagger")
    with open(script, "w") as stream:
        stream.write("from xenvif_tagger.cli.main import main\nmain()\n")
    return [python(interpreter), script]


def _place(package, interpreter):
    """The directory of a package."""
    code = "import %s as found; print(found.__file__)" % package
    asked = subprocess.run([interpreter, "-c", code], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL)
    if asked.returncode:
        return os.path.dirname(importlib.import_module(package).__file__)
    return os.path.dirname(asked.stdout.decode().strip())


def python(interpreter=sys.executable):
    """The path of an interpreter, outside of its virtual environment."""
    return os.path.realpath(interpreter)


class Host:
    """An Open vSwitch with so many ports: pairs that are alike, each the one VIF of a domain.

    ovsdb-server runs without ovs-vswitchd: README.md says why.
    """

    def __init__(self, stack, ports):
        self.ports = ports
        self.domids = range(FIRST, FIRST + ports // 2)
        self.ovs = stack.enter_context(PrivateOvs())
        self.ovs.add_bridge(BRIDGE)
        self.ovs.add_many_ports(BRIDGE, (
            port for domid in self.domids for port in _pair(domid)))
        with self.client() as client:
            shot(client).mirror()  # gives each pair its mark, as on a real host
        self._alike = self._snapshot()

    def client(self):
        return Client(self.ovs.remote, TIMEOUT)

    def run(self, *command):
        """Run a command in this host's environment; an exit status other than 0 is an error."""
        subprocess.run(command, env=self.ovs.env, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, check=True)

    def tag_vifs(self, domids):
        """Put these pairs back, and give each vif another tag, as an agent does."""
        operations = []
        for domid in domids:
            for name in ("vif%d.0" % domid, "tap%d.0" % domid):
                for table, where, row in self._alike[name]:
                    if table == "Port" and name.startswith("vif"):
                        row = dict(row, tag=NEW)
                    operations.append({"op": "update", "table": table, "where": where, "row": row})
        at_once = 4 * PAIRS_AT_ONCE
        for start in range(0, len(operations), at_once):
            self.ovs.transact(*operations[start:start + at_once])

    def check(self, domids):
        """Make sure that the measured command has done its work: the taps have the new tag."""
        wanted = {"tap%d.0" % domid for domid in domids}
        rows = self.ovs.transact({"op": "select", "table": "Port", "where": [["tag", "==", NEW]],
                                   "columns": ["name"]})[0]["rows"]
        missing = wanted - {row["name"] for row in rows}
        if missing:
            sys.exit("bench: not mirrored: %s" % ", ".join(sorted(missing)[:5]))

    def add_networks(self, count):
        """Add VLAN networks: VLAN ("fake") bridges with the tags from 1 to count."""
        names = ["xapi%d" % tag for tag in range(1, count + 1)]
        self.ovs.add_many_ports(BRIDGE, (
            {"name": name, "tag": tag} for tag, name in enumerate(names, 1)))
        self.ovs.transact(*[
            {"op": "update", "table": "Port", "where": [["name", "==", name]],
             "row": {"fake_bridge": True}} for name in names])

    def forget_marks(self):
        """Remove all marks, as if no program of ours had run yet."""
        self.ovs.transact({"op": "update", "table": "Port", "where": [],
                           "row": {"external_ids": ["map", []]}})

    def check_marks(self):
        """Make sure that every port has a mark."""
        rows = self.ovs.transact({"op": "select", "table": "Port", "where": [],
                                  "columns": ["name", "external_ids"]})[0]["rows"]
        missing = [row["name"] for row in rows
                   if row["name"] != BRIDGE and row["external_ids"] == ["map", []]]
        if missing:
            sys.exit("bench: no mark on %s" % ", ".join(sorted(missing)[:5]))

    def _snapshot(self):
        """The rows that tag_vifs() writes: dict of name -> list of (table, where, row)."""
        found = {}
        for table, columns in (("Port", ["tag", "vlan_mode", "trunks", "external_ids"]),
                               ("Interface", ["external_ids"])):
            for row in self.ovs.transact({"op": "select", "table": table, "where": [],
                                           "columns": ["_uuid", "name"] + columns})[0]["rows"]:
                found.setdefault(row["name"], []).append((
                    table, [["_uuid", "==", row["_uuid"]]], {key: row[key] for key in columns}))
        return found


def shot(client):
    return OneShot(client, config.parse("")[0])


def vif_uuid(domid):
    return "3d1c8b7a-52e4-4b0c-8c9f-%012d" % domid


def _pair(domid):
    """The ports of a XenServer guest's NIC, in VLAN OLD: arguments for PrivateOvs.add_port."""
    vm, vif = "8a7f5c3e-0c51-4c1b-9d2e-%012d" % domid, vif_uuid(domid)
    both = {"xs-vm-uuid": vm, "xs-vif-uuid": vif,
            "xs-network-uuid": "f0e4a2c6-9b1d-47a8-a3c5-5d2e7b9c0a05",
            "attached-mac": "02:00:00:%02x:%02x:00" % divmod(domid, 256)}
    agent = {"iface-id": vif, "vm-id": vm, "iface-status": "active"}
    yield {"name": "vif%d.0" % domid, "tag": OLD, "ofport": 2 * domid,
           "external_ids": dict(both, **agent)}
    yield {"name": "tap%d.0" % domid, "tag": OLD, "ofport": 2 * domid + 1, "external_ids": both}
