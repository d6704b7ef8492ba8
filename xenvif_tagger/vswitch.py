"""VIF ports read from Open vSwitch's database, and decisions written to it, by the one-shot client.

The reader keeps the rows as the server sent them: they are what a write is guarded with.
"""
from . import names
from .ovsdb import OperationError
from .ovsdb_value import from_map, from_set, from_uuid, to_map, to_set
from .port import POLICING, UNIT, Port

# Every column that a decision is based on. Those that the server's schema lacks are left out:
# cvlans came with Open vSwitch 2.8.
_PORT = ("_uuid", "name", "interfaces", "fake_bridge", "external_ids", "other_config") + UNIT
_INTERFACE = ("_uuid", "name", "external_ids", "ofport", "error") + POLICING
MONITORED = {
    "Port": ("tag", "vlan_mode", "trunks", "cvlans", "external_ids", "other_config"),
    "Interface": ("external_ids", "ofport", "error") + POLICING,
    "Bridge": ("ports",),
}
# Pairs in one transaction: some 10 operations each.
BATCH = 500


class Unwritten(Exception):
    """A decision that the database did not take: lost (bool), it was a lost race; reason (str)."""

    def __init__(self, lost, reason):
        Exception.__init__(self, reason)
        self.lost = lost
        self.reason = reason


class Vswitch(object):
    """The database behind an ovsdb.Client.

    has_cvlans (bool): its schema has Port.cvlans.
    """

    def __init__(self, client):
        self.client = client
        schema = client.get_schema()
        self._schema = {table: schema.get(table, set()) for table in MONITORED}
        self.has_cvlans = "cvlans" in self._schema["Port"]
        self._rows = {}

    def _columns(self, table, wanted):
        return [column for column in wanted
                if column == "_uuid" or column in self._schema[table]]

    def _select(self, table, wanted, where=()):
        return {"op": "select", "table": table, "where": list(where),
                "columns": self._columns(table, wanted)}

    def monitor(self):
        """From now on the client's wait_update() tells of changes that a decision may depend on."""
        self.client.monitor({table: self._columns(table, columns)
                             for table, columns in MONITORED.items()})

    def vifs(self, domid=None):
        """The VIFs that have a port: sorted list of (domid, devid), of one domain (int) or all."""
        result = self.client.transact([self._select("Port", ("name",))])
        found = (names.parse(row["name"]) for row in result[0]["rows"])
        return sorted({name[:2] for name in found if name and domid in (None, name[0])})

    def read(self, vifs):
        """Some VIFs' ports: dict (domid, devid) -> list of port.Port. Absent ports are left out."""
        wanted = [name for vif in vifs for name in names.names_of(*vif)]
        operations = [self._select(table, columns, [["name", "==", name]]) for name in wanted
                      for table, columns in (("Port", _PORT), ("Interface", _INTERFACE))]
        operations.append(self._select("Port", _PORT, [["fake_bridge", "==", True]]))
        results = [result["rows"] for result in self.client.transact(operations)]
        ports = [row for rows in results[0:-1:2] for row in rows]
        interfaces = [row for rows in results[1:-1:2] for row in rows]
        tags = {tag for row in ports for tag in from_set(row["tag"])}
        fakes = [row for row in results[-1] if tags.intersection(from_set(row["tag"]))]
        # A port does not say which bridge it is on.
        holders = self.client.transact([
            self._select("Bridge", ("_uuid", "name"), [["ports", "includes", row["_uuid"]]])
            for row in ports + fakes]) if ports else []
        bridges = {}
        for row, result in zip(ports + fakes, holders):
            for bridge in result["rows"]:
                bridges[from_uuid(row["_uuid"])] = bridge
        return self._join(ports, interfaces, fakes, bridges)

    def read_all(self):
        """All VIFs' ports, as ``read``."""
        results = self.client.transact([
            self._select("Port", _PORT), self._select("Interface", _INTERFACE),
            self._select("Bridge", ("_uuid", "name", "ports"))])
        ports, interfaces, holders = (result["rows"] for result in results)
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
            self._rows[port.name] = (row, interface, bridge)
            vifs.setdefault(names.parse(port.name)[:2], []).append(port)
        return vifs

    def write(self, decisions):
        """Write decisions (list of decide.Decision), up to BATCH of them in one transaction.

        Each is guarded by all that it was based on. One that fails does not hold up the others.

        :returns: those that were not written: list of (decision, Unwritten)
        """
        failed = []
        todo = [decisions[at:at + BATCH] for at in range(0, len(decisions), BATCH)]
        while todo:
            batch = todo.pop()
            operations, owners = [], []
            for decision in batch:
                made = self._operations(decision)
                operations += made
                owners += [decision] * len(made)
            try:
                self.client.transact(operations)
            except OperationError as error:
                if error.index is None and len(batch) > 1:
                    # The commit failed: which of them it was, only halving tells.
                    todo += [batch[:len(batch) // 2], batch[len(batch) // 2:]]
                    continue
                culprit = batch[0] if error.index is None else owners[error.index]
                failed.append((culprit, Unwritten(error.error == "timed out", str(error))))
                rest = [decision for decision in batch if decision is not culprit]
                if rest:
                    todo.append(rest)
        return failed

    def _operations(self, decision):
        """The guards and writes of one decision."""
        operations = []
        for port in decision.ports():
            row, interface, bridge = self._rows[port.name]
            operations += [_guard("Port", row), _guard("Interface", interface),
                           _guard_bridge(bridge, row)]
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


def _guard(table, row):
    """Compare-and-set (RFC 7047, 5.2.6): fails unless the row still has the values that we read."""
    values = {column: value for column, value in row.items() if column != "_uuid"}
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
