"""The one-shot client of OVSDB, against servers that misbehave."""
import json
import socket
import threading
import time

import pytest

from support.client import SHORT, names, names_from, problem_of
from support.constants import LONG
from support.odd_server import (
    ECHO,
    ECHO_REPLY,
    UPDATE,
    encode,
    read_message,
    read_messages,
    reply_to,
    select_reply,
    send_alone,
)
from xenvif_tagger.ovsdb.client import Client, OperationError, ServerError, Unreachable


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
            time.sleep(0.1)  # the server's misbehaviour: its reply takes a quarter of an hour

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
    def talk(connection):  # the server reads nothing
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
def test_an_answer_that_is_no_schema_is_garbage(serve, schema):
    def talk(connection):
        connection.sendall(reply_to(read_message(connection), schema))

    with serve(talk) as server, Client(server.remote, LONG) as client:
        error, text = problem_of(client.get_schema)
    assert type(error) is Unreachable
    assert "not an OVSDB server" in text


def test_a_connection_closed_in_the_middle_of_a_reply(serve):
    def talk(connection):
        connection.sendall(select_reply(read_message(connection), "a", "b")[:-20])
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text == server.remote + ": the server closed the connection in the middle of a reply"


def test_a_connection_closed_without_a_reply(serve):
    def talk(connection):
        read_message(connection)
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text.startswith(server.remote + ": the server closed the connection: ")


def test_a_connection_closed_with_the_request_unread(serve):
    def talk(connection):  # the client gets ECONNRESET for this
        connection.recv(1, socket.MSG_PEEK)
        connection.close()

    with serve(talk) as server:
        error, text = problem_of(names_from, server)
    assert type(error) is Unreachable
    assert text.startswith(server.remote + ": the server closed the connection: ")


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
def test_a_message_that_is_not_of_our_monitor_does_not_wake(serve, message):
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


def test_a_client_closed_twice_and_used_afterwards(ovs):
    client = Client(ovs.remote, LONG)
    client.close()
    client.close()
    error, text = problem_of(client.get_schema)
    assert type(error) is Unreachable
    assert text == ovs.remote + ": the connection is closed"


def test_a_timeout_of_zero_is_a_time_out(ovs):
    error, _ = problem_of(Client, ovs.remote, 0.0)
    assert type(error) is Unreachable
