"""Tests of the stand-in dom0 itself, with stock scripts only and without xenvif-tagger.

With XEN_SCRIPTS=DIRECTORY the tests use the real scripts in that directory (dom0/stock.py).
"""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from dom0 import Dom0, Dom0Error
from dom0.stock import LIBEXEC
from support.constants import LONG, ROOT

VM = "1b9df1f3-8a5a-4f5c-b096-6d5721201398"
IDS = {"xs-vm-uuid": VM, "xs-vif-uuid": "vif-a", "xs-network-uuid": "net-a",
       "attached-mac": "00:16:3e:00:00:0a"}
FRAME = bytes.fromhex("ffffffffffff00163e00000a88b5") + b"hello".ljust(50, b"\0")


@pytest.fixture
def dom0():
    with Dom0() as made:
        made.add_bridge("xenbr0")
        yield made


def add(dom0, **options):
    return dom0.add_vif(1, 0, VM, "vif-a", IDS["attached-mac"], "xenbr0", "net-a", **options)


def succeeded(result):
    assert result.returncode == 0, result
    return result


def ports(dom0):
    return sorted(row["name"] for row in dom0.ovs.rows("Port"))


def flows(dom0, bridge="xenbr0"):
    """The flows that setup-vif-rules has added to the bridge."""
    shown = dom0.run("ovs-ofctl", "--no-stats", "dump-flows", bridge, check=True).stdout
    return [line.strip() for line in shown.splitlines() if "cookie=0x1," in line]


# ---- xapi -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vif", "tap"])
def test_a_plug_makes_a_port_with_ids_and_no_vlan_and_sets_the_link_up(dom0, kind):
    vif = add(dom0)
    plug = dom0.plug_vif if kind == "vif" else dom0.plug_tap
    succeeded(plug(1, 0))
    device = kind + "1.0"
    row = dom0.ovs.port(device)
    assert (row["tag"], row["trunks"], row["vlan_mode"]) == ([], [], [])
    assert dom0.ovs.interface(device)["external_ids"] == IDS
    assert dom0.is_up(device)
    ofport = str(dom0.ovs.interface(device)["ofport"][0])
    assert dom0.xenstore.read("%s/%s-ofport" % (vif.hotplug, kind)) == ofport
    index = dom0.read_file("/sys/class/net/%s/ifindex" % device).strip()
    assert dom0.xenstore.read("%s/%s-ifindex" % (vif.hotplug, kind)) == index
    connected = "connected" if kind == "vif" else None
    assert dom0.xenstore.read(vif.backend + "/hotplug-status") == connected


def test_an_unplug_takes_the_port_and_its_keys_away(dom0):
    vif = add(dom0)
    for act in (dom0.plug_vif, dom0.plug_tap, dom0.unplug_tap):
        succeeded(act(1, 0))
    assert ports(dom0) == ["vif1.0", "xenbr0"]
    assert dom0.device_names() == ["lo", "vif1.0"]
    succeeded(dom0.unplug_vif(1, 0))
    assert ports(dom0) == ["xenbr0"]
    assert dom0.xenstore.list(vif.hotplug) == ["vif"]
    assert dom0.xenstore.read(vif.backend + "/hotplug-status") is None


def test_a_migrations_target_gets_the_vms_final_uuid(dom0):
    dom0.add_vif(2, 0, "temporary", final_uuid=VM)
    succeeded(dom0.plug_vif(2, 0))
    assert dom0.ovs.interface("vif2.0")["external_ids"]["xs-vm-uuid"] == VM


def test_a_locked_vif_has_flows(dom0):
    add(dom0, locking_mode="locked", ipv4=["192.0.2.1"], ipv6=["2001:db8::1"])
    succeeded(dom0.plug_vif(1, 0))
    made = flows(dom0)
    assert len(made) == 19
    port = "in_port=" + str(dom0.ovs.interface("vif1.0")["ofport"][0])
    by_name = "in_port=\"vif1.0\""
    assert all(port in flow or by_name in flow for flow in made)
    assert sum("192.0.2.1" in flow for flow in made) == 2
    assert sum("2001:db8::1" in flow for flow in made) == 5
    assert sum(flow.endswith("actions=drop") for flow in made) == 10
    succeeded(dom0.clear("vif1.0"))
    assert flows(dom0) == []


def test_the_locking_mode_of_a_running_guest(dom0):
    add(dom0)
    succeeded(dom0.plug_vif(1, 0))
    succeeded(dom0.plug_tap(1, 0))
    before = dom0.ovs.port("vif1.0")["_uuid"]
    for result in dom0.set_locking_mode(1, 0, "locked", ipv4=["192.0.2.1"]):
        succeeded(result)
    assert dom0.ovs.port("vif1.0")["_uuid"] != before
    assert len(flows(dom0)) == 2 * 14
    for result in dom0.set_locking_mode(1, 0, "disabled"):
        succeeded(result)
    assert ports(dom0) == ["xenbr0"]
    assert flows(dom0) == []
    assert dom0.is_up("vif1.0")
    for result in dom0.set_locking_mode(1, 0, None):
        succeeded(result)
    assert ports(dom0) == ["tap1.0", "vif1.0", "xenbr0"]


def test_a_move_takes_only_the_vif_to_the_other_bridge(dom0):
    dom0.add_bridge("xenbr1")
    add(dom0)
    succeeded(dom0.plug_vif(1, 0))
    succeeded(dom0.plug_tap(1, 0))
    succeeded(dom0.move_vif(1, 0, "xenbr1"))
    assert dom0.ovs.vsctl("list-ports", "xenbr0") == "tap1.0\n"
    assert dom0.ovs.vsctl("list-ports", "xenbr1") == "vif1.0\n"


def test_trunks_are_set_and_cleared_after_the_link_is_up(dom0):
    add(dom0, trunks=[5, 6])
    succeeded(dom0.plug_vif(1, 0))
    assert dom0.ovs.port("vif1.0")["trunks"] == ([5, 6] if dom0.sets_trunks else [])
    add(dom0, trunks=[])
    succeeded(dom0.plug_vif(1, 0))
    assert dom0.ovs.port("vif1.0")["trunks"] == []
    called = [line for line in dom0.syslog() if "clear Port vif1.0 trunks" in line]
    assert len(called) == dom0.sets_trunks
    if called:
        up = [line for line in dom0.syslog() if "'set', 'vif1.0', 'up'" in line]
        assert dom0.syslog().index(called[0]) > dom0.syslog().index(up[0])


def test_trunks_of_a_running_guest(dom0):
    add(dom0)
    succeeded(dom0.plug_vif(1, 0))
    dom0.set_trunks(1, 0, [7, 8])
    assert dom0.ovs.port("vif1.0")["trunks"] == [7, 8]
    dom0.set_trunks(1, 0, [])
    assert dom0.ovs.port("vif1.0")["trunks"] == []


def test_a_plug_calls_the_script_of_the_pvs_proxy(dom0):
    vif = add(dom0)
    dom0.write_file("/opt/pvs", '#!/bin/sh\necho "$@" >>/run/pvs\n', 0o755)
    dom0.xenstore.write(vif.private + "/pvs-interface", "1")
    dom0.xenstore.write(vif.private + "/setup-pvs-proxy-rules", "/opt/pvs")
    succeeded(dom0.plug_vif(1, 0))
    succeeded(dom0.unplug_vif(1, 0))
    rest = " vif vif1.0 %s %s\n" % (vif.private, vif.hotplug)
    assert dom0.read_file("/run/pvs") == "remove" + rest + "add" + rest + "remove" + rest


def test_the_path_of_setup_vif_rules_is_xenstores(dom0):
    dom0.write_file("/opt/mine", '#!/bin/sh\necho "$0 $*" >/run/mine\nexit 3\n', 0o755)
    vif = add(dom0, setup_vif_rules="/opt/mine")
    assert dom0.plug_vif(1, 0).returncode == 1
    assert dom0.read_file("/run/mine") == "/opt/mine classic vif1.0 %s 0 filter\n" % VM
    assert "Failed to" in dom0.xenstore.read(vif.backend + "/hotplug-error")
    assert dom0.xenstore.read(vif.backend + "/hotplug-status") is None


def test_a_bridge_that_is_not_there_fails_the_plug(dom0):
    dom0.add_vif(1, 0, bridge="xenbr9")
    assert dom0.plug_vif(1, 0).returncode == 1
    assert any("FATAL: ovs-vsctl" in line for line in dom0.syslog())
    assert not dom0.is_up("vif1.0")


def test_bridge_mode_leaves_open_vswitch_alone():
    with Dom0(bridge=True) as dom0:
        dom0.add_bridge("xenbr0")
        add(dom0, locking_mode="locked", ipv4=["192.0.2.1"])
        succeeded(dom0.plug_vif(1, 0))
        assert dom0.is_up("vif1.0")
        assert os.listdir(dom0.path("/sys/class/net/xenbr0/brif")) == ["vif1.0"]
        assert "-A FORWARD -i vif1.0 -j FORWARD_vif1.0" in dom0.read_file("/var/log/ebtables")
        succeeded(dom0.clear("vif1.0"))
        assert os.listdir(dom0.path("/sys/class/net/xenbr0/brif")) == []
        assert ports(dom0) == []
        assert not any("ovs-vsctl" in line for line in dom0.syslog())


def test_syslog_has_the_scripts_lines_in_order(dom0):
    add(dom0)
    succeeded(dom0.plug_tap(1, 0))
    said = dom0.syslog()
    assert said[0] == "vif-real: Called as: %s/vif-real tap 1 0 add" % LIBEXEC
    rules = [line for line in said if "setup-vif-rules: " in line]
    called = [number for number, line in enumerate(rules) if "Called with interface=tap1.0" in line]
    added = [number for number, line in enumerate(rules) if "'add-port', 'xenbr0'" in line]
    assert len(called) == len(added) == 1
    assert called < added
    assert rules[-1].endswith("['/sbin/ip', 'link', 'set', 'tap1.0', 'up']")


def test_syslog_of_many_at_once(dom0):
    loop = "for i in $(seq 100); do logger -t test $i; done"
    running = [dom0.popen("sh", "-c", loop) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert sum(line.startswith("test: ") for line in dom0.syslog()) == 400


def test_real_udev_plugs_and_unplugs_a_tap():
    with Dom0(udev=True) as dom0:
        dom0.add_bridge("xenbr0")
        add(dom0)
        dom0.create_device("tap1.0")
        dom0.udev_settle()
        assert dom0.ovs.interface("tap1.0")["external_ids"] == IDS
        assert dom0.is_up("tap1.0")
        dom0.remove_device("tap1.0")
        dom0.udev_settle()
        assert ports(dom0) == ["xenbr0"]


# ---- libxl ------------------------------------------------------------------------------------


def test_libxl_plugs_and_unplugs_both_devices(dom0):
    succeeded(dom0.plug_libxl_vif(1, 0, bridge="xenbr0.5:6:7", vm_uuid=VM, mac="00:16:3e:00:00:0a"))
    succeeded(dom0.plug_libxl_emu(1, 0))
    ids = {"xen-vm-name": "guest", "xen-vm-uuid": VM, "attached-mac": "00:16:3e:00:00:0a"}
    for device in ("vif1.0", "vif1.0-emu"):
        row = dom0.ovs.port(device)
        assert (row["tag"], row["trunks"]) == ([5], [6, 7])
        assert dom0.ovs.interface(device)["external_ids"] == ids
        assert dom0.is_up(device)
    assert dom0.xenstore.read("backend/vif/1/0/hotplug-status") == "connected"
    succeeded(dom0.unplug_libxl_emu(1, 0))
    succeeded(dom0.unplug_libxl_vif(1, 0))
    assert ports(dom0) == ["xenbr0"]


def test_libxl_without_vlans_or_with_a_name_of_its_own(dom0):
    succeeded(dom0.plug_libxl_vif(1, 0, vifname="web"))
    succeeded(dom0.plug_libxl_emu(1, 0))
    assert ports(dom0) == ["web", "web-emu", "xenbr0"]
    assert dom0.ovs.port("web")["tag"] == dom0.ovs.port("web")["trunks"] == []
    assert dom0.device_names() == ["lo", "web", "web-emu"]


def test_a_failed_plug_is_in_xenstore_for_libxl(dom0):
    assert dom0.plug_libxl_vif(1, 0, bridge="xenbr0.x").returncode == 1
    assert dom0.xenstore.read("backend/vif/1/0/hotplug-status") == "error"
    assert dom0.xenstore.read("backend/vif/1/0/hotplug-error") == "No valid bridge was specified"


# ---- the stand-in dom0 without a plug ---------------------------------------------------------


def test_python3_inside_is_the_python_under_test_without_site_packages(dom0):
    show = "import sys; print(sys.version_info[:3], sys.prefix == sys.base_prefix)"
    shown = dom0.run("/usr/bin/python3", "-c", show, check=True).stdout
    assert shown == "%s True\n" % (sys.version_info[:3],)


def test_files_written_inside_stay_inside(dom0):
    for path in ("/usr/bin", "/etc", "/opt", "/var/lib", "/run", "/dev"):
        dom0.run("touch", path + "/only-in-dom0", check=True)
        assert os.path.exists(dom0.path(path + "/only-in-dom0"))
        assert not os.path.exists(path + "/only-in-dom0")
    assert dom0.path("/var/run/only-in-dom0") == "/proc/%d/root/run/only-in-dom0" % dom0.pid


def test_the_xenstore_clients(dom0):
    run = dom0.run
    succeeded(run("xenstore-write", "/a/b", "one two", "/a/c", "", "x", "é"))
    assert run("xenstore-read", "/a/b", "/a/c", "/a").stdout == "one two\n\n\n"
    assert dom0.xenstore.read("/local/domain/0/x") == "é"
    assert run("xenstore-list", "/a").stdout == "b\nc\n"
    assert run("xenstore-read", "/a/d").returncode == 1
    assert run("xenstore-exists", "/a/b").returncode == 0
    succeeded(run("xenstore-rm", "/a"))
    assert run("xenstore-rm", "/a").returncode == 1
    assert run("xenstore-exists", "/a/b").returncode == 1
    assert dom0.xenstore.read("/a/b") is None


def test_run_hands_on_environment_input_and_exit_code(dom0):
    env = {"PATH": "/usr/bin:/bin", "LD_PRELOAD": "/none", "WORD": "é"}
    result = dom0.run("sh", "-c", "cat; echo $LD_PRELOAD $PWD; env; exit 7", env=env, input="in ")
    assert result.returncode == 7
    assert result.stdout.startswith("in /none /\n")
    assert "WORD=é\n" in result.stdout
    assert "HOME" not in result.stdout
    with pytest.raises(Dom0Error, match="exited with 1"):
        dom0.run("false", check=True)
    assert dom0.run("sh", "-c", "kill -9 $$").returncode == -signal.SIGKILL


def test_kill_ends_a_command_with_its_children(dom0):
    with pytest.raises(subprocess.TimeoutExpired):
        dom0.run("sleep", "60", timeout=0.1)
    process = dom0.popen("sh", "-c", "sleep 60 & echo started; wait", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"started\n"
    dom0.kill(process)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout.read() == b""  # no process has the pipe's other end any more
    process.stdout.close()


def test_frames_cross_real_devices():
    with Dom0(vswitchd="userspace") as dom0:
        dom0.add_bridge("xenbr0")
        add(dom0)
        succeeded(dom0.plug_vif(1, 0))
        dom0.ovs.vsctl("set", "Port", "vif1.0", "tag=5")
        dom0.add_vif(2, 0)
        succeeded(dom0.plug_tap(2, 0))
        dom0.devices["vif1.0"].send(FRAME)
        tagged = FRAME[:12] + b"\x81\x00\x00\x05" + FRAME[12:]
        assert tagged in dom0.devices["tap2.0"].receive(timeout=LONG)
        dom0.ovs.vsctl("set", "Port", "tap2.0", "tag=5")
        dom0.devices["tap2.0"].send(FRAME)
        assert dom0.devices["vif1.0"].receive(timeout=LONG) == [FRAME]


def test_two_dom0s_at_once_are_separate():
    with Dom0() as one, Dom0() as two:
        for dom0 in (one, two):
            dom0.add_bridge("xenbr0")
            dom0.add_vif(1, 0)
        threads = [threading.Thread(target=dom0.plug_vif, args=(1, 0)) for dom0 in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for dom0, tag in ((one, 5), (two, 6)):
            dom0.run("ovs-vsctl", "set", "Port", "vif1.0", "tag=%d" % tag, check=True)
        for dom0, tag in ((one, 5), (two, 6)):
            assert dom0.ovs.port("vif1.0")["tag"] == [tag]
            assert dom0.is_up("vif1.0")
            added = [line for line in dom0.syslog() if "'add-port'" in line]
            assert len(added) == 1
            assert dom0.vifs[1, 0].vif_uuid in added[0]


# ---- nothing is left --------------------------------------------------------------------------


KINDS = ("mnt", "net", "pid")


class Traces(object):
    """The traces that Dom0s leave outside: the processes in their namespaces, and the descriptors,
    threads, mounts and temporary files of this process."""

    def __init__(self):
        self.own = self._own()
        self.namespaces = set()
        self._held = []

    def see(self, pid):
        for kind in KINDS:
            # Keep each namespace open, so that no later namespace gets the same number.
            self._held.append(os.open("/proc/%d/ns/%s" % (pid, kind), os.O_RDONLY))
            self.namespaces.add(self._namespace(pid, kind))
        assert not {self._namespace("self", kind) for kind in KINDS} & self.namespaces
        assert self.inhabitants()

    def inhabitants(self):
        """The processes in any namespace of a Dom0 that these Traces have seen."""
        return [
            pid for pid in os.listdir("/proc") if pid.isdigit()
            and any(self._namespace(pid, kind) in self.namespaces for kind in KINDS)
        ]

    def assert_gone(self):
        assert self.inhabitants() == []
        self.release()
        assert self._own() == self.own

    def release(self):
        while self._held:
            os.close(self._held.pop())

    @staticmethod
    def _own():
        gc.collect()  # closes an earlier test's files, which would otherwise be closed at any time
        with open("/proc/self/mounts") as stream:
            overlays = [line for line in stream if line.split()[2] == "overlay"]
        tmp = os.listdir(tempfile.gettempdir())
        return len(os.listdir("/proc/self/fd")), threading.active_count(), overlays, tmp

    @staticmethod
    def _namespace(pid, kind):
        try:
            return os.readlink("/proc/%s/ns/%s" % (pid, kind))
        except OSError:  # the process has just ended, or is a zombie
            return None


@pytest.fixture
def traces(monkeypatch):
    # Nobody else writes to this directory, and its path is short enough for a socket's path.
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        seen = Traces()
        yield seen
        seen.release()


@pytest.mark.parametrize("options", [{}, {"vswitchd": "userspace"}, {"udev": True}], ids=str)
def test_nothing_is_left(traces, options):
    with Dom0(**options) as dom0:
        traces.see(dom0.pid)
        dom0.add_bridge("xenbr0")
        add(dom0)
        succeeded(dom0.plug_vif(1, 0))
        running = dom0.popen("sleep", "600")
    assert running.wait() == -signal.SIGKILL
    traces.assert_gone()


def test_nothing_is_left_after_an_exception(traces):
    with pytest.raises(ZeroDivisionError):
        with Dom0() as dom0:
            traces.see(dom0.pid)
            dom0.create_device("tap1.0")
            raise ZeroDivisionError
    traces.assert_gone()


def test_nothing_is_left_of_a_dom0_that_could_not_start(traces, monkeypatch):
    with pytest.raises(OSError):
        with Dom0(scripts="/nowhere"):
            pass
    traces.assert_gone()
    monkeypatch.setattr("dom0.namespaces.HERE", "/nowhere")
    with pytest.raises(Dom0Error, match="nowhere/setup.sh"):
        with Dom0():
            pass
    traces.assert_gone()


def test_no_process_goes_on_when_the_test_process_is_killed(traces):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from dom0 import Dom0
dom0 = Dom0().start()
running = dom0.popen("sleep", "600")
print(dom0.pid, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, os.path.join(ROOT, "tests")]
    pipe = subprocess.PIPE
    env = dict(os.environ, TMPDIR=tempfile.gettempdir())
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env) as process:
        traces.see(int(process.stdout.readline().decode()))
        process.kill()
    wait_until(lambda: traces.inhabitants() == [])


def wait_until(condition):
    """Wait until condition() is true. No event tells us of the end of processes that are not our
    children, so look again and again."""
    ended = threading.Event()
    for _ in range(2000):
        if condition():
            return
        ended.wait(0.005)
    raise AssertionError("still not so after 10 s")
