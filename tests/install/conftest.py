"""The bundle, and made-up dom0s on which the tests run dom0-install.sh."""

import pytest

from support.install_host import (
    LIBXL,
    Host,
    make_bundle,
    remove_xenopsd,
    write,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The path of the bundle. It is made once, so that all tests of a file install the same
    release, even if somebody edits the checkout meanwhile."""
    path = str(tmp_path_factory.mktemp("bundle") / "bundle")
    make_bundle(path)
    return path


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
def libxl(host):
    remove_xenopsd(host.at)
    write(host.at(LIBXL), "#!/bin/bash\n", 0o755)
    host.keys = host.store({})
    return host.start()
