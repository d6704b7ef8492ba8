"""A host with a watcher and all actors, for tests that tell a story, and the history of its
database.

The database's file has a record of every transaction. When the test leaves the host, each record is
checked against the rules (History.check): no state in between is lost.
"""
import contextlib
import json
import os
import signal
import socket
from collections import namedtuple
from itertools import product

import pytest

from support import actors
from support.constants import HELD, LONG
from support.watching import PATIENCE, Watching
from xenvif_tagger.core import mark, names
from xenvif_tagger.core.unit import UNIT, is_open_trunk
from xenvif_tagger.host import config as config_file
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.oneshot import OneShot

HOLD = "[hold]\nbridges = br0\n"
OURS = "xenvif-tagger: "

# comment (str); before, after: name -> Row, the ports before and after; tables: the written ones
# bridges_before, bridges_after: UUID -> columns of the Bridge row
Record = namedtuple("Record", "number comment before after tables bridges_before bridges_after")


def ways(arguments, *axes):
    """Parametrize a test over all combinations of the axes. `paced` alternates between them, so
    that with two axes or more each value of an axis is tried with both values of `paced`."""
    rows = product(*(list(enumerate(axis)) for axis in axes))
    return pytest.mark.parametrize(arguments + ", paced", [
        tuple(value for _, value in row) + (sum(number for number, _ in row) % 2 == 0,)
        for row in rows])


class Row(namedtuple("Row", "uuid unit port interface guest")):
    """A Port after a transaction: its UUID, its VLAN unit, the columns of Port and Interface, and
    the guest for which the row was made."""

    @property
    def noted(self):
        return mark.parse(self.port.get("external_ids", {}).get(mark.KEY))

    @property
    def managed(self):
        return ("net_uuid" in self.port.get("other_config", {})
                and "iface-id" in self.interface.get("external_ids", {}))

    def plain_ids(self):
        """The Port's external_ids without our mark."""
        return {key: value for key, value in self.port.get("external_ids", {}).items()
                if key != mark.KEY}


def read_log(path):
    """The JSON of each transaction in a database file (ovsdb(5), Standalone Database Log)."""
    with open(path, "rb") as stream:
        for line in stream:
            assert line.startswith(b"OVSDB JSON "), line
            yield json.loads(stream.read(int(line.split()[2])).decode())


class History:
    """All transactions of a PrivateOvs so far, with the ports before and after each."""

    def __init__(self, ovs):
        self._columns = {table: ovs.schema["tables"][table]["columns"]
                         for table in ("Bridge", "Port", "Interface")}
        self._rows = {table: {} for table in self._columns}
        self._guests = {}
        self.records = []
        log = read_log(ovs.database)
        next(log)  # the first record is the schema
        before, bridges_before = {}, {}
        for number, record in enumerate(log):
            for table in self._rows:
                for uuid, changes in record.get(table, {}).items():
                    self._apply(table, uuid, changes, record.get("_is_diff"))
            after, bridges_after = self._ports(), dict(self._rows["Bridge"])
            self.records.append(Record(number, record.get("_comment", ""), before, after, {
                key for key in record if not key.startswith("_")}, bridges_before, bridges_after))
            before, bridges_before = after, bridges_after

    def _apply(self, table, uuid, changes, is_diff):
        if changes is None:
            del self._rows[table][uuid]
            return
        row = self._rows[table][uuid] = dict(self._rows[table].get(uuid, {}))
        for column, value in changes.items():
            kind = self._columns[table][column]["type"]
            is_map = isinstance(kind, dict) and "value" in kind
            is_set = isinstance(kind, dict) and kind.get("max", 1) != 1 and not is_map
            if is_map:
                new = dict(value[1])
                if is_diff:  # a key with the same value in both maps is removed
                    old = row.get(column, {})
                    new = {key: new.get(key, old.get(key)) for key in set(old) | set(new)
                           if key not in old or old[key] != new.get(key)}
            elif is_set:
                atoms = value[1] if isinstance(value, list) and value[0] == "set" else [value]
                new = {tuple(atom) if isinstance(atom, list) else atom for atom in atoms}
                if is_diff:
                    new ^= set(row.get(column, ()))
                new = sorted(new)
            else:
                new = None if value == ["set", []] else value
            row[column] = new

    def _ports(self):
        interfaces = {row["name"]: row for row in self._rows["Interface"].values()}
        found = {}
        for uuid, port in self._rows["Port"].items():
            if names.parse(port["name"]):
                interface = interfaces[port["name"]]
                guest = self._guests.setdefault(
                    uuid, interface.get("external_ids", {}).get("attached-mac"))
                unit = {column: port[column] for column in UNIT
                        if port.get(column) not in (None, [])}
                found[port["name"]] = Row(uuid, unit, port, interface, guest)
        return found

    def ours(self):
        """The records of our drivers' transactions. (A port that the hook creates is in the stock
        command's transaction.)"""
        return [record for record in self.records if record.comment.startswith(OURS)]

    def units(self, name):
        """All units that a port of this name has had, in order."""
        found = []
        for record in self.records:
            if name in record.after and found[-1:] != [record.after[name].unit]:
                found.append(record.after[name].unit)
        return found

    def check(self, extra=0):
        """Check the rules that every story must keep.

        extra: the number of our transactions that no actor caused, such as at the end of a grace.
        """
        given, cleared, decided = {}, set(), {}
        theirs = removals = 0
        for record in self.records:
            mine = record.comment.startswith(OURS)
            unplugged = self._unplugged(record)
            if unplugged:
                self._check_removed(record, unplugged)
                removals += 1
            elif mine:
                assert record.tables <= {"Port", "Interface"}, (
                    "a table that we never write: %s" % (record,))
                assert set(record.before) == set(record.after)
            theirs += not mine
            for name, row in record.after.items():
                old = record.before.get(name)
                if old is not None and old.uuid != row.uuid:
                    old = None  # deleted and added in one transaction
                if mine:
                    if old != row:
                        self._check_written(record, name, given, cleared, decided)
                elif old is None and any(" %s=" % column in record.comment for column in UNIT):
                    # The hook has appended a unit: a unit that this guest's ports had before, or
                    # the held unit.
                    assert row.unit in given.get(row.guest, []) + [HELD], (record.number, row)
                elif old is None or old.unit != row.unit:
                    decided[row.uuid] = record.number if row.unit or old else -1
                    given.setdefault(row.guest, []).extend([row.unit, released(row.unit)])
                    if old and not row.unit:
                        cleared.add(row.guest)
        # (A removal of ours replaces the stock script's del-port, so it counts as an actor's.)
        ours, theirs = len(self.ours()) - removals, theirs + removals
        assert ours <= theirs + extra, "%d transactions of ours, %d of theirs" % (ours, theirs)

    @staticmethod
    def _unplugged(record):
        """The name of the port that the hook takes off its bridge by this transaction, or None."""
        words = record.comment[len(OURS):].split(" ", 1)
        return words[0] if record.comment.startswith(OURS) and words[1:] == [
            "is unplugged"] else None

    @staticmethod
    def _check_removed(record, name):
        """Check a removal by the hook: one port without an iface-id leaves its Bridge row, and
        nothing else changes (docs/design.md 3, P6)."""
        row = record.before[name]
        assert "iface-id" not in row.interface.get("external_ids", {}), record
        assert record.tables == {"Bridge", "Port", "Interface"}, record
        assert record.after == {other: record.before[other] for other in record.before
                                if other != name}, record
        port = "uuid", row.uuid
        assert any(port in bridge["ports"] for bridge in record.bridges_before.values()), record
        assert record.bridges_after == {
            uuid: dict(bridge, ports=[member for member in bridge["ports"] if member != port])
            for uuid, bridge in record.bridges_before.items()}, record

    def _dies(self, record, name):
        """Whether this transaction of ours is the first of the two by which the hook unplugs a
        port: the port loses iface-id and attached-mac and nothing else, and the port's next change
        is its removal by the hook."""
        old, row = record.before[name], record.after[name]
        kept = {key: value for key, value in old.interface["external_ids"].items()
                if key not in ("iface-id", "attached-mac")}
        following = next((later for later in self.records[record.number + 1:]
                          if later.after.get(name) != row), None)
        return (following is not None and self._unplugged(following) == name
                and row == old._replace(interface=dict(old.interface, external_ids=kept)))

    def _check_written(self, record, name, given, cleared, decided):
        """Check the change of one row by a transaction of ours."""
        old, row = record.before[name], record.after[name]
        domid, devid, _ = names.parse(name)
        sibling = next((other for key, other in record.before.items() if key != name
                        and names.parse(key)[:2] == (domid, devid)), None)
        said = "record %d, %s: %s -> %s beside %s: " % (record.number, name, old, row, sibling)
        for before, after, may in ((old.port, row.port, tuple(UNIT) + ("external_ids",)),
                                   (old.interface, row.interface, ("external_ids",))):
            changed = {column for column in set(before) | set(after)
                       if (before.get(column) or None) != (after.get(column) or None)}
            assert changed <= set(may), said + "this column is never written"
        freed = "held" in old.noted and "held" not in row.noted and row.unit == released(old.unit)
        mended = (is_open_trunk(old.unit) and not old.unit.get("trunks")
                  and dict(old.unit, trunks=row.unit.get("trunks")) == row.unit)
        if old.managed and not (sibling and sibling.managed) and not self._dies(record, name):
            # We may write only our mark, the end of a hold, and lost trunks.
            assert (row.interface == old.interface and row.plain_ids() == old.plain_ids()
                    and (row.unit == old.unit or freed or mended)), (
                        said + "the row is the agent's own")
        if old.unit == row.unit:
            return
        if row.unit == HELD:
            assert "held" in row.noted, said + "the row is held, and its mark does not say so"
            return
        if "held" in old.noted:
            assert row.unit.get("tag") not in (None, 4095), said + "no real tag released it"
        assert row.unit in given[row.guest], said + "no port of its guest ever had that unit"
        if freed or mended:
            return
        assert row.unit or row.guest in cleared, said + "nobody cleared a port of its guest"
        assert sibling and sibling.guest == row.guest, said + "its sibling is another guest's"
        assert row.unit == released(sibling.unit), said + "its sibling has another unit"
        assert sibling.managed or decided.get(row.uuid, -1) <= decided.get(sibling.uuid, -1), (
            said + "the sibling's unit is older than its own")


def released(unit):
    """A unit without the columns that a hold sets beside the tag."""
    return {column: value for column, value in unit.items()
            if HELD.get(column) != value or column == "tag"}


def ask(path, *words):
    """Send a control command by the JSON-RPC of ovs-appctl (ovs-appctl(8)); returns the answer."""
    request = {"id": 0, "method": words[0], "params": words[1:]}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode())
        text = b""
        while True:
            part = connection.recv(1 << 16)
            assert part, "the watcher closed the connection"
            text += part
            with contextlib.suppress(ValueError):
                answer = json.loads(text.decode())
                assert answer["error"] is None, answer
                return answer["result"]


class Host:
    """Two bridges with ports of other guests, a watcher that runs inside the context, and the
    actors.

    config (str): the text of the config file, for the watcher and the hook.
    hook: whether our hook runs the stock scripts.
    paced: whether the watcher handles each transaction of an actor before the actor's next one.
        Otherwise the test waits for the watcher only in settle().
    """

    def __init__(self, ovs, config="", hook=False, release="new", paced=True, iface_ids=None):
        self.ovs = ovs
        self.paced = paced
        self.config = config
        self.watcher = None
        self._watchers = contextlib.ExitStack()
        self.extra = 0  # see History.check
        self.vswitchd = actors.Vswitchd(ovs)
        self.agent = actors.NeutronAgent(ovs, release)
        self.stock = actors.StockScripts(ovs, self.vswitchd, config if hook else None)
        self.libxl = actors.Libxl(ovs, self.vswitchd)
        self.os_vif = actors.OsVif(ovs, self.vswitchd)
        self.sync = actors.OvsXapiSync(ovs, iface_ids)
        self.operator = actors.Operator(ovs)
        ovs.add_bridge("br0")
        ovs.add_bridge("br1")
        others = [actors.Nic(1, "b"), actors.Nic(120, "c"), actors.Nic(12, "d", devid=1)]
        self.others = [other.vif for other in others] + [others[0].tap, others[1].tap]
        ovs.add_many_ports("br0", [
            {"name": name, "external_ids": nic.xapi_ids, "tag": tag, "ofport": 100 + tag}
            for nic, tag in zip(others, (11, 12, 13)) for name in (nic.vif, nic.tap)
            if name in self.others] + [
            {"name": "eth0", "external_ids": actors.Nic(12).xapi_ids}])

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, failed, *_):
        try:
            if not failed:
                self.check()
        finally:
            self._watchers.__exit__(failed, None, None)

    # -- the watcher

    def up(self):
        if self.watcher is None:
            self.watcher = self._watchers.enter_context(Watching(self.ovs, self.config))
        else:
            self.watcher.process.send_signal(signal.SIGCONT)

    def down(self, how):
        """Take the watcher down; how: "stopped", "killed" or "paused". up() brings it back."""
        if how == "paused":
            self.watcher.process.send_signal(signal.SIGSTOP)
            os.waitpid(self.watcher.pid, os.WUNTRACED)  # until it has really stopped
            return
        {"stopped": self.watcher.stop, "killed": self.watcher.kill}[how]()
        self.watcher = None

    @contextlib.contextmanager
    def away(self, how):
        self.down(how)
        yield
        self.up()
        self.settle()

    def settle(self):
        """Wait until the watcher has handled all commits so far. Watching.settle does the same, but
        starts a process; a story settles hundreds of times."""
        answer = ask(self.watcher.socket, "resync")
        assert answer.startswith("done"), "%s\n%s" % (answer, "\n".join(self.watcher.log()))

    def do(self, *acts):
        """Do the steps of these acts, one act after the other, and settle."""
        for steps in acts:
            actors.act(steps, self.settle if self.paced else None)
        self.settle()

    def old_pairs(self, nics, unit, own=None, tap="tap"):
        """Make pairs that have had this unit for long. own: the side whose port is the agent's own,
        in network net-1."""
        rows = []
        for nic in nics:
            for side in ("vif", tap):
                ids, notes = nic.libxl_ids if tap == "emu" else nic.xapi_ids, {}
                if side == own:
                    ids = dict(ids, **{"iface-id": nic.iface_id})
                    notes = {"net_uuid": "net-1", "tag": str(unit["tag"])}
                    self.agent.ports[getattr(nic, side)] = "net-1"
                    self.agent.vlans["net-1"] = unit["tag"]
                rows.append(dict(unit, name=getattr(nic, side), external_ids=ids,
                                 other_config=notes, ofport=1000 + len(rows)))
        self.ovs.add_many_ports("br0", rows)
        self.settle()

    def sync_until_quiet(self):
        """Run ovs-xapi-sync, which wakes at each change, until neither that program nor we
        write."""
        for _ in range(4):
            before = self.count()
            self.do(self.sync.look())
            if self.count() == before:
                return
        raise AssertionError("ovs-xapi-sync and the watcher go on and on:\n"
                             + self.ovs.database_log())

    # -- the rows as they stand

    def unit(self, name):
        row = self.ovs.port(name)
        return {column: row[column] if column in ("trunks", "cvlans") else row[column][0]
                for column in UNIT if row.get(column)}

    def ids(self, name):
        return self.ovs.interface(name)["external_ids"]

    def mark(self, name):
        return mark.parse(self.ovs.port(name)["external_ids"].get(mark.KEY))

    def assert_both(self, nic, unit, tap=None):
        found = self.unit(nic.vif), self.unit(tap or nic.tap)
        assert found == (unit, unit), "%s\n%s" % (found, "\n".join(self.watcher.log()))

    def state(self, nic):
        """The VIF's state by the watcher's own report (docs/design.md 6)."""
        domid, devid, _ = names.parse(nic.vif)
        found = json.loads(ask(self.watcher.socket, "status", "--json"))
        pair, = [pair for pair in found["pairs"]
                 if (pair["domid"], pair["devid"]) == (domid, devid)]
        return pair["state"]

    def interface_version(self, name):
        """The Interface's _version, which changes at each write to the row: a write wakes Neutron's
        agent."""
        return self.ovs.interface(name)["_version"]

    def count(self):
        """The number of transactions so far; the schema's record counts too."""
        with open(self.ovs.database, "rb") as stream:
            return stream.read().count(b"OVSDB JSON ")

    def check_restart(self):
        """Check that an agent that starts now would read the same VLANs from the rows that the
        running agent has."""
        restored = self.agent.restored()
        assert set(restored.items()) <= set(self.agent.vlans.items())
        for port in self.ovs.rows("Port"):
            network = port["other_config"].get("net_uuid")
            if network and "iface-id" in self.ids(port["name"]):
                assert port["tag"] in ([], [4095], [self.agent.vlans.get(network)]), port

    def check(self):
        """Check the rules for the end of every story, and the rules for the whole history."""
        self.settle()
        count = self.count()
        self.settle()
        values = config_file.parse(self.config)[0]
        outcomes = OneShot(Client(self.ovs.remote, LONG), values).look()
        assert not [outcome.decision.changes for outcome in outcomes if outcome.decision.changes]
        assert json.loads(ask(self.watcher.socket, "stats", "--json"))["failed"] == 0
        self.check_restart()
        history = History(self.ovs)
        assert self.count() == count
        now = history.records[-1].after  # the records must lead to the rows as they are
        assert {name: row.unit for name, row in now.items()} == {
            name: self.unit(name) for name in now}
        history.check(self.extra)
        for record in history.ours():
            for name in self.others:
                old, new = record.before[name], record.after[name]
                assert (old.unit, old.interface, old.plain_ids()) == (
                    new.unit, new.interface, new.plain_ids()), record
