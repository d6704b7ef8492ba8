"""``status --follow`` without a terminal: the command prints each change as a line."""
import os
import re
import select
import signal
import subprocess
import time

import pytest

from support.command import Run, assert_error, command, environment, run
from support.constants import LONG
from support.following import following, set_tag, told
from support.terminal import Terminal
from support.zoo import add_zoo, identity
from xenvif_tagger.follow import view as follow


class Piped(Run):
    """A running command whose output the test reads as it comes."""

    def __init__(self, *args, **how):
        Run.__init__(self, *args, **how)
        self.seen = ""

    def until(self, wanted):
        """Wait until the output matches the regular expression; returns all of the output so
        far."""
        while not re.search(wanted, self.seen, re.M):
            assert select.select([self.process.stdout], [], [], LONG)[0], self.seen
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, self.seen + self.process.stderr.read().decode()
            self.seen += data.decode()
        return self.seen


@pytest.mark.parametrize("dumb", [False, True], ids=["pipe", "dumb terminal"])
def test_each_change_is_a_line(host, dumb):
    add_zoo(host)
    status = run("status", db=host, env={"OVS_RUNDIR": host.dir}).out
    if dumb:
        with following(host, env={"TERM": "dumb"}, size=(80, 50)) as terminal:
            assert terminal.shows("watcher").startswith(status.rstrip())
            set_tag(host, "vif14.0", 9)
            terminal.shows("conflict\n", "vif14.0 tag 5 -> 9")
            assert b"\x1b" not in terminal.raw
        return
    with Piped("status", "--follow", db=host, env={"OVS_RUNDIR": host.dir}) as piped:
        assert piped.until("^watcher: ") == status
        set_tag(host, "vif14.0", 9)
        piped.until("state in-sync -> conflict\n")
        host.delete_port("vif15.0")
        lines = piped.until("vif15.0 gone\n")[len(status):]
        assert told(lines) == ["vif14.0 tag 5 -> 9", "vif14.0 state in-sync -> conflict",
                               "vif15.0 gone"]
        assert len(told(lines)) == lines.count("\n")
        host.restart_server()
        piped.until("database: connected again\n")
        assert "\x1b" not in piped.seen


def test_a_storm_of_changes_is_printed_at_intervals(host):
    """The command prints changes of a tag no more often than its interval allows in the time that
    the test has taken."""
    add_zoo(host, 14)
    with Piped("status", "--follow", db=host) as piped:
        piped.until("^watcher: ")
        since = time.monotonic()
        for number in range(400):
            host.transact({"op": "update", "table": "Port", "row": {"tag": 100 + number},
                           "where": [["name", "==", "vif14.0"]]})
        lines = told(piped.until("vif14.0 tag .*-> 499\n"))
        most = (time.monotonic() - since) / follow.EVERY + 2
    assert len([line for line in lines if " tag " in line]) <= most


def test_lines_with_names(host, xapi):
    """The command waits for the names before it prints the table, as `status` does; if XAPI does
    not answer, a line on stderr says so."""
    xapi.add_vm("web", [identity(14)["xs-vif-uuid"]])
    add_zoo(host, 14)
    with Piped("--xapi", xapi.remote, "status", "--follow", db=host) as piped:
        assert piped.until("^watcher: ").split("\n")[1].startswith("web ")
    xapi.fault("session.login_with_password", "hang")
    with Piped("--xapi", xapi.remote, "--timeout", 0.2, "status", "--follow", db=host) as piped:
        piped.until("^watcher: ")
        piped.process.send_signal(signal.SIGTERM)
        piped.end()
        assert piped.code == -signal.SIGTERM
        assert re.match(r"xenvif-tagger: no VM names: [^\n]+\n\Z", piped.err), piped


@pytest.mark.parametrize("known", [{}, {"another": "VM"}], ids=["nothing", "nobody's"])
def test_lines_where_xapi_knows_none_of_the_vms(host, xapi, known):
    """XAPI has answered without a name for the VIF: the command does not wait for a name."""
    for name in known:
        xapi.add_vm(name, [identity(99)["xs-vif-uuid"]])
    add_zoo(host, 14)
    with Piped("--xapi", xapi.remote, "status", "--follow", db=host) as piped:
        piped.until("^watcher: ")


def test_the_command_ends_when_its_reader_goes(host):
    """The command ends as soon as its reader has gone, although nothing changes."""
    add_zoo(host, 14)
    script = '"$@" | head -n 1; echo ${PIPESTATUS[0]}'
    result = run(argv=["bash", "-c", script, "sh"] + command("status", "--follow", db=host))
    assert result.out.split("\n")[1] == str(128 + signal.SIGPIPE)
    assert result.err == ""


def test_lines_into_a_file(host, tmp_path):
    add_zoo(host, 14)
    path = tmp_path / "out"
    with open(str(path), "w") as stream:
        process = subprocess.Popen(command("status", "--follow", db=host), stdout=stream,
                                   env=environment())
    poll = Terminal(argv=["cat"])
    with poll:
        poll.until(lambda _: poll.read(0.01) or "watcher" in path.read_text(encoding="utf-8"))
    process.terminate()
    assert process.wait(LONG) == -signal.SIGTERM


@pytest.mark.parametrize("args, words", [
    (["status", "--follow", "--json"], ["--json", "--follow"]),
    (["-q", "status", "--follow"], ["-q", "--follow"])], ids=["json", "quiet"])
def test_options_that_exclude_follow(host, args, words):
    assert_error(run(*args, db=host), 2, *words)
