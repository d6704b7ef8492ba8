"""The demo shows the bug and the cure, on real and on dummy devices, and leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid

import pytest

from support.constants import ROOT

DEVICES = {"vif12.0", "tap12.0", "peer5", "peer6", "other6", "xapi0"}
# Commands under which a process can make no network namespace. The first command takes root's
# capabilities away. The second command makes a user namespace in which the kernel's limit of
# network namespaces is 0, also for the namespace's descendants.
NO_NAMESPACES = (
    ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"],
    ["unshare", "--user", "--map-root-user", "sh", "-c",
     'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"', "sh"],
)


def allowed(*command):
    return subprocess.call(command + ("true",), stderr=subprocess.DEVNULL) == 0


class Demo:
    """A running demo. A variable in the environment marks all of its processes."""

    def __init__(self, root=ROOT, prefix=()):
        self.marker = "XENVIF_DEMO_TEST=" + uuid.uuid4().hex
        self.directory = tempfile.mkdtemp(prefix="t-", dir="/tmp")  # short, for unix sockets
        name, value = self.marker.split("=")
        self.process = subprocess.Popen(
            list(prefix) + [sys.executable, os.path.join(root, "demo", "demo.py")],
            env=dict(os.environ, TMPDIR=self.directory, **{name: value}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        self._limit = threading.Timer(120, self.process.kill)
        self._limit.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._limit.cancel()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def read_to(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return
        pytest.fail("no line %r: %s" % (start, self.process.stderr.read()))

    def end(self):
        """Wait until the demo ends, and check that it leaves no process, file or device; returns
        (exit status, stdout, stderr)."""
        if self.process.stdout.closed:
            output, errors = "", self.process.stderr.read()
        else:
            output, errors = self.process.communicate()
        status = self.process.wait()
        assert self.processes() == []
        assert os.listdir(self.directory) == []
        assert not DEVICES.intersection(os.listdir("/sys/class/net"))
        return status, output, errors

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as stream:
                    if self.marker.encode() in stream.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:  # the process has ended meanwhile, or is another user's
                pass
        return found


def figures(output):
    """The rows of the demo's last table: {row: (before, after)}."""
    rows = re.findall(r"^   (\S.*?), of \d+ +(\d+) +(\d+)$", output, re.M)
    rows += re.findall(r"^   (\S.* at the guest) +(\d+) +(\d+)$", output, re.M)
    return {name: (int(before), int(after)) for name, before, after in rows}


AS_TOLD = {
    "pings answered": (0, 5),
    "VLAN 6 frames that passed": (20, 20),
    "VLAN 6 frames at the guest": (20, 0),
}


def test_the_demo_shows_the_bug_and_the_cure():
    with Demo() as demo:
        status, output, errors = demo.end()
    assert status == 0, output + errors
    assert figures(output) == AS_TOLD
    assert output.count("0 of 5 pings answered") == output.count("5 of 5 pings answered") == 1
    assert "20 of 20 came to the guest (802.1Q VLAN 6)" in output
    assert "FAILED" not in output
    if os.geteuid() == 0 and allowed("unshare", "--net") and os.path.exists("/dev/net/tun"):
        assert "real frames" in output
    assert max(map(len, output.splitlines())) <= 80


def test_the_demo_uses_dummy_devices_without_namespaces():
    prefix = next(way for way in NO_NAMESPACES if allowed(*way))
    assert not allowed(*(prefix + ["unshare", "--net"]))
    with Demo(prefix=prefix) as demo:
        status, output, errors = demo.end()
    assert status == 0, output + errors
    first, rest = output.split("\n", 1)
    assert re.match(r"No namespaces \(unshare: .+\); OVS's dummy devices instead\.$", first)
    assert "real frames" not in rest
    assert figures(output) == AS_TOLD


def test_the_demo_fails_if_the_cure_does_not_cure(tmp_path):
    """With a tagger that does nothing the demo fails: the demo measures its figures, and does not
    invent the figures."""
    root = str(tmp_path)
    shutil.copytree(os.path.join(ROOT, "demo"), os.path.join(root, "demo"))
    for package in ("tests", "xenvif_tagger"):
        os.mkdir(os.path.join(root, package))
    shutil.copytree(os.path.join(ROOT, "tests", "support"), os.path.join(root, "tests", "support"))
    for name in ("__init__.py", "__main__.py"):
        open(os.path.join(root, "xenvif_tagger", name), "w").close()
    with Demo(root) as demo:
        status, output, errors = demo.end()
    assert status == 1, output + errors
    assert figures(output) == dict(
        AS_TOLD, **{"pings answered": (0, 0), "VLAN 6 frames at the guest": (20, 20)}
    )
    assert "FAILED: after: 0 of 5 pings answered\n" in output
    assert "FAILED: after: 20 of 20 came to the guest (802.1Q VLAN 6)\n" in output


@pytest.mark.parametrize(
    "number, line",
    [
        (signal.SIGINT, "1."),
        (signal.SIGTERM, "3."),
        (signal.SIGINT, "5."),
        (signal.SIGHUP, "6."),
    ],
)
def test_an_interrupted_demo_leaves_nothing(number, line):
    with Demo() as demo:
        demo.read_to(line)
        assert len(demo.processes()) >= 4  # parent, child, ovsdb-server, ovs-vswitchd
        assert os.listdir(demo.directory)
        assert not DEVICES.intersection(os.listdir("/sys/class/net"))
        demo.process.send_signal(number)
        status, _, errors = demo.end()
    assert status == -number
    assert errors == "demo: stopped; nothing of it is left\n"


def test_a_demo_with_closed_output_leaves_nothing():
    with Demo() as demo:
        demo.read_to("2.")
        demo.process.stdout.close()
        status, _, errors = demo.end()
    assert (status, errors) == (128 + signal.SIGPIPE, "")
