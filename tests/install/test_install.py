"""dom0-install.sh, run for real: as root, on "the running system", which is a made-up dom0 (see
support/install_host.py)."""
import contextlib
import ctypes
import os
import re
import shutil
import signal
import struct
import subprocess
import sys

import pytest

from support.constants import ROOT
from support.install_host import (
    BUGTOOL,
    CONFIG,
    DONE,
    EXEC,
    FAILED,
    HOOK,
    LIBXL,
    LINKS,
    LOCKED,
    MARKS_LEFT,
    OLD_STOCK,
    PATH,
    PLUGGED,
    REFUSED,
    RESTART_LATER,
    SCRIPT,
    SCRIPTS,
    SERVICE,
    SERVICE_LINK,
    SETTING,
    STOCK,
    UNIT,
    Host,
    Result,
    bridge,
    look,
    make_dom0,
    remove_xenopsd,
    set_unit,
    write,
)
from support.install_stand_ins import TASK_DONE, TASK_PENDING
from support.private_ovs import PrivateOvs, schema_like_2_5
from xenvif_tagger.core import mark
from xenvif_tagger.host import config

# ---- install, check, uninstall ----------------------------------------------------------------


def test_installs_checks_and_uninstalls(up):
    assert up.install("--check").code == FAILED

    result = up.install()
    assert result.code == DONE and result.err == "", result
    up.assert_installed()
    assert up.restarts() == 1
    assert up.text(SETTING).splitlines()[-1] == "setup-vif-rules=" + HOOK
    assert "MISSING" not in up.install("--check").out
    assert up.run("xenvif-tagger", "--version").out.startswith("xenvif-tagger")
    values, problems = config.parse(up.text(CONFIG))
    assert not problems and values == config.parse("")[0]

    result = up.install("--uninstall")
    assert result.code == DONE and result.err == "", result
    up.assert_as_before()
    assert up.restarts() == 2 and up.runs() == STOCK


def test_what_it_puts_on_the_host(up):
    up.run("bash", "/bundle/dom0-install.sh")
    top = {path for path in up.changes() if not path.startswith("/opt/xenvif-tagger/releases/")}
    assert top == {CONFIG, SETTING, SERVICE, SERVICE_LINK, "/usr/bin/xenvif-tagger",
                   "/opt/xenvif-tagger"} | set(LINKS) | {
        "/opt/xenvif-tagger/" + name for name in (
            "current", "dom0-install.sh", "hotplug", "releases", "state", "unread", "vendor",
            "xenvif_tagger")}
    # Nobody but root may write there, all may read, and what root runs is root's.
    for path, (mode, user, group, _) in up.changes().items():
        assert (user, group) == (0, 0) and (mode[0] == "l" or mode[5] == mode[8] == "-"), path
        assert mode[7] == "r"


def test_files_are_roots_however_they_were_unpacked(host):
    for where, _, files in os.walk(host.bundle()):
        os.chown(where, 1234, 1234)
        for name in files:
            os.chown(os.path.join(where, name), 1234, 1234)
            os.chmod(os.path.join(where, name), 0o660)
    host.start()
    test_what_it_puts_on_the_host(host)
    assert host.run("/opt/xenvif-tagger/dom0-install.sh", "--check").code == DONE
    for name in ("setup-vif-rules", "xenvif-tagger", "bugtool/run", "bugtool/log", "xapi-plugin"):
        assert host.run("test", "-x", "/opt/xenvif-tagger/hotplug/" + name).code == 0, name


def test_compiles_the_package_for_this_python(up):
    up.install()
    names = [path for path in up.changes() if path.endswith(".pyc")]
    for name in ("decide", "config", "mark", "ovsdb"):
        assert any(re.search(r"/xenvif_tagger/__pycache__/%s\.cpython-%d%d\.pyc$" % (
            name, sys.version_info[0], sys.version_info[1]), path) for path in names)


def test_does_nothing_the_second_time(up):
    up.install()
    before = up.changes()
    result = up.install()
    assert result.code == DONE and result.out == "nothing to do\n", result
    assert up.changes() == before
    assert up.restarts() == 1


def test_uninstall_where_nothing_is(up):
    result = up.install("--uninstall")
    assert result.code == DONE and "nothing to do" in result.out, result
    assert up.changes() == {} and up.restarts() == 0


def test_uninstall_with_its_own_copy(up):
    up.install()
    result = up.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall")
    assert result.code == DONE, result
    up.assert_as_before()


@pytest.mark.parametrize("command", [
    "/opt/xenvif-tagger/dom0-install.sh", "bash /opt/xenvif-tagger/current/dom0-install.sh",
    "cd /bundle && ./dom0-install.sh", "cd /bundle && bash dom0-install.sh",
    "cd /bundle/hotplug && ../dom0-install.sh", "cd /bundle && bash -s -- <dom0-install.sh",
    "PATH=$PATH:/bundle && dom0-install.sh",
    "cd /run && ln -s ../bundle/dom0-install.sh one && ln -s one two && cd / && run/two"])
def test_however_it_is_called(up, command):
    up.install()
    result = up.run("sh", "-c", command + " --check")
    assert result.code == DONE and result.err == "", result
    result = up.run("sh", "-c", command.replace("ln -s", "ln -sf") + " --uninstall")
    assert result.code == DONE and result.err == "", result
    up.assert_as_before()


def test_vifs_are_covered_only_where_the_stock_script_was_named(up):
    up.install()
    assert up.store()[PLUGGED % ("b", 0)] == "/third/party"


def test_no_vm_has_ever_run(host):
    host.keys = host.store({})
    host.start()
    assert host.install().code == DONE
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_service_that_does_not_run_stays_so(host, where):
    host.unit(ActiveState="inactive", MainPID=0)
    host.start()
    assert host.install().code == DONE
    if where == "after":  # and then reads the setting
        host.run("systemctl", "restart", "xenopsd-xc")
        assert host.install().out == "nothing to do\n"
    assert host.install("--check").code == DONE
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()
    assert host.restarts() == (2 if where == "after" else 0)


# ---- refusals ---------------------------------------------------------------------------------


def python2(host):
    write(host.at(STOCK), "#!/usr/bin/python\n", 0o755)


def env_python2(host):
    write(host.at(STOCK), "#! /usr/bin/env python2.7\n", 0o755)


def no_dom0(host):
    remove_xenopsd(host.at)


def old_python(host):
    os.unlink(host.at("/usr/bin/python3"))
    write(host.at("/usr/bin/python3"), "#!/bin/sh\necho 3.4\n", 0o755)


def broken_python(host):
    os.unlink(host.at("/usr/bin/python3"))
    write(host.at("/usr/bin/python3"), "#!/bin/sh\nexit 1\n", 0o755)


def no_stock(host):
    os.unlink(host.at(STOCK))


def stock_gone(host):
    write(host.at("/etc/xenopsd.conf.d/a"), "setup-vif-rules = /gone\n")


def later_setting(host):
    write(host.at("/etc/xenopsd.conf.d/zzz.conf"), "setup-vif-rules=%s\n" % STOCK)


def by_hand(host):
    write(host.at("/etc/xenopsd.conf.d/mine.conf"), "setup-vif-rules=%s\n" % HOOK)


def command_taken(host):
    write(host.at("/usr/bin/xenvif-tagger"), "somebody else's\n", 0o755)


def bundle_incomplete(host):
    os.unlink(host.bundle("hotplug/xenvif-tagger"))


def config_lacks_stock(host):
    write(host.at("/third"), "#!/usr/bin/python3\n", 0o755)
    write(host.at("/etc/xenopsd.conf.d/a"), "setup-vif-rules=/third\n")
    write(host.at(CONFIG), "[mirror]\n#stock_script = x\n[hold]\nbridges = br0\n")


@pytest.mark.parametrize("cause, reason", [
    (python2, "Python 2"), (env_python2, "Python 2"), (bridge, "Linux bridge"),
    (no_dom0, "not a dom0"), (old_python, "Python 3.4"), (broken_python, "does not run"),
    (no_stock, "no stock setup-vif-rules"), (stock_gone, "/gone"), (later_setting, "zzz.conf"),
    (by_hand, "mine.conf"), (command_taken, "/usr/bin/xenvif-tagger"),
    (bundle_incomplete, "hotplug/xenvif-tagger"), (config_lacks_stock, "stock_script = /third"),
], ids=lambda value: getattr(value, "__name__", None))
def test_refuses_in_one_line_and_changes_nothing(host, cause, reason):
    cause(host)
    host.start()
    result = host.install()
    assert result.code == REFUSED and result.out == "", result
    assert reason in result.err and result.err.count("\n") == 1
    assert host.changes() == {} and host.restarts() == 0
    assert "xenstore-write" not in host.calls()


def missing(path):
    os.unlink(path)


def empty(path):
    write(path, "")


def cut_off_between_functions(path):
    with open(path) as stream:
        write(path, stream.read().split("\n}\n")[0] + "\n}\n")


def cut_off_in_the_last_line(path):
    os.truncate(path, os.path.getsize(path) - 5)


def hole_in_the_middle(path):
    with open(path, "r+b") as stream:
        stream.seek(800)
        stream.write(b"\0" * 100)


def cannot_be_read(path):
    os.unlink(path)
    os.mkdir(path)


@pytest.mark.parametrize("damage", [
    missing, empty, cut_off_between_functions, cut_off_in_the_last_line, hole_in_the_middle,
    cannot_be_read], ids=lambda damage: damage.__name__)
def test_a_part_of_the_script_that_is_not_whole(up, damage):
    up.install()
    before, calls = up.changes(), up.calls()
    damage(up.bundle("dom0-install.d/uninstall.sh"))
    for action in ("install", "--check", "--uninstall"):
        result = up.install(action)
        assert result.code == REFUSED and result.out == "", result
        assert "/bundle/dom0-install.d/uninstall.sh is missing or damaged" in result.err
        assert result.err.count("\n") == 1
    assert up.changes() == before and up.calls() == calls
    assert up.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall").code == DONE


def test_refuses_whoever_is_not_root(up):
    result = up.run("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups",
                    "/bundle/dom0-install.sh")
    assert result.code == REFUSED and "root" in result.err and result.err.count("\n") == 1, result


@pytest.mark.parametrize("wrong", [
    ["--nonsense"], ["uninstall"], ["--check", "--uninstall"], ["--uninstall", "install"],
    ["--root"], ["--root", "/nowhere"], ["--root", "/"],
    ["--root", ""], ["--wait", "soon"], ["--wait"], ["--wait="], ["--wait", "-1"]], ids=" ".join)
def test_wrong_usage(up, wrong):
    result = up.install(*wrong)
    assert result.code == REFUSED and result.err.count("\n") == 1, result
    assert up.changes() == {}


def test_help_is_a_page():
    result = subprocess.run([SCRIPT, "--help"], stdout=subprocess.PIPE, check=True)
    lines = result.stdout.decode().splitlines()
    assert len(lines) < 60 and max(map(len, lines)) <= 100
    for word in ("--uninstall", "--check", "--dry-run", "--root", "--no-restart", "--wait"):
        assert any(word in line for line in lines)
    assert [line.split()[0] for line in lines[-12:] if re.match(r"  \d  ", line)] == list("012345")


def test_help_is_there_where_nothing_else_is(tmp_path):
    shutil.copy(SCRIPT, str(tmp_path))
    subprocess.run([str(tmp_path / "dom0-install.sh"), "--help"], stdout=subprocess.PIPE,
                   check=True)


def test_a_module_that_is_not_loaded_yet_is_no_refusal(up):
    up.run("rmdir", "/sys/module/openvswitch")
    result = up.install()
    assert result.code == DONE and "not loaded" in result.err, result


def test_neither_network_conf_nor_module(host):
    os.unlink(host.at("/etc/xensource/network.conf"))
    host.start()
    host.run("rmdir", "/sys/module/openvswitch")
    result = host.install()
    assert result.code == REFUSED and "Linux bridge" in result.err, result


def test_uninstall_works_where_install_would_be_refused(up):
    up.install()
    up.write("/etc/xensource/network.conf", "bridge\n")
    assert up.install("--uninstall").code == DONE
    assert set(up.changes()) == {"/etc/xensource/network.conf"}


def test_uninstall_without_a_stock_script(up):
    """xenopsd would not start, and a VIF whose key names nothing can't be unplugged."""
    up.install()
    up.run("mv", STOCK, "/run/away")
    before, keys = up.changes(), up.store()
    for lost in False, True:
        if lost:
            up.run("rm", "/opt/xenvif-tagger/state")
            before = up.changes()
        result = up.install("--uninstall")
        assert result.code == REFUSED and result.err.count("\n") == 1, result
        assert "no stock script" in result.err and STOCK in result.err
        assert (up.changes(), up.store()) == (before, keys)
    up.run("mv", "/run/away", STOCK)
    assert up.install("--uninstall").code == DONE
    assert HOOK not in up.store().values() and "" not in up.store().values()


def test_uninstall_is_refused_while_a_file_of_others_names_the_hook(up):
    up.install()
    up.write("/etc/xenopsd.conf.d/mine.conf", "setup-vif-rules=%s\n" % HOOK)
    result = up.install("--uninstall")
    assert result.code == REFUSED and "mine.conf" in result.err, result
    up.assert_works()


# ---- xenopsd's config -------------------------------------------------------------------------


def default_directory(host):
    """As in XenServer: the unit names no directory, and there is none."""
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf $OPTIONS")
    return "/etc/xenopsd-xc.conf.d"


def equals_sign(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config=/etc/xenopsd.conf --config-dir=/etc/dir.d/")
    return "/etc/dir.d"


def deep_directory(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf --config-dir /srv/new/a/b")
    return "/srv/new/a/b"


def by_variable(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf $OPTIONS")
    write(host.at("/etc/sysconfig/xenopsd"), 'X=1\nOPTIONS="--config-dir /etc/other.d"')
    return "/etc/other.d"


def by_config_file(host):
    """A config file can name the directory, too."""
    with open(host.at("/etc/xenopsd.conf"), "a") as stream:
        stream.write("config-dir = '/etc/third.d'\n")
    return "/etc/third.d"


def with_a_space(host):
    with open(host.at("/etc/xenopsd.conf"), "a") as stream:
        stream.write('config-dir="/etc/a b.d"\n')
    return "/etc/a b.d"


@pytest.mark.parametrize("variant", [
    default_directory, equals_sign, deep_directory, by_variable, by_config_file, with_a_space],
    ids=lambda variant: variant.__name__)
def test_writes_the_setting_where_the_unit_reads_it(host, variant):
    directory = variant(host)
    host.start()
    result = host.install()
    assert result.code == DONE, result
    host.assert_installed()
    assert directory + "/zz-xenvif-tagger.conf" in host.changes() and SETTING not in host.changes()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


def test_asks_an_old_systemctl(host):
    """systemd 219, in XCP-ng 8.3, prints another name than it was asked for."""
    host.unit(FILES="EnvironmentFile")
    by_variable(host)
    host.start()
    assert host.install().code == DONE
    host.assert_installed()


def test_follows_a_unit_that_names_another_directory_now(up):
    up.install()
    start = EXEC.replace("/etc/xenopsd.conf.d", "/etc/new.d")
    up.write(UNIT, "[Service]\nExecStart=%s\n" % start)
    assert up.install("--check").code == FAILED
    result = up.install()
    assert result.code == DONE, result
    up.assert_installed()
    assert not up.exists(SETTING)
    assert up.install("--uninstall").code == DONE
    assert set(up.changes()) == {UNIT}


@pytest.mark.parametrize("name, setting, stock", [
    ("b", "setup-vif-rules=%s", "/third/party one"),
    ("A.bak", "  setup-vif-rules \t=  '%s'   # a comment", "/third/party"),
    (".hidden~", "some words setup-vif-rules=%s", "/third/party"),
])
def test_the_stock_script_is_what_xenopsd_uses_now(host, name, setting, stock):
    """Somebody's own script, set before us, stays the one that plugs."""
    write(host.at(stock), "#!/bin/sh\n", 0o755)
    write(host.at("/etc/xenopsd.conf.d/.0"), "setup-vif-rules=/overridden\n")
    write(host.at("/etc/xenopsd.conf.d/" + name), setting % stock + "\nsetup-vif-rulez=/x\n")
    host.keys[PLUGGED % ("a", 0)] = host.keys[PLUGGED % ("a", 1)] = stock
    host.store(host.keys)
    host.start()
    assert host.xenopsd_would_run() == stock
    assert host.install().code == DONE
    assert config.parse(host.text(CONFIG))[0]["plug", "stock_script"] == stock
    assert host.store()[PLUGGED % ("a", 0)] == HOOK
    assert host.install("--uninstall").code == DONE
    assert host.changes() == {} and host.store() == host.keys


def test_the_stock_script_by_the_search_path_and_in_the_other_usual_place(host):
    os.rename(host.at(STOCK), host.at(OLD_STOCK))
    write(host.at("/etc/xenopsd.conf"), "search-path=/x:/opt/xensource/libexec\n")
    host.start()
    result = host.install()
    assert result.code == DONE, result
    assert "stock script " + OLD_STOCK in result.out
    assert config.parse(host.text(CONFIG))[0]["plug", "stock_script"] is None


def test_a_third_partys_script_that_goes_again(up):
    """After the next install the stock script is the usual one, and our config as shipped."""
    up.write("/third", "#!/bin/sh\n")
    up.run("chmod", "+x", "/third")
    up.write("/etc/xenopsd.conf.d/a", "setup-vif-rules=/third\n")
    assert up.install().code == DONE
    up.run("rm", "/etc/xenopsd.conf.d/a")
    assert up.install().code == DONE
    assert config.parse(up.text(CONFIG))[0]["plug", "stock_script"] is None
    up.assert_installed()


class Watched(object):
    """What happens to the files of a directory meanwhile, by inotify: a list of (name, event)."""

    EVENTS = {0x2: "written", 0x100: "created", 0x40: "moved away", 0x80: "moved here",
              0x200: "deleted"}

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, path.encode(), sum(self.EVENTS)) > 0

    def events(self):
        found = []
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            data = b""
        while data:
            _, event, _, length = struct.unpack_from("iIII", data)
            found.append((data[16:16 + length].rstrip(b"\0").decode(), self.EVENTS[event]))
            data = data[16 + length:]
        return found


def test_no_half_or_temporary_file_in_the_directory_that_xenopsd_reads(up):
    """It reads all of them, and one that goes away meanwhile stops it from starting."""
    watched = Watched(up.path(os.path.dirname(SETTING)))
    name = os.path.basename(SETTING)
    up.install()
    assert watched.events() == [(name, "moved here")]
    up.install()
    assert watched.events() == []
    up.install("--uninstall")
    assert watched.events() == [(name, "deleted")]


# ---- the config file --------------------------------------------------------------------------


def test_an_existing_config_is_kept(host):
    write(host.at(CONFIG), "[hold]\nbridges = br7\n", 0o640)
    host.start()
    assert host.install().code == DONE
    assert CONFIG not in host.changes()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


def test_a_config_that_was_changed_since_stays(up):
    up.install()
    up.write(CONFIG, "[hold]\nbridges = br7\n")
    assert up.install().code == DONE
    assert up.text(CONFIG) == "[hold]\nbridges = br7\n"
    result = up.install("--uninstall")
    assert result.code == DONE and "it stays" in result.out, result
    assert set(up.changes()) == {CONFIG}


def test_an_upgrade_renews_a_config_that_nobody_changed(up):
    up.install()
    with open(up.bundle("hotplug/xenvif-tagger.conf"), "a") as stream:
        stream.write("# more to say\n")
    assert up.install().code == DONE
    assert up.text(CONFIG).endswith("# more to say\n")
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def test_check_finds_a_mistake_in_the_config(up):
    up.install()
    up.write(CONFIG, "[hold]\nbridge = br7\n")
    result = up.install("--check")
    assert result.code == FAILED and re.search("MISSING.*" + CONFIG, result.out), result


def test_the_config_as_shipped_has_all_keys_and_changes_nothing():
    with open(os.path.join(ROOT, "hotplug", "xenvif-tagger.conf")) as stream:
        text = stream.read()
    assert config.parse(text) == config.parse("")
    values, problems = config.parse(re.sub(r"(?m)^#(\w+ =)", r"\1", text))
    assert not problems and values == config.parse("")[0]
    section, keys = None, set()
    for line in text.splitlines():
        section = line[1:-1] if line.startswith("[") else section
        if re.match(r"#\w+ =", line):
            keys.add((section, line[1:].split(" =")[0]))
    assert keys == set(config.KEYS)


# ---- interrupted ------------------------------------------------------------------------------

INSTALL_POINTS = ["state", "copying", "release", "current", "links-inside", "links",
                  "config-noted", "config-written", "config", "service-noted", "service",
                  "service-link", "service-started", "setting-noted", "setting-written", "setting",
                  "restart", "key", "keys", "tidy"]
UNINSTALL_POINTS = ["setting-removed", "setting", "restart", "key", "keys", "service-link",
                    "service-stopped", "service", "marks", "links", "config", "made", "files",
                    "base"]
LIBXL_POINTS = ["libxl-link"]


def test_all_points_are_tried():
    points = set()
    for name in os.listdir(SCRIPTS):
        with open(os.path.join(SCRIPTS, name)) as stream:
            points.update(re.findall(r"\bpoint ([a-z][a-z-]+)", stream.read()))
    assert points == set(INSTALL_POINTS + UNINSTALL_POINTS + LIBXL_POINTS)


def stripped(changes):
    """What was installed, without what differs from one installation to the next."""
    return {path: value if "__pycache__" not in path else None
            for path, value in changes.items() if not path.endswith("/unread")}


@pytest.fixture(scope="module")
def clean_install(tmp_path_factory, bundle):
    made = Host(tmp_path_factory.mktemp("clean"), bundle)
    default_directory(made)
    try:
        assert made.start().install().code == DONE
        return stripped(made.changes())
    finally:
        made.stop()


@pytest.mark.parametrize("point", INSTALL_POINTS)
def test_install_killed(host, clean_install, point):
    default_directory(host)
    host.start()
    host.until(point)
    host.assert_works()
    assert host.install().code == DONE
    host.assert_installed()
    assert stripped(host.changes()) == clean_install
    host.install("--uninstall")
    host.assert_as_before()

    host.until(point)
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


@pytest.mark.parametrize("point", UNINSTALL_POINTS)
def test_uninstall_killed(host, clean_install, point):
    default_directory(host)
    host.start()
    host.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
    host.install()
    host.until(point, "--uninstall")
    host.assert_works()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()
    assert host.ovs.port("vif1.0")["external_ids"] == {}

    assert host.install().code == DONE
    host.until(point, "--uninstall")
    assert host.install().code == DONE
    host.assert_installed()
    assert stripped(host.changes()) == clean_install


def test_killed_twice_at_different_points(host):
    default_directory(host)
    host.start()
    for first, second, third in (("setting-written", "restart", "links"),
                                 ("key", "setting-removed", "files"),
                                 ("current", "setting", "made")):
        host.until(first)
        host.until(second, "--uninstall")
        host.assert_works()
        assert host.install().code == DONE
        host.until(third, "--uninstall")
        host.assert_works()
        assert host.install("--uninstall").code == DONE
        host.assert_as_before()


def test_killed_after_an_uninstall_that_was_left_waiting(up):
    """The note of which xenopsd has not read the setting is about the last change, no older one."""
    up.install()
    assert up.install("--uninstall", "--no-restart").code == RESTART_LATER
    up.run("systemctl", "restart", "xenopsd-xc")
    up.until("setting-written")
    assert up.install().code == DONE
    up.assert_installed()


def install_that_waits(up):
    """The process of an install that waits for a task, until end_task."""
    up.tasks("xenops-cli", TASK_PENDING)
    process = up.popen("/bundle/dom0-install.sh")
    said = b""
    while b"wait until" not in said:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        said += line
    return process


def end_task(up):
    write(up.lab("done"), TASK_DONE)
    os.replace(up.lab("done"), up.lab("xenops-cli/0"))


def test_only_one_at_a_time(up):
    first = install_that_waits(up)
    for action in ("install", "--uninstall"):
        result = up.install(action)
        assert result.code == LOCKED and "another run" in result.err, result
    up.assert_works()
    end_task(up)
    assert first.communicate(timeout=60)[1] == b"" and first.returncode == DONE
    up.assert_installed()


@pytest.mark.parametrize("end", ["in another text", "nothing left"])
def test_the_script_is_overwritten_while_it_runs(up, end):
    """As scp does: in place. bash reads a script by lines, each when the one before it is done."""
    first = install_that_waits(up)
    scripts = [up.bundle("dom0-install.sh")] + [
        up.bundle("dom0-install.d/" + name) for name in os.listdir(SCRIPTS)]
    for script in scripts:
        with open(script, "r+") as stream:
            text = stream.read()
            stream.seek(0)
            stream.truncate()
            if end == "in another text":
                stream.write("touch /lab/astray\n" * len(text))
    end_task(up)
    assert first.communicate(timeout=60)[1] == b"" and first.returncode == DONE
    assert not os.path.exists(up.lab("astray"))


# ---- the restart of xenopsd -------------------------------------------------------------------


def test_waits_for_tasks_in_progress(host):
    host.tasks("xenops-cli", TASK_PENDING, TASK_DONE + TASK_PENDING, TASK_DONE)
    host.start()
    result = host.install()
    assert result.code == DONE and "wait until" in result.out and "VM.start R:2" in result.out
    host.assert_installed()


def test_a_number_of_seconds_is_decimal(up):
    """To bash 08 is no number, and 010 is eight."""
    up.tasks("xenops-cli", TASK_PENDING, TASK_DONE)
    result = up.install("--wait", "08")
    assert result.code == DONE and result.err == "", result
    up.assert_installed()


@pytest.mark.parametrize("which", ["xenops-cli", "xe", "neither"])
def test_leaves_a_busy_xenopsd_alone(host, which):
    host.tasks("xenops-cli", *([TASK_PENDING] if which == "xenops-cli" else []))
    host.tasks("xe", *(["5cb7-1,5cb7-2\n"] if which == "xe" else []))
    host.start()
    result = host.install("--wait", "0")
    assert result.code == RESTART_LATER and "xe-toolstack-restart" in result.out, result
    assert host.restarts() == 0
    host.assert_works()
    # VIFs that are plugged are covered nevertheless; --check says what is missing.
    assert host.store()[PLUGGED % ("a", 0)] == HOOK
    check = host.install("--check")
    assert check.code == FAILED and check.out.count("MISSING") == 1, check

    # A VIF that is plugged meanwhile still has the stock script; the next run gets it.
    host.plug("c", STOCK)
    host.keys[PLUGGED % ("c", 0)] = STOCK
    host.tasks("xe", "\n")
    host.tasks("xenops-cli", TASK_DONE)
    assert host.install().code == DONE
    host.assert_installed()
    assert host.restarts() == 1

    # Uninstall: the hook stays as long as xenopsd would have new VIFs plugged by it.
    host.tasks("xenops-cli", TASK_PENDING)
    result = host.install("--uninstall", "--wait", "0")
    assert result.code == RESTART_LATER, result
    host.assert_works()
    assert host.exists(HOOK) and host.xenopsd_would_run() == STOCK
    host.run("systemctl", "restart", "xenopsd-xc")  # somebody does
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()
    assert host.restarts() == 2


def test_no_restart(up):
    result = up.install("--no-restart")
    up.assert_watches()
    assert result.code == DONE and "has not read the setting" in result.out, result
    assert up.restarts() == 0 and up.xenopsd_would_run() == HOOK
    assert up.install("--check").code == FAILED
    up.run("systemctl", "restart", "xenopsd-xc")
    up.assert_installed()
    assert up.install("--uninstall", "--no-restart").code == RESTART_LATER
    up.assert_works()
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def test_a_setting_that_xenopsd_does_not_like_is_taken_back(host):
    write(host.lab("broken"), "")
    host.start()
    result = host.install()
    assert result.code == FAILED and "take that back" in result.err, result
    assert host.runs() == STOCK and not host.exists(SETTING)
    host.assert_works()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


@pytest.mark.parametrize("action", ["install", "--uninstall"])
def test_xenstore_that_can_not_be_reached(up, action):
    if action == "--uninstall":
        up.install()
    write(up.lab("xenstore-down"), "")
    result = up.install(action)
    assert result.code == FAILED and "xenstore" in result.err, result
    assert up.exists(HOOK)
    os.unlink(up.lab("xenstore-down"))
    up.assert_works()
    assert up.install(action).code == DONE
    if action == "install":
        up.assert_installed()
    else:
        up.assert_as_before()


# ---- upgrade ----------------------------------------------------------------------------------


def test_upgrade_in_place(up):
    up.install()
    old = os.readlink(up.path("/opt/xenvif-tagger/current"))
    new = 'os = None\n__version__ = "99.1"\n'
    write(up.bundle("xenvif_tagger/__init__.py"), new)
    result = up.install()
    assert result.code == DONE, result
    assert os.readlink(up.path("/opt/xenvif-tagger/current")).startswith("releases/99.1-")
    assert up.text("/opt/xenvif-tagger/xenvif_tagger/__init__.py") == new
    # xenopsd need not be restarted, and a plug under way keeps its files.
    assert up.calls().count("systemctl restart xenvif-tagger.service\n") == 2
    assert up.restarts() == 1 and up.exists("/opt/xenvif-tagger/" + old + "/xenvif_tagger/core/pair.py")
    up.assert_installed()
    assert up.install().code == DONE
    assert not up.exists("/opt/xenvif-tagger/" + old)
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def make_one_script(path):
    """Of the bundle in path one as before there was dom0-install.d: all in dom0-install.sh."""
    with open(os.path.join(path, "dom0-install.sh")) as stream:
        head, loop, tail = re.split(r"(?ms)^    (for file in .*?^    done\n)", stream.read())
    parts = re.match(r"for file in ([^;]*);", loop).group(1).replace("\\", "").split()
    texts = []
    for name in parts:
        with open(os.path.join(path, "dom0-install.d", name + ".sh")) as stream:
            texts.append(stream.read())
    text = "".join(texts).replace("dom0-install.d ", "")
    assert len(parts) > 10 and "dom0-install.d" not in text
    write(os.path.join(path, "dom0-install.sh"), head + text + tail, 0o755)
    shutil.rmtree(os.path.join(path, "dom0-install.d"))
    write(os.path.join(path, "xenvif_tagger/__init__.py"), '__version__ = "0.0.1"\n')


def test_from_a_release_with_one_script_and_back(up, bundle):
    make_one_script(up.bundle())
    assert up.install().code == DONE
    up.assert_installed()
    one = stripped(up.changes())
    assert not any("dom0-install.d" in path for path in one)
    shutil.rmtree(up.bundle("xenvif_tagger"))
    shutil.copytree(os.path.join(bundle, "xenvif_tagger"), up.bundle("xenvif_tagger"))
    shutil.copytree(os.path.join(bundle, "dom0-install.d"), up.bundle("dom0-install.d"))
    shutil.copy(os.path.join(bundle, "dom0-install.sh"), up.bundle())
    result = up.install()
    assert result.code == DONE and result.err == "", result
    up.assert_installed()
    assert up.run("/opt/xenvif-tagger/dom0-install.sh").out == (
        "remove /opt/xenvif-tagger/releases/%s\n" % [
            path for path in one if "/releases/0.0.1-" in path][0].split("/")[4])
    assert up.run("/opt/xenvif-tagger/dom0-install.sh", "--check").code == DONE

    make_one_script(up.bundle())
    for _ in range(2):
        assert up.install().code == DONE
    up.assert_installed()
    assert stripped(up.changes()) == one
    assert up.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall").code == DONE
    up.assert_as_before()


@pytest.mark.parametrize("point", ["copying", "release", "current", "tidy"])
def test_upgrade_killed(up, point):
    up.install()
    write(up.bundle("xenvif_tagger/__init__.py"), '__version__ = "99.1"\n')
    up.until(point)
    up.assert_works()
    assert up.run("xenvif-tagger", "status").code == DONE
    assert up.install().code == DONE
    up.assert_installed()
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def test_a_damaged_release_is_replaced(up):
    up.install()
    up.write(os.path.join("/opt/xenvif-tagger", os.readlink(up.path("/opt/xenvif-tagger/current")),
                          "xenvif_tagger/core/pair.py"), "oops")
    for _ in range(2):
        assert up.install().code == DONE
        up.assert_installed()
        with open(os.path.join(ROOT, "xenvif_tagger", "pair.py")) as stream:
            assert up.text("/opt/xenvif-tagger/xenvif_tagger/core/pair.py") == stream.read()
    assert up.install().out == "nothing to do\n"
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


# ---- the watcher ------------------------------------------------------------------------------


def test_the_watcher_is_stopped_before_our_marks_go(host):
    """It would write them again."""
    write(host.at("/usr/local/sbin/ovs-vsctl"), '''#!/bin/sh
[ ! -e /lab/watcher ] || echo "ovs-vsctl beside the watcher" >>/lab/calls
exec /usr/bin/ovs-vsctl "$@"
''', 0o755)
    host.start()
    host.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
    host.install()
    assert host.watcher()
    assert host.install("--uninstall").code == DONE
    assert host.ovs.port("vif1.0")["external_ids"] == {}
    assert "beside" not in host.calls()
    host.assert_as_before()


def test_the_watcher_stays_as_long_as_the_hook(up):
    up.install()
    assert up.install("--uninstall", "--no-restart").code == RESTART_LATER
    up.assert_watches()


def test_a_watcher_that_does_not_start_keeps_nothing_else_away(up):
    write(up.lab("watcher-broken"), "")
    result = up.install()
    assert result.code == FAILED and "systemctl status xenvif-tagger" in result.err, result
    assert up.xenopsd_would_run() == up.runs() == HOOK
    result = up.install("--check")
    assert result.code == FAILED and result.out.count("MISSING") == 1, result
    os.unlink(up.lab("watcher-broken"))
    assert up.install().out == "start the watcher: systemctl restart xenvif-tagger.service\n"
    up.assert_installed()


def end_watcher(up):
    os.kill(up.watcher(), signal.SIGKILL)
    os.unlink(up.lab("watcher"))


def disable(up):
    up.run("rm", SERVICE_LINK)


def remove_unit(up):
    up.run("rm", SERVICE)


def edit_unit(up):
    up.write(SERVICE, "[Service]\nExecStart=/bin/true\n")


def edit_unit_and_reload(up):
    edit_unit(up)
    up.run("systemctl", "daemon-reload")


def put_a_release_into_use_by_hand(up):
    up.run("sh", "-c", "cd /opt/xenvif-tagger && cp -a $(readlink current) releases/other && "
                       "ln -sfn releases/other current")


@pytest.mark.parametrize("act, missing", [
    (end_watcher, ["the watcher runs"]), (disable, ["the watcher is enabled"]),
    (remove_unit, ["the watcher's unit", "the watcher runs"]),
    (edit_unit, ["the watcher's unit", "the watcher runs"]),
    (edit_unit_and_reload, ["the watcher's unit"]),
    (put_a_release_into_use_by_hand, ["the watcher runs"])], ids=lambda value: getattr(
        value, "__name__", ""))
def test_check_finds_and_install_mends_the_watcher(up, act, missing):
    up.install()
    act(up)
    result = up.install("--check")
    assert result.code == FAILED and all(
        re.search("^MISSING +" + piece, result.out, re.M) for piece in missing), result
    assert result.out.count("MISSING") == len(missing), result
    assert up.install().code == DONE
    up.assert_installed()
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def test_what_others_put_beside_the_unit_stays(up):
    up.install()
    drop_in = SERVICE + ".d/local.conf"
    up.run("mkdir", SERVICE + ".d")
    up.write(drop_in, "[Service]\nIPAddressAllow=any\n")
    result = up.install("--uninstall")
    assert result.code == DONE and drop_in + " is not ours: it stays\n" in result.out, result
    assert set(up.changes()) == {os.path.dirname(drop_in), drop_in}


def test_without_a_systemd_that_runs(libxl):
    libxl.run("rmdir", "/run/systemd/system")
    result = libxl.install()
    assert result.code == DONE and result.out.count("there is no systemd here") == 1, result
    assert not libxl.exists(SERVICE)
    assert all(call.startswith("systemctl show ") for call in libxl.calls().splitlines())
    assert libxl.install("--check").code == DONE
    assert libxl.install("--uninstall").code == DONE
    assert libxl.changes() == {}


# ---- what others read -------------------------------------------------------------------------


def test_the_links_lead_to_our_files(up):
    up.install()
    for path, name in LINKS.items():
        assert os.readlink(up.path(path)) == "/opt/xenvif-tagger/hotplug/" + name
        assert up.run("test", "-r", path).code == 0, path
    assert up.run("test", "-x", BUGTOOL + "/run").code == 0


def test_the_manual_is_found(up):
    assert up.run("man", "-w", "xenvif-tagger").code != 0
    up.install()
    result = up.run("man", "--warnings", "xenvif-tagger", MANWIDTH="100")
    assert result.code == 0 and "--dry-run" in result.out and result.err == "", result
    up.install("--uninstall")
    assert up.run("man", "-w", "xenvif-tagger").code != 0


def link_taken_by_file(host):
    write(host.at("/usr/share/man/man8/xenvif-tagger.8"), "another one's\n")


def link_taken_by_link(host):
    os.symlink("/nowhere", host.at(BUGTOOL))


def link_taken_by_directory(host):
    os.makedirs(host.at(BUGTOOL))


@pytest.mark.parametrize("taken", [link_taken_by_file, link_taken_by_link, link_taken_by_directory])
def test_what_others_have_there_is_not_touched(host, taken):
    taken(host)
    host.start()
    for options in ((), ("--dry-run",)):
        result = host.install(*options)
        assert result.code == REFUSED and "is there already, and not ours" in result.err, result
        assert result.err.count("\n") == 1 and host.changes() == {}


@pytest.mark.parametrize("path", sorted(LINKS))
def test_check_finds_and_install_mends_a_link(up, path):
    up.install()
    before = up.changes()
    up.run("rm", path)
    result = up.install("--check")
    assert result.code == FAILED and re.findall("MISSING.*", result.out) == [
        "MISSING  the link " + path], result
    assert up.install().out == "link %s\n" % path
    assert up.changes() == before
    up.assert_installed()

    up.run("ln", "-sfnT", "/etc/passwd", path)
    assert up.install("--check").code == FAILED
    assert up.install().code == REFUSED
    assert up.install("--uninstall").code == DONE
    assert set(up.changes()) == {path}  # not ours: it stays


def test_an_upgrade_replaces_what_they_lead_to(up):
    up.install()
    write(up.bundle("hotplug/completion.bash"), "# new\n")
    os.unlink(up.bundle("hotplug/completion.zsh"))
    result = up.install()
    assert result.code == DONE and result.out.count("remove /usr/share/zsh/") == 2, result
    assert up.text("/usr/share/bash-completion/completions/xenvif-tagger") == "# new\n"
    assert not any(path.startswith("/usr/share/zsh") for path in up.changes())
    assert up.install("--check").code == DONE
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


def test_no_link_where_nobody_reads_it(root):
    for path in LINKS:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(os.path.dirname(root + path))
    before = listing(root)
    assert "link" not in stage(root, "--dry-run").out.replace("link /usr/bin", "").replace(
        "make the links in", "")
    assert stage(root).code == DONE
    assert stage(root, "--check").code == DONE
    assert not any(os.path.lexists(root + path) for path in LINKS)
    # It has come since.
    os.makedirs(root + "/usr/share/zsh/site-functions")
    assert stage(root, "--check").code == FAILED
    assert stage(root).out == "link /usr/share/zsh/site-functions/_xenvif-tagger\n"
    assert stage(root, "--uninstall").code == DONE
    os.rmdir(root + "/usr/share/zsh/site-functions")
    assert listing(root) == before


def test_what_was_cut_off_beside_a_link_goes(up):
    up.install()
    for path in LINKS:
        up.run("ln", "-s", "/opt/xenvif-tagger/hotplug/x", path + ".new")
    assert up.install("--uninstall").code == DONE
    up.assert_as_before()


# ---- --dry-run, --check, --root ---------------------------------------------------------------


@pytest.mark.parametrize("installed", [False, True])
def test_dry_run_changes_nothing(up, installed):
    if installed:
        up.install()
    changes, keys, restarts = up.changes(), up.store(), up.restarts()
    for action in ("install", "--uninstall"):
        result = up.install(action, "--dry-run")
        assert result.code == DONE and result.err == "", result
        lines = result.out.splitlines()
        if installed == (action == "install"):
            assert len(lines) == 1 and lines[0].startswith("nothing to do")
        else:
            assert len(lines) > 5 and all(line.startswith("would ") for line in lines)
    assert (up.changes(), up.store(), up.restarts()) == (changes, keys, restarts)


def test_dry_run_says_what_a_run_then_does(up):
    for action in ("install", "--uninstall"):
        planned = up.install(action, "--dry-run").out.replace("would ", "")
        done = up.install(action).out
        assert planned.replace(" when it has no task in progress", "") == done


@pytest.mark.parametrize("gone, piece", [
    (HOOK, "the hook"), (SETTING, "the setting"), ("/usr/bin/xenvif-tagger", "the command"),
    (CONFIG, "the config file"), ("/opt/xenvif-tagger/xenvif_tagger/__init__.py", "the package in"),
    ("/opt/xenvif-tagger/xenvif_tagger/__pycache__", "compiled"),
    ("/opt/xenvif-tagger/unread", "has read"), (STOCK, "the stock script")])
def test_check_says_what_is_missing(up, gone, piece):
    up.install()
    up.run("rm", "-r", os.path.realpath(gone) if gone.startswith("/etc") else gone)
    result = up.install("--check")
    assert result.code == FAILED and re.search("MISSING .*" + piece, result.out), result


def test_check_finds_a_vif_that_is_not_covered(up):
    up.install()
    up.plug("c", STOCK)
    result = up.install("--check")
    assert result.code == FAILED and result.out.count("MISSING") == 1, result


def listing(top):
    return {os.path.relpath(os.path.join(where, name), top): look(os.path.join(where, name))
            for where, folders, files in os.walk(top) for name in folders + files}


def stage(root, *options):
    result = subprocess.run([os.path.join(root, "bundle", "dom0-install.sh"), "--root", root]
                            + list(options), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={"PATH": root + "/traps:" + PATH})
    return Result(result.returncode, result.stdout.decode(), result.stderr.decode())


@pytest.fixture
def root(tmp_path, bundle):
    """A dom0's files below a directory with a space in its name; and no command that asks."""
    top = str(tmp_path / "a root's $HOME")
    at = make_dom0(top)
    os.rmdir(at("/bundle"))
    shutil.copytree(bundle, at("/bundle"))
    os.unlink(at("/usr/bin/python3"))
    os.symlink("python3.6", at("/usr/bin/python3"))
    for name in ("systemctl", "xenstore-ls", "xenstore-read", "xenstore-write", "ovs-vsctl", "xe",
                 "xenops-cli", "python3"):
        write(at("/traps/" + name), "#!/bin/sh\ntouch '%s'\nexit 1\n" % at("/asked").replace(
            "'", "'\\''"), 0o755)
    return top


def test_staging(root):
    before = listing(root)
    assert stage(root, "--dry-run").code == DONE
    assert listing(root) == before
    result = stage(root)
    assert result.code == DONE, result
    with open(root + SETTING) as stream:
        assert stream.read().endswith("\nsetup-vif-rules=%s\n" % HOOK)
    assert os.path.exists(root + "/opt/xenvif-tagger/hotplug/setup-vif-rules")
    command = os.readlink(root + "/usr/bin/xenvif-tagger")
    assert command == "/opt/xenvif-tagger/hotplug/xenvif-tagger"
    assert os.readlink(root + SERVICE_LINK) == SERVICE and os.path.isfile(root + SERVICE)
    assert stage(root, "--check").code == DONE
    assert stage(root).out == "nothing to do\n"
    assert stage(root, "--uninstall").code == DONE
    assert listing(root) == before  # (so nothing was asked, either)
    assert not any("xenvif" in name for name in os.listdir("/opt") + os.listdir("/etc"))


def test_staging_below_a_relative_path(root, tmp_path):
    """With CDPATH, cd would go to another directory of that name, and print where it is."""
    shutil.copytree(root + "/etc", str(tmp_path / "else" / os.path.basename(root) / "etc"))
    result = subprocess.run(["bundle/dom0-install.sh", "--root", "../" + os.path.basename(root)],
                            cwd=root, env={"PATH": PATH, "CDPATH": str(tmp_path / "else")})
    assert result.returncode == DONE
    result = subprocess.run(["bash", os.path.basename(root) + "/bundle/dom0-install.sh", "--check",
                             "--root", os.path.basename(root)], cwd=str(tmp_path),
                            env={"PATH": PATH, "CDPATH": str(tmp_path / "else")})
    assert result.returncode == DONE


def test_staging_below_a_directory_that_is_no_root(root):
    os.makedirs(root + "/empty")
    result = subprocess.run([os.path.join(root, "bundle", "dom0-install.sh"), "--root",
                             root + "/empty"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == REFUSED and os.listdir(root + "/empty") == []
    assert result.stderr.decode() == "dom0-install: there is no %s/empty/etc\n" % root


def test_staging_without_one_part_of_the_script(root):
    before = listing(root)
    for name in os.listdir(SCRIPTS):
        path = os.path.join(root, "bundle", "dom0-install.d", name)
        os.rename(path, root + "/away")
        result = stage(root)
        assert result.code == REFUSED and path + " is missing" in result.err, result
        os.rename(root + "/away", path)
    assert listing(root) == before


def test_staging_reads_the_unit_in_there(root):
    write(root + UNIT + ".d/local.conf", "[Service]\nExecStart=\nExecStart=-/usr/sbin/xenopsd-xc "
          "--config /etc/xenopsd.conf --config-dir ${WHERE}\nEnvironment='WHERE=/etc/w.d'\n")
    assert stage(root).code == DONE
    assert os.path.exists(root + "/etc/w.d/zz-xenvif-tagger.conf")


@pytest.mark.parametrize("wrong, reason", [
    (("/usr/bin/python3", "python3.4"), "Python 3.4"),
    (("/usr/bin/python3", None), "no /usr/bin/python3"),
    ((UNIT, None), "not a dom0"), ((STOCK, None), "no stock")])
def test_staging_refuses(root, wrong, reason):
    os.unlink(root + wrong[0])
    if wrong[1]:
        os.symlink(wrong[1], root + wrong[0])
    before = listing(root)
    result = stage(root)
    assert result.code == REFUSED and reason in result.err, result
    assert listing(root) == before


# ---- the database -----------------------------------------------------------------------------

HELD = {"boot": "b", "held": {"tag": 4095, "vlan_mode": "dot1q-tunnel", "cvlans": [4095]}}


@pytest.mark.parametrize("schema", [None, schema_like_2_5], ids=["newest", "2.5"])
def test_marks_are_taken_out_and_nothing_else(host, schema):
    host.ovs = PrivateOvs(schema=schema and schema())
    host.start()
    ids = {mark.KEY: mark.encode({"boot": "b, \"c'"}), "other": "it's"}
    rows = [{"name": "vif%d.0" % number, "port_external_ids": ids, "tag": 5}
            for number in range(1200)]
    host.ovs.add_many_ports("br0", rows)
    host.ovs.add_port("br0", "tap1.0", {"iface-id": "i"}, {mark.KEY: "{}", "x": "y"}, tag=7)
    host.ovs.add_port("br0", "eth0", {}, {"x": "y"}, trunks=[1, 2])
    before = {port["name"]: port for port in host.ovs.rows("Port")}
    host.install()
    assert {port["name"]: port for port in host.ovs.rows("Port")} == before
    result = host.install("--uninstall")
    assert result.code == DONE and result.err == "" and "ports: 1201" in result.out, result
    for port in host.ovs.rows("Port"):
        was = before[port["name"]]
        was["external_ids"].pop(mark.KEY, None)
        assert dict(port, _version=0) == dict(was, _version=0)


def test_held_ports_are_told_of(up):
    up.ovs.add_port("br0", "tap1.0", {}, {mark.KEY: mark.encode(HELD)}, **HELD["held"])
    up.ovs.add_port("br0", "tap2.0", {}, {mark.KEY: mark.encode(HELD)}, tag=4095)
    up.ovs.add_port("br0", "tap3.0", {}, {mark.KEY: mark.encode(HELD)}, tag=5)
    up.ovs.add_port("br0", "tap4.0", {}, {mark.KEY: '{"boot":"held"}'}, tag=4095)
    up.ovs.add_port("br0", "tap5.0", {}, {}, tag=4095)
    up.install()
    result = up.install("--uninstall")
    assert result.code == DONE and "2 ports are held" in result.err, result
    assert re.search(r": tap(1\.0 tap2|2\.0 tap1)\.0$", result.err, re.M), result
    assert up.ovs.port("tap1.0")["cvlans"] == [4095]
    # What it says opens one does.
    command = re.search("ovs-vsctl set Port NAME .*", result.err).group(0)
    up.run("sh", "-c", command.replace("NAME", "tap1.0").replace("VLAN", "5", 1).replace(
        "ovs-vsctl", "ovs-vsctl --no-wait"))
    assert (up.ovs.port("tap1.0")["tag"], up.ovs.port("tap1.0")["vlan_mode"]) == ([5], [])
    up.assert_as_before()


def test_a_database_that_is_down(up):
    up.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
    up.install()
    up.ovs.stop_server()
    result = up.install("--uninstall")
    assert result.code == MARKS_LEFT and "database" in result.err, result
    up.assert_as_before()
    up.ovs.start_server()
    # The command that it names takes them out.
    command = re.search(r"for p in .* done", result.err).group(0)
    up.run("sh", "-c", command.replace("ovs-vsctl", "ovs-vsctl --no-wait"))
    assert up.ovs.port("vif1.0")["external_ids"] == {}


def test_a_port_that_goes_while_marks_are_taken_out(host):
    write(host.at("/usr/local/sbin/ovs-vsctl"), """#!/bin/sh
case $* in *remove*) /usr/bin/ovs-vsctl --no-wait del-port br0 vif1.0 ;; esac
exec /usr/bin/ovs-vsctl "$@"
""", 0o755)
    host.start()
    for name in ("vif1.0", "vif2.0"):
        host.ovs.add_port("br0", name, {}, {mark.KEY: "{}"})
    host.install()
    assert host.install("--uninstall").code == DONE
    assert not host.ovs.port("vif1.0") and host.ovs.port("vif2.0")["external_ids"] == {}


def test_marks_in_the_database_that_the_config_names(up):
    with PrivateOvs() as other:
        other.add_bridge("br0")
        other.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
        os.link(other.socket_path, os.path.join(up.ovs.dir, "other.sock"))
        up.write(CONFIG, "[mirror]\nremote = x\n[ ovsdb ]\n"
                         " remote = unix:/run/openvswitch/other.sock\n")
        up.install()
        assert up.install("--uninstall").code == DONE
        assert other.port("vif1.0")["external_ids"] == {}


# ---- the command, and libxl -------------------------------------------------------------------


def test_the_command_is_not_led_astray(up):
    up.install()
    up.run("mkdir", "/tmp/evil")
    for name in ("xenvif_tagger", "click", "json"):
        up.write("/tmp/evil/%s.py" % name, "raise SystemExit('astray')\n")
    result = up.run("sh", "-c", "cd /tmp/evil && exec /usr/bin/xenvif-tagger status",
                    PYTHONPATH="/tmp/evil", PYTHONHOME="/tmp/evil", PYTHONSTARTUP="/tmp/evil/x")
    assert result.code == 0, result


def test_dom0s_own_libraries_win(up):
    up.install()
    result = up.run("/usr/bin/python3", "-I", "-c", """
import runpy, sys, types
cli = types.ModuleType("xenvif_tagger.cli")
cli.main = lambda: print("\\n".join(sys.path))
sys.modules["xenvif_tagger.cli"] = cli
runpy.run_path("/usr/bin/xenvif-tagger", run_name="__main__")
""")
    paths = result.out.splitlines()
    assert re.match("/opt/xenvif-tagger/releases/[^/]+$", paths[0]), result
    assert paths[-2:] == ["/usr/share/openvswitch/python", paths[0] + "/vendor"]


LIBXL_KEYS = {"/local/domain/0/backend/vif/3/0/script": LIBXL + "-tagger",
              "/libxl/3/device/vif/0/script": LIBXL + "-tagger",
              "/local/domain/0/backend/vif/4/0/script": LIBXL,
              "/local/domain/0/backend/vbd/4/0/script": LIBXL + "-tagger"}


@pytest.fixture
def libxl(host):
    remove_xenopsd(host.at)
    write(host.at(LIBXL), "#!/bin/bash\n", 0o755)
    host.keys = host.store({})
    return host.start()


def test_libxl(libxl):
    result = libxl.install()
    assert result.code == DONE and "script=vif-openvswitch-tagger" in result.out, result
    assert libxl.run("test", "-x", LIBXL + "-tagger").code == 0
    libxl.assert_watches()
    assert libxl.install("--check").code == DONE
    assert libxl.install().out.startswith("nothing to do\n")
    libxl.store(LIBXL_KEYS)
    result = libxl.install("--uninstall")
    assert result.code == DONE and "can't be started" in result.out, result
    assert libxl.changes() == {} and libxl.restarts() == 0
    assert libxl.store() == {
        path: LIBXL if "/vif/" in path else value for path, value in LIBXL_KEYS.items()}


@pytest.mark.parametrize("point", LIBXL_POINTS)
def test_libxl_killed(libxl, point):
    libxl.until(point)
    assert libxl.install().code == DONE
    assert libxl.install("--check").code == DONE
    libxl.until(point, "--uninstall")
    assert libxl.install("--uninstall").code == DONE
    assert libxl.changes() == {}
