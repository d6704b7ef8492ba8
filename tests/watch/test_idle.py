"""`xenvif-tagger watch` costs nothing while nothing happens."""
import time

from support.watch_proxy import Gate, switches, until
from support.watching import Watching

IDLE = 3  # seconds in which nothing may happen


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
