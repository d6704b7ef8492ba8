"""VIF ports read from Open vSwitch's database, and decisions written to it, by the one-shot client.

The Vswitch keeps the rows that it read, as the server sent them: a write is guarded by those rows.
"""
import functools

from ..core import identity, mark, names
from ..core.port import after
from .client import OperationError, Unreachable
from .rows import (
    COLUMNS,
    from_map,
    from_set,
    from_uuid,
    guards,
    operations,
    own_interface,
    tag_of,
    tenancy,
    to_map,
    with_rivals,
)

MYPY = False
if MYPY:
    from typing import (
        Any,
        Callable,
        Dict,
        Iterable,
        List,
        Optional,
        Set,
        Tuple,
        TypeVar,
    )

    from ..core.decision import Decision
    from ..core.port import Port
    from ..core.unit import Unit
    from .client import Client
    from .rows import Operation, PortRows, Row, Vif

    Method = TypeVar("Method", bound=Callable[..., Any])
    Vifs = Dict[Vif, List[Port]]  # each VIF's ports


class Unwritten(Exception):
    """The database refused a transaction, and has written nothing of that transaction.

    culprit (decision.Decision or None): the Decision whose operation failed; None if the server
        does not say which operation failed.
    lost (bool): somebody changed a row that the decision was based on, so a race was lost.
    reason (str): the server's error, in one line.
    """

    def __init__(self, culprit: "Optional[Decision]", error: OperationError) -> None:
        Exception.__init__(self, str(error))
        self.culprit = culprit
        self.lost = error.error == "timed out"  # of a wait, RFC 7047, 5.2.6
        self.reason = str(error)


def _understood(method: "Method") -> "Method":
    """Makes a method raise Unreachable for rows that do not fit Open vSwitch's schema."""
    @functools.wraps(method)
    def checked(self: "Vswitch", *args: "Any") -> "Any":
        try:
            return method(self, *args)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Unreachable("%s: the answer is not from Open vSwitch's own database (%s: %s)" % (
                self.client.remote, type(error).__name__, error))
    return checked  # type: ignore[return-value]


class Vswitch(object):
    """The database behind a client.Client."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self._rows: "Dict[str, PortRows]" = {}  # name of a port: its rows as read last
        self.unpaired: "List[List[str]]" = []  # names of Interfaces, as read_all found them

    def _known_columns(self) -> "Dict[str, List[str]]":
        """COLUMNS without those that the server's schema lacks."""
        schema = self.client.get_schema()
        return {table: [column for column in columns
                        if column == "_uuid" or column in schema[table]]
                for table, columns in COLUMNS.items()}

    @_understood
    def monitor(self) -> None:
        """Let a change of any column that a decision is based on end the client's wait_update()."""
        self.client.monitor({table: [column for column in columns if column != "_uuid"]
                             for table, columns in self._known_columns().items()})

    @_understood
    def vifs(self, domid: "Optional[int]" = None) -> "List[Vif]":
        """The VIFs that have a port, of one domain or of all: sorted list of (domid, devid)."""
        ports = self._rows_of([_select("Port", ["name"])])
        return _vifs_named(ports, domid)

    @_understood
    def vifs_with(self, key: str, values: "Iterable[str]") -> "List[Vif]":
        """The VIFs that have an Interface with one of these values of the key in external_ids.

        For each value the server looks through all Interfaces, and sends only those that match.

        :returns: sorted list of (domid, devid)
        """
        interfaces = self._rows_of([
            _select("Interface", ["name"], ["external_ids", "includes", to_map({key: value})])
            for value in sorted(values)])
        return _vifs_named(interfaces)

    @_understood
    def read(self, vifs: "Iterable[Vif]") -> "Vifs":
        """The ports of some VIFs: dict (domid, devid) -> list of port.Port. A VIF without a port is
        not in the dict."""
        return self._read(_names_of(vifs), [])[0]

    @_understood
    def read_port(self, name: str) -> "Optional[Port]":
        """The port of this name; None if there is none, or if it is no VIF's."""
        vifs = self._read([name], [])[0]
        return next((port for ports in vifs.values() for port in ports), None)

    @_understood
    def read_beside(self, bridge: str,
                    vif: "Vif") -> "Tuple[List[Port], str, Optional[Unit], bool]":
        """Read in one go the rows that decide how a port is to be created (birth.born).

        :param str bridge: the name of the bridge that the port is to be plugged to, which may be a
            VLAN ("fake") bridge
        :param vif: (domid, devid) of the port
        :returns: ``(ports, bridge, bridge_unit, cvlans)``: the ports that the VIF has already; the
            name of the Bridge row; the VLAN unit that add-port itself gives a port of a VLAN
            ("fake") bridge, None for any other bridge; whether the schema has Port.cvlans. (Every
            bridge has a port of its own name, and the row of that port tells the latter three.)
        """
        vifs, bridge_ports, holders = self._read(_names_of([vif]), [bridge])
        bridge_unit: "Optional[Unit]" = None
        for row, holder in zip(bridge_ports, holders):
            bridge = holder["name"]
            if row["fake_bridge"]:
                bridge_unit = {"tag": from_set(row["tag"])[0]}
        return vifs.get(vif, []), bridge, bridge_unit, all("cvlans" in row for row in bridge_ports)

    @_understood
    def read_sharing(self, name: str, key: str) -> "List[Port]":
        """The ports of a port's VIF, and of the other VIFs that have an Interface with the same
        value of the key in external_ids (list of port.Port); [] if the port has no such key.

        :param str name: the name of a VIF's port
        """
        interfaces = self._rows_of([_select("Interface", ["external_ids"], ["name", "==", name])])
        all_ids = [from_map(row["external_ids"]) for row in interfaces]
        values = [ids[key] for ids in all_ids if key in ids]
        if not values:
            return []
        vifs = {names.parse_known(name)[:2]}.union(self.vifs_with(key, values))
        return [port for ports in self.read(vifs).values() for port in ports]

    def _read(self, vif_names: "Iterable[str]", other_names: "Iterable[str]"
              ) -> "Tuple[Vifs, List[Row], List[Row]]":
        """The VIFs' ports of some names, as ``read``; and the Port rows of other names that are on
        a bridge, with the Bridge rows that have them.

        The selects name no columns: to ask for the schema first would take longer than all the
        rest. For each select of Ports, by name or by tag, the server looks through all rows of the
        table.
        """
        ports, other_ports = (_flat(rows) for rows in self._answers(*(
            [_select("Port", None, ["name", "==", name]) for name in group]
            for group in (vif_names, other_names))))
        # A Port row does not name its Bridge, so the Bridge is selected by its ports.
        interfaces, bridges, bound = self._answers(
            [_select("Interface", None, ["_uuid", "==", uuid])
             for row in ports for uuid in from_set(row["interfaces"])],
            [_select_bridge_of(row) for row in ports + other_ports],
            _selects_of_rivals(ports))
        rivals = [row for row in _flat(bound) if tenancy(row)]  # nearly always none
        if rivals:
            interfaces_of_rivals, bridges_of_rivals = self._answers(
                [_select("Interface", None, ["_uuid", "==", uuid])
                 for row in rivals for uuid in from_set(row["interfaces"])],
                [_select_bridge_of(row) for row in rivals])
            interfaces += interfaces_of_rivals
            bridges += bridges_of_rivals
        bridge_by_port = {
            from_uuid(row["_uuid"]): bridge_rows[0]
            for row, bridge_rows in zip(ports + other_ports + rivals, bridges) if bridge_rows}
        other_ports = [row for row in other_ports if from_uuid(row["_uuid"]) in bridge_by_port]
        return (self._join(ports, _flat(interfaces), bridge_by_port, rivals), other_ports,
                [bridge_by_port[from_uuid(row["_uuid"])] for row in other_ports])

    def _answers(self, *groups: "List[Operation]") -> "List[List[List[Row]]]":
        """Run groups of selects in one transaction.

        :returns: a list for each group; in that list, for each select, the rows that were found
        """
        selects = [select for group in groups for select in group]
        results = iter(self.client.transact(selects) if selects else ())
        return [[next(results)["rows"] for _ in group] for group in groups]

    def _rows_of(self, selects: "List[Operation]") -> "List[Row]":
        """Run selects in one transaction; returns all rows that they found."""
        return _flat(self._answers(selects)[0])

    @_understood
    def is_unchanged(self, port: "Port") -> bool:
        """Whether the rows of a port still have the values that were read. The server finds the
        rows by UUID, which is fast at any number of ports."""
        try:
            self.client.transact(guards(self._rows[port.name]))
        except OperationError:
            return False
        return True

    @_understood
    def read_all(self) -> "Vifs":
        """The ports of all VIFs, as ``read``."""
        columns = self._known_columns()
        ports, interfaces, bridges = self._answers(
            [_select(table, columns[table]) for table in ("Port", "Interface", "Bridge")])[0]
        self.unpaired = identity.unpaired(
            (row["name"], from_map(row["external_ids"])) for row in interfaces)
        bridge_by_port = {from_uuid(port): bridge for bridge in bridges
                          for port in from_set(bridge["ports"])}
        return self._join(ports, interfaces, bridge_by_port, ports)

    def _join(self, ports: "Iterable[Row]", interfaces: "Iterable[Row]",
              bridges: "Dict[str, Row]", bound: "Iterable[Row]") -> "Vifs":
        """Make Ports of the rows of VIFs, as the server sent them.

        :param ports: Port rows; those that are no VIF's are left out
        :param bridges: dict UUID of a Port -> the Bridge row that has it
        :param bound: Port rows, among them those that the agent has bound to a network
        """
        by_uuid = {from_uuid(row["_uuid"]): row for row in interfaces}
        by_tag: "Dict[Optional[int], Dict[str, List[Row]]]" = {}  # tag -> network -> Port rows
        for row in bound:
            bound_to = tenancy(row)
            if bound_to:
                by_tag.setdefault(bound_to[0], {}).setdefault(bound_to[1], []).append(row)
        vifs: "Vifs" = {}
        for row in ports:
            parsed = names.parse(row["name"])
            interface = own_interface(row, by_uuid.get) if parsed else None
            bridge = bridges.get(from_uuid(row["_uuid"]))
            if parsed is None or interface is None or bridge is None:
                continue
            port = with_rivals(row, interface, bridge, by_tag.get(tag_of(row), {}), by_uuid.get,
                               bridges.get)
            self._rows[port.name] = (row, interface, bridge)
            vifs.setdefault(parsed[:2], []).append(port)
        return vifs

    def write(self, decisions: "Iterable[Decision]") -> None:
        """Write the changes of decisions in one transaction, all or none.

        The transaction fails unless all rows that the decisions were based on are unchanged.

        :raises Unwritten: the database refused the transaction
        """
        batch: "List[Operation]" = []
        owners: "List[Decision]" = []  # for each operation: the decision that it belongs to
        for decision in decisions:
            ops = operations(decision, self._rows)
            batch += ops
            owners += [decision] * len(ops)
        try:
            self.client.transact(batch)
        except OperationError as error:
            culprit = None if error.index is None else owners[error.index]
            raise Unwritten(culprit, error)

    def write_and_remove(self, decision: "Decision", name: str) -> None:
        """Write the changes of a decision, and take a port off its bridge, which ends its rows; in
        two transactions back to back.

        The second transaction fails unless the external_ids of the port's Interface are those that
        the first transaction leaves there.

        :raises Unwritten: the database refused one of the two transactions
        """
        row, interface, bridge = self._rows[name]
        port = next(port for port in decision.ports() if port.name == name)
        ids = after(port, decision.changes)[1]["Interface"]
        removal: "List[Operation]" = [
            {"op": "wait", "table": "Interface", "timeout": 0, "columns": ["external_ids"],
             "until": "==", "where": [["_uuid", "==", interface["_uuid"]]],
             "rows": [{"external_ids": to_map(ids)}]},
            {"op": "mutate", "table": "Bridge", "where": [["_uuid", "==", bridge["_uuid"]]],
             "mutations": [["ports", "delete", row["_uuid"]]]},
            {"op": "comment", "comment": "xenvif-tagger: %s is unplugged" % name}]
        try:
            self.client.transact_each(operations(decision, self._rows), removal)
        except OperationError as error:
            raise Unwritten(decision, error)


def _select(table: str, columns: "Optional[List[str]]", *where: "List[Any]") -> "Operation":
    """The select of columns (None: all) of the rows that meet all conditions in where."""
    operation: "Operation" = {"op": "select", "table": table, "where": list(where)}
    if columns is not None:
        operation["columns"] = columns
    return operation


def _selects_of_rivals(ports: "List[Row]") -> "List[Operation]":
    """The selects of the Ports that the agent may have bound to a rival network: for each VIF, and
    each tag of its Ports, those with this tag and notes of the agent. There is none for a VIF of
    which no row names a network, whose VLAN the ports should be in."""
    networks: "Dict[Vif, Set[str]]" = {}
    tags: "Dict[Vif, Set[int]]" = {}
    for row in ports:
        vif = names.parse_known(row["name"])[:2]
        base = mark.parse(from_map(row["external_ids"]).get(mark.KEY)).get("base", {})
        named = {from_map(row["other_config"]).get("net_uuid"), base.get("network")} - {None}
        networks.setdefault(vif, set()).update(named)
        tags.setdefault(vif, set()).update(from_set(row["tag"]))
    selects: "List[Operation]" = []
    for vif in networks:
        # The ports of the VIF's own network may be thousands.
        others = [["other_config", "excludes", to_map({"net_uuid": network})]
                  for network in networks[vif]] if len(networks[vif]) == 1 else []
        selects += [_select("Port", None, ["tag", "==", tag], ["other_config", "!=", to_map({})],
                            *others) for tag in sorted(tags[vif]) if networks[vif]]
    return selects


def _select_bridge_of(port: "Row") -> "Operation":
    """The select of the Bridge that has a Port, without the Bridge's ports: they may be many."""
    return _select("Bridge", ["_uuid", "name"], ["ports", "includes", port["_uuid"]])


def _names_of(vifs: "Iterable[Vif]") -> "List[str]":
    """All names that ports of these VIFs can have."""
    return [name for vif in vifs for name in names.names_of(*vif)]


def _flat(lists: "Iterable[Iterable[Row]]") -> "List[Row]":
    return [row for rows in lists for row in rows]


def _vifs_named(rows: "Iterable[Row]", domid: "Optional[int]" = None) -> "List[Vif]":
    """The VIFs, of one domain or of all, that the names of these rows belong to: sorted."""
    parsed_names = (names.parse(row["name"]) for row in rows)
    return sorted({parsed[:2] for parsed in parsed_names
                   if parsed and domid in (None, parsed[0])})
