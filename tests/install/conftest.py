"""The made-up dom0 on which dom0-install.sh is run."""
import pytest

from support.install_host import Host, make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Made once: so that all tests install the same, whatever somebody edits meanwhile."""
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
