"""The watcher's unit: dom0-install.sh installs, mends, starts and stops the unit."""
import os
import re
import signal

import pytest

from support.install_host import (
    DONE,
    FAILED,
    HOOK,
    RESTART_LATER,
    SERVICE,
    SERVICE_LINK,
    write,
)
from xenvif_tagger.core import mark


def test_the_watcher_is_stopped_before_our_marks_go(host):
    """A running watcher would write the marks again."""
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


def test_an_uninstall_that_leaves_the_hook_leaves_the_watcher(installed):
    assert installed.install("--uninstall", "--no-restart").code == RESTART_LATER
    installed.assert_watches()


def test_a_watcher_that_does_not_start_stops_no_other_step(up):
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
def test_check_finds_and_install_mends_the_watcher(installed, act, missing):
    act(installed)
    result = installed.install("--check")
    assert result.code == FAILED and all(
        re.search("^MISSING +" + piece, result.out, re.M) for piece in missing), result
    assert result.out.count("MISSING") == len(missing), result
    assert installed.install().code == DONE
    installed.assert_installed()
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()


def test_files_of_others_beside_the_unit_stay(installed):
    drop_in = SERVICE + ".d/local.conf"
    installed.run("mkdir", SERVICE + ".d")
    installed.write(drop_in, "[Service]\nIPAddressAllow=any\n")
    result = installed.install("--uninstall")
    assert result.code == DONE and drop_in + " is not ours: it stays\n" in result.out, result
    assert set(installed.changes()) == {os.path.dirname(drop_in), drop_in}


def test_an_install_where_no_systemd_runs(libxl):
    libxl.run("rmdir", "/run/systemd/system")
    result = libxl.install()
    assert result.code == DONE and result.out.count("there is no systemd here") == 1, result
    assert not libxl.exists(SERVICE)
    assert all(call.startswith("systemctl show ") for call in libxl.calls().splitlines())
    assert libxl.install("--check").code == DONE
    assert libxl.install("--uninstall").code == DONE
    assert libxl.changes() == {}
