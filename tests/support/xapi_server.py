"""A stand-in for XAPI: speaks XenAPI's XML-RPC, on a unix socket or on TLS.

Records have the shape of the real ones: whole numbers are strings, references ``OpaqueRef:``. Like
the real XAPI, the stand-in answers a query by the columns of its database (``name__label``,
``_ref``). A test can make each method fail, see `fault`.
"""
import collections
import contextlib
import http.server
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import uuid
import xmlrpc.client
from xml.parsers.expat import ExpatError

VERSION = "1.0"
USER, PASSWORD = "root", "a password: äöü"
PLUGIN_PATH = "/sbin:/usr/sbin:/bin:/usr/bin"  # the whole environment that XAPI gives a plugin
_TOKEN = re.compile(r'\s*(field "(?P<field>\w+)"|"(?P<text>[^"\\]*)"|(?P<word>[()=]|or\b|and\b))')
CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = %s
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1
"""


def run_plugin(path, function, arguments, env=None, session="OpaqueRef:NULL"):
    """Run a plugin as XAPI does (xapi_plugins.ml, forkhelpers.ml); returns XAPI's answer (dict).

    The tests' own Python runs the plugin, since the system's may lack modules that dom0's has. env:
    variables to add; they stand for files in the host's /etc and /run.
    """
    call = xmlrpc.client.dumps((session, arguments), function)
    done = subprocess.run(
        [sys.executable.encode(), b"-I", path.encode(), call.encode()], cwd="/",
        env=dict({"PATH": PLUGIN_PATH}, **(env or {})), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        return failure("XENAPI_PLUGIN_FAILURE", "non-zero exit", out, err)
    try:
        (answer,), _ = xmlrpc.client.loads(out)
    except (xmlrpc.client.Error, ExpatError) as error:
        return failure("XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", out, str(error))
    return answer


def new_ref():
    return "OpaqueRef:%s" % uuid.uuid4()


def failure(*description):
    return {"Status": "Failure", "ErrorDescription": list(description)}


def compiled(query):
    """Compile a query to a function that says whether a record fulfils the query.

    :raises ValueError: the text is no query
    """
    words, at = [], 0
    query = query.strip()
    while at < len(query):
        match = _TOKEN.match(query, at)
        if not match:
            raise ValueError("at %r" % query[at:])
        at = match.end()
        if match.group("field"):
            words.append("row[%r]" % match.group("field"))
        elif match.group("text") is not None:
            words.append(repr(match.group("text")))
        else:
            words.append({"=": "=="}.get(match.group("word"), match.group("word")))
    code = compile(" ".join(words), "query", "eval")
    return lambda row: eval(code, {"row": row})


class Column(dict):
    """A record as XAPI's database has it: each column has the database's name, and a bool is
    text."""

    def __init__(self, ref, record):
        dict.__init__(self, record, _ref=ref)

    def __getitem__(self, name):
        value = dict.__getitem__(self, name if name in self else name.replace("__", "_"))
        return str(value).lower() if isinstance(value, bool) else value


def make_certificates(at):
    """Make ``ca.pem``, and ``server.pem`` for 127.0.0.1, which that CA has signed."""
    def openssl(*args):
        subprocess.run(("openssl",) + args, cwd=at, check=True, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)

    for name in ("ca", "server"):
        with open(os.path.join(at, name + ".cnf"), "w") as stream:
            stream.write(CONFIG % name)
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-out", "ca.pem", "-days", "2",
            "-config", "ca.cnf", "-extensions", "ca")
    openssl("req", "-new", "-key", "server.key", "-out", "server.csr", "-config", "server.cnf")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
            "-set_serial", "2", "-extfile", "server.cnf", "-extensions", "server",
            "-out", "server.pem")


class XapiServer:
    """The server, as a context manager.

    remote: the server's address, as the command's --xapi takes it.
    ca: the file of the CA, if the server speaks TLS.
    calls: Counter of the called methods.
    sessions: the open sessions. logins: the number of logins so far.
    plugin: a function that host.call_plugin calls with (host's ref, plugin, function, arguments).
    Without such a function, host.call_plugin runs the plugin's file in the host's directory of
    plugins, see `add_host`.
    remember: run the same call of a plugin in the same environment only once, and answer later
        calls with the first answer, whatever their timeout.
    """

    def __init__(self, tls=False):
        self.dir = tempfile.mkdtemp()
        self.calls = collections.Counter()
        self.sessions = set()
        self.logins = 0
        self.originators = set()
        self.tables = {kind: {} for kind in (
            "host", "host_metrics", "pool", "VM", "VIF", "network", "PIF")}
        self.plugin = None
        self.remember = False
        self._plugins = {}
        self._remembered = {}
        self.released = threading.Event()  # set at the end, so that hanging calls go on
        self._faults = []
        self._lock = threading.RLock()
        self._answers = {}
        self._tls = tls
        self._live = set()
        if tls:
            make_certificates(self.dir)
            self.ca = os.path.join(self.dir, "ca.pem")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(os.path.join(self.dir, "server.pem"),
                                    os.path.join(self.dir, "server.key"))
            self._server = _Server(("127.0.0.1", 0), socket.AF_INET, self, context)
            self.remote = "https://127.0.0.1:%d" % self._server.server_address[1]
        else:
            # The path has an underscore, because XenAPI's own transport takes one for a slash.
            self.path = os.path.join(self.dir, "xapi_socket")
            self._server = _Server(self.path, socket.AF_UNIX, self, None)
            self.remote = "unix:" + self.path
        self.pool_master = self.add_host("host-1")
        self.tables["pool"][new_ref()] = {
            "uuid": str(uuid.uuid4()), "name_label": "a pool", "name_description": "",
            "master": self.pool_master, "other_config": {}}
        self.network = new_ref()
        self.tables["network"][self.network] = {
            "uuid": str(uuid.uuid4()), "name_label": "net", "bridge": "xenbr0", "MTU": "1500",
            "VIFs": [], "PIFs": [], "other_config": {}, "managed": True}
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            live = list(self._live)
        for sock in live:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self.dir)

    # -- the records

    def add_host(self, name, live=True, plugins=None, env=None, **more):
        """Add a host; returns its ref. plugins: the host's directory of plugins; env: the variables
        by which the plugins find that host's files."""
        ref, metrics = new_ref(), new_ref()
        self.tables["host_metrics"][metrics] = {
            "uuid": str(uuid.uuid4()), "live": live, "memory_total": "17179869184",
            "memory_free": "1073741824", "other_config": {},
            "last_updated": xmlrpc.client.DateTime("20260101T00:00:00Z")}
        self._plugins[ref] = plugins, env
        self.tables["host"][ref] = dict({
            "metrics": metrics,
            "uuid": str(uuid.uuid4()), "name_label": name, "name_description": "", "enabled": True,
            "hostname": name, "address": "127.0.0.1", "API_version_major": "2",
            "API_version_minor": "21", "software_version": {"product_brand": "XCP-ng"},
            "resident_VMs": [], "other_config": {}}, **more)
        self._answers.clear()
        return ref

    def add_vm(self, name, vif_uuids=(), host=None, **more):
        """Add a VM with VIFs of these uuids; returns the VM's uuid."""
        ref = new_ref()
        vm = dict({
            "uuid": str(uuid.uuid4()), "name_label": name, "name_description": "",
            "power_state": "Running", "is_a_template": False, "is_a_snapshot": False,
            "is_control_domain": False, "domid": "7", "domarch": "", "VCPUs_max": "2",
            "memory_static_max": "1073741824", "resident_on": host or self.pool_master,
            "affinity": "OpaqueRef:NULL", "VBDs": [], "platform": {"device_id": "0002"},
            "other_config": {}, "allowed_operations": ["clean_shutdown"],
            "current_operations": {}, "HVM_boot_policy": "BIOS order", "tags": [], "VIFs": [],
        }, **more)
        for device, vif_uuid in enumerate(vif_uuids):
            vif = new_ref()
            self.tables["VIF"][vif] = {
                "uuid": vif_uuid, "VM": ref, "device": str(device), "network": self.network,
                "MAC": "00:16:3e:00:00:%02x" % (device % 256), "MTU": "1500",
                "currently_attached": True, "locking_mode": "network_default",
                "ipv4_allowed": [], "ipv6_allowed": [], "other_config": {}, "status_code": "0",
                "allowed_operations": ["unplug"], "current_operations": {},
                "metrics": "OpaqueRef:NULL", "qos_algorithm_params": {}, "MAC_autogenerated": True}
            vm["VIFs"].append(vif)
        self.tables["VM"][ref] = vm
        self._answers.clear()
        return vm["uuid"]

    def add_network(self, bridge, host=None, **more):
        """Add a network with a PIF of a host; returns the network's ref. more: fields of the
        PIF."""
        ref = new_ref()
        self.tables["network"][ref] = dict(
            self.tables["network"][self.network], uuid=str(uuid.uuid4()), bridge=bridge,
            other_config={})
        self.tables["PIF"][new_ref()] = dict({
            "uuid": str(uuid.uuid4()), "network": ref, "host": host or self.pool_master,
            "device": "eth1", "VLAN": "-1", "VLAN_master_of": "OpaqueRef:NULL",
            "VLAN_slave_of": [], "sriov_logical_PIF_of": [], "sriov_physical_PIF_of": []}, **more)
        self._answers.clear()
        return ref

    def change(self, kind, which, **fields):
        """Change fields of the record with this uuid."""
        (record,) = [each for each in self.tables[kind].values() if each["uuid"] == which]
        record.update(fields)
        self._answers.clear()

    # -- faults

    def fault(self, method, what, times=None, host=None):
        """Make the methods that match a regular expression fail: from now on, or `times` times.

        host: the ref of the only host whose calls fail.
        what: a list: XAPI's error description; or a word:
            "hang": no answer until the test's end. "drip": a byte of the answer now and then.
            "drop": close the connection before the call is done. "drop after": close the connection
            after the call. "cut": close the connection in the middle of the answer. "boast": name a
            length of the answer that no memory holds. "garbage", "empty", "no value": answers of
            that kind. "http": an HTTP error. "expire": end all sessions first, then answer.
        """
        with self._lock:
            self._faults.append([re.compile(method + r"\Z"), what, times, host])

    def _fault_of(self, method, params):
        with self._lock:
            for each in self._faults:
                if each[3] is not None and each[3] not in params[1:2]:
                    continue
                if each[0].match(method) and each[2] != 0:
                    if each[2] is not None:
                        each[2] -= 1
                    return each[1]
        return None

    # -- answers

    def answer(self, method, params):
        """Returns ``(the fault or None, the body of the answer in XML)``."""
        with self._lock:
            self.calls[method] += 1
        what = self._fault_of(method, params)
        if what == "expire":
            with self._lock:
                self.sessions.clear()
            what = None
        if isinstance(what, list):
            if what[0] == "SESSION_INVALID" and params:
                with self._lock:
                    self.sessions.discard(params[0])  # a session that XAPI calls invalid is closed
            return None, self._xml(failure(*what))
        if what in (None, "drop after", "cut", "drip"):
            return what, self._dispatch(method, params)
        return what, b""

    def _xml(self, value):
        return xmlrpc.client.dumps((value,), methodresponse=True).encode()

    def _dispatch(self, method, params):
        with self._lock:
            if method == "session.login_with_password":
                return self._xml(self._login(*params))
            session, params = params[0], tuple(params[1:])
            if session not in self.sessions:
                return self._xml(failure("SESSION_INVALID", str(session)))
            if method == "session.logout":
                self.sessions.remove(session)
                return self._xml({"Status": "Success", "Value": ""})
            if method != "host.call_plugin":
                # Keep the XML: making it takes a second for 10,000 records.
                key = method, repr(params)
                if key not in self._answers:
                    self._answers[key] = self._xml(self._read(method, params))
                return self._answers[key]
        host, plugin, function, arguments = params  # outside the lock, so that other calls go on
        value = (self.plugin or self._run_plugin)(host, plugin, function, arguments)
        return self._xml(value if isinstance(value, dict) else {
            "Status": "Success", "Value": value})

    def _run_plugin(self, host, plugin, function, arguments):
        record = self.tables["host"].get(host)
        if record is None:
            return failure("HANDLE_INVALID", "host", host)
        if not self.tables["host_metrics"][record["metrics"]]["live"]:
            return failure("HOST_OFFLINE", host)
        plugins, env = self._plugins[host]
        if plugins is None or plugin not in os.listdir(plugins):
            return failure("XENAPI_MISSING_PLUGIN", plugin)
        path = os.path.join(plugins, plugin)
        if not self.remember:
            return run_plugin(path, function, arguments, env)
        with self._lock:
            key = repr((path, function, sorted((env or {}).items()), sorted(
                item for item in arguments.items() if item[0] != "timeout")))
            one = self._remembered.setdefault(key, [threading.Lock(), None])
        with one[0]:
            one[1] = one[1] or run_plugin(path, function, arguments, env)
        return one[1]

    def _login(self, user, password, _version="1.0", originator=""):
        if self._tls and (user, password) != (USER, PASSWORD):
            return failure("SESSION_AUTHENTICATION_FAILED", user, "Authentication failure")
        session = new_ref()
        self.logins += 1
        self.originators.add(originator)
        self.sessions.add(session)
        return {"Status": "Success", "Value": session}

    def _read(self, method, params):
        kind, _, name = method.partition(".")
        table = self.tables.get(kind)
        if table is None:
            return failure("MESSAGE_METHOD_UNKNOWN", method)
        if name == "get_all_records":
            found = table
        elif name == "get_all_records_where":
            fulfils = compiled(params[0])
            found = {ref: record for ref, record in table.items() if fulfils(Column(ref, record))}
        elif name == "get_all":
            found = list(table)
        elif name == "get_by_name_label":
            found = [ref for ref, record in table.items() if record["name_label"] == params[0]]
        elif name == "get_by_uuid":
            found = [ref for ref, record in table.items() if record["uuid"] == params[0]]
            if not found:
                return failure("UUID_INVALID", kind, params[0])
            found = found[0]
        elif name.startswith("get_") and params and params[0] not in table:
            return failure("HANDLE_INVALID", kind, params[0])
        elif name == "get_record":
            found = table[params[0]]
        elif name.startswith("get_") and params and name[4:] in table[params[0]]:
            found = table[params[0]][name[4:]]
        else:
            return failure("MESSAGE_METHOD_UNKNOWN", method)
        return {"Status": "Success", "Value": found}


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address, family, xapi, context):
        self.address_family = family
        self.xapi = xapi
        self._context = context
        socketserver.TCPServer.__init__(self, address, _Handler)

    def finish_request(self, request, client_address):
        if self._context:
            try:
                request = self._context.wrap_socket(request, server_side=True)
            except OSError:
                return  # the client does not trust our certificate
        self.RequestHandlerClass(request, client_address, self)

    def handle_error(self, request, client_address):
        pass  # the client has closed the connection, and notices the failure itself


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        http.server.BaseHTTPRequestHandler.setup(self)
        self.server.xapi._live.add(self.connection)

    def finish(self):
        self.server.xapi._live.discard(self.connection)
        with contextlib.suppress(OSError):
            http.server.BaseHTTPRequestHandler.finish(self)
        self.connection.close()

    def address_string(self):
        return "a client"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        params, method = xmlrpc.client.loads(body)
        xapi = self.server.xapi
        what, answer = xapi.answer(method, params)
        if what in ("drop", "drop after"):
            self.close_connection = True
        elif what == "hang":
            xapi.released.wait()
            self.close_connection = True
        elif what == "http":
            self.send_error(500, "internal error")
        elif what == "drip":
            self._head(len(answer) + 200)
            # At this pace no read reaches the client's limit for one read, and the whole answer
            # passes the client's limit for an answer.
            for _ in range(200):
                self.wfile.write(b" ")
                if xapi.released.wait(0.05):
                    break
            self.wfile.write(answer)
        elif what == "boast":
            self._head(1 << 50)
            self.close_connection = True
        elif what == "cut":
            self._head(len(answer))
            self.wfile.write(answer[:len(answer) // 2])
            self.close_connection = True
        else:
            answer = {"garbage": b"<html>it works</html>", "empty": b"",
                      "no value": xmlrpc.client.dumps(
                          ({"Status": "Success"},), methodresponse=True).encode(),
                      "text": xmlrpc.client.dumps(("text",), methodresponse=True).encode(),
                      }.get(what, answer)
            self._head(len(answer))
            self.wfile.write(answer)

    def _head(self, size):
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(size))
        self.end_headers()
