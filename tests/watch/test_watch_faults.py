"""The watcher and a database that fails, grows, or holds odd rows. After each fault the watcher has
mirrored each pair that can be mirrored, and has written to no other row.

XENVIF_TAGGER_STORM: for how many seconds another client changes tags as fast as it can.
"""
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time

import pytest

from support.private_ovs import (
    PrivateOvs,
    find_schema,
    load_schema,
    schema_like_2_5,
    schema_without,
)
from support.proxy import is_write
from support.watch_proxy import CUT, SEND_AND_CUT, Gate, Scene, resident, text, until
from support.watching import Watching
from support.zoo import identity
from xenvif_tagger.core import mark
from xenvif_tagger.ovsdb.oneshot import boot_id

STORM = float(os.environ.get("XENVIF_TAGGER_STORM", "3"))


# ---- size --------------------------------------------------------------------------------------


# (This test is the first, because it takes longest.)


def test_20000_ports_are_read_and_few_are_written(ovs):
    """Most of the ports are single and stamped. The watcher writes only the pairs in drift, and
    after a change only the pair that changed."""
    scene = Scene(ovs, range(1, 501))
    boot = boot_id()
    ovs.add_many_ports("br0", [
        {"name": "vif%d.0" % domid, "tag": domid % 4000 + 1, "external_ids": identity(domid),
         "port_external_ids": {mark.KEY: mark.encode({
             "boot": boot, "vif": {"xs-vif-uuid": identity(domid)["xs-vif-uuid"]}})}}
        for domid in range(1001, 20001)])
    before = scene.foreign()
    with Watching(ovs) as watcher:
        watcher.settle()
        assert watcher.stats()["vifs"] == 19500
        tags = scene.tags()
        assert all(tags["vif%d.0" % domid] == tags["tap%d.0" % domid] == scene.first(domid)
                   for domid in scene.domids)
        at = watcher.stats()["transactions"]
        assert at <= 20
        for name, sibling in (("vif250.0", "tap250.0"), ("tap500.0", "vif500.0")):
            scene.tag(name, 4001)
            scene.await_tag(sibling, 4001)
        watcher.settle()
        assert watcher.stats()["transactions"] <= at + 2
        scene.assert_untouched(before)


class Storm:
    """A client that sets tags of vifs as fast as ovsdb-server takes them, for some seconds."""

    WINDOW = 200  # transactions that may be under way at a time

    def __init__(self, scene, seconds):
        self._scene = scene
        self._seconds = seconds
        self.last = {}
        self.count = 0

    def run(self):
        pick = random.Random(1)
        rows = {row["name"]: row["_uuid"] for row in self._scene.ovs.rows("Port")}
        vifs = [(domid, rows["vif%d.0" % domid]) for domid in self._scene.domids]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._scene.ovs.socket_path)
            stop = time.monotonic() + self._seconds
            while time.monotonic() < stop:
                requests = []
                for _ in range(self.WINDOW):
                    domid, uuid = pick.choice(vifs)
                    self.last[domid] = self.count % 4000 + 1
                    self.count += 1
                    requests.append(json.dumps({"method": "transact", "id": self.count, "params": [
                        "Open_vSwitch", {
                            "op": "update", "table": "Port", "row": {"tag": self.last[domid]},
                            "where": [["_uuid", "==", ["uuid", uuid]]]}]}))
                connection.sendall("".join(requests).encode())
                seen = 0
                while seen < self.WINDOW:
                    data = connection.recv(1 << 16)
                    assert data
                    seen += data.count(b'"id":')


def test_a_storm_of_changes(ovs):
    """The watcher's memory stays bounded during the changes, and in the end each pair is alike."""
    scene = Scene(ovs, range(1, 101))
    with Watching(ovs) as watcher:
        watcher.settle()
        before = resident(watcher.pid)
        storm = Storm(scene, STORM)
        most = [before]
        thread = threading.Thread(target=storm.run)
        thread.start()
        while thread.is_alive():
            most.append(resident(watcher.pid))
            thread.join(0.2)
        ended = time.monotonic()
        watcher.settle()
        caught_up = time.monotonic() - ended
        print("storm: %d changes in %g s; %d KiB before, %d at most; caught up in %.2f s; %s" % (
            storm.count, STORM, before, max(most), caught_up, watcher.stats()))
        assert storm.count > 100 * STORM
        assert scene.agree(**{"vif%d" % domid: tag for domid, tag in storm.last.items()})
        scene.assert_untouched()
        assert max(most) < before + 64 * 1024
        assert len(watcher.log()) <= 25 * (STORM + 60)


# ---- the server ends and comes again ------------------------------------------------------------


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_a_server_restarted_with_the_same_data(scene, kill):
    with Watching(scene.ovs) as watcher:
        watcher.settle()
        for number in range(3):
            scene.ovs.stop_server(kill)
            scene.ovs.start_server()
            scene.assert_works(watcher, value=100 * number + 50)
        assert watcher.stats()["lock"] == "held" and watcher.stats()["reconnects"] >= 3


def replace_database(ovs, make):
    """Stop the server, let make(path) write a file in place of its database, start the server."""
    ovs.stop_server()
    make(ovs.database)
    ovs.start_server()


def test_an_older_backup(scene):
    """The backup undoes each later change; the watcher takes the backup's rows, with their marks,
    as the present rows."""
    ovs, backup = scene.ovs, scene.ovs.database + ".backup"
    with Watching(ovs) as watcher:
        watcher.settle()
        scene.tag("vif1.0", 50)
        scene.await_tags(watcher, vif1=50)
        shutil.copy(ovs.database, backup)
        scene.tag("vif1.0", 60)
        scene.await_tags(watcher, vif1=60)
        ovs.delete_port("tap2.0")
        ovs.add_port("br0", "vif9.0", identity(9), tag=9)
        ovs.add_port("br0", "tap9.0", identity(9))
        watcher.settle()
        replace_database(ovs, lambda path: shutil.copy(backup, path))
        scene.assert_works(watcher, domid=2)
        assert scene.agree(vif1=50)
        assert {pair["domid"] for pair in watcher.status()["pairs"]} == {1, 2, 3}


def test_a_backup_from_before_the_bridge(ovs):
    """The backup has no bridge; then the bridge and its ports are made anew, with other UUIDs."""
    backup = ovs.database + ".backup"
    shutil.copy(ovs.database, backup)
    Scene(ovs)
    with Watching(ovs) as watcher:
        watcher.settle()
        replace_database(ovs, lambda path: shutil.copy(backup, path))
        until(lambda: watcher.status()["pairs"] == [])
        again = Scene(ovs)
        again.assert_works(watcher)


def test_an_empty_database(scene):
    ovs = scene.ovs

    def create(path):
        os.remove(path)
        subprocess.check_call(["ovsdb-tool", "create", path, find_schema()], env=ovs.env)

    with Watching(ovs) as watcher:
        watcher.settle()
        replace_database(ovs, create)
        until(lambda: watcher.stats()["synced"] and watcher.status()["pairs"] == [])
        assert ovs.rows("Open_vSwitch") == []  # the watcher wrote nothing into the empty database
        ovs.vsctl("init")
        again = Scene(ovs)
        again.assert_works(watcher)


LACKING = ["Port.cvlans", "Port.other_config", "Port.vlan_mode", "Port.fake_bridge",
           "Interface.ingress_policing_rate", "Interface.ingress_policing_burst",
           "Interface.error", "Interface.ofport"]
SCHEMAS = {
    "of today": load_schema,
    "like 2.5": schema_like_2_5,
    "without policing": lambda: schema_without(
        "Interface.ingress_policing_rate", "Interface.ingress_policing_burst"),
    "without error": lambda: schema_without("Interface.error"),
}


@pytest.mark.parametrize("first, then", list(itertools.permutations(sorted(SCHEMAS), 2)))
def test_a_server_restarted_with_another_schema(first, then):
    with PrivateOvs(SCHEMAS[first]()) as ovs:
        scene = Scene(ovs)
        config = "[mirror]\npolicing = yes\n"
        with Watching(ovs, config) as watcher:
            watcher.settle()
            before = scene.foreign()
            ovs.restart_server(SCHEMAS[then]())
            scene._before = before
            scene.assert_works(watcher)
            if then == "of today":  # the tables and columns that the first schema lacked
                ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", "vif1.0"]],
                              "row": {"vlan_mode": "dot1q-tunnel", "cvlans": ["set", [3, 4]]}})
                until(lambda: ovs.port("tap1.0")["cvlans"] == [3, 4])
                ovs.transact({"op": "update", "table": "Interface", "row": {
                    "ingress_policing_rate": 77}, "where": [["name", "==", "vif1.0"]]})
                until(lambda: ovs.interface("tap1.0")["ingress_policing_rate"] == 77)


def test_the_form_of_a_hold_follows_the_schema():
    """After an upgrade of the server a port is held in the form that the new schema allows. A port
    that was held before is closed in the old form too, and keeps that form."""
    def form(name):
        port = ovs.port(name)
        return port["tag"], port["vlan_mode"]

    with PrivateOvs(SCHEMAS["like 2.5"]()) as ovs:
        Scene(ovs)
        with Watching(ovs, "[hold]\nbridges = br0\n") as watcher:
            watcher.settle()
            ovs.vsctl("clear", "Port", "vif1.0", "tag")
            until(lambda: form("tap1.0") == ([4095], []))
            ovs.restart_server(SCHEMAS["of today"]())
            watcher.until(lambda: watcher.stats()["synced"])
            ovs.vsctl("clear", "Port", "vif2.0", "tag")
            until(lambda: form("tap2.0") == ([4095], ["dot1q-tunnel"]))
            assert form("tap1.0") == ([4095], [])


def test_a_schema_without_columns_that_the_watcher_can_spare(scene):
    """The database lacks these columns from the start, as a database of an old schema does."""
    scene.ovs.restart_server(schema_without("Port.cvlans", "Interface.error",
                                            "Interface.ingress_policing_rate"))
    scene._before = scene.foreign()
    with Watching(scene.ovs) as watcher:
        scene.assert_works(watcher)


def test_a_server_without_our_database(tmp_path_factory):
    """The server has another database, and gets ours later: the watcher waits, and logs that it
    waits."""
    directory = str(tmp_path_factory.mktemp("o"))
    other = {"name": "Other", "version": "1.0.0",
             "tables": {"T": {"columns": {"name": {"type": "string"}}}}}
    with PrivateOvs() as ovs:
        scene = Scene(ovs)
        with open(directory + "/schema", "w") as stream:
            json.dump(other, stream)
        ours, theirs = ovs.database, directory + "/db"
        subprocess.check_call(["ovsdb-tool", "create", theirs, directory + "/schema"], env=ovs.env)
        ovs.stop_server()
        ovs.database = theirs
        ovs.start_server()
        with Watching(ovs, wait=False) as watcher:
            until(lambda: any("Open_vSwitch" in line for line in watcher.log()))
            assert not watcher.stats()["synced"] and "Traceback" not in text(watcher)
            until(lambda: "no Open_vSwitch database" in (watcher.stats()["last_error"] or ""))
            ovs.stop_server()
            ovs.database = ours
            ovs.start_server()
            scene.assert_works(watcher)


def test_the_servers_socket_is_removed_and_made_anew(scene):
    """The watcher's connection goes on; when the connection breaks, the watcher finds the new
    socket."""
    ovs = scene.ovs
    with Watching(ovs) as watcher:
        watcher.settle()
        os.remove(ovs.socket_path)
        watcher.settle()
        ovs.stop_server()
        until(lambda: not watcher.stats()["connected"])
        ovs.start_server()
        scene.assert_works(watcher)
        ovs.stop_server()
        with socket.socket(socket.AF_UNIX) as stale:  # nobody listens on this socket
            stale.bind(ovs.socket_path)
        until(lambda: not watcher.stats()["connected"])
        os.remove(ovs.socket_path)
        with open(ovs.socket_path, "w"):
            pass  # a plain file in place of the socket
        until(lambda: any(ovs.socket_path in line for line in watcher.log()))
        os.remove(ovs.socket_path)
        ovs.start_server()
        scene.assert_works(watcher)


def test_a_server_that_hangs_for_a_while(scene):
    """After the hang, the watcher mirrors the change made just before the hang and the change that
    a client sent during the hang."""
    ovs = scene.ovs
    with Watching(ovs) as watcher:
        watcher.settle()
        scene.tag("vif2.0", 70)
        ovs.pause()
        waiting = threading.Thread(target=scene.tag, args=("vif1.0", 50))
        waiting.start()
        # The watcher answers over its control socket meanwhile.
        assert watcher.stats()["pid"] == watcher.pid
        assert not watcher.appctl("status").startswith("Traceback")
        time.sleep(7)  # longer than the silence after which the watcher sends a keep-alive
        ovs.resume()
        waiting.join()
        scene.await_tags(watcher, vif1=50, vif2=70)
        scene.assert_works(watcher)


# ---- connections that break --------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the server has it", "when the server has it",
                                  "before the reply"])
def test_a_connection_cut_in_the_middle_of_a_transaction(scene, when):
    """The server has either got the transaction or not, and the watcher cannot know: in both cases
    the pair is alike in the end."""
    cuts = []

    def is_next(message):
        if message is None or not is_write(message) or len(cuts) == 3:
            return False
        cuts.append(message)
        return True

    def on_request(message):
        how = {"before the server has it": CUT, "when the server has it": SEND_AND_CUT}.get(when)
        return how if how and is_next(message) else None

    def on_reply(message, request):
        return CUT if when == "before the reply" and is_next(request) else None

    with Gate(scene.ovs, on_request=on_request, on_reply=on_reply) as gate:
        with Watching(scene.ovs, remote=gate.remote, wait=False) as watcher:
            for number in range(3):
                scene.tag("vif1.0", 100 + number)
                scene.await_tags(watcher, vif1=100 + number)
            assert len(cuts) == 3
            scene.assert_works(watcher)


def test_the_server_killed_in_the_middle_of_a_transaction(scene):
    """kill -9 of ovsdb-server: the server forgets the watcher's lock, too."""
    for number in range(3):
        killed = []

        def on_request(message, killed=killed):
            if is_write(message) and not killed:
                scene.ovs.stop_server(kill=True)
                killed.append(message)
                return CUT
            return None

        with Gate(scene.ovs, on_request=on_request) as gate:
            with Watching(scene.ovs, remote=gate.remote, wait=False) as watcher:
                if number:
                    watcher.until(lambda: watcher.stats()["synced"])
                    scene.tag("vif1.0", 100 + number)
                until(lambda: killed)  # noqa: B023
                scene.ovs.start_server()
                scene.await_tags(watcher, vif1=100 + number if number else scene.first(1))
                scene.assert_works(watcher)


def test_a_connection_that_breaks_all_the_time(scene):
    """The connection breaks every 0.2 s for a while, also in the middle of the watcher's sync."""
    with Gate(scene.ovs) as gate, Watching(scene.ovs, remote=gate.remote) as watcher:
        for number in range(15):
            scene.tag("vif1.0", 200 + number)
            time.sleep(0.2)
            gate.cut()
        scene.await_tags(watcher, vif1=214)
        scene.assert_works(watcher)
        assert gate.links >= 3


GARBAGE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "bytes": bytes(range(256)),
    "a number": b"5",
    "a list": b"[]",
    "half a reply": b'{"id": 1, "error": null, "result": {"tab',
    "half a letter": b'{"id": 1, "result": "\xc3',
    "a wrong letter": b'{"id": 1, "result": "\xc3\x28"}',
    "not JSON": b"{'id': 1}",
    "an open end": 20000 * b'{"a":',
    "deep": b'{"id": 1, "error": null, "result": ' + 20000 * b"[" + 20000 * b"]" + b"}",
    "another's reply": b'{"id": 77, "error": null, "result": {}}',
    "an error without an id": b'{"id": null, "error": "x", "result": null}',
    "a request": b'{"id": 1, "method": "x", "params": []}',
    "an odd update": b'{"id": null, "method": "update", "params": 5}',
    "an odd update2": b'{"id": null, "method": "update2", "params": [1, 2, 3]}',
    "a map that is none": b'{"id": 1, "error": null, "result": {"x": ["map", 5]}}',
    "a map of no pairs": b'{"id": 1, "error": null, "result": {"x": ["map", [["a"]]]}}',
    "a map with a map as key": b'{"id": 1, "error": null, "result": {"x": ["map", [[{}, 1]]]}}',
    "a cancelled monitor": b'{"id": null, "method": "monitor_canceled", "params": []}',
    "an odd lock": b'{"id": null, "method": "locked", "params": 5}',
    "an odd lock of an object": b'{"id": null, "method": "stolen", "params": [{}]}',
    "an odd echo": b'{"id": {"a": []}, "method": "echo", "params": {}}',
}


@pytest.mark.parametrize("what", sorted(GARBAGE))
def test_a_server_that_sends_garbage(scene, what):
    """The watcher connects again and gets garbage: the watcher logs no traceback, does not end, and
    does not connect in a busy loop."""
    with Gate(scene.ovs) as gate, Watching(scene.ovs, remote=gate.remote) as watcher:
        watcher.settle()
        gate.greeting = GARBAGE[what]
        gate.cut()
        links = gate.links
        until(lambda: gate.links > links)
        assert not watcher.appctl("resync").startswith("done")
        assert "Traceback" not in text(watcher), text(watcher)
        gate.greeting = None
        gate.cut()
        scene.assert_works(watcher)
        assert "Traceback" not in text(watcher), text(watcher)
        assert gate.links <= links + 30


# Name -> (method, the result that takes the place of the real server's).
ODD_REPLIES = {
    "get_schema is null": ("get_schema", None),
    "get_schema has no tables": ("get_schema", {"name": "Open_vSwitch", "version": "1.0.0"}),
    "get_schema lacks tables": ("get_schema", {"name": "Open_vSwitch", "version": "1.0.0",
                                               "tables": {"Port": {"columns": {}}}}),
    "what is monitored is null": ("monitor_cond_since", None),
    "what is monitored is text": ("monitor_cond_since", [False, "x", "y"]),
    "what is monitored has odd rows": ("monitor_cond_since", [False, "x", {
        "Port": {"00000000-0000-0000-0000-000000000001": {"initial": {"name": [], "tag": {}}}}}]),
    "a write's results are null": ("write", None),
    "a write's results are too few": ("write", []),
    "a write's results are numbers": ("write", [1, 2, 3]),
    "a write's results are objects": ("write", {}),
    "a write's counts are missing": ("write", 100 * [{}]),
}


@pytest.mark.parametrize("what", sorted(ODD_REPLIES))
def test_a_server_that_sends_odd_replies(scene, what):
    method, result = ODD_REPLIES[what]
    odd = []

    def on_request(message):
        if len(odd) < 2 and (message.get("method") == method
                             or method == "write" and is_write(message)):
            odd.append(message)
            return {"id": message["id"], "error": None, "result": result}
        return None

    with Gate(scene.ovs, on_request=on_request) as gate:
        with Watching(scene.ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: odd)
            gate.on_request = None
            scene.ovs.restart_server()
            scene.assert_works(watcher)
            assert "Traceback" not in text(watcher), text(watcher)


def test_a_server_that_accepts_and_never_answers(scene):
    """The server takes the connection and sends nothing: the watcher counts as not connected."""
    with Gate(scene.ovs) as gate:
        gate.deaf = True
        with Watching(scene.ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: gate.links)
            assert not watcher.stats()["synced"]
            assert not watcher.appctl("resync").startswith("done")
            assert "Traceback" not in watcher.appctl("status")
            gate.deaf = False
            gate.cut()
            scene.assert_works(watcher)
            assert gate.links >= 2


def test_a_server_that_accepts_again_and_never_answers(scene):
    """A watcher that has connected again and has got no answer does not count as connected: the
    database may have changed."""
    def on_request(message):
        return {"id": "nobody's", "error": None, "result": {}}

    with Gate(scene.ovs) as gate, Watching(scene.ovs, remote=gate.remote) as watcher:
        watcher.settle()
        gate.on_request = on_request
        gate.cut()
        until(lambda: watcher.stats()["reconnects"])
        stats = watcher.stats()
        assert not stats["connected"] and stats["lock"] == "none"
        gate.on_request = None
        gate.cut()
        scene.assert_works(watcher)


def test_a_server_that_hangs_from_the_start(scene):
    scene.ovs.pause()
    with Watching(scene.ovs, wait=False) as watcher:
        assert not watcher.stats()["synced"]
        assert not watcher.appctl("resync").startswith("done")
        scene.ovs.resume()
        scene.assert_works(watcher)


def test_a_connection_that_goes_dead(scene):
    """A connection over a network can go dead without being closed: a keep-alive without answer
    tells the watcher."""
    with Gate(scene.ovs, tcp=True) as gate, Watching(scene.ovs, remote=gate.remote) as watcher:
        watcher.settle()
        links = gate.links
        gate.deaf = True
        scene.tag("vif1.0", 50)
        until(lambda: gate.links > links)
        gate.deaf = False
        gate.cut()
        scene.await_tags(watcher, vif1=50)
        scene.assert_works(watcher)
