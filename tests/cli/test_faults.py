"""Faults around the command: a very large database, no database, a server that hangs, and a server
that is no ovsdb-server."""
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from support.command import Run, assert_done, assert_error, run
from support.constants import LONG
from support.private_ovs import (
    load_schema,
)
from support.proxy import is_write, messages
from support.zoo import (
    add_pair,
    commits,
    dump,
    many_pairs,
    our_commits,
    read_log,
    tag,
)

SHORT = "0.5"  # seconds: the command's --timeout in tests in which no server answers
START = LONG / 2  # seconds that the command may take beyond its --timeout, on a busy machine
PATIENT = ["--timeout", LONG]  # options of a command that must have its answer, on a busy machine
COMMANDS = [["status"], ["check"], ["mirror", "all"], ["mirror", "dom", "12"],
            ["mirror", "port", "vif12.0"], ["mirror", "dom", "12", "--wait", "30"]]


# ---- size --------------------------------------------------------------------------------------


def test_ten_thousand_ports_are_mirrored(host):
    """The command mirrors 5,000 pairs that drift, in few transactions."""
    many_pairs(host, range(1, 5001))
    assert "vif5000.0" in assert_done(run(*PATIENT, "status", db=host)).out
    at = commits(host)
    assert_done(run(*PATIENT, "mirror", "dom", 4321, db=host))
    assert tag(host, "tap4321.0") == 322 and commits(host) == at + 1
    log = read_log(host)
    dry = assert_done(run(*PATIENT, "mirror", "all", "--dry-run", db=host))
    assert "4999 drift" in dry.out and read_log(host) == log
    at = commits(host)
    result = assert_done(run(*PATIENT, "mirror", "all", db=host))
    assert "4999 mirrored" in result.out
    assert commits(host) - at <= 5000 / 500 + 2
    tags = {row["name"]: row["tag"] for row in host.rows("Port")}
    assert all(tags["%s%d.0" % (side, domid)] == [domid % 4000 + 1]
               for domid in range(1, 5001) for side in ("vif", "tap"))
    assert_done(run(*PATIENT, "check", "--json", db=host))


# ---- no database -------------------------------------------------------------------------------


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_no_database(tmp_path, args):
    """The command fails at once, although its timeout would let it wait for an hour."""
    remote = "unix:%s/db.sock" % tmp_path
    started = time.monotonic()
    assert_error(run("--timeout", 3600, *args, db=remote), 3, remote, "ovsdb-server")
    assert time.monotonic() - started < START


def test_a_socket_on_which_nobody_listens(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert_error(run("--timeout", 3600, "status", db="unix:" + path), 3, path, "ovsdb-server")


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_server_that_was_stopped(host, kill):
    add_pair(host, 12)
    host.stop_server(kill)
    assert_error(run("mirror", "dom", 12, db=host), 3, host.remote, "ovsdb-server")
    host.start_server()
    assert_done(run("mirror", "dom", 12, db=host))


def test_a_port_on_which_nobody_listens():
    with socket.socket() as reserved:  # bound, and not listening
        reserved.bind(("127.0.0.1", 0))
        remote = "tcp:127.0.0.1:%d" % reserved.getsockname()[1]
        assert_error(run("--timeout", 3600, "status", db=remote), 3, remote)


def test_no_socket_at_all(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    for path in (plain, tmp_path, "/dev/null"):
        assert_error(run("status", db="unix:%s" % path), 3, str(path))


# ---- a server that hangs -----------------------------------------------------------------------


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_hung_server(host, args):
    host.pause()
    started = time.monotonic()
    assert_error(run("--timeout", SHORT, *args, db=host), 3, host.remote, SHORT + " s")
    assert time.monotonic() - started < float(SHORT) + START


def test_the_default_deadline(host):
    host.pause()
    assert_error(run("status", db=host, env={"XENVIF_TAGGER_CONFIG": os.devnull}), 3, "5 s")


def test_a_hung_server_with_a_full_queue(host):
    host.pause()
    waiting = []
    try:
        while True:
            one = socket.socket(socket.AF_UNIX)
            waiting.append(one)
            one.setblocking(False)
            one.connect(host.socket_path)
    except BlockingIOError:
        pass
    finally:
        try:
            assert_error(run("--timeout", SHORT, "status", db=host), 3, SHORT + " s")
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize("answered", range(5))
@pytest.mark.parametrize("args", [["mirror", "dom", "12"], ["mirror", "all"],
                                  ["mirror", "dom", "12", "--wait", "30"]], ids=" ".join)
def test_a_server_that_hangs_later(host, proxied, args, answered):
    """The server answers the first requests and no later one: the command ends in time, whichever
    request is the first without an answer."""
    add_pair(host, 12)
    before = without_versions(dump(host))
    replies = []

    def after(message):
        if message.get("method") is None:
            replies.append(message)
            return len(replies) <= answered
        return None

    proxy = proxied(host, after=after)
    with Run("--timeout", SHORT, *args, db=proxy) as started:
        result = started.end()
    if len(replies) <= answered:  # the command had no more requests than the server answered
        assert_done(result)
        return
    assert_error(result, 3, proxy.remote, SHORT + " s")
    # A transaction whose answer is lost has changed the pair completely, or not at all.
    tags = [port["tag"] for port in (host.port("vif12.0"), host.port("tap12.0"))]
    assert tags == [[5], [5]] if proxy.writes() else without_versions(dump(host)) == before


def without_versions(rows):
    return {table: {uuid: {column: value for column, value in row.items() if column != "_version"}
                    for uuid, row in found.items()} for table, found in rows.items()}


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_connection_is_lost_at_the_write(host, proxied, when):
    """The connection breaks before the transaction reaches the server, or after: the command ends
    with 3 and one line, and the database has the whole transaction or nothing."""
    add_pair(host, 12)

    def cut(message):
        if when == "after":
            ask(host, message)
        raise ConnectionResetError

    proxy = proxied(host, before=lambda message: cut(message) if is_write(message) else None)
    assert_error(run("mirror", "dom", 12, db=proxy), 3, proxy.remote)
    assert tag(host, "tap12.0") == (5 if when == "after" else None)
    assert len(our_commits(host)) == (1 if when == "after" else 0)
    # Another run of the command completes the work.
    assert_done(run("mirror", "dom", 12, db=host))
    assert tag(host, "tap12.0") == 5


def ask(ovs, message):
    """Send a request of the command to the server, on a connection of the test's own; returns the
    answer."""
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(LONG)
        other.connect(ovs.socket_path)
        other.sendall(json.dumps(message).encode())
        return next(messages(other))


# ---- a server that is no ovsdb-server ----------------------------------------------------------


class Fake:
    """A server on a unix socket that calls talk(connection) for each connection."""

    def __init__(self, path, talk):
        self.remote = "unix:" + path
        self._talk = talk
        self._connections = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(LONG)
        for connection in self._connections:
            connection.close()
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            connection.settimeout(LONG)
            self._connections.append(connection)
            try:
                self._talk(connection)
            except OSError:
                pass  # the command has gone


def say(data, end=True):
    def talk(connection):
        connection.recv(1 << 16)
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
    return talk


def answer(*replies):
    """A talk that answers the n-th request with the n-th reply (dict: result, error), and all later
    requests with the last reply."""
    def talk(connection):
        for number, message in enumerate(messages(connection)):
            reply = dict({"result": None, "error": None},
                         **replies[min(number, len(replies) - 1)])
            if callable(reply["result"]):
                reply["result"] = reply["result"](message)
            connection.sendall(json.dumps(dict(reply, id=message["id"])).encode())
    return talk


def for_each(result):
    """The result of a transact, with the same result for each of its operations."""
    return lambda message: [result for _ in message["params"][1:]]


def real_but(transact):
    """A talk that passes a real server's answers on, but answers each transact by
    transact(message)."""
    def right(message):
        return {"get_schema": lambda: load_schema(), "monitor": lambda: {},
                "transact": lambda: transact(message)}[message["method"]]()
    return answer({"result": right})


SCHEMA = {"tables": {"Port": {"columns": {}}}}
ROW = {"_uuid": ["uuid", "11111111-1111-4111-8111-111111111111"], "name": "vif12.0"}
FAKES = {
    "nothing": lambda connection: None,
    "nothing, and it hangs up": lambda connection: connection.close(),
    "it hangs up at once when asked": say(b""),
    "HTTP": say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "a prompt": say(b"login: ", end=False),
    "bytes": say(bytes(range(256))),
    "NULs": say(4096 * b"\0", end=False),
    "a number": say(b"5"),
    "a list": say(b"[]"),
    "null": say(b"null"),
    "an object": say(b"{}", end=False),
    "not JSON": say(b"{'id': 1}"),
    "half a reply": say(b'{"id": 1, "error": null, "result": {"tab'),
    "half a reply, and it hangs": say(b'{"id": 1, "error": null, "result": {"tab', end=False),
    "half a letter": say(b'{"id": 1, "result": "\xc3'),
    "an open end": say(100000 * b'{"a":', end=False),
    "another's reply": say(b'{"id": 77, "error": null, "result": {}}', end=False),
    "a request": say(b'{"id": 1, "method": "x", "params": []}', end=False),
    "an odd echo": say(b'{"id": {"a": []}, "method": "echo"}', end=False),
    "an odd update": say(b'{"id": null, "method": "update", "params": 5}', end=False),
    "errors": answer({"error": {"error": "unknown database", "details": "none \x1b[31m such"}}),
    "an error of two lines": answer({"error": "two\nlines"}),
    "an error that is a number": answer({"error": 5}),
    "no result": answer({"result": None}),
    "a schema that is text": answer({"result": "schema"}),
    "a schema that is none": answer({"result": {}}),
    "a schema without tables": answer({"result": {"tables": {}}}),
    "a schema that lacks some tables": answer({"result": SCHEMA}, {"result": for_each(
        {"rows": []})}),
    "an error for each operation": real_but(
        for_each({"error": "resources exhausted", "details": "full\nup"})),
    "an error for each transaction": answer({"result": load_schema()},
                                            {"error": {"error": "not allowed"}}),
    "an error of the commit": real_but(lambda message: [
        {"rows": []} for _ in message["params"][1:]] + [{"error": "I/O error"}]),
    "results too few": real_but(lambda message: []),
    "results too many": real_but(lambda message: 100 * [{"rows": []}]),
    "results null": real_but(for_each(None)),
    "results empty": real_but(for_each({})),
    "rows that are null": real_but(for_each({"rows": None})),
    "rows that are numbers": real_but(for_each({"rows": [5]})),
    "rows without columns": real_but(for_each({"rows": [{}]})),
    "rows with nothing but names": real_but(for_each({"rows": [ROW]})),
    "columns of other types": real_but(for_each({"rows": [dict(
        ROW, tag="x", interfaces=5, ports=[], external_ids={}, other_config=None, vlan_mode=5,
        trunks="x", cvlans=[], fake_bridge=[], ofport={}, error=7)]})),
    "deep": say(b'{"id": 1, "error": null, "result": ' + 100000 * b"[" + 100000 * b"]" + b"}"),
}


# status reads all pairs, mirror dom reads one domain's, and --wait also monitors the database.
@pytest.mark.parametrize("args", [["status"], ["mirror", "dom", "12"],
                                  ["mirror", "dom", "12", "--wait", "30"]], ids=" ".join)
@pytest.mark.parametrize("name", sorted(FAKES))
def test_a_server_that_misbehaves(tmp_path_factory, name, args):
    path = str(tmp_path_factory.mktemp("f") / "s")
    with Fake(path, FAKES[name]) as fake:
        started = time.monotonic()
        assert_error(run("--timeout", SHORT, *args, db=fake), 3, fake.remote)
        assert time.monotonic() - started < float(SHORT) + START


def test_a_server_that_never_ends_its_reply(tmp_path_factory):
    """The server sends one byte after the other, for ever: the deadline counts for the whole reply,
    not for each byte."""
    ended = threading.Event()

    def drip(connection):
        connection.recv(1 << 16)
        connection.sendall(b'{"id": 1, "result": "')
        while not ended.wait(0.01):
            connection.sendall(b"x")

    with Fake(str(tmp_path_factory.mktemp("f") / "s"), drip) as fake:
        try:
            assert_error(run("--timeout", SHORT, "status", db=fake), 3, fake.remote, SHORT + " s")
        finally:
            ended.set()


class OtherServer:
    """An ovsdb-server whose database has a schema of the test's own."""

    def __init__(self, directory, schema):
        schema_file, database = (os.path.join(directory, name) for name in ("schema", "db"))
        self.remote = "unix:" + os.path.join(directory, "s")
        with open(schema_file, "w") as stream:
            json.dump(schema, stream)
        env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        subprocess.check_call(["ovsdb-tool", "create", database, schema_file], env=env)
        # ovsdb-server goes to the background when it is ready; then the file has its pid.
        self._pid_file = os.path.join(directory, "pid")
        subprocess.check_call([
            "ovsdb-server", "--remote=p" + self.remote, "--detach", "--pidfile=" + self._pid_file,
            "--unixctl=" + os.path.join(directory, "ctl"), "--no-chdir", "-vconsole:off",
            "--log-file=" + os.path.join(directory, "log"), database], env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with open(self._pid_file) as stream:
            os.kill(int(stream.read()), 9)


TINY = {"name": "Tiny", "version": "1.0.0",
        "tables": {"Port": {"columns": {"name": {"type": "string"}}}}}


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_server_without_the_database(tmp_path_factory, args):
    directory = str(tmp_path_factory.mktemp("o"))
    with OtherServer(directory, TINY) as server:
        assert_error(run(*args, db=server), 3, server.remote, "Open_vSwitch")


@pytest.mark.parametrize("args", [["status"], ["mirror", "all"],
                                  ["mirror", "dom", "12", "--wait", "30"]], ids=" ".join)
def test_a_database_of_our_name_with_another_schema(tmp_path_factory, args):
    directory = str(tmp_path_factory.mktemp("o"))
    with OtherServer(directory, dict(TINY, name="Open_vSwitch")) as server:
        assert_error(run(*args, db=server), 3, server.remote)
