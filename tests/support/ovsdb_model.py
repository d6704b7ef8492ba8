"""A model of Open vSwitch's database and of the resident watcher, all in memory.

The model has three properties of OVSDB. A transaction is atomic. A transaction that expects a value
fails where the row has another value. An update brings a monitor to the state after some later
commit, in one step for all commits in between.
"""
from collections import namedtuple

from support.rows import apply
from xenvif_tagger.core import decide, names
from xenvif_tagger.core.decision import Settings
from xenvif_tagger.core.port import Port

# A Port row with its Interface: the arguments of Port. A Row is never changed in place.
Row = namedtuple(
    "Row", "name uuid bridge unit port_ids interface_ids other_config ofport error")
MAPS = ("port_ids", "interface_ids", "other_config")

# A committed transaction. who: the actor; before, after: Port UUID -> Row. The invariants look at
# the journal of commits only.
Commit = namedtuple("Commit", "who before after")
TAGGER = "tagger"


def vif_of(row):
    return names.parse(row.name)[:2]


def side_of(row):
    return names.parse(row.name)[2]


def rows_of(rows, vif):
    """The rows of one VIF, the vif's first."""
    return sorted((row for row in rows.values() if vif_of(row) == vif),
                  key=lambda row: side_of(row) != names.VIF)


def port_of(row, rows):
    """The row as the core sees it, among the rows (dict UUID -> Row) of one moment."""
    tag = row.unit.get("tag")
    networks = {
        Port(**other._asdict()).vlan_network for other in rows.values()
        if tag is not None and other.uuid != row.uuid and other.bridge == row.bridge
        and other.unit.get("tag") == tag and "net_uuid" in other.other_config}
    return Port(rivals=networks - {None}, **row._asdict())


class Reader(object):
    """The rows as they were read at one moment, and writes that are guarded by those rows."""

    def __init__(self, model):
        self.model = model
        self.rows = model.rows

    def read(self, vif):
        """The VIF's ports (list of port.Port) as they stand now."""
        self.rows = self.model.rows
        return [port_of(row, self.rows) for row in rows_of(self.rows, vif)]

    def write(self, decisions):
        """Write the changes of all decisions in one transaction; returns whether it was committed.

        As in a driver, the transaction is guarded by the rows that the decisions were based on, and
        by nothing else: a sibling that appears meanwhile does not make it fail.
        """
        rows = dict(self.model.rows)
        for decision in decisions:
            for port in decision.ports():
                if rows.get(port.uuid) != self.rows[port.uuid]:
                    return False
        for decision in decisions:
            plain = {port.name: rows[port.uuid]._asdict() for port in decision.ports()}
            for row in apply(plain, decision.changes).values():
                rows[row["uuid"]] = Row(**row)
        self.model.record(TAGGER, rows)
        return True


class Model(object):
    """The database. states: list of the rows after each commit (UUID -> Row); the first is
    empty."""

    def __init__(self):
        self.states = [{}]
        self.journal = []

    @property
    def rows(self):
        return self.states[-1]

    def reader(self):
        return Reader(self)

    def record(self, who, rows):
        if rows != self.rows or who == "boot":
            self.journal.append(Commit(who, self.rows, rows))
            self.states.append(rows)

    def commit(self, who, *operations):
        """Do one transaction; returns whether it was committed, also if it changes nothing.

        Each operation is a tuple. As in OVSDB, an operation on a row that is gone does nothing:
        ("expect", UUID, column, value): fail if the row has another value, or is gone;
        ("unit", UUID, {column: value or None}): set and clear columns of the VLAN unit;
        ("map", UUID, column, {key: value or None}): set and remove keys of a map;
        ("opened", UUID, ofport, error): the columns that ovs-vswitchd writes about the device;
        ("insert", {fields of Row without uuid}); ("delete", UUID).
        """
        rows = dict(self.rows)
        for what, where, *more in operations:
            if what == "insert":
                uuid = "port-%d-%d" % (len(self.states), len(rows))
                assert where["name"] not in [row.name for row in rows.values()]
                rows[uuid] = Row(uuid=uuid, **where)
            elif what == "expect":
                if where not in rows or getattr(rows[where], more[0]) != more[1]:
                    return False
            elif where not in rows:
                continue
            elif what == "delete":
                del rows[where]
            elif what == "opened":
                rows[where] = rows[where]._replace(ofport=more[0], error=more[1])
            else:
                column, changed = more if what == "map" else ("unit", more[0])
                values = dict(getattr(rows[where], column), **changed)
                rows[where] = rows[where]._replace(**{
                    column: {key: value for key, value in values.items() if value is not None}})
        self.record(who, rows)
        return True


class Watcher(object):
    """The resident watcher: a replica that lags behind the database, and the core.

    Beside the replica the watcher remembers only its orphans, and whether each grace is over.
    """

    def __init__(self, model, settings):
        self.reader = Reader(model)
        self.settings = settings
        self.at = len(model.states) - 1  # the replica is the state after this many commits
        self.orphans = {}  # UUID of a Port -> whether its grace is over
        self._decided = {}  # vif -> (the inputs of the decision, decision)

    def receive(self, commits=None):
        """Receive the next commits (None: all) in one update."""
        last = len(self.reader.model.states) - 1
        self.at = last if commits is None else min(last, self.at + commits)

    def pass_grace(self):
        """Let the grace of every orphan that the watcher knows be over."""
        self.orphans = dict.fromkeys(self.orphans, True)

    def decide(self):
        """The decisions with changes, of all VIFs in the replica."""
        rows = self.reader.rows = self.reader.model.states[self.at]
        vifs = {}
        for row in rows.values():
            vifs.setdefault(vif_of(row), []).append(row)
        decisions, orphans = [], set()
        over = {uuid for uuid, expired in self.orphans.items() if expired}
        for vif in sorted(vifs):
            expired = over.intersection(row.uuid for row in vifs[vif])
            ports = [port_of(row, rows) for row in vifs[vif]]
            asked = vifs[vif], expired, [port.rivals for port in ports]
            known = self._decided.get(vif)
            if known and known[0] == asked:
                decision = known[1]
            else:
                decision = decide.decide_vif(ports, self.settings, expired=expired)
                self._decided[vif] = asked, decision
            orphans.update(port.uuid for port in decision.orphans)
            if decision.changes:
                decisions.append(decision)
        self.orphans = {uuid: self.orphans.get(uuid, False) for uuid in orphans}
        return decisions

    def look(self):
        """Decide, and write the changes; returns whether there were any.

        The update with our own write arrives before the reply (RFC 7047, 4.1.6). After a lost race
        the update with the other actor's write arrives sooner or later.
        """
        decisions = self.decide()
        if decisions and self.reader.write(decisions):
            self.receive()
        return bool(decisions)


class Pair(object):
    """Two watchers on one lock: one is active and writes, the other stands by with its own
    replica."""

    def __init__(self, model, settings):
        self.model = model
        self.settings = settings
        self.active = Watcher(model, settings)
        self.standby = Watcher(model, settings)

    def restart(self):
        """End the active watcher: the standby takes over, with its replica as it is, and a new
        watcher stands by."""
        self.active, self.standby = self.standby, Watcher(self.model, self.settings)

    def settle(self, limit=20):
        """Let the active watcher look until it writes nothing; returns the number of looks."""
        for looks in range(limit):
            self.active.receive()
            if not self.active.look():
                return looks
        raise AssertionError("the watcher never stops writing")


def settings(boot="boot-0", iface_id="one", hold_bridges=("hold",)):
    return Settings(boot=boot, iface_id=iface_id, hold_bridges=hold_bridges)
