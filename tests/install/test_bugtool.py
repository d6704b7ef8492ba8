"""The plugin for xen-bugtool, installed on the made-up dom0 (support/install_host.py).

The tests run the plugin as xen-bugtool does. xen-bugtool runs a shell for each command and keeps
the command's stdout alone; and xen-bugtool copies the files that a plugin names as they are.
"""
import glob
import os
import re
import shutil
import subprocess
from xml.dom import minidom

import ovs
import pytest

from support.constants import ROOT
from support.install_host import BUGTOOL, Host

VIF = {"xs-vif-uuid": "vif-a", "attached-mac": "00:16:3e:00:00:0a"}
RUN = os.path.join(ROOT, "hotplug", "bugtool", "run")


@pytest.fixture
def up(tmp_path, bundle, kept):
    host = Host(tmp_path, bundle)
    shutil.copytree(os.path.dirname(ovs.__file__), host.at("/usr/share/openvswitch/python/ovs"))
    try:
        host.start(kept)
        host.ovs.add_port("br0", "vif1.0", VIF, tag=5)
        yield host
    finally:
        host.stop()


def plugin(host):
    """The plugin as the host has it: (the capability's element, a list of (kind, label, text) of
    the commands and files that the plugin collects)."""
    text = host.text(BUGTOOL + ".xml")
    capability = minidom.parseString(text).documentElement
    assert capability.tagName == "capability"
    found = []
    for name in host.run("sh", "-c", "cd %s && ls *.xml" % BUGTOOL).out.split():
        collect = minidom.parseString(host.text(BUGTOOL + "/" + name)).documentElement
        assert collect.tagName == "collect"
        for node in collect.getElementsByTagName("*"):
            found.append((node.tagName, node.getAttribute("label"), "".join(
                child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE)))
    return capability, found


def report(host):
    """Run each command of the plugin: {label: its Result}."""
    return {label: host.run("sh", "-c", "exec 2>/dev/null; " + command)
            for kind, label, command in plugin(host)[1] if kind == "command"}


def test_the_plugins_commands_and_files_are_there(up):
    capability, found = plugin(up)
    assert {kind for kind, _, _ in found} == {"command", "files"}
    assert capability.getAttribute("pii") == "yes"  # a report has VMs' names and MAC addresses
    assert capability.getAttribute("checked") == "true"
    labels = [label for kind, label, _ in found if kind == "command"]
    assert len(set(labels)) == len(labels)
    assert all(label.startswith("xenvif-tagger-") for label in labels)
    for kind, _, text in found:
        if kind == "files":
            assert up.run("test", "-f", text).code == 0, text
            continue
        runner, seconds, command = text.split()[:3]
        assert runner == "/opt/xenvif-tagger/hotplug/bugtool/run"
        assert up.run("sh", "-c", 'test -x "$(command -v %s)"' % command).code == 0, command
        # bugtool/run kills a command 5 s after its time limit; that is before bugtool gives up.
        assert int(seconds) + 5 < int(capability.getAttribute("max_time"))


def test_a_report(up):
    for number, (name, text) in enumerate((
            ("daemon.log", "xenvif-tagger[7]: from the watcher"), ("user.log.1", "an older one"),
            ("user.log", "setup-vif-rules: xenvif-tagger: from the hook"),
            ("messages", "xapi: nothing to do with it"))):
        up.write("/var/log/" + name, "Nov 22 15:5%d:00 host %s\n" % (number, text))
    watcher = up.popen("xenvif-tagger", "watch")
    try:
        while not up.run("ovs-appctl", "-t", "xenvif-tagger", "version").out:
            assert watcher.poll() is None
        found = report(up)
    finally:
        watcher.kill()
        watcher.communicate()
    assert {result.code for result in found.values()} == {0}
    out = {label[len("xenvif-tagger-"):]: result.out for label, result in found.items()}
    assert re.match(r"xenvif-tagger, version \d", out["version"])
    assert re.search(r"br0 +vif1\.0 +5 ", out["status"]) and "watcher: running" in out["status"]
    assert re.search(r"(?m)^config +OK ", out["doctor"])
    assert "connected: yes\n" in out["stats"]
    assert out["log"].splitlines() == [
        "Nov 22 15:50:00 host xenvif-tagger[7]: from the watcher",
        "Nov 22 15:52:00 host setup-vif-rules: xenvif-tagger: from the hook"]
    assert {"unit", "journal"} <= set(out)


def test_a_report_without_watcher_database_and_files(up):
    """bugtool makes a report without watcher and database, and even if all our files are gone."""
    up.ovs.stop()
    found = report(up)
    assert {result.code for result in found.values()} == {0}
    for name, said in (("status", "is ovsdb-server running?\n(exit status 3)\n"),
                       ("stats", "(exit status 1)\n"), ("doctor", "(exit status 1)\n")):
        assert found["xenvif-tagger-" + name].out.endswith(said), found
    assert len(found["xenvif-tagger-stats"].out.splitlines()) > 1  # ovs-appctl says why
    commands = [text for kind, _, text in plugin(up)[1] if kind == "command"]
    up.run("rm", "-r", "/opt/xenvif-tagger")
    for command in commands:
        assert up.run("sh", "-c", "exec 2>/dev/null; " + command).out == ""


@pytest.mark.parametrize("command, said", [
    (["0.1", "sleep", "1000"], "(exit status 124)\n"),
    (["60", "sh", "-c", "echo out; echo err >&2; exit 7"], "out\nerr\n(exit status 7)\n"),
    (["60", "yes"], "y\n" * 1000000), (["60", "sh", "-c", "echo $COLUMNS"], "160\n")],
    ids=["too long", "fails", "too much", "width"])
def test_each_command_is_bounded(command, said):
    done = subprocess.run([RUN] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == said


def test_the_log_is_bounded(up):
    line = "Nov 22 15:50:00 host xenvif-tagger[7]: %s\n" % ("x" * 1000)
    for name in ("messages", "syslog", "daemon.log", "user.log"):
        for suffix in ("", ".1"):
            up.write("/var/log/" + name + suffix, "Nov 22 host xenvif-tagger: old\n" + 300 * line)
    found = report(up)["xenvif-tagger-log"].out
    assert len(found) <= 2000000 and found.count("\n") > 1900
    assert found.endswith(line) and "old" not in found


def test_the_plugins_directory_has_no_other_xml_file(up):
    """At an XML file that is no plugin, bugtool stops reading: the plugins after that file are not
    run."""
    hotplug = os.path.join(ROOT, "hotplug", "bugtool")
    assert glob.glob(hotplug + "/*.xml") == [hotplug + "/collect.xml"]
    assert plugin(up)[1]
