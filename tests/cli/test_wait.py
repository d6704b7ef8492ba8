"""`mirror --wait`, and the signals that end the command."""
import os
import re
import signal
import threading
import time

import pytest

from support.command import Run, assert_done, assert_error, run
from support.constants import LONG
from support.zoo import (
    add,
    add_pair,
    identity,
    move_port,
    tag,
)


def waiting(*args, db):
    return Run("mirror", *args + ("--wait", str(LONG)), db=db)


def check_woken(proxy, since):
    """Check that the message after the first `since` messages is an update from the server: the
    server woke the command."""
    whose, message = proxy.log[since]
    assert (whose, message.get("method")) == ("server", "update"), proxy.log[since:]


LATER = {
    # (the change before the command starts, the change while the command waits)
    "tap": (lambda ovs: add(ovs, "vif12.0", tag=5), lambda ovs: add(ovs, "tap12.0")),
    "vif": (lambda ovs: add(ovs, "tap12.0"), lambda ovs: add(ovs, "vif12.0", tag=5)),
    "emulated": (lambda ovs: add(ovs, "vif12.0", tag=5), lambda ovs: add(ovs, "vif12.0-emu")),
    "tag of the vif": (lambda ovs: add_pair(ovs, 12, vif={}),
                       lambda ovs: ovs.vsctl("set", "port", "vif12.0", "tag=5")),
    "tag of the tap": (lambda ovs: add_pair(ovs, 12, vif={}),
                       lambda ovs: ovs.vsctl("set", "port", "tap12.0", "tag=5")),
    "decision": (lambda ovs: add_pair(ovs, 12, tap={"tag": 6}),
                 lambda ovs: ovs.vsctl("set", "port", "tap12.0", "tag=5")),
    "identity": (lambda ovs: (add(ovs, "vif12.0", {"xs-vm-uuid": "one of several VIFs"}, tag=5),
                              ovs.add_port(
                                  "xenbr0", "tap12.0", {"xs-vm-uuid": "one of several VIFs"})),
                 lambda ovs: ovs.vsctl("set", "interface", "tap12.0", "external_ids:xs-vif-uuid="
                                       + identity(12)["xs-vif-uuid"])),
    "bridge": (lambda ovs: (ovs.add_bridge("xenbr1"),
                            add_pair(ovs, 12, tap={"bridge": "xenbr1"})),
               lambda ovs: move_port(ovs, "tap12.0", "xenbr1", "xenbr0")),
    "device": (lambda ovs: add_pair(ovs, 12, vif={"tag": 5, "ofport": -1}),
               lambda ovs: ovs.vsctl("set", "interface", "vif12.0", "ofport=3")),
}


@pytest.mark.parametrize("what", sorted(LATER))
@pytest.mark.parametrize("args", [("dom", "12"), ("all",)], ids=" ".join)
def test_wait_until_the_change_comes(host, proxied, what, args):
    before, then = LATER[what]
    before(host)
    proxy = proxied(host)
    with waiting(*args, db=proxy) as waiter:
        proxy.wait_until_waiting()
        since = len(proxy.log)
        then(host)
        result = assert_done(waiter.end())
    check_woken(proxy, since)
    assert "mirrored" in result.out or what == "decision"
    other = "vif12.0-emu" if what == "emulated" else "tap12.0"
    assert tag(host, "vif12.0") == tag(host, other) == 5


def test_wait_for_a_port_by_name(host, proxied):
    proxy = proxied(host)
    with waiting("port", "tap12.0", db=proxy) as waiter:
        proxy.wait_until_waiting()
        add_pair(host, 12)
        assert_done(waiter.end())
    assert tag(host, "tap12.0") == 5


def test_wait_for_a_port_that_has_another_name(host):
    """The VIF's tap side is the port vif12.0-emu: the command fails, because the port tap12.0,
    which the user named, is not there."""
    add_pair(host, 12, emu=True)
    result = run("mirror", "port", "tap12.0", "--wait", "0.1", db=host)
    assert result.code in (1, 2) and "tap12.0" in result.err, result


def test_wait_ends_at_once_if_both_ports_are_there(host):
    add_pair(host, 12)
    for state in ("mirrored", "in-sync"):
        result = assert_done(run("mirror", "dom", 12, "--wait", LONG, "--json", db=host))
        assert result.pair["state"] == state


def test_a_pair_mirrored_during_the_wait_is_printed(host, proxied):
    """A pair that was mirrored early in the wait still has the state "mirrored", with its changes,
    when the command ends after mirroring a later pair."""
    add_pair(host, 12, 0)
    add_pair(host, 12, 1, vif={})
    proxy = proxied(host)
    with waiting("dom", "12", "--json", db=proxy) as waiter:
        proxy.wait_until_waiting()
        host.vsctl("set", "port", "vif12.1", "tag=6")
        result = assert_done(waiter.end())
    assert [tag(host, name) for name in ("tap12.0", "tap12.1")] == [5, 6]
    assert [pair["state"] for pair in result.pairs] == ["mirrored", "mirrored"]
    assert all(pair["changes"] for pair in result.pairs)


WAITED_FOR = {
    "nothing": lambda ovs: None,
    "one port": lambda ovs: add(ovs, "vif12.0", tag=5),
    "no VLAN": lambda ovs: add_pair(ovs, 12, vif={}),
    "conflict": lambda ovs: add_pair(ovs, 12, tap={"tag": 6}),
    "refused": lambda ovs: add_pair(ovs, 12, tap={"ids": {"xs-vif-uuid": "another"}}),
}


@pytest.mark.parametrize("what", sorted(WAITED_FOR))
def test_a_waiting_command_does_not_poll(host, proxied, what):
    """A waiting command sends the server no request, not even when other rows change."""
    WAITED_FOR[what](host)
    host.add_port("xenbr0", "eth0")
    # A first run writes our marks, so that the waiting run has nothing to write at its first look.
    run("mirror", "dom", 12, db=host)
    proxy = proxied(host)
    with waiting("dom", "12", db=proxy):
        proxy.wait_until_waiting()
        asked = proxy.requests()
        assert [message.get("method") for message in asked].count("monitor") == 1
        # No decision depends on this column, which ovs-vswitchd writes all the time.
        host.vsctl("set", "interface", "eth0", "statistics:rx_packets=1")
        time.sleep(1)  # a command that polls would send a request in this time
        proxy.wait_until_waiting()
        assert proxy.requests() == asked


@pytest.mark.parametrize("what", sorted(WAITED_FOR))
@pytest.mark.parametrize("seconds", ["0", "0.2"])
def test_wait_in_vain(host, what, seconds):
    WAITED_FOR[what](host)
    result = run("mirror", "dom", 12, "--wait", seconds, db=host)
    assert result.code == 1
    assert re.match(r"xenvif-tagger: [^\n]+\n\Z", result.err), result
    assert "12" in result.err and seconds + " s" in result.err


def test_wait_in_vain_json_is_json(host):
    add(host, "vif12.0", tag=5)
    result = run("mirror", "dom", 12, "--wait", "0", "--json", db=host)
    assert result.code == 1
    assert result.pair["state"] == "single"


def test_wait_zero_mirrors_the_present_pairs(host):
    add_pair(host, 12)
    result = assert_done(run("mirror", "dom", 12, "--wait", 0, "--json", db=host))
    assert result.pair["state"] == "mirrored"
    assert tag(host, "tap12.0") == 5


def test_dry_run_and_wait_exclude_each_other(host):
    assert_error(run("mirror", "dom", 12, "--wait", 1, "--dry-run", db=host), 2, "--dry-run")


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_the_database_ends_while_waiting(host, kill):
    # Without a proxy, the server that ends is the one to which the command is connected.
    add(host, "vif12.0", tag=5)
    with waiting("dom", "12", db=host) as waiter:
        wait_for_connections(host, 1)
        host.stop_server(kill)
        assert_error(waiter.end(), 3, host.remote)


def wait_for_connections(ovs, count):
    """Wait until the server has this many monitors."""
    def monitors():
        return sum(int(line.partition("monitors:")[2].split()[0]) for line in
                   ovs.appctl("ovsdb-server", "memory/show").splitlines() if "monitors:" in line)

    poll = threading.Event()
    for _ in range(LONG * 100):
        if monitors() >= count:
            return
        poll.wait(0.01)
    raise AssertionError("the server has fewer than %d monitors" % count)


def test_echo_is_answered_while_waiting(host, proxied):
    """The server sends an echo request after each second of silence, and closes the connection of a
    client that has not answered a second later."""
    add(host, "vif12.0", tag=5)
    host.appctl("ovsdb-server", "ovsdb-server/add-remote",
               "db:Open_vSwitch,Open_vSwitch,manager_options")
    path = os.path.join(host.dir, "probing.sock")
    host.vsctl("set-manager", "punix:" + path, "--", "set", "manager", ".", "inactivity_probe=1000")
    poll = threading.Event()
    for _ in range(LONG * 100):
        if os.path.exists(path):
            break
        poll.wait(0.01)
    proxy = proxied("unix:" + path)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        since = len(proxy.log)
        proxy.wait_for(lambda _: len(proxy.log) >= since + 4)
        talk = proxy.log[since:since + 4]
        assert [(whose, message.get("method")) for whose, message in talk] == 2 * [
            ("server", "echo"), ("client", None)]
        for asked, answered in zip(talk[::2], talk[1::2]):
            assert answered[1] == {"id": asked[1]["id"], "result": asked[1]["params"],
                                   "error": None}
        add(host, "tap12.0")
        assert_done(waiter.end())
    assert tag(host, "tap12.0") == 5


def test_the_database_hangs_when_the_time_is_over(host, proxied):
    """The command names the database, not the ports, as the cause."""
    add(host, "vif12.0", tag=5)
    hangs = threading.Event()
    proxy = proxied(host, before=lambda message: not hangs.is_set())
    with Run("--timeout", "1", "mirror", "dom", "12", "--wait", "3", db=proxy) as waiter:
        proxy.wait_until_waiting()
        hangs.set()
        result = waiter.end()
    assert result.code == 3 and "no answer" in result.err, result


def test_ctrl_c_while_waiting(host, proxied):
    proxy = proxied(host)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        waiter.process.send_signal(signal.SIGINT)
        assert_error(waiter.end(), 130, "interrupted")


def test_ctrl_c_while_the_database_hangs(host, proxied):
    proxy = proxied(host, before=lambda message: False)
    with Run("status", db=proxy) as hanging:
        proxy.wait_for(lambda proxy: proxy.log)
        hanging.process.send_signal(signal.SIGINT)
        assert_error(hanging.end(), 130, "interrupted")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_while_waiting(host, proxied, name):
    proxy = proxied(host)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        waiter.process.send_signal(getattr(signal, name))
        result = waiter.end()
    assert (result.code, result.err) == (-getattr(signal, name), "")
