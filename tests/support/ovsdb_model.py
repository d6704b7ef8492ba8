"""A model of Open vSwitch's database and of the resident watcher on it, all in memory.

What counts of OVSDB: transactions are atomic, some fail where what they expect is not so, and who
watches gets the state as of some later commit, the commits in between in one piece.
"""
from collections import namedtuple

from support.rows import apply
from xenvif_tagger.core import decide, names
from xenvif_tagger.core.decision import Settings
from xenvif_tagger.core.port import Port

# A Port row with its Interface, as Port's constructor takes it. Never changed in place.
Row = namedtuple(
    "Row", "name uuid bridge unit port_ids interface_ids other_config ofport error")
MAPS = ("port_ids", "interface_ids", "other_config")

# A committed transaction. who: which actor; before, after: dict Port UUID -> Row. The journal of
# these is all that the invariants look at.
Commit = namedtuple("Commit", "who before after")
TAGGER = "tagger"


def vif_of(row):
    return names.parse(row.name)[:2]


def side_of(row):
    return names.parse(row.name)[2]


def rows_of(rows, vif):
    """Those of one VIF, the vif's first."""
    return sorted((row for row in rows.values() if vif_of(row) == vif),
                  key=lambda row: side_of(row) != names.VIF)


def port_of(row):
    return Port(**row._asdict())


class Reader(object):
    """Rows as read at one moment, and writes that are guarded by them."""

    def __init__(self, model):
        self.model = model
        self.rows = model.rows

    def read(self, vif):
        """The VIF's ports (list of port.Port) as they stand now."""
        self.rows = self.model.rows
        return [port_of(row) for row in rows_of(self.rows, vif)]

    def write(self, decisions):
        """Make the decisions' changes, all or nothing; whether it was done.

        What a driver guards: the rows that a decision was based on, and nothing else. (A sibling
        that appears meanwhile is not among them.)
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
    """The database. states: the rows after each commit (dict UUID -> Row), the first one empty."""

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
        """One transaction; whether it was committed (which it is too if it changes nothing).

        The operations, each a tuple; one on a row that is gone does nothing, as in OVSDB:
        ("expect", UUID, column, value): fail if the row has not this, or is gone;
        ("unit", UUID, {column: value or None}): set and clear columns of the VLAN unit;
        ("map", UUID, column, {key: value or None}): set and remove keys of a map;
        ("opened", UUID, ofport, error): what ovs-vswitchd says of the device;
        ("insert", {Row's fields, but no uuid}), ("delete", UUID).
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
    """The resident watcher: a replica that lags behind, and the core.

    Its only memory beside the replica: since when it has seen an orphan.
    """

    def __init__(self, model, settings):
        self.reader = Reader(model)
        self.settings = settings
        self.at = len(model.states) - 1  # the replica is the state after this many commits
        self.orphans = {}  # vif -> [UUID, expired]
        self._decided = {}  # vif -> (rows, expired, decision)

    def receive(self, commits=None):
        """Get what the next commits (None: all) brought, in one update."""
        last = len(self.reader.model.states) - 1
        self.at = last if commits is None else min(last, self.at + commits)

    def pass_grace(self):
        """The grace of every orphan that it knows is over."""
        for noted in self.orphans.values():
            noted[1] = True

    def decide(self):
        """The decisions, of all VIFs in the replica, that say that something is to be written."""
        rows = self.reader.rows = self.reader.model.states[self.at]
        vifs = {}
        for row in rows.values():
            vifs.setdefault(vif_of(row), []).append(row)
        self.orphans = {vif: noted for vif, noted in self.orphans.items()
                        if [row.uuid for row in vifs.get(vif, ())] == noted[:1]}
        decisions = []
        for vif in sorted(vifs):
            expired = self.orphans.get(vif, [None, False])[1]
            known = self._decided.get(vif)
            if known and known[0] == vifs[vif] and known[1] == expired:
                decision = known[2]
            else:
                ports = [port_of(row) for row in vifs[vif]]
                decision = decide.decide_vif(ports, self.settings, expired=expired)
                self._decided[vif] = vifs[vif], expired, decision
            if decision.state == decide.ORPHAN:
                self.orphans.setdefault(vif, [vifs[vif][0].uuid, False])
            if decision.changes:
                decisions.append(decision)
        return decisions

    def look(self):
        """Decide and write what is to be written; whether there was anything.

        Own writes come back before the reply does (RFC 7047, 4.1.6); after a lost race the news
        that made it lose come, sooner or later.
        """
        decisions = self.decide()
        if decisions and self.reader.write(decisions):
            self.receive()
        return bool(decisions)


class Pair(object):
    """Two watchers on one lock: one writes, the other stands by with a replica of its own."""

    def __init__(self, model, settings):
        self.model = model
        self.settings = settings
        self.active = Watcher(model, settings)
        self.standby = Watcher(model, settings)

    def restart(self):
        """The active one ends: the other takes over, however far it is, and a new one begins."""
        self.active, self.standby = self.standby, Watcher(self.model, self.settings)

    def settle(self, limit=20):
        """Let the active one run until it writes nothing; how many looks it took."""
        for looks in range(limit):
            self.active.receive()
            if not self.active.look():
                return looks
        raise AssertionError("the watcher never stops writing")


def settings(boot="boot-0", iface_id="one", hold_bridges=("hold",)):
    return Settings(boot=boot, iface_id=iface_id, hold_bridges=hold_bridges)
