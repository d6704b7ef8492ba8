"""Each command on docs/operating.md prints what the page says.

In a block of the page, a line that begins with "# " is a command, and the lines below are the
command's output; "..." stands for anything. The host is that of support/doctor_host.py, and XAPI is
the stand-in of support/xapi_server.py; the databases and the watcher are real. Where a command
needs a dom0, the test does the command's work itself.
"""
import doctest
import os
import re
import shlex
import subprocess

import pytest

from support.constants import LONG, ROOT
from support.doctor_host import HERE, HOOK, SETTING, Host, Xapi, prepared, reach
from support.plugin import PLUGIN, host_env
from support.private_ovs import PrivateOvs
from support.watching import Watching
from support.zoo import add_pair, identity

PAGE = os.path.join(ROOT, "docs", "operating.md")
BLOCK = re.compile(r"^```\n(.*?)^```$", re.M | re.S)
GUESTS = {9: "mail-gw", 10: "wiki", 12: "shop-db", 15: "build-3", 17: "ldap-2"}


def steps(page):
    """The page's commands in their order: a list of [command, the output that the page shows]."""
    found = []
    for block in BLOCK.findall(page):
        for line in block.splitlines(True):
            if line.startswith("# "):
                found.append([line[2:].strip(), ""])
            else:
                found[-1][1] += line
    return found


class Scene(object):
    """A host after an update: xenopsd's setting is gone, the watcher is not running, and a guest
    was restarted after the update. The host's pool has three hosts, and one of them is down."""

    def __init__(self, ovs, other, xapi, base):
        self.ovs = prepared(ovs)
        plugins = base / "plugins"
        plugins.mkdir()
        os.symlink(PLUGIN, str(plugins / "xenvif-tagger"))
        xapi.tables["host"].clear()
        xapi.pool_master = xapi.add_host("xcp-01", plugins=str(plugins), env=host_env(ovs),
                                         uuid=HERE)
        xapi.add_host("xcp-03", live=False)
        other.add_bridge("xenbr0")
        add_pair(other, 4, vif={"tag": 104}, tap={"tag": 104})
        xapi.add_vm("print-1", [identity(4)["xs-vif-uuid"]], domid="4", host=xapi.add_host(
            "xcp-02", plugins=str(plugins), env=host_env(other)))
        self.host = Host(base, ovs.dir)
        self.host.options = ["--xapi", xapi.remote]
        self.host.write("/etc/xensource-inventory", "INSTALLATION_UUID='%s'\n" % HERE)
        self.watcher = None
        ovs.add_bridge("xenbr0")
        for domid, name in GUESTS.items():
            vif = identity(domid)["xs-vif-uuid"]
            xapi.add_vm(name, [vif], domid=str(domid))
            tags = [{"tag": 100 + domid}] * 2
            if name == "wiki":
                tags = [{"tag": 210}, {"tag": 211}]
            if name == "shop-db":
                tags[1] = {}
            add_pair(ovs, domid, vif=tags[0], tap=tags[1])
            if name not in ("wiki", "shop-db"):
                self.host.run(ovs, "-q", "mirror", "dom", str(domid))
        os.unlink(self.host.at(SETTING))

    def run(self, command):
        """Run a command; returns its output, standard error included."""
        words = shlex.split(command)
        if words[0] == "xenvif-tagger":
            return subprocess.run(
                self.host.command(self.ovs, *words[1:]), env=self.host.env(), timeout=LONG,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT).stdout.decode()
        if words[:3] == ["ovs-appctl", "-t", "xenvif-tagger"]:
            return self.watcher.appctl(*words[3:]) + "\n"
        if words[0] == "ovs-vsctl":
            self.ovs.vsctl(*words[1:])
            self.watcher.settle()
            return ""
        return self.instead(command)

    def instead(self, command):
        if command == "/opt/xenvif-tagger/dom0-install.sh":
            self.host.write(SETTING, "setup-vif-rules=%s\n" % HOOK)
            self.host.age(SETTING, 200)
            self.watcher = Watching(self.ovs)
            self.watcher.__enter__()
            reach(self.watcher, self.ovs.dir)
            self.watcher.settle()
            return ""
        raise AssertionError("this test can't run the page's command: %s" % command)


@pytest.fixture
def scene(tmp_path):
    with PrivateOvs() as ovs, PrivateOvs() as other, Xapi() as xapi:
        scene = Scene(ovs, other, xapi, tmp_path)
        try:
            yield scene
        finally:
            if scene.watcher:
                scene.watcher.__exit__(None, None, None)


def test_each_command_of_the_page_prints_the_pages_output(scene):
    with open(PAGE, encoding="utf-8") as stream:
        found = steps(stream.read())
    assert len(found) >= 8
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
    for command, wanted in found:
        got = scene.run(command)
        assert checker.check_output(wanted, got, flags), "# %s\n%s\ninstead of\n%s" % (
            command, got, wanted)
