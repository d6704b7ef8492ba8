"""Races: another client changes the database between the command's read and its write."""
import threading

import pytest

from support.command import Run, assert_done, assert_error, run
from support.constants import LONG
from support.proxy import is_write
from support.zoo import (
    add,
    add_pair,
    commits,
    many_pairs,
    move_port,
    our_commits,
    tag,
)


class Race:
    """A Proxy's `before` that calls the n-th change just before the proxy passes the command's n-th
    writing transaction on."""

    def __init__(self, *changes):
        self._changes = list(changes)

    def __call__(self, message):
        if is_write(message) and self._changes:
            self._changes.pop(0)()


def set_tag(ovs, name, value):
    return lambda: ovs.vsctl("set", "port", name, "tag=%d" % value)


@pytest.mark.parametrize("args", [["dom", "12"], ["port", "tap12.0"], ["all"],
                                  ["dom", "12", "--wait", "30"]], ids=" ".join)
def test_the_agent_retags_just_before_the_write(host, proxied, args):
    add_pair(host, 12)
    proxy = proxied(host, Race(set_tag(host, "vif12.0", 7)))
    result = assert_done(run("mirror", *args + ["--json"], db=proxy))
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (7, 7)
    assert len(proxy.writes()) == 2 and len(our_commits(host)) == 1
    assert result.pair["state"] == "mirrored"
    assert result.pair["vif"]["tag"] == result.pair["tap"]["tag"] == 7
    assert [change["new"] for change in result.pair["changes"] if change["column"] == "tag"] == [7]


def test_the_agent_tags_the_other_port_just_before_the_write(host, proxied):
    """The ports then have different VLANs and no base: the pair is in conflict, and the command
    overwrites neither tag."""
    add_pair(host, 12)
    proxy = proxied(host, Race(set_tag(host, "tap12.0", 6)))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy), 1)
    assert result.pair["state"] == "conflict"
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (5, 6)


def test_a_decision_between_read_and_write_of_a_pair_with_history(host, proxied):
    add_pair(host, 12)
    assert_done(run("mirror", "dom", 12, db=host))
    host.vsctl("set", "port", "vif12.0", "tag=8")
    proxy = proxied(host, Race(set_tag(host, "vif12.0", 9)))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert (tag(host, "vif12.0"), tag(host, "tap12.0")) == (9, 9)
    assert len(proxy.writes()) == 2


@pytest.mark.parametrize("gone", ["vif12.0", "tap12.0"])
def test_a_port_goes_just_before_the_write(host, proxied, gone):
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: host.delete_port(gone)))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy))
    left = {"vif12.0": "tap12.0", "tap12.0": "vif12.0"}[gone]
    assert result.pair["state"] == "single"
    assert tag(host, left) == {"vif12.0": 5, "tap12.0": None}[left]
    assert host.port(gone) is None and host.interface(gone) is None


@pytest.mark.parametrize("args, code", [(["all"], 0), (["dom", "12"], 2), (["port", "vif12.0"], 2)],
                         ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_the_domain_ends_just_before_the_write(host, proxied, args, code):
    """Both ports of the domain go: the command has nothing left to do for the domain, and reports
    no fault of the database."""
    add_pair(host, 12)
    add_pair(host, 13)
    if args != ["all"]:
        host.delete_port("vif13.0")

    def end():
        for name in ("vif12.0", "tap12.0"):
            host.delete_port(name)

    proxy = proxied(host, Race(end))
    result = run("mirror", *args, db=proxy)
    if code:
        assert_error(result, code, args[-1])
    else:
        assert_done(result)
        assert tag(host, "tap13.0") == 5


def test_a_port_moves_to_another_bridge_just_before_the_write(host, proxied):
    """The port's own row does not change: only the Bridge rows show the move."""
    host.add_bridge("xenbr1")
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: move_port(host, "tap12.0", "xenbr0", "xenbr1")))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy), 1)
    assert result.pair["state"] == "refused" and "xenbr1" in result.pair["reason"]
    assert tag(host, "tap12.0") is None
    assert len(proxy.writes()) >= 1


def test_a_port_becomes_another_guests_just_before_the_write(host, proxied):
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: host.vsctl(
        "set", "interface", "tap12.0", "external_ids:xs-vif-uuid=another")))
    assert_done(run("mirror", "dom", 12, db=proxy), 1)
    assert tag(host, "tap12.0") is None


def test_a_port_is_made_anew_just_before_the_write(host, proxied):
    add_pair(host, 12)

    def replug():
        host.delete_port("tap12.0")
        add(host, "tap12.0", {"note": "new"})

    proxy = proxied(host, Race(replug))
    result = assert_done(run("mirror", "dom", 12, "--json", db=proxy))
    assert result.pair["state"] == "mirrored" and tag(host, "tap12.0") == 5
    assert host.interface("vif12.0")["external_ids"]["note"] == "new"


def test_an_id_comes_just_before_the_write(host, proxied):
    add_pair(host, 12)
    proxy = proxied(host, Race(
        lambda: host.vsctl("set", "interface", "vif12.0", "external_ids:note=new")))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert host.interface("tap12.0")["external_ids"]["note"] == "new"
    assert len(proxy.writes()) == 2


def test_a_change_of_statistics_is_no_lost_race(host, proxied):
    """ovs-vswitchd writes statistics all the time."""
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: (
        host.vsctl("set", "interface", "vif12.0", "statistics:rx_packets=7", "mtu=1500"),
        host.vsctl("set", "port", "vif12.0", "statistics:x=7"),
        host.add_port("xenbr0", "eth0"))))
    assert_done(run("mirror", "dom", 12, db=proxy))
    assert len(proxy.writes()) == 1 and tag(host, "tap12.0") == 5


@pytest.mark.parametrize("args", [["dom", "12"], ["all"]], ids=" ".join)
def test_another_tagger_was_faster(host, proxied, args):
    """The other tagger has written the same values, so the command writes nothing again."""
    add_pair(host, 12)
    proxy = proxied(host, Race(lambda: assert_done(run("mirror", "all", db=host))))
    result = assert_done(run("mirror", *args + ["--json"], db=proxy))
    assert result.pair["state"] == "in-sync" and result.pair["changes"] == []
    assert len(proxy.writes()) == 1 and len(our_commits(host)) == 1
    assert tag(host, "tap12.0") == 5


def never_the_same(ovs, name):
    """A Proxy's `before` that changes the port's tag before every writing transaction."""
    tags = iter(range(10, 4000))

    def before(message):
        if is_write(message):
            set_tag(ovs, name, next(tags))()
    return before


@pytest.mark.parametrize("args", [["dom", "12"], ["all"], ["dom", "12", "--json"]], ids=" ".join)
def test_a_pair_that_never_stands_still(host, proxied, args):
    """The command tries a bounded number of times. Then the command reports that the pair is not
    mirrored, and reports no time-out."""
    add_pair(host, 12)
    proxy = proxied(host, never_the_same(host, "vif12.0"))
    result = run("mirror", *args, db=proxy)
    assert 2 <= len(proxy.writes()) <= 50
    assert our_commits(host) == [] and tag(host, "tap12.0") is None
    assert result.code in (1, 3), result
    assert result.err.count("\n") == 1 and "12.0" in result.err, result
    assert "timed out" not in result.err + result.out, result


def test_a_pair_that_never_stands_still_does_not_hold_up_others(host, proxied):
    for domid in range(1, 21):
        add_pair(host, domid)
    proxy = proxied(host, never_the_same(host, "vif12.0"))
    result = run("mirror", "all", db=proxy)
    assert result.code in (1, 3) and "12.0" in result.err, result
    assert [domid for domid in range(1, 21) if tag(host, "tap%d.0" % domid) != 5] == [12]
    assert len(our_commits(host)) <= 21


def test_two_runs_at_once(host, proxied):
    """Both runs have read the database before one of them writes: a barrier delays each run's first
    write."""
    many_pairs(host, range(200))
    barrier = threading.Barrier(2)

    def before(held=[]):  # noqa: B006
        first = []

        def hook(message):
            if is_write(message) and not first:
                first.append(True)
                barrier.wait(LONG)
        return hook

    at = commits(host)
    proxies = [proxied(host, before()) for _ in range(2)]
    runs = [Run("mirror", "all", "--json", db=proxy) for proxy in proxies]
    try:
        results = [assert_done(one.end()) for one in runs]
    finally:
        for one in runs:
            one.__exit__()
    assert all(tag(host, "%s%d.0" % (side, domid)) == domid + 1
               for domid in range(200) for side in ("vif", "tap"))
    assert commits(host) - at <= 3
    mirrored = [sum(pair["state"] == "mirrored" for pair in result.pairs) for result in results]
    assert sum(mirrored) == 200
    assert {pair["state"] for result in results for pair in result.pairs} <= {
        "mirrored", "in-sync"}
    # The second run does not write its pairs one by one either.
    assert sum(len(proxy.writes()) for proxy in proxies) < 50


def test_another_tagger_was_faster_with_many_pairs(host, proxied):
    """For a select by name, the server looks through the whole table. So the command must not send
    a select for each of thousands of rows."""
    many_pairs(host, range(1, 2001))
    proxy = proxied(host, Race(lambda: assert_done(run("-q", "mirror", "all", db=host))))
    at = commits(host)
    result = assert_done(run("--timeout", LONG, "mirror", "all", db=proxy))
    assert "2000 in-sync" in result.out
    assert commits(host) - at <= 2000 / 500 + 2
    selects = [operation for message in proxy.requests("transact")
               for operation in message["params"][1:] if operation["op"] == "select"]
    assert sum(["name", "==", operation["where"][0][2]] in operation["where"]
               for operation in selects if operation["where"]) < 500


def test_an_agent_that_retags_all_pairs_does_not_stop_the_writes(host, proxied):
    """The agent retags one pair after the other, each once, as Neutron's agent does when it starts.

    No pair keeps changing, so the command gives up none of them.
    """
    domids = range(1, 41)
    many_pairs(host, domids)
    retagged = iter(range(1, 31))

    def before(message):
        # The agent leaves a transaction that writes a single pair alone.
        if is_write(message) and str(message).count("'comment': '") > 1:
            domid = next(retagged, None)
            if domid:
                set_tag(host, "vif%d.0" % domid, 1000 + domid)()

    proxy = proxied(host, before)
    assert_done(run("mirror", "all", db=proxy))
    for domid in domids:
        assert tag(host, "tap%d.0" % domid) == tag(host, "vif%d.0" % domid)
