"""`xenvif-tagger watch` as a service manager and a person meet it: what it does, what it says, how
it is asked, how it starts and ends. (Faults: test_watch_faults.py, locks: test_watch_locks.py.)"""
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from dom0.syslog import Syslog
from support.command import Run, assert_done, assert_error, command, environment, run
from support.constants import ROOT
from support.lab import A
from support.private_ovs import to_map
from support.watch_proxy import Gate, Scene, switches, until, wrapped_python
from support.watching import Watching
from support.zoo import STATES, add_zoo, commits, dump, our_commits
from xenvif_tagger import __version__
from xenvif_tagger.host import pidfile

IDLE = 3  # seconds in which nothing may happen
STATS = {"version", "pid", "connected", "synced", "lock", "vifs", "events", "transactions",
         "mirrored", "marked", "conflicts", "refused", "retries", "failed", "reconnects",
         "latency_ms", "last_error", "last_mirrored_seconds", "held_seconds", "wakeups"}


def lines_about(watcher, *words):
    return [line for line in watcher.log() if all(word in line for word in words)]


# ---- it mirrors --------------------------------------------------------------------------------


def test_what_it_finds_is_mirrored(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        assert watcher.stats()["mirrored"] == 3  # and two that were there


@pytest.mark.parametrize("side", ["vif", "tap"])
def test_a_change_on_either_side(lab, side):
    lab.plug("vif")
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        for unit in ({"tag": 5}, {"tag": 6, "vlan_mode": "native-tagged", "trunks": [7, 8]},
                     {"tag": 9, "vlan_mode": "dot1q-tunnel", "cvlans": [1, 2]}, {}):
            lab.set(side, unit)
            watcher.settle()
            assert lab.units() == (unit, unit)
        lab.ids(side, probe="1")
        lab.ids(side, "Port", other="2")
        watcher.settle()
        for each in ("vif", "tap"):
            assert lab.iface(each, "probe") == "1" and lab.port_ids(each) == {"other": "2"}


def test_without_being_asked(lab):
    """No command wakes it: the change does."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        for tag in range(100, 120):
            lab.set("tap", {"tag": tag})
            until(lambda: lab.units() == (lab.unit("tap"),) * 2)


def test_a_pair_that_comes_later(lab):
    with Watching(lab.ovs) as watcher:
        for tag in (5, 6):
            lab.plug("vif", {"tag": tag})
            watcher.settle()
            lab.plug("tap")
            watcher.settle()
            assert lab.units() == ({"tag": tag}, {"tag": tag})
            lab.unplug("tap")
            lab.unplug("vif")
        watcher.settle()
        assert (12, 0) not in [(pair["domid"], pair["devid"])
                               for pair in watcher.status()["pairs"]]


def test_nothing_else_is_written(ovs):
    scene = Scene(ovs)
    with Watching(ovs) as watcher:
        scene.assert_works(watcher)
        watcher.settle()
        before = dump(ovs)
        watcher.settle()
        assert dump(ovs) == before


def test_a_fresh_pair_is_one_transaction(lab):
    """The stamps of both, the base and the tag."""
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        written = len(our_commits(lab.ovs))
        lab.ovs.add_many_ports("br0", [
            {"name": "vif12.0", "external_ids": A, "tag": 5, "ofport": 1},
            {"name": "tap12.0", "external_ids": A, "ofport": 2}])
        watcher.settle()
        assert len(our_commits(lab.ovs)) == written + 1
    for side in ("vif", "tap"):
        assert lab.unit(side) == {"tag": 5}
        assert lab.mark(side)["vif"] == {"xs-vif-uuid": A["xs-vif-uuid"]}
        assert lab.mark(side)["boot"]
    assert "base" in lab.mark("tap") and "base" not in lab.mark("vif")


def test_a_single_port_gets_its_stamp_when_it_is_seen_alive(lab):
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        before = watcher.stats()
        lab.plug("vif", {"tag": 5}, ofport=1)
        watcher.settle()
        after = watcher.stats()
        assert lab.mark("vif")["vif"] and lab.mark("vif")["boot"]
        assert (after["marked"], after["mirrored"]) == (before["marked"] + 1, before["mirrored"])
        assert after["transactions"] == before["transactions"] + 1
        # And that was that.
        lab.interface("vif", ofport=7)
        watcher.settle()
        assert watcher.stats()["transactions"] == after["transactions"]


def test_a_burst_is_few_transactions(ovs):
    scene = Scene(ovs, range(1, 301))
    with Watching(ovs) as watcher:
        watcher.settle()
        assert scene.is_done()
        at = watcher.stats()["transactions"]
        ovs.transact(*[{
            "op": "update", "table": "Port", "where": [["name", "==", "vif%d.0" % domid]],
            "row": {"tag": 3000 + domid}} for domid in scene.domids])
        watcher.settle()
        assert scene.agree(vif1=3001, vif300=3300)
        assert watcher.stats()["transactions"] - at <= 30
        scene.assert_untouched()


HOLD = "[hold]\nbridges = br0\norphan_grace = %s\n"


def test_an_orphan_is_held_after_its_grace(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "0.3") as watcher:
        watcher.settle()
        lab.unplug("vif")
        until(lambda: lab.unit("tap").get("tag") == 4095)  # nobody asks for it
        assert lab.mark("tap")["held"] == lab.unit("tap")


def test_an_orphan_within_its_grace_keeps_its_vlan(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "3600") as watcher:
        watcher.settle()
        lab.unplug("vif")
        watcher.settle()
        watcher.settle()
        assert lab.unit("tap") == {"tag": 5}
        assert {(pair["domid"], pair["devid"]): pair["state"]
                for pair in watcher.status()["pairs"]}[12, 0] == "orphan"
        lab.plug("vif")
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})


def test_a_sibling_that_comes_back_ends_the_grace(lab):
    """The grace is of one absence: a second one is not cut short by the first."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "1.5") as watcher:
        for _ in range(6):
            watcher.settle()
            lab.unplug("vif")
            watcher.settle()
            if lab.unit("tap") != {"tag": 5}:  # it took so long on a busy machine
                break
            time.sleep(0.4)  # together more than the grace, each less
            lab.plug("vif", {"tag": 5})
            watcher.settle()
        assert lab.unit("tap") == {"tag": 5}


def test_no_hold_elsewhere(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, "[hold]\norphan_grace = 0.1\n") as watcher:
        watcher.settle()
        lab.unplug("vif")
        watcher.settle()
        time.sleep(0.5)  # in which nothing may happen
        assert lab.unit("tap") == {"tag": 5}


# ---- what it says ------------------------------------------------------------------------------


def test_a_line_for_each_mirrored_pair(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        line, = lines_about(watcher, "vif12.0 -> tap12.0: ")
        assert re.search(r"vif12\.0 -> tap12\.0: .*\btag 5\b.* \(\d+(\.\d+)? ms\)\Z", line)
        lab.set("tap", {"tag": 6})
        watcher.settle()
        line, = lines_about(watcher, "tap12.0 -> vif12.0: ")
        assert "tag 6" in line


def test_a_conflict_is_told_once_per_change(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})

    def told():
        for _ in range(3):
            watcher.settle()
        # What is none of the pair's business does not count as a change of it.
        lab.interface("vif", ofport=watcher.stats()["events"] % 1000 + 1)
        lab.set("vif120.0", {"tag": watcher.stats()["events"] % 1000 + 1})
        watcher.settle()
        return len(lines_about(watcher, "vif12.0", "tap12.0", "conflict: ")), \
            watcher.stats()["conflicts"]

    with Watching(lab.ovs) as watcher:
        assert told() == (1, 1)
        at = commits(lab.ovs)
        watcher.settle()
        assert commits(lab.ovs) == at
        set_both(lab, 7, 8)
        assert told() == (2, 2)
        lab.set("vif", {"tag": 9})
        watcher.settle()
        assert lab.units() == ({"tag": 9}, {"tag": 9})
        assert told() == (2, 2)


def set_both(lab, vif, tap):
    lab.ovs.transact(*[{"op": "update", "table": "Port", "row": {"tag": tag},
                        "where": [["name", "==", name]]}
                       for name, tag in (("vif12.0", vif), ("tap12.0", tap))])


def test_a_refusal_is_told_once_per_change(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", identity=dict(A, **{"xs-vif-uuid": "another"}))
    with Watching(lab.ovs) as watcher:
        for number in (1, 2):
            for _ in range(3):
                lab.interface("vif", ofport=number * 10 + 1)
                watcher.settle()
            assert len(lines_about(watcher, "vif12.0", "tap12.0", "refused: ")) == number
            assert watcher.stats()["refused"] == number
            assert lab.units() == ({"tag": 5}, {})
            lab.unplug("tap")
            watcher.settle()
            lab.plug("tap", identity=dict(A, **{"xs-vif-uuid": "a third"}))


def test_a_storm_is_at_most_20_lines_a_second(ovs):
    scene = Scene(ovs, range(1, 201))
    began = time.monotonic()
    with Watching(ovs) as watcher:
        watcher.settle()
        assert scene.is_done()
        # What it has not told it must say, when the second is over, without being asked.

        def told():
            left_out = [int(re.search(r"(\d+) more lines", line).group(1))
                        for line in lines_about(watcher, "left out")]
            return len(lines_about(watcher, " -> ")), sum(left_out)

        until(lambda: sum(told()) >= 200)
        seconds = time.monotonic() - began + 2  # the first and the last are cut
        assert len(watcher.log()) <= 20 * seconds
        assert told()[0] < 200 and sum(told()) <= 210
        # And afterwards there is room again.
        scene.tag("vif7.0", 3999)
        until(lambda: lines_about(watcher, "vif7.0 -> tap7.0", "3999"))


def test_values_can_not_forge_lines(lab):
    """They may be anybody's: one line is one line, and steers no terminal."""
    evil = "x\ny vif9.0 -> tap9.0: forged\x1b[31m\u2028\x00z"[:-2]
    lab.plug("vif", {"tag": 5}, {"evil": evil})
    lab.plug("tap", {"tag": 6}, {"evil": evil + "2", "e\nvil": "1"})
    lab.plug("vif13.0", {"tag": 5}, identity=dict(A, **{"xs-vif-uuid": evil}))
    lab.plug("tap13.0", identity=dict(A, **{"xs-vif-uuid": evil + "3"}))
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        assert lines_about(watcher, "vif12.0") and lines_about(watcher, "vif13.0")
        assert not [line for line in watcher.log() if line.startswith("y vif9.0")]
        assert not [line for line in watcher.log() if "\x1b" in line or "\u2028" in line]


@contextlib.contextmanager
def private_log(directory):
    """(a python with a /dev/log of its own, what comes to that)."""
    syslog = Syslog(directory + "/log")
    script = (
        "if [ -z \"$IN_THERE\" ]; then IN_THERE=1 exec unshare --mount /bin/sh \"$0\" \"$@\"; fi\n"
        "mkdir -p {0}/dev && mount -n -t tmpfs dev {0}/dev &&\n"
        "cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/tty {0}/dev/ &&\n"
        "touch {0}/dev/log && mount -n --bind {0}/log {0}/dev/log &&\n"
        "mount -n --rbind {0}/dev /dev || exit 99").format(directory)
    try:
        with wrapped_python(script) as python:
            yield python, syslog
    finally:
        syslog.close()


@pytest.mark.parametrize("journal", [False, True], ids=["", "with JOURNAL_STREAM"])
def test_the_syslog(lab, tmp_path, journal):
    """Ident xenvif-tagger, facility daemon; stderr is silent where the journal has it already."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with private_log(str(tmp_path)) as (python, syslog):
        watcher = Watching(lab.ovs, python=python)
        if journal:
            watcher._env["JOURNAL_STREAM"] = "8:1"
        with watcher:
            watcher.settle()
            line, = [line for line in syslog.lines() if "vif12.0 -> tap12.0: " in line]
            assert re.match(r"xenvif-tagger(\[%d\])?: " % watcher.pid, line)
            assert bool(lines_about(watcher, "vif12.0 -> tap12.0: ")) == (not journal)
        heads = {data.split(b">")[0] for data in syslog._messages}
        assert b"<30" in heads  # daemon, info
        assert {int(head[1:]) >> 3 for head in heads} == {3}


def test_no_syslog_at_all(lab):
    """It runs all the same: most containers have no /dev/log."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with wrapped_python(
            "if [ -z \"$IN_THERE\" ]; then IN_THERE=1 exec unshare --mount /bin/sh \"$0\" \"$@\"; "
            "fi\nif [ -e /dev/log ]; then mount -n --bind /dev/null /dev/log; "
            "fi") as python, Watching(lab.ovs, python=python) as watcher:
        watcher.settle()
        assert lines_about(watcher, "vif12.0 -> tap12.0: ")


# ---- how it is asked ---------------------------------------------------------------------------


def refused(watcher, *args):
    """What ovs-appctl says of a command that fails."""
    done = subprocess.run(["ovs-appctl", "-t", watcher.socket] + list(args), env=watcher.ovs.env,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode != 0 and done.stdout == b"", done
    return done.stderr.decode()


def test_status_is_that_of_the_command(ovs):
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


def test_since_when_a_port_is_held(lab):
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
        asker.settimeout(30)
        asker.connect(watcher.socket)
        asker.sendall(b'{"id": 0, "method": "resync", "params": []}')
        watcher.stats()  # it was accepted after the other one
        lab.ovs.stop_server(kill=True)
        assert json.loads(asker.recv(4096).decode())["result"].startswith("not done")


@pytest.mark.parametrize("request_id", [0, 1])
@pytest.mark.parametrize("requests", [1, 2])
def test_resync_whose_asker_has_gone(lab, request_id, requests):
    """As with Ctrl-C. It must not be answered, nor waited for with all of a CPU."""
    with Watching(lab.ovs) as watcher, socket.socket(socket.AF_UNIX) as asker:
        lab.ovs.pause()
        asker.connect(watcher.socket)
        asker.sendall(requests * (b'{"id": %d, "method": "resync", "params": []}' % request_id))
        watcher.appctl("version")  # it was there before this
        asker.shutdown(socket.SHUT_RDWR)
        watcher.stats()
        before = watcher.stats()["wakeups"]
        assert watcher.stats()["wakeups"] - before < 15
        lab.ovs.resume()
        watcher.settle()
        assert watcher.process.poll() is None


def test_resync_writes_nothing_that_is_done(lab):
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
def test_odd_requests(ovs, request_):
    with Watching(ovs) as watcher, socket.socket(socket.AF_UNIX) as asker:
        asker.settimeout(30)
        asker.connect(watcher.socket)
        asker.sendall(request_)
        asker.shutdown(socket.SHUT_WR)
        while asker.recv(65536):
            pass  # until it has been dealt with
        watcher.settle()
        assert "Traceback" not in "\n".join(watcher.log())


def test_only_its_own_user_may_ask(ovs):
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
    """It is refused in words, and does not hurt the watcher."""
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


def test_many_at_once_and_one_who_never_asks(lab):
    with Watching(lab.ovs) as watcher:
        idle = socket.socket(socket.AF_UNIX)
        rude = socket.socket(socket.AF_UNIX)
        garbage = socket.socket(socket.AF_UNIX)
        with idle, rude, garbage:
            for one in (idle, rude, garbage):
                one.connect(watcher.socket)
            rude.sendall(json.dumps({"method": "status", "params": [], "id": 1}).encode())
            rude.close()  # without hearing the answer
            garbage.sendall(b"\xff\xfe}{ nonsense")
            asked = [subprocess.Popen(["ovs-appctl", "-t", watcher.socket, "stats", "--json"],
                                      env=lab.ovs.env, stdout=subprocess.PIPE) for _ in range(8)]
            for one in asked:
                assert json.loads(one.communicate()[0].decode())["pid"] == watcher.pid
            watcher.settle()


# ---- how it is found ---------------------------------------------------------------------------


@contextlib.contextmanager
def by_name(ovs):
    """A watcher without --unixctl: its socket is where ovs-appctl looks for it."""
    watcher = Watching(ovs)
    at = watcher._command.index("--unixctl")
    del watcher._command[at:at + 2]
    watcher.socket = "xenvif-tagger"
    with watcher:
        yield watcher


def test_appctl_finds_it_by_name(lab):
    path = os.path.join(lab.ovs.dir, "xenvif-tagger.pid")
    with by_name(lab.ovs) as watcher:
        with open(path) as stream:
            assert stream.read() == "%d\n" % watcher.pid
        assert watcher.stats()["pid"] == watcher.pid
        assert os.path.exists("%s/xenvif-tagger.%d.ctl" % (lab.ovs.dir, watcher.pid))
    assert not os.path.exists(path)
    assert [name for name in os.listdir(lab.ovs.dir) if name.startswith("xenvif-tagger")] == []


@pytest.mark.parametrize("left", ["99999999\n", "1\n", "", "nonsense", "PID"])
def test_a_left_over_pidfile_is_no_hindrance(lab, left):
    path = os.path.join(lab.ovs.dir, "xenvif-tagger.pid")
    with open(path, "w") as stream:
        stream.write(left.replace("PID", str(os.getpid())))
    with by_name(lab.ovs) as watcher:
        assert watcher.stats()["pid"] == watcher.pid


def test_after_kill_9_the_next_is_found(lab):
    with by_name(lab.ovs) as first:
        first.kill()
    with by_name(lab.ovs) as second:
        assert second.stats()["pid"] == second.pid


def test_a_second_one_leaves_the_first_its_pidfile(lab):
    with by_name(lab.ovs) as first:
        with Watching(lab.ovs) as second:
            assert second.stats()["lock"] == "waiting"
            assert lab.ovs.appctl("xenvif-tagger", "version")
            assert json.loads(lab.ovs.appctl("xenvif-tagger", "stats", "--json"))[
                "pid"] == first.pid
        assert first.stats()["pid"] == first.pid


def test_who_takes_over_the_lock_takes_the_pidfile(lab):
    """ovs-appctl and status are to find the one that writes."""
    with by_name(lab.ovs) as first:
        with Watching(lab.ovs) as second:
            assert second.stats()["lock"] == "waiting"
            first.kill()
            until(lambda: second.stats()["lock"] == "held")
            assert pidfile.running(os.path.join(lab.ovs.dir, "xenvif-tagger.pid")) == second.pid


def test_a_pidfile_that_goes_before_it_is_locked(tmp_path, monkeypatch):
    """Who had it ends just then: the one that we have opened is no file any more."""
    path, lock, gone = str(tmp_path / "x.pid"), fcntl.lockf, []

    def late(*args):
        if not gone:
            gone.append(os.unlink(path))
        return lock(*args)

    monkeypatch.setattr(fcntl, "lockf", late)
    mine = pidfile.Pidfile(path)
    assert mine.take() and gone
    with open(path) as stream:
        assert stream.read() == "%d\n" % os.getpid()
    mine.drop()
    assert not os.path.exists(path)


def test_a_pidfile_that_is_anothers_by_now(tmp_path):
    """Ours was removed, and somebody else has made one: it is not ours to remove."""
    path = tmp_path / "x.pid"
    mine = pidfile.Pidfile(str(path))
    assert mine.take()
    path.unlink()
    path.write_text("5\n")
    mine.drop()
    assert path.read_text() == "5\n"
    mine = pidfile.Pidfile(str(path))
    assert mine.take()
    path.unlink()
    mine.drop()  # nor is it a fault that there is none


def test_a_pidfile_is_a_living_process_only_while_it_is_locked(tmp_path):
    path = str(tmp_path / "x.pid")
    assert pidfile.running(path) is None
    holder = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); " \
        "print('', flush=True); sys.stdin.read()"
    for text, found in ("17\n", 17), ("nonsense", None):
        with open(path, "w") as stream:
            stream.write(text)
        assert pidfile.running(path) is None
        with subprocess.Popen([sys.executable, "-c", holder, path], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            assert pidfile.running(path) == found
            assert pidfile.Pidfile(path).take() is False
            process.stdin.close()


def test_the_status_command_says_whether_a_watcher_runs(lab):
    def said(*options):
        return assert_done(run("status", *options, db=lab.ovs, env={"OVS_RUNDIR": lab.ovs.dir})).out

    def about_it():
        return [line for line in said().splitlines() if "watch" in line]

    without, = about_it()
    assert json.loads(said("--json"))["watcher"] is None
    with by_name(lab.ovs) as watcher:
        running, = about_it()
        assert str(watcher.pid) in running and running != without
        assert json.loads(said("--json"))["watcher"] == {"pid": watcher.pid}
        watcher.kill()
        assert about_it() == [without]
    assert about_it() == [without]


# ---- it costs nothing while nothing happens ----------------------------------------------------


def test_it_sleeps_while_nothing_happens(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})  # a conflict is no reason to wake up
    lab.plug("vif13.0", identity={})
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        before, slept = watcher.stats()["wakeups"], switches(watcher.pid)
        time.sleep(IDLE)  # in which nothing may happen
        slept = switches(watcher.pid) - slept
        # The keep-alive is every 5 s; the answer to our own question is some turns more.
        assert slept <= 6
        assert watcher.stats()["wakeups"] - before <= 10


def test_a_second_one_sleeps_too(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})
    with Watching(lab.ovs), Watching(lab.ovs) as second:
        until(lambda: second.stats()["lock"] == "waiting")
        before, slept = second.stats()["wakeups"], switches(second.pid)
        time.sleep(IDLE)
        assert switches(second.pid) - slept <= 6
        assert second.stats()["wakeups"] - before <= 10


def test_a_keep_alive_that_is_answered_keeps_the_connection(lab):
    """Over TCP, where there is one: nothing else comes for a while."""
    seen = []

    def on_request(message):
        if message["id"] == "echo":  # the library's: ours have numbers
            seen.append(message)

    with Gate(lab.ovs, on_request=on_request, tcp=True) as gate:
        with Watching(lab.ovs, remote=gate.remote) as watcher:
            until(lambda: len(seen) >= 2)  # the second comes if the first one's answer counted
            assert gate.links == 1 and watcher.stats()["reconnects"] == 0


def test_it_sleeps_without_a_database(lab):
    """It tries again once a second, and no more often."""
    with Watching(lab.ovs) as watcher:
        lab.ovs.stop_server()
        until(lambda: not watcher.stats()["connected"])
        time.sleep(1)  # the first tries are closer together
        slept = switches(watcher.pid)
        time.sleep(IDLE)
        assert switches(watcher.pid) - slept <= 5 * (IDLE + 1)
        said = len(watcher.log())
        time.sleep(1.5)
        assert len(watcher.log()) <= said + 2


# ---- how it starts and ends --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "exit"])
def test_it_ends_with_0(lab, how):
    with by_name(lab.ovs) as watcher:
        if how == "exit":
            watcher.appctl("exit")
        else:
            watcher.process.send_signal(getattr(signal, how))
        assert watcher.process.wait(30) == 0
        assert "Traceback" not in "\n".join(watcher.log())
        watcher.notes.append(watcher._notify.recv(4096).decode())
        assert not [name for name in os.listdir(lab.ovs.dir) if name.startswith("xenvif-tagger")]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "exit"])
def test_it_ends_with_0_without_a_database(lab, how):
    lab.ovs.stop_server()
    with Watching(lab.ovs, wait=False) as watcher:
        if how == "exit":
            watcher.appctl("exit")
        else:
            watcher.process.send_signal(getattr(signal, how))
        assert watcher.process.wait(30) == 0


def test_it_ends_while_the_database_hangs(lab):
    with Watching(lab.ovs) as watcher:
        lab.ovs.pause()
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.process.wait(30) == 0
        lab.ovs.resume()


def test_sighup_is_ignored(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        watcher.process.send_signal(signal.SIGHUP)
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})


def test_what_it_tells_systemd(lab):
    with Watching(lab.ovs, env={"WATCHDOG_USEC": "400000"}) as watcher:
        watcher.await_note("WATCHDOG=1")
        del watcher.notes[:]
        watcher.await_note("WATCHDOG=1")  # again
        lab.ovs.stop_server()
        del watcher.notes[:]
        watcher.await_note("WATCHDOG=1")  # without a database, too
        lab.ovs.start_server()
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.process.wait(30) == 0
        watcher._notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                watcher.notes.append(watcher._notify.recv(4096).decode())
        assert any("STOPPING=1" in note for note in watcher.notes)


def test_a_systemd_that_does_not_listen(lab):
    """Its socket is full: that must not stop the watcher."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs, env={"WATCHDOG_USEC": "2000"}) as watcher:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            other.connect(watcher._notify_path)
            with pytest.raises(BlockingIOError):
                for _ in range(10000):
                    other.send(b"x")
        for tag in (6, 7):
            lab.set("vif", {"tag": tag})
            until(lambda: lab.units() == (lab.unit("vif"),) * 2)


def assert_refused(*args, **how):
    """It says in one line what is wrong, and ends; it does not begin to wait for a database."""
    words = how.pop("words", ())
    with Run(*args, **how) as started:
        until(lambda: started.process.poll() is not None, "it runs")
        assert_error(started.end(), 2, *words)


@pytest.mark.parametrize("args, words", [
    (["--bogus"], ["--bogus"]),
    (["more"], ["more"]),
    (["--unixctl"], ["--unixctl"]),
    (["--private-key", "/nonexistent"], ["/nonexistent"]),
    (["--certificate", "/"], ["/"]),
], ids=lambda value: " ".join(value) or "-")
def test_bad_options(ovs, args, words):
    assert_refused("watch", *args, db=ovs, env={"OVS_RUNDIR": ovs.dir}, words=words)


@pytest.mark.parametrize("remote", [
    "bogus", "bogus:x", "unix:", "tcp:", "ssl:", "tcp:127.0.0.1:99999999", "tcp:127.0.0.1:x",
    "punix:/x", "ptcp:6640:127.0.0.1"])
def test_a_bad_remote(ovs, remote):
    assert_refused("watch", db=remote, env={"OVS_RUNDIR": ovs.dir}, words=[remote])


def test_ssl_without_keys(ovs):
    assert_refused("watch", db="ssl:127.0.0.1:6640", env={"OVS_RUNDIR": ovs.dir},
                   words=["--private-key"])


@pytest.mark.parametrize("option", ["--private-key", "--certificate", "--ca-cert"])
def test_ssl_with_a_file_that_is_none(ovs, keys, tmp_path, option):
    """Not a PEM file: it is told which."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    options = ssl_options(keys + "/right")
    options[options.index(option) + 1] = str(wrong)
    assert_refused("watch", *options, db="ssl:127.0.0.1:1", env={"OVS_RUNDIR": ovs.dir},
                   words=[str(wrong)])


@pytest.mark.parametrize("name", ["no/such/ctl", 120 * "x"], ids=["nowhere", "long"])
def test_no_place_for_a_control_socket(lab, name):
    """Refused or told, in a line, and then it mirrors all the same."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    where = os.path.join(lab.ovs.dir, name)
    with Run("watch", "--unixctl", where, db=lab.ovs,
             env={"OVS_RUNDIR": lab.ovs.dir}) as started:
        until(lambda: lab.units()[1] or started.process.poll() is not None)
        started.process.send_signal(signal.SIGTERM)
        started.end()
        assert where in started.err and "Traceback" not in started.err
        assert (started.code, lab.units()[1]) in ((0, {"tag": 5}), (2, {}))


def test_a_remote_whose_path_is_too_long(ovs):
    """For a unix socket's address: it says so, or waits, and is not lost in the library."""
    path = os.path.join(ovs.dir, 120 * "x")
    with Run("watch", db="unix:" + path, env={"OVS_RUNDIR": ovs.dir}) as started:
        time.sleep(1.5)  # in which it may not end in a traceback
        started.process.send_signal(signal.SIGTERM)
        started.end()
        assert started.code in (0, 2) and "Traceback" not in started.err
        assert path in started.err


@pytest.mark.parametrize("text, words", [
    ("[mirror]\nbogus = 1\n", ["bogus", "line 2"]), ("[hold]\norphan_grace = x\n", ["line 2"])])
def test_a_bad_config(ovs, tmp_path, text, words):
    path = tmp_path / "conf"
    path.write_text(text)
    assert_refused("--config", path, "watch", db=ovs, env={"OVS_RUNDIR": ovs.dir},
                   words=[str(path)] + words)
    assert_refused("--config", tmp_path / "none", "watch", db=ovs, words=["none"])


def test_started_before_the_database(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    lab.ovs.stop_server()
    with Watching(lab.ovs, wait=False) as watcher:
        stats = watcher.stats()
        assert (stats["connected"], stats["synced"], stats["lock"]) == (False, False, "none")
        assert not watcher.appctl("resync").startswith("done")
        assert until(lambda: lines_about(watcher, lab.ovs.socket_path))
        lab.ovs.start_server()
        until(lambda: lab.units() == ({"tag": 5}, {"tag": 5}))


# ---- other remotes -----------------------------------------------------------------------------


def add_remote(ovs, *command):
    ovs.appctl("ovsdb-server", *command)
    port = until(lambda: re.findall(r"listening on port (\d+)", ovs.log()))
    return port[-1]


def test_tcp(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    port = add_remote(lab.ovs, "ovsdb-server/add-remote", "ptcp:0:127.0.0.1")
    with Watching(lab.ovs, remote="tcp:127.0.0.1:" + port) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        lab.ovs.restart_server()
        add_remote(lab.ovs, "ovsdb-server/add-remote", "ptcp:%s:127.0.0.1" % port)
        lab.set("vif", {"tag": 6})
        until(lambda: lab.units() == ({"tag": 6}, {"tag": 6}))


def openssl(directory, *args):
    subprocess.run(["openssl"] + list(args), cwd=directory, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def make_keys(directory, authority, *names):
    """A CA of our own, and keys that it has signed."""
    os.makedirs(directory)
    openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            "/CN=" + authority, "-keyout", "ca.key", "-out", "ca.pem")
    for name in names:
        openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name,
                "-keyout", name + ".key", "-out", name + ".csr")
        openssl(directory, "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey",
                "ca.key", "-CAcreateserial", "-days", "2", "-out", name + ".pem")


def ssl_options(directory):
    return ["--private-key", directory + "/us.key", "--certificate", directory + "/us.pem",
            "--ca-cert", directory + "/ca.pem"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("keys"))
    make_keys(directory + "/right", "right", "server", "us")
    make_keys(directory + "/wrong", "wrong", "us")
    return directory


@pytest.fixture
def ssl_port(lab, keys):
    """lab's server listens with these keys."""
    right = keys + "/right"
    lab.ovs.transact(
        {"op": "insert", "table": "SSL", "uuid-name": "s", "row": {
            "private_key": right + "/server.key", "certificate": right + "/server.pem",
            "ca_cert": right + "/ca.pem"}},
        {"op": "update", "table": "Open_vSwitch", "where": [], "row": {
            "ssl": ["named-uuid", "s"]}})
    lab.ovs.stop_server()
    with pytest.MonkeyPatch.context() as patch:
        ssl = tuple("--%s=db:Open_vSwitch,SSL,%s" % (option, option.replace("-", "_"))
                    for option in ("private-key", "certificate", "ca-cert"))
        patch.setattr("support.private_ovs.DAEMON_OPTIONS",
                      ("--pidfile", "--log-file", "-vconsole:off") + ssl)
        lab.ovs.start_server()
    return add_remote(lab.ovs, "ovsdb-server/add-remote", "pssl:0:127.0.0.1")


def test_ssl(lab, ssl_port, keys):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs, options=ssl_options(keys + "/right"),
                  remote="ssl:127.0.0.1:" + ssl_port) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        for tag in range(6, 16):
            lab.set("tap", {"tag": tag})
            until(lambda: lab.units() == (lab.unit("tap"),) * 2)
        lab.ovs.transact({"op": "update", "table": "Interface", "where": [["name", "==", "eth0"]],
                          "row": {"external_ids": to_map({"long": 300000 * "ü"})}})
        watcher.settle()


def test_ssl_of_another_authority(lab, ssl_port, keys):
    """It is no database to us, nor are we anybody to it: it says so and waits."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs, options=ssl_options(keys + "/wrong"),
                  remote="ssl:127.0.0.1:" + ssl_port, wait=False) as watcher:
        until(lambda: lines_about(watcher, "ssl:127.0.0.1:" + ssl_port))
        time.sleep(0.5)
        assert not watcher.stats()["synced"]
        assert lab.units() == ({"tag": 5}, {})
        assert "Traceback" not in "\n".join(watcher.log())


def test_a_unix_socket_by_a_relative_path(lab):
    """ovs takes that as relative to its own directory; the command line means the working one."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    env = environment(OVS_RUNDIR="/nonexistent", PYTHONPATH=ROOT)
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            command("watch", "--unixctl", lab.ovs.dir + "/c", db="unix:db.sock"), env=env,
            cwd=lab.ovs.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        until(lambda: lab.units() == ({"tag": 5}, {"tag": 5}))
