"""Hosts that are set up right, but for what a test changes."""
import pytest

from support.doctor_host import (
    Host,
    prepared,
    reach,
)
from support.private_ovs import PrivateOvs
from support.watching import Watching


@pytest.fixture(scope="module")
def watched():
    """The run directory of a watcher that has nothing to complain of."""
    with PrivateOvs() as ovs:
        with Watching(ovs) as watcher:
            reach(watcher, ovs.dir)
            yield ovs.dir


@pytest.fixture
def host(tmp_path, watched):
    return Host(tmp_path, watched)


@pytest.fixture
def switch():
    with PrivateOvs() as ovs:
        yield prepared(ovs)
