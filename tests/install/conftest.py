"""The bundle, and made-up dom0s on which the tests run dom0-install.sh."""

import pytest

from support.install_host import (
    DONE,
    LIBXL,
    Host,
    make_bundle,
    remove_xenopsd,
    write,
)
from support.shared import made_once


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The path of the bundle. The first worker makes the bundle, so that all tests install the same
    release, even if somebody edits the checkout meanwhile."""
    return made_once(tmp_path_factory, "bundle", make_bundle)


@pytest.fixture(scope="session")
def kept(tmp_path_factory, bundle):
    """The directory to which Host.keep() has copied a dom0 with the bundle installed."""
    def make(path):
        made = Host(path + ".host", bundle)
        try:
            assert made.start().install().code == DONE
            made.keep(path)
        finally:
            made.stop()
    return made_once(tmp_path_factory, "installed", make)


@pytest.fixture
def host(tmp_path, bundle):
    made = Host(tmp_path, bundle)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def up(host):
    return host.start()


@pytest.fixture
def installed(host, kept):
    """A started dom0 with the bundle installed."""
    return host.start(kept)


@pytest.fixture
def libxl(host):
    remove_xenopsd(host.at)
    write(host.at(LIBXL), "#!/bin/bash\n", 0o755)
    host.keys = host.store({})
    return host.start()
