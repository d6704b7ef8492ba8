"""The one-shot OVSDB client, against a real ovsdb-server and against servers that misbehave."""

import fcntl
import itertools
import json
import os
import socket
import struct
import tempfile
import termios
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.constants import LONG
from xenvif_tagger.ovsdb.client import (
    BadRemote,
    Client,
    Framer,
    NotJson,
    OperationError,
    OvsdbError,
    ServerError,
    Unreachable,
    _addresses,
)
from xenvif_tagger.ovsdb.values import from_map, from_set, from_uuid, to_map, to_set, uuid

SHORT = 0.5  # seconds: the client's limit where the server never answers

PORT_NAMES = {"op": "select", "table": "Port", "where": [], "columns": ["name"]}


def where_name(name):
    return [["name", "==", name]]


def problem_of(call, *args):
    """The one line that the call's OvsdbError says; the time it took is not the client's LONG."""
    started = time.monotonic()
    with pytest.raises(OvsdbError) as caught:
        call(*args)
    assert time.monotonic() - started < LONG / 2
    text = str(caught.value)
    assert text.isprintable()  # so: one line
    return caught.value, text


# ---- a server of one's own ----------------------------------------------------------------------


class Server:
    """Accepts one connection and runs `talk(connection)` on it in a thread.

    What talk raises, the test gets at the end. The connection stays open until then, unless talk
    closes it.
    """

    def __init__(self, path, talk):
        self.remote = "unix:" + path
        self._talk = talk
        self._problem = None
        self._done = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(LONG)
        self._listener.bind(path)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            connection = self._listener.accept()[0]
            with connection:
                connection.settimeout(LONG)
                self._talk(connection)
                self._done.wait(LONG)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has given up, which the test looks at on its side
        except Exception as error:
            self._problem = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._done.set()
        self._thread.join(LONG)
        self._listener.close()
        if kind is None and self._problem is not None:
            raise self._problem


@pytest.fixture
def serve():
    # In /tmp: a unix socket's path has 107 bytes at most, and pytest's own directories are deep.
    with tempfile.TemporaryDirectory(prefix="ovsdb-", dir="/tmp") as directory:
        numbers = itertools.count()
        yield lambda talk: Server("%s/%d" % (directory, next(numbers)), talk)


def read_message(connection):
    """The next request, where the client can't have sent more than that yet."""
    return read_messages(connection, 1)[0]


def read_messages(connection, count):
    framer = Framer()
    messages = []
    while len(messages) < count:
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        messages += framer.feed(data)
    assert len(messages) == count
    return messages


def send_alone(connection, data):
    """Send, and return when the client has read all of it."""
    connection.sendall(data)
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.0001)


def reply_to(request, result):
    return encode({"id": request["id"], "result": result, "error": None})


def encode(message):
    return json.dumps(message, ensure_ascii=False).encode("utf-8")


def select_reply(request, *names):
    return reply_to(request, [{"rows": [{"name": name} for name in names]}])


def names_from(server, timeout=LONG):
    with Client(server.remote, timeout) as client:
        return names(client)


def names(client):
    return [row["name"] for row in client.transact([PORT_NAMES])[0]["rows"]]


UPDATE = encode({"id": None, "method": "update", "params": ["xenvif-tagger", {"Port": {}}]})
ECHO = encode({"id": "echo", "method": "echo", "params": ["still there?"]})
ECHO_REPLY = {"id": "echo", "result": ["still there?"], "error": None}


# ---- framing ------------------------------------------------------------------------------------

ATOMS = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(
    ["{", "}", "}{", '"', "\\", '\\"', "\\\\", '{"a": "}', "ü", "𝄞", "\ud800"]
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@untimed
@given(st.data(), st.lists(OBJECTS, max_size=5), st.booleans())
def test_any_objects_in_any_pieces_come_out_the_same(data, objects, escaped):
    gap = st.text(" \t\r\n", max_size=2)
    stream = b""
    for item in objects:
        text = json.dumps(item, ensure_ascii=escaped or "\\ud800" in json.dumps(item))
        stream += (data.draw(gap) + text + data.draw(gap)).encode("utf-8")
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    cuts = [0] + sorted(cuts) + [len(stream)]
    framer = Framer()
    received = []
    for start, end in zip(cuts, cuts[1:]):
        received += framer.feed(stream[start:end])
    assert received == objects
    assert not framer.partial


@untimed
@given(OBJECTS, OBJECTS)
def test_an_object_is_out_with_its_last_byte_whatever_follows(first, second):
    first, second = json.dumps(first).encode(), json.dumps(second).encode()
    for end in range(len(second)):
        framer = Framer()
        assert framer.feed(first + second[:end]) == [json.loads(first.decode())]
        assert framer.partial == (end > 0)


@untimed
@given(OBJECTS)
def test_byte_by_byte_nothing_is_out_before_the_last(item):
    stream = json.dumps(item).encode()
    framer = Framer()
    for number in range(len(stream) - 1):
        assert framer.feed(stream[number : number + 1]) == []
    assert framer.feed(stream[-1:]) == [item]


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"[]",
        b'[{"a": 5',
        b"5",
        b'"{}"',
        b"null",
        b"\x15\x03\x01\x00\x02",  # a TLS alert
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"{]}",
        b"{'a': 1}",
        b'{"a" 1}',
        b"{}}",
        b"{}5",
        b"{}5{}",
        b"{} 5 {}{}",
        b'{}"x"{}',
        b'{"a": {}{}}',
        b'{"a": "line\nbreak"}',
    ],
)
def test_garbage_is_told_at_once(stream):
    with pytest.raises(NotJson):
        Framer().feed(stream)
    framer = Framer()
    with pytest.raises(NotJson):
        for number in range(len(stream)):
            framer.feed(stream[number : number + 1])


def test_garbage_is_shown_near_the_fault():
    with pytest.raises(NotJson) as caught:
        Framer().feed(b'{"a": "' + 500 * b"x" + b'", here}')
    assert "here" in str(caught.value)
    assert len(str(caught.value)) < 60


@pytest.mark.parametrize("opening, closing", [("[", "]"), ('{"a":', "}")])
def test_nesting_of_any_depth_is_garbage_not_a_crash(opening, closing):
    depth = 200000
    stream = '{"x":' + depth * opening + "1" + depth * closing + "}"
    with pytest.raises(NotJson):
        Framer().feed(stream.encode())


def test_lone_surrogates_come_through():
    assert Framer().feed(b'{"a": "\\ud800"}') == [{"a": "\ud800"}]


# ---- a real server ------------------------------------------------------------------------------


def test_results_are_one_per_operation(ovs):
    ovs.add_bridge("br0")
    ovs.add_port("br0", "vif1.0", {"xs-vif-uuid": "ü𝄞"}, tag=5)
    with Client(ovs.remote, LONG) as client:
        ports, interfaces = client.transact(
            [
                {
                    "op": "select",
                    "table": "Port",
                    "where": where_name("vif1.0"),
                    "columns": ["_uuid", "tag", "trunks"],
                },
                {
                    "op": "select",
                    "table": "Interface",
                    "where": where_name("vif1.0"),
                    "columns": ["external_ids"],
                },
            ]
        )
        port, interface = ports["rows"][0], interfaces["rows"][0]
        assert (from_set(port["tag"]), from_set(port["trunks"])) == ([5], [])
        assert from_map(interface["external_ids"]) == {"xs-vif-uuid": "ü𝄞"}
        changed = client.transact(
            [
                {"op": "comment", "comment": "a test"},
                {
                    "op": "update",
                    "table": "Port",
                    "where": [["_uuid", "==", uuid(from_uuid(port["_uuid"]))]],
                    "row": {
                        "tag": 6,
                        "trunks": to_set([1, 2]),
                        "external_ids": to_map({"a": "ü"}),
                    },
                },
            ]
        )
        assert changed == [{}, {"count": 1}]
    row = ovs.port("vif1.0")
    assert (row["tag"], row["trunks"], row["external_ids"]) == ([6], [1, 2], {"a": "ü"})


def test_no_operations_are_a_transaction_too(ovs):
    with Client(ovs.remote, LONG) as client:
        assert client.transact([]) == []


def test_schema_has_the_columns_of_each_table(ovs):
    with Client(ovs.remote, LONG) as client:
        schema = client.get_schema()
    assert schema["Port"] >= {"name", "tag", "vlan_mode", "trunks", "external_ids"}
    assert "ofport" in schema["Interface"]
    assert set(schema) == set(ovs.schema["tables"])


def test_a_big_database_comes_whole(ovs):
    ovs.add_bridge("br0")
    wanted = ["vif%d.%d" % (i // 8, i % 8) for i in range(3000)]
    ovs.add_many_ports("br0", [{"name": n, "external_ids": {"k": "ü" * 50}} for n in wanted])
    select = {"op": "select", "table": "Interface", "where": []}
    with Client(ovs.remote, LONG) as client:
        rows = client.transact([select])[0]["rows"]
    assert sorted(row["name"] for row in rows) == sorted(wanted + ["br0"])


def test_a_big_transaction_goes_whole(ovs):
    operations = [{"op": "comment", "comment": str(i) + "ü" * 500} for i in range(2000)]
    with Client(ovs.remote, LONG) as client:
        assert client.transact(operations) == [{}] * 2000


@pytest.fixture
def tagged(ovs):
    ovs.add_bridge("br0")
    ovs.add_port("br0", "vif1.0", tag=5)
    return ovs


def set_tag(tag, table="Port"):
    return {"op": "update", "table": table, "where": where_name("vif1.0"), "row": {"tag": tag}}


def wait_tag(tag):
    return {
        "op": "wait",
        "timeout": 0,
        "table": "Port",
        "where": where_name("vif1.0"),
        "columns": ["tag"],
        "until": "==",
        "rows": [{"tag": tag}],
    }


def test_a_lost_race_is_told_by_the_index_of_its_wait(tagged):
    with Client(tagged.remote, LONG) as client:
        assert client.transact([wait_tag(5), set_tag(6)]) == [{}, {"count": 1}]
        with pytest.raises(OperationError) as caught:
            client.transact([PORT_NAMES, wait_tag(5), set_tag(7)])
        assert caught.value.index == 1
        assert caught.value.error == "timed out"
        assert "operation 1 (wait Port)" in str(caught.value)
        assert tagged.remote in str(caught.value)
        # The connection is as good as before.
        client.transact([wait_tag(6), set_tag(8)])
    assert tagged.port("vif1.0")["tag"] == [8]


def test_a_violated_constraint_is_told_by_the_index_of_its_operation(tagged):
    with Client(tagged.remote, LONG) as client:
        error, text = problem_of(client.transact, [set_tag(6), set_tag(5000)])
    assert (type(error), error.index, error.error) == (OperationError, 1, "constraint violation")
    assert "5000" in error.details and "5000" in text
    assert tagged.port("vif1.0")["tag"] == [5]


def test_an_error_of_the_commit_has_no_index(tagged):
    # Only the commit finds a reference to a row that isn't there.
    missing = "00000000-0000-4000-8000-000000000000"
    operation = {
        "op": "update",
        "table": "Port",
        "where": where_name("vif1.0"),
        "row": {"qos": uuid(missing)},
    }
    with Client(tagged.remote, LONG) as client:
        error, text = problem_of(client.transact, [set_tag(6), operation])
    assert (type(error), error.index) == (OperationError, None)
    assert error.error == "referential integrity violation"
    assert missing in error.details
    assert "the commit failed" in text
    assert tagged.port("vif1.0")["tag"] == [5]


def test_an_unknown_table_is_an_operation_error(tagged):
    with Client(tagged.remote, LONG) as client:
        error, _ = problem_of(client.transact, [set_tag(5, table="Nothing")])
    assert (type(error), error.index) == (OperationError, 0)


def test_a_refused_request_is_a_server_error(ovs):
    with Client(ovs.remote, LONG) as client:
        error, text = problem_of(client.monitor, {"Port": ["no_such_column"]})
        assert type(error) is ServerError
        assert "no_such_column" in text
        assert client.transact([]) == []


def test_another_commit_wakes_and_silence_does_not(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        assert client.wait_update(0) is False  # nothing initial
        assert client.wait_update(0.05) is False
        tagged.transact(set_tag(6))
        assert client.wait_update(LONG) is True
        assert client.wait_update(0.05) is False
        tagged.vsctl("set", "Port", "vif1.0", "other_config:a=b")  # not a monitored column
        assert client.wait_update(0.05) is False


def test_an_update_that_comes_during_a_transaction_is_not_lost(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        client.transact([set_tag(6)])
        assert client.wait_update(LONG) is True


def test_a_burst_wakes_once(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        for tag in range(100, 300):
            tagged.transact(set_tag(tag))
        # The server has sent all of them before it answers this.
        assert client.transact([PORT_NAMES])
        assert client.wait_update(LONG) is True
        assert client.wait_update(0) is False


def test_the_deadline_begins_anew_after_waiting(tagged):
    with Client(tagged.remote, 2.0) as client:
        client.monitor({"Port": ["tag"]})
        assert client.wait_update(2.1) is False
        assert names(client)


def test_the_deadline_is_one_for_all_calls_until_restarted(ovs):
    with Client(ovs.remote, 2.0) as client:
        client.transact([])
        time.sleep(2.1)  # it is the time itself that must pass
        client.restart_deadline()
        client.transact([])
        time.sleep(2.1)
        error, text = problem_of(client.transact, [])
    assert type(error) is Unreachable
    assert "no answer within 2 s" in text


def test_a_server_that_stops_while_waiting_is_unreachable(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        tagged.stop_server()
        error, text = problem_of(client.wait_update, LONG)
        assert type(error) is Unreachable
        assert text.startswith(tagged.remote) and "closed the connection" in text
        error, text = problem_of(client.transact, [])
        assert type(error) is Unreachable and "closed" in text


def test_the_servers_keep_alive_is_answered_while_waiting(ovs):
    # Without an answer to its echo the server drops the connection one interval later, and an
    # interval is at least 1 s.
    port = ovs_port_for_tcp(ovs, inactivity_probe=1000)
    with Client("tcp:127.0.0.1:%d" % port, 1.0) as client:
        assert client.wait_update(3.5) is False
        assert client.transact([]) == []


def test_a_hung_server_is_a_time_out_for_any_call(ovs):
    with Client(ovs.remote, SHORT) as client:
        ovs.pause()
        try:
            error, text = problem_of(client.get_schema)
            assert type(error) is Unreachable
            assert text == "%s: no answer within 0.5 s: is ovsdb-server hung or overloaded?" % (
                ovs.remote
            )
            error, _ = problem_of(lambda: Client(ovs.remote, SHORT).get_schema())
            assert type(error) is Unreachable
        finally:
            ovs.resume()


def test_a_hung_server_that_takes_no_more_connections_is_a_time_out(ovs):
    ovs.pause()
    waiting = []
    try:
        # Each connects, until the queue is full; then the constructor is what fails.
        with pytest.raises(Unreachable) as caught:
            for _ in range(1000):
                waiting.append(Client(ovs.remote, SHORT))
        assert "no answer within 0.5 s" in str(caught.value)
        # One that waits gets its connection when there is room.
        threading.Timer(0.1, ovs.resume).start()
        with Client(ovs.remote, LONG) as client:
            assert client.transact([]) == []
    finally:
        ovs.resume()
        for client in waiting:
            client.close()


# ---- remotes ------------------------------------------------------------------------------------


def ovs_port_for_tcp(ovs, address="127.0.0.1", inactivity_probe=None):
    """Let ovsdb-server listen on TCP, too; the port that the kernel chose."""
    if inactivity_probe is None:
        ovs.appctl("ovsdb-server", "ovsdb-server/add-remote", "ptcp:0:" + address)
    else:
        manager = {"target": "ptcp:0:" + address, "inactivity_probe": inactivity_probe}
        ovs.transact(
            {"op": "insert", "table": "Manager", "row": manager, "uuid-name": "m"},
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["manager_options", "insert", ["named-uuid", "m"]]],
            },
        )
        ovs.appctl(
            "ovsdb-server",
            "ovsdb-server/add-remote",
            "db:Open_vSwitch,Open_vSwitch,manager_options",
        )
    # It listens from its next turn on; each answer takes it at least one.
    until = time.monotonic() + LONG
    ports = listening_ports(ovs.server_pid)
    while not ports and time.monotonic() < until:
        ovs.transact({"op": "comment", "comment": "are you listening?"})
        ports = listening_ports(ovs.server_pid)
    assert len(ports) == 1
    return ports[0]


def listening_ports(pid):
    directory = "/proc/%d/fd" % pid
    sockets = {os.readlink(os.path.join(directory, fd)) for fd in os.listdir(directory)}
    ports = []
    for table in ("tcp", "tcp6"):
        with open("/proc/%d/net/%s" % (pid, table)) as lines:
            for fields in (line.split() for line in list(lines)[1:]):
                if fields[3] == "0A" and "socket:[%s]" % fields[9] in sockets:  # TCP_LISTEN
                    ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


@pytest.mark.parametrize("host", ["127.0.0.1", "[127.0.0.1]", "localhost"])
def test_tcp_to_a_real_server(ovs, host):
    port = ovs_port_for_tcp(ovs)
    with Client("tcp:%s:%d" % (host, port), LONG) as client:
        assert client.transact([]) == []


@pytest.mark.parametrize(
    "remote, address",
    [
        ("tcp:127.0.0.1", ("127.0.0.1", 6640)),
        ("tcp:127.0.0.1:99", ("127.0.0.1", 99)),
        ("tcp:[::1]", ("::1", 6640)),
        ("tcp:[fe80::1]:99", ("fe80::1", 99)),
        ("unix:/a:b", "/a:b"),
    ],
)
def test_what_a_remote_means(remote, address):
    found = _addresses(remote)[0][1]
    assert found[: len(address)] == address


def test_tcp_where_nothing_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and doesn't listen
        remote = "tcp:127.0.0.1:%d" % unused.getsockname()[1]
        error, text = problem_of(Client, remote, LONG)
    assert type(error) is Unreachable
    assert text.startswith(remote + ": nothing listens there")


def test_a_host_name_that_does_not_exist():
    error, text = problem_of(Client, "tcp:no such host:6640", LONG)
    assert type(error) is Unreachable
    assert "can't resolve the host name" in text


@pytest.mark.parametrize(
    "remote",
    [
        "", "unix", "unix:", "tcp", "tcp:", "tcp::6640", "tcp:host:", "tcp:host:x", "tcp:host:-1",
        "tcp:host:65536", "tcp:host:²", "tcp:::1", "tcp:::1:6640", "tcp:[::1", "tcp:[]",
        "ptcp:6640", "/run/db.sock", "punix:/run/db.sock", "db:a,b,c",
    ],
)
def test_a_bad_remote_is_named_and_told_how_to_write_it(remote):
    error, text = problem_of(Client, remote, LONG)
    assert type(error) is BadRemote
    assert text.startswith(remote or "''")
    assert "unix:PATH, tcp:HOST" in text


def test_ssl_is_refused_with_the_cure():
    error, text = problem_of(Client, "ssl:127.0.0.1:6640", LONG)
    assert type(error) is BadRemote
    assert text.startswith("ssl:127.0.0.1:6640: ")
    assert "unix: and tcp: only" in text


def test_no_socket(tmp_path):
    error, text = problem_of(Client, "unix:%s/none" % tmp_path, LONG)
    assert type(error) is Unreachable
    assert text == "unix:%s/none: no such socket: is ovsdb-server running?" % tmp_path


def test_a_socket_that_its_server_left_behind(ovs):
    ovs.stop_server(kill=True)
    error, text = problem_of(Client, ovs.remote, LONG)
    assert type(error) is Unreachable
    assert "nothing listens there: is ovsdb-server running" in text


def test_a_directory_or_a_file_in_place_of_the_socket(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (str(tmp_path), str(tmp_path / "file")):
        error, text = problem_of(Client, "unix:" + path, LONG)
        assert type(error) is Unreachable
        assert text.startswith("unix:%s: nothing listens there" % path)


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    error, text = problem_of(Client, "unix:%s/file/x" % tmp_path, LONG)
    assert type(error) is Unreachable
    assert "Not a directory" in text


def test_a_path_too_long_for_a_unix_socket():
    error, text = problem_of(Client, "unix:/" + 108 * "x", LONG)
    assert type(error) is Unreachable
    assert "path too long" in text and "107 bytes" in text


def test_a_name_with_a_line_break_is_still_one_line():
    error, _ = problem_of(Client, "unix:/no\nsuch", LONG)
    assert type(error) is Unreachable


if os.geteuid() != 0:  # root may do anything

    def test_a_socket_without_permission(ovs):
        os.chmod(ovs.socket_path, 0)
        error, text = problem_of(Client, ovs.remote, LONG)
        assert type(error) is Unreachable
        assert "permission denied: run as root" in text


# ---- servers that misbehave ---------------------------------------------------------------------


def test_silence_is_a_time_out(serve):
    with serve(read_message) as server, Client(server.remote, SHORT) as client:
        error, text = problem_of(names, client)
        assert type(error) is Unreachable
        assert text.startswith(server.remote + ": no answer within 0.5 s")
        client.restart_deadline()
        error, text = problem_of(names, client)
        assert text == server.remote + ": the connection is closed"


def test_half_a_reply_and_silence_is_a_time_out(serve):
    def talk(connection):
        connection.sendall(select_reply(read_message(connection), "a", "b")[:-20])

    with serve(talk) as server:
        error, text = problem_of(names_from, server, SHORT)
    assert type(error) is Unreachable
    assert "no complete answer within 0.5 s" in text


def test_dribbled_replies_do_not_stretch_the_deadline(serve):
    def talk(connection):
        for byte in select_reply(read_message(connection), 10000 * "a"):
            connection.sendall(bytes([byte]))
            time.sleep(0.1)  # the misbehaviour itself: a reply that takes a quarter of an hour

    with serve(talk) as server:
        error, text = problem_of(names_from, server, SHORT)
    assert type(error) is Unreachable
    assert "no complete answer within 0.5 s" in text


def test_endless_chatter_does_not_stretch_the_deadline(serve):
    def talk(connection):
        read_message(connection)
        while True:
            connection.sendall(UPDATE)

    with serve(talk) as server:
        error, _ = problem_of(names_from, server, SHORT)
        assert type(error) is Unreachable


def test_endless_chatter_does_not_stretch_the_waiting(serve):
    def talk(connection):
        while True:
            connection.sendall(UPDATE)

    started = time.monotonic()
    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert client.wait_update(SHORT) is True
    assert time.monotonic() - started < LONG / 2


def test_a_server_that_takes_nothing_is_a_time_out(serve):
    def talk(connection):  # and reads nothing
        pass

    comment = {"op": "comment", "comment": 5000000 * "x"}
    with serve(talk) as server, Client(server.remote, SHORT) as client:
        error, text = problem_of(client.transact, [comment])
    assert type(error) is Unreachable
    assert "takes no request" in text


@pytest.mark.parametrize(
    "garbage, shown",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "'HTTP/1.1 400"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "'\\x15\\x03\\x01"),
        (b"\x80\xff\x00", "b'\\x80\\xff\\x00'"),
        (b"[]", "'[]'"),
        (b'{"hello": "world"}', "hello"),
        (b'{"id": 1, "error": null}', "id"),
        (b'{"id": 1, "result": 5, "error": null}', "5"),
        (b'{"id": 1, "result": [5], "error": null}', "5"),
        (b'{"id": 1, "result": [], "error": null}', "[]"),
        (b'{"id": 1, "result": [null], "error": null}', "null"),
        (b'{"id": 1, "result": [{}, {}], "error": null}', "{}"),
        (b'{"a":' + 200000 * b"[" + 200000 * b"]" + b"}", "[[["),
    ],
)
@pytest.mark.parametrize("closes", [False, True])
def test_garbage_is_unreachable_and_shown(serve, garbage, shown, closes):
    def talk(connection):
        read_message(connection)
        connection.sendall(garbage)
        if closes:
            connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text.startswith(server.remote + ": not an OVSDB server: it sent ")
    assert shown in text
    assert len(text) < len(server.remote) + 120


def test_garbage_from_a_server_that_does_not_even_read(serve):
    sent = threading.Event()

    def talk(connection):
        connection.sendall(b"220 mail.example.org ESMTP\r\n")
        connection.close()
        sent.set()

    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert sent.wait(LONG)
        error, text = problem_of(names, client)
    assert type(error) is Unreachable
    assert "'220 mail.example.org" in text


@pytest.mark.parametrize("schema", [None, [], {}, {"tables": []}, {"tables": {"Port": 5}}])
def test_a_schema_that_is_none_is_garbage(serve, schema):
    def talk(connection):
        connection.sendall(reply_to(read_message(connection), schema))

    with serve(talk) as server, Client(server.remote, LONG) as client:
        error, text = problem_of(client.get_schema)
    assert type(error) is Unreachable
    assert "not an OVSDB server" in text


def test_closed_in_the_middle_of_a_reply(serve):
    def talk(connection):
        connection.sendall(select_reply(read_message(connection), "a", "b")[:-20])
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text == server.remote + ": closed the connection in the middle of a reply"


def test_closed_without_a_reply(serve):
    def talk(connection):
        read_message(connection)
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text.startswith(server.remote + ": closed the connection: ")


def test_closed_with_the_request_unread(serve):
    def talk(connection):  # for which the client gets ECONNRESET
        connection.recv(1, socket.MSG_PEEK)
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text.startswith(server.remote + ": closed the connection: ")


@pytest.mark.parametrize(
    "answer, said",
    [
        ({"error": "unknown database", "details": "no\nsuch"}, "unknown database: no such"),
        ("some text", "some text"),
        (["\ud800\x1b[31m"], "31m"),
    ],
)
def test_a_json_rpc_error_is_a_server_error_in_one_line(serve, answer, said):
    def talk(connection):
        request = read_message(connection)
        message = {"id": request["id"], "result": None, "error": answer}
        connection.sendall(json.dumps(message).encode())

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is ServerError
    assert text.startswith(server.remote) and said in text


def test_an_operation_error_in_strange_form_is_one_line(serve):
    def talk(connection):
        result = [{"error": "\ud800\n", "details": None}]
        message = {"id": read_message(connection)["id"], "result": result, "error": None}
        connection.sendall(json.dumps(message).encode())

    with serve(talk) as server:
        error, _ = problem_of(names_from, server)
    assert (type(error), error.index) == (OperationError, 0)


@pytest.mark.parametrize("name", ["aüb", "a𝄞b", 'a\\"}b', "a\\u00fc\\nb\\\\"])
def test_a_reply_split_at_any_byte(serve, name):
    reply = select_reply({"id": 1}, name)
    for end in range(1, len(reply)):

        def talk(connection, end=end):
            read_message(connection)
            send_alone(connection, reply[:end])
            connection.sendall(reply[end:])

        with serve(talk) as server:
            assert names_from(server) == [name]


def test_a_reply_byte_by_byte(serve):
    def talk(connection):
        for byte in select_reply(read_message(connection), "aü𝄞b"):
            send_alone(connection, bytes([byte]))

    with serve(talk) as server:
        assert names_from(server) == ["aü𝄞b"]


def test_a_reply_of_10_mb(serve):
    wanted = ["vif%d.0 ü{}\\" % i for i in range(400000)]

    def talk(connection):
        reply = select_reply(read_message(connection), *wanted)
        assert len(reply) > 10000000
        connection.sendall(reply)

    with serve(talk) as server:
        assert names_from(server) == wanted


def test_echo_requests_before_and_inside_a_call_are_answered(serve):
    def talk(connection):
        connection.sendall(ECHO)
        request, answer = read_messages(connection, 2)
        assert answer == ECHO_REPLY
        connection.sendall(ECHO)
        assert read_message(connection) == ECHO_REPLY
        connection.sendall(select_reply(request, "a"))

    with serve(talk) as server:
        assert names_from(server) == ["a"]


def test_an_echo_request_with_the_reply_in_one_read(serve):
    def talk(connection):
        connection.sendall(ECHO + select_reply(read_message(connection), "a") + ECHO)
        assert read_messages(connection, 2) == [ECHO_REPLY, ECHO_REPLY]

    with serve(talk) as server:
        assert names_from(server) == ["a"]


def test_an_echo_request_is_answered_while_waiting(serve):
    def talk(connection):
        connection.sendall(ECHO)
        assert read_message(connection) == ECHO_REPLY
        connection.sendall(UPDATE)

    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert client.wait_update(LONG) is True


def test_a_burst_of_several_reads_wakes_once(serve):
    sent = threading.Event()
    update = {"id": None, "method": "update", "params": ["xenvif-tagger", {"x": 70000 * "x"}]}

    def talk(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200000)
        connection.sendall(2 * encode(update))
        sent.set()

    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert sent.wait(LONG)
        assert client.wait_update(LONG) is True
        assert client.wait_update(0) is False


def test_after_an_update_the_deadline_is_the_clients_own(serve):
    def talk(connection):
        connection.sendall(UPDATE)

    with serve(talk) as server, Client(server.remote, SHORT) as client:
        assert client.wait_update(LONG) is True
        error, _ = problem_of(names, client)
    assert type(error) is Unreachable


def test_a_monitor_asks_for_changes_only(serve):
    asked = []

    def talk(connection):
        asked.append(read_message(connection))
        connection.sendall(reply_to(asked[0], {}))

    with serve(talk) as server, Client(server.remote, LONG) as client:
        client.monitor({"Port": ["tag", "trunks"]})
    wanted = {"Port": {"columns": ["tag", "trunks"], "select": {"initial": False}}}
    assert asked[0]["method"] == "monitor"
    assert asked[0]["params"] == ["Open_vSwitch", "xenvif-tagger", wanted]


def test_a_notification_and_the_reply_in_one_read(serve):
    def talk(connection):
        connection.sendall(UPDATE + select_reply(read_message(connection), "a") + UPDATE[:9])
        connection.sendall(UPDATE[9:] + select_reply(read_message(connection), "b"))

    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert names(client) == ["a"]
        assert names(client) == ["b"]
        assert client.wait_update(LONG) is True
        assert client.wait_update(0) is False


@pytest.mark.parametrize(
    "message",
    [
        {"id": None, "method": "update", "params": ["somebody else's", {}]},
        {"id": None, "method": "update", "params": None},
        {"id": None, "method": "update"},
        {"id": None, "method": "update2", "params": ["xenvif-tagger", {}]},
        {"id": None, "method": "locked", "params": ["a lock"]},
        {"id": 77, "method": "who-knows", "params": []},
        {"id": 1, "method": "who-knows", "params": []},
    ],
)
def test_what_is_not_of_our_monitor_does_not_wake(serve, message):
    def talk(connection):
        connection.sendall(encode(message) + select_reply(read_message(connection), "a"))

    with serve(talk) as server, Client(server.remote, LONG) as client:
        assert names(client) == ["a"]
        assert client.wait_update(0) is False


def test_replies_with_another_id_are_not_ours(serve):
    def talk(connection):
        request = read_message(connection)
        for other in (0, 2, -1, None, "1", [1], {}):
            connection.sendall(select_reply({"id": other}, "wrong"))
        connection.sendall(select_reply(request, "right"))

    with serve(talk) as server:
        assert names_from(server) == ["right"]


def test_a_client_can_be_closed_twice_and_says_so_when_used_after(ovs):
    client = Client(ovs.remote, LONG)
    client.close()
    client.close()
    error, text = problem_of(client.get_schema)
    assert type(error) is Unreachable
    assert text == ovs.remote + ": the connection is closed"


def test_no_time_at_all_is_a_time_out(ovs):
    error, _ = problem_of(Client, ovs.remote, 0.0)
    assert type(error) is Unreachable


# ---- values -------------------------------------------------------------------------------------


def test_sets():
    assert from_set(["set", []]) == []
    assert from_set(["set", [1, 2]]) == [1, 2]
    assert from_set(5) == [5]
    assert from_set("set") == ["set"]
    assert from_set(["uuid", "a"]) == [["uuid", "a"]]
    assert from_set(["set", [["uuid", "a"]]]) == [["uuid", "a"]]
    assert to_set(iter("ab")) == ["set", ["a", "b"]]


def test_maps():
    assert from_map(["map", []]) == {}
    assert from_map(["map", [["a", "b"]]]) == {"a": "b"}
    assert to_map({"b": "2", "a": "1"}) == ["map", [["a", "1"], ["b", "2"]]]
    assert to_map({}) == ["map", []]


def test_uuids():
    assert uuid("a") == ["uuid", "a"]
    assert from_uuid(["uuid", "a"]) == "a"


@pytest.mark.parametrize("value", [5, "a", ["set", []], None, []])
def test_what_is_no_map_and_no_uuid_is_told(value):
    for read in (from_map, from_uuid):
        with pytest.raises(ValueError):
            read(value)
