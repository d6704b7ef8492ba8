"""Our XAPI plugin, run as XAPI runs it."""
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid

import pytest

from support.command import run
from support.constants import LONG
from support.plugin import PLUGIN, assert_failure, call, host_env, result
from support.xapi_server import PLUGIN_PATH, failure, run_plugin
from support.zoo import add_pair, identity, tag
from xenvif_tagger import __version__


def test_xapi_can_run_the_plugin():
    """The plugin's file is executable, and names the Python that runs it, with -I."""
    assert os.access(PLUGIN, os.X_OK)
    with open(PLUGIN) as stream:
        assert stream.readline() == "#!/usr/bin/python3 -I\n"


def test_the_plugin_called_by_a_link(host, tmp_path):
    path = str(tmp_path / "xenvif-tagger")
    os.symlink(PLUGIN, path)
    assert result(call(host, "version", path=path))["output"] == {"version": __version__}


@pytest.mark.parametrize("function, code", [("status", 0), ("check", 1)])
def test_the_plugin_returns_the_commands_output(host, function, code):
    told = result(call(host, function, names="false"))
    alone = run(function, "--json", db=host, env=host_env(host))
    assert told == {"exit": code, "stderr": [], "output": json.loads(alone.out)}
    assert alone.code == code
    assert len(told["output"]["pairs"]) == 2


def test_status_of_one_domain(host):
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
    """The target may be any text, in any locale; a target that looks like an option is a name."""
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


def test_names_are_looked_up_unless_an_argument_forbids_it(host, xapi):
    xapi.add_vm("web", [identity(12)["xs-vif-uuid"]])
    for names, found in ({"names": "false"}, None), ({}, "web"), ({"names": "true"}, "web"):
        asked = xapi.logins
        told = result(call(host, "status", env={"XENVIF_TAGGER_XAPI": xapi.remote}, **names))
        vm = told["output"]["pairs"][0]["vm"]
        assert (vm and vm["name"]) == found
        assert (xapi.logins - asked, told["stderr"]) == (found is not None, [])


def test_a_warning_of_the_command_is_in_the_answer(host, tmp_path):
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
    """Linux takes no argument of more than 128 KiB, so that such a call does not even reach the
    plugin."""
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
    """The pids of the processes that have a text in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/environ" % pid, "rb") as stream:
            if text.encode() in stream.read():
                found.append(pid)
    return found


def gone(text):
    until = time.monotonic() + LONG
    while processes_with(text):
        assert time.monotonic() < until, "a process of the plugin is still running"
        time.sleep(0.02)
    return True


def test_a_command_that_hangs(host):
    """The plugin ends a command that hangs: XAPI would wait for the plugin for ever, and nobody
    would end the command."""
    host.pause()
    mark = "MARK=%s" % uuid.uuid4()
    assert_failure(call(host, "check", timeout="1", env={
        "XENVIF_TAGGER_TIMEOUT": "1000", "MARK": mark[5:]}), "XENVIF_TAGGER_TIMEOUT", "within 1 s")
    assert gone(mark)


def test_a_command_that_is_ended_may_log_out(host, tmp_path):
    """The plugin ends the command by SIGTERM and gives the command time to log out of XAPI, because
    XAPI would keep the session."""
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
    # (the text of a broken command, the plugin's function, words of the error)
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
def test_a_plugin_run_by_hand_names_the_command(arguments):
    """A person who runs the plugin gets no output that XAPI could take for an answer, and one line
    on stderr that names the right command."""
    done = subprocess.run([sys.executable, "-I", PLUGIN] + arguments, env={"PATH": PLUGIN_PATH},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"xe host-call-plugin" in done.stderr and done.stderr.count(b"\n") == 1
