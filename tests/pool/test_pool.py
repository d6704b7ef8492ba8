"""The pool: the plugin of XAPI as XAPI runs it, and the commands that ask all hosts by it.

Each simulated host has a private database; its plugin is the real one, in processes of its own.
"""
import contextlib
import copy
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import types
import uuid

import pytest

from support.command import assert_error, environment, run
from support.constants import LONG
from support.plugin import PLUGIN, assert_failure, call, host_env, result
from support.private_ovs import PrivateOvs
from support.xapi_server import PASSWORD, PLUGIN_PATH, XapiServer, failure, run_plugin
from support.zoo import add_pair, identity, tag
from xenvif_tagger import __version__
from xenvif_tagger.pool import hosts as pool_module
from xenvif_tagger.pool import report as pool_report

LOGIN, LOGOUT, CALL = "session.login_with_password", "session.logout", "host.call_plugin"
SOON = 3  # seconds: the time of what is made to hang


@pytest.fixture
def host(ovs):
    """A host with one pair in drift (12.0) and one that is in sync (13.0)."""
    ovs.add_bridge("xenbr0")
    add_pair(ovs, 12)
    add_pair(ovs, 13, vif={"tag": 7}, tap={"tag": 7})
    return ovs


# ---- the plugin ---------------------------------------------------------------------------------


def test_xapi_can_run_it():
    """By its name in XAPI's directory, a link; and nothing but an answer comes from it."""
    assert os.access(PLUGIN, os.X_OK)
    with open(PLUGIN) as stream:
        assert stream.readline() == "#!/usr/bin/python3 -I\n"


def test_by_a_link(host, tmp_path):
    path = str(tmp_path / "xenvif-tagger")
    os.symlink(PLUGIN, path)
    assert result(call(host, "version", path=path))["output"] == {"version": __version__}


@pytest.mark.parametrize("function, code", [("status", 0), ("check", 1)])
def test_what_the_command_says(host, function, code):
    told = result(call(host, function, names="false"))
    alone = run(function, "--json", db=host, env=host_env(host))
    assert told == {"exit": code, "stderr": [], "output": json.loads(alone.out)}
    assert alone.code == code
    assert len(told["output"]["pairs"]) == 2


def test_one_domain(host):
    pairs = result(call(host, "status", domid="13"))["output"]["pairs"]
    assert [pair["domid"] for pair in pairs] == [13]


def test_doctor(host):
    told = result(call(host, "doctor"))
    checks = told["output"]["checks"]
    assert told["exit"] == any(check["state"] == "FAIL" for check in checks)
    assert checks[1]["name"] == "ovsdb" and checks[1]["state"] != "FAIL", checks[1]


def test_mirror(host):
    told = result(call(host, "mirror", what="port", target="vif12.0", dry_run="true"))
    assert [pair["state"] for pair in told["output"]["pairs"]] == ["drift"]
    assert tag(host, "tap12.0") is None
    told = result(call(host, "mirror", what="dom", target="12", dry_run="false"))
    assert [pair["state"] for pair in told["output"]["pairs"]] == ["mirrored"]
    assert tag(host, "tap12.0") == 5


def test_mirror_all(host):
    assert len(result(call(host, "mirror", what="all"))["output"]["pairs"]) == 2
    assert tag(host, "tap12.0") == 5


def test_mirror_from(host):
    add_pair(host, 14, vif={"tag": 8}, tap={"tag": 9})
    told = result(call(host, "mirror", what="port", target="vif14.0"))
    assert (told["exit"], told["output"]["pairs"][0]["state"]) == (1, "conflict")
    told = result(call(host, "mirror", **{"what": "port", "target": "vif14.0", "from": "tap"}))
    assert (told["exit"], tag(host, "vif14.0")) == (0, 9)


def test_mirror_vm(host, xapi):
    """A name is any text, whatever the locale; and one that looks like an option is a name."""
    for name in ("Bücher & <Ж>", "--from=vif"):
        xapi.add_vm(name, [identity(12)["xs-vif-uuid"]])
        told = result(call(host, "mirror", what="vm", target=name, dry_run="true",
                           env={"XENVIF_TAGGER_XAPI": xapi.remote}))
        assert [pair["vm"]["name"] for pair in told["output"]["pairs"]] == [name]
        xapi.tables["VM"].clear()
        xapi.tables["VIF"].clear()
    text = assert_failure(call(host, "mirror", what="vm", target="Ж",
                               env={"XENVIF_TAGGER_XAPI": xapi.remote}), "XENVIF_TAGGER_USAGE")
    assert text.startswith("Ж: XAPI knows no VM")


def test_names_are_looked_up_unless_told_not_to(host, xapi):
    xapi.add_vm("web", [identity(12)["xs-vif-uuid"]])
    for names, found in ({"names": "false"}, None), ({}, "web"), ({"names": "true"}, "web"):
        asked = xapi.logins
        told = result(call(host, "status", env={"XENVIF_TAGGER_XAPI": xapi.remote}, **names))
        vm = told["output"]["pairs"][0]["vm"]
        assert (vm and vm["name"]) == found
        assert (xapi.logins - asked, told["stderr"]) == (found is not None, [])


def test_a_warning_is_handed_on(host, tmp_path):
    told = result(call(host, "status", env={"XENVIF_TAGGER_XAPI": "unix:%s/x" % tmp_path}))
    (line,) = told["stderr"]
    assert line.startswith("no VM names: unix:") and len(told["output"]["pairs"]) == 2


def test_10000_ports(ovs):
    ovs.add_bridge("xenbr0")
    ovs.add_many_ports("xenbr0", [
        {"name": "%s%d.0" % (side, domid), "external_ids": identity(domid), "tag": 5}
        for domid in range(5000) for side in ("vif", "tap")])
    answer = call(ovs, "status", names="false")
    assert len(result(answer)["output"]["pairs"]) == 5000
    assert " " not in answer["Value"][:300] and "\n" not in answer["Value"]


@pytest.mark.parametrize("function, arguments, words", [
    ("status", {"doimd": "1"}, ["doimd", "domid, names, timeout"]),
    ("doctor", {"names": "false"}, ["names", "timeout"]),
    ("status", {"names": "no"}, ["names", '"no"', "true, false"]),
    ("status", {"domid": "x"}, ["'x' is not a domain id"]),
    ("status", {"domid": "99"}, ["domain 99"]),
    ("status", {"domid": "--json"}, ["'--json' is not a domain id"]),
    ("check", {"timeout": "0"}, ["timeout", '"0"']), ("check", {"timeout": "x"}, ["timeout"]),
    ("check", {"timeout": "nan"}, ["timeout"]), ("check", {"timeout": "inf"}, ["timeout"]),
    ("mirror", {}, ["what: missing", "dom, port, vm, all"]),
    ("mirror", {"what": "--help"}, ['"--help"', "dom, port, vm, all"]),
    ("mirror", {"what": "port"}, ["target: missing", "port"]),
    ("mirror", {"what": "port", "target": ""}, ["target: missing"]),
    ("mirror", {"what": "all", "target": "vif12.0"}, ["target", "all"]),
    ("mirror", {"what": "port", "target": "--dry-run"}, ["--dry-run: not the name"]),
    ("mirror", {"what": "port", "target": "vif12.0; id"}, ["vif12.0; id: not the name"]),
    ("mirror", {"what": "port", "target": "vif99.0"}, ["vif99.0: no such port"]),
    ("mirror", {"what": "all", "from": "both"}, ["from", '"both"', "vif, tap"]),
    ("mirror", {"what": "all", "dry_run": "yes"}, ["dry_run", '"yes"']),
    ("mirror", {"what": "all", "wait": "1"}, ["wait"]),
])
def test_bad_arguments(host, function, arguments, words):
    assert_failure(call(host, function, **arguments), "XENVIF_TAGGER_USAGE", *words)
    assert tag(host, "tap12.0") is None


@pytest.mark.parametrize("function", ["", "watch", "--help", "Status"])
def test_an_unknown_function(host, function):
    assert call(host, function) == failure("UNKNOWN_XENAPI_PLUGIN_FUNCTION", function)


def test_an_argument_too_long_for_a_command(host):
    """Linux takes none of more than 128 KiB: XAPI can't hand on the call, or we can't."""
    call = PLUGIN, "mirror", {"what": "port", "target": 50000 * "&"}  # five letters each, in XML
    with pytest.raises(OSError):
        run_plugin(*call)


def test_no_database(host):
    host.stop_server()
    assert_failure(call(host, "check"), "XENVIF_TAGGER_UNREACHABLE", host.socket_path)


def test_a_database_that_hangs(host):
    host.pause()
    assert_failure(call(host, "check", env={"XENVIF_TAGGER_TIMEOUT": "0.2"}),
                   "XENVIF_TAGGER_UNREACHABLE", "0.2 s")


def processes_with(text):
    """The pids of those that have a text in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/environ" % pid, "rb") as stream:
            if text.encode() in stream.read():
                found.append(pid)
    return found


def gone(text):
    until = time.monotonic() + LONG
    while processes_with(text):
        assert time.monotonic() < until, "still there"
        time.sleep(0.02)
    return True


def test_a_command_that_hangs(host):
    """XAPI would wait for ever; and nobody would know what still runs."""
    host.pause()
    mark = "MARK=%s" % uuid.uuid4()
    assert_failure(call(host, "check", timeout="1", env={
        "XENVIF_TAGGER_TIMEOUT": "1000", "MARK": mark[5:]}), "XENVIF_TAGGER_TIMEOUT", "within 1 s")
    assert gone(mark)


def test_a_command_that_is_ended_may_log_out(host, tmp_path):
    """As ours does, which XAPI would otherwise keep a session of."""
    plugin = tmp_path / "xapi-plugin"
    plugin.write_bytes(open(PLUGIN, "rb").read())
    told = tmp_path / "logged out"
    (tmp_path / "xenvif-tagger").write_text(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.mkdir(%r), os._exit(0)))\n"
        "signal.pause()\n" % str(told))
    assert_failure(call(host, "check", path=str(plugin), timeout="4"), "XENVIF_TAGGER_TIMEOUT")
    assert told.exists()


@pytest.mark.parametrize("code, function, words", [
    # Where the command itself is broken: what stands in its place on the host.
    ("print('noise')", "status", ["exit status 0", "no answer"]),
    ("pass", "version", ["exit status 0", "no answer"]),
    ("import no_such_module", "check", ["No module named 'no_such_module'"]),
    ("import os; os.write(2, b'\\xff\\x1b[2J\\n'); os.write(1, b'\\xff'); exit(7)", "doctor",
     ["\ufffd?[2J"]),
    ("import os; os.kill(os.getpid(), 9)", "check", ["exit status -9"]),
])
def test_a_broken_command(host, tmp_path, code, function, words):
    plugin = tmp_path / "xapi-plugin"
    with open(PLUGIN) as stream:
        plugin.write_text(stream.read())
    (tmp_path / "xenvif-tagger").write_text(code)
    assert_failure(call(host, function, path=str(plugin)), "XENVIF_TAGGER_FAILED", *words)


def test_without_the_command(host, tmp_path):
    plugin = tmp_path / "xapi-plugin"
    with open(PLUGIN) as stream:
        plugin.write_text(stream.read())
    assert_failure(call(host, "check", path=str(plugin)), "XENVIF_TAGGER_FAILED",
                   str(tmp_path / "xenvif-tagger"))


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_run_by_hand(arguments):
    """Nothing that XAPI could take for an answer, and what to do instead."""
    done = subprocess.run([sys.executable, "-I", PLUGIN] + arguments, env={"PATH": PLUGIN_PATH},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"xe host-call-plugin" in done.stderr and done.stderr.count(b"\n") == 1


# ---- the commands -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A host's /etc/xapi.d/plugins."""
    path = tmp_path_factory.mktemp("plugins")
    os.symlink(PLUGIN, str(path / "xenvif-tagger"))
    return str(path)


@pytest.fixture(scope="module")
def alike():
    """The database of a host on which all is alike."""
    with PrivateOvs() as ovs:
        ovs.add_bridge("xenbr0")
        add_pair(ovs, 13, vif={"tag": 7}, tap={"tag": 7})
        yield ovs


@pytest.fixture(scope="module")
def drifted():
    """The database of a host with a pair in drift (12.0)."""
    with PrivateOvs() as ovs:
        ovs.add_bridge("xenbr0")
        add_pair(ovs, 12)
        yield ovs


class Pool:
    """A pool of hosts with plugins: the server, and the command at it."""

    def __init__(self, server, plugins):
        self.server = server
        self.server.tables["host"].clear()
        self.plugins = plugins

    def add(self, name, ovs, **how):
        """A host's ref; ovs: its database."""
        return self.server.add_host(name, **dict(
            {"plugins": self.plugins, "env": host_env(ovs)}, **how))

    def uuid(self, ref):
        return self.server.tables["host"][ref]["uuid"]

    def argv(self, *args):
        return ("--xapi", self.server.remote, "pool") + args

    def run(self, *args, **how):
        return run(*self.argv(*args), **how)


@pytest.fixture
def pool(xapi, plugins):
    return Pool(xapi, plugins)


def told(result, code, *lines):
    """The hosts of a JSON answer, by name. lines: how those on standard error begin."""
    assert result.code == code, result
    assert_lines(result, *lines)
    hosts = json.loads(result.out)["hosts"]
    return {host["host"]["name"]: host for host in hosts}


def assert_lines(result, *lines):
    found = result.err.splitlines()
    assert "Traceback" not in result.err and len(found) == len(lines), result
    for line, begins in zip(found, lines):
        assert line.startswith("xenvif-tagger: " + begins), result


def assert_narrow(result, size=80):
    for line in result.out.splitlines():
        if "-> " not in line:  # a command is never wrapped
            assert len(line) <= size, result


@pytest.mark.parametrize("function, code", [("status", 0), ("check", 1)])
def test_one_table(pool, alike, drifted, function, code):
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


def test_one_json(pool, alike, drifted):
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


def test_names_are_asked_for_once(pool, alike, drifted):
    """By two calls in one session, whatever the number of hosts."""
    for number in range(5):
        pool.add("host-%d" % number, (alike, drifted)[number % 2])
    pool.server.add_vm("web", [identity(12)["xs-vif-uuid"]])
    calls = {LOGIN: 1, "host.get_all_records": 1, "host_metrics.get_all_records": 1, CALL: 5,
             LOGOUT: 1}
    assert pool.run("check", "-q").code == 2  # an option of the group
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


# ---- hosts that don't answer --------------------------------------------------------------------

SILENT = {
    "down": ({"live": False}, None, "two: down"),
    "no plugin": ({"plugins": None}, None,
                  "two: it has no plugin xenvif-tagger: run dom0-install.sh"),
    "offline": ({}, ["HOST_OFFLINE", "x"], "two: down: XAPI can't reach it (HOST_OFFLINE)"),
    "cut off": ({}, ["CANNOT_CONTACT_HOST", "x"], "two: down: XAPI can't reach it"),
    "refused": ({}, ["RBAC_PERMISSION_DENIED", "a\nb"], "two: unix:"),
    "hang": ({}, "hang", "two: no answer within 3 s: does it hang?"),
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
    # Only what hangs is to be short of time.
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
    """What is under way goes with it, and no thread logs in anew."""
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
def test_a_host_has_time_to_say_that_its_command_hangs(pool, alike, function, more):
    """The plugin ends it before nobody listens any more."""
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
GOOD = {"check": {"pairs": [PAIR], "watcher": None}, "doctor": {"checks": [CHECK]},
        "version": {"version": "1"}}


def odd_answers(function):
    """Answers that are as they should be but for one value."""
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
            # A number that is one in JSON, and none in Python.
            yield json.dumps(whole).replace("Infinity", "1e999")
            container[key] = before


@pytest.mark.parametrize("function", sorted(GOOD))
def test_what_one_host_answers_costs_no_other_its_answer(function):
    """Each value of an answer may be of any type: it is understood, or that host has none."""
    told = sorted(set(odd_answers(function)))
    session = types.SimpleNamespace(call=lambda _, ref, *args: told[int(ref)])
    session.beside = contextlib.contextmanager(lambda _: iter([session]))
    for number in range(len(told)):
        host = pool_module.Host(str(number), "uuid", "name", True, "name")
        answer = pool_module._ask(session, host, function, 1)
        assert answer.problem is None or "can't be understood" in answer.problem
        if answer.problem is None and function == "check":
            pool_module.name_vms([answer], lambda uuids: {})
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


def test_a_host_that_answers_nonsense_among_others(pool, alike):
    good = pool.add("one", alike)
    pool.add("two", alike)
    pool.server.plugin = lambda host, *_: json.dumps({
        "exit": 0, "stderr": [], "output": {
            "pairs": [dict(PAIR, state="in-sync" if host == good else 5)], "watcher": None}})
    done = pool.run("check")
    assert done.code == 0 and "1 of 2 hosts answered" in done.out, done
    assert_lines(done, "two: its answer can't be understood (TypeError: text expected")


def test_what_a_host_says_beside_its_answer(pool, alike):
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
    assert_lines(done, "one: down", "two: it has no plugin", "no host has answered, of 2")
    assert "0 of 2 hosts answered" in done.out


def test_a_host_that_is_down_is_not_called(pool, alike):
    pool.add("one", alike, live=False)
    pool.run("check")
    assert pool.server.calls[CALL] == 0


# ---- which hosts, and XAPI ----------------------------------------------------------------------


def test_some_hosts(pool, alike):
    pool.add("one", alike)
    two = pool.add("two", alike)
    pool.add("three", alike, live=False)
    assert set(told(pool.run("version", "--json", "--host", "one"), 0)) == {"one"}
    assert set(told(pool.run("version", "--json", "--host", pool.uuid(two).upper(),
                             "--host", "one"), 0)) == {"one", "two"}
    assert pool.server.calls[CALL] == 3


def test_unknown_and_ambiguous_hosts(pool, alike):
    uuids = sorted(pool.uuid(pool.add("one", alike)) for _ in range(2))
    assert_error(pool.run("check", "--host", "x"), 2, "x: the pool has no host", "xe host-list")
    assert_error(pool.run("check", "--host", "one"), 2, "2 hosts have this name", ", ".join(uuids))
    assert pool.server.calls[CALL] == 0


@pytest.mark.parametrize("method", [LOGIN, "host.get_all_records", "host_metrics.get_all_records"])
@pytest.mark.parametrize("what, words", [
    (["HOST_IS_SLAVE", "10.0.0.1"], ["--xapi https://10.0.0.1"]), ("drop", ["dropped"]),
    ("hang", ["within 0.5 s"]), ("garbage", ["not XAPI"])], ids=str)
def test_xapi_does_not_answer(pool, alike, method, what, words):
    pool.add("one", alike)
    pool.server.fault(method, what)
    seconds = "0.5" if what == "hang" else str(LONG)
    assert_error(run("--timeout", seconds, *pool.argv("check")), 3, *words)


def test_no_xapi(tmp_path):
    assert_error(run("--xapi", "unix:%s/x" % tmp_path, "pool", "check"), 3, "no such socket")
    assert_error(run("--xapi", "none", "pool", "check"), 2, "none: not an address")


@pytest.mark.parametrize("args", [[], ["mirror"], ["check", "12"], ["check", "--timeout", "0"],
                                  ["check", "--timeout", "x"]])
def test_wrong_usage(pool, args):
    assert_error(pool.run(*args), 2)
    assert not pool.server.calls


def test_by_tls(plugins, drifted, tmp_path):
    password = tmp_path / "password"
    password.write_bytes(PASSWORD.encode())
    with XapiServer(tls=True) as server:
        pool = Pool(server, plugins)
        server.remember = True
        for number in range(8):
            hung = pool.add("host-%d" % number, drifted)
        server.add_vm("web", [identity(12)["xs-vif-uuid"]])
        args = ["--password-file", str(password)] + list(pool.argv("check", "--json"))
        hosts = told(run(*args, env={"SSL_CERT_FILE": server.ca}), 1)
        assert {host["output"]["pairs"][0]["vm"]["name"] for host in hosts.values()} == {"web"}
        assert len(hosts) == 8
        assert_error(run(*args), 3, "--no-verify")
        server.fault(CALL, "hang", host=hung)
        told(run("--no-verify", *args, "--timeout", str(SOON)), 1, "host-7: no answer within 3 s")
        assert server.sessions == set() and server.logins == 2


def test_a_host_has_its_own_time(pool, alike):
    """More than XAPI itself has."""
    pool.add("one", alike)
    answer = json.dumps({"exit": 0, "stderr": [], "output": {"version": "1"}})
    pool.server.plugin = lambda *_: pool.server.released.wait(6) or answer
    done = run("--timeout", "5", *pool.argv("version"))
    assert (done.code, done.err) == (0, ""), done


def test_a_host_of_which_xapi_has_no_opinion(pool, alike):
    pool.add("one", alike, metrics="OpaqueRef:NULL")
    pool.server.plugin = lambda *_: failure("HOST_OFFLINE", "x")
    assert_lines(pool.run("check"), "one: down: XAPI can't reach it", "no host has answered")


def test_a_host_with_any_name(pool, alike):
    pool.add("del\x7f " + 30 * "word ", alike)
    done = pool.run("check")
    assert_narrow(done)
    assert "\x7f" not in done.out and "\ndel? word" in done.out and done.code == 0


def test_hosts_that_their_names_do_not_tell_apart(pool, alike, drifted):
    refs = [pool.add("twin", alike), pool.add("twin", drifted), pool.add(" ", alike)]
    down = pool.add("twin", alike, live=False)
    labels = ["%s (%s)" % (name, pool.uuid(ref)[:8]) for name, ref in zip(
        ("twin", "twin", " "), refs)]
    for function in "check", "doctor", "version":
        done = pool.run(function)
        for label in labels:
            assert re.search("^" + re.escape(label) + "[: ]", done.out, re.M), done
        assert_lines(done, "twin (%s): down" % pool.uuid(down)[:8])


# The command, where the look-up of a name never ends, but in the main thread.
HANGING_RESOLVER = r"""
import socket, sys, threading
look_up = socket.getaddrinfo
def hanging(*args, **how):
    if threading.current_thread() is not threading.main_thread():
        threading.Event().wait()
    return look_up(*args, **how)
socket.getaddrinfo = hanging
from xenvif_tagger.cli.main import main
main()
"""


def test_a_thread_that_knows_no_time(plugins, alike, tmp_path):
    """It keeps neither the answer nor the end of the process waiting; and the session is ended."""
    password = tmp_path / "password"
    password.write_bytes(PASSWORD.encode())
    with XapiServer(tls=True) as server:
        pool = Pool(server, plugins)
        pool.add("one", alike)
        done = run(argv=[sys.executable, "-c", HANGING_RESOLVER, "--no-verify", "--password-file",
                         str(password)] + list(pool.argv("check", "--timeout", "0.5")))
        assert done.code == 3, done
        assert_lines(done, "one: no answer within 0.5 s", "no host has answered, of 1")
        assert (server.logins, server.sessions) == (1, set())


# ---- people -------------------------------------------------------------------------------------


class OnTerminal:
    """The command with standard error, or all of its output, on a terminal of 80 columns."""

    def __init__(self, argv, stdout=None):
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xenvif_tagger"] + list(argv), stdin=subprocess.DEVNULL,
            env=environment(TERM="xterm"), stdout=stdout or slave, stderr=slave,
            start_new_session=True)
        os.close(slave)
        self.seen = ""

    def read(self, until=None):
        """Read what comes until a text has come, or all."""
        while until is None or until not in self.seen:
            assert select.select([self._master], [], [], LONG)[0], self.seen
            try:
                data = os.read(self._master, 65536)
            except OSError:  # what Linux says when the last one has closed it
                data = b""
            if not data:
                assert until is None, self.seen
                return self.seen
            self.seen += data.decode()
        return self.seen

    def end(self):
        self.read()
        self.process.wait(LONG)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


def assert_cursor(terminal):
    """It is not left hidden."""
    assert terminal.seen.rfind("\x1b[?25h") >= terminal.seen.rfind("\x1b[?25l"), terminal.seen


def test_the_progress_bar(pool, alike):
    for number in range(3):
        pool.add("host-%d" % number, alike)
    with OnTerminal(pool.argv("version"), subprocess.PIPE) as terminal:
        assert terminal.end() == 0
        assert "hosts" in terminal.seen and "3/3" in terminal.seen
        out = terminal.process.stdout.read().decode()
        terminal.process.stdout.close()
        assert "3/3" not in out and "3 of 3 hosts answered" in out
    with OnTerminal(pool.argv("version")) as terminal:
        assert terminal.end() == 0
        assert terminal.seen.index("3/3") < terminal.seen.index("3 of 3 hosts answered")
        assert_cursor(terminal)
    with OnTerminal(("-q",) + pool.argv("version")) as terminal:
        assert (terminal.end(), terminal.seen) == (0, "")


@pytest.mark.parametrize("bar", [True, False])
def test_interrupted(pool, alike, bar):
    """At once, in one line, and logged out; on a terminal with its cursor."""
    pool.add("one", alike)
    two = pool.add("two", alike)
    pool.server.fault(CALL, "hang", host=two)
    argv = pool.argv("check", "--timeout", "1000")
    with OnTerminal(argv if bar else ("-q",) + argv) as terminal:
        if bar:
            terminal.read("1/2")
        else:
            until = time.monotonic() + LONG
            while pool.server.calls[CALL] < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.seen
        assert terminal.seen.endswith("xenvif-tagger: interrupted\r\n")
        assert_cursor(terminal)
    assert pool.server.sessions == set()


# ---- a pool -------------------------------------------------------------------------------------


def sixty_four(pool, *databases):
    """64 hosts, of which two are down: their refs."""
    return [pool.add("host-%02d" % number, databases[number % len(databases)],
                     live=number not in (7, 23))
            for number in range(64)]


def test_64_hosts(pool, alike, drifted):
    """2 down, and one hangs: it answers, for the 61 others."""
    refs = sixty_four(pool, alike, drifted)
    # To run 61 pairs of processes at a time is another test's: here the time counts.
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
        for word in ("", "as-"):  # which is which?
            assert "a-host-whose-name-is-%slong.example.com" % word in done.out
        assert_narrow(done)
