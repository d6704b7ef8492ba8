"""One-shot client of ovsdb-server: JSON-RPC 1.0 over a unix or TCP stream, as in RFC 7047.

For the plug path and the one-shot commands: to import OVS's own library takes longer than a plug
may, and it has no time limit. Few imports, all of the standard library: each plug pays for them.
"""
# The C half of `socket`: to import the other one takes a plug longer than all that it does here.
import _socket as socket
import json
import time

from ..host.paths import parse_remote
from .jsonstream import Framer, NotJson

DATABASE = "Open_vSwitch"
DEFAULT_PORT = 6640  # RFC 7047, section 6
MONITOR = "xenvif-tagger"  # the name of our monitor in the server's notifications (4.1.5, 4.1.6)
RECEIVE_SIZE = 1 << 16
LONGEST_WAIT = 3600  # poll(2) takes milliseconds in an int: longer waits are made of several


class OvsdbError(Exception):
    """Something is wrong with the database. str() is one line: remote, what happened, cure."""


class BadRemote(OvsdbError):
    """Not a remote that this client understands. Nothing was tried."""


class Unreachable(OvsdbError):
    """No connection, time-out, connection lost, or no OVSDB server. The client is closed.

    If a transaction was under way, it is not known whether it was committed.
    """


class ServerError(OvsdbError):
    """The server refused a request, for example for an unknown database (RFC 7047, section 4)."""


class OperationError(OvsdbError):
    """A transaction failed; nothing of it was committed (RFC 7047, 4.1.3).

    index (int): the operation that failed; None if it was the commit after all of them.
    error (str): the short name: "timed out" (of a wait), "constraint violation", ...
    details (str): may be empty.
    """

    def __init__(self, message, index, error, details):
        OvsdbError.__init__(self, message)
        self.index = index
        self.error = error
        self.details = details


def failure(results, count):
    """What failed of a transaction of so many operations, by its results (RFC 7047, 4.1.3).

    :returns: ``(index, error, details)``, index None if it was the commit; None if nothing failed
    """
    for index, result in enumerate(results):
        # After the one that failed come nulls; an error of the commit is one result more.
        if isinstance(result, dict) and "error" in result:
            return (index if index < count else None, str(result["error"]),
                    str(result.get("details", "")))
    return None


def _addresses(remote):
    """What to connect to: list of (family, address). BadRemote; OSError from the resolver."""
    if remote.startswith("ssl:"):
        raise BadRemote("%s: one-shot commands and the plug hook speak unix: and tcp: only: "
                        "give them ovsdb-server's unix socket" % remote)
    try:
        kind, host, port = parse_remote(remote)
    except ValueError:
        raise BadRemote("%s: not a database remote: write unix:PATH, tcp:HOST[:PORT] or "
                        "tcp:[IPV6][:PORT]" % (remote or "''"))
    if kind == "unix":
        return [(socket.AF_UNIX, host)]
    # As bytes: for str Python imports its IDNA tables, some milliseconds.
    host = host.encode("utf-8", "surrogateescape")
    found = socket.getaddrinfo(host, port or DEFAULT_PORT, 0, socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _connect_problem(error):
    """What to say of an OSError from connecting (str)."""
    if isinstance(error, FileNotFoundError):
        return "no such socket: is ovsdb-server running?"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there: is ovsdb-server running, and is this its address?"
    if isinstance(error, PermissionError):
        return "permission denied: run as root"
    if isinstance(error, socket.gaierror):
        return "can't resolve the host name: %s" % error.strerror
    if error.errno is None:  # Python's own check of sun_path, unix(7)
        return "%s: it may have 107 bytes" % error
    return "can't connect: %s" % error.strerror


def _one_line(text):
    return "".join(c if c.isprintable() else " " for c in text)


class Client:
    """A connection to the server of the database Open_vSwitch; a context manager.

    remote (str): as for ovs-vsctl --db: "unix:PATH" (PATH absolute), "tcp:HOST[:PORT]",
        "tcp:[IPV6][:PORT]".
    timeout (float): seconds, above 0, for connecting and all calls together. Only the look-up of
        a host name, by the C library, is outside of it: give an address where that matters.
    Raises BadRemote, Unreachable.
    """

    def __init__(self, remote, timeout):
        self.remote = remote
        self._timeout = timeout
        self._socket = None
        self._framer = Framer()
        self._id = 0  # of the last request
        self._reply = None  # to the last request
        self._updated = False  # a notification came that wait_update() has not told of
        self.restart_deadline()
        try:
            addresses = _addresses(remote)
        except OSError as error:
            raise self._unreachable(_connect_problem(error))
        for family, address in addresses:
            try:
                return self._connect(family, address)
            except socket.timeout:
                problem = "no connection within %g s" % timeout
            except OSError as error:
                problem = _connect_problem(error)
            self.close()
        raise self._unreachable(problem)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the connection; a second time does nothing."""
        if self._socket:
            self._socket.close()

    def restart_deadline(self):
        """Let `timeout` begin anew."""
        self._deadline = time.monotonic() + self._timeout

    def extend_deadline(self, seconds):
        """Don't count the last `seconds` (float): it was not the server that took them."""
        self._deadline += seconds

    def call(self, method, params):
        """Send a request, return the result in its reply (RFC 7047, section 4).

        For what has no method of its own here; the control socket of a daemon of Open vSwitch's
        (ovs-appctl(8)) speaks the same. ServerError, Unreachable.
        """
        if self._socket.fileno() < 0:
            raise self._unreachable("the connection is closed")
        self._id += 1
        self._reply = None
        self._send({"method": method, "params": params, "id": self._id}, self._left())
        while self._reply is None:
            self._receive(self._left())
        error = self._reply.get("error")
        if isinstance(error, dict):
            error = "%s: %s" % (error.get("error"), error.get("details", ""))
        if error is not None:
            raise ServerError(_one_line("%s: %s refused: %s" % (self.remote, method, error)))
        if "result" not in self._reply:
            raise self._garbage(self._reply)
        return self._reply["result"]

    def transact(self, operations):
        """Run operations (list of dict, RFC 7047, 5.2) as one transaction.

        Returns their results in order (list of dict). OperationError, ServerError, Unreachable.
        """
        results = self.call("transact", [DATABASE] + operations)
        if not isinstance(results, list):
            raise self._garbage(results)
        failed = failure(results, len(operations))
        if failed:
            index, error, details = failed
            what = "the commit"
            if index is not None:
                op = operations[index]
                what = "operation %d (%s %s)" % (index, op.get("op"), op.get("table", ""))
            message = "%s: %s failed: %s: %s" % (self.remote, what, error, details)
            raise OperationError(_one_line(message), index, error, details)
        if len(results) != len(operations) or not all(isinstance(each, dict) for each in results):
            raise self._garbage(results)
        return results

    def get_schema(self):
        """The server's schema: dict, table to set of columns. ServerError, Unreachable."""
        schema = self.call("get_schema", [DATABASE])
        try:
            return {name: set(table["columns"]) for name, table in schema["tables"].items()}
        except (TypeError, KeyError, AttributeError):
            raise self._garbage(schema)

    def monitor(self, tables):
        """Ask to be told of changes from now on; once per client. ServerError, Unreachable.

        tables (dict): table to the list of columns whose changes count. Rows that come and go
        always count. Plain "monitor" of RFC 7047 (4.1.5): OVS 2.5 has it, too.
        """
        requests = {table: {"columns": columns, "select": {"initial": False}}
                    for table, columns in tables.items()}
        self.call("monitor", [DATABASE, MONITOR, requests])

    def wait_update(self, timeout):
        """Wait at most timeout seconds (float) for a monitored change; whether one came.

        Those that came since the last call count, the client's own included. All that has arrived
        is taken: a burst wakes once. The waiting is outside of the client's own deadline, which
        begins anew at the end of it. Raises Unreachable.
        """
        until = time.monotonic() + timeout
        self._deadline = until + self._timeout  # for the answer to an echo in between
        while True:
            left = until - time.monotonic()
            came = self._receive(0 if self._updated else min(max(left, 0), LONGEST_WAIT))
            if left <= 0 or self._updated and not came:
                break
        updated, self._updated = self._updated, False
        self.restart_deadline()
        return updated

    def _connect(self, family, address):
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        while True:
            self._socket.settimeout(self._left())
            try:
                return self._socket.connect(address)
            except BlockingIOError:
                # EAGAIN, connect(2): a hung server's queue is full, and poll(2) doesn't tell when
                # a unix socket has room again.
                time.sleep(0.01)

    def _left(self):
        """Seconds until the deadline (at most LONGEST_WAIT). Raises Unreachable after it."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._unreachable(
                "no %sanswer within %g s: is ovsdb-server hung or overloaded?"
                % ("complete " if self._framer.partial else "", self._timeout))
        return min(left, LONGEST_WAIT)

    def _unreachable(self, problem):
        self.close()
        return Unreachable(_one_line("%s: %s" % (self.remote, problem)))

    def _garbage(self, value):
        if not isinstance(value, NotJson):
            value = NotJson(json.dumps(value))
        return self._unreachable("not an OVSDB server: it sent %s" % value)

    def _send(self, message, seconds):
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(json.dumps(message).encode("ascii"))
        except ConnectionError:
            pass  # what the server sent before it closed may say why: the next read shows it
        except OSError as error:
            raise self._unreachable("takes no request (%s): is ovsdb-server hung?" % error)

    def _receive(self, seconds):
        """Take what one read gives within `seconds` (0: what is there). Whether anything came."""
        try:
            self._socket.settimeout(seconds)
            data = self._socket.recv(RECEIVE_SIZE)
        except (socket.timeout, BlockingIOError):
            return False
        except OSError:
            data = b""
        if not data:
            raise self._unreachable("closed the connection" + (
                " in the middle of a reply" if self._framer.partial
                else ": was ovsdb-server stopped or restarted?"))
        try:
            messages = self._framer.feed(data)
        except NotJson as error:
            raise self._garbage(error)
        for message in messages:
            self._take(message)
        return True

    def _take(self, message):
        method = message.get("method")
        params = message.get("params")
        if method == "echo":  # RFC 7047, 4.1.11: the server asks whether we still live
            answer = {"id": message.get("id"), "result": params, "error": None}
            self._send(answer, self._left())
        elif method == "update":
            self._updated |= isinstance(params, list) and params[:1] == [MONITOR]
        elif method is None and "id" not in message:
            raise self._garbage(message)
        elif method is None and message["id"] == self._id:  # else: nobody waits for it any more
            self._reply = message
