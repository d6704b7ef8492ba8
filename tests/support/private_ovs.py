"""A private Open vSwitch in a directory of its own, for the tests, the demo and the benchmarks.

The module needs the standard library only. Any number of PrivateOvs can run at a time, and none
touches the system's Open vSwitch: every path is in the directory, and ovs-vswitchd leaves the
kernel's datapath alone.

    with PrivateOvs() as ovs:
        ovs.add_bridge("br0")
        ovs.add_port("br0", "vif1.0", {"xs-vif-uuid": "…"}, tag=5)
        assert ovs.port("vif1.0")["tag"] == [5]

`vswitchd` chooses the ovs-vswitchd that runs beside the database:

* None: no ovs-vswitchd. The test itself writes the columns that ovs-vswitchd would fill in (ofport,
  error).
* "dummy": ovs-vswitchd with --enable-dummy=override. A port of any name has an ofport, and its link
  is up, before add_port returns. No device is needed, and no frame ever moves. ovs-vswitchd can't
  open an Interface of an unknown `type`: the row gets ofport -1 and an error, as for a device that
  is gone.
* "userspace": ovs-vswitchd with the netdev datapath, on real devices. This needs root, and a
  network namespace (`netns`, made by the caller) for each PrivateOvs that runs at a time: each
  bridge is a tap device there, and one device is always called ovs-netdev. stop() removes these
  devices; after kill -9 they are left, which is harmless only in a namespace that is removed too.
"""

import atexit
import copy
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

START_SECONDS = 120  # the limit for a daemon's start, which takes some 10 ms on an idle machine
DAEMON_OPTIONS = ("--pidfile", "--log-file", "-vconsole:off")
# JSON of a schema -> the database file that has the Open_vSwitch row only. (Making that file takes
# two processes; a server on a copy needs neither.)
_EMPTY_DATABASES = {}
BATCH = 1000  # ports in one transaction of add_many_ports


class OvsError(Exception):
    """A command or a transaction failed; the text is its error message."""


# ---- schemas ----------------------------------------------------------------------------------


def find_schema():
    """The path of the installed vswitch.ovsschema."""
    places = [os.environ.get("OVS_PKGDATADIR"), "/usr/share/openvswitch"]
    server = shutil.which("ovsdb-server", path=_path())
    if server:
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(server)))
        places.append(os.path.join(prefix, "share", "openvswitch"))
    places.append("/usr/local/share/openvswitch")
    for place in filter(None, places):
        path = os.path.join(place, "vswitch.ovsschema")
        if os.path.exists(path):
            return path
    raise OvsError("no vswitch.ovsschema found; is openvswitch-switch installed?")


def load_schema(path=None):
    with open(path or find_schema(), encoding="utf-8") as stream:
        return json.load(stream)


def schema_without(*columns):
    """The installed schema without these columns, each given as "Table.column"."""
    schema = _editable_schema()
    for name in columns:
        table, column = name.split(".")
        del schema["tables"][table]["columns"][column]
    return schema


def schema_with_extra(extra):
    """The installed schema with more columns: {"Port": {"new_column": {"type": "string"}}}."""
    schema = _editable_schema()
    for table, columns in extra.items():
        schema["tables"].setdefault(table, {"columns": {}})["columns"].update(
            copy.deepcopy(columns)
        )
    return schema


def schema_like_2_5():
    """The schema with the Port table of OVS 2.5: no cvlans, no dot1q-tunnel. (Other tables stay
    new.)"""
    schema = schema_without("Port.cvlans")
    schema["version"] = "7.12.1"
    enum = schema["tables"]["Port"]["columns"]["vlan_mode"]["type"]["key"]["enum"]
    enum[1].remove("dot1q-tunnel")
    return schema


def _editable_schema():
    schema = load_schema()
    schema.pop("cksum", None)  # the checksum is that of the shipped text; a schema needs none
    return schema


# ---- OVSDB values -----------------------------------------------------------------------------


def to_map(values):
    return ["map", sorted((values or {}).items())]


def to_set(values):
    return ["set", sorted(values or [])]


def _plain(value):
    """An OVSDB value as a Python value: sets become sorted lists, maps dicts, UUIDs strings."""
    if isinstance(value, list):
        kind, content = value
        if kind == "uuid":
            return content
        if kind == "map":
            return {_plain(k): _plain(v) for k, v in content}
        return sorted(_plain(item) for item in content)
    return value


def _is_set(column_type):
    return (
        isinstance(column_type, dict)
        and "value" not in column_type
        and (column_type.get("min", 1), column_type.get("max", 1)) != (1, 1)
    )


# ---- the switch -------------------------------------------------------------------------------


class PrivateOvs:
    """See the module. `schema` is a path, or a dict as the functions above return it."""

    def __init__(self, schema=None, vswitchd=None, netns=None):
        if vswitchd not in (None, "dummy", "userspace"):
            raise ValueError("vswitchd must be None, 'dummy' or 'userspace'")
        self.vswitchd = vswitchd
        self.netns = netns
        self.schema = schema if isinstance(schema, dict) else load_schema(schema)
        self.dir = None
        self._server = None
        self._switch = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *unused):
        self.stop()

    # -- life

    def start(self):
        # A unix socket's path has 107 characters at most, too few for a long TMPDIR.
        base = tempfile.gettempdir()
        self.dir = tempfile.mkdtemp(prefix="ovs-", dir=base if len(base) < 50 else "/tmp")
        atexit.register(self.stop)
        self.socket_path = os.path.join(self.dir, "db.sock")
        self.remote = "unix:" + self.socket_path
        self.database = os.path.join(self.dir, "conf.db")
        self.env = dict(
            os.environ,
            PATH=_path(),
            OVS_RUNDIR=self.dir,
            OVS_DBDIR=self.dir,
            OVS_LOGDIR=self.dir,
            OVS_SYSCONFDIR=self.dir,
        )
        self._create_database()
        if self.vswitchd:
            self._start_vswitchd()
        return self

    def _create_database(self):
        """Make the database as ovs-ctl does, or copy the one made earlier, and start its server."""
        key = json.dumps(self.schema, sort_keys=True)
        if key in _EMPTY_DATABASES:
            with open(self.database, "wb") as stream:
                stream.write(_EMPTY_DATABASES[key])
            self.start_server()
            return
        self._run("ovsdb-tool", "create", self.database, self._schema_file())
        self.start_server()
        version = "db-version=" + self.schema["version"]
        db = "--db=" + self.remote
        self._run("ovs-vsctl", db, "--no-wait", "init", "--", "set", "Open_vSwitch", ".", version)
        with open(self.database, "rb") as stream:
            _EMPTY_DATABASES[key] = stream.read()

    def stop(self):
        """End exactly the processes that this object started, and remove its directory."""
        atexit.unregister(self.stop)
        if self.vswitchd == "userspace":
            self._remove_bridge_devices()
        # Stop ovs-vswitchd first: otherwise it would log that its database is gone.
        self._switch = _end(self._switch)
        self._server = _end(self._server)
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def start_server(self, *options):
        command = ("ovsdb-server", "--remote=p" + self.remote) + options + DAEMON_OPTIONS
        self._server = self._spawn(*command + (self.database,))
        self._wait_for(self._server, self._server_answers)

    def stop_server(self, kill=False):
        """Stop ovsdb-server as a service manager does, or with `kill` as abruptly as a crash."""
        self._server = _end(self._server, signal.SIGKILL if kill else signal.SIGTERM)

    def restart_server(self, schema=None, kill=False):
        """Stop ovsdb-server and start it again on its database, which is converted to `schema` in
        between if one is given."""
        self.stop_server(kill)
        if schema is not None:
            self.schema = schema if isinstance(schema, dict) else load_schema(schema)
            self._run("ovsdb-tool", "convert", self.database, self._schema_file())
        self.start_server()

    def pause(self):
        """Make ovsdb-server hang: the kernel accepts connections, and nobody answers them."""
        self._server.send_signal(signal.SIGSTOP)
        os.waitpid(self._server.pid, os.WUNTRACED)  # returns once the process has really stopped

    def resume(self):
        self._server.send_signal(signal.SIGCONT)

    @property
    def server_pid(self):
        return self._server.pid if self._server else None

    @property
    def vswitchd_pid(self):
        return self._switch.pid if self._switch else None

    # -- commands

    def vsctl(self, *args):
        """Run ovs-vsctl, which waits for ovs-vswitchd if there is one; returns the output."""
        wait = "--timeout=120" if self.vswitchd else "--no-wait"
        return self._run("ovs-vsctl", "--db=" + self.remote, wait, *args)

    def appctl(self, target, *args):
        """Run ovs-appctl on a daemon of this directory: "ovsdb-server", "ovs-vswitchd", …"""
        return self._run("ovs-appctl", "--timeout=120", "-t", target, *args)

    def transact(self, *operations, **options):
        """Run one OVSDB transaction and return the list of results. `timeout` in seconds."""
        request = {"method": "transact", "params": ["Open_vSwitch"] + list(operations), "id": 0}
        reply = self._call(request, options.pop("timeout", 120))
        if options:
            raise TypeError("unknown options: %s" % ", ".join(options))
        if reply["error"] is not None:
            raise OvsError(json.dumps(reply["error"]))
        for result in reply["result"]:
            if result is not None and "error" in result:
                raise OvsError(json.dumps(result, ensure_ascii=False))
        return reply["result"]

    def log(self):
        return self._read("ovsdb-server.log")

    def vswitchd_log(self):
        return self._read("ovs-vswitchd.log")

    def database_log(self, *options):
        """The transactions in the database file, comments included, as ovsdb-tool shows them."""
        return self._run("ovsdb-tool", "show-log", *(options or ("-m",)) + (self.database,))

    def records(self):
        """The transactions in the database file, each as text, with all that it changed."""
        return re.split(r"^record \d+: ", self.database_log("-mmm"), flags=re.M)

    # -- rows

    def rows(self, table, where=()):
        """The rows of a table, as dicts. A column that can hold no value or several ones is a
        list."""
        result = self.transact({"op": "select", "table": table, "where": list(where)})[0]
        return [self._row(table, row) for row in result["rows"]]

    def port(self, name):
        """The Port row of this name, or None."""
        return self._named("Port", name)

    def interface(self, name):
        """The Interface row of this name, or None."""
        return self._named("Interface", name)

    def add_bridge(self, name):
        """Add a bridge with its local port; returns the Bridge's UUID."""
        bridge = {"name": name, "ports": ["named-uuid", "p"]}
        if self.vswitchd == "userspace":
            bridge["datapath_type"] = "netdev"
        interface = {"name": name, "type": "internal"}
        port = {"name": name, "interfaces": ["named-uuid", "i"]}
        result = self.transact(
            {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "i"},
            {"op": "insert", "table": "Port", "row": port, "uuid-name": "p"},
            {"op": "insert", "table": "Bridge", "row": bridge, "uuid-name": "b"},
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["bridges", "insert", ["named-uuid", "b"]]],
            },
        )
        self.sync()
        return result[2]["uuid"][1]

    def add_port(self, bridge, name, external_ids=None, port_external_ids=None, **columns):
        """Add a port; returns the Port's UUID.

        external_ids, ofport and error are columns of the Interface; all others are the Port's: tag,
        vlan_mode, trunks, cvlans, other_config. A running ovs-vswitchd overwrites ofport and error.
        """
        row = dict(columns, name=name)
        row.update(external_ids=external_ids, port_external_ids=port_external_ids)
        return self.add_many_ports(bridge, [row])[0]

    def add_many_ports(self, bridge, rows):
        """Add ports quickly. `rows`: dicts of add_port's arguments. Returns the Ports' UUIDs."""
        rows = list(rows)
        uuids = []
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            operations = []
            for number, row in enumerate(batch):
                operations += _port_operations(number, **row)
            added = ["set", [["named-uuid", "p%d" % number] for number in range(len(batch))]]
            operations.append(
                {
                    "op": "mutate",
                    "table": "Bridge",
                    "where": [["name", "==", bridge]],
                    "mutations": [["ports", "insert", added]],
                }
            )
            results = self.transact(*operations)
            if results[-1]["count"] != 1:  # no row refers to the new rows, so they are gone again
                raise OvsError("no bridge named %s" % bridge)
            uuids += [result["uuid"][1] for result in results[1:-1:2]]
        self.sync()
        return uuids

    def delete_port(self, name):
        """Take a port off its bridge; ovsdb-server removes the Port and Interface rows then."""
        uuid = ["uuid", self.port(name)["_uuid"]]
        self.transact(
            {
                "op": "mutate",
                "table": "Bridge",
                "where": [["ports", "includes", uuid]],
                "mutations": [["ports", "delete", uuid]],
            }
        )
        self.sync()

    def sync(self):
        """Wait until ovs-vswitchd has handled all writes until now. Returns at once if none
        runs."""
        if not self.vswitchd:
            return
        asked = self.transact(
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["next_cfg", "+=", 1]],
            },
            {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
        )[1]["rows"][0]["next_cfg"]
        self._wait_for(self._switch, lambda: self.rows("Open_vSwitch")[0]["cur_cfg"] >= asked)

    # -- how

    def _schema_file(self):
        path = os.path.join(self.dir, "vswitch.ovsschema")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(self.schema, stream)
        return path

    def _start_vswitchd(self):
        # In both modes ovs-vswitchd can't reach the kernel's datapath, which is the system's.
        datapath = {"dummy": "--enable-dummy=override", "userspace": "--disable-system"}
        command = ("ovs-vswitchd", datapath[self.vswitchd]) + DAEMON_OPTIONS + (self.remote,)
        if self.netns:  # nsenter becomes the command by exec: the pid stays
            command = ("ip", "netns", "exec", self.netns) + command
        self._switch = self._spawn(*command)
        self.sync()

    def _remove_bridge_devices(self):
        # ovs-vswitchd makes these devices persistent: they would outlive a process that we only
        # end.
        if self._switch is None or self._switch.poll() is not None:
            return
        try:
            self.appctl("ovs-vswitchd", "exit", "--cleanup")
            self._switch.wait(10)
        except (OvsError, subprocess.TimeoutExpired):
            pass  # a process that hangs is killed, and its devices go with the namespace

    def _spawn(self, *command):
        # The daemon runs in the foreground, so that we know its pid and can end it. It has a
        # session of its own, so that Ctrl-C reaches the tests only, which then stop the daemon.
        with open(os.path.join(self.dir, "stderr"), "ab") as stderr:
            return subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _wait_for(self, process, condition):
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if process.poll() is not None:
                raise OvsError(
                    "%s ended with %s: %s%s"
                    % (process.args[0], process.returncode, self._read("stderr"), self.log())
                )
            if time.monotonic() > deadline:
                raise OvsError("%s is not ready after %d s" % (process.args[0], START_SECONDS))
            time.sleep(0.002)

    def _server_answers(self):
        try:
            self._call({"method": "list_dbs", "params": [], "id": 0}, START_SECONDS)
            return True
        except OSError:
            return False

    def _call(self, request, timeout):
        """Send one JSON-RPC request on a new connection; returns the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(self.socket_path)
            connection.sendall(json.dumps(request).encode())
            reply = b""
            while True:
                part = connection.recv(1 << 20)
                if not part:
                    raise ConnectionError("ovsdb-server closed the connection")
                reply += part
                if part.endswith(b"}"):
                    try:
                        return json.loads(reply.decode())
                    except ValueError:
                        pass  # a brace inside the answer, not at its end

    def _run(self, *command):
        # The words go as bytes: Python 3.6 can't pass text outside ASCII in the C locale.
        result = subprocess.run(
            [part.encode() for part in command],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if result.returncode:
            message = result.stderr.decode(errors="replace").strip()
            raise OvsError("%s exited with %d: %s" % (command[0], result.returncode, message))
        return result.stdout.decode()

    def _read(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def _named(self, table, name):
        found = self.rows(table, [["name", "==", name]])
        return found[0] if found else None

    def _row(self, table, row):
        columns = self.schema["tables"][table]["columns"]
        plain = {}
        for name, value in row.items():
            plain[name] = _plain(value)
            # A set with one element is written as that element (RFC 7047, 5.1).
            if name in columns and _is_set(columns[name]["type"]):
                if not isinstance(plain[name], list):
                    plain[name] = [plain[name]]
        return plain


def _port_operations(
    number,
    name,
    external_ids=None,
    port_external_ids=None,
    tag=None,
    vlan_mode=None,
    trunks=None,
    cvlans=None,
    other_config=None,
    ofport=None,
    error=None,
):
    interface = {"name": name, "external_ids": to_map(external_ids)}
    port = {
        "name": name,
        "interfaces": ["named-uuid", "i%d" % number],
        "external_ids": to_map(port_external_ids),
        "other_config": to_map(other_config),
        "trunks": to_set(trunks),
    }
    if cvlans is not None:  # older schemas have no cvlans
        port["cvlans"] = to_set(cvlans)
    for row, column, value in (
        (port, "tag", tag),
        (port, "vlan_mode", vlan_mode),
        (interface, "ofport", ofport),
        (interface, "error", error),
    ):
        if value is not None:
            row[column] = value
    return [
        {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "i%d" % number},
        {"op": "insert", "table": "Port", "row": port, "uuid-name": "p%d" % number},
    ]


def _path():
    """PATH with the sbin directories: the daemons are there, and a user's PATH lacks them."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


_LIBC = ctypes.CDLL(None)  # loaded here, because loading between fork and exec can deadlock
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    # When the parent ends, even by kill -9, the kernel ends this process. (To the kernel the parent
    # is the thread that started the process: start a PrivateOvs in a thread that outlives it.)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process, how=signal.SIGTERM):
    if process is not None and process.poll() is None:
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process would not handle SIGTERM
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
