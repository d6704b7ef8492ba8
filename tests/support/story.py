"""A host with a watcher and all the actors, for stories; and all that was ever written to it.

The database's own file has every transaction, nothing coalesced: whatever happened in between is
held against what may happen when the host is left (History.check).
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
from support.constants import HELD
from support.watching import PATIENCE, Watching
from xenvif_tagger.core import mark, names
from xenvif_tagger.core.unit import UNIT, is_open_trunk
from xenvif_tagger.host import config as config_file
from xenvif_tagger.ovsdb.client import Client
from xenvif_tagger.ovsdb.oneshot import OneShot

HOLD = "[hold]\nbridges = br0\n"
OURS = "xenvif-tagger: "

# comment; ports before and after: name -> row; tables written (set)
Record = namedtuple("Record", "number comment before after tables")


def ways(arguments, *axes):
    """Parametrize over all combinations of axes, and `paced` in turn: each value of an axis comes
    with both where there are two axes or more."""
    rows = product(*(list(enumerate(axis)) for axis in axes))
    return pytest.mark.parametrize(arguments + ", paced", [
        tuple(value for _, value in row) + (sum(number for number, _ in row) % 2 == 0,)
        for row in rows])


class Row(namedtuple("Row", "uuid unit port interface guest")):
    """A Port as it stood: its VLAN unit, both rows' columns, and whose it was when it was made."""

    @property
    def noted(self):
        return mark.parse(self.port.get("external_ids", {}).get(mark.KEY))

    @property
    def managed(self):
        return ("net_uuid" in self.port.get("other_config", {})
                and "iface-id" in self.interface.get("external_ids", {}))

    def plain_ids(self):
        """The Port's external_ids but our mark."""
        return {key: value for key, value in self.port.get("external_ids", {}).items()
                if key != mark.KEY}


def read_log(path):
    """The JSON of each transaction in a database file (ovsdb(5), Standalone Database Log)."""
    with open(path, "rb") as stream:
        for line in stream:
            assert line.startswith(b"OVSDB JSON "), line
            yield json.loads(stream.read(int(line.split()[2])).decode())


class History:
    """All transactions of a PrivateOvs so far; a row is followed from its first one on."""

    def __init__(self, ovs):
        self._columns = {table: ovs.schema["tables"][table]["columns"]
                         for table in ("Port", "Interface")}
        self._rows = {"Port": {}, "Interface": {}}
        self._guests = {}
        self.records = []
        log = read_log(ovs.database)
        next(log)  # the schema
        before = {}
        for number, record in enumerate(log):
            for table in self._rows:
                for uuid, changes in record.get(table, {}).items():
                    self._apply(table, uuid, changes, record.get("_is_diff"))
            after = self._ports()
            self.records.append(Record(number, record.get("_comment", ""), before, after, {
                key for key in record if not key.startswith("_")}))
            before = after

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
                if is_diff:  # what is the same in both goes
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
        """The records that our drivers wrote; a birth by the hook is in the stock command's."""
        return [record for record in self.records if record.comment.startswith(OURS)]

    def units(self, name):
        """All the units that a port of this name has had, in order."""
        found = []
        for record in self.records:
            if name in record.after and found[-1:] != [record.after[name].unit]:
                found.append(record.after[name].unit)
        return found

    def check(self, extra=0):
        """What must hold of any story.

        extra: how many of our writes no actor has caused (a grace that was over).
        """
        given, cleared, decided = {}, set(), {}
        theirs = 0
        for record in self.records:
            mine = record.comment.startswith(OURS)
            if mine:
                assert record.tables <= {"Port", "Interface"}, "what is no port's: %s" % (record,)
                assert set(record.before) == set(record.after)
            theirs += not mine
            for name, row in record.after.items():
                old = record.before.get(name)
                if old is not None and old.uuid != row.uuid:
                    old = None  # made anew in one transaction
                if mine:
                    if old != row:
                        self._check_written(record, name, given, cleared, decided)
                elif old is None and any(" %s=" % column in record.comment for column in UNIT):
                    # Born with what the hook has appended: its guest's already, or closed.
                    assert row.unit in given.get(row.guest, []) + [HELD], (record.number, row)
                elif old is None or old.unit != row.unit:
                    decided[row.uuid] = record.number if row.unit or old else -1
                    given.setdefault(row.guest, []).extend([row.unit, released(row.unit)])
                    if old and not row.unit:
                        cleared.add(row.guest)
        assert len(self.ours()) <= theirs + extra, "%d transactions of ours, %d of theirs" % (
            len(self.ours()), theirs)

    @staticmethod
    def _check_written(record, name, given, cleared, decided):
        """Our own transaction on one row."""
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
        if old.managed and not (sibling and sibling.managed):
            # Nothing but our mark, what the hold had put there, lost trunks.
            assert (row.interface == old.interface and row.plain_ids() == old.plain_ids()
                    and (row.unit == old.unit or freed or mended)), said + "it is the agent's own"
        if old.unit == row.unit:
            return
        if row.unit == HELD:
            assert "held" in row.noted, said + "nothing says that it is held"
            return
        if "held" in old.noted:
            assert row.unit.get("tag") not in (None, 4095), said + "it was held"
        assert row.unit in given[row.guest], said + "that was given to nobody of its guest's"
        if freed or mended:
            return
        assert row.unit or row.guest in cleared, said + "it was cleared by nobody"
        assert sibling and sibling.guest == row.guest, said + "that is another guest's"
        assert row.unit == released(sibling.unit), said + "its sibling has another one"
        assert sibling.managed or decided.get(row.uuid, -1) <= decided.get(sibling.uuid, -1), (
            said + "that is older than what it had")


def released(unit):
    """A unit without what a hold sets beside the tag."""
    return {column: value for column, value in unit.items()
            if HELD.get(column) != value or column == "tag"}


def ask(path, *words):
    """The answer to a control command, over the JSON-RPC that ovs-appctl speaks (ovs-appctl(8))."""
    request = {"id": 0, "method": words[0], "params": words[1:]}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode())
        text = b""
        while True:
            part = connection.recv(1 << 16)
            assert part, "it closed the connection"
            text += part
            with contextlib.suppress(ValueError):
                answer = json.loads(text.decode())
                assert answer["error"] is None, answer
                return answer["result"]


class Host:
    """Two bridges with other guests' ports, a watcher that runs when entered, and the actors.

    config (str): the config file of the watcher, and of the hook; hook: the stock scripts are run
    by our hook; paced: the watcher has looked after each transaction, else only where told.
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
        """how: "stopped", "killed" or "paused"; up() is the way back."""
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
        """The watcher has dealt with all that was committed so far. As Watching.settle, without a
        process for each: stories have hundreds."""
        answer = ask(self.watcher.socket, "resync")
        assert answer.startswith("done"), "%s\n%s" % (answer, "\n".join(self.watcher.log()))

    def do(self, *acts):
        """The steps of each, one after the other; then the watcher has dealt with all of it."""
        for steps in acts:
            actors.act(steps, self.settle if self.paced else None)
        self.settle()

    def old_pairs(self, nics, unit, own=None, tap="tap"):
        """Pairs that have been there for long, with this unit; own: the side that is the agent's
        port, all of net-1."""
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
        """ovs-xapi-sync is woken by each change; it and we must come to an end."""
        for _ in range(4):
            before = self.count()
            self.do(self.sync.look())
            if self.count() == before:
                return
        raise AssertionError("ovs-xapi-sync and the watcher go on and on:\n"
                             + self.ovs.database_log())

    # -- what stands

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
        """The VIF's state as the watcher says it (docs/design.md 6)."""
        domid, devid, _ = names.parse(nic.vif)
        found = json.loads(ask(self.watcher.socket, "status", "--json"))
        pair, = [pair for pair in found["pairs"]
                 if (pair["domid"], pair["devid"]) == (domid, devid)]
        return pair["state"]

    def interface_version(self, name):
        """Changes with any write to the Interface row, which Neutron's agent takes for news."""
        return self.ovs.interface(name)["_version"]

    def count(self):
        """The number of transactions so far, the schema's record included."""
        with open(self.ovs.database, "rb") as stream:
            return stream.read().count(b"OVSDB JSON ")

    def check_restart(self):
        """What an agent that starts now would believe of any row is what this one knows."""
        restored = self.agent.restored()
        assert set(restored.items()) <= set(self.agent.vlans.items())
        for port in self.ovs.rows("Port"):
            network = port["other_config"].get("net_uuid")
            if network and "iface-id" in self.ids(port["name"]):
                assert port["tag"] in ([], [4095], [self.agent.vlans.get(network)]), port

    def check(self):
        """What must hold at the end of any story, and of all that was before."""
        self.settle()
        count = self.count()
        self.settle()
        values = config_file.parse(self.config)[0]
        outcomes = OneShot(Client(self.ovs.remote, 30), values).look()
        assert not [outcome.decision.changes for outcome in outcomes if outcome.decision.changes]
        assert json.loads(ask(self.watcher.socket, "stats", "--json"))["failed"] == 0
        self.check_restart()
        history = History(self.ovs)
        assert self.count() == count
        now = history.records[-1].after  # as we read the log, it leads to what there is
        assert {name: row.unit for name, row in now.items()} == {
            name: self.unit(name) for name in now}
        history.check(self.extra)
        for record in history.ours():
            for name in self.others:
                old, new = record.before[name], record.after[name]
                assert (old.unit, old.interface, old.plain_ids()) == (
                    new.unit, new.interface, new.plain_ids()), record
