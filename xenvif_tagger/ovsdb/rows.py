"""A VIF port's rows in the server's own notation: Ports made of them, decisions made operations.

What the one-shot driver and the watcher have in common: they differ in how they come by the rows
(dicts, column -> value as in RFC 7047, 5.1, with ``_uuid``) and in how the operations are sent.
"""
from ..core.port import POLICING, Port
from ..core.unit import UNIT

# Every column that a decision is based on. Those that the server's schema lacks are left out:
# cvlans came with Open vSwitch 2.8.
COLUMNS = {
    "Port": ("_uuid", "name", "interfaces", "fake_bridge", "external_ids",
             "other_config") + tuple(UNIT),
    "Interface": ("_uuid", "name", "external_ids", "ofport", "error") + POLICING,
    "Bridge": ("_uuid", "name", "ports"),
}


def port_of(row, interface, bridge):
    """The port.Port of a Port row, its Interface row and the name of its bridge."""
    return Port(row["name"], from_uuid(row["_uuid"]), bridge, unit_of(row),
                from_map(row["external_ids"]), from_map(interface["external_ids"]),
                from_map(row["other_config"]), _atom(interface.get("ofport")),
                _atom(interface.get("error")),
                {column: interface[column] for column in POLICING if column in interface},
                "cvlans" in row)


def own_interface(port, find):
    """The Interface row of a VIF's Port row: its only one, and of the same name. None for a bond,
    which is no VIF's port, and where one of the two rows came or went between two looks.

    :param find: function that gives the Interface row of a UUID (str), or None
    """
    uuids = from_set(port["interfaces"])
    interface = find(from_uuid(uuids[0])) if len(uuids) == 1 else None
    return interface if interface and interface["name"] == port["name"] else None


def vlan_bridges(fakes, find):
    """The names of the VLAN ("fake") bridges, by which ``bridge_name`` finds a port's.

    :param fakes: the Port rows with fake_bridge
    :param find: function that gives the Bridge row that has the Port of a UUID (str), or None
    :returns: dict (UUID of a Bridge, tag) -> name
    """
    found = {}
    for row in fakes:
        bridge = find(from_uuid(row["_uuid"]))
        for tag in from_set(row["tag"]) if bridge else ():
            found[from_uuid(bridge["_uuid"]), tag] = row["name"]
    return found


def bridge_name(port, bridge, on_vlan):
    """The bridge that a Port row is on, as ovs-vsctl has it: a VLAN bridge, if the port has the
    tag of one on its Bridge (openvswitch/ovs utilities/ovs-vsctl.c, vsctl_context_populate_cache).

    :param on_vlan: what ``vlan_bridges`` gives
    """
    name = bridge["name"]
    for tag in from_set(port["tag"]) if on_vlan else ():
        name = on_vlan.get((from_uuid(bridge["_uuid"]), tag), name)
    return name


def _atom(value):
    """The one value of an optional column, or None."""
    found = from_set(value) if value is not None else ()
    return found[0] if found else None


def unit_of(row):
    """The VLAN unit (see core/unit.py) of a Port row as the server sent it."""
    unit = {}
    for column, kind in UNIT.items():
        values = from_set(row.get(column, ["set", []]))
        if values:
            unit[column] = sorted(values) if kind is list else values[0]
    return unit


def operations(decision, rows):
    """The guards and writes of one decision, and a line for the database's log.

    :param decision.Decision decision: what is to be written
    :param rows: dict name -> (Port row, Interface row, Bridge row), those it was based on
    :returns: list of operations (RFC 7047, 5.2)
    """
    made = []
    for port in decision.ports():
        made += guards(rows[port.name])
    touched = []
    for change in decision.changes:
        if (change.table, change.row) not in touched:
            touched.append((change.table, change.row))
    for table, name in touched:
        row = rows[name][0 if table == "Port" else 1]
        made += _writes(table, row["_uuid"], [
            change for change in decision.changes if change[:2] == (table, name)])
    made.append({"op": "comment", "comment": "xenvif-tagger: " + decision.who()})
    return made


def guards(rows):
    """Operations that fail unless a port's three rows are as they were read."""
    row, interface, bridge = rows
    return [_guard("Port", row), _guard("Interface", interface), _guard_bridge(bridge, row)]


def _guard(table, row):
    """Compare-and-set (RFC 7047, 5.2.6): fails unless the row still has the values that we read."""
    # A row of this UUID has had its name from the beginning (vswitch.ovsschema: not mutable).
    values = {column: row[column] for column in COLUMNS[table]
              if column not in ("_uuid", "name") and column in row}
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


# ---- OVSDB's notation of sets, maps and UUIDs in JSON, and back (RFC 7047, 5.1) ------------------
# Atoms (str, int, float, bool, and ["uuid", "..."]) are left as they are.


def from_set(value):
    """The atoms of a set: list. A set of one may be written as its bare atom."""
    if isinstance(value, list) and value[:1] == ["set"]:
        return list(value[1])
    return [value]


def to_set(atoms):
    """The notation of a set of these atoms (any iterable), in the order given."""
    return ["set", list(atoms)]


def from_map(value):
    """The dict that a map's notation stands for. Raises ValueError if it is none."""
    if not isinstance(value, list) or value[:1] != ["map"]:
        raise ValueError("not an OVSDB map: %r" % (value,))
    return dict(value[1])


def to_map(values):
    """The notation of a dict (its keys of one type), sorted: equal dicts are written alike."""
    return ["map", [[key, values[key]] for key in sorted(values)]]


def uuid(text):
    """The notation of a UUID given as str."""
    return ["uuid", text]


def from_uuid(value):
    """The UUID as str. Raises ValueError if the value is none."""
    if not isinstance(value, (list, tuple)) or value[:1] not in (["uuid"], ("uuid",)):
        raise ValueError("not an OVSDB UUID: %r" % (value,))
    return value[1]
