"""dom0-install.sh waits for xenopsd's tasks and restarts xenopsd, or leaves the restart to the
operator."""
import os

import pytest

from support.install_host import (
    DONE,
    FAILED,
    HOOK,
    PLUGGED,
    RESTART_LATER,
    SETTING,
    STOCK,
    write,
)
from support.install_stand_ins import TASK_DONE, TASK_PENDING


def test_the_restart_waits_for_tasks_in_progress(host):
    host.tasks("xenops-cli", TASK_PENDING, TASK_DONE + TASK_PENDING, TASK_DONE)
    host.start()
    result = host.install()
    assert result.code == DONE and "wait until" in result.out and "VM.start R:2" in result.out
    host.assert_installed()


def test_a_number_of_seconds_is_decimal(up):
    """In bash's arithmetic, 08 is no number and 010 is eight: --wait must take both as decimal."""
    up.tasks("xenops-cli", TASK_PENDING, TASK_DONE)
    result = up.install("--wait", "08")
    assert result.code == DONE and result.err == "", result
    up.assert_installed()


@pytest.mark.parametrize("which", ["xenops-cli", "xe", "neither"])
def test_a_busy_xenopsd_is_not_restarted(host, which):
    host.tasks("xenops-cli", *([TASK_PENDING] if which == "xenops-cli" else []))
    host.tasks("xe", *(["5cb7-1,5cb7-2\n"] if which == "xe" else []))
    host.start()
    result = host.install("--wait", "0")
    assert result.code == RESTART_LATER and "xe-toolstack-restart" in result.out, result
    assert host.restarts() == 0
    host.assert_works()
    # The xenstore keys of the plugged VIFs name our hook nevertheless; --check says that xenopsd
    # has not read the setting.
    assert host.store()[PLUGGED % ("a", 0)] == HOOK
    check = host.install("--check")
    assert check.code == FAILED and check.out.count("MISSING") == 1, check

    # The key of a VIF that is plugged meanwhile still names the stock script; the next run of the
    # installer changes that key.
    host.plug("c", STOCK)
    host.keys[PLUGGED % ("c", 0)] = STOCK
    host.tasks("xe", "\n")
    host.tasks("xenops-cli", TASK_DONE)
    assert host.install().code == DONE
    host.assert_installed()
    assert host.restarts() == 1

    # --uninstall leaves the hook while the running xenopsd would plug new VIFs by the hook.
    host.tasks("xenops-cli", TASK_PENDING)
    result = host.install("--uninstall", "--wait", "0")
    assert result.code == RESTART_LATER, result
    host.assert_works()
    assert host.exists(HOOK) and host.xenopsd_would_run() == STOCK
    host.run("systemctl", "restart", "xenopsd-xc")  # the operator does the restart
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


def test_a_setting_with_which_xenopsd_does_not_start_is_taken_back(host):
    write(host.lab("broken"), "")
    host.start()
    result = host.install()
    assert result.code == FAILED and "so I remove the setting again" in result.err, result
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
