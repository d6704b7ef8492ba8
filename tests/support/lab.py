"""A pair of ports in a real ovsdb-server, for the tests of the rules and of the traces. The
one-shot driver mirrors the pair, and each write of the driver is checked."""
import json
import subprocess
import sys

from support.constants import LONG, NEUTRON, SIDES
from support.rows import unit
from xenvif_tagger.core import mark
from xenvif_tagger.core.decide import decide_vif
from xenvif_tagger.core.decision import Decision
from xenvif_tagger.core.names import parse
from xenvif_tagger.core.unit import UNIT
from xenvif_tagger.host import config
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.oneshot import OneShot

A = {"xs-vif-uuid": "vif-a", "xs-vm-uuid": "vm-a", "xs-network-uuid": "net-a",
     "attached-mac": "00:16:3e:00:00:0a"}
B = {"xs-vif-uuid": "vif-b", "xs-vm-uuid": "vm-b", "xs-network-uuid": "net-a",
     "attached-mac": "00:16:3e:00:00:0b"}
XEN = {"xen-vm-uuid": "vm-a", "xen-vm-name": "a", "attached-mac": "00:16:3e:00:00:0a"}
OTHER = {"vif": "tap", "tap": "vif"}
T5, T6, T7, DEAD, NONE = unit(5), unit(6), unit(7), unit(4095), {}
TRUNK = unit(None, "trunk", [5, 6])
DIFFER = "conflict"
OPEN = unit(None, "trunk")


class Lab(object):
    """VIF 12.0 among ports that no run for that VIF may touch, and runs of the driver over it.

    Methods take a port's side, "vif" or "tap", or its full name. settings: keys of the config
    file's sections [mirror] and [hold], with their parsed values.
    """

    def __init__(self, ovs, **settings):
        self.ovs = ovs
        self.values = config.parse("")[0]
        for key, value in settings.items():
            section = "hold" if key == "bridges" else "mirror"
            assert (section, key) in self.values
            self.values[section, key] = value
        self.boot = None
        ovs.add_bridge("br0")
        for name, ids, tag in (("vif1.0", B, 11), ("tap1.0", B, None), ("vif120.0", B, None),
                               ("tap120.0", B, 12), ("vif12.1", B, 13), ("eth0", A, None)):
            ovs.add_port("br0", name, ids, tag=tag)

    # -- acts

    @staticmethod
    def name(side):
        return side + "12.0" if side in SIDES else side

    def plug(self, side, unit=NONE, ids=None, identity=A, bridge="br0", port_ids=None, noted=None,
             **columns):
        """Add a new row as the stock script does. noted: the mark that a hook gives the row."""
        if noted is not None:
            port_ids = dict(port_ids or {}, **{mark.KEY: mark.encode(noted)})
        return self.ovs.add_port(bridge, self.name(side), dict(identity, **(ids or {})), port_ids,
                                 **dict(unit, **columns))

    def unplug(self, side):
        self.ovs.delete_port(self.name(side))

    def _update(self, table, side, row):
        self.ovs.transact({"op": "update", "table": table, "row": row,
                           "where": [["name", "==", self.name(side)]]})

    def set(self, side, unit):
        """Write the whole unit of a port in one transaction."""
        row = {column: unit.get(column, ["set", []]) for column in UNIT
               if column in self.ovs.schema["tables"]["Port"]["columns"]}
        for column in ("trunks", "cvlans"):
            if column in unit:
                row[column] = ["set", unit[column]]
        self._update("Port", side, row)

    def ids(self, side, table="Interface", **changed):
        """Set keys of external_ids (``_`` stands for ``-``); None removes a key."""
        found = dict((self.ovs.port if table == "Port" else self.ovs.interface)(
            self.name(side))["external_ids"])
        for key, value in changed.items():
            found.pop(key.replace("_", "-"), None)
            if value is not None:
                found[key.replace("_", "-")] = value
        self._update(table, side, {"external_ids": ["map", sorted(found.items())]})

    def bind(self, side, unit=None, **noted):
        """Bind the port as Neutron's agent does: write the unit, then the agent's notes
        (other_config)."""
        if unit is not None:
            self.set(side, unit)
        self.other_config(side, dict(NEUTRON, **noted))

    def other_config(self, side, values):
        self._update("Port", side, {"other_config": ["map", sorted(values.items())]})

    def interface(self, side, **columns):
        self._update("Interface", side, columns)

    def gone(self, side):
        self.interface(side, ofport=-1, error="could not open network device")

    def note(self, side, **fields):
        """Change fields of our own mark by hand, for a case to which no run of the driver leads."""
        noted = dict(self.mark(side), **fields)
        self.ids(side, "Port", **{mark.KEY: mark.encode(noted)})

    # -- the rows as they stand

    def unit(self, side):
        row = self.ovs.port(self.name(side))
        return {column: row[column] if column in ("trunks", "cvlans") else row[column][0]
                for column in UNIT if row.get(column)}

    def units(self):
        return self.unit("vif"), self.unit("tap")

    def iface(self, side, *keys):
        found = self.ovs.interface(self.name(side))["external_ids"]
        return found.get(keys[0]) if len(keys) == 1 else found

    def port_ids(self, side):
        found = dict(self.ovs.port(self.name(side))["external_ids"])
        found.pop(mark.KEY, None)
        return found

    def mark(self, side):
        return mark.parse(self.ovs.port(self.name(side))["external_ids"].get(mark.KEY))

    def everything(self):
        """All rows of the database, with their _version: (table, UUID) -> row."""
        tables = sorted(self.ovs.schema["tables"])
        return {(table, row["_uuid"]): row for table in tables for row in self.ovs.rows(table)}

    def transactions(self):
        return self.ovs.database_log().count("\nrecord ")

    # -- runs

    def shot(self):
        shot = OneShot(Client(self.ovs.remote, LONG), self.values)
        if self.boot:
            shot.settings.boot = self.boot
        return shot

    def run(self, prefer=None):
        """Mirror VIF 12.0; returns the decision, with the state of the outcome.

        Fails if the driver writes any other row or a column that it must not write, if the written
        cells are not those of the decision, or if a second run writes anything."""
        before, count = self.everything(), self.transactions()
        outcome, = self._mirror(prefer)
        decision = outcome.decision
        after = self.everything()
        assert self.transactions() - count == bool(decision.changes)
        assert written(before, after) == sorted(map(cell, decision.changes), key=str)
        # The second run must write nothing. After a refused choice by hand the second run makes the
        # same choice: without a choice, the rules might decide.
        self._mirror(prefer if decision.state == "refused" else None)
        assert self.everything() == after and self.transactions() - count <= 1
        return Decision(decision.vif, decision.tap, outcome.state, decision.reason, decision.source,
                        decision.target, decision.unit, decision.split, decision.changes)

    def _mirror(self, prefer=None):
        outcomes = self.shot().mirror([(12, 0)], prefer)
        assert [outcome.problem for outcome in outcomes] == [None] * len(outcomes)
        return outcomes

    def core(self, expired=False):
        """The core's decision about the rows as they stand; writes nothing. expired: whether the
        grace is over for each port that is an orphan."""
        shot = self.shot()
        ports = shot.vswitch.read([(12, 0)])[12, 0]
        return decide_vif(ports, shot.settings,
                          expired=[port.uuid for port in ports] if expired else ())

    def command(self, *args):
        """Run the real command; returns its exit code, and its JSON output, parsed."""
        done = subprocess.run(
            [sys.executable, "-m", "xenvif_tagger", "--db", self.ovs.remote] + list(args)
            + ["--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.stderr == b"", done.stderr
        return done.returncode, json.loads(done.stdout.decode())

    def paired(self, was, holder="tap", **ids):
        """Plug both ports with the unit `was`, and run the driver, so that the holder's mark has a
        base."""
        self.plug(OTHER[holder], was, dict(ids, probe="1"))
        self.plug(holder)
        assert self.run().state in ("mirrored", "in-sync")
        assert self.units() == (was, was)
        assert "base" in self.mark(holder) and "base" not in self.mark(OTHER[holder])
        return self


def written(before, after):
    """The cells that differ, as Changes. Fails if a cell differs that we must never write."""
    assert set(before) == set(after)
    cells = []
    for place, old in before.items():
        new = after[place]
        if old == new:
            continue
        table, row = place[0], old["name"]
        assert table in ("Port", "Interface") and parse(row)[:2] == (12, 0), (old, new)
        for column in set(old) - {"_version"}:
            if old[column] == new[column]:
                continue
            if column in ("external_ids", "other_config"):
                for key in set(old[column]) | set(new[column]):
                    was, becomes = old[column].get(key), new[column].get(key)
                    if was != becomes:
                        assert column == "external_ids" or "%s:%s" % (column, key) in UNIT
                        cells.append((table, row, column, key, was, becomes))
            else:
                assert column in UNIT or column.startswith("ingress_policing"), column
                cells.append((table, row, column, None, plain(column, old[column]),
                              plain(column, new[column])))
    return sorted(cells, key=str)


def cell(change):
    """A Change as a tuple: table, row, column, key, old, new."""
    return tuple(getattr(change, name) for name in change.__slots__)


def plain(column, value):
    if column in ("trunks", "cvlans"):
        return value or None
    return (value or [None])[0] if isinstance(value, list) else value


def add_port(lab, bridge, side, identity=A):
    """Add a port with ovs-vsctl, as the stock script does: ovs-vsctl knows fake bridges too."""
    name = lab.name(side)
    lab.ovs.vsctl("add-port", bridge, name, "--", "set", "Interface", name, *[
        "external-ids:%s=%s" % (key, json.dumps(value)) for key, value in identity.items()])


def base_of(unit, port):
    return {"base": {"port": port, "unit": unit, "Port": {}, "Interface": {}, "policing": {}}}


def assert_came_to(lab, decision, expected, found):
    if expected == DIFFER:
        assert decision.state == "conflict" and lab.units() == found
        assert {change.key for change in decision.changes} <= {mark.KEY}
        assert lab.mark("tap")["seen"]["vif"] == found[0]
    else:
        assert lab.units() == (expected, expected)
        assert decision.state == "mirrored" or decision.state == "in-sync" and found == lab.units()
        assert sum("base" in lab.mark(side) for side in SIDES) == 1
        assert "seen" not in lab.mark("tap")
