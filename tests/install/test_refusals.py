"""Where dom0-install.sh can't install, it refuses in one line, and changes nothing."""
import os
import re
import shutil
import subprocess

import pytest

from support.install_host import (
    CONFIG,
    DONE,
    HOOK,
    REFUSED,
    SCRIPT,
    STOCK,
    bridge,
    remove_xenopsd,
    write,
)


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
def test_a_part_of_the_script_that_is_not_whole(installed, damage):
    before, calls = installed.changes(), installed.calls()
    damage(installed.bundle("dom0-install.d/uninstall.sh"))
    for action in ("install", "--check", "--uninstall"):
        result = installed.install(action)
        assert result.code == REFUSED and result.out == "", result
        assert "/bundle/dom0-install.d/uninstall.sh is missing or damaged" in result.err
        assert result.err.count("\n") == 1
    assert installed.changes() == before and installed.calls() == calls
    assert installed.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall").code == DONE


def test_refuses_a_user_who_is_not_root(up):
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


def test_help_needs_no_other_part_of_the_script(tmp_path):
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


def test_uninstall_works_where_install_would_be_refused(installed):
    installed.write("/etc/xensource/network.conf", "bridge\n")
    assert installed.install("--uninstall").code == DONE
    assert set(installed.changes()) == {"/etc/xensource/network.conf"}


def test_uninstall_without_a_stock_script(installed):
    """dom0-install.sh refuses --uninstall if the stock script is gone: without a script xenopsd
    would not start, and a VIF whose xenstore key names no script can't be unplugged."""
    installed.run("mv", STOCK, "/run/away")
    before, keys = installed.changes(), installed.store()
    for lost in False, True:
        if lost:
            installed.run("rm", "/opt/xenvif-tagger/state")
            before = installed.changes()
        result = installed.install("--uninstall")
        assert result.code == REFUSED and result.err.count("\n") == 1, result
        assert "no stock script" in result.err and STOCK in result.err
        assert (installed.changes(), installed.store()) == (before, keys)
    installed.run("mv", "/run/away", STOCK)
    assert installed.install("--uninstall").code == DONE
    assert HOOK not in installed.store().values() and "" not in installed.store().values()


def test_uninstall_is_refused_while_a_file_of_others_names_the_hook(installed):
    installed.write("/etc/xenopsd.conf.d/mine.conf", "setup-vif-rules=%s\n" % HOOK)
    result = installed.install("--uninstall")
    assert result.code == REFUSED and "mine.conf" in result.err, result
    installed.assert_works()
