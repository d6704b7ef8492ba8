"""dom0-install.sh installs, checks and uninstalls on a made-up dom0 (see support/install_host.py),
run as root, without --root."""
import os
import re
import sys

import pytest

from support.install_host import (
    CONFIG,
    DONE,
    FAILED,
    HOOK,
    LINKS,
    PLUGGED,
    SERVICE,
    SERVICE_LINK,
    SETTING,
    STOCK,
)
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


def test_the_installed_files_and_their_modes(up):
    up.run("bash", "/bundle/dom0-install.sh")
    top = {path for path in up.changes() if not path.startswith("/opt/xenvif-tagger/releases/")}
    assert top == {CONFIG, SETTING, SERVICE, SERVICE_LINK, "/usr/bin/xenvif-tagger",
                   "/opt/xenvif-tagger"} | set(LINKS) | {
        "/opt/xenvif-tagger/" + name for name in (
            "current", "dom0-install.sh", "hotplug", "releases", "state", "unread", "vendor",
            "xenvif_tagger")}
    # Root owns all of the files; only root may write them, and everybody may read them.
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
    test_the_installed_files_and_their_modes(host)
    assert host.run("/opt/xenvif-tagger/dom0-install.sh", "--check").code == DONE
    for name in ("setup-vif-rules", "xenvif-tagger", "bugtool/run", "bugtool/log", "xapi-plugin"):
        assert host.run("test", "-x", "/opt/xenvif-tagger/hotplug/" + name).code == 0, name


def test_compiles_the_package_for_this_python(installed):
    names = [path for path in installed.changes() if path.endswith(".pyc")]
    for name in ("core/%s/decide", "host/%s/config", "core/%s/mark", "ovsdb/%s/client"):
        end = "/xenvif_tagger/%s.cpython-%d%d.pyc" % (
            name % "__pycache__", sys.version_info[0], sys.version_info[1])
        assert any(path.endswith(end) for path in names), end


def test_a_second_install_does_nothing(installed):
    before = installed.changes()
    result = installed.install()
    assert result.code == DONE and result.out == "nothing to do\n", result
    assert installed.changes() == before
    assert installed.restarts() == 1


def test_uninstall_where_nothing_is_installed(up):
    result = up.install("--uninstall")
    assert result.code == DONE and "nothing to do" in result.out, result
    assert up.changes() == {} and up.restarts() == 0


def test_uninstall_by_the_installed_copy_of_the_script(installed):
    result = installed.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall")
    assert result.code == DONE, result
    installed.assert_as_before()


@pytest.mark.parametrize("command", [
    "/opt/xenvif-tagger/dom0-install.sh", "bash /opt/xenvif-tagger/current/dom0-install.sh",
    "cd /bundle && ./dom0-install.sh", "cd /bundle && bash dom0-install.sh",
    "cd /bundle/hotplug && ../dom0-install.sh", "cd /bundle && bash -s -- <dom0-install.sh",
    "PATH=$PATH:/bundle && dom0-install.sh",
    "cd /run && ln -s ../bundle/dom0-install.sh one && ln -s one two && cd / && run/two"])
def test_the_installed_command_works_however_it_is_called(installed, command):
    result = installed.run("sh", "-c", command + " --check")
    assert result.code == DONE and result.err == "", result
    result = installed.run("sh", "-c", command.replace("ln -s", "ln -sf") + " --uninstall")
    assert result.code == DONE and result.err == "", result
    installed.assert_as_before()


def test_vifs_are_covered_only_where_the_stock_script_was_named(installed):
    assert installed.store()[PLUGGED % ("b", 0)] == "/third/party"


def test_no_vm_has_ever_run(host):
    host.keys = host.store({})
    host.start()
    assert host.install().code == DONE
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_service_that_does_not_run_is_not_started(host, where):
    host.unit(ActiveState="inactive", MainPID=0)
    host.start()
    assert host.install().code == DONE
    if where == "after":  # xenopsd is started after the install, and reads the setting then
        host.run("systemctl", "restart", "xenopsd-xc")
        assert host.install().out == "nothing to do\n"
    assert host.install("--check").code == DONE
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()
    assert host.restarts() == (2 if where == "after" else 0)


def test_the_command_ignores_odd_variables_and_directories(installed):
    installed.run("mkdir", "/tmp/evil")
    for name in ("xenvif_tagger", "click", "json"):
        installed.write("/tmp/evil/%s.py" % name, "raise SystemExit('astray')\n")
    result = installed.run("sh", "-c", "cd /tmp/evil && exec /usr/bin/xenvif-tagger status",
                    PYTHONPATH="/tmp/evil", PYTHONHOME="/tmp/evil", PYTHONSTARTUP="/tmp/evil/x")
    assert result.code == 0, result


def test_dom0s_own_libraries_win(installed):
    result = installed.run("/usr/bin/python3", "-I", "-c", """
import runpy, sys, types
cli = types.ModuleType("xenvif_tagger.cli.main")
cli.main = lambda: print("\\n".join(sys.path))
sys.modules["xenvif_tagger.cli.main"] = cli
runpy.run_path("/usr/bin/xenvif-tagger", run_name="__main__")
""")
    paths = result.out.splitlines()
    assert re.match("/opt/xenvif-tagger/releases/[^/]+$", paths[0]), result
    assert paths[-2:] == ["/usr/share/openvswitch/python", paths[0] + "/vendor"]
