"""Fixtures that several test files share."""

import pytest

from lab import Lab
from private_ovs import PrivateOvs


@pytest.fixture
def ovs():
    """An empty Open vSwitch of the test's own: only its database server."""
    with PrivateOvs() as switch:
        yield switch


@pytest.fixture
def ovs_dummy():
    """The same with an ovs-vswitchd that gives any port an ofport, without devices."""
    with PrivateOvs(vswitchd="dummy") as switch:
        yield switch


@pytest.fixture
def lab(ovs):
    """A pair of ports in `ovs`, and the one-shot driver watched at its work."""
    return Lab(ovs)
