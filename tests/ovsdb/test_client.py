"""The one-shot client of OVSDB, against a real ovsdb-server."""
import threading
import time

import pytest

from support.client import PORT_NAMES, SHORT, names, ovs_port_for_tcp, problem_of, where_name
from support.constants import LONG
from xenvif_tagger.ovsdb.client import Client, OperationError, ServerError, Unreachable
from xenvif_tagger.ovsdb.rows import from_map, from_set, from_uuid, to_map, to_set, uuid


def test_each_operation_has_one_result(ovs):
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


def test_a_transaction_without_operations(ovs):
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


def test_the_error_of_a_lost_race_has_the_index_of_the_wait(tagged):
    with Client(tagged.remote, LONG) as client:
        assert client.transact([wait_tag(5), set_tag(6)]) == [{}, {"count": 1}]
        with pytest.raises(OperationError) as caught:
            client.transact([PORT_NAMES, wait_tag(5), set_tag(7)])
        assert caught.value.index == 1
        assert caught.value.error == "timed out"
        assert "operation 1 (wait Port)" in str(caught.value)
        assert tagged.remote in str(caught.value)
        # The client can still use its connection.
        client.transact([wait_tag(6), set_tag(8)])
    assert tagged.port("vif1.0")["tag"] == [8]


def test_the_error_of_a_violated_constraint_has_the_index_of_the_operation(tagged):
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


def test_another_clients_commit_wakes_and_silence_does_not(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        assert client.wait_update(0) is False  # the client's monitor asks for no initial rows
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


def test_a_burst_of_updates_wakes_once(tagged):
    with Client(tagged.remote, LONG) as client:
        client.monitor({"Port": ["tag"]})
        for tag in range(100, 300):
            tagged.transact(set_tag(tag))
        # ovsdb-server sends the burst's updates before it answers this transaction.
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
        time.sleep(2.1)  # the client's deadline of 2 s must pass
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
    # ovsdb-server drops a connection one interval after an echo that gets no answer; an interval is
    # at least 1 s.
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
        # Each client connects until the server's queue is full; then the constructor fails.
        with pytest.raises(Unreachable) as caught:
            for _ in range(1000):
                waiting.append(Client(ovs.remote, SHORT))
        assert "no answer within 0.5 s" in str(caught.value)
        # A client that waits gets its connection when the queue has room.
        threading.Timer(0.1, ovs.resume).start()
        with Client(ovs.remote, LONG) as client:
            assert client.transact([]) == []
    finally:
        ovs.resume()
        for client in waiting:
            client.close()
