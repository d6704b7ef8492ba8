"""The watcher on each version of Open vSwitch's Python library that a host may have.

.ci/setup installs those versions in the virtual environment, beside the version that pip chose.
"""
import os
import subprocess
import sys

import pytest

from support.constants import ROOT
from support.lab import Lab
from support.private_ovs import PrivateOvs, load_schema, schema_like_2_5
from support.watching import Watching

VERSIONS = ("2.17.12", "3.3.9", "4.0.0")


def library(version):
    path = os.path.join(sys.prefix, "ovs", version)
    found = subprocess.check_output(
        [sys.executable, "-c", "import ovs.version; print(ovs.version.VERSION, ovs.__file__)"],
        env=dict(os.environ, PYTHONPATH=path)).decode().split()
    assert found[0] == version and found[1].startswith(path), found
    return os.pathsep.join([path, ROOT])


@pytest.mark.parametrize("schema", [load_schema, schema_like_2_5], ids=["today", "2.5"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_watcher_mirrors_with_each_library(version, schema):
    with PrivateOvs(schema()) as ovs:
        lab = Lab(ovs)
        lab.plug("vif", {"tag": 5}, {"vm-id": "Ä€😀"})
        lab.plug("tap")
        with Watching(ovs, env={"PYTHONPATH": library(version)}) as watcher:
            watcher.settle()
            assert lab.units() == ({"tag": 5}, {"tag": 5})
            assert lab.iface("tap", "vm-id") == "Ä€😀"
            lab.set("tap", {"trunks": [6, 7], "vlan_mode": "trunk"})
            watcher.settle()
            assert lab.units()[0] == {"trunks": [6, 7], "vlan_mode": "trunk"}
            lab.unplug("tap")
            watcher.settle()
            state, = [pair["state"] for pair in watcher.status()["pairs"]
                      if (pair["domid"], pair["devid"]) == (12, 0)]
            assert state in ("single", "orphan")
            lab.plug("tap")
            watcher.settle()
            assert lab.units()[1] == {"trunks": [6, 7], "vlan_mode": "trunk"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_watcher_connects_again_with_each_library(ovs, version):
    lab = Lab(ovs)
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(ovs, env={"PYTHONPATH": library(version)}) as watcher:
        watcher.settle()
        ovs.restart_server()
        lab.set("vif", {"tag": 6})
        watcher.until(lambda: lab.units()[1] == {"tag": 6})
