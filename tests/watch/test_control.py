"""The answers of `xenvif-tagger watch` over its control socket."""
import contextlib
import json
import os
import re
import socket
import stat
import subprocess

import pytest

from support.command import assert_done, run
from support.watch_proxy import HOLD, lines_about, until
from support.watching import PATIENCE, Watching
from support.zoo import STATES, add_zoo, commits
from xenvif_tagger import __version__

STATS = {"version", "pid", "connected", "synced", "lock", "vifs", "events", "transactions",
         "mirrored", "marked", "conflicts", "refused", "retries", "failed", "reconnects",
         "latency_ms", "last_error", "last_mirrored_seconds", "held_seconds", "unbound_seconds",
         "wakeups", "log_dropped"}


def refused(watcher, *args):
    """The error text of ovs-appctl (bytes) for a command that the watcher refuses."""
    done = subprocess.run(["ovs-appctl", "-t", watcher.socket] + list(args), env=watcher.ovs.env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode != 0 and done.stdout == b"", done
    return done.stderr.decode()


def test_the_watchers_status_equals_the_commands(ovs):
    ovs.add_bridge("xenbr0")
    add_zoo(ovs)
    with Watching(ovs) as watcher:
        watcher.settle()
        theirs = json.loads(assert_done(run("status", "--json", db=ovs)).out)
        assert watcher.status()["pairs"] == theirs["pairs"]
        assert {pair["state"] for pair in theirs["pairs"]} <= set(STATES) - {"drift", "mirrored"}
        table = watcher.appctl("status")
        assert table.split("\n")[0].split()[:2] == ["VM", "BRIDGE"]
        for pair in theirs["pairs"]:
            assert re.search(r"\bvif%d\.0|tap%d\.0" % (pair["domid"], pair["domid"]), table)
            assert pair["state"] in table


def test_status_without_any_pair(ovs):
    with Watching(ovs) as watcher:
        assert watcher.status()["pairs"] == []
        assert watcher.appctl("status").strip() == "no VIF has a port here"
        assert watcher.stats()["vifs"] == 0


def test_stats(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        stats = watcher.stats()
        assert set(stats) == STATS
        assert (stats["version"], stats["pid"], stats["vifs"], stats["conflicts"]) == (
            __version__, watcher.pid, 4, 1)
        assert stats["connected"] is True and stats["synced"] is True and stats["lock"] == "held"
        assert (stats["failed"], stats["last_error"], stats["reconnects"]) == (0, None, 0)
        lab.set("tap", {"tag": 5})
        watcher.settle()
        latency = watcher.stats()["latency_ms"]
        assert 0 < latency["median"] <= latency["p95"] <= latency["max"]
        text = dict(line.split(": ", 1) for line in watcher.appctl("stats").splitlines())
        assert set(text) >= STATS - {"latency_ms"} and text["vifs"] == "4"


def test_status_tells_since_when_a_port_is_held(lab):
    def held():
        watcher.settle()
        return watcher.stats()["held_seconds"]

    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "3600") as watcher:
        assert held() == {}
        assert "held_seconds: -" in watcher.appctl("stats").splitlines()
        lab.set("vif", {})
        before = held()["vif12.0"]
        until(lambda: held()["vif12.0"] > before)
        assert "held_seconds: vif12.0 " in watcher.appctl("stats")
        lab.unplug("tap")
        assert set(held()) == {"vif12.0"}
        lab.set("vif", {"tag": 6})
        assert held() == {}
        lab.unplug("vif")
        lab.plug("vif", noted={"held": {"tag": 4095}})
    with Watching(lab.ovs, HOLD % "3600") as watcher:
        assert set(held()) == {"vif12.0"}
        lab.unplug("vif")
        assert held() == {}


def test_resync_ends_when_the_database_goes(lab):
    with Watching(lab.ovs) as watcher, socket.socket(socket.AF_UNIX) as asker:
        watcher.settle()
        lab.ovs.pause()
        asker.settimeout(PATIENCE)
        asker.connect(watcher.socket)
        asker.sendall(b'{"id": 0, "method": "resync", "params": []}')
        watcher.stats()  # the watcher takes the stats request after the resync
        lab.ovs.stop_server(kill=True)
        assert json.loads(asker.recv(4096).decode())["result"].startswith("not done")


@pytest.mark.parametrize("request_id", [0, 1])
@pytest.mark.parametrize("requests", [1, 2])
def test_a_resync_whose_client_has_gone(lab, request_id, requests):
    """The client leaves, as by Ctrl-C: the watcher sends no answer, and does not spin on the dead
    socket."""
    with Watching(lab.ovs) as watcher, socket.socket(socket.AF_UNIX) as asker:
        lab.ovs.pause()
        asker.connect(watcher.socket)
        asker.sendall(requests * (b'{"id": %d, "method": "resync", "params": []}' % request_id))
        watcher.appctl("version")  # by this answer the watcher has taken the resync
        asker.shutdown(socket.SHUT_RDWR)
        watcher.stats()
        before = watcher.stats()["wakeups"]
        assert watcher.stats()["wakeups"] - before < 15
        lab.ovs.resume()
        watcher.settle()
        assert watcher.process.poll() is None


def test_a_resync_of_mirrored_pairs_writes_nothing(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        assert watcher.appctl("resync").startswith("done")
        at, rows = commits(lab.ovs), lab.everything()
        for _ in range(5):
            assert watcher.appctl("resync").startswith("done")
        assert commits(lab.ovs) == at and lab.everything() == rows


@pytest.mark.parametrize("request_", [
    b'{"id": 0, "method": "stats", "params": ["map", 5]}',
    b'{"id": 0, "method": "stats", "params": [["map", 5]]}',
    b'{"id": 0, "method": {}, "params": []}', b'{"id": 0, "method": ["stats"], "params": []}',
    b'{"id": 0, "method": "set-options", "params": ["--format", "none"]}',
    b'{"id": 0, "method": "set-options", "params": ["--help"]}',
    b'{"id": 0, "method": "vlog/set", "params": ["a:b:c:d"]}',
    b'{"id": {}, "method": "resync", "params": []}', b'{"id": 0, "method": "stats"}',
    b'{"id": 0, "result": 1, "error": null}', b'{"id": null, "method": "exit", "params": []}'])
def test_an_odd_request_ends_only_its_own_connection(ovs, request_):
    """An odd request ends its own connection; the resyncs of other connections are still
    answered."""
    with Watching(ovs) as watcher, contextlib.ExitStack() as stack:
        ovs.pause()
        odd, *others = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        for asker in [odd] + others:
            asker.settimeout(PATIENCE)
            asker.connect(watcher.socket)
        for asker in others:
            asker.sendall(b'{"id": 0, "method": "resync", "params": []}')
        watcher.appctl("version")  # by this answer the watcher has taken the resyncs
        odd.sendall(request_)
        odd.shutdown(socket.SHUT_WR)
        while odd.recv(65536):
            pass  # the watcher closes the odd connection after the request
        ovs.resume()
        for asker in others:
            assert json.loads(asker.recv(4096).decode())["result"].startswith("done")
        watcher.settle()
        assert "Traceback" not in "\n".join(watcher.log())


def test_only_the_watchers_own_user_may_send_commands(ovs):
    with Watching(ovs) as watcher:
        assert stat.S_IMODE(os.stat(watcher.socket).st_mode) == 0o700


def test_version(ovs):
    with Watching(ovs) as watcher:
        assert __version__ in watcher.appctl("version")
        commands = watcher.appctl("help")
        for name in ("status", "stats", "resync", "version", "exit", "vlog/set", "vlog/list"):
            assert re.search(r"^\s*%s\b" % name, commands, re.MULTILINE), commands


@pytest.mark.parametrize("words", [
    "nonsense", "status --bogus", "status --json --json", "status 12 13 14", "stats x",
    "stats --bogus", "resync x", "version x", "exit x y", "vlog/set", "status -h", "stats -"])
def test_bad_usage_of_a_command(lab, words):
    """The watcher refuses the command in words, and goes on."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        assert "Traceback" not in refused(watcher, *words.split())
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})


def test_vlog_set(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        assert "console" in watcher.appctl("vlog/list")
        watcher.appctl("vlog/set", "console:off")
        lab.set("vif", {"tag": 6})
        watcher.settle()
        assert not lines_about(watcher, "tag 6")
        watcher.appctl("vlog/set", "console:dbg")
        lab.set("vif", {"tag": 7})
        watcher.settle()
        assert lines_about(watcher, "vif12.0 -> tap12.0", "tag 7")
        assert "no destination" in watcher.appctl("vlog/set", "nonsense")


def test_many_clients_at_once_and_one_that_sends_no_command(lab):
    with Watching(lab.ovs) as watcher:
        idle = socket.socket(socket.AF_UNIX)
        rude = socket.socket(socket.AF_UNIX)
        garbage = socket.socket(socket.AF_UNIX)
        with idle, rude, garbage:
            for one in (idle, rude, garbage):
                one.connect(watcher.socket)
            rude.sendall(json.dumps({"method": "status", "params": [], "id": 1}).encode())
            rude.close()  # the client leaves before the watcher's answer
            garbage.sendall(b"\xff\xfe}{ nonsense")
            asked = [subprocess.Popen(["ovs-appctl", "-t", watcher.socket, "stats", "--json"],
                                      env=lab.ovs.env, stdout=subprocess.PIPE) for _ in range(8)]
            for one in asked:
                assert json.loads(one.communicate()[0].decode())["pid"] == watcher.pid
            watcher.settle()
