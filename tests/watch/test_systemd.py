"""notify() and watchdog_seconds(), as a service manager sees them."""
import gc
import os
import socket

import pytest

from xenvif_tagger.watch import systemd


class Manager(object):
    """A service manager's socket, and the datagrams that came there."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(120)

    def heard(self):
        return self._socket.recv(65536).decode("utf-8")

    def close(self):
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path, monkeypatch):
    if request.param == "file":
        address = name = str(tmp_path / "notify")
    else:
        name = "@xenvif-tagger/%s" % tmp_path
        address = "\0" + name[1:]
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    made = Manager(address)
    yield made
    made.close()


def test_notify_sends_a_datagram_to_the_manager(manager):
    assert systemd.notify("READY=1\nSTATUS=watching 5 VIFs, Zürich")
    assert systemd.notify("WATCHDOG=1")
    assert manager.heard() == "READY=1\nSTATUS=watching 5 VIFs, Zürich"
    assert manager.heard() == "WATCHDOG=1"


def test_notify_sends_text_that_is_not_utf_8(manager):
    assert systemd.notify("STATUS=\udcff")  # a byte of an argument that was not UTF-8
    assert manager.heard() == "STATUS=\\udcff"


def test_notify_does_not_wait_for_a_manager_that_does_not_read(manager):
    told = 0
    while systemd.notify("WATCHDOG=1"):  # until the manager's queue is full
        told += 1
        assert told < 100000
    assert told > 0 and manager.heard() == "WATCHDOG=1"
    assert systemd.notify("STOPPING=1")


def test_notify_without_a_manager_returns_false(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")


@pytest.mark.parametrize("path", ["", "relative", "vsock:2:1234", "/", "/nowhere/at/all", "@",
                                  "@no", "/" + "x" * 200, "@" + "x" * 200])
def test_notify_raises_no_error_for_an_odd_address(monkeypatch, tmp_path, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    assert not systemd.notify("READY=1")


def test_notify_to_a_manager_that_is_gone(manager):
    manager.close()
    assert not systemd.notify("READY=1")


def test_notify_leaves_no_socket_open(manager):
    # A file of an earlier test, closed only now, would free a number for the next file.
    gc.collect()
    before = os.listdir("/proc/self/fd")
    systemd.notify("READY=1")
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("limit, pid, seconds", [
    ("60000000", None, 30), ("1", None, 5e-7), ("60000000", "", 30), ("60000000", "us", 30),
    ("60000000", "1", None), ("60000000", "x", None), ("0", None, None), ("-5", None, None),
    ("", None, None), ("soon", None, None), (None, "us", None), (None, None, None)])
def test_watchdog_seconds(monkeypatch, limit, pid, seconds):
    for name, value in (("WATCHDOG_USEC", limit), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(os.getpid()) if value == "us" else value)
    assert systemd.watchdog_seconds() == seconds
