"""VIF ports read from Open vSwitch's database, and decisions written to it, by the one-shot client.

The reader keeps the rows as the server sent them: they are what a write is guarded with.
"""
import functools

from ..core import names
from .client import OperationError, Unreachable
from .rows import (
    COLUMNS,
    bridge_name,
    from_set,
    from_uuid,
    guards,
    operations,
    own_interface,
    port_of,
    to_map,
    vlan_bridges,
)


class Unwritten(Exception):
    """A transaction that the database did not take.

    culprit (decision.Decision): the one that it failed of; None where the server does not say.
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
    """The database behind a client.Client."""

    def __init__(self, client):
        self.client = client
        self._rows = {}

    def _known_columns(self):
        """COLUMNS without those that the server's schema lacks."""
        schema = self.client.get_schema()
        return {table: [column for column in columns
                        if column == "_uuid" or column in schema[table]]
                for table, columns in COLUMNS.items()}

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
    def vifs_with(self, key, values):
        """The VIFs of which an Interface has one of some values of an external_id.

        The server looks through its rows, once for each value: only those found are sent.

        :returns: sorted list of (domid, devid)
        """
        rows = self._answers([_select("Interface", ["name"], ["external_ids", "includes", to_map({
            key: value})]) for value in sorted(values)])[0]
        found = (names.parse(row["name"]) for each in rows for row in each)
        return sorted({name[:2] for name in found if name})

    @_understood
    def read(self, vifs):
        """Some VIFs' ports: dict (domid, devid) -> list of port.Port. Absent ports are left out."""
        return self._read(vifs, [])[0]

    @_understood
    def read_beside(self, bridge, vif):
        """What a port is plugged beside, in one look: ``(ports, fake, cvlans)``.

        ports: those of a VIF, (domid, devid), list of port.Port; fake (bool): the bridge (str, its
        name) is a VLAN ("fake") bridge; cvlans (bool): the schema has Port.cvlans. Every bridge
        has a port of its own name, and the row of that port says both.
        """
        vifs, rows = self._read([vif], [bridge])
        return (vifs.get(vif, []), any(row["fake_bridge"] for row in rows),
                all("cvlans" in row for row in rows))

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
            self.client.transact(guards(self._rows[port.name]))
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
        on_vlan = vlan_bridges(fakes, bridges.get)
        by_uuid = {from_uuid(row["_uuid"]): row for row in interfaces}
        vifs = {}
        for row in ports:
            interface = own_interface(row, by_uuid.get)
            bridge = bridges.get(from_uuid(row["_uuid"]))
            if interface is None or bridge is None:
                continue
            port = port_of(row, interface, bridge_name(row, bridge, on_vlan))
            self._rows[port.name] = (row, interface, bridge)
            vifs.setdefault(names.parse(port.name)[:2], []).append(port)
        return vifs

    def write(self, decisions):
        """Write decisions (list of decision.Decision) in one transaction, or nothing.

        Each is guarded by all that it was based on.

        :raises Unwritten: the database did not take them
        """
        batch, owners = [], []
        for decision in decisions:
            made = operations(decision, self._rows)
            batch += made
            owners += [decision] * len(made)
        try:
            self.client.transact(batch)
        except OperationError as error:
            culprit = None if error.index is None else owners[error.index]
            raise Unwritten(culprit, error)


def _select(table, columns, *where):
    """A select of columns (None: all) of the rows that fulfil all of where."""
    operation = {"op": "select", "table": table, "where": list(where)}
    if columns is not None:
        operation["columns"] = columns
    return operation


def _on_bridge(port):
    """The select of the bridge that has a port."""
    return _select("Bridge", ["_uuid", "name"], ["ports", "includes", port["_uuid"]])
