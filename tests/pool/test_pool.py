"""The commands that ask all hosts of a pool, through the plugin."""
import json
import re

import pytest

from support.command import run
from support.plugin import host_env
from support.pool import CALL, LOGIN, LOGOUT, assert_lines, assert_narrow, told
from support.zoo import identity
from xenvif_tagger import __version__

# ---- the commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("function, code", [("status", 0), ("check", 1)])
def test_the_table_has_the_hosts_of_the_pool(pool, alike, drifted, function, code):
    pool.add("good", alike)
    pool.add("bad", drifted)
    pool.server.add_vm("web", [identity(12)["xs-vif-uuid"]])
    done = pool.run(function)
    assert (done.code, done.err) == (code, ""), done
    assert [line.split() for line in done.out.splitlines()] == [words.split() for words in (
        "VM BRIDGE VIF TAG TAP TAG STATE",
        "bad: 1 VIF: 1 drift; watcher: not running",
        "web xenbr0 vif12.0 5 tap12.0 trunk drift",
        "vif12.0 has tag 5, and tap12.0 has no VLAN",
        "good: 1 VIF: 1 in-sync; watcher: not running",
        "%s xenbr0 vif13.0 7 tap13.0 7 in-sync" % identity(13)["xs-vm-uuid"][:8],
        "2 VIFs: 1 drift, 1 in-sync",
        "watcher: not running on 2 of these hosts",
        "2 of 2 hosts answered")]
    assert re.findall("^ *", done.out, re.M)[:-1] == ["  ", "", "  ", 6 * " ", "", "  ", "", "", ""]
    assert_narrow(done)


def test_the_watchers(pool, alike):
    answer = {"exit": 0, "stderr": [], "output": {"pairs": [], "watcher": {"pid": 1}}}
    pool.server.plugin = lambda *_: json.dumps(answer)
    pool.add("one", alike)
    done = pool.run("status")
    assert done.out.splitlines()[1:] == [
        "one: 0 VIFs: none; watcher: running", "0 VIFs: none", "watcher: running",
        "1 of 1 host answered"]


def test_check_of_a_pool_that_is_alike(pool, alike):
    pool.add("good", alike)
    assert pool.run("check").code == 0


def test_the_json_has_the_hosts_of_the_pool(pool, alike, drifted):
    good, bad = pool.add("good", alike), pool.add("bad", drifted)
    pool.server.add_vm("web", [identity(12)["xs-vif-uuid"]])
    done = pool.run("check", "--json")
    hosts = told(done, 1)
    assert json.loads(done.out)["answered"] == 2
    assert hosts["good"]["host"]["uuid"] == pool.uuid(good)
    assert hosts["bad"]["host"]["uuid"] == pool.uuid(bad)
    assert {name: host["exit"] for name, host in hosts.items()} == {"good": 0, "bad": 1}
    alone = json.loads(run("check", "--json", db=drifted, env=host_env(
        drifted, XENVIF_TAGGER_XAPI=pool.server.remote)).out)
    assert alone["pairs"][0]["vm"]["name"] == "web"
    assert hosts["bad"]["output"] == alone
    assert all(host["problem"] is None and host["live"] and host["stderr"] == []
               for host in hosts.values())


def test_names_are_asked_for_once_for_all_hosts(pool, alike, drifted):
    """Two calls in one session ask for the names of all hosts' VMs, for any number of hosts."""
    for number in range(5):
        pool.add("host-%d" % number, (alike, drifted)[number % 2])
    pool.server.add_vm("web", [identity(12)["xs-vif-uuid"]])
    calls = {LOGIN: 1, "host.get_all_records": 1, "host_metrics.get_all_records": 1, CALL: 5,
             LOGOUT: 1}
    assert pool.run("check", "-q").code == 2  # -q is an option of xenvif-tagger, before `pool`
    pool.server.calls.clear()
    assert run("-q", *pool.argv("check")).out == ""
    assert pool.server.calls == calls
    pool.server.calls.clear()
    assert pool.run("check").code == 1
    assert pool.server.calls == dict(calls, **{
        "VIF.get_all_records_where": 1, "VM.get_all_records_where": 1})


def test_without_names(pool, drifted):
    pool.add("bad", drifted)
    pool.server.fault("VIF.get_all_records_where", ["INTERNAL_ERROR", "x"])
    hosts = told(pool.run("check", "--json"), 1, "no VM names: " + pool.server.remote)
    assert hosts["bad"]["output"]["pairs"][0]["vm"] is None


def test_doctor_of_a_pool(pool, alike, drifted):
    pool.add("good", alike)
    pool.add("bad", drifted)
    done = pool.run("doctor", "--json")
    hosts = told(done, json.loads(done.out)["hosts"][0]["exit"])
    text = pool.run("doctor")
    assert text.code == done.code
    assert_narrow(text)
    states = [check["state"] for check in hosts["bad"]["output"]["checks"]]
    row = text.out.splitlines()[1].split()
    assert text.out.splitlines()[0].split() == "HOST OK WARN FAIL SKIP".split()
    assert row == ["bad"] + [str(states.count(state)) for state in ("OK", "WARN", "FAIL", "SKIP")]
    below = re.findall(r"^  (\S+) +(OK|WARN|FAIL|SKIP) ", text.out, re.M)
    not_ok = [(check["name"], check["state"]) for host in ("bad", "good")
              for check in hosts[host]["output"]["checks"] if check["state"] in ("WARN", "FAIL")]
    assert below == not_ok and ("drift", "WARN") in not_ok or ("drift", "FAIL") in not_ok
    details = run("-v", *pool.argv("doctor", "--host", "bad"))
    assert len(re.findall(r"^  \S+ +SKIP ", details.out, re.M)) == states.count("SKIP") > 0


def test_doctor_exits_with_1_on_a_fail_only(pool, alike):
    check = {"name": "a", "state": "WARN", "found": "x", "cure": "do it"}
    for state, code in ("WARN", 0), ("FAIL", 1):
        answer = json.dumps({"exit": code, "stderr": [], "output": {
            "checks": [dict(check, state=state)]}})
        pool.server.plugin = lambda *_, answer=answer: answer
        pool.add("host", alike)
        done = pool.run("doctor")
        assert done.code == code, done
        assert "-> do it" in done.out


def test_versions(pool, alike):
    pool.add("one", alike)
    other = pool.add("two", alike)
    done = pool.run("version")
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()[:3]] == [
        ["HOST", "VERSION"], ["one", __version__], ["two", __version__]]
    assert "same version" in done.out
    assert json.loads(pool.run("version", "--json").out)["differ"] is False

    def plugin(host, *call):
        if host == other:
            return json.dumps({"exit": 0, "stderr": [], "output": {"version": "99.0"}})
        return pool.server._run_plugin(host, *call)

    pool.server.plugin = plugin
    done = pool.run("version")
    assert "differ: %s on 1, 99.0 on 1" % __version__ in done.out and done.code == 0
    assert json.loads(pool.run("version", "--json").out)["differ"] is True


# ---- a pool -------------------------------------------------------------------------------------


def sixty_four(pool, *databases):
    """Add 64 hosts, of which two are down; returns their refs."""
    return [pool.add("host-%02d" % number, databases[number % len(databases)],
                     live=number not in (7, 23))
            for number in range(64)]


def test_64_hosts(pool, alike, drifted):
    """Two hosts are down, and one hangs: the command gives the answers of the 61 others."""
    refs = sixty_four(pool, alike, drifted)
    # Here the time counts, so the server remembers the answers; the next test runs the plugin for
    # each host.
    pool.server.remember = True
    pool.run("check", "--host", "host-00", "--host", "host-01", "--timeout", "1000")
    pool.server.fault(CALL, "hang", host=refs[41])
    done = pool.run("check", "--json", "--timeout", "20")
    hosts = told(done, 1, "host-07: down", "host-23: down", "host-41: no answer within 20 s")
    assert json.loads(done.out)["answered"] == 61
    assert [name for name, host in sorted(hosts.items()) if host["problem"]] == [
        "host-07", "host-23", "host-41"]
    for number in set(range(64)) - {7, 23, 41}:
        host = hosts["host-%02d" % number]
        assert host["exit"] == number % 2
        assert [pair["state"] for pair in host["output"]["pairs"]] == [
            ("in-sync", "drift")[number % 2]]


def test_64_hosts_and_a_plugin_run_on_each(pool, alike, drifted):
    sixty_four(pool, alike, drifted)
    done = pool.run("check", "--timeout", "1000")
    assert done.code == 1
    assert_lines(done, "host-07: down", "host-23: down")
    assert_narrow(done)
    rows = re.findall(r"^host-(\d\d): 1 VIF: .*\n  .* (in-sync|drift)$", done.out, re.M)
    assert rows == [("%02d" % number, ("in-sync", "drift")[number % 2]) for number in range(64)
                    if number not in (7, 23)]
    assert "\n62 VIFs: 30 drift, 32 in-sync\n" in done.out
    assert "62 of 64 hosts answered" in done.out
    assert pool.server.calls[CALL] == 62


def test_long_names_in_80_columns(pool, ovs):
    ovs.add_bridge("a-bridge-with-a-long-name")
    ovs.add_many_ports("a-bridge-with-a-long-name", [
        {"name": "vif32751.6" + more, "external_ids": identity(32751, 6), "tag": 4000,
         "vlan_mode": "native-tagged", "trunks": [1, 2, 3]} for more in ("", "-emu")])
    pool.add("a-host-whose-name-is-long.example.com", ovs)
    pool.add("a-host-whose-name-is-as-long.example.com", ovs)
    pool.server.add_vm("a VM whose name is long", [identity(32751, 6)["xs-vif-uuid"]])
    for function in ("check", "version", "doctor"):
        done = pool.run(function)
        for word in ("", "as-"):  # the output must tell the two hosts apart
            assert "a-host-whose-name-is-%slong.example.com" % word in done.out
        assert_narrow(done)
