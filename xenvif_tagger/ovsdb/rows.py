"""The rows of a VIF's port in the server's notation: how a Port is made of these rows, and how a
Decision becomes operations on these rows.

The one-shot driver and the watcher share this module. They differ in how they get the rows, and in
how they send the operations.
"""
from ..core.port import POLICING, Port
from ..core.unit import UNIT

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Set, Tuple

    from ..core.decision import Decision
    from ..core.port import Change
    from ..core.unit import Unit

    Vif = Tuple[int, int]  # (domid, devid)
    Row = Dict[str, Any]  # column -> value in the notation of RFC 7047, 5.1; with _uuid
    PortRows = Tuple[Row, Row, Row]  # of one port: its Port, its Interface, its Bridge
    Operation = Dict[str, Any]  # of a transaction (RFC 7047, 5.2)
    Result = Dict[str, Any]  # of an operation
    Find = Callable[[str], Optional[Row]]  # the row that belongs to a UUID, None where none does

# Every column that a decision is based on. A reader leaves out those that the server's schema
# lacks: cvlans came with Open vSwitch 2.8.
COLUMNS = {
    "Port": ("_uuid", "name", "interfaces", "external_ids", "other_config") + tuple(
        column for column in UNIT if ":" not in column),
    "Interface": ("_uuid", "name", "external_ids", "ofport", "error") + POLICING,
    "Bridge": ("_uuid", "name", "ports"),
}


def port_of(row: "Row", interface: "Row", bridge: str, rivals: "Iterable[str]" = ()) -> Port:
    """The port.Port of a Port row, its Interface row, the name of its Bridge, and its rivals."""
    return Port(row["name"], from_uuid(row["_uuid"]), bridge, unit_of(row),
                from_map(row["external_ids"]), from_map(interface["external_ids"]),
                from_map(row["other_config"]), _atom(interface.get("ofport")),
                _atom(interface.get("error")),
                {column: interface[column] for column in POLICING if column in interface},
                "cvlans" in row, rivals)


def own_interface(port: "Row", find: "Find") -> "Optional[Row]":
    """The Interface row of a VIF's Port row.

    :param find: function that gives the Interface row of a UUID
    :returns: the only Interface of the port, if Port and Interface have the same name. None for a
        bond, which is no VIF's port, and where one of the two rows came or went between two selects
    """
    uuids = from_set(port["interfaces"])
    interface = find(from_uuid(uuids[0])) if len(uuids) == 1 else None
    return interface if interface and interface["name"] == port["name"] else None


def tenancy(port: "Row") -> "Optional[Tuple[int, str]]":
    """The tag of a Port row and the network (net_uuid) to which Neutron's agent has bound the row;
    None where the agent's notes do not fit the tag: the agent writes tag and notes in two
    transactions (docs/design.md 2.4)."""
    notes = from_map(port["other_config"])
    tag = tag_of(port)
    if tag is None or "net_uuid" not in notes or notes.get("tag") != str(tag):
        return None
    return tag, notes["net_uuid"]


def with_rivals(row: "Row", interface: "Row", bridge: "Row",
                bound: "Mapping[str, Iterable[Row]]", find_interface: "Find",
                find_bridge: "Find") -> Port:
    """The port.Port of a Port row, its Interface row and its Bridge row, with its rivals.

    :param bound: network (net_uuid) -> the Port rows with this port's tag that the agent has bound
        to that network. No rival comes from a row on another Bridge, from a row that is not the
        agent's own any more, or from a row that has lost its device.
    :param find_interface: function that gives the Interface row of a UUID
    :param find_bridge: function that gives the Bridge row that has the Port of a UUID
    """
    port = port_of(row, interface, bridge["name"])
    rivals: "Set[str]" = set()
    for network, others in bound.items():
        # The ports of the port's own network may be thousands.
        for other in others if network != port.followed_network else ():
            interface_of_other = own_interface(other, find_interface)
            holder = find_bridge(from_uuid(other["_uuid"]))
            if interface_of_other and holder and (
                    from_uuid(holder["_uuid"]) == from_uuid(bridge["_uuid"])
                    and port_of(other, interface_of_other, holder["name"]).vlan_network):
                rivals.add(network)
                break
    return port_of(row, interface, bridge["name"], rivals) if rivals else port


def tag_of(port: "Row") -> "Optional[int]":
    """The tag of a Port row, None where it has none."""
    tag: "Optional[int]" = _atom(port["tag"])
    return tag


def _atom(value: "Any") -> "Any":
    """The one value of an optional column, or None."""
    atoms = from_set(value) if value is not None else ()
    return atoms[0] if atoms else None


def unit_of(row: "Row") -> "Unit":
    """The VLAN unit (see core/unit.py) of a Port row."""
    unit: "Unit" = {}
    for name, kind in UNIT.items():
        column, _, key = name.partition(":")
        if key:
            value = from_map(row[column]).get(key)
            values = [] if value is None else [value]
        else:
            values = from_set(row.get(column, ["set", []]))
        if values:
            unit[name] = sorted(values) if kind is list else values[0]
    return unit


def operations(decision: "Decision", rows: "Mapping[str, PortRows]") -> "List[Operation]":
    """The guards and writes of one decision, and a line for the database's log.

    :param decision.Decision decision: the decision whose changes are to be written
    :param rows: dict name of a port -> the rows that the decision was based on
    """
    ops: "List[Operation]" = []
    for port in decision.ports():
        ops += guards(rows[port.name])
    written: "List[Tuple[str, str]]" = []  # (table, name) of each row, in the order of the changes
    for change in decision.changes:
        if (change.table, change.row) not in written:
            written.append((change.table, change.row))
    for table, name in written:
        row = rows[name][0 if table == "Port" else 1]
        ops += _writes(table, row["_uuid"], [
            change for change in decision.changes
            if (change.table, change.row) == (table, name)])
    ops.append({"op": "comment", "comment": "xenvif-tagger: " + decision.who()})
    return ops


def guards(rows: "PortRows") -> "List[Operation]":
    """Operations that fail unless a port's three rows still have the values that we read."""
    row, interface, bridge = rows
    return [_guard("Port", row), _guard("Interface", interface), _guard_bridge(bridge, row)]


def _guard(table: str, row: "Row") -> "Operation":
    """The operation that fails unless the row still has the values that we read: compare-and-set
    (RFC 7047, 5.2.6)."""
    # A row never changes its name (vswitch.ovsschema: not mutable): its UUID guards the name too.
    values = {column: row[column] for column in COLUMNS[table]
              if column not in ("_uuid", "name") and column in row}
    return {"op": "wait", "table": table, "where": [["_uuid", "==", row["_uuid"]]], "timeout": 0,
            "columns": sorted(values), "until": "==", "rows": [values]}


def _guard_bridge(bridge: "Row", port: "Row") -> "Operation":
    """The operation that fails unless the port is still on the bridge."""
    return {"op": "wait", "table": "Bridge", "timeout": 0, "columns": ["name"], "until": "==",
            "where": [["_uuid", "==", bridge["_uuid"]], ["ports", "includes", port["_uuid"]]],
            "rows": [{"name": bridge["name"]}]}


def _writes(table: str, row_uuid: "Any", changes: "Iterable[Change]") -> "List[Operation]":
    """The operations that make the changes of one row: one update, one mutate."""
    where = [["_uuid", "==", row_uuid]]
    columns: "Dict[str, Any]" = {}
    deleted: "Dict[str, List[str]]" = {}  # map column -> keys
    inserted: "Dict[str, Dict[str, str]]" = {}  # map column -> key -> value
    for change in changes:
        if change.key is None:
            value = change.new
            if value is None or isinstance(value, list):
                value = to_set(value or [])
            columns[change.column] = value
        else:
            if change.old is not None:
                deleted.setdefault(change.column, []).append(change.key)
            if change.new is not None:
                inserted.setdefault(change.column, {})[change.key] = change.new
    ops: "List[Operation]" = []
    if columns:
        ops.append({"op": "update", "table": table, "where": where, "row": columns})
    mutations: "List[List[Any]]" = []
    # An "insert" does not change the value of a key that is there (RFC 7047, 5.1), so a key with a
    # new value is deleted first.
    mutations += [[column, "delete", to_set(keys)] for column, keys in deleted.items()]
    mutations += [[column, "insert", to_map(values)] for column, values in inserted.items()]
    if mutations:
        ops.append({"op": "mutate", "table": table, "where": where, "mutations": mutations})
    return ops


# ---- OVSDB's notation of sets, maps and UUIDs in JSON, and back (RFC 7047, 5.1) ------------------
# Atoms (str, int, float, bool, and ["uuid", "..."]) stay as they are.


def from_set(value: "Any") -> "List[Any]":
    """The atoms of a set. (The notation of a set of one may be the bare atom.)"""
    if isinstance(value, list) and value[:1] == ["set"]:
        return list(value[1])
    return [value]


def to_set(atoms: "Iterable[Any]") -> "List[Any]":
    """The notation of a set of these atoms, in the order given."""
    return ["set", list(atoms)]


def from_map(value: "Any") -> "Dict[Any, Any]":
    """The dict that a map's notation stands for. Raises ValueError for any other value."""
    if not isinstance(value, list) or value[:1] != ["map"]:
        raise ValueError("not an OVSDB map: %r" % (value,))
    return dict(value[1])


def to_map(values: "Mapping[Any, Any]") -> "List[Any]":
    """The notation of a dict whose keys have one type. The keys are sorted, so that equal dicts
    have equal notations."""
    return ["map", [[key, values[key]] for key in sorted(values)]]


def uuid(text: str) -> "List[str]":
    """The notation of a UUID given as str."""
    return ["uuid", text]


def from_uuid(value: "Any") -> str:
    """The UUID as str. Raises ValueError for any other value."""
    if not isinstance(value, (list, tuple)) or value[:1] not in (["uuid"], ("uuid",)):
        raise ValueError("not an OVSDB UUID: %r" % (value,))
    text: str = value[1]
    return text
