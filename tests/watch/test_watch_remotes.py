"""`xenvif-tagger watch` over TCP and TLS, and by a relative path."""
import contextlib
import os
import re
import subprocess
import time

import pytest

from support.command import command, environment
from support.constants import ROOT
from support.private_ovs import to_map
from support.watch_proxy import assert_refused, lines_about, until
from support.watching import Watching


def test_ssl_without_keys(ovs):
    assert_refused("watch", db="ssl:127.0.0.1:6640", env={"OVS_RUNDIR": ovs.dir},
                   words=["--private-key"])


@pytest.mark.parametrize("option", ["--private-key", "--certificate", "--ca-cert"])
def test_ssl_with_a_file_that_is_no_pem_file(ovs, keys, tmp_path, option):
    """The watcher's error names the file."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    options = ssl_options(keys + "/right")
    options[options.index(option) + 1] = str(wrong)
    assert_refused("watch", *options, db="ssl:127.0.0.1:1", env={"OVS_RUNDIR": ovs.dir},
                   words=[str(wrong)])


def add_remote(ovs, *command):
    ovs.appctl("ovsdb-server", *command)
    port = until(lambda: re.findall(r"listening on port (\d+)", ovs.log()))
    return port[-1]


def test_tcp(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    port = add_remote(lab.ovs, "ovsdb-server/add-remote", "ptcp:0:127.0.0.1")
    with Watching(lab.ovs, remote="tcp:127.0.0.1:" + port) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        lab.ovs.restart_server()
        add_remote(lab.ovs, "ovsdb-server/add-remote", "ptcp:%s:127.0.0.1" % port)
        lab.set("vif", {"tag": 6})
        until(lambda: lab.units() == ({"tag": 6}, {"tag": 6}))


def openssl(directory, *args):
    subprocess.run(["openssl"] + list(args), cwd=directory, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def make_keys(directory, authority, *names):
    """Make a CA of our own, and for each name a key that the CA has signed."""
    os.makedirs(directory)
    openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            "/CN=" + authority, "-keyout", "ca.key", "-out", "ca.pem")
    for name in names:
        openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name,
                "-keyout", name + ".key", "-out", name + ".csr")
        openssl(directory, "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey",
                "ca.key", "-CAcreateserial", "-days", "2", "-out", name + ".pem")


def ssl_options(directory):
    return ["--private-key", directory + "/us.key", "--certificate", directory + "/us.pem",
            "--ca-cert", directory + "/ca.pem"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("keys"))
    make_keys(directory + "/right", "right", "server", "us")
    make_keys(directory + "/wrong", "wrong", "us")
    return directory


@pytest.fixture
def ssl_port(lab, keys):
    """The port (int) on which lab's server listens with these keys."""
    right = keys + "/right"
    lab.ovs.transact(
        {"op": "insert", "table": "SSL", "uuid-name": "s", "row": {
            "private_key": right + "/server.key", "certificate": right + "/server.pem",
            "ca_cert": right + "/ca.pem"}},
        {"op": "update", "table": "Open_vSwitch", "where": [], "row": {
            "ssl": ["named-uuid", "s"]}})
    lab.ovs.stop_server()
    with pytest.MonkeyPatch.context() as patch:
        ssl = tuple("--%s=db:Open_vSwitch,SSL,%s" % (option, option.replace("-", "_"))
                    for option in ("private-key", "certificate", "ca-cert"))
        patch.setattr("support.private_ovs.DAEMON_OPTIONS",
                      ("--pidfile", "--log-file", "-vconsole:off") + ssl)
        lab.ovs.start_server()
    return add_remote(lab.ovs, "ovsdb-server/add-remote", "pssl:0:127.0.0.1")


def test_ssl(lab, ssl_port, keys):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs, options=ssl_options(keys + "/right"),
                  remote="ssl:127.0.0.1:" + ssl_port) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        for tag in range(6, 16):
            lab.set("tap", {"tag": tag})
            until(lambda: lab.units() == (lab.unit("tap"),) * 2)
        lab.ovs.transact({"op": "update", "table": "Interface", "where": [["name", "==", "eth0"]],
                          "row": {"external_ids": to_map({"long": 300000 * "ü"})}})
        watcher.settle()


def test_ssl_with_a_certificate_of_another_authority(lab, ssl_port, keys):
    """Neither side trusts the other's certificate: the watcher logs that and waits."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs, options=ssl_options(keys + "/wrong"),
                  remote="ssl:127.0.0.1:" + ssl_port, wait=False) as watcher:
        until(lambda: lines_about(watcher, "ssl:127.0.0.1:" + ssl_port))
        time.sleep(0.5)
        assert not watcher.stats()["synced"]
        assert lab.units() == ({"tag": 5}, {})
        assert "Traceback" not in "\n".join(watcher.log())


def test_a_unix_socket_by_a_relative_path(lab):
    """On the command line a relative path begins at the working directory; the ovs library alone
    would begin at its own directory."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    env = environment(OVS_RUNDIR="/nonexistent", PYTHONPATH=ROOT)
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            command("watch", "--unixctl", lab.ovs.dir + "/c", db="unix:db.sock"), env=env,
            cwd=lab.ovs.dir, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        until(lambda: lab.units() == ({"tag": 5}, {"tag": 5}))
