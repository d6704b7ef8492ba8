"""ovs-appctl and the status command find `xenvif-tagger watch` by the watcher's pidfile."""
import fcntl
import json
import os
import shutil
import subprocess
import sys

import pytest

from support.command import assert_done, run
from support.watch_proxy import Scene, by_name, lines_about, until
from support.watching import Watching
from xenvif_tagger.host import pidfile


def test_appctl_finds_the_watcher_by_name(lab):
    path = os.path.join(lab.ovs.dir, "xenvif-tagger.pid")
    with by_name(lab.ovs) as watcher:
        with open(path) as stream:
            assert stream.read() == "%d\n" % watcher.pid
        assert watcher.stats()["pid"] == watcher.pid
        assert os.path.exists("%s/xenvif-tagger.%d.ctl" % (lab.ovs.dir, watcher.pid))
    assert not os.path.exists(path)
    assert [name for name in os.listdir(lab.ovs.dir) if name.startswith("xenvif-tagger")] == []


def test_files_that_come_and_go_in_the_directory_do_not_end_the_watcher(lab):
    """The kernel tells the watcher of each change in its directory by SIGIO, whose default action
    ends a process: also while Python ends, the exit status must be 0."""
    touching = subprocess.Popen(
        ["sh", "-c", 'while :; do : > "$1"; rm "$1"; done', "sh",
         os.path.join(lab.ovs.dir, "file")])
    try:
        for _ in range(5):
            with by_name(lab.ovs) as watcher:
                assert watcher.stats()["pid"] == watcher.pid
    finally:
        touching.kill()
        touching.wait()


@pytest.mark.parametrize("left", ["99999999\n", "1\n", "", "nonsense", "PID"])
def test_a_left_over_pidfile_is_no_hindrance(lab, left):
    path = os.path.join(lab.ovs.dir, "xenvif-tagger.pid")
    with open(path, "w") as stream:
        stream.write(left.replace("PID", str(os.getpid())))
    with by_name(lab.ovs) as watcher:
        assert watcher.stats()["pid"] == watcher.pid


def test_after_kill_9_appctl_finds_the_next_watcher(lab):
    with by_name(lab.ovs) as first:
        first.kill()
    with by_name(lab.ovs) as second:
        assert second.stats()["pid"] == second.pid


def test_a_second_watcher_leaves_the_pidfile_to_the_first(lab):
    with by_name(lab.ovs) as first:
        with Watching(lab.ovs) as second:
            assert second.stats()["lock"] == "waiting"
            assert lab.ovs.appctl("xenvif-tagger", "version")
            assert json.loads(lab.ovs.appctl("xenvif-tagger", "stats", "--json"))[
                "pid"] == first.pid
        assert first.stats()["pid"] == first.pid


def test_the_watcher_that_takes_over_the_lock_takes_the_pidfile(lab):
    """ovs-appctl and status must find the watcher that writes."""
    with by_name(lab.ovs) as first:
        with Watching(lab.ovs) as second:
            assert second.stats()["lock"] == "waiting"
            first.kill()
            until(lambda: second.stats()["lock"] == "held")
            assert pidfile.running(os.path.join(lab.ovs.dir, "xenvif-tagger.pid")) == second.pid


def test_a_pidfile_that_is_removed_before_we_lock_it(tmp_path, monkeypatch):
    """The former owner removes the pidfile between our open and our lock: the file that we have
    locked has no name any more."""
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


@pytest.mark.parametrize("how", ["emptied", "removed and made anew", "later than the watcher"])
def test_the_files_in_the_run_directory_come_back(ovs, tmp_path, how):
    """The watcher makes pidfile and control socket again; only the kernel's notice of the directory
    wakes the watcher."""
    place = tmp_path / "run" / "openvswitch"
    late = how == "later than the watcher"
    if not late:
        place.mkdir(parents=True)
    scene = Scene(ovs)
    env = {"OVS_RUNDIR": str(place)}

    def said(**more):
        return assert_done(run("status", db=ovs, env=env)).out.splitlines()[-1]

    with by_name(ovs, env=env, wait=not late) as watcher:
        if how == "emptied":
            for path in place.iterdir():
                path.unlink()
        elif not late:
            assert said() == "watcher: running, pid %d" % watcher.pid
            shutil.rmtree(str(place.parent))
        if how != "emptied":
            assert said() == "watcher: not known, there is no %s" % place
            until(lambda: lines_about(watcher, ".pid: No such file", "can't find the watcher"))
            place.mkdir(parents=True)
        until(lambda: said() == "watcher: running, pid %d" % watcher.pid, watcher.log)
        until(lambda: sorted(os.listdir(str(place))) == [
            "xenvif-tagger.%d.ctl" % watcher.pid, "xenvif-tagger.pid"])
        assert watcher.stats()["pid"] == watcher.pid
        scene.assert_works(watcher)
    assert os.listdir(str(place)) == []


def test_a_pidfile_that_belongs_to_another_process_is_not_removed(tmp_path):
    """Our pidfile was removed, and another process has made a pidfile: drop() leaves the other
    process's pidfile alone."""
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
    mine.drop()  # a pidfile that is gone is no error


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
