"""``status --follow`` in a terminal, on a real database: the screen as a person sees it."""
import os
import re
import signal
import threading

import pytest

from support.command import assert_error, command, run
from support.constants import LONG
from support.following import following, outcome, port, set_tag, told
from support.private_ovs import PrivateOvs
from support.terminal import ALTERNATE, BACK, Terminal
from support.watching import Watching
from support.zoo import ZOO, add, add_pair, add_zoo, identity
from xenvif_tagger.follow.vm_names import Names
from xenvif_tagger.xapi.vms import Access


def vifs(text):
    """The VIFs of the table's rows, in their order."""
    return [line.split()[2] for line in text.split("\n")
            if re.search(r" (vif\d+\.0|-) .* (%s)$" % "|".join(set(ZOO.values())), line)]


# ---- on a terminal -----------------------------------------------------------------------------


def test_the_screen_shows_the_table_of_status_and_the_changes(host):
    add_zoo(host)
    env = {"OVS_RUNDIR": host.dir}
    with following(host, size=(100, 40)) as terminal:
        text = terminal.shows("watcher: not running", "changes since", " none")
        status = run("status", db=host, env=dict(env, COLUMNS="100")).out
        assert text.startswith(status)
        set_tag(host, "vif14.0", 9)
        text = terminal.shows("in-sync -> conflict")
        assert told(text) == ["vif14.0 tag 5 -> 9", "vif14.0 state in-sync -> conflict"]
        assert text.startswith(run("status", db=host, env=dict(env, COLUMNS="100")).out)
        add(host, "vif20.0", tag=7)
        terminal.shows("vif20.0 new on xenbr0, tag 7")
        host.delete_port("tap13.0")
        text = terminal.shows("tap13.0 gone", "vif13.0 state conflict -> single")
        assert told(text)[2] == "vif20.0 new on xenbr0, tag 7"  # the newest change is the last line
        host.delete_port("vif20.0")
        text = terminal.shows("vif20.0 gone")
        assert text.startswith(run("status", db=host, env=dict(env, COLUMNS="100")).out)


def test_signals_while_the_terminals_output_is_stopped(host):
    """Signals of a window's resizing come while the output is stopped by Ctrl-S: the command waits,
    and goes on afterwards without an error."""
    add_zoo(host, 14)
    with following(host) as terminal:
        terminal.shows("vif14.0")
        terminal.hold()
        for _ in range(20000):  # at one of these signals the command writes, and the write blocks
            terminal.process.send_signal(signal.SIGWINCH)
            terminal.wait_until_delivered()
        terminal.go_on()
        set_tag(host, "vif14.0", 9)
        terminal.shows("vif14.0 tag 5 -> 9")
        terminal.press(b"q")
        assert terminal.end() == 0
        assert b"Exception" not in terminal.raw
        terminal.assert_restored()


def test_colours_as_the_table_has_them(host):
    add_zoo(host, 13, 14)
    with following(host) as terminal:
        terminal.shows("conflict", "in-sync")
        rows = {line.split()[-1]: number for number, line in enumerate(terminal.lines())
                if line.endswith(("conflict", "in-sync"))}
        colours = {state: terminal.screen.buffer[number][
            len(terminal.lines()[number]) - 1].fg for state, number in rows.items()}
    assert colours == {"conflict": "red", "in-sync": "green"}
    with following(host, env={"NO_COLOR": "1"}) as terminal:
        terminal.shows("conflict")
        assert b"m" not in re.findall(rb"\x1b\[[0-9;?]*([a-zA-Z])", terminal.raw)


ENDS = {"Ctrl-C": (lambda terminal: terminal.press(b"\x03"), -signal.SIGINT),
        "q": (lambda terminal: terminal.press(b"q"), 0)}
ENDS.update((name, (lambda terminal, name=name: terminal.process.send_signal(
    getattr(signal, name)), -getattr(signal, name))) for name in ("SIGINT", "SIGTERM", "SIGHUP"))


@pytest.mark.parametrize("how", sorted(ENDS))
def test_the_terminal_is_as_it_was_at_the_end(host, how):
    end, code = ENDS[how]
    add_zoo(host, 14)
    with following(host) as terminal:
        terminal.shows("in-sync")
        assert terminal.screen.cursor.hidden
        end(terminal)
        assert terminal.end() == code
        terminal.assert_restored()
        assert terminal.raw.endswith(BACK)  # the command prints nothing after that


def test_the_terminal_is_as_it_was_after_an_error(host):
    add_zoo(host, 14)
    with following(host, options=["--xapi", "https://127.0.0.1:1"]) as terminal:
        assert terminal.end() == 2
        terminal.assert_restored()
        assert b"--password-file" in terminal.raw[terminal.raw.rindex(BACK):]


def test_a_key_is_not_shown_and_redraws_the_screen(host):
    add_zoo(host, 14)
    with following(host) as terminal:
        terminal.shows("in-sync")
        terminal._stream.feed(b"\x1b[2;1Ha message to all")  # another program's output
        terminal.press(b"x")
        assert "message" not in terminal.until(lambda text: "message" not in text)
        assert "x" not in terminal.text().replace("xenbr0", "")


def test_a_terminal_that_is_hung_up(host):
    add_zoo(host, 14)
    with following(host) as terminal:
        terminal.shows("in-sync")
        terminal.hang_up()
        assert terminal.process.wait(LONG) == -signal.SIGHUP


def test_a_terminal_that_is_hung_up_under_nohup(host):
    """Under nohup the command ignores SIGHUP, and notices that the terminal's other end is
    closed."""
    add_zoo(host, 14)
    argv = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"] + command("status", "--follow", db=host)
    with Terminal(argv=argv) as terminal:
        terminal.shows("in-sync")
        terminal.hang_up()
        assert terminal.process.wait(LONG) == -signal.SIGPIPE


def test_a_stopped_command_goes_on_in_the_foreground(host):
    add_zoo(host, 14)
    script = 'set -m; "$@"; echo "stopped: $?"; read line; fg >/dev/null; echo "ended: $?"'
    argv = ["bash", "-c", script, "bash"] + command("status", "--follow", db=host)
    with Terminal(argv=argv) as terminal:
        terminal.shows("in-sync")
        terminal.press(b"\x1a")
        terminal.shows("stopped: %d" % (128 + signal.SIGTSTP))
        terminal.assert_restored()
        terminal.press(b"\r")
        terminal.until(lambda _: terminal.raw.count(ALTERNATE) == 2)
        set_tag(host, "vif14.0", 9)
        terminal.shows("tag 5 -> 9")
        terminal.press(b"q")
        terminal.shows("ended: 0")
        terminal.assert_restored()


def test_a_resized_terminal_is_redrawn(host):
    add_zoo(host)
    with following(host, size=(120, 40)) as terminal:
        text = terminal.shows("changes since")
        assert len(vifs(text)) == len(ZOO)
        terminal.resize(70, 10)
        text = terminal.shows("no room for")
        assert len(text.split("\n")) <= 10
        assert "changes since" in text and "watcher" in text
        terminal.resize(160, 50)
        text = terminal.until(lambda text: "no room" not in text and len(vifs(text)) == len(ZOO))
        assert text.startswith(run(
            "status", db=host, env={"COLUMNS": "160", "OVS_RUNDIR": host.dir}).out)


def test_a_terminal_lower_than_the_table(host):
    """The VIFs that are not as they should be come first, and one line counts the VIFs for which
    the screen has no room."""
    for domid in range(1, 60):
        add_pair(host, domid, tap={"tag": 5})
    add_pair(host, 60, tap={"tag": 6})
    add_pair(host, 61)
    with following(host, size=(80, 20)) as terminal:
        text = terminal.shows("changes since")
        assert vifs(text)[:3] == ["vif60.0", "vif61.0", "vif1.0"]
        hidden = 61 - len(vifs(text))
        assert "no room for %d VIFs: %d in-sync\n" % (hidden, hidden) in text
        assert len(text.split("\n")) <= 20
        # A VIF for which the screen had no room is shown when it comes into conflict.
        set_tag(host, "vif59.0", 8)
        text = terminal.shows("vif59.0 state in-sync -> conflict")
        assert vifs(text)[:3] == ["vif59.0", "vif60.0", "vif61.0"]


def test_more_changes_than_fit_on_the_screen(host):
    add_pair(host, 1, tap={"tag": 5})
    with following(host, size=(80, 12)) as terminal:
        terminal.shows("none")
        for number in range(10, 30):
            set_tag(host, "vif1.0", number)
            set_tag(host, "tap1.0", number)
            text = terminal.shows("tap1.0 tag %d -> %d" % (number - 1 if number > 10 else 5,
                                                           number))
        assert len(text.split("\n")) <= 12
        assert text.startswith("VM ") and re.search(r"vif1\.0 +29 ", text)


def test_a_storm_ends_with_the_last_state(host):
    for domid in range(1, 11):
        add_pair(host, domid, tap={"tag": 5})
    with following(host, size=(80, 40)) as terminal:
        terminal.shows("none")
        for number in range(300):
            host.transact({"op": "update", "table": "Port", "row": {"tag": 100 + number},
                           "where": [["name", "==", "vif%d.0" % (number % 10 + 1)]]})
        terminal.until(lambda text: all(re.search(
            r"vif%d\.0 +%d " % (domid, 389 + domid), text) for domid in range(1, 11)))


def test_the_database_is_restarted(host):
    add_zoo(host, 14, 15)
    with following(host, size=(120, 24)) as terminal:
        terminal.shows("in-sync", "none")
        host.stop_server()
        text = terminal.shows("no database since", "database: connection lost", host.remote)
        assert "in-sync" in text  # the table stays
        host.start_server()
        terminal.shows("database: connected again")
        text = terminal.until(lambda text: "no database since" not in text)
        assert "vif14.0" not in "".join(told(text))  # the port has not changed
        host.stop_server(kill=True)
        terminal.shows("no database since")
        # The command shows the changes made while the command was not connected.
        host.start_server()
        set_tag(host, "vif14.0", 9)
        host.delete_port("vif15.0")
        text = terminal.shows("vif14.0 tag 5 -> 9", "vif15.0 gone")
        assert "no database since" not in terminal.until(
            lambda text: "no database since" not in text)


def test_a_port_that_goes_while_the_database_is_away(host):
    """A port goes while the command is not connected: the command gets no update about the port,
    and finds after the reconnect that the port is gone."""
    add_zoo(host, 14, 15)
    with following(host, size=(120, 24)) as terminal:
        terminal.shows("in-sync", "none")
        host.stop_server()
        terminal.shows("no database since")
        path = host.socket_path
        # Put another database in the place of the present database while no server runs.
        os.rename(host.dir + "/conf.db", host.dir + "/other.db")
        with PrivateOvs() as other:
            other.add_bridge("xenbr0")
            add_zoo(other, 14)
            other.stop_server()
            os.rename(other.database, host.database)
        host.start_server()
        assert os.path.exists(path)
        terminal.shows("vif15.0 gone", "vif14.0 made anew")


def test_no_database_at_the_start(tmp_path):
    remote = "unix:%s/none" % tmp_path
    assert_error(run("status", "--follow", db=remote), 3, remote, "ovsdb-server")
    with Terminal("status", "--follow", db=remote) as terminal:
        assert terminal.end() == 3
        assert ALTERNATE not in terminal.raw


def test_a_database_that_hangs_at_the_start(host, proxied):
    """The server answers the first requests, and does not answer the monitor request, which asks
    for all rows."""
    proxy = proxied(host, before=lambda message: "monitor" not in message.get("method", ""))
    assert_error(run("--timeout", 0.3, "status", "--follow", db=proxy), 3, proxy.remote,
                 "within 0.3 s")


def test_a_database_of_our_name_with_another_schema_at_the_start(tmp_path):
    schema = {"name": "Open_vSwitch", "version": "1.0.0", "tables": {
        "Open_vSwitch": {"columns": {"bridges": {"type": "string"},
                                     "db_version": {"type": "string"}}}}}
    with PrivateOvs(dict(schema)) as other:
        assert_error(run("status", "--follow", db=other), 3, other.remote)


def test_nothing_is_sent_while_nothing_changes(host, proxied):
    add_zoo(host)
    host.add_port("xenbr0", "eth0")
    proxy = proxied(host)
    with following(proxy, env={"OVS_RUNDIR": host.dir}) as terminal:
        terminal.shows("changes since")
        sent = len(proxy.requests())
        for number in range(1, 4):
            host.vsctl("set", "interface", "eth0", "statistics:rx_packets=%d" % number)
            set_tag(host, "vif15.0", 10 + number)
            terminal.shows("-> %d" % (10 + number))
        assert len(proxy.requests()) == sent, proxy.requests()[sent:]
        assert not proxy.writes()


def test_the_screen_of_one_domain(host):
    add_zoo(host, 14, 15)
    with following(host, 14) as terminal:
        text = terminal.shows("in-sync", "none")
        assert vifs(text) == ["vif14.0"]
        host.delete_port("vif15.0")
        set_tag(host, "vif14.0", 9)
        assert told(terminal.shows("conflict"))[0] == "vif14.0 tag 5 -> 9"
        host.delete_port("vif14.0")
        host.delete_port("tap14.0")
        terminal.shows("no VIF has a port here", "tap14.0 gone")
    assert_error(run("status", "--follow", 99, db=host), 2, "domain 99")


def test_values_of_the_database_do_not_steer_the_terminal(host):
    value = "\x1b[2J\x9bevil\r\n\x07"
    add_pair(host, 12, vif={"tag": 5, "ids": {"xen-vm-name": value}})
    with following(host) as terminal:
        terminal.shows("drift")
        host.transact({"op": "mutate", "table": "Interface", "where": [["name", "==", "vif12.0"]],
                       "mutations": [["external_ids", "insert", ["map", [[value, value]]]]]})
        terminal.shows("(none) ->")
        assert "evil" in terminal.text()
        for hostile in (value[:4] + value[4], "\x9be", "\r", "\n", "\x07"):
            shown = terminal.raw[terminal.raw.index(b"VM "):]
            assert hostile.encode() not in shown


def test_the_watcher_comes_and_goes(host):
    add_zoo(host, 14)
    with following(host) as terminal:
        terminal.shows("watcher: not running")
        with Watching(host) as watch:
            terminal.shows("\nwatcher: running, pid %d\n" % watch.pid)
        text = terminal.shows("\nwatcher: not running\n")
        assert told(text)[-1] == "watcher: not running"


# ---- names -------------------------------------------------------------------------------------


def named(host, xapi, **how):
    return following(host, options=["--xapi", xapi.remote], size=(100, 24), **how)


def test_names_of_the_first_and_of_later_vifs(host, xapi):
    for domid in 14, 15, 20:
        xapi.add_vm("虚拟机-%d" % domid, [identity(domid)["xs-vif-uuid"]])
    add_zoo(host, 14, 15)
    with named(host, xapi) as terminal:
        terminal.until(lambda text: text.replace(" ", "").count("虚拟机") == 2)
        assert xapi.logins == 1
        set_tag(host, "vif14.0", 9)
        terminal.shows("tag 5 -> 9")
        assert xapi.logins == 1  # the command has the names already
        add(host, "vif20.0", tag=5)
        add(host, "vif21.0", tag=5)  # XAPI has no VIF of this uuid
        terminal.until(lambda text: text.replace(" ", "").count("虚拟机") == 3)
        host.delete_port("vif21.0")
        terminal.shows("vif21.0 gone")
        add(host, "vif21.0", tag=5)
        terminal.shows(identity(21)["xs-vm-uuid"][:8])
        assert xapi.logins <= 3
        terminal.press(b"q")
        assert terminal.end() == 0
    assert xapi.sessions == set()


def test_xapi_hangs(host, xapi):
    """The command shows the table at once, and goes on to show changes; one line says why the table
    has no names."""
    xapi.fault("session.login_with_password", "hang")
    add_zoo(host, 14)
    with named(host, xapi, env={"XENVIF_TAGGER_TIMEOUT": "%d" % LONG}) as terminal:
        terminal.until(lambda _: xapi.calls["session.login_with_password"])
        set_tag(host, "vif14.0", 9)
        text = terminal.shows("tag 5 -> 9")
        assert "no VM names" not in text
    with named(host, xapi) as terminal:
        text = terminal.shows("no VM names", "within 2 s")
        set_tag(host, "vif14.0", 10)
        terminal.shows("tag 9 -> 10")
        assert terminal.text().count("no VM names") == 1


def test_xapi_is_down_and_comes_back(host, xapi):
    """When a VIF comes, the command asks XAPI for all VIFs that have no name yet."""
    for domid in 14, 15:
        xapi.add_vm("vm-%d" % domid, [identity(domid)["xs-vif-uuid"]])
    xapi.fault("session.login_with_password", "drop", 1)
    add_zoo(host, 14)
    with named(host, xapi) as terminal:
        terminal.shows("no VM names", "dropped")
        add_zoo(host, 15)
        text = terminal.shows("vm-14", "vm-15")
        assert "no VM names" not in text


def test_a_vif_that_xapi_does_not_have_is_asked_for_once(xapi):
    woken = threading.Event()
    names = Names(Access(xapi.remote, "root", None, True, LONG), woken.set)
    stranger = outcome(port("vif1.0", ids={"xs-vif-uuid": identity(1)["xs-vif-uuid"]}))
    names.want([stranger])
    assert not names.run() and names.is_asking
    assert woken.wait(LONG)
    assert names.run()  # the answer has no name, and no other answer is due
    assert not names.run()
    names.want([stranger])
    assert not names.is_asking and names.next_alarm() is None
    assert (names.known, names.problem, xapi.logins) == ({}, None, 1)


def test_ctrl_c_during_a_call_of_xapi_logs_the_session_out(host, xapi):
    xapi.fault("VIF.get_all_records.*", "hang", 1)
    add_zoo(host, 14)
    with named(host, xapi) as terminal:
        terminal.until(lambda _: "VIF" in "".join(xapi.calls))
        terminal.press(b"\x03")
        assert terminal.end() == -signal.SIGINT
        terminal.assert_restored()
    assert xapi.sessions == set() and xapi.logins == 1
