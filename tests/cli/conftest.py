"""Databases on which the tests run the command."""

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
    """A function ``start(schema)`` that returns a private Open vSwitch of this schema, with one
    bridge; the fixture stops it."""
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
