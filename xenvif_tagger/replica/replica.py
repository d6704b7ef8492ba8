"""The watcher's replica of the database: the library's Idl, which also notes the VIFs that change.

The Replica uses private parts of the library, the same in 2.17 to 4.0: the session, to send
operations of our own and to set the time between two tries to connect; the table of requests under
way, to get the answers to our own requests; the data of a row, to have the values as the server
sent them; the state of the sync and of the lock; and two private methods, which the Replica
replaces (their names begin with _Idl__ here).
"""
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Set, Tuple
from uuid import UUID

import ovs.db.idl
import ovs.jsonrpc

from ..core import names
from ..ovsdb.client import DATABASE
from ..ovsdb.rows import COLUMNS, own_interface, tag_of, with_rivals
from . import compact, ovsjson
from .compact import as_json
from .tenancies import Tenancies

if TYPE_CHECKING:
    from ..core.port import Port
    from ..ovsdb.rows import PortRows, Row, Vif

    # Takes a jsonrpc.Message, or None if the connection was lost before the answer came.
    Done = Callable[[Any], None]

# The last_id of a client that has no rows yet (ovsdb-server(7), 4.1.15, <last-txn-id>).
NO_DATA = "00000000-0000-0000-0000-000000000000"
CACHED = 256  # ports: few ports change often, and to keep all would take too much memory
BACKOFF = 1000  # ms between two tries to connect; the least that the library takes
vlog = ovs.vlog.Vlog("replica")


class Request(object):
    """A request under way, for the Idl's table of transactions: the Idl uses _process_reply and
    _status of each entry.

    done: called with the answer, or with None if the connection is lost before the answer comes.
    """

    def __init__(self, done: "Done") -> None:
        self._done = done

    def _process_reply(self, message: Any) -> None:
        self._done(message)

    def _lose(self, _status: Any) -> None:
        self._done(None)

    _status = property(fset=_lose)  # the Idl sets _status when the connection is lost


class Replica(ovs.db.idl.Idl):
    """The ports of all VIFs, as the server has them.

    changed (dict): VIF, (domid, devid) -> when (time.monotonic()) the first change arrived since
        the last look at the VIF. The code that looks at a VIF takes that VIF out.
    events (int): how many rows of VIFs came, went or changed.
    connections (int): how many connections were made.
    problem (str or None): why the last schema could not be used.
    """

    def __init__(self, remote: str, policing: bool) -> None:
        """
        :param str remote: any that the library takes, several with commas between them
        :param bool policing: whether to read the Interface columns for policing
        """
        compact.use()
        ovsjson.use()
        self._policing = policing
        self._is_lock_refused = False  # by the server's last answer
        self._lock_due: Optional[float] = None  # when to ask again for the lock, time.monotonic()
        self.events = 0
        self.connections = 0
        self.problem: Optional[str] = None
        self._forget()
        # Each new connection asks the server for its schema, and only then for the columns that
        # the schema has: a column that the server lacks makes the library raise an AssertionError,
        # or never finish the sync.
        no_schema = {"name": DATABASE, "version": "0.0.0", "tables": {}}
        super(Replica, self).__init__(
            remote, ovs.db.idl.SchemaHelper(None, no_schema), leader_only=False)
        self._session.reconnect.set_backoff(BACKOFF, BACKOFF)

    def _forget(self) -> None:
        """Begin with no rows."""
        self.changed: "Dict[Vif, float]" = {}
        self._ports: Dict[str, compact.Row] = {}  # name: Port row
        self._bridges: Dict[str, compact.Row] = {}  # UUID of a Port: Bridge row
        self._members: Dict[UUID, Set[str]] = {}  # UUID of a Bridge: the UUIDs of its Ports
        self._cache: "Dict[str, Tuple[Port, PortRows]]" = {}  # name: as _read() returns
        self._tenancies = Tenancies()

    # -- connection

    def run(self) -> bool:
        """Take all messages that have come; returns the same as the library's method."""
        if self._lock_due is not None and time.monotonic() >= self._lock_due:
            self._Idl__send_lock_request()
        try:
            changed = bool(super(Replica, self).run())
            self._touch_tenants()
            return changed
        except Exception as error:  # the library trusts a server to follow RFC 7047
            vlog.warn("%s: not an OVSDB server: its message can't be taken (%s: %s)" % (
                self.session_name(), type(error).__name__, error))
            self.state = self.IDL_S_INITIAL  # not current: half of the message may be in the tables
            self.force_reconnect()
            return True

    @property
    def is_current(self) -> bool:
        """Whether there is a connection, and all rows that the server has sent are here."""
        return bool(self.state == self.IDL_S_MONITORING and self._session.is_connected()
                    and self._session.get_seqno() == self._last_seqno)

    def lock_state(self) -> str:
        """"held", "waiting" (another client has the lock), "refused" (the server gives nobody the
        lock, since it is read-only) or "none" (no connection to the database, or the lock's state
        is not known yet)."""
        if not self.is_current:
            return "none"
        if self.has_lock:
            return "held"
        if self.is_lock_contended:
            return "waiting"
        return "refused" if self._is_lock_refused else "none"

    def restart_fsm(self) -> None:
        """The library calls this when it has connected: ask for the schema, and begin anew."""
        self.connections += 1
        self.state = self.IDL_S_INITIAL
        self.ask("get_schema", [DATABASE], self._take_schema)

    def ask(self, method: str, params: List[Any], done: "Done") -> None:
        """Send a request, and call done with the answer; see Request."""
        message = ovs.jsonrpc.Message.create_request(method, params)
        # If send() fails, the connection is lost, and the Idl calls done with None.
        self._session.send(message)
        self._outstanding_txns[message.id] = Request(done)

    def wait(self, poller: Any) -> None:
        """As the library's method."""
        super(Replica, self).wait(poller)
        if self._lock_due is not None:
            left = self._lock_due - time.monotonic()
            poller.timer_wait(max(0, int(left * 1000) + 1))

    def _Idl__send_lock_request(self) -> None:
        """Ask for the lock, in the place of the library's method, which ignores an error as the
        answer. (The library takes any other answer itself, by the request's id, so our Request gets
        errors only.)"""
        super(Replica, self)._Idl__send_lock_request()
        self._lock_due = None
        if self._lock_request_id is not None:
            self._outstanding_txns[self._lock_request_id] = Request(self._take_lock_error)

    def _take_lock_error(self, message: Any) -> None:
        """Ask for the lock again after a while: a backup server is read-only, and refuses the lock
        until somebody makes that server the active one (ovsdb-server(1), Active-Backup Database
        Service Model). ovsdb-server sends no message when that happens."""
        if message is not None:
            self._is_lock_refused, self.is_lock_contended = True, False
            self._lock_due = time.monotonic() + BACKOFF / 1000

    def _take_schema(self, message: Any) -> None:
        if message is None:
            return
        self.problem = self._use_schema(message)
        if self.problem:
            vlog.warn("%s: %s" % (self.session_name(), self.problem))
            self.force_reconnect()
        else:
            super(Replica, self).restart_fsm()

    def _use_schema(self, message: Any) -> Optional[str]:
        """Make empty tables by a message's schema; returns the schema's defect, or None."""
        if message.type != ovs.jsonrpc.Message.T_REPLY:
            return "no %s database there: %s" % (DATABASE, message.error)
        wanted = self._columns()
        helper = ovs.db.idl.SchemaHelper(None, message.result)
        try:
            for table, columns in wanted.items():
                schema_columns = message.result["tables"][table]["columns"]
                helper.register_columns(
                    table, [column for column in columns if column in schema_columns])
            schema = helper.get_idl_schema()
        except (KeyError, TypeError, AttributeError, ovs.db.error.Error) as error:
            return "not Open vSwitch's own schema (%s: %s)" % (type(error).__name__, error)
        for table in self.tables.values():
            table.rows.clear()  # table and rows refer to each other: this frees both at once
        self._db = schema
        self.readonly = schema.readonly
        self.tables: Dict[str, Any] = ovs.db.idl.IdlTable.schema_tables(self, schema)
        self.last_id = NO_DATA
        self._forget()
        return None

    def _columns(self) -> Dict[str, List[str]]:
        """The columns to be monitored, if the schema has them."""
        columns = {table: [column for column in table_columns if column != "_uuid"]
                   for table, table_columns in COLUMNS.items()}
        if not self._policing:
            columns["Interface"] = [column for column in columns["Interface"]
                                    if not column.startswith("ingress_")]
        return columns

    def _Idl__add_default(self, table: Any, row_update: Any) -> None:
        """Do nothing, in the place of the library's method, which takes a fifth of the start-up to
        fill in defaults. compact.Columns has these defaults anyway."""

    # -- changes

    def notify(self, event: str, row: compact.Row, updates: Optional[compact.Row] = None) -> None:
        """The library calls this for each row that came, went or changed.

        :param updates: the columns that have changed, with their old values
        """
        table = row._table.name
        gone = event == ovs.db.idl.ROW_DELETE
        if table == "Bridge":
            self._take_bridge(row, gone, updates)
            return
        name = row._data["name"].values
        vif = names.parse(name)
        self._cache.pop(name, None)
        if table == "Port":
            if gone:
                if self._ports.get(name) is row:
                    del self._ports[name]
            elif vif:
                self._ports[name] = row
            self._tenancies.take(row, gone)
        else:
            self._tenancies.touch(name)
        if vif:
            self.events += 1
            self.touch(vif[:2])

    def _touch_tenants(self) -> None:
        """Mark as changed the VIFs whose ports follow another network than the one of which a port
        in the same VLAN has changed."""
        tags, followers = self._tenancies.take_changed()
        if tags:
            for name in [name for name, (port, _) in self._cache.items()
                         if port.unit.get("tag") in tags]:
                del self._cache[name]
        for name in followers:
            self.touch(names.parse_known(name)[:2])

    def _take_bridge(self, row: compact.Row, gone: bool, updates: Optional[compact.Row]) -> None:
        """Take the change of a Bridge: which ports have come to it and left it."""
        if updates is not None and "ports" not in updates._data:
            return
        old_ports = self._members.pop(row.uuid, set())
        new_ports = set() if gone else {uuid for _, uuid in row._data["ports"].atoms()}
        if not gone:
            self._members[row.uuid] = new_ports
        for uuid in old_ports - new_ports:
            if self._bridges.get(uuid) is row:
                del self._bridges[uuid]
        for uuid in new_ports - old_ports:
            self._bridges[uuid] = row
        for uuid in old_ports ^ new_ports:
            port = self.tables["Port"].rows.get(UUID(uuid))
            if port is None:
                continue
            name = port._data["name"].values
            self._tenancies.touch(name)
            vif = names.parse(name)
            if vif:
                self._cache.pop(name, None)
                self.touch(vif[:2])

    def touch(self, vif: "Vif") -> None:
        """Mark a VIF as changed."""
        self.changed.setdefault(vif, time.monotonic())

    def touch_all(self) -> None:
        """Mark every VIF as changed."""
        self._cache.clear()
        for vif in self.vifs():
            self.touch(vif)

    def vifs(self) -> "Set[Vif]":
        """All VIFs that have a port."""
        return {parsed[:2] for parsed in map(names.parse, self._ports) if parsed}

    # -- ports as they stand

    def ports(self, vif: "Vif") -> "Tuple[List[Port], Dict[str, PortRows]]":
        """A VIF's ports, and the rows that they were read from.

        :param vif: (domid, devid)
        :returns: ``(ports, rows)``: list of port.Port, and dict name -> rows in the server's
            notation, for rows.operations
        """
        ports: "List[Port]" = []
        rows: "Dict[str, PortRows]" = {}
        for name in names.names_of(*vif):
            port_and_rows = self._cache.get(name) or self._read(name)
            if port_and_rows is not None:
                ports.append(port_and_rows[0])
                rows[name] = port_and_rows[1]
        return ports, rows

    def _read(self, name: str) -> "Optional[Tuple[Port, PortRows]]":
        """One port, and its rows; None if the port is not there, or is no VIF's."""
        row = self._ports.get(name)
        bridge = self._bridge_of(str(row.uuid)) if row is not None else None
        if row is None or bridge is None:
            return None
        port_row = as_json(row)
        interface = own_interface(port_row, self._interface)
        if interface is None:
            return None
        port = with_rivals(port_row, interface, bridge, self._tenancies.bound(tag_of(port_row)),
                           self._interface, self._bridge_of)
        if len(self._cache) >= CACHED:
            self._cache.clear()
        self._cache[name] = port, (port_row, interface, bridge)
        return self._cache[name]

    def _interface(self, uuid: str) -> "Optional[Row]":
        """The Interface row of a UUID, in the server's notation, or None."""
        row = self.tables["Interface"].rows.get(UUID(uuid))
        return None if row is None else as_json(row)

    def _bridge_of(self, uuid: str) -> "Optional[Row]":
        """The Bridge row that has the Port of a UUID, in the server's notation, with its name as
        the only column; or None."""
        row = self._bridges.get(uuid)
        if row is None:
            return None
        return {"_uuid": ["uuid", str(row.uuid)], "name": row._data["name"].values}

