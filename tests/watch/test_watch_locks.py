"""One watcher writes at a time, whatever happens to the lock and to the watchers: the lock is
stolen, a watcher is killed at any moment, the commands and the plug hook write without the lock.

XENVIF_TAGGER_KILLS: how many watchers test_watchers_killed_at_any_moment kills.
"""
import contextlib
import json
import os
import random
import signal
import socket
import threading
import time

import pytest

from dom0 import Dom0
from support.command import Run, assert_done, run
from support.constants import HOOK
from support.plugging import plug, unplug
from support.private_ovs import PrivateOvs
from support.proxy import is_write
from support.watch_proxy import Gate, Scene, until
from support.watching import PATIENCE, Watching
from support.zoo import commits, identity, our_commits
from xenvif_tagger.watch.watcher import LOCK

KILLS = int(os.environ.get("XENVIF_TAGGER_KILLS", "10"))


def lock(watcher):
    return watcher.stats()["lock"]


def await_lock(watcher, state):
    until(lambda: lock(watcher) == state, watcher.stats)


@contextlib.contextmanager
def two(scene):
    """(the watcher that has the lock, the watcher that waits for the lock)"""
    with Watching(scene.ovs) as first:
        await_lock(first, "held")
        with Watching(scene.ovs) as second:
            await_lock(second, "waiting")
            yield first, second


class Session:
    """Another client of the database, which can hold a lock until the client disconnects."""

    def __init__(self, ovs):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(ovs.socket_path)
        self._id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def call(self, method, *params):
        self._id += 1
        self._socket.sendall(json.dumps(
            {"method": method, "params": params, "id": self._id}).encode())
        data = b""
        while True:
            part = self._socket.recv(1 << 16)
            assert part
            data += part
            with contextlib.suppress(ValueError):
                reply = json.loads(data.decode())
                assert reply["id"] == self._id and not reply["error"], reply
                return reply["result"]


# ---- two watchers ------------------------------------------------------------------------------


def test_a_second_watcher_stands_by(scene):
    """The second watcher has all rows, writes nothing, and reports that it waits for the lock."""
    with two(scene) as (first, second):
        for tag in range(100, 110):
            scene.tag("vif1.0", tag)
            first.settle()
            assert scene.agree(vif1=tag)
        until(lambda: [pair["tap"]["tag"] for pair in second.status()["pairs"]
                       if pair["domid"] == 1] == [109])
        assert not second.appctl("resync").startswith("done")
        stats = second.stats()
        assert (stats["transactions"], stats["mirrored"], stats["marked"]) == (0, 0, 0)
        assert stats["synced"] is True
        assert second.status()["pairs"] == first.status()["pairs"]
        assert not [line for line in second.log() if " -> " in line]
        scene.assert_untouched()


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "exit"])
def test_the_second_watcher_takes_over_when_the_first_ends(scene, how):
    with two(scene) as (first, second):
        if how == "exit":
            first.appctl("exit")
        else:
            first.process.send_signal(getattr(signal, how))
        scene.tag("vif1.0", 50)  # only this change and the lock wake the second watcher
        scene.await_tags(second, vif1=50)
        assert lock(second) == "held"
        first.process.wait(PATIENCE)
        scene.assert_works(second)


def test_a_change_from_before_the_take_over_is_mirrored(scene):
    """The first watcher is stopped and has the lock: the change waits, and the second watcher
    mirrors the change when it gets the lock."""
    with two(scene) as (first, second):
        first.process.send_signal(signal.SIGSTOP)
        scene.tag("vif1.0", 50)
        scene.await_state(second, 1, "drift")
        assert scene.tags()["tap1.0"] == scene.first(1) and lock(second) == "waiting"
        first.kill()
        scene.await_tags(second, vif1=50)
        scene.assert_works(second)


def test_a_first_watcher_that_was_stopped_for_a_while_keeps_the_lock(scene):
    """The first watcher goes on, still with the lock, and mirrors the change once."""
    with two(scene) as (first, second):
        first.process.send_signal(signal.SIGSTOP)
        scene.tag("vif1.0", 50)
        scene.await_state(second, 1, "drift")
        at = len(our_commits(scene.ovs))
        first.process.send_signal(signal.SIGCONT)
        scene.await_tags(first, vif1=50)
        assert len(our_commits(scene.ovs)) == at + 1
        assert (lock(first), lock(second)) == ("held", "waiting")


def test_a_conflict_is_logged_by_one_watcher_only(scene):
    scene.tag("tap1.0", 99)
    with two(scene) as (first, second):
        first.settle()
        assert first.stats()["conflicts"] == 1
        second.appctl("resync")
        assert not [line for line in second.log() if "conflict" in line]


def test_many_watchers_are_killed_one_after_the_other(scene):
    """Each watcher is killed as soon as it has the lock; the last watcher mirrors all changes."""
    with contextlib.ExitStack() as stack:
        watchers = [stack.enter_context(Watching(scene.ovs)) for _ in range(4)]
        for number, watcher in enumerate(watchers):
            await_lock(watcher, "held")
            scene.tag("vif1.0", 50 + number)
            if number % 2:
                scene.await_tags(watcher, vif1=50 + number)
            if watcher is not watchers[-1]:
                watcher.kill()
        scene.await_tags(watchers[-1], vif1=53)
        scene.assert_works(watchers[-1])


# ---- a stolen lock -----------------------------------------------------------------------------


def test_a_watcher_whose_lock_is_stolen(scene):
    """Without the lock the watcher writes nothing; when it has the lock again, the watcher mirrors
    the changes made meanwhile."""
    with Watching(scene.ovs) as watcher:
        watcher.settle()
        for number in range(3):
            with Session(scene.ovs) as thief:
                thief.call("steal", LOCK)
                await_lock(watcher, "waiting")
                scene.tag("vif1.0", 50 + number)
                scene.await_state(watcher, 1, "drift")
                at = commits(scene.ovs)
                assert not watcher.appctl("resync").startswith("done")
                assert commits(scene.ovs) == at and scene.tags()["tap1.0"] != 50 + number
            scene.await_tags(watcher, vif1=50 + number)
            assert lock(watcher) == "held"
        scene.assert_works(watcher)


def test_a_watcher_sleeps_while_another_client_has_the_lock(scene):
    """A grace ends meanwhile: a watcher with the lock would write the hold then."""
    config = "[hold]\nbridges = br0\norphan_grace = 0.5\n"
    with Watching(scene.ovs, config) as watcher, Session(scene.ovs) as thief:
        watcher.settle()
        scene.ovs.delete_port("vif3.0")
        scene.await_state(watcher, 3, "orphan")
        thief.call("steal", LOCK)
        await_lock(watcher, "waiting")
        time.sleep(0.6)  # longer than the grace
        before = watcher.stats()["wakeups"]
        time.sleep(1)  # the watcher may write nothing meanwhile
        assert watcher.stats()["wakeups"] - before <= 10


@pytest.mark.parametrize("first", [True, False], ids=["from the start", "stolen"])
def test_the_wait_for_the_lock_is_no_part_of_the_latency(scene, first):
    """The latency of a change begins when the watcher has the lock."""
    with Session(scene.ovs) as other:
        if first:
            other.call("lock", LOCK)
        with Watching(scene.ovs) as watcher:
            if not first:
                watcher.settle()
                other.call("steal", LOCK)
            await_lock(watcher, "waiting")
            before = (watcher.stats()["latency_ms"] or {"max": 0})["max"]
            scene.tag("vif1.0", 50)
            scene.await_state(watcher, 1, "drift")
            time.sleep(2)  # the other client has the lock for this time
            had = time.monotonic()
            other.call("unlock", LOCK)
            scene.await_tags(watcher, vif1=50)
            watcher.settle()
            taken = time.monotonic() - had
            assert watcher.stats()["latency_ms"]["max"] <= max(before, taken * 1000)


def test_a_lock_stolen_just_before_the_write(scene):
    """Another client takes the lock while our write is on its way: the server refuses our write."""
    thieves, refused = [], []

    def on_request(message):
        if is_write(message) and armed and not thieves:
            thieves.append(Session(scene.ovs))
            thieves[0].call("steal", LOCK)

    def on_reply(message, request):
        if request and is_write(request) and thieves:
            refused.append(message)

    armed = []
    with Gate(scene.ovs, on_request=on_request, on_reply=on_reply) as gate:
        with Watching(scene.ovs, remote=gate.remote) as watcher:
            watcher.settle()
            armed.append(True)
            scene.tag("vif1.0", 50)
            until(lambda: refused)
            await_lock(watcher, "waiting")
            assert "not owner" in json.dumps(refused[0])
            assert scene.tags()["tap1.0"] == scene.first(1)
            tries = len(refused)
            scene.tag("vif2.0", 60)
            scene.await_state(watcher, 2, "drift")
            assert len(refused) == tries <= 3
            with thieves[0]:
                pass
            scene.await_tags(watcher, vif1=50, vif2=60)
            scene.assert_works(watcher)


def test_another_client_has_the_lock_from_the_start(scene):
    with Session(scene.ovs) as other:
        other.call("lock", LOCK)
        with Watching(scene.ovs) as watcher:
            await_lock(watcher, "waiting")
            assert our_commits(scene.ovs) == []
            other.call("unlock", LOCK)
            scene.await_tags(watcher)
            scene.assert_works(watcher)


def test_a_stolen_lock_and_a_lost_connection(scene):
    """After the reconnect the watcher does not believe that it still has the lock, and asks for the
    lock again."""
    with Gate(scene.ovs) as gate, Watching(scene.ovs, remote=gate.remote) as watcher:
        watcher.settle()
        with Session(scene.ovs) as thief:
            thief.call("steal", LOCK)
            await_lock(watcher, "waiting")
            gate.cut()
            until(lambda: watcher.stats()["reconnects"] and watcher.stats()["synced"])
            await_lock(watcher, "waiting")
            scene.tag("vif1.0", 50)
            scene.await_state(watcher, 1, "drift")
            assert scene.tags()["tap1.0"] != 50
        scene.assert_works(watcher)


# ---- beside a watcher --------------------------------------------------------------------------


def test_commands_need_no_lock(scene):
    """The watcher beside the commands has the lock, and the commands write all the same."""
    with Watching(scene.ovs) as watcher:
        watcher.settle()
        watcher.process.send_signal(signal.SIGSTOP)
        scene.tag("vif1.0", 50)
        assert_done(run("mirror", "dom", 1, db=scene.ovs))
        assert scene.agree(vif1=50)
        at = commits(scene.ovs)
        watcher.process.send_signal(signal.SIGCONT)
        watcher.settle()
        assert commits(scene.ovs) == at  # the pair is alike: the watcher writes nothing
        assert lock(watcher) == "held" and watcher.stats()["failed"] == 0
        assert_done(run("check", db=scene.ovs))
        assert_done(run("mirror", "dom", 1, "--wait", 30, db=scene.ovs))
        scene.assert_works(watcher)


def test_a_choice_by_hand_beside_a_watcher(scene):
    scene.tag("tap1.0", 99)
    with Watching(scene.ovs) as watcher:
        watcher.settle()
        assert scene.tags()["vif1.0"] == scene.first(1)  # the pair is in conflict
        assert_done(run("mirror", "dom", 1, "--from", "tap", db=scene.ovs))
        watcher.settle()
        assert scene.agree(vif1=99)


def test_two_watchers_and_the_commands_at_once(scene):
    """Two watchers and commands run over and over while tags change: none of them undoes another's
    writes, and each pair has the last tag in the end."""
    at = commits(scene.ovs)
    with two(scene) as (first, second):
        changes = 60
        with contextlib.ExitStack() as stack:
            for number in range(changes):
                if number % 20 == 0:
                    stack.enter_context(Run("mirror", "all", db=scene.ovs))
                for domid in scene.domids:
                    scene.tag("vif%d.0" % domid, 1000 + number * 3 + domid)
            for number in range(3):
                assert_done(run("-q", "mirror", "dom", number + 1, db=scene.ovs))
        last = 1000 + (changes - 1) * 3
        scene.await_tags(first, vif1=last + 1, vif2=last + 2, vif3=last + 3)
        theirs = changes * 3
        assert commits(scene.ovs) - at <= 2 * theirs + 20
        quiet = commits(scene.ovs)
        first.settle()
        assert commits(scene.ovs) == quiet and first.stats()["failed"] == 0
        scene.assert_works(first)


def test_a_lost_race_is_decided_anew(scene):
    """Another client changes the row while our write is on its way: the server refuses our write,
    and the watcher decides anew."""
    left = [51, 52, 53]

    def on_request(message):
        if is_write(message) and armed and left:
            scene.tag("vif1.0", left.pop(0))

    armed = []
    with Gate(scene.ovs, on_request=on_request) as gate:
        with Watching(scene.ovs, remote=gate.remote) as watcher:
            watcher.settle()
            armed.append(True)
            scene.tag("vif1.0", 50)
            scene.await_tags(watcher, vif1=53)
            watcher.settle()
            assert watcher.stats()["retries"] == 3 and watcher.stats()["failed"] == 0
            scene.assert_works(watcher)


def test_a_lost_race_does_not_delay_other_vifs(ovs):
    """Another client changes one VIF at each of our tries; the watcher writes the other VIFs of its
    batch all the same."""
    scene = Scene(ovs, range(1, 21))
    tries = []

    def on_request(message):
        if is_write(message) and ovs_row in json.dumps(message["params"]) and len(tries) < 200:
            tries.append(message)
            scene.tag("vif7.0", 100 + len(tries))

    ovs_row = ovs.port("vif7.0")["_uuid"]
    with Gate(ovs, on_request=on_request) as gate:
        with Watching(ovs, remote=gate.remote, wait=False) as watcher:
            until(lambda: all(scene.tags()["tap%d.0" % domid] == scene.first(domid)
                              for domid in scene.domids if domid != 7))
            assert len(tries) < 200
            gate.on_request = None
            until(lambda: scene.is_done())
            scene.assert_works(watcher)


def test_a_port_goes_while_our_write_is_on_its_way(scene):
    def on_request(message):
        if is_write(message) and armed:
            armed.pop()
            scene.ovs.delete_port("tap1.0")

    armed = []
    with Gate(scene.ovs, on_request=on_request) as gate:
        with Watching(scene.ovs, remote=gate.remote) as watcher:
            watcher.settle()
            armed.append(True)
            scene.tag("vif1.0", 50)
            scene.tag("vif2.0", 60)
            until(lambda: not armed and scene.tags()["tap2.0"] == 60)
            watcher.settle()
            assert watcher.stats()["failed"] == 0
            scene.ovs.add_port("br0", "tap1.0", identity(1))
            watcher.settle()
            assert scene.tags()["tap1.0"] == 50


# ---- the plug hook beside a watcher ------------------------------------------------------------


@pytest.fixture
def dom0():
    with Dom0() as made:
        made.add_bridge("xenbr0")
        yield made


def test_the_hook_beside_a_watcher(dom0):
    """Ports are plugged, re-plugged and unplugged: the hook does not undo or repeat the watcher's
    writes, and the watcher does not undo or repeat the hook's writes."""
    tags = lambda *names: [dom0.ovs.port(name)["tag"] for name in names]  # noqa: E731
    with Watching(dom0.ovs) as watcher:
        watcher.settle()
        plug(dom0, 5, "vif", setup_vif_rules=HOOK)
        dom0.ovs.vsctl("set", "Port", "vif5.0", "tag=5")
        plug(dom0, 5, "tap")
        assert tags("vif5.0", "tap5.0") == [[5], [5]]
        watcher.settle()
        at = commits(dom0.ovs)
        watcher.settle()
        assert commits(dom0.ovs) == at
        dom0.ovs.vsctl("set", "Port", "tap5.0", "tag=6")
        watcher.settle()
        assert tags("vif5.0", "tap5.0") == [[6], [6]]
        unplug(dom0, 5, "vif")
        plug(dom0, 5, "vif")
        watcher.settle()
        assert tags("vif5.0", "tap5.0") == [[6], [6]]
        assert watcher.stats()["failed"] == 0 and watcher.stats()["conflicts"] == 0
        # The stopped watcher has the lock, and the hook does not wait for the lock.
        watcher.process.send_signal(signal.SIGSTOP)
        plug(dom0, 6, "vif", setup_vif_rules=HOOK)
        dom0.ovs.vsctl("set", "Port", "vif6.0", "tag=7")
        plug(dom0, 6, "tap")
        assert tags("vif6.0", "tap6.0") == [[7], [7]]
        watcher.process.send_signal(signal.SIGCONT)
        watcher.settle()
        assert tags("vif6.0", "tap6.0") == [[7], [7]]


# ---- kill -9 at any moment ---------------------------------------------------------------------


class Agent:
    """A stand-in for the agent, which changes the vifs' tags all the time, in a thread."""

    def __init__(self, scene):
        self._scene = scene
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.last = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        count = 0
        while not self._ended.wait(0.001):
            for domid in self._scene.domids:
                count += 1
                self._scene.tag("vif%d.0" % domid, count % 4000 + 1)
                self.last["vif%d" % domid] = count % 4000 + 1


def test_watchers_killed_at_any_moment(scene):
    """Watchers are killed while tags change: whatever rows the killed watchers have left, the next
    watcher makes each pair alike."""
    moment = random.Random(12)
    for _ in range(KILLS):
        with Agent(scene) as agent:
            with Watching(scene.ovs, wait=False) as watcher:
                time.sleep(moment.choice([0, 0.01, 0.1, 0.3]) * moment.random())
                watcher.kill()
        assert agent.last
    with Watching(scene.ovs) as watcher:
        scene.await_tags(watcher, **agent.last)
        scene.assert_works(watcher)
        assert watcher.stats()["conflicts"] == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_watcher_killed_at_its_write(scene, when):
    """The watcher is killed just before the server has its write, and just after."""
    killed = []

    def kill(message):
        if is_write(message) and not killed:
            watching[0].kill()
            killed.append(message)

    for number in range(4):
        watching = []
        with Gate(scene.ovs) as gate:
            with Watching(scene.ovs, remote=gate.remote) as watcher:
                watching.append(watcher)
                watcher.settle()
                if when == "before":
                    gate.on_request = kill
                else:
                    gate.on_reply = lambda message, request: request and kill(request)
                scene.tag("vif1.0", 50 + number)
                until(lambda: killed)
                killed[:] = []
        with Watching(scene.ovs) as watcher:
            scene.await_tags(watcher, vif1=50 + number)
            assert watcher.stats()["conflicts"] == 0
    with Watching(scene.ovs) as watcher:
        scene.assert_works(watcher)


class KillAtWrite:
    """Kills the watcher when it sends its n-th write."""

    def __init__(self, watcher, count):
        self._watcher = watcher
        self._left = count

    def __call__(self, message):
        if is_write(message):
            self._left -= 1
            if not self._left:
                self._watcher.process.kill()

    def is_over(self):
        return self._watcher.process.poll() is not None


def test_watchers_killed_during_their_first_look(ovs):
    """Watchers are killed before they get through hundreds of pairs: each batch is whole, and the
    next watcher goes on."""
    scene = Scene(ovs, range(1, 601))
    for number in (1, 2, 1):
        with Gate(ovs) as gate, Watching(ovs, remote=gate.remote, wait=False) as watcher:
            gate.on_request = kill = KillAtWrite(watcher, number)
            until(lambda: kill.is_over() or scene.is_done())  # noqa: B023
    with Watching(ovs) as watcher:
        scene.await_tags(watcher)
        scene.assert_works(watcher)


# ---- a backup server -----------------------------------------------------------------------------


def test_a_backup_that_becomes_the_active_server(ovs):
    """A backup is read-only and gives nobody the lock. The watcher says so, and asks again."""
    scene = Scene(ovs)
    with PrivateOvs() as backup:
        backup.stop_server()
        backup.start_server("--sync-from=" + ovs.remote)
        replicated = Scene(backup, furnish=False)
        with Watching(backup, wait=False) as watcher:
            await_lock(watcher, "refused")
            watcher.await_note("STATUS=%s; the server is read-only (a backup): standing by until "
                               "it is active" % backup.remote)
            until(lambda: watcher.stats()["vifs"] == len(scene.domids))
            assert "read-only" in watcher.appctl("resync")
            said = len(watcher.log())
            ovs.stop_server()
            backup.appctl("ovsdb-server", "ovsdb-server/disconnect-active-ovsdb-server")
            await_lock(watcher, "held")
            until(replicated.is_done, watcher.log)
            replicated.tag("vif1.0", 50)
            replicated.await_tags(watcher, vif1=50)
            assert not [line for line in watcher.log()[said:] if "not connected" in line]


def test_a_backup_beside_which_another_watcher_has_the_lock(ovs):
    """When the server is active again, the lock goes to one of the two, and the other waits."""
    with PrivateOvs() as backup:
        backup.stop_server()
        backup.start_server("--sync-from=" + ovs.remote)
        with Watching(backup, wait=False) as first, Watching(backup, wait=False) as second:
            await_lock(first, "refused")
            await_lock(second, "refused")
            backup.appctl("ovsdb-server", "ovsdb-server/disconnect-active-ovsdb-server")
            until(lambda: {lock(first), lock(second)} == {"held", "waiting"})
