"""A stand-in for XAPI that speaks TLS, and the file with its password."""
import pytest

from support.xapi_calls import vif_uuid
from support.xapi_server import PASSWORD, XapiServer


@pytest.fixture(scope="module")
def tls_server():
    with XapiServer(tls=True) as server:
        server.add_vm("web", [vif_uuid(12)])
        yield server


@pytest.fixture
def tls(tls_server):
    yield tls_server
    assert tls_server.sessions == set(), "the client has not logged out"


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_bytes((PASSWORD + "\nnot this\n").encode())
    return str(path)
