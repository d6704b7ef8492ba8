"""Fixtures that several test files share."""

import os
import signal
import sys

import hypothesis
import pytest

pytest.register_assert_rewrite("support", "dom0")

from support.command import stop_fork_servers
from support.lab import Lab
from support.private_ovs import PrivateOvs
from support.proxy import proxies
from support.xapi_server import XapiServer

# A program that was started by nohup or by a shell's & may ignore these signals, and then its
# children ignore them too. The programs that the tests start must not ignore them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# python3 is the Python under test, and not the shim of a version manager: a shim costs ten times as
# much as Python's own start, and fails while the manager rewrites the shim.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get(
    "PATH", os.defpath)


# On a busy machine any example may take longer than hypothesis' deadline of 200 ms. The same code
# gets the same examples in each run, so that a run fails because of a change, not of chance. With
# EXAMPLES in the environment the models and properties search with other examples each time.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize="EXAMPLES" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """Begin with the room of the longest tests: at the end each worker has only short tests left,
    and no processor waits for the last worker."""
    items.sort(key=lambda item: item.fspath.dirpath().basename != "install")


def pytest_sessionfinish():
    stop_fork_servers()


@pytest.fixture
def ovs():
    """An empty Open vSwitch of the test's own: only its database server."""
    with PrivateOvs() as switch:
        yield switch


@pytest.fixture
def host(ovs):
    """The same Open vSwitch with a bridge, xenbr0."""
    ovs.add_bridge("xenbr0")
    return ovs


@pytest.fixture
def ovs_dummy():
    """An Open vSwitch with an ovs-vswitchd that gives any port an ofport, without devices."""
    with PrivateOvs(vswitchd="dummy") as switch:
        yield switch


@pytest.fixture
def lab(ovs):
    """A pair of ports in `ovs`, and the one-shot driver. Each write of the driver is checked."""
    return Lab(ovs)


@pytest.fixture
def xapi():
    """An XAPI with one host, on a unix socket; each client must have logged out in the end."""
    with XapiServer() as server:
        yield server
        assert server.sessions == set(), "not logged out"


@pytest.fixture
def proxied(tmp_path_factory):
    """See proxy.proxies."""
    with proxies(tmp_path_factory) as start:
        yield start
