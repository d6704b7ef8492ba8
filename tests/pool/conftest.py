"""Hosts with our XAPI plugin, and pools of such hosts.

Each simulated host has a private database. The plugin is the real one, in processes of its own.
"""
import os

import pytest

from support.plugin import PLUGIN
from support.pool import Pool
from support.private_ovs import PrivateOvs
from support.zoo import add_pair


@pytest.fixture
def host(ovs):
    """The database of a host with a pair in drift (12.0) and a pair in sync (13.0)."""
    ovs.add_bridge("xenbr0")
    add_pair(ovs, 12)
    add_pair(ovs, 13, vif={"tag": 7}, tap={"tag": 7})
    return ovs


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """A directory that stands for a host's /etc/xapi.d/plugins."""
    path = tmp_path_factory.mktemp("plugins")
    os.symlink(PLUGIN, str(path / "xenvif-tagger"))
    return str(path)


@pytest.fixture(scope="module")
def alike():
    """The database of a host with a pair in sync (13.0)."""
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


@pytest.fixture
def pool(xapi, plugins):
    return Pool(xapi, plugins)
