"""Hosts of a pool that don't answer, and hosts whose answer is nonsense."""
import contextlib
import copy
import json
import types

import pytest

from support.constants import LONG
from support.plugin import host_env
from support.pool import CALL, SOON, assert_lines, told
from support.xapi_server import failure
from xenvif_tagger.pool import hosts as pool_module
from xenvif_tagger.pool import report as pool_report
from xenvif_tagger.pool.answers import name_vms

SILENT = {
    "down": ({"live": False}, None, "two: down"),
    "no plugin": ({"plugins": None}, None,
                  "two: this host has no plugin xenvif-tagger: run dom0-install.sh"),
    "offline": ({}, ["HOST_OFFLINE", "x"], "two: down: XAPI can't reach this host (HOST_OFFLINE)"),
    "cut off": ({}, ["CANNOT_CONTACT_HOST", "x"], "two: down: XAPI can't reach this host"),
    "refused": ({}, ["RBAC_PERMISSION_DENIED", "a\nb"], "two: unix:"),
    "hang": ({}, "hang", "two: no answer within 3 s: does this host hang?"),
    "drip": ({}, "drip", "two: no answer within 3 s"),
    "drop": ({}, "drop", "two: unix:"), "cut": ({}, "cut", "two: unix:"),
    "garbage": ({}, "garbage", "two: unix:"), "http": ({}, "http", "two: unix:"),
    "no value": ({}, "no value", "two: unix:"),
}


@pytest.mark.parametrize("kind", sorted(SILENT))
def test_a_host_that_does_not_answer(pool, alike, kind):
    how, what, line = SILENT[kind]
    pool.add("one", alike)
    two = pool.add("two", alike, **how)
    if what:
        pool.server.fault(CALL, what, host=two)
    # Only a host that hangs gets a short time, so that every other kind fails by its own fault.
    within = SOON if what in ("hang", "drip") else LONG
    pool.server.remember = True
    pool.run("check", "--host", "one", "--timeout", "1000")
    done = pool.run("check", "--json", "--timeout", str(within))
    hosts = told(done, 0, line)
    assert (json.loads(done.out)["answered"], hosts["one"]["exit"]) == (1, 0)
    two = hosts["two"]
    assert (two["exit"], two["output"], two["stderr"]) == (None, None, None)
    assert line.startswith("two: " + two["problem"][:len(line) - 5])
    assert two["live"] == (kind != "down")
    text = pool.run("check", "--timeout", str(within))
    assert "1 of 2 hosts answered" in text.out and text.code == 0
    assert_lines(text, line)


def test_a_session_that_ends_in_the_middle(pool, alike):
    """The calls under way fail with the session, and no thread logs in again."""
    for name in ("one", "two"):
        pool.server.fault(CALL, ["SESSION_INVALID", "x"], host=pool.add(name, alike))
    done = pool.run("check")
    assert done.code == 3
    assert_lines(done, "one: unix:", "two: unix:", "no host has answered, of 2")
    assert done.err.count("(SESSION_INVALID)") == 2 and pool.server.logins == 1


def test_a_host_without_its_database(pool, alike, tmp_path):
    pool.add("one", alike)
    pool.add("two", alike, env=dict(host_env(alike), XENVIF_TAGGER_DB="unix:%s/x" % tmp_path))
    told(pool.run("check", "--json"), 0, "two: unix:%s/x" % tmp_path)


@pytest.mark.parametrize("function, more", [
    ("status", {"names": "false"}), ("check", {"names": "false"}), ("doctor", {}), ("version", {})])
def test_a_host_can_report_that_its_command_hangs(pool, alike, function, more):
    """The plugin gets less time than the pool's command waits, so that the plugin can still report
    that the host's command hangs."""
    pool.add("one", alike)
    asked = []
    pool.server.plugin = lambda _host, *call: asked.append(call) or failure(
        "XENVIF_TAGGER_TIMEOUT", "not done within 90 s")
    done = pool.run(function, "--timeout", "100")
    assert asked == [("xenvif-tagger", function, dict(more, timeout="90"))]
    assert_lines(done, "one: not done within 90 s", "no host has answered")


@pytest.mark.parametrize("answer", [
    "", "[]", "{}", "x", '{"exit": 0, "stderr": [], "output": {"pairs": [{}]}}',
    '{"exit": 0, "stderr": [], "output": null}', '{"exit": 0, "stderr": [], "output": {}}',
    '{"exit": null, "stderr": [], "output": {"pairs": [], "watcher": null}}',
    '{"exit": 0, "stderr": [], "output": {"pairs": []}}'])
@pytest.mark.parametrize("function", ["check", "doctor", "version"])
def test_an_answer_of_another_shape(pool, alike, answer, function):
    pool.add("one", alike)
    pool.server.plugin = lambda *_: answer
    done = pool.run(function)
    assert done.code == 3, done
    assert_lines(done, "one: its answer can't be understood", "no host has answered, of 1")


PAIR = {
    "domid": 12, "devid": 0, "bridge": "xenbr0", "vm": None, "tap": None, "state": "drift",
    "reason": "why", "source": None, "target": None, "changes": [],
    "vif": {"port": "vif12.0", "tag": 5, "vlan_mode": None, "trunks": [], "cvlans": [],
            "external_ids": {"xs-vif-uuid": "x"}}}
CHECK = {"name": "python", "state": "WARN", "found": "old", "cure": None}
GOOD = {"check": {"pairs": [PAIR], "watcher": None, "unpaired": [["web0", "web0-emu"]]},
        "doctor": {"checks": [CHECK]},
        "version": {"version": "1"}}


def odd_answers(function):
    """Yields answers in each of which one value is odd, and all other values are right."""
    def places(value):
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield value, key
                yield from places(value[key])

    whole = {"exit": 0, "stderr": [], "output": copy.deepcopy(GOOD[function])}
    for container, key in list(places(whole)):
        for odd in None, 5, True, float("nan"), float("inf"), "text", ["text"], [5], {"a": 1}, {}:
            before, container[key] = container[key], odd
            yield json.dumps(whole)
            # JSON allows the number 1e999, which Python reads as infinite.
            yield json.dumps(whole).replace("Infinity", "1e999")
            container[key] = before


@pytest.mark.parametrize("function", sorted(GOOD))
def test_an_odd_answer_of_one_host_does_not_cost_the_other_answers(function):
    """Any value of an answer may have any type: the command understands the answer, or reports that
    this host's answer can't be understood, and goes on."""
    told = sorted(set(odd_answers(function)))
    session = types.SimpleNamespace(call=lambda _, ref, *args: told[int(ref)])
    session.beside = contextlib.contextmanager(lambda _: iter([session]))
    for number in range(len(told)):
        host = pool_module.Host(str(number), "uuid", "name", True, "name")
        answer = pool_module._ask(session, host, function, 1)
        assert answer.problem is None or "can't be understood" in answer.problem
        if answer.problem is None and function == "check":
            name_vms([answer.output], lambda uuids: {})
        pool_report.lines([answer], function, 80, False, True)
        json.loads(pool_report.as_json([answer], function), parse_constant=pytest.fail)


@pytest.mark.parametrize("function, where", [
    ("check", "state"), ("check", "bridge"), ("check", "reason"), ("doctor", "state"),
    ("doctor", "name"), ("doctor", "found"), ("doctor", "cure"), ("version", "version")])
def test_no_host_steers_the_terminal(pool, alike, function, where):
    pool.add("one", alike)
    output = copy.deepcopy(GOOD[function])
    {"check": lambda: output["pairs"][0], "doctor": lambda: output["checks"][0],
     "version": lambda: output}[function]()[where] = "a\x1b[2J\nb"
    pool.server.plugin = lambda *_: json.dumps({"exit": 0, "stderr": [], "output": output})
    done = pool.run(function)
    assert (done.code, done.err) == (0, ""), done
    assert "\x1b" not in done.out and "\nb" not in done.out and "a?[2J" in done.out, done


def test_ports_that_a_host_cant_pair(pool, alike):
    pool.add("one", alike)
    pool.server.plugin = lambda *_: json.dumps(
        {"exit": 1, "stderr": [], "output": dict(GOOD["check"], unpaired=[["web0", "\x1b[2Jemu"]])})
    done = pool.run("check")
    assert done.code == 1 and "not paired: web0 and ?[2Jemu" in done.out, done


def test_a_host_with_a_nonsense_answer_among_others(pool, alike):
    good = pool.add("one", alike)
    pool.add("two", alike)
    pool.server.plugin = lambda host, *_: json.dumps({
        "exit": 0, "stderr": [], "output": {
            "pairs": [dict(PAIR, state="in-sync" if host == good else 5)], "watcher": None}})
    done = pool.run("check")
    assert done.code == 0 and "1 of 2 hosts answered" in done.out, done
    assert_lines(done, "two: its answer can't be understood (TypeError: text expected")


def test_a_warning_in_a_hosts_answer_is_printed(pool, alike):
    pool.add("one", alike)
    pool.server.plugin = lambda *_: json.dumps({
        "exit": 0, "stderr": ["a\x1b[2J line"], "output": {"version": "1\x1b[2J"}})
    done = pool.run("version")
    assert_lines(done, "one: a?[2J line")
    assert "\x1b" not in done.out + done.err


def test_no_host_answers(pool, alike):
    pool.add("one", alike, live=False)
    pool.add("two", alike, plugins=None)
    done = pool.run("check")
    assert done.code == 3
    assert_lines(done, "one: down", "two: this host has no plugin", "no host has answered, of 2")
    assert "0 of 2 hosts answered" in done.out


def test_a_host_that_is_down_is_not_called(pool, alike):
    pool.add("one", alike, live=False)
    pool.run("check")
    assert pool.server.calls[CALL] == 0
