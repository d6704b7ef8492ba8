"""A host that is set up right until a test changes it, its watcher and its Open vSwitch."""
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
    """The run directory of a watcher that reports no problem."""
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
