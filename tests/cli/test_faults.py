"""What goes wrong around the command: the database, races, odd data, size, other schemas."""

import json
import os
import random
import socket
import subprocess
import threading
import time

import pytest

from support.command import Run, assert_done, assert_error, run
from support.constants import LONG
from support.gate import Proxy, is_write, messages
from support.private_ovs import (
    PrivateOvs,
    load_schema,
    schema_like_2_5,
    schema_with_extra,
    schema_without,
    to_map,
)
from support.zoo import (
    add,
    add_pair,
    add_zoo,
    commits,
    dump,
    identity,
    move_port,
    our_commits,
    read_log,
    tag,
)

SHORT = "0.5"  # seconds: the limit given to the command where nobody answers
START = 10  # seconds that the command may take besides, on a busy machine

COMMANDS = [["status"], ["check"], ["mirror", "all"], ["mirror", "dom", "12"],
            ["mirror", "port", "vif12.0"], ["mirror", "dom", "12", "--wait", "30"]]


@pytest.fixture
def host(ovs):
    """A private Open vSwitch with a bridge."""
    ovs.add_bridge("xenbr0")
    return ovs


@pytest.fixture
def with_schema():
    """with_schema(schema): a private Open vSwitch of that schema, with a bridge."""
    started = []

    def start(schema):
        ovs = PrivateOvs(schema)
        started.append(ovs)
        ovs.start()
        ovs.add_bridge("xenbr0")
        return ovs

    yield start
    for ovs in started:
        ovs.stop()


# ---- size --------------------------------------------------------------------------------------
# (First, for it takes longest.)


def many_pairs(ovs, domids, **columns):
    ovs.add_many_ports("xenbr0", [
        dict({"name": "%s%d.0" % (side, domid), "external_ids": identity(domid)},
             **{"tag": domid % 4000 + 1} if side == "vif" else {})
        for domid in domids for side in ("vif", "tap")])


def test_ten_thousand_ports(host):
    """5,000 pairs in drift, within the default deadline, in few transactions."""
    many_pairs(host, range(1, 5001))
    assert "vif5000.0" in assert_done(run("status", db=host)).out
    at = commits(host)
    assert_done(run("mirror", "dom", 4321, db=host))
    assert tag(host, "tap4321.0") == 322 and commits(host) == at + 1
    log = read_log(host)
    dry = assert_done(run("mirror", "all", "--dry-run", db=host))
    assert "4999 drift" in dry.out and read_log(host) == log
    at = commits(host)
    result = assert_done(run("mirror", "all", db=host))
    assert "4999 mirrored" in result.out
    assert commits(host) - at <= 5000 / 500 + 2
    tags = {row["name"]: row["tag"] for row in host.rows("Port")}
    assert all(tags["%s%d.0" % (side, domid)] == [domid % 4000 + 1]
               for domid in range(1, 5001) for side in ("vif", "tap"))
    assert_done(run("check", "--json", db=host))


# ---- no database -------------------------------------------------------------------------------


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_no_database(tmp_path, args):
    """At once: with all the time that there is, it takes no more than to start."""
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


def test_the_deadline_where_none_is_given(host):
    host.pause()
    assert_error(run("status", db=host), 3, "5 s")


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
    """The first replies come, and then none: whatever was asked, it ends in time."""
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
    if len(replies) <= answered:  # there are no more questions than that
        assert_done(result)
        return
    assert_error(result, 3, proxy.remote, SHORT + " s")
    # A transaction without an answer: nothing half.
    tags = [port["tag"] for port in (host.port("vif12.0"), host.port("tap12.0"))]
    assert tags == [[5], [5]] if proxy.writes() else without_versions(dump(host)) == before


def without_versions(rows):
    return {table: {uuid: {column: value for column, value in row.items() if column != "_version"}
                    for uuid, row in found.items()} for table, found in rows.items()}


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_connection_is_lost_at_the_write(host, proxied, when):
    """Before the server has it, or when it has: exit 3, one line, and all or nothing."""
    add_pair(host, 12)

    def cut(message):
        if when == "after":
            ask(host, message)
        raise ConnectionResetError

    proxy = proxied(host, before=lambda message: cut(message) if is_write(message) else None)
    assert_error(run("mirror", "dom", 12, db=proxy), 3, proxy.remote)
    assert tag(host, "tap12.0") == (5 if when == "after" else None)
    assert len(our_commits(host)) == (1 if when == "after" else 0)
    # And nothing is lost by running it again.
    assert_done(run("mirror", "dom", 12, db=host))
    assert tag(host, "tap12.0") == 5


def ask(ovs, message):
    """Send the server a request of the command's, wait until it is answered."""
    with socket.socket(socket.AF_UNIX) as other:
        other.settimeout(LONG)
        other.connect(ovs.socket_path)
        other.sendall(json.dumps(message).encode())
        return next(messages(other))


# ---- a server that is none ---------------------------------------------------------------------


class Fake:
    """Listens on a unix socket; talk(connection) is what it does with each that comes."""

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
    """The n-th request gets the n-th of these (dict: result, error), the last one all others."""
    def talk(connection):
        for number, message in enumerate(messages(connection)):
            reply = dict({"result": None, "error": None},
                         **replies[min(number, len(replies) - 1)])
            if callable(reply["result"]):
                reply["result"] = reply["result"](message)
            connection.sendall(json.dumps(dict(reply, id=message["id"])).encode())
    return talk


def for_each(result):
    """A result for a transact that has this for each operation."""
    return lambda message: [result for _ in message["params"][1:]]


def real_but(transact):
    """Replies like those of a real server, but for each transact this."""
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


# Both ways of reading: all of it, and some of it.
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
    """Byte after byte, for ever: the deadline is of all of it, not of each byte."""
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
    """An ovsdb-server with a schema of ours."""

    def __init__(self, directory, schema):
        schema_file, database = (os.path.join(directory, name) for name in ("schema", "db"))
        self.remote = "unix:" + os.path.join(directory, "s")
        with open(schema_file, "w") as stream:
            json.dump(schema, stream)
        env = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        subprocess.check_call(["ovsdb-tool", "create", database, schema_file], env=env)
        # It says that it is ready by going to the background; its pid is then in the file.
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
def test_a_database_of_that_name_that_is_another(tmp_path_factory, args):
    directory = str(tmp_path_factory.mktemp("o"))
    with OtherServer(directory, dict(TINY, name="Open_vSwitch")) as server:
        assert_error(run(*args, db=server), 3, server.remote)


# ---- races -------------------------------------------------------------------------------------


class Race:
    """A Proxy's `before` that does something just before the n-th writing transaction goes on."""

    def __init__(self, *changes):
        self._changes = list(changes)

    def __call__(self, message):
        if is_write(message) and self._changes:
            self._changes.pop(0)()


def set_tag(ovs, name, value):
    return lambda: ovs.vsctl("set", "port", name, "tag=%d" % value)


@pytest.mark.parametrize("args", [["dom", "12"], ["port", "tap12.0"], ["all"],
                                  ["dom", "12", "--wait", "30"]], ids=" ".join)
def test_the_agent_retags_just_before_the_write(host, proxied, args):
    add_pair(host, 12)
    proxy = proxied(host, Race(set_tag(host, "vif12.0", 7)))
    result = assert_done(run("mirror", *args + ["--json"], db=proxy))
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (7, 7)
    assert len(proxy.writes()) == 2 and len(our_commits(host)) == 1
    assert result.pair["state"] == "mirrored"
    assert result.pair["vif"]["tag"] == result.pair["tap"]["tag"] == 7
    assert [change["new"] for change in result.pair["changes"] if change["column"] == "tag"] == [7]


def test_the_agent_tags_the_other_one_just_before_the_write(host, proxied):
    """Two VLANs and no history: a conflict, and neither is overwritten."""
    add_pair(host, 12)
    proxy = proxied(host, Race(set_tag(host, "tap12.0", 6)))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy), 1)
    assert result.pair["state"] == "conflict"
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (5, 6)


def test_a_decision_between_read_and_write_of_a_pair_with_history(host, proxied):
    add_pair(host, 12)
    assert_done(run("mirror", "dom", 12, db=host))
    host.vsctl("set", "port", "vif12.0", "tag=8")
    proxy = proxied(host, Race(set_tag(host, "vif12.0", 9)))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (9, 9)
    assert len(proxy.writes()) == 2


@pytest.mark.parametrize("gone", ["vif12.0", "tap12.0"])
def test_a_port_goes_just_before_the_write(host, proxied, gone):
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: host.delete_port(gone)))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy))
    left = {"vif12.0": "tap12.0", "tap12.0": "vif12.0"}[gone]
    assert result.pair["state"] == "single"
    assert tag(host, left) == {"vif12.0": 5, "tap12.0": None}[left]
    assert host.port(gone) is None and host.interface(gone) is None


@pytest.mark.parametrize("args, code", [(["all"], 0), (["dom", "12"], 2), (["port", "vif12.0"], 2)],
                         ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_the_domain_ends_just_before_the_write(host, proxied, args, code):
    """Both ports go: there is nothing left to do for it, and it is no fault of the database."""
    add_pair(host, 12)
    add_pair(host, 13)
    if args != ["all"]:
        host.delete_port("vif13.0")

    def end():
        for name in ("vif12.0", "tap12.0"):
            host.delete_port(name)

    proxy = proxied(host, Race(end))
    result = run("mirror", *args, db=proxy)
    if code:
        assert_error(result, code, args[-1])
    else:
        assert_done(result)
        assert tag(host, "tap13.0") == 5


def test_a_port_moves_to_another_bridge_just_before_the_write(host, proxied):
    """Its row stays what it was: only the Bridge rows say it."""
    host.add_bridge("xenbr1")
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: move_port(host, "tap12.0", "xenbr0", "xenbr1")))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy), 1)
    assert result.pair["state"] == "refused" and "xenbr1" in result.pair["reason"]
    assert tag(host, "tap12.0") is None
    assert len(proxy.writes()) >= 1


def test_a_port_becomes_another_guests_just_before_the_write(host, proxied):
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: host.vsctl(
        "set", "interface", "tap12.0", "external_ids:xs-vif-uuid=another")))
    assert_done(run("mirror", "dom", 12, db=proxy), 1)
    assert tag(host, "tap12.0") is None


def test_a_port_is_made_anew_just_before_the_write(host, proxied):
    add_pair(host, 12)

    def replug():
        host.delete_port("tap12.0")
        add(host, "tap12.0", {"note": "new"})

    proxy = proxied(host, Race(replug))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy))
    assert result.pair["state"] == "mirrored" and tag(host, "tap12.0") == 5
    assert host.interface("vif12.0")["external_ids"]["note"] == "new"


def test_an_id_comes_just_before_the_write(host, proxied):
    add_pair(host, 12)
    proxy = proxied(host, Race(
        lambda: host.vsctl("set", "interface", "vif12.0", "external_ids:note=new")))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert host.interface("tap12.0")["external_ids"]["note"] == "new"
    assert len(proxy.writes()) == 2


def test_what_does_not_matter_is_no_lost_race(host, proxied):
    """ovs-vswitchd writes statistics all the time."""
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: (
        host.vsctl("set", "interface", "vif12.0", "statistics:rx_packets=7", "mtu=1500"),
        host.vsctl("set", "port", "vif12.0", "statistics:x=7"),
        host.add_port("xenbr0", "eth0"))))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert len(proxy.writes()) == 1 and tag(host, "tap12.0") == 5


@pytest.mark.parametrize("args", [["dom", "12"], ["all"]], ids=" ".join)
def test_another_tagger_was_faster(host, proxied, args):
    """It has written the same: nothing is written twice."""
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: assert_done(run("mirror", "all", db=host))))
    result = assert_done(run("mirror", *args + ["--json"], db=proxy))
    assert result.pair["state"] == "in-sync" and result.pair["changes"] == []
    assert len(proxy.writes()) == 1 and len(our_commits(host)) == 1
    assert tag(host, "tap12.0") == 5


def never_the_same(ovs, name):
    """A change of this port before each writing transaction, without end."""
    tags = iter(range(10, 4000))

    def before(message):
        if is_write(message):
            set_tag(ovs, name, next(tags))()
    return before


@pytest.mark.parametrize("args", [["dom", "12"], ["all"], ["dom", "12", "--json"]], ids=" ".join)
def test_a_pair_that_never_stands_still(host, proxied, args):
    """A bounded number of tries; what came of it is said, and is not called a time-out."""
    add_pair(host, 12)
    proxy = proxied(host, never_the_same(host, "vif12.0"))
    result = run("mirror", *args, db=proxy)
    assert 2 <= len(proxy.writes()) <= 50
    assert our_commits(host) == [] and tag(host, "tap12.0") is None
    assert result.code in (1, 3), result
    assert result.err.count("\n") == 1 and "12.0" in result.err, result
    assert "timed out" not in result.err + result.out, result


def test_a_pair_that_never_stands_still_does_not_hold_up_others(host, proxied):
    for domid in range(1, 21):
        add_pair(host, domid)
    proxy = proxied(host, never_the_same(host, "vif12.0"))
    result = run("mirror", "all", db=proxy)
    assert result.code in (1, 3) and "12.0" in result.err, result
    assert [domid for domid in range(1, 21) if tag(host, "tap%d.0" % domid) != 5] == [12]
    assert len(our_commits(host)) <= 21


def test_two_runs_at_once(host, proxied):
    """Each has read all before either writes: the barrier is in the way of the first write."""
    many_pairs(host, range(200))
    barrier = threading.Barrier(2)

    def before(held=[]):  # noqa: B006
        first = []

        def hook(message):
            if is_write(message) and not first:
                first.append(True)
                barrier.wait(LONG)
        return hook

    at = commits(host)
    proxies = [proxied(host, before()) for _ in range(2)]
    runs = [Run("mirror", "all", "--json", db=proxy) for proxy in proxies]
    try:
        results = [assert_done(one.end()) for one in runs]
    finally:
        for one in runs:
            one.__exit__()
    assert all(tag(host, "%s%d.0" % (side, domid)) == domid + 1
               for domid in range(200) for side in ("vif", "tap"))
    assert commits(host) - at <= 3
    mirrored = [sum(pair["state"] == "mirrored" for pair in result.pairs) for result in results]
    assert sum(mirrored) == 200
    assert {pair["state"] for result in results for pair in result.pairs} <= {
        "mirrored", "in-sync"}
    # Nor does the one that comes second try one pair after the other.
    assert sum(len(proxy.writes()) for proxy in proxies) < 50


def test_another_tagger_was_faster_with_many(host, proxied):
    """The server looks through the whole table for each name: not for thousands, one by one."""
    many_pairs(host, range(1, 2001))
    proxy = proxied(host, Race(lambda: assert_done(run("-q", "mirror", "all", db=host))))
    at = commits(host)
    result = assert_done(run("--timeout", LONG, "mirror", "all", db=proxy))
    assert "2000 in-sync" in result.out
    assert commits(host) - at <= 2000 / 500 + 2
    selects = [operation for message in proxy.requests("transact")
               for operation in message["params"][1:] if operation["op"] == "select"]
    assert sum(["name", "==", operation["where"][0][2]] in operation["where"]
               for operation in selects if operation["where"]) < 500


def test_an_agent_at_work_does_not_keep_others_from_being_written(host, proxied):
    """It retags one pair after the other, each once, as Neutron's does when it starts.

    None of them changes all the time, so none is given up.
    """
    domids = range(1, 41)
    many_pairs(host, domids)
    retagged = iter(range(1, 31))

    def before(message):
        # (What is written alone is written in peace.)
        if is_write(message) and str(message).count("'comment': '") > 1:
            domid = next(retagged, None)
            if domid:
                set_tag(host, "vif%d.0" % domid, 1000 + domid)()

    proxy = proxied(host, before)
    assert_done(run("mirror", "all", db=proxy))
    for domid in domids:
        assert tag(host, "tap%d.0" % domid) == tag(host, "vif%d.0" % domid)


# ---- one pair that the database will not have --------------------------------------------------


def schema_with_index(table, *columns):
    """The installed schema, where no two rows may have the same in all of these columns.

    The server finds that at the commit, and so tells of no operation.
    """
    schema = schema_without()
    schema["tables"][table]["indexes"] = schema["tables"][table].get("indexes", []) + [columns]
    return schema


def schema_with_limit(table, column, limit):
    """The installed schema, where a map has room for fewer: found at the operation."""
    schema = schema_without()
    schema["tables"][table]["columns"][column]["type"]["max"] = limit
    return schema


def add_refused_one(ovs, how):
    """Twenty pairs in drift; the server will not take what pair 12 is to become."""
    for domid in range(1, 21):
        odd = domid == 12
        own = {"k%d" % number: "v" for number in range(3)} if odd else {}
        if how == "commit":
            config = {"n": "12 both"} if odd else None
            add_pair(ovs, domid, vif={"tag": 5, "other_config": config or {"n": "%d" % domid}},
                     tap={"other_config": config or {"n": "%d tap" % domid}})
        else:
            add_pair(ovs, domid, tap={"port_external_ids": own})


SCHEMAS_THAT_REFUSE = {
    "operation": lambda: schema_with_limit("Port", "external_ids", 3),
    "commit": lambda: schema_with_index("Port", "tag", "other_config"),
}


@pytest.mark.parametrize("args", [["all"], ["all", "--json"], ["dom", "12"]], ids=" ".join)
@pytest.mark.parametrize("how", sorted(SCHEMAS_THAT_REFUSE))
def test_one_pair_that_the_database_refuses(with_schema, how, args):
    ovs = with_schema(SCHEMAS_THAT_REFUSE[how]())
    add_refused_one(ovs, how)
    result = run("mirror", *args, db=ovs)
    # It is said, in one line, of which pair and why.
    assert result.code not in (0, 2) and result.err.count("\n") == 1, result
    assert "12.0" in result.err, result
    assert {"operation": "0 to 3 members", "commit": "constraint violation"}[how] in result.err
    expected = [12] if args[0] == "all" else list(range(1, 21))
    assert [domid for domid in range(1, 21) if tag(ovs, "tap%d.0" % domid) != 5] == expected
    assert tag(ovs, "vif12.0") == 5


# ---- data of all kinds -------------------------------------------------------------------------

NASTY = {
    "quotes": 'a "quoted" \'value\' `x` $(y)',
    "backslashes": "\\ \\\\ \\n \\u0041 \\",
    "commas": ",a,,b,",
    "equals": "=a==b=c",
    "spaces": "  a  b  ",
    "newlines": "\na\n\nb\r\nc\n",
    "tab": "\ta\tb",
    "control": "".join(map(chr, range(1, 32))) + "\x7f" + "\x80\x9b\xa0",
    "letters": "naïve Ünïcödé ßẞ łódź",
    "CJK": "虚拟机 仮想マシン 가상머신",
    "emoji": "🐧👩‍👩‍👧‍👦🇩🇪",
    "combining": "e\u0301 \u202e rtl \u200b \ufeff \u2028 \U0010ffff",
    "empty": "",
    "JSON": '{"a": ["set", []], "b": null}',
    "OVSDB": '["map",[]]',
    "braces": "}{}{[[\"}{\"",
    "number": "0005",
    "true": "true",
    "%s %d {} %(a)s": "%s %d {0} %(a)s",
    "": "an empty key",
    " ": "a space for a key",
    "a key: with, all = \"that\" \\ \n": "x",
    "ключ 🔑": "значение",
    "-- set": "--",
}


def raw_ids(ovs, table, name):
    """external_ids as the server sends them."""
    row = ovs.transact({"op": "select", "table": table, "where": [["name", "==", name]],
                        "columns": ["external_ids"]})[0]["rows"][0]
    kind, items = row["external_ids"]
    assert kind == "map"
    return dict(items)


def set_ids(ovs, table, name, ids):
    ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", name]],
                  "mutations": [["external_ids", "insert", to_map(ids)]]})


@pytest.mark.parametrize("source, target", [("vif12.0", "tap12.0"), ("tap12.0", "vif12.0")])
@pytest.mark.parametrize("what", ["nasty", "1000 keys", "100 kB", "random"])
def test_ids_are_copied_to_the_letter(host, source, target, what):
    letters = random.Random(7)
    ids = {
        "nasty": NASTY,
        "1000 keys": {"key %d" % number: "value %d ü" % number for number in range(1000)},
        "100 kB": {"long": 25000 * "aü🐧"[:4] + "\"\\\n", 10000 * "k": "a long key"},
        "random": {"".join(chr(letters.choice([letters.randrange(1, 0xd800),
                                               letters.randrange(0xe000, 0x110000),
                                               letters.randrange(1, 128)]))
                           for _ in range(letters.randrange(40))): "".join(
            chr(letters.randrange(1, 0x300)) for _ in range(40)) for _ in range(100)},
    }[what]
    add_pair(host, 12)
    for table in ("Interface", "Port"):
        set_ids(host, table, source, ids)
    dry = assert_done(run("mirror", "dom", 12, "--dry-run", "--json", db=host)).pair
    done = assert_done(run("mirror", "dom", 12, "--json", db=host)).pair
    assert done["changes"] == dry["changes"]
    for table in ("Interface", "Port"):
        expected = dict(ids, **(identity(12) if table == "Interface" else {}))
        for name in (source, target):
            found = raw_ids(host, table, name)
            found.pop("xenvif-tagger", None)
            assert found == expected
    # Nothing is left to do, as text and as JSON; and then a change and a removal are followed.
    log = read_log(host)
    assert_done(run("mirror", "dom", 12, db=host))
    assert_done(run("status", db=host))
    assert read_log(host) == log
    key = sorted(ids)[len(ids) // 2]
    if len(ids) > 1:
        gone = sorted(ids)[0] if sorted(ids)[0] != key else sorted(ids)[-1]
        host.transact({"op": "mutate", "table": "Port", "where": [["name", "==", target]],
                      "mutations": [["external_ids", "delete", ["set", [gone]]]]})
        host.transact(
            {"op": "mutate", "table": "Interface", "where": [["name", "==", target]],
             "mutations": [["external_ids", "delete", ["set", [key]]],
                           ["external_ids", "insert", to_map({key: "changed\n"})]]})
        assert_done(run("mirror", "dom", 12, db=host))
        assert gone not in raw_ids(host, "Port", source)
        assert raw_ids(host, "Interface", source)[key] == "changed\n"


NEVER = {
    "iface-status": "active", "ovn-installed": "true", "ovn-installed-ts": "1700000000",
    "xs-network-uuid": "n", "xenvif-tagger-not": "", "mine": "x", "my-1": "x", "my-2": "",
}


@pytest.mark.parametrize("side", ["vif", "tap"])
def test_excluded_keys_are_never_copied(host, tmp_path, side):
    """And never taken away, where the sibling has them not or others."""
    config = tmp_path / "conf"
    config.write_text("[mirror]\nexclude = mine, my-*\n")
    keys = dict(NEVER)
    del keys["xenvif-tagger-not"], keys["xs-network-uuid"]
    add_pair(host, 12)
    source, other = "%s12.0" % side, {"vif": "tap", "tap": "vif"}[side] + "12.0"
    for table in ("Interface", "Port"):
        set_ids(host, table, source, dict(keys, **{"copied": "yes", "iface-id": "port-a"}))
        set_ids(host, table, other, {"my-3": "its own"})
    before = {(table, name): raw_ids(host, table, name)
              for table in ("Interface", "Port") for name in (source, other)}
    for again in ("yes", "no"):
        set_ids(host, "Interface", source, {"again": again})
        assert_done(run("--config", str(config), "mirror", "dom", 12, db=host))
    for table in ("Interface", "Port"):
        found = raw_ids(host, table, other)
        assert found["copied"] == "yes"
        assert not (set(keys) | {"iface-id"}) & set(found)
        assert found["my-3"] == "its own"
        source_now = raw_ids(host, table, source)
        assert "my-3" not in source_now
        assert {key: source_now[key] for key in before[table, source]} == before[table, source]


def test_identity_and_our_own_key_are_never_copied(host):
    """A key that looks like ours on an Interface is nobody's mark, and stays where it is."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"xs-network-uuid": "n", "xen-vm-uuid": "u",
                                             "xenvif-tagger": "{}"}})
    assert_done(run("mirror", "dom", 12, db=host))
    assert raw_ids(host, "Interface", "tap12.0") == identity(12)
    assert raw_ids(host, "Interface", "vif12.0")["xenvif-tagger"] == "{}"


@pytest.mark.parametrize("mark", [
    "", "{", "null", "5", "[]", '{"base": 5}', '{"base": {"port": 5}}', '{"vif": []}', "x" * 70000,
    '{"held": {"tag": "x"}}', "[" * 100000, '{"kept": {"iface-id": null}}', '{"seen": {}}',
    '{"base": {"port": "x", "unit": {"tag": 5}, "Port": {}, "Interface": {}}}',
    '{"boot": 5, "vif": {"a": 5}}', "\x01ü🐧", '{"vif": {"\\ud800": "\\ud800"}}',
])
@pytest.mark.parametrize("side", ["vif", "tap"])
def test_a_mark_that_somebody_spoilt(host, mark, side):
    add_pair(host, 12)
    set_ids(host, "Port", side + "12.0", {"xenvif-tagger": mark})
    for args in (["status"], ["mirror", "dom", "12"], ["check"]):
        assert_done(run(*args, db=host))
    assert tag(host, "tap12.0") == 5
    log = read_log(host)
    assert_done(run("mirror", "dom", 12, db=host))
    assert read_log(host) == log


# ---- schemas -----------------------------------------------------------------------------------

SCHEMAS = {
    "2.5": schema_like_2_5,
    "installed": load_schema,
    "extra columns": lambda: schema_with_extra({
        "Port": {"colour": {"type": {"key": "string", "min": 0, "max": "unlimited"}}},
        "Interface": {"weight": {"type": {"key": "real", "min": 0}},
                      "peers": {"type": {"key": {"type": "uuid", "refTable": "Interface",
                                                 "refType": "weak"},
                                         "min": 0, "max": "unlimited"}}},
        "Bridge": {"mood": {"type": "string"}}}),
    "no policing": lambda: schema_without("Interface.ingress_policing_rate",
                                          "Interface.ingress_policing_burst"),
}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas(with_schema, tmp_path, name):
    schema = SCHEMAS[name]()
    ovs = with_schema(schema)
    config = tmp_path / "conf"
    config.write_text("[mirror]\npolicing = yes\n")
    cvlans = "cvlans" in schema["tables"]["Port"]["columns"]
    policing = "ingress_policing_rate" in schema["tables"]["Interface"]["columns"]
    assert cvlans == (name != "2.5") and policing == (name != "no policing")
    unit = {"tag": 5, "vlan_mode": "native-tagged", "trunks": [6, 7]}
    if cvlans:
        unit = {"tag": 5, "vlan_mode": "dot1q-tunnel", "cvlans": [6, 7]}
    add_pair(ovs, 12, vif=dict(unit, ids={"note": "x"}))
    add_pair(ovs, 13, vif={}, tap={"tag": 8}, emu=True)
    add(ovs, "vif14.0")
    if policing:
        ovs.vsctl("set", "interface", "vif12.0", "ingress_policing_rate=1000")
    if name == "extra columns":
        ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", "vif12.0"]],
                      "row": {"colour": ["set", ["red", "blue"]]}},
                     {"op": "update", "table": "Interface", "where": [],
                      "row": {"weight": 0.1}})
    conf = ["--config", str(config)]
    log = read_log(ovs)
    pairs = {pair["domid"]: pair for pair in assert_done(run(
        *conf + ["status", "--json"], db=ovs)).pairs}
    assert [pairs[domid]["state"] for domid in (12, 13, 14)] == ["drift", "drift", "single"]
    assert pairs[12]["vif"]["cvlans"] == ([6, 7] if cvlans else [])
    assert_done(run(*conf + ["mirror", "dom", "12", "--dry-run"], db=ovs))
    assert read_log(ovs) == log
    assert_done(run(*conf + ["mirror", "dom", "12"], db=ovs))
    assert_done(run(*conf + ["mirror", "all"], db=ovs))
    assert_done(run(*conf + ["check"], db=ovs))
    vif, tap = ovs.port("vif12.0"), ovs.port("tap12.0")
    for column in ("tag", "vlan_mode", "trunks") + (("cvlans",) if cvlans else ()):
        assert vif[column] == tap[column]
    assert tap["vlan_mode"] == [unit["vlan_mode"]]
    assert tag(ovs, "vif13.0") == 8
    assert ovs.interface("tap12.0")["external_ids"]["note"] == "x"
    if policing:
        assert ovs.interface("tap12.0")["ingress_policing_rate"] == 1000
    if name == "extra columns":
        assert vif["colour"] == ["blue", "red"] and tap["colour"] == []


def test_a_held_port_on_2_5(with_schema, tmp_path):
    """The hold's form without cvlans: told apart by the database, whichever port is looked at."""
    ovs = with_schema(schema_like_2_5())
    held = {"tag": 4095, "port_external_ids": {"xenvif-tagger": json.dumps(
        {"held": {"tag": 4095}})}}
    add_pair(ovs, 17, vif=held, tap=held)
    result = assert_done(run("mirror", "dom", 17, "--json", db=ovs))
    assert result.pair["state"] == "held"
    assert tag(ovs, "vif17.0") == tag(ovs, "tap17.0") == 4095
    ovs.vsctl("set", "port", "vif17.0", "tag=5")
    assert_done(run("mirror", "dom", 17, db=ovs))
    assert tag(ovs, "tap17.0") == 5


def test_the_database_is_upgraded_while_it_waits(with_schema):
    """A conversion under way cuts the connection off, or not: never a traceback."""
    ovs = with_schema(schema_like_2_5())
    add(ovs, "vif12.0", tag=5)
    with Proxy(os.path.join(ovs.dir, "p"), ovs.remote) as proxy:
        with Run("mirror", "dom", 12, "--wait", LONG, db=proxy) as waiter:
            proxy.wait_until_waiting()
            ovs.restart_server(load_schema())
            assert_error(waiter.end(), 3, proxy.remote)
    add_zoo(ovs, 14)
    assert_done(run("status", db=ovs))
