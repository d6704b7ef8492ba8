"""VIF ports read from Open vSwitch's database, and decisions written to it, by the one-shot client.

The reader keeps the rows as the server sent them: they are what a write is guarded with.
"""
import functools

from . import names
from .ovsdb import OperationError, Unreachable
from .ovsdb_value import from_map, from_set, from_uuid, to_map, to_set
from .port import POLICING, UNIT, Port

# Every column that a decision is based on. Those that the server's schema lacks are left out:
# cvlans came with Open vSwitch 2.8.
_COLUMNS = {
    "Port": ("_uuid", "name", "interfaces", "fake_bridge", "external_ids", "other_config") + UNIT,
    "Interface": ("_uuid", "name", "external_ids", "ofport", "error") + POLICING,
    "Bridge": ("_uuid", "name", "ports"),
}


class Unwritten(Exception):
    """A transaction that the database did not take.

    culprit (decide.Decision): the one that it failed of; None where the server does not say.
    lost (bool): somebody has changed what the decision was based on; reason (str).
    """

    def __init__(self, culprit, error):
        Exception.__init__(self, str(error))
        self.culprit = culprit
        self.lost = error.error == "timed out"  # of a wait, RFC 7047, 5.2.6
        self.reason = str(error)


def _understood(method):
    """Turns what comes of rows that are not as Open vSwitch's schema has them into an error."""
    @functools.wraps(method)
    def checked(self, *args):
        try:
            return method(self, *args)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Unreachable("%s: not Open vSwitch's own database, by its answer (%s: %s)" % (
                self.client.remote, type(error).__name__, error))
    return checked


class Vswitch(object):
    """The database behind an ovsdb.Client.

    has_cvlans (bool): its schema has Port.cvlans, as far as rows have been read.
    """

    def __init__(self, client):
        self.client = client
        self.has_cvlans = True
        self._rows = {}

    def _known_columns(self):
        """_COLUMNS without those that the server's schema lacks."""
        schema = self.client.get_schema()
        return {table: [column for column in columns
                        if column == "_uuid" or column in schema[table]]
                for table, columns in _COLUMNS.items()}

    @_understood
    def monitor(self):
        """From now on the client's wait_update() tells of changes that a decision may depend on."""
        self.client.monitor({table: [column for column in columns if column != "_uuid"]
                             for table, columns in self._known_columns().items()})

    @_understood
    def vifs(self, domid=None):
        """The VIFs that have a port: sorted list of (domid, devid), of one domain (int) or all."""
        rows = self._answers([_select("Port", ["name"])])[0][0]
        found = (names.parse(row["name"]) for row in rows)
        return sorted({name[:2] for name in found if name and domid in (None, name[0])})

    @_understood
    def read(self, vifs):
        """Some VIFs' ports: dict (domid, devid) -> list of port.Port. Absent ports are left out."""
        return self._read(vifs, [])[0]

    @_understood
    def read_beside(self, bridge, vif):
        """What a port is plugged beside, in one look: ``(ports, fake)``.

        ports: those of a VIF, (domid, devid), list of port.Port; fake (bool): the bridge (str, its
        name) is a VLAN ("fake") bridge. Every bridge has a port of its own name, and that one says
        so; so has_cvlans is known after this.
        """
        vifs, rows = self._read([vif], [bridge])
        self.has_cvlans = all("cvlans" in row for row in rows)
        return vifs.get(vif, []), any(row["fake_bridge"] for row in rows)

    def _read(self, vifs, others):
        """Some VIFs' ports, as ``read``, and the Port rows of other names.

        Rows come whole, so that no schema need be asked for first: that would take longer than
        all the rest. Only the Ports are looked for by name, which the server does one by one.
        """
        wanted = [name for vif in vifs for name in names.names_of(*vif)]
        found, rows = self._answers(*([_select("Port", None, ["name", "==", name])
                                       for name in group] for group in (wanted, others)))
        ports = [row for rows in found for row in rows]
        tags = sorted({tag for row in ports for tag in from_set(row["tag"])})
        # A port does not say which bridge it is on.
        interfaces, holders, fakes = self._answers(
            [_select("Interface", None, ["_uuid", "==", uuid])
             for row in ports for uuid in from_set(row["interfaces"])],
            [_on_bridge(row) for row in ports],
            [_select("Port", None, ["fake_bridge", "==", True], ["tag", "==", tag])
             for tag in tags])
        fakes = [row for rows in fakes for row in rows]
        holders += self._answers([_on_bridge(row) for row in fakes])[0]
        bridges = {from_uuid(row["_uuid"]): found[0]
                   for row, found in zip(ports + fakes, holders) if found}
        ports = self._join(ports, [row for rows in interfaces for row in rows], fakes, bridges)
        return ports, [row for each in rows for row in each]

    def _answers(self, *groups):
        """The rows that each operation of some lists of selects gives: the same shape."""
        operations = [operation for group in groups for operation in group]
        results = iter(self.client.transact(operations) if operations else ())
        return [[next(results)["rows"] for _ in group] for group in groups]

    @_understood
    def is_unchanged(self, port):
        """Whether a port (port.Port) still is as it was read. By UUIDs: fast at any size."""
        try:
            self.client.transact(self._guards(port))
        except OperationError:
            return False
        return True

    @_understood
    def read_all(self):
        """All VIFs' ports, as ``read``."""
        columns = self._known_columns()
        ports, interfaces, holders = self._answers(
            [_select(table, columns[table]) for table in ("Port", "Interface", "Bridge")])[0]
        bridges = {from_uuid(port): bridge for bridge in holders
                   for port in from_set(bridge["ports"])}
        fakes = [row for row in ports if row["fake_bridge"]]
        return self._join([row for row in ports if names.parse(row["name"])], interfaces, fakes,
                          bridges)

    def _join(self, ports, interfaces, fakes, bridges):
        """Ports from rows as the server sent them; bridges: dict Port UUID -> Bridge row."""
        # ovs-vsctl counts a port as on a VLAN ("fake") bridge when it has that one's tag
        # (openvswitch/ovs utilities/ovs-vsctl.c, vsctl_context_populate_cache).
        on_vlan = {}
        for row in fakes:
            bridge = bridges.get(from_uuid(row["_uuid"]))
            for tag in from_set(row["tag"]):
                if bridge:
                    on_vlan[from_uuid(bridge["_uuid"]), tag] = row["name"]
        by_uuid = {from_uuid(row["_uuid"]): row for row in interfaces}
        vifs = {}
        for row in ports:
            own = from_set(row["interfaces"])
            interface = by_uuid.get(from_uuid(own[0])) if len(own) == 1 else None
            bridge = bridges.get(from_uuid(row["_uuid"]))
            if interface is None or interface["name"] != row["name"] or bridge is None:
                continue  # a bond, or a row that came or went between two looks: no VIF's port
            unit = unit_of(row)
            name = on_vlan.get((from_uuid(bridge["_uuid"]), unit.get("tag")), bridge["name"])
            port = Port(row["name"], from_uuid(row["_uuid"]), name, unit,
                        from_map(row["external_ids"]), from_map(interface["external_ids"]),
                        from_map(row["other_config"]), _atom(interface["ofport"]),
                        _atom(interface["error"]),
                        {column: interface[column] for column in POLICING if column in interface})
            self.has_cvlans = "cvlans" in row
            self._rows[port.name] = (row, interface, bridge)
            vifs.setdefault(names.parse(port.name)[:2], []).append(port)
        return vifs

    def write(self, decisions):
        """Write decisions (list of decide.Decision) in one transaction, or nothing.

        Each is guarded by all that it was based on.

        :raises Unwritten: the database did not take them
        """
        operations, owners = [], []
        for decision in decisions:
            made = self._operations(decision)
            operations += made
            owners += [decision] * len(made)
        try:
            self.client.transact(operations)
        except OperationError as error:
            culprit = None if error.index is None else owners[error.index]
            raise Unwritten(culprit, error)

    def _guards(self, port):
        """Operations that fail unless all rows that a Port was read from are as they were."""
        row, interface, bridge = self._rows[port.name]
        return [_guard("Port", row), _guard("Interface", interface), _guard_bridge(bridge, row)]

    def _operations(self, decision):
        """The guards and writes of one decision."""
        operations = []
        for port in decision.ports():
            operations += self._guards(port)
        touched = []
        for change in decision.changes:
            if (change.table, change.row) not in touched:
                touched.append((change.table, change.row))
        for table, name in touched:
            row = self._rows[name][0 if table == "Port" else 1]
            operations += _writes(table, row["_uuid"], [
                change for change in decision.changes if change[:2] == (table, name)])
        who = "%s -> %s" % (decision.source, decision.target) if decision.target else ", ".join(
            port.name for port in decision.ports())
        operations.append({"op": "comment", "comment": "xenvif-tagger: " + who})
        return operations


def _atom(value):
    """The one value of an optional column, or None."""
    found = from_set(value)
    return found[0] if found else None


def unit_of(row):
    """The VLAN unit (see port.py) of a Port row as the server sent it."""
    unit = {}
    for column in UNIT:
        values = from_set(row.get(column, ["set", []]))
        if values:
            unit[column] = sorted(values) if column in ("trunks", "cvlans") else values[0]
    return unit


def _select(table, columns, *where):
    """A select of columns (None: all) of the rows that fulfil all of where."""
    operation = {"op": "select", "table": table, "where": list(where)}
    if columns is not None:
        operation["columns"] = columns
    return operation


def _on_bridge(port):
    """The select of the bridge that has a port."""
    return _select("Bridge", ["_uuid", "name"], ["ports", "includes", port["_uuid"]])


def _guard(table, row):
    """Compare-and-set (RFC 7047, 5.2.6): fails unless the row still has the values that we read."""
    values = {column: row[column] for column in _COLUMNS[table]
              if column != "_uuid" and column in row}
    return {"op": "wait", "table": table, "where": [["_uuid", "==", row["_uuid"]]], "timeout": 0,
            "columns": sorted(values), "until": "==", "rows": [values]}


def _guard_bridge(bridge, port):
    """Fails unless the port is still on the bridge."""
    return {"op": "wait", "table": "Bridge", "timeout": 0, "columns": ["name"], "until": "==",
            "where": [["_uuid", "==", bridge["_uuid"]], ["ports", "includes", port["_uuid"]]],
            "rows": [{"name": bridge["name"]}]}


def _writes(table, row_uuid, changes):
    """The operations that make changes (of one row): one update, one mutate."""
    where = [["_uuid", "==", row_uuid]]
    columns = {}
    gone, new = [], {}
    for change in changes:
        if change.key is None:
            value = change.new
            if value is None or isinstance(value, list):
                value = to_set(value or [])
            columns[change.column] = value
        else:
            if change.old is not None:
                gone.append(change.key)
            if change.new is not None:
                new[change.key] = change.new
    operations = []
    if columns:
        operations.append({"op": "update", "table": table, "where": where, "row": columns})
    mutations = []
    if gone:
        # "insert" leaves a key that is there as it was (RFC 7047, 5.1): so out with it first.
        mutations.append(["external_ids", "delete", to_set(gone)])
    if new:
        mutations.append(["external_ids", "insert", to_map(new)])
    if mutations:
        operations.append({"op": "mutate", "table": table, "where": where, "mutations": mutations})
    return operations
