"""The watcher and odd data, pairs that the database refuses, and the clock."""
import itertools
import json
import signal
import time

import pytest

from support.private_ovs import load_schema, to_map
from support.proxy import is_write
from support.watch_proxy import Gate, Scene, text, until, wrapped_python
from support.watching import Watching
from support.zoo import commits, identity, our_commits


@pytest.mark.parametrize("sizes", [(1,), (1, 2, 3, 5, 7, 4095), (4097, 1)], ids=str)
def test_letters_split_between_two_reads(ovs, sizes):
    """The server sends letters of each length in UTF-8, split at each byte, and a large first
    answer: the watcher's one connection stays."""
    Scene(ovs)

    def put(name, key, value):
        ovs.transact({"op": "mutate", "table": "Interface", "where": [["name", "==", name]],
                      "mutations": [["external_ids", "insert", to_map({key: value})]]})

    texts = ["ü" * 50, "€" * 50, "\U0001d11e" * 50, "aü€\U0001d11e" * 40]
    for number, letters in enumerate(texts):
        put("vif1.0", "k%d" % number, letters)
    with Gate(ovs, sizes=sizes) as gate, Watching(ovs, remote=gate.remote) as watcher:
        watcher.settle()
        found = ovs.interface("tap1.0")["external_ids"]
        assert [found["k%d" % number] for number in range(4)] == texts
        assert found == ovs.interface("vif1.0")["external_ids"]
        for name, letters in (("vif2.0", "€" * 999), ("tap2.0", "\U0001d11e\u0301" * 999)):
            put(name, name, letters)
            watcher.settle()
            for side in ("vif2.0", "tap2.0"):
                assert ovs.interface(side)["external_ids"].get(name) == letters
        assert gate.links == 1 and watcher.stats()["reconnects"] == 0
        assert gate.bytes > 5000


@pytest.mark.parametrize("side", ["vif", "tap"])
def test_a_value_of_a_megabyte_and_a_thousand_keys(ovs, side):
    scene = Scene(ovs)
    other = {"vif": "tap", "tap": "vif"}[side]
    ids = {"key %d ü" % number: "value %d" % number for number in range(1000)}
    ids["long"] = "ü" * (1 << 20)
    with Watching(ovs) as watcher:
        watcher.settle()
        ovs.transact({"op": "mutate", "table": "Interface", "mutations": [
            ["external_ids", "insert", to_map(ids)]], "where": [["name", "==", side + "1.0"]]})
        watcher.settle()
        found = ovs.interface(other + "1.0")["external_ids"]
        assert {key: found.get(key) for key in ids} == ids
        scene.tag("vif1.0", 50)
        scene.await_tags(watcher, vif1=50)
        assert scene.agree() and watcher.stats()["reconnects"] == 0


ODD = ["", " ", "a\nb", "\t\r\f", '"', "\\", '\\"', "{", "}", "[1]", "a=b,c", "\x01", "\x1b[31m",
       "\x7f", "\ufeff", "\u2028", "\u200b", "\ud7ff", "\ue000", "\uffff", "\U0010ffff", "null",
       "é", "e\u0301", "%s%d{0}", "xenvif-tagger", "x" * 5000]


def test_odd_keys_and_values(ovs):
    """The watcher mirrors each key and value that a server takes, then each change of that value,
    and then the key's removal."""
    scene = Scene(ovs)
    ids = {key or "empty": value for key, value in zip(ODD, reversed(ODD))}
    ids.pop("xenvif-tagger")
    for table in ("Interface", "Port"):
        ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", "tap1.0"]],
                      "mutations": [["external_ids", "insert", to_map(ids)]]})

    def of(name):
        found = ovs.interface(name)["external_ids"], ovs.port(name)["external_ids"]
        return [{key: value for key, value in each.items() if key in ids} for each in found]

    with Watching(ovs) as watcher:
        watcher.settle()
        assert of("vif1.0") == of("tap1.0") == [ids, ids]
        changed = {key: value + "!" for key, value in ids.items()}
        for table in ("Interface", "Port"):
            ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", "vif1.0"]],
                          "mutations": [["external_ids", "delete", to_map(ids)],
                                        ["external_ids", "insert", to_map(changed)]]})
        watcher.settle()
        assert of("vif1.0") == of("tap1.0") == [changed, changed]
        for table in ("Interface", "Port"):
            ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", "tap1.0"]],
                          "mutations": [["external_ids", "delete", to_map(changed)]]})
        watcher.settle()
        assert of("vif1.0") == of("tap1.0") == [{}, {}]
        assert "Traceback" not in text(watcher)
        assert scene.agree()


def test_a_mark_that_cannot_be_read_counts_as_no_mark(ovs):
    """Anybody may write to our key of external_ids."""
    scene = Scene(ovs)
    with Watching(ovs) as watcher:
        watcher.settle()
        for value in ("", "{", "[]", "5", '{"base": 5}', '{"base": {"unit": {"tag": "x"}}}',
                      "[" * 100000, '"\\ud800"', '{"vif": {"xs-vif-uuid": "\\ud800"}}'):
            for name in ("vif1.0", "tap1.0"):
                ovs.transact({"op": "mutate", "table": "Port", "where": [["name", "==", name]],
                              "mutations": [["external_ids", "delete", ["set", ["xenvif-tagger"]]],
                                            ["external_ids", "insert", to_map(
                                                {"xenvif-tagger": value})]]})
            watcher.settle()
            assert "Traceback" not in text(watcher)
        scene.tag("vif2.0", 50)
        scene.await_tag("tap2.0", 50)


def refusing(uuid, how):
    """(an on_request that refuses each write of this row with a server's error, the list of the
    writes that it has refused)."""
    refused = []

    def on_request(message):
        if not is_write(message) or uuid not in json.dumps(message["params"]):
            return None
        refused.append(message)
        operations = message["params"][1:]
        error = {"error": "constraint violation", "details": "not today: \x1b[31m\n" + uuid}
        if how == "at the commit":
            results = [{"count": 1} if operation["op"] in ("update", "mutate") else {}
                       for operation in operations] + [error]
        else:
            at = [number for number, operation in enumerate(operations)
                  if operation["op"] in ("update", "mutate") and uuid in json.dumps(operation)][0]
            results = [{} for _ in operations[:at]] + [error]
            results += [None for _ in operations[at + 1:]]
        return {"id": message["id"], "error": None, "result": results}

    return on_request, refused


@pytest.mark.parametrize("how", ["at the operation", "at the commit"])
def test_a_pair_that_the_server_refuses_does_not_stop_the_others(ovs, how):
    """The watcher mirrors the other pairs, logs the bad pair once, and tries the bad pair again
    only after a change."""
    scene = Scene(ovs, range(1, 41))
    on_request, refused = refusing(ovs.port("tap7.0")["_uuid"], how)
    with Gate(ovs, on_request=on_request) as gate:
        with Watching(ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: sum(tag is not None for tag in others(scene)) == 39)
            until(lambda: watcher.stats()["failed"])
            assert ovs.port("tap7.0")["tag"] == []

            def told():
                return [line for line in watcher.log()
                        if "7.0" in line and "constraint violation" in line]

            assert len(until(told)) == 1 and "\x1b" not in told()[0]
            tries = len(refused)
            assert tries <= 12  # the watcher halves the batch until the bad pair is alone
            for number in range(20):
                scene.tag("vif8.0", 500 + number)
                scene.await_tag("tap8.0", 500 + number)
            assert len(refused) == tries and len(told()) == 1
            at = watcher.stats()["transactions"]
            assert at <= 60
            scene.tag("vif7.0", 700)  # a change of the bad pair
            until(lambda: len(refused) > tries)
            until(lambda: watcher.stats()["last_error"])
            gate.on_request = None
            scene.tag("vif7.0", 701)
            scene.await_tags(watcher, vif7=701)
            scene.assert_works(watcher)


def others(scene):
    return [tag for name, tag in scene.tags().items()
            if name.startswith("tap") and name not in ("tap7.0", "tap1", "tap1.00")]


def test_a_bad_pair_is_tried_again_without_a_change(ovs):
    """The watcher tries again after some 30 s, when the server does not refuse the write any
    more."""
    scene = Scene(ovs, range(1, 4))
    on_request, refused = refusing(ovs.port("tap2.0")["_uuid"], "at the commit")
    with Gate(ovs, on_request=on_request) as gate:
        with Watching(ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: watcher.stats()["failed"])
            gate.on_request = None
            limit = time.monotonic() + 60
            while not scene.is_done():
                assert time.monotonic() < limit
                time.sleep(0.1)
            assert len(refused) <= 12
            scene.assert_untouched()


def test_a_resync_tries_a_bad_pair_again(ovs):
    """The operator has mended the fault and does not want to wait: a resync tries at once."""
    scene = Scene(ovs, range(1, 4))
    on_request, refused = refusing(ovs.port("tap2.0")["_uuid"], "at the operation")
    with Gate(ovs, on_request=on_request) as gate:
        with Watching(ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: watcher.stats()["failed"])
            gate.on_request = None
            watcher.settle()
            assert scene.is_done() and refused


def test_a_client_changes_a_port_all_the_time(ovs):
    """The watcher overwrites no value of that client, writes the other pairs, and logs the port."""
    scene = Scene(ovs, range(1, 4))
    uuid, tags = ovs.port("tap2.0")["_uuid"], itertools.cycle(range(100, 200))

    def on_request(message):
        if is_write(message) and uuid in json.dumps(message["params"]):
            scene.tag("vif2.0", next(tags))

    with Gate(ovs, on_request=on_request) as gate:
        with Watching(ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: "changes the rows all the time" in text(watcher))
            assert "vif2.0 -> tap2.0: not written yet" in text(watcher)
            scene.tag("vif1.0", 50)
            scene.await_tag("tap1.0", 50)
            assert ovs.port("tap2.0")["tag"] == []
            gate.on_request = None
            watcher.settle()
            assert ovs.port("tap2.0")["tag"] == ovs.port("vif2.0")["tag"] != []


def test_a_row_with_no_room_for_our_key(ovs):
    """By this schema external_ids has at most three keys: one row has three other keys, so
    ovsdb-server refuses our key."""
    schema = load_schema()
    schema.pop("cksum", None)
    schema["tables"]["Port"]["columns"]["external_ids"]["type"] = dict(
        schema["tables"]["Port"]["columns"]["external_ids"]["type"], max=3)
    scene = Scene(ovs, range(1, 11))
    for name in ("vif7.0", "tap7.0"):
        ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", name]],
                      "row": {"external_ids": to_map({"k": "same", "b": "2", "c": "3"})}})
    ovs.restart_server(schema)
    scene._before = scene.foreign()
    with Watching(ovs, wait=False) as watcher:
        until(lambda: sum(tag is not None for tag in others(scene)) == 9)
        until(lambda: watcher.stats()["failed"])
        at = commits(ovs)
        failed = watcher.stats()["failed"]
        for number in range(20):
            scene.tag("vif8.0", 500 + number)
            scene.await_tag("tap8.0", 500 + number)
        assert watcher.stats()["failed"] <= failed + 1 and commits(ovs) == at + 40
        assert len([line for line in watcher.log() if "vif7.0" in line]) <= 2
        ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", "tap7.0"]],
                      "row": {"external_ids": to_map({})}}, {
                          "op": "update", "table": "Port", "where": [["name", "==", "vif7.0"]],
                          "row": {"external_ids": to_map({})}})
        until(lambda: ovs.port("tap7.0")["tag"] == [8])


@pytest.mark.parametrize("jump", [-86400, 86400 * 365], ids=["back", "on"])
def test_no_timer_counts_by_the_wall_clock(ovs, tmp_path, jump):
    """The wall clock jumps: the grace still ends at its time, and the watcher mirrors as before."""
    scene = Scene(ovs)
    offset = tmp_path / "offset"
    offset.write_text("0")
    # The test can't set the machine's clock: the watcher's Python adds the number in a file to the
    # wall clock.
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "_time = time.time\n"
        "def jumping():\n"
        "    with open(%r) as stream:\n"
        "        return _time() + float(stream.read() or 0)\n"
        "time.time = jumping\n"
        "time.time_ns = lambda: int(jumping() * 1e9)\n" % str(offset))
    config = "[hold]\nbridges = br0\norphan_grace = 2\n"
    with wrapped_python(path=str(tmp_path)) as python:
        with Watching(ovs, config, python=python, env={"WATCHDOG_USEC": "400000"}) as watcher:
            watcher.settle()
            ovs.delete_port("vif3.0")
            watcher.settle()
            offset.write_text(str(jump))
            watcher.settle()
            assert ovs.port("tap3.0")["tag"] == [4]
            del watcher.notes[:]
            watcher.await_note("WATCHDOG=1")
            scene.tag("vif1.0", 50)
            until(lambda: scene.tags()["tap1.0"] == 50)
            until(lambda: ovs.port("tap3.0")["tag"] == [4095])
            offset.write_text("0")
            scene.ovs.restart_server()
            scene.tag("vif1.0", 60)
            until(lambda: scene.tags()["tap1.0"] == 60)
            latency = watcher.stats()["latency_ms"]
            assert 0 < latency["median"] <= latency["max"] < 60000


def test_a_watcher_stopped_for_a_while_catches_up(scene):
    """As when the host was suspended, or a debugger held the watcher."""
    with Watching(scene.ovs) as watcher:
        watcher.settle()
        watcher.process.send_signal(signal.SIGSTOP)
        for number in range(200):
            scene.tag("vif1.0", 100 + number)
        scene.ovs.delete_port("tap2.0")
        scene.ovs.add_port("br0", "tap2.0", identity(2))
        watcher.process.send_signal(signal.SIGCONT)
        until(lambda: scene.tags()["tap1.0"] == 299 and scene.tags()["tap2.0"] == 3)
        assert len(our_commits(scene.ovs)) <= 10
