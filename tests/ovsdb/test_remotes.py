"""The address to which a remote leads the client of OVSDB, and the client's error for a remote that
leads to no server."""
import os
import socket

import pytest

from support.client import ovs_port_for_tcp, problem_of
from support.constants import LONG
from xenvif_tagger.ovsdb.client import BadRemote, Client, Unreachable, _addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "[127.0.0.1]", "localhost"])
def test_tcp_to_a_real_server(ovs, host):
    port = ovs_port_for_tcp(ovs)
    with Client("tcp:%s:%d" % (host, port), LONG) as client:
        assert client.transact([]) == []


@pytest.mark.parametrize(
    "remote, address",
    [
        ("tcp:127.0.0.1", ("127.0.0.1", 6640)),
        ("tcp:127.0.0.1:99", ("127.0.0.1", 99)),
        ("tcp:[::1]", ("::1", 6640)),
        ("tcp:[fe80::1]:99", ("fe80::1", 99)),
        ("unix:/a:b", "/a:b"),
    ],
)
def test_the_address_of_a_remote(remote, address):
    found = _addresses(remote)[0][1]
    assert found[: len(address)] == address


def test_tcp_where_nothing_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # the socket does not listen
        remote = "tcp:127.0.0.1:%d" % unused.getsockname()[1]
        error, text = problem_of(Client, remote, LONG)
    assert type(error) is Unreachable
    assert text.startswith(remote + ": nothing listens there")


def test_a_host_name_that_does_not_exist():
    error, text = problem_of(Client, "tcp:no such host:6640", LONG)
    assert type(error) is Unreachable
    assert "can't resolve the host name" in text


@pytest.mark.parametrize(
    "remote",
    [
        "", "unix", "unix:", "tcp", "tcp:", "tcp::6640", "tcp:host:", "tcp:host:x", "tcp:host:-1",
        "tcp:host:65536", "tcp:host:²", "tcp:::1", "tcp:::1:6640", "tcp:[::1", "tcp:[]", "tcp:h:0",
        "ptcp:6640", "/run/db.sock", "punix:/run/db.sock", "db:a,b,c",
    ],
)
def test_the_error_for_a_bad_remote_names_the_remote_and_the_right_forms(remote):
    error, text = problem_of(Client, remote, LONG)
    assert type(error) is BadRemote
    assert text.startswith(remote or "''")
    assert "unix:PATH, tcp:HOST" in text


def test_ssl_is_refused_with_the_cure():
    error, text = problem_of(Client, "ssl:127.0.0.1:6640", LONG)
    assert type(error) is BadRemote
    assert text.startswith("ssl:127.0.0.1:6640: ")
    assert "unix: and tcp: only" in text


def test_no_socket(tmp_path):
    error, text = problem_of(Client, "unix:%s/none" % tmp_path, LONG)
    assert type(error) is Unreachable
    assert text == "unix:%s/none: no such socket: is ovsdb-server running?" % tmp_path


def test_a_socket_that_its_server_left_behind(ovs):
    ovs.stop_server(kill=True)
    error, text = problem_of(Client, ovs.remote, LONG)
    assert type(error) is Unreachable
    assert "nothing listens there: is ovsdb-server running" in text


def test_a_directory_or_a_file_in_place_of_the_socket(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (str(tmp_path), str(tmp_path / "file")):
        error, text = problem_of(Client, "unix:" + path, LONG)
        assert type(error) is Unreachable
        assert text.startswith("unix:%s: nothing listens there" % path)


def test_a_path_through_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    error, text = problem_of(Client, "unix:%s/file/x" % tmp_path, LONG)
    assert type(error) is Unreachable
    assert "Not a directory" in text


def test_a_path_too_long_for_a_unix_socket():
    error, text = problem_of(Client, "unix:/" + 108 * "x", LONG)
    assert type(error) is Unreachable
    assert "path too long" in text and "107 bytes" in text


def test_a_name_with_a_line_break_is_still_one_line():
    error, _ = problem_of(Client, "unix:/no\nsuch", LONG)
    assert type(error) is Unreachable


if os.geteuid() != 0:  # root needs no permission

    def test_a_socket_without_permission(ovs):
        os.chmod(ovs.socket_path, 0)
        error, text = problem_of(Client, ovs.remote, LONG)
        assert type(error) is Unreachable
        assert "permission denied: run as root" in text
