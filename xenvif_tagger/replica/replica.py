"""The watcher's replica of the database: the library's Idl, and which VIFs have changed in it.

Three things are reached for behind the library's interface, the same in 2.17 to 4.0: its session
(to send operations of our own and to try again soon), the table of requests under way (to be given
their answers), and the data of a row as it came.
"""
import time
from uuid import UUID

import ovs.db.idl
import ovs.jsonrpc

from ..core import names
from ..ovsdb.client import DATABASE
from ..ovsdb.rows import COLUMNS, bridge_name, own_interface, port_of, vlan_bridges

NO_DATA = "00000000-0000-0000-0000-000000000000"
KNOWN = 256  # ports read ahead: a few change again and again, and all would cost too much memory
BACKOFF = 1000  # ms between two tries to connect; the least that the library takes
vlog = ovs.vlog.Vlog("replica")


class Request(object):
    """A request under way, as the Idl keeps them: it calls done with the answer, a
    jsonrpc.Message, or with None if the connection was lost before it came."""

    def __init__(self, done):
        self._done = done

    def _process_reply(self, message):
        self._done(message)

    def _lost(self, _status):
        self._done(None)

    _status = property(fset=_lost)  # how Idl tells a transaction that its connection is lost


class Replica(ovs.db.idl.Idl):
    """All VIFs' ports as the server has them.

    changed (dict): VIFs, (domid, devid), that changed since their look: when, time.monotonic().
    events (int): rows of VIFs that came, went or changed.
    connections (int): how often it has connected.
    """

    def __init__(self, remote, policing):
        """
        :param str remote: any that the library takes, several with commas between them
        :param bool policing: whether the Interface columns for policing matter
        """
        self._policing = policing
        self.events = 0
        self.connections = 0
        self.problem = None
        self._forget()
        # Which columns there are is asked of the server, each time: to ask for one that it has
        # not got is an AssertionError in here, or a sync that never ends.
        nothing = {"name": DATABASE, "version": "0.0.0", "tables": {}}
        super(Replica, self).__init__(
            remote, ovs.db.idl.SchemaHelper(None, nothing), leader_only=False)
        self._session.reconnect.set_backoff(BACKOFF, BACKOFF)

    def _forget(self):
        self.changed = {}
        self._ports = {}  # name: Port row
        self._bridges = {}  # UUID of a Port, str: Bridge row
        self._members = {}  # UUID of a Bridge: set of the UUIDs of its Ports, str
        self._known = {}  # name: (port.Port, its rows as JSON), as read last
        self._fakes = {}  # UUID of a Port that is a VLAN ("fake") bridge's, str: its row
        self._on_vlan = None  # of those, as vlan_bridges gives it; None: to be looked up
        self.has_cvlans = True

    # -- connection

    def run(self):
        """Take what has come. Returns as the library's."""
        try:
            return super(Replica, self).run()
        except Exception as error:  # the library trusts a server to follow RFC 7047
            vlog.warn("%s: not an OVSDB server: its message can't be taken (%s: %s)" % (
                self.session_name(), type(error).__name__, error))
            self.state = self.IDL_S_INITIAL  # not current: half of the message may be in the tables
            self.force_reconnect()
            return True

    @property
    def is_current(self):
        """Whether it is connected and has all that the server has sent."""
        return (self.state == self.IDL_S_MONITORING and self._session.is_connected()
                and self._session.get_seqno() == self._last_seqno)

    def restart_fsm(self):
        """The library calls this when it has connected: ask for the schema, and begin anew."""
        self.connections += 1
        self.state = self.IDL_S_INITIAL
        self.ask("get_schema", [DATABASE], self._take_schema)

    def ask(self, method, params, done):
        """Send a request; done as in Request."""
        message = ovs.jsonrpc.Message.create_request(method, params)
        self._session.send(message)  # if it fails, the connection is lost, and done is told so
        self._outstanding_txns[message.id] = Request(done)

    def _take_schema(self, message):
        if message is None:
            return
        self.problem = self._use_schema(message)
        if self.problem:
            vlog.warn("%s: %s" % (self.session_name(), self.problem))
            self.force_reconnect()
        else:
            super(Replica, self).restart_fsm()

    def _use_schema(self, message):
        """Make the tables anew; returns what is wrong with the schema, or None."""
        if message.type != ovs.jsonrpc.Message.T_REPLY:
            return "no %s database there: %s" % (DATABASE, message.error)
        wanted = self._columns()
        helper = ovs.db.idl.SchemaHelper(None, message.result)
        try:
            for table, columns in wanted.items():
                there = message.result["tables"][table]["columns"]
                helper.register_columns(
                    table, [column for column in columns if column in there])
            schema = helper.get_idl_schema()
        except (KeyError, TypeError, AttributeError, ovs.db.error.Error) as error:
            return "not Open vSwitch's own schema (%s: %s)" % (type(error).__name__, error)
        for table in self.tables.values():
            table.rows.clear()  # else table and rows would hold each other in memory
        self._db = schema
        self.readonly = schema.readonly
        self.tables = ovs.db.idl.IdlTable.schema_tables(self, schema)
        self.last_id = NO_DATA
        self._forget()
        self.has_cvlans = "cvlans" in self.tables["Port"].columns
        return None

    def _columns(self):
        columns = {table: [column for column in found if column != "_uuid"]
                   for table, found in COLUMNS.items()}
        if not self._policing:
            columns["Interface"] = [column for column in columns["Interface"]
                                    if not column.startswith("ingress_")]
        return columns

    def _Idl__add_default(self, table, row_update):
        """The library's own fills in what compact.Columns has anyway, a fifth of the start-up."""

    # -- what changes

    def notify(self, event, row, updates=None):
        """The library calls this for each row that came, went or changed."""
        table = row._table.name
        gone = event == ovs.db.idl.ROW_DELETE
        if table == "Bridge":
            self._take_bridge(row, gone, updates)
            return
        name = row._data["name"].values
        vif = names.parse(name)
        self._known.pop(name, None)
        if table == "Port":
            if gone:
                if self._ports.get(name) is row:
                    del self._ports[name]
            elif vif:
                self._ports[name] = row
            if not vif:
                self._take_other_port(row, gone, updates)
        if vif:
            self.events += 1
            self.touch(vif[:2])

    def _take_other_port(self, row, gone, updates):
        uuid, fake = str(row.uuid), row._data["fake_bridge"].values
        if not fake and uuid not in self._fakes:
            return
        if updates is not None and not {"tag", "fake_bridge"}.intersection(updates._data):
            return
        self._fakes.pop(uuid, None)
        if not gone and fake:
            self._fakes[uuid] = row
        self.touch_all()  # any of the bridge's ports may have got on this VLAN or off it

    def _take_bridge(self, row, gone, updates):
        if updates is not None and "ports" not in updates._data:
            return
        before = self._members.pop(row.uuid, set())
        now = set() if gone else {uuid for _, uuid in row._data["ports"].atoms()}
        if not gone:
            self._members[row.uuid] = now
        for uuid in before - now:
            if self._bridges.get(uuid) is row:
                del self._bridges[uuid]
        for uuid in now - before:
            self._bridges[uuid] = row
        for uuid in before ^ now:
            port = self.tables["Port"].rows.get(UUID(uuid))
            vif = port is not None and names.parse(port._data["name"].values)
            if vif:
                self._known.pop(port._data["name"].values, None)
                self.touch(vif[:2])
            if uuid in self._fakes:
                self.touch_all()

    def touch(self, vif):
        """This VIF is to be looked at."""
        self.changed.setdefault(vif, time.monotonic())

    def touch_all(self):
        self._known.clear()
        self._on_vlan = None
        for vif in self.vifs():
            self.touch(vif)

    def vifs(self):
        """All VIFs that have a port: set of (domid, devid)."""
        return {names.parse(name)[:2] for name in self._ports}

    # -- what stands

    def ports(self, vif):
        """A VIF's ports, and what they were read from.

        :param vif: (domid, devid)
        :returns: ``(ports, rows)``: list of port.Port, and dict name -> (Port row, Interface row,
            Bridge row) in the server's notation, as rows.operations wants them
        """
        ports, rows = [], {}
        for name in names.names_of(*vif):
            found = self._known.get(name) or self._read(name)
            if found is not None:
                ports.append(found[0])
                rows[name] = found[1]
        return ports, rows

    def _read(self, name):
        """One port, and its rows; None if it is not there, or no VIF's."""
        row = self._ports.get(name)
        bridge = self._bridge_of(str(row.uuid)) if row is not None else None
        if bridge is None:
            return None
        port = _as_json(row)
        interface = own_interface(port, self._interface)
        if interface is None:
            return None
        if self._on_vlan is None:
            self._on_vlan = vlan_bridges(map(_as_json, self._fakes.values()), self._bridge_of)
        found = port_of(port, interface, bridge_name(port, bridge, self._on_vlan)), (
            port, interface, bridge)
        if len(self._known) >= KNOWN:
            self._known.clear()
        self._known[name] = found
        return found

    def _interface(self, uuid):
        """An Interface row, as the server would send it, or None."""
        row = self.tables["Interface"].rows.get(UUID(uuid))
        return row and _as_json(row)

    def _bridge_of(self, uuid):
        """The Bridge row that has the Port of a UUID (str), as far as it is known, or None."""
        row = self._bridges.get(uuid)
        return row and {"_uuid": ["uuid", str(row.uuid)], "name": row._data["name"].values}


def _as_json(row):
    """A row as the server would send it."""
    found = {column: row._data[column].to_json() for column in row._table.columns}
    found["_uuid"] = ["uuid", str(row.uuid)]
    return found
