"""One-shot client of ovsdb-server: JSON-RPC 1.0 over a unix or TCP stream, as in RFC 7047.

The plug path and the one-shot commands use this client: the import of Open vSwitch's own library
takes longer than a plug may be delayed, and calls of that library have no time limit. This module
imports few modules, all of them ours or the standard library's: each plug pays for every import.
"""
# The C half of `socket`: to import `socket` itself takes longer than a plug's calls of this client.
import _socket as socket
import json
import time

from ..host.paths import parse_remote
from .jsonstream import Framer, NotJson

MYPY = False
if MYPY:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

    from .rows import Operation, Result

    Message = Dict[str, Any]  # a message of JSON-RPC (RFC 7047, section 4)
    Address = Tuple[int, Any]  # the address family, and the address of that family

DATABASE = "Open_vSwitch"
DEFAULT_PORT = 6640  # RFC 7047, section 6
MONITOR = "xenvif-tagger"  # the name of our monitor in the server's notifications (4.1.5, 4.1.6)
RECEIVE_SIZE = 1 << 16
LONGEST_WAIT = 3600  # seconds: poll(2) takes milliseconds in an int; a longer wait is split


class OvsdbError(Exception):
    """A request to the database failed. str() is one line: remote, what happened, cure."""


class BadRemote(OvsdbError):
    """The client does not understand this remote. No connection was tried."""


class Unreachable(OvsdbError):
    """The server can't be connected to, did not answer in time, closed the connection, or is no
    OVSDB server. The client is closed.

    Whether the server committed a transaction that was under way is not known.
    """


class ServerError(OvsdbError):
    """The server refused a request, for example for an unknown database (RFC 7047, section 4)."""


class OperationError(OvsdbError):
    """A transaction failed, and the server committed nothing of it (RFC 7047, 4.1.3).

    index (int): the index of the operation that failed; None if the commit after all operations
        failed.
    error (str): the short name of the error: "timed out" (of a wait), "constraint violation", ...
    details (str): the server's explanation; may be empty.
    """

    def __init__(self, message: str, index: "Optional[int]", error: str, details: str) -> None:
        OvsdbError.__init__(self, message)
        self.index = index
        self.error = error
        self.details = details


def failure(results: "Iterable[Any]", count: int) -> "Optional[Tuple[Optional[int], str, str]]":
    """Which operation of a transaction failed, and how (RFC 7047, 4.1.3).

    :param results: the server's results of the transaction
    :param int count: how many operations the transaction had
    :returns: as the attributes of OperationError, ``(index, error, details)``; None if none failed
    """
    for index, result in enumerate(results):
        # The results after the failed operation are null. If the commit failed, the error follows
        # the results of all operations.
        if isinstance(result, dict) and "error" in result:
            return (index if index < count else None, str(result["error"]),
                    str(result.get("details", "")))
    return None


def _addresses(remote: str) -> "List[Address]":
    """The addresses of a remote, to be tried in this order.

    Raises BadRemote; OSError if the resolver does not know the host name.
    """
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
    # As bytes: for a str Python imports its IDNA tables, which takes some milliseconds.
    infos = socket.getaddrinfo(host.encode("utf-8", "surrogateescape"), port or DEFAULT_PORT, 0,
                               socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in infos]


def _connect_problem(error: OSError) -> str:
    """Why a connection could not be made, in words."""
    if isinstance(error, FileNotFoundError):
        return "no such socket: is ovsdb-server running?"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there: is ovsdb-server running, and is this its address?"
    if isinstance(error, PermissionError):
        return "permission denied: run as root"
    if isinstance(error, socket.gaierror):
        return "can't resolve the host name: %s" % error.strerror
    if error.errno is None:  # Python itself checks the length of sun_path, unix(7)
        return "%s: a socket's path has at most 107 bytes" % error
    return "can't connect: %s" % error.strerror


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


class Client:
    """A connection to the server of the database Open_vSwitch; a context manager.

    remote (str): as for ovs-vsctl --db: "unix:PATH" (PATH absolute), "tcp:HOST[:PORT]",
        "tcp:[IPV6][:PORT]".
    timeout (float): seconds, above 0, for the connection and all calls together. Only the time in
        which the C library looks up a host name does not count: give an address where that matters.
    Raises BadRemote, Unreachable.
    """

    def __init__(self, remote: str, timeout: float) -> None:
        self.remote = remote
        self._timeout = timeout
        self._socket: "socket.socket" = None  # type: ignore[assignment]  # _connect() makes one
        self._framer = Framer()
        self._id = 0  # of the last request
        # id of a request under way: the reply, or None if the reply has not come yet
        self._replies: "Dict[int, Optional[Message]]" = {}
        self._updated = False  # whether an update came since wait_update() returned
        self.restart_deadline()
        try:
            addresses = _addresses(remote)
        except OSError as error:
            raise self._unreachable(_connect_problem(error))
        for family, address in addresses:
            try:
                self._connect(family, address)
                return
            except socket.timeout:
                problem = "no connection within %g s" % timeout
            except OSError as error:
                problem = _connect_problem(error)
            self.close()
        raise self._unreachable(problem)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: "Any") -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._socket:
            self._socket.close()

    def restart_deadline(self) -> None:
        """Give the calls from now on the whole timeout again."""
        self._deadline = time.monotonic() + self._timeout

    def extend_deadline(self, seconds: float) -> None:
        """Move the deadline by `seconds`, in which nobody has waited for the server."""
        self._deadline += seconds

    def call(self, method: str, params: "List[Any]") -> "Any":
        """Send a request, return the result in its reply (RFC 7047, section 4).

        For requests that have no method of their own in this class. (The control sockets of Open
        vSwitch's daemons, ovs-appctl(8), speak the same protocol.) Raises ServerError, Unreachable.
        """
        return self._result(method, *self._request(method, params))

    def _request(self, method: str, *params: "List[Any]") -> "List[int]":
        """Send requests, one for each list of params, in one piece; returns the requests' ids."""
        if self._socket.fileno() < 0:
            raise self._unreachable("the connection is closed")
        first = self._id + 1
        self._id += len(params)
        ids = list(range(first, self._id + 1))
        self._replies.update(dict.fromkeys(ids))
        self._send([{"method": method, "params": request_params, "id": request}
                    for request, request_params in zip(ids, params)], self._left())
        return ids

    def _result(self, method: str, request: int) -> "Any":
        """Wait for the reply to a request, and return the result in it."""
        while self._replies[request] is None:
            self._receive(self._left())
        reply: "Any" = self._replies.pop(request)
        error = reply.get("error")
        if isinstance(error, dict):
            error = "%s: %s" % (error.get("error"), error.get("details", ""))
        if error is not None:
            raise ServerError(_one_line("%s: %s refused: %s" % (self.remote, method, error)))
        if "result" not in reply:
            raise self._garbage(reply)
        return reply["result"]

    def transact(self, operations: "List[Operation]") -> "List[Result]":
        """Run operations (RFC 7047, 5.2) as one transaction; returns their results, in order.

        Raises OperationError, ServerError, Unreachable.
        """
        return self.transact_each(operations)[0]

    def transact_each(self, *transactions: "List[Operation]") -> "List[List[Result]]":
        """Run transactions back to back: the server gets them in one piece, and takes one request
        of each connection in turn (ovsdb/jsonrpc-server.c, ovsdb_jsonrpc_session_run). So a client
        that waits for the first one's changes has hardly the time to commit anything in between.

        Returns the results of each. Raises as transact(), for the first one that fails; the others
        may be committed all the same.
        """
        requests = self._request("transact", *[
            [DATABASE, *operations] for operations in transactions])
        return [self._results(self._result("transact", request), operations)
                for request, operations in zip(requests, transactions)]

    def _results(self, results: "Any", operations: "List[Operation]") -> "List[Result]":
        """The results of a transaction's operations, checked."""
        if not isinstance(results, list):
            raise self._garbage(results)
        failed = failure(results, len(operations))
        if failed:
            index, error, details = failed
            culprit = "the commit"
            if index is not None:
                op = operations[index]
                culprit = "operation %d (%s %s)" % (index, op.get("op"), op.get("table", ""))
            message = "%s: %s failed: %s: %s" % (self.remote, culprit, error, details)
            raise OperationError(_one_line(message), index, error, details)
        if len(results) != len(operations) or not all(isinstance(row, dict) for row in results):
            raise self._garbage(results)
        checked: "List[Result]" = results
        return checked

    def get_schema(self) -> "Dict[str, Set[str]]":
        """The server's schema: dict, table to set of columns. Raises ServerError, Unreachable."""
        schema = self.call("get_schema", [DATABASE])
        try:
            return {name: set(table["columns"]) for name, table in schema["tables"].items()}
        except (TypeError, KeyError, AttributeError):
            raise self._garbage(schema)

    def monitor(self, tables: "Mapping[str, List[str]]") -> None:
        """Have the server send changes from now on, for wait_update(); at most once per client.

        tables (dict): table to the list of columns whose changes count. Rows that come and go
        always count. The request is RFC 7047's "monitor" (4.1.5), which Open vSwitch 2.5 has too.
        Raises ServerError, Unreachable.
        """
        requests = {table: {"columns": columns, "select": {"initial": False}}
                    for table, columns in tables.items()}
        self.call("monitor", [DATABASE, MONITOR, requests])

    def wait_update(self, timeout: float) -> bool:
        """Wait at most timeout seconds for a monitored change; returns whether one came.

        Changes that came since the last call count, the client's own included. The call takes all
        updates that have arrived, so that a burst of changes wakes the caller once. The client's
        timeout begins anew when the wait ends. Raises Unreachable.
        """
        until = time.monotonic() + timeout
        self._deadline = until + self._timeout  # for the answer to an echo request meanwhile
        while True:
            left = until - time.monotonic()
            received = self._receive(0 if self._updated else min(max(left, 0), LONGEST_WAIT))
            if left <= 0 or self._updated and not received:
                break
        updated, self._updated = self._updated, False
        self.restart_deadline()
        return updated

    def _connect(self, family: int, address: "Any") -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        while True:
            self._socket.settimeout(self._left())
            try:
                self._socket.connect(address)
                return
            except BlockingIOError:
                # EAGAIN, connect(2): a hung server's queue of connections is full, and poll(2)
                # does not tell when that queue has room again.
                time.sleep(0.01)

    def _left(self) -> float:
        """Seconds until the deadline (at most LONGEST_WAIT). Raises Unreachable after the deadline.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._unreachable(
                "no %sanswer within %g s: is ovsdb-server hung or overloaded?"
                % ("complete " if self._framer.partial else "", self._timeout))
        return min(left, LONGEST_WAIT)

    def _unreachable(self, problem: str) -> Unreachable:
        """Close the connection; returns the error for the caller to raise."""
        self.close()
        return Unreachable(_one_line("%s: %s" % (self.remote, problem)))

    def _garbage(self, value: "Any") -> Unreachable:
        """The error for a value that no OVSDB server sends: JSON, or the NotJson of the framer."""
        if not isinstance(value, NotJson):
            value = NotJson(json.dumps(value))
        return self._unreachable("not an OVSDB server: it sent %s" % value)

    def _send(self, messages: "List[Message]", seconds: float) -> None:
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall("".join(map(json.dumps, messages)).encode("ascii"))
        except ConnectionError:
            pass  # the next read gets the reason that the server may have sent before closing
        except OSError as error:
            raise self._unreachable(
                "the server takes no request (%s): is ovsdb-server hung?" % error)

    def _receive(self, seconds: float) -> bool:
        """Read once, waiting at most `seconds`; returns whether any bytes came."""
        try:
            self._socket.settimeout(seconds)
            data = self._socket.recv(RECEIVE_SIZE)
        except (socket.timeout, BlockingIOError):
            return False
        except OSError:
            data = b""
        if not data:
            raise self._unreachable("the server closed the connection" + (
                " in the middle of a reply" if self._framer.partial
                else ": was ovsdb-server stopped or restarted?"))
        try:
            messages = self._framer.feed(data)
        except NotJson as error:
            raise self._garbage(error)
        for message in messages:
            self._take(message)
        return True

    def _take(self, message: "Message") -> None:
        method = message.get("method")
        params = message.get("params")
        if method == "echo":  # RFC 7047, 4.1.11: the server asks whether this client still lives
            answer = {"id": message.get("id"), "result": params, "error": None}
            self._send([answer], self._left())
        elif method == "update":
            self._updated |= isinstance(params, list) and params[:1] == [MONITOR]
        elif method is None and "id" not in message:
            raise self._garbage(message)
        elif method is None and message["id"] in list(self._replies):  # an id may be any JSON
            self._replies[message["id"]] = message
