"""A watcher's database, with pairs in it."""
import pytest

from support.watch_proxy import Scene


@pytest.fixture
def scene(ovs):
    return Scene(ovs)
