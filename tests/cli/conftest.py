"""What the tests of the command are run on."""

import pytest

from support.private_ovs import (
    PrivateOvs,
)
from support.zoo import (
    add_zoo,
)


@pytest.fixture
def zoo(host):
    add_zoo(host)
    return host


@pytest.fixture
def with_schema():
    """with_schema(schema): a private Open vSwitch of that schema, with a bridge."""
    started = []

    def start(schema):
        ovs = PrivateOvs(schema)
        started.append(ovs)
        ovs.start()
        ovs.add_bridge("xenbr0")
        return ovs

    yield start
    for ovs in started:
        ovs.stop()
