"""`doctor` on a watcher that does not run, hangs, stands by, or has another fault."""
import os
import re
import signal

from support.constants import LONG
from support.doctor_host import (
    NO_WATCHER,
    plug,
    prepared,
    reach,
)
from support.private_ovs import PrivateOvs
from support.watching import Watching
from xenvif_tagger import __version__


def test_watcher_does_not_run(host, switch):
    host.run_dir = switch.dir
    found = host.is_ill(switch, "watcher", "FAIL", "does not run", **NO_WATCHER)
    assert found["cure"] == "systemctl enable --now xenvif-tagger"


def test_no_run_directory(host, switch, tmp_path):
    """Without the run directory, doctor can't know whether a watcher runs."""
    host.run_dir = str(tmp_path / "none")
    host.is_ill(switch, "watcher", "WARN", "there is no " + host.run_dir, **NO_WATCHER)


def test_the_server_is_a_backup(host, tmp_path):
    host.run_dir = str(tmp_path / "run")
    os.mkdir(host.run_dir)
    with PrivateOvs() as active, PrivateOvs() as backup:
        prepared(active)
        backup.stop_server()
        backup.start_server("--sync-from=" + active.remote)
        with Watching(backup, wait=False, env={"OVS_RUNDIR": host.run_dir}) as watcher:
            watcher.until(lambda: watcher.stats()["lock"] == "refused")
            reach(watcher, host.run_dir)
            found = host.is_ill(backup, "watcher-lock", "FAIL", "read-only backup")
            assert found["cure"] == "ovs-appctl -t ovsdb-server ovsdb-server/sync-status"


def test_watcher_was_killed(host, switch):
    """A killed watcher leaves its pidfile, and no process has that pidfile locked any more."""
    host.run_dir = switch.dir
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        assert host.doctor(switch)["watcher"]["state"] == "OK"
        watcher.kill()
        assert os.path.exists(os.path.join(switch.dir, "xenvif-tagger.pid"))
        host.is_ill(switch, "watcher", "FAIL", "does not run", **NO_WATCHER)


def test_watcher_that_takes_no_command(host, switch):
    host.run_dir = switch.dir
    with Watching(switch) as watcher:
        host.is_ill(switch, "watcher", "WARN", "%d" % watcher.pid, **NO_WATCHER)


def test_watcher_hangs(host, switch):
    host.run_dir = switch.dir
    host.patch = "from xenvif_tagger.doctor import patient; patient.TIMEOUT = 0.2"
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        watcher.process.send_signal(signal.SIGSTOP)
        try:
            host.is_ill(switch, "watcher", "WARN", "no answer within", **NO_WATCHER)
        finally:
            watcher.process.send_signal(signal.SIGCONT)


def test_watcher_of_another_version(host, switch):
    host.patch = "import xenvif_tagger; xenvif_tagger.__version__ = '99'"
    host.is_ill(switch, "watcher", "WARN", __version__, "99")


def test_another_watcher_has_the_lock(host, switch, tmp_path):
    host.run_dir = str(tmp_path / "run")
    os.mkdir(host.run_dir)
    with Watching(switch):
        with Watching(switch, env={"OVS_RUNDIR": host.run_dir}) as second:
            reach(second, host.run_dir)
            host.is_ill(switch, "watcher-lock", "WARN", "stands by")


def test_watcher_without_a_database(host, switch):
    host.run_dir = switch.dir
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        switch.stop_server()
        watcher.until(lambda: watcher.stats()["last_error"])
        checks = host.doctor(switch)
    states = {name: check["state"] for name, check in checks.items()}
    assert states["ovsdb"] == states["watcher-lock"] == "FAIL"
    assert states["watcher"] == "OK" and states["watcher-error"] == "WARN"
    assert "not connected" in checks["watcher-lock"]["found"]


def test_last_error_of_a_watcher_that_works_again(host, switch):
    host.run_dir = switch.dir
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        switch.stop_server()
        watcher.until(lambda: watcher.stats()["last_error"])
        switch.start_server()
        watcher.until(lambda: watcher.stats()["synced"])
        host.is_ill(switch, "watcher-error", "WARN", switch.remote)


def test_the_time_of_the_last_mirrored_change(host, switch):
    host.run_dir = switch.dir
    with Watching(switch) as watcher:
        reach(watcher, switch.dir)
        assert watcher.stats()["last_mirrored_seconds"] is None
        assert "nothing mirrored" in host.doctor(switch)["last-mirrored"]["found"]
        plug(host, switch, {"tag": 5}, seen=False)
        watcher.settle()
        first = watcher.stats()
        assert first["mirrored"] and 0 <= first["last_mirrored_seconds"] < LONG
        watcher.until(lambda: watcher.stats()["last_mirrored_seconds"]
                      > first["last_mirrored_seconds"])
        assert re.match(r"\d+ s ago, the last of %d VIFs" % first["mirrored"],
                        host.doctor(switch)["last-mirrored"]["found"])
