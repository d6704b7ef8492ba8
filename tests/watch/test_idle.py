"""`xenvif-tagger watch` does not wake up while the database does not change."""
import time

from support.watch_proxy import Gate, switches, until
from support.watching import Watching

IDLE = 3  # seconds in which the watcher may do nothing


def test_the_watcher_sleeps_while_the_database_does_not_change(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})  # the watcher does not wake up for a conflict
    lab.plug("vif13.0", identity={})
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        before, slept = watcher.stats()["wakeups"], switches(watcher.pid)
        time.sleep(IDLE)  # the database does not change meanwhile
        slept = switches(watcher.pid) - slept
        # The library sends a keep-alive every 5 s, and the watcher wakes up a few times for each
        # of the test's own commands.
        assert slept <= 6
        assert watcher.stats()["wakeups"] - before <= 10


def test_a_watcher_that_waits_for_the_lock_sleeps_too(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})
    with Watching(lab.ovs), Watching(lab.ovs) as second:
        until(lambda: second.stats()["lock"] == "waiting")
        before, slept = second.stats()["wakeups"], switches(second.pid)
        time.sleep(IDLE)
        assert switches(second.pid) - slept <= 6
        assert second.stats()["wakeups"] - before <= 10


def test_a_keep_alive_that_is_answered_keeps_the_connection(lab):
    """Over TCP the library sends keep-alives: for a while no other message comes."""
    seen = []

    def on_request(message):
        # The library's keep-alive has this id; the watcher's own requests have numbers.
        if message["id"] == "echo":
            seen.append(message)

    with Gate(lab.ovs, on_request=on_request, tcp=True) as gate:
        with Watching(lab.ovs, remote=gate.remote) as watcher:
            # The library sends a second keep-alive only after an answer to the first.
            until(lambda: len(seen) >= 2)
            assert gate.links == 1 and watcher.stats()["reconnects"] == 0


def test_the_watcher_sleeps_without_a_database(lab):
    """The watcher tries to connect once a second, and no more often."""
    with Watching(lab.ovs) as watcher:
        lab.ovs.stop_server()
        until(lambda: not watcher.stats()["connected"])
        time.sleep(1)  # the watcher's first tries are closer together
        slept = switches(watcher.pid)
        time.sleep(IDLE)
        assert switches(watcher.pid) - slept <= 5 * (IDLE + 1)
        said = len(watcher.log())
        time.sleep(1.5)
        assert len(watcher.log()) <= said + 2
