"""The lines that `xenvif-tagger watch` writes to its log and to the syslog."""
import contextlib
import os
import re
import select
import socket
import time

import pytest

from dom0.syslog import Syslog
from support.lab import A
from support.watch_proxy import Scene, lines_about, until, wrapped_python
from support.watching import Watching
from support.zoo import commits


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


def test_a_conflict_is_logged_once_per_change(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 6})

    def told():
        for _ in range(3):
            watcher.settle()
        # A change of other columns, or of another pair's row, is no change of this pair's conflict.
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


def test_a_refusal_is_logged_once_per_change(lab):
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


def test_the_end_of_a_guest_of_libxl_is_no_orphan(lab):
    """The guest's vif goes first. The tap's device has gone with QEMU, and the tap's row goes a
    moment later."""
    lab.plug("vif", {"tag": 5})
    lab.plug("vif12.0-emu")
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        lab.gone("vif12.0-emu")
        watcher.settle()
        pair, = [pair for pair in watcher.status()["pairs"] if pair["domid"] == 12
                 and pair["devid"] == 0]
        assert (pair["vif"]["gone"], pair["tap"]["gone"]) == (False, True)
        assert any(line.split()[2:7] == ["vif12.0", "5", "vif12.0-emu", "5", "gone"]
                   for line in watcher.appctl("status").splitlines())
        lab.unplug("vif")
        watcher.settle()
        assert not lines_about(watcher, "orphan: ")
        lab.unplug("vif12.0-emu")
        # An orphan whose device lives is logged.
        lab.plug("vif13.0", {"tag": 5})
        lab.plug("tap13.0")
        watcher.settle()
        lab.unplug("vif13.0")
        watcher.settle()
        assert lines_about(watcher, "tap13.0", "orphan: ")


def test_the_log_has_at_most_20_lines_a_second(ovs):
    scene = Scene(ovs, range(1, 201))
    began = time.monotonic()
    with Watching(ovs) as watcher:
        watcher.settle()
        assert scene.is_done()
        # When the second is over, the watcher must log the number of omitted lines, without a
        # command that wakes the watcher.

        def told():
            left_out = [int(re.search(r"(\d+) more lines", line).group(1))
                        for line in lines_about(watcher, "left out")]
            return len(lines_about(watcher, " -> ")), sum(left_out)

        until(lambda: sum(told()) >= 200)
        seconds = time.monotonic() - began + 2  # of the first and last second only a part counts
        assert len(watcher.log()) <= 20 * seconds
        assert told()[0] < 200 and sum(told()) <= 210
        # After the storm the watcher logs a change again.
        scene.tag("vif7.0", 3999)
        until(lambda: lines_about(watcher, "vif7.0 -> tap7.0", "3999"))


def test_values_can_not_forge_lines_of_the_log(lab):
    """Anybody may write a value to a row: in the log the value stays in its line, and sends no
    command to the terminal."""
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


def own_log(directory):
    """A Python whose /dev/log is the socket `log` in a directory."""
    script = (
        "if [ -z \"$IN_THERE\" ]; then IN_THERE=1 exec unshare --mount /bin/sh \"$0\" \"$@\"; fi\n"
        "mkdir -p {0}/dev && mount -n -t tmpfs dev {0}/dev &&\n"
        "cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/tty {0}/dev/ &&\n"
        "ln -s {0}/log {0}/dev/log &&\n"  # systemd's /dev/log is a link, too
        "mount -n --rbind {0}/dev /dev || exit 99").format(directory)
    return wrapped_python(script)


@contextlib.contextmanager
def private_log(directory):
    """(a Python with a /dev/log of its own, the Syslog that receives the lines sent there)."""
    syslog = Syslog(directory + "/log")
    try:
        with own_log(directory) as python:
            yield python, syslog
    finally:
        syslog.close()


@pytest.mark.parametrize("journal", [False, True], ids=["", "with JOURNAL_STREAM"])
def test_the_syslog_lines_have_ident_and_facility(lab, tmp_path, journal):
    """The ident is xenvif-tagger, the facility daemon. If stderr is the journal, the watcher writes
    no lines to stderr: the journal has the syslog's lines already."""
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
        assert b"<30" in heads  # facility daemon, priority info
        assert {int(head[1:]) >> 3 for head in heads} == {3}


def test_the_watcher_mirrors_without_a_syslog(lab):
    """Most containers have no /dev/log."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with wrapped_python(
            "if [ -z \"$IN_THERE\" ]; then IN_THERE=1 exec unshare --mount /bin/sh \"$0\" \"$@\"; "
            "fi\nif [ -e /dev/log ]; then mount -n --bind /dev/null /dev/log; "
            "fi") as python, Watching(lab.ovs, python=python) as watcher:
        watcher.settle()
        assert lines_about(watcher, "vif12.0 -> tap12.0: ")


@contextlib.contextmanager
def unread_log(directory):
    """(a Python whose /dev/log takes lines until its queue is full, that socket)."""
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(directory + "/log")
    log.settimeout(0)
    with log, own_log(directory) as python:
        yield python, log


def take_all(log):
    """Read a queue until it is empty."""
    lines = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lines.append(log.recv(1 << 16).decode().rstrip("\0"))
    return lines


def test_a_log_daemon_that_hangs_does_not_stop_the_watcher(ovs, tmp_path):
    """The watcher drops and counts the lines; when the log daemon reads again, a line tells how
    many were dropped."""
    scene = Scene(ovs)
    with unread_log(str(tmp_path)) as (python, log), Watching(ovs, python=python) as watcher:
        for tag in range(100, 300):  # the kernel keeps some ten lines, or some hundred
            scene.tag("vif1.0", tag)
            watcher.settle()
            if watcher.stats()["log_dropped"]["syslog"] > 2:
                break
        dropped = watcher.stats()["log_dropped"]
        assert dropped["syslog"] > 2 and dropped["stderr"] == 0
        assert scene.agree(vif1=tag)
        assert lines_about(watcher, "vif1.0 -> tap1.0", "tag %d" % tag)
        assert "%d" % tag not in take_all(log)[-1]
        scene.tag("vif1.0", 99)
        watcher.settle()
        told, line = take_all(log)
        assert re.match(r"<28>xenvif-tagger\[%d\]: %d lines were dropped" % (
            watcher.pid, dropped["syslog"]), told)
        assert "vif1.0 -> tap1.0" in line and "tag 99" in line
        assert watcher.stats()["log_dropped"] == dropped


def test_a_restarted_log_daemon_gets_the_lines_again(ovs, tmp_path):
    """The log daemon's new socket takes the place of the old socket."""
    scene = Scene(ovs)
    with private_log(str(tmp_path)) as (python, first), Watching(ovs, python=python) as watcher:
        watcher.settle()
        assert first.lines()
        (tmp_path / "log").unlink()
        second = Syslog(str(tmp_path / "log"))
        first.close()
        scene.tag("vif1.0", 99)
        watcher.settle()
        assert any("tag 99" in line for line in second.lines())
        second.close()


def test_vlog_set_chooses_the_facility(lab, tmp_path):
    """The command is that of Open vSwitch's own daemons."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with private_log(str(tmp_path)) as (python, syslog):
        with Watching(lab.ovs, python=python) as watcher:
            watcher.settle()
            watcher.appctl("vlog/set", "FACILITY:local3")
            lab.set("vif", {"tag": 6})
            watcher.settle()
            line, = [line for line in syslog.lines() if "tag 6" in line]
            assert line.startswith("xenvif-tagger[%d]: " % watcher.pid)
            heads = [data.split(b">")[0] for data in syslog._messages if b"tag 6" in data]
            assert heads == [b"<158"]  # local3, info


def test_a_reader_of_stderr_that_hangs_does_not_stop_the_watcher(ovs):
    scene = Scene(ovs)
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as reader, open(writing, "wb", 0), Watching(
            ovs, stderr=writing) as watcher:
        fill = b"x" * select.PIPE_BUF
        while select.select([], [writing], [], 0)[1]:
            os.write(writing, fill)
        scene.tag("vif1.0", 99)
        watcher.settle()
        assert watcher.stats()["log_dropped"]["stderr"] > 0 and scene.agree(vif1=99)
        while select.select([reader], [], [], 0)[0]:
            reader.read(1 << 16)
        scene.tag("vif1.0", 98)
        watcher.settle()
        assert re.match(rb"[\d: -]+ WARN \d+ lines were dropped", reader.read(1 << 16))
