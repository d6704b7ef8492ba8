"""The actors of the model on a real ovsdb-server with two real watchers, and the invariants of
support/invariants.py. Each example has domids of its own; its journal is read from the server's
log.
"""
import json
import os

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from support import model_actors as actors
from support.constants import LONG
from support.invariants import LOOK, NAMES, STEP, check, kinds_of
from support.model_actors import HOSTS, World, begin, quiesce
from support.ovsdb_model import MAPS, TAGGER, Commit, Row
from support.ovsdb_model import settings as core_settings
from support.private_ovs import PrivateOvs, to_map
from support.watching import Watching
from xenvif_tagger.core import names
from xenvif_tagger.core.names import SIDES
from xenvif_tagger.core.unit import UNIT
from xenvif_tagger.ovsdb import oneshot
from xenvif_tagger.ovsdb.client import Client, OperationError
from xenvif_tagger.ovsdb.vswitch import Unwritten, Vswitch

COLUMNS = {"port_ids": ("Port", "external_ids"), "interface_ids": ("Interface", "external_ids"),
           "other_config": ("Port", "other_config")}
WHO = "actor "  # the beginning of the comment of each actor's commit
OPTIONAL = ("tag", "vlan_mode", "ofport", "error")


def values_of(value):
    """A column's value in Python: a dict, or a sorted list of the members of the set."""
    if isinstance(value, list) and value[:1] == ["map"]:
        return dict(value[1])
    found = value[1] if isinstance(value, list) and value[:1] == ["set"] else [value]
    return sorted(item[1] if isinstance(item, list) else item for item in found)


def patched(column, old, new):
    """A column's value (see values_of) after the difference `new` in the server's log."""
    if isinstance(new, dict):
        return {key: value for key, value in dict(old, **new).items()
                if old.get(key) != new.get(key)}
    return new if column in OPTIONAL else sorted(set(old) ^ set(new))


class Tables(object):
    """The tables as the server's log has them: table -> UUID -> column -> value (see values_of)."""

    def __init__(self):
        self.rows = {"Port": {}, "Interface": {}, "Bridge": {}}

    def take(self, record):
        for table, rows in self.rows.items():
            for uuid, columns in record.get(table, {}).items():
                if columns is None:
                    del rows[uuid]
                    continue
                known = rows.setdefault(uuid, {})
                for column, value in columns.items():
                    value = values_of(value)
                    if record.get("_is_diff") and column in known:
                        value = patched(column, known[column], value)
                    known[column] = value

    def vifs(self, first):
        """The rows of the domids from `first` on: dict Port UUID -> Row."""
        holders = {port: bridge["name"][0] for bridge in self.rows["Bridge"].values()
                   for port in bridge.get("ports", ())}
        found = {}
        for uuid, port in self.rows["Port"].items():
            parsed = names.parse(port["name"][0])
            if parsed is None or parsed[0] < first or uuid not in holders:
                continue
            interface = self.rows["Interface"][port["interfaces"][0]]
            unit = {column: port[column] if column.endswith("s") else port[column][0]
                    for column in UNIT if port.get(column)}
            found[uuid] = Row(
                port["name"][0], uuid, holders[uuid], unit, port.get("external_ids") or {},
                interface.get("external_ids") or {}, port.get("other_config") or {},
                (interface.get("ofport") or [None])[0], (interface.get("error") or [None])[0])
        return found


class Reader(object):
    """See ovsdb_model.Reader: with the plug hook's own reader and writer."""

    def __init__(self, client):
        self.vswitch = Vswitch(client)

    def read(self, vif):
        return self.vswitch.read([vif]).get(vif, [])

    def write(self, decisions):
        try:
            self.vswitch.write(decisions)
        except Unwritten as error:
            assert error.lost, error
            return False
        return True


class Database(object):
    """A real ovsdb-server, with the methods of ovsdb_model.Model."""

    def __init__(self, ovs):
        self.ovs = ovs
        self.client = Client(ovs.remote, LONG)
        self.first = 0
        self.journal = []
        self._log = open(ovs.database, "rb")
        self._tables = Tables()

    def close(self):
        self._log.close()
        self.client.close()

    @property
    def rows(self):
        self.read_log()
        return self._tables.vifs(self.first)

    def begin(self, first):
        """Begin a new example, with domids from `first` on."""
        self.read_log()
        self.first, self.journal = first, []

    def read_log(self):
        """Take the new commits from the server's log: the server writes a commit to the log before
        it sends its answer."""
        while True:
            at = self._log.tell()
            header = self._log.readline().split()
            if len(header) < 4:
                self._log.seek(at)
                return
            text = self._log.read(int(header[2]))
            if len(text) < int(header[2]):
                self._log.seek(at)
                return
            record = json.loads(text.decode())
            if "_date" not in record:
                continue  # the schema
            before = self._tables.vifs(self.first)
            self._tables.take(record)
            after = self._tables.vifs(self.first)
            comment = record.get("_comment", "")
            who = comment[len(WHO):] if comment.startswith(WHO) else TAGGER
            if before != after:
                self.journal.append(Commit(who, before, after))

    def reader(self):
        return Reader(self.client)

    def commit(self, who, *operations):
        """As ovsdb_model.Model.commit."""
        rows = self.rows
        made = [{"op": "comment", "comment": WHO + who}]
        for what, where, *more in operations:
            if what == "insert":
                made += self._insert(where)
            elif where not in rows:
                if what == "expect":
                    return False
            elif what == "delete":
                made.append({"op": "mutate", "table": "Bridge", "where": [],
                             "mutations": [["ports", "delete", ["uuid", where]]]})
            else:
                made += self._change(what, where, *more)
        try:
            self.client.transact(made)
        except OperationError as error:
            assert error.error == "timed out", error
            return False
        return True

    def _where(self, table, port):
        uuid = port if table == "Port" else self._tables.rows["Port"][port]["interfaces"][0]
        return {"table": table, "where": [["_uuid", "==", ["uuid", uuid]]]}

    def _change(self, what, port, *more):
        if what == "unit":
            row = {column: ["set", [] if value is None else value] if (
                value is None or isinstance(value, list)) else value
                for column, value in more[0].items()}
            return [dict(self._where("Port", port), op="update", row=row)]
        if what == "opened":
            row = {"ofport": more[0], "error": ["set", [more[1]] if more[1] else []]}
            return [dict(self._where("Interface", port), op="update", row=row)]
        assert more[0] in MAPS
        table, column = COLUMNS[more[0]]
        where = self._where(table, port)
        if what == "expect":
            return [dict(where, op="wait", timeout=0, columns=[column], until="==",
                         rows=[{column: to_map(more[1])}])]
        kept = {key: value for key, value in more[1].items() if value is not None}
        return [dict(where, op="mutate", mutations=[
            [column, "delete", ["set", sorted(more[1])]], [column, "insert", to_map(kept)]])]

    def _insert(self, row):
        port = dict({column: ["set", value] if isinstance(value, list) else value
                     for column, value in row["unit"].items()},
                    name=row["name"], interfaces=["named-uuid", "i"],
                    external_ids=to_map(row["port_ids"]))
        return [
            {"op": "insert", "table": "Interface", "uuid-name": "i",
             "row": {"name": row["name"], "external_ids": to_map(row["interface_ids"])}},
            {"op": "insert", "table": "Port", "uuid-name": "p", "row": port},
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", row["bridge"]]],
             "mutations": [["ports", "insert", ["named-uuid", "p"]]]}]


class Host(object):
    """An ovsdb-server and two watchers, one of which writes."""

    def __init__(self, ovs, iface_id):
        self.ovs = ovs
        self.iface_id = iface_id
        for bridge in (actors.OPEN, actors.HOLD):
            ovs.add_bridge(bridge)
        self.config = "[mirror]\niface_id = %s\n[hold]\nbridges = %s\norphan_grace = 86400\n" % (
            iface_id, actors.HOLD)
        self.db = Database(ovs)
        self.watchers = []
        self.domid = 100

    def watch(self):
        self.watchers.append(Watching(self.ovs, self.config))
        self.watchers[-1].__enter__()

    def restart(self):
        """Kill the watcher that writes, and start a new one."""
        dead = self.watchers.pop(0)
        dead.kill()
        dead.__exit__(None, None, None)
        self.watch()

    def settle(self):
        self.watchers[0].until(lambda: self.watchers[0].stats()["lock"] == "held")
        self.watchers[0].settle()

    def close(self):
        for watcher in self.watchers:
            watcher.__exit__(None, None, None)
        self.db.close()


@pytest.fixture(scope="module", params=["one", "both"])
def host(request):
    with PrivateOvs() as ovs:
        found = Host(ovs, request.param)
        try:
            found.watch()
            found.settle()  # the first watcher has the lock
            found.watch()
            yield found
        finally:
            found.close()


@st.composite
def programs(draw):
    kinds = draw(kinds_of(NAMES))
    slots = draw(st.sampled_from([[0], [1], [0, 1, 2]]))
    step = st.tuples(st.sampled_from(kinds * (6 // len(kinds)) + [LOOK] + [STEP] * 4),
                     st.sampled_from(slots), st.sampled_from(SIDES), st.integers(0, 11))
    return (draw(st.sampled_from(HOSTS)), draw(st.integers(0, 3)),
            draw(st.lists(step, max_size=30)), draw(st.sampled_from([None] * 9 + [3])))


def run(host, program):
    kind, begun, acts, restart = program
    host.domid += 10
    host.db.begin(host.domid)
    world = World(host.db, core_settings(oneshot.boot_id(), host.iface_id, [actors.HOLD]), kind,
                  host.domid)
    begin(world, begun, host.settle)
    for number, (what, slot, side, choice) in enumerate(acts):
        if number == restart:
            host.restart()
        if what == STEP:
            world.step(choice)
        elif what != LOOK:
            world.start(getattr(actors, what), slot, side, choice)
        elif choice > 5:
            host.settle()
    quiesce(world, host.settle)
    check(world, host.db.journal, host.db.rows)
    count = len(host.db.journal)
    host.settle()
    assert host.db.rows and len(host.db.journal) == count or not host.db.rows
    for row in host.db.rows.values():
        host.db.commit("test", ("delete", row.uuid))


# Set EXAMPLES=1000 in the environment for a long search. Hypothesis can't shrink an example that
# fails here, because the watchers run at their own speed. The failure prints the example's journal;
# test_watch_model.py finds the smallest example.
@hypothesis_settings(
    max_examples=int(os.environ.get("EXAMPLES", "25")), database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck))
@given(program=programs())
def test_the_invariants_hold_after_a_random_history_on_a_real_server(host, program):
    run(host, program)
