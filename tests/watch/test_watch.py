"""The start and the end of `xenvif-tagger watch`, as a service manager sees them."""
import contextlib
import os
import signal
import socket

import pytest

from support.command import Run
from support.watch_proxy import assert_refused, by_name, lines_about, until
from support.watching import Watching


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "exit"])
def test_a_signal_ends_the_watcher_with_0(lab, how):
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
def test_a_signal_ends_the_watcher_with_0_without_a_database(lab, how):
    lab.ovs.stop_server()
    with Watching(lab.ovs, wait=False) as watcher:
        if how == "exit":
            watcher.appctl("exit")
        else:
            watcher.process.send_signal(getattr(signal, how))
        assert watcher.process.wait(30) == 0


def test_a_signal_ends_the_watcher_while_the_database_hangs(lab):
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


def test_the_lines_that_the_watcher_sends_to_systemd(lab):
    with Watching(lab.ovs, env={"WATCHDOG_USEC": "400000"}) as watcher:
        watcher.await_note("WATCHDOG=1")
        del watcher.notes[:]
        watcher.await_note("WATCHDOG=1")  # a second time
        lab.ovs.stop_server()
        del watcher.notes[:]
        watcher.await_note("WATCHDOG=1")  # the watcher pats the watchdog without a database, too
        lab.ovs.start_server()
        watcher.process.send_signal(signal.SIGTERM)
        assert watcher.process.wait(30) == 0
        watcher._notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                watcher.notes.append(watcher._notify.recv(4096).decode())
        assert any("STOPPING=1" in note for note in watcher.notes)


def test_a_systemd_that_does_not_read_does_not_stop_the_watcher(lab):
    """The queue of the manager's socket is full."""
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


@pytest.mark.parametrize("args, words", [
    (["--bogus"], ["--bogus"]),
    (["more"], ["more"]),
    (["--unixctl"], ["--unixctl"]),
    (["--private-key", "/nonexistent"], ["/nonexistent"]),
    (["--certificate", "/"], ["/"]),
], ids=lambda value: " ".join(value) or "-")
def test_a_bad_option_is_refused(ovs, args, words):
    assert_refused("watch", *args, db=ovs, env={"OVS_RUNDIR": ovs.dir}, words=words)


@pytest.mark.parametrize("remote", [
    "bogus", "bogus:x", "unix:", "tcp:", "ssl:", "tcp:127.0.0.1:99999999", "tcp:127.0.0.1:x",
    "tcp:127.0.0.1", "tcp:::1:6640", "punix:/x", "ptcp:6640:127.0.0.1"])
def test_a_bad_remote_is_refused(ovs, remote):
    assert_refused("watch", db=remote, env={"OVS_RUNDIR": ovs.dir}, words=[remote])


@pytest.mark.parametrize("name", ["no/such/ctl", 120 * "x"], ids=["nowhere", "long"])
def test_a_control_socket_that_can_not_be_made(lab, name):
    """The watcher refuses to start, or logs the failure in one line and mirrors all the same."""
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


@pytest.mark.parametrize("kind", ["file", "link", "socket"])
def test_a_control_socket_in_the_place_of_another_file(lab, kind):
    """The library's server would remove the file: a report, or the socket of another daemon."""
    where = os.path.join(lab.ovs.dir, "taken")
    if kind == "file":
        open(where, "w").close()
    elif kind == "link":
        os.symlink("elsewhere", where)
    else:
        os.link(lab.ovs.socket_path, where)
    before = os.lstat(where).st_ino
    with Run("watch", "--unixctl", where, db=lab.ovs,
             env={"OVS_RUNDIR": lab.ovs.dir}) as started:
        lab.plug("vif", {"tag": 5})
        lab.plug("tap")
        until(lambda: lab.units()[1])
        started.process.send_signal(signal.SIGTERM)
        started.end()
    assert os.lstat(where).st_ino == before
    assert where in started.err and "ovs-appctl can't reach the watcher" in started.err


def test_a_remote_whose_path_is_too_long_is_refused(ovs):
    """The path is too long for the address of a unix socket."""
    path = os.path.join(ovs.dir, 120 * "x")
    assert_refused("watch", db="unix:" + path, env={"OVS_RUNDIR": ovs.dir}, words=[path])


@pytest.mark.parametrize("text, words", [
    ("[mirror]\nbogus = 1\n", ["bogus", "line 2"]), ("[hold]\norphan_grace = x\n", ["line 2"])])
def test_a_bad_config_is_refused(ovs, tmp_path, text, words):
    path = tmp_path / "conf"
    path.write_text(text)
    assert_refused("--config", path, "watch", db=ovs, env={"OVS_RUNDIR": ovs.dir},
                   words=[str(path)] + words)
    assert_refused("--config", tmp_path / "none", "watch", db=ovs, words=["none"])


def test_a_watcher_started_before_the_database_mirrors_later(lab):
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
