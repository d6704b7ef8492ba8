"""The fixture of servers that misbehave towards the OVSDB client."""
import itertools
import tempfile

import pytest

from support.odd_server import Server


@pytest.fixture
def serve():
    # In /tmp: a unix socket's path has 107 bytes at most, and pytest's own directories are deep.
    with tempfile.TemporaryDirectory(prefix="ovsdb-", dir="/tmp") as directory:
        numbers = itertools.count()
        yield lambda talk: Server("%s/%d" % (directory, next(numbers)), talk)
