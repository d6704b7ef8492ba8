"""`doctor` on a host that is set up right, and on hosts with one fault each.

The host's files, /proc included, are stand-ins below a directory, and xenstore-ls is a stand-in
too. The stock script is the project's own stand-in, or a copy that a test breaks on purpose. The
database and the watcher are real. The tests that are not about the watcher share one watcher, which
has a database of its own.
"""
import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from support.constants import LONG
from support.doctor_host import (
    BOOT,
    COMMON,
    CONFIG,
    HOOK,
    KEY,
    PID,
    SCRIPTS,
    SETTING,
    STOCK,
    USUAL,
    plug,
)
from xenvif_tagger import __version__
from xenvif_tagger.output import checks as doctor_check
from xenvif_tagger.output.checks import Check

# ---- a right host ------------------------------------------------------------------------------


def test_a_right_host(host, switch):
    plug(host, switch, {"tag": 5})
    checks = host.doctor(switch)
    assert {name: check["state"] for name, check in checks.items()
            if check["state"] != "OK"} == USUAL
    assert "3.1.0" in checks["ovsdb"]["found"]
    assert switch.schema["version"] in checks["ovsdb"]["found"]
    assert "none run" in checks["stock-add-port"]["found"]
    assert __version__ in checks["python"]["found"] and sys.executable in checks["python"]["found"]


@pytest.mark.parametrize("columns", ["80", "160"])
def test_the_table(host, switch, columns):
    host.write(HOOK, "#!/usr/bin/python3\n", 0o644)
    code, out, err = host.run(switch, "doctor", COLUMNS=columns)
    lines = out.splitlines()
    assert (code, err, "\033" in out) == (1, "", False)
    assert lines[0].split() == ["CHECK", "STATE", "FOUND"]
    assert any(re.match(r"hook-file +FAIL +%s can't be run$" % HOOK, line) for line in lines)
    assert "-> chmod 755 %s" % HOOK in out
    # The table breaks no command and no word: only these may be longer than a line.
    for line in lines:
        said = line.split("  ")[-1].strip()
        assert len(line) <= int(columns) or said.startswith("-> ") or " " not in said, line
    assert re.match(r"\d+ checks: \d+ OK, 1 FAIL, 1 SKIP$", lines[-1])


def test_colours():
    checks = [Check("a", "FAIL", "found " * 30, "mend"), Check("bcd", "OK", "well", None)]
    assert doctor_check.table([Check("a", "FAIL", "x", "mend " * 30 + "it")], 80, False)[2] == (
        " " * 13 + "-> " + "mend " * 30 + "it")
    plain, coloured = (doctor_check.table(checks, 80, colour) for colour in (False, True))
    assert "\033[31mFAIL\033[0m" in coloured[1]
    assert [re.sub("\033\\[[0-9;]*m", "", line) for line in coloured] == plain


def test_quiet(host, switch):
    assert host.run(switch, "-q", "doctor") == (0, "", "")


def test_nothing_is_written(host, switch):
    plug(host, switch, {"tag": 5}, {"tag": 6})
    before = switch.database_log(), sorted(
        os.path.join(where, name) for where, _, files in os.walk(host.root) for name in files)
    host.doctor(switch)
    assert before == (switch.database_log(), sorted(
        os.path.join(where, name) for where, _, files in os.walk(host.root) for name in files))


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become somebody else")
def test_a_user_who_is_not_root_on_a_host_that_is_no_dom0(host, switch):
    """doctor skips the checks that it can't make, and does not fail for them."""
    os.chmod(switch.dir, 0o755)
    os.chmod(switch.socket_path, 0o750)
    os.chmod(host.run_dir, 0o755)
    shutil.rmtree(host.root)
    # Import the modules while still root: perhaps only root can read this Python's files.
    host.patch = ("import os, XenAPI, ovs.json, ovs.version\n"
                  "import xenvif_tagger.cli.main, xenvif_tagger.doctor.examine\n"
                  "os.setgroups([]); os.setgid(65534); os.setuid(65534)")
    command = host.command(switch, "doctor", "--json")
    at = command.index("--config")  # left out, as only root can read pytest's directory
    done = subprocess.run(command[:at] + command[at + 2:], env=host.env(), cwd="/", timeout=LONG,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stderr == b"" and done.returncode == 0, done
    checks = {check["name"]: check for check in json.loads(done.stdout.decode())["checks"]}
    assert "run as root" in checks["ovsdb"]["found"]
    assert "run as root" in checks["watcher"]["found"]
    assert "not a dom0" in checks["hook-file"]["found"]
    assert {check["state"] for check in checks.values()} == {"OK", "SKIP"}, checks


def test_libxl(host, switch):
    shutil.rmtree(host.at("/proc"))
    with open(os.path.join(SCRIPTS, "vif-openvswitch")) as stream:
        host.write("/etc/xen/scripts/vif-openvswitch", stream.read(), 0o755)
    host.write("/etc/xen/scripts/vif-openvswitch-tagger", "#!/bin/bash\n", 0o755)
    key = '/local/domain/0/backend/vif/%d/0/script = "/etc/xen/scripts/vif-openvswitch%s"\n'
    host.xenstore(key % (3, "-tagger"), tree="/local/domain/0/backend/vif")
    checks = host.doctor(switch)
    assert {name for name, check in checks.items() if check["state"] != "OK"} == {
        "xenopsd", "hook-setting", "hook-read", "xapi-vifs"}
    # The stock script has plugged this guest.
    host.xenstore(key % (3, "-tagger") + key % (4, ""), tree="/local/domain/0/backend/vif")
    found = host.doctor(switch)["plugged-before"]
    assert found["state"] == "WARN" and "VIF 0 of domain 4" in found["found"], found
    assert "domain 3" not in found["found"] and found["cure"].startswith("xl config-update")
    host.write("/etc/xen/scripts/vif-openvswitch", "#!/bin/bash\n", 0o755)
    assert host.doctor(switch)["stock-add-port"]["cure"] == "rpm -V xen"
    host.write("/var/lib/dpkg/status", "")
    assert host.doctor(switch)["stock-add-port"]["cure"] == "dpkg -V xen-utils-common"
    os.unlink(host.at("/etc/xen/scripts/vif-openvswitch-tagger"))
    assert host.doctor(switch)["hook-file"]["state"] == "FAIL"


# ---- the host is broken ------------------------------------------------------------------------


def test_config_with_a_mistake(host, switch):
    host.write(CONFIG, "[mirror]\nbogus = 1\n")
    host.is_ill(switch, "config", "FAIL", "line 2", "bogus")


def test_config_that_was_named_is_missing(host, switch):
    os.unlink(host.at(CONFIG))
    host.is_ill(switch, "config", "FAIL", "no such file")


def test_linux_bridge(host, switch):
    host.write("/etc/xensource/network.conf", "bridge\n")
    found = host.is_ill(switch, "network", "FAIL", "Linux bridge")
    assert "xe-switch-network-backend openvswitch" in found["cure"]


def test_module_not_loaded(host, switch):
    os.rmdir(host.at("/sys/module/openvswitch"))
    assert host.is_ill(switch, "network", "FAIL", "not loaded")["cure"] == "modprobe openvswitch"


def test_xenopsd_does_not_run(host, switch):
    shutil.rmtree(host.at("/proc/%d" % PID))
    host.write("/usr/lib/systemd/system/xenopsd-xc.service", "[Service]\n")
    host.is_ill(switch, "xenopsd", "FAIL", "does not run",
                **{"hook-setting": "SKIP", "hook-read": "SKIP"})


def test_processes_are_hidden(host, switch):
    """/proc is mounted with the option hidepid, so doctor can't know that a process is not
    running."""
    for pid in 1, PID:
        shutil.rmtree(host.at("/proc/%d" % pid))
    host.process(3000, "bash")
    host.write("/usr/lib/systemd/system/xenopsd-xc.service", "[Service]\n")
    host.is_ill(switch, "xenopsd", "SKIP", "run as root", **{
        "hook-setting": "SKIP", "hook-read": "SKIP", "ovs-xapi-sync": "SKIP"})


def test_setting_missing(host, switch):
    os.unlink(host.at(SETTING))
    found = host.is_ill(switch, "hook-setting", "FAIL", **{"hook-read": "SKIP"})
    assert found["cure"] == "/opt/xenvif-tagger/dom0-install.sh"


def test_setting_overridden(host, switch):
    host.write("/etc/xenopsd.conf.d/zzz.conf", "setup-vif-rules = '/third/party' # mine\n")
    found = host.is_ill(switch, "hook-setting", "FAIL", "/third/party", "/etc/xenopsd.conf.d/zzz",
                        **{"hook-read": "SKIP"})
    assert found["cure"] == (
        "mv /etc/xenopsd.conf.d/zzz.conf /etc/xenopsd.conf.d/0-zzz.conf && "
        "/opt/xenvif-tagger/dom0-install.sh")
    os.rename(host.at("/etc/xenopsd.conf.d/zzz.conf"), host.at("/etc/xenopsd.conf.d/0-zzz.conf"))
    assert host.doctor(switch)["hook-setting"]["state"] == "OK"


def test_setting_of_a_third_party(host, switch):
    """The cure keeps the third party's script: the installer has our hook run that script."""
    os.unlink(host.at(SETTING))
    host.write("/etc/xenopsd.conf", "setup-vif-rules=/third/party\n")
    found = host.is_ill(switch, "hook-setting", "FAIL", "/third/party, by /etc/xenopsd.conf",
                        **{"hook-read": "SKIP"})
    assert found["cure"] == "/opt/xenvif-tagger/dom0-install.sh"


def test_setting_in_a_directory_that_is_not_read(host, switch):
    """xenopsd reads the config directory that its config file names; if the file names none, the
    directory that the unit names."""
    host.write("/etc/xenopsd.conf", "config-dir=/etc/elsewhere/\n")
    host.is_ill(switch, "hook-setting", "FAIL", **{"hook-read": "SKIP"})
    os.rename(host.at("/etc/xenopsd.conf.d"), host.at("/etc/elsewhere"))
    assert "/etc/elsewhere/zz" in host.doctor(switch)["hook-setting"]["found"]


def test_default_directory(host, switch):
    host.process(PID, "/usr/sbin/xenopsd-xc", began=900)
    host.is_ill(switch, "hook-setting", "FAIL", **{"hook-read": "SKIP"})
    os.rename(host.at("/etc/xenopsd.conf.d"), host.at("/etc/xenopsd-xc.conf.d"))
    assert host.doctor(switch)["hook-setting"]["state"] == "OK"


def test_hook_missing(host, switch):
    os.unlink(host.at(HOOK))
    found = host.is_ill(switch, "hook-file", "FAIL", "would not start again")
    assert found["cure"] == "/opt/xenvif-tagger/dom0-install.sh"


def test_hook_not_executable(host, switch):
    os.chmod(host.at(HOOK), 0o644)
    assert host.is_ill(switch, "hook-file", "FAIL")["cure"] == "chmod 755 " + HOOK


def test_xenopsd_not_restarted_by_the_note(host, switch):
    """doctor believes the note of dom0-install.sh, whatever the clocks say."""
    host.write("/opt/xenvif-tagger/unread", "%s %d 5000\n" % (BOOT, PID))
    host.is_ill(switch, "hook-read", "FAIL", "started before the setting")
    for other in ("%s %d 5000\n" % (BOOT, PID + 1), "an-earlier-boot %d 5000\n" % PID):
        host.write("/opt/xenvif-tagger/unread", other)
        assert host.doctor(switch)["hook-read"]["state"] == "OK"


def test_xenopsd_not_restarted_by_the_clock(host, switch):
    host.age(SETTING, 50)
    found = host.is_ill(switch, "hook-read", "FAIL", SETTING, "%d" % PID)
    assert found["cure"] == "xe-toolstack-restart"


def test_stock_script_missing(host, switch):
    os.unlink(host.at(STOCK))
    host.is_ill(switch, "stock-script", "FAIL", STOCK, **{"stock-add-port": "SKIP"})


def test_stock_script_of_the_config_is_unusable(host, switch):
    host.write(CONFIG, "[plug]\nstock_script = /usr/local/mine\n")
    host.is_ill(switch, "stock-script", "WARN", "/usr/local/mine", STOCK)


def test_stock_script_of_the_config(host, switch):
    os.makedirs(host.at("/usr/local/mine"))
    for name in ("setup-vif-rules", "common.py"):
        os.rename(host.at("/usr/libexec/xenopsd/" + name), host.at("/usr/local/mine/" + name))
    host.write(CONFIG, "[plug]\nstock_script = /usr/local/mine/setup-vif-rules\n")
    checks = host.doctor(switch)
    assert checks["stock-script"]["found"] == "/usr/local/mine/setup-vif-rules"
    assert checks["stock-add-port"]["state"] == "OK"


def test_stock_script_is_python_2(host, switch):
    host.write(STOCK, "#!/usr/bin/python\nprint 'x'\n", 0o755)
    host.is_ill(switch, "stock-script", "FAIL", "Python 3", **{"stock-add-port": "SKIP"})


def edit(host, name, old, new):
    with open(host.at(name)) as stream:
        text = stream.read()
    assert old in text
    host.write(name, text.replace(old, new), 0o755)


def test_common_without_doexec(host, switch):
    edit(host, COMMON, "doexec", "execute")
    host.is_ill(switch, "stock-add-port", "FAIL", "doexec")


def test_stock_script_without_add_port(host, switch):
    edit(host, STOCK, '"add-port"', '"plug-port"')
    host.is_ill(switch, "stock-add-port", "FAIL")


def test_stock_script_that_does_not_compile(host, switch):
    edit(host, STOCK, "def get_vif(", "def get_vif((")
    host.is_ill(switch, "stock-add-port", "FAIL", "SyntaxError")


def test_dry_run_that_does_not_reach_add_port(host, switch):
    """The stock script asks for metadata that only a later xenopsd may give: the check can't prove
    that the script adds ports, and does not fail."""
    edit(host, COMMON, 'self.json["backend"]', 'self.json["backend-of-later"]')
    host.is_ill(switch, "stock-add-port", "WARN", "not proved", "backend-of-later")


ESCAPES = [
    'subprocess.Popen(["touch", MARKER]).wait()',
    'os.system("touch " + MARKER)',
    'os.spawnlp(os.P_WAIT, "touch", "touch", MARKER)',
    'os.execlp("touch", "touch", MARKER)',
    'open(MARKER, "w").close()',
    "os.close(os.open(MARKER, os.O_CREAT | os.O_WRONLY))",
    "os.mkdir(MARKER)",
    'os.rename(__file__, MARKER)',
    'os.symlink("x", MARKER)',
    'os.unlink(__file__)',
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("name", [COMMON, STOCK])
def test_the_dry_run_does_nothing(host, switch, name, escape):
    """The dry run changes nothing, not even if the stock script runs commands or writes files
    without common.doexec."""
    with open(host.at(name)) as stream:
        text = stream.read()
    marker = host.at("/marker")
    place = "import sys\n"
    assert place in text
    line = "import subprocess; MARKER = %r; %s\n" % (marker, escape)
    host.write(name, text.replace(place, place + line, 1), 0o755)
    found = host.doctor(switch)["stock-add-port"]
    assert found["state"] == ("FAIL" if name == COMMON else "WARN"), found
    assert "more than run commands" in found["found"]
    assert not os.path.lexists(marker) and os.path.exists(host.at(name))


def test_vifs_plugged_before(host, switch):
    host.xenstore(KEY % ("a", HOOK) + KEY % ("b", STOCK))
    found = host.is_ill(switch, "plugged-before", "WARN", "1 VIFs", "vm-b", STOCK)
    assert found["cure"] == "/opt/xenvif-tagger/dom0-install.sh"


def test_vifs_whose_script_is_gone(host, switch):
    host.xenstore(KEY % ("b", STOCK) + KEY % ("c", "/gone/setup-vif-rules"))
    host.is_ill(switch, "plugged-before", "FAIL", "vm-c", "/gone/setup-vif-rules")


def test_no_vm_in_xenstore(host, switch):
    host.xenstore("", 1, "xenstore-ls: xs_directory (/xapi): No such file or directory")
    assert host.doctor(switch)["plugged-before"]["state"] == "OK"


@pytest.mark.parametrize("problem", ["could not connect", "No such file or directory"])
def test_xenstore_down(host, switch, problem):
    host.xenstore("", 1, "xenstore-ls: xs_open: " + problem)
    host.is_ill(switch, "plugged-before", "SKIP", problem)


@pytest.mark.parametrize("library, name, state", [
    ("ovs", "python-ovs", "FAIL"), ("XenAPI", "python-XenAPI", "WARN")])
def test_library_missing(host, switch, library, name, state):
    host.patch = "sys.modules[%r] = None" % library
    host.is_ill(switch, name, state, "not there")


def test_python_is_too_old(host, switch):
    host.patch = ("import types\nfrom xenvif_tagger.doctor import libraries\n"
                  "libraries.sys = types.SimpleNamespace(version_info=(3, 5, 10), "
                  "executable=sys.executable, modules=sys.modules)")
    # With this version_info doctor may fail to find the libraries' versions, so only this check
    # counts.
    checks = host.doctor(switch)
    assert checks["python"]["state"] == "FAIL" and "3.5.10" in checks["python"]["found"]


def test_versions_of_the_libraries(host, switch):
    """The check names the version of each library, and the directory from which Python has loaded
    the library."""
    checks = host.doctor(switch)
    for name in "ovs", "click", "XenAPI":
        module = importlib.import_module(name)
        assert os.path.dirname(module.__file__) in checks["python-" + name]["found"]
        assert re.match(r"\d+\.\d+", checks["python-" + name]["found"]), checks


@pytest.mark.parametrize("rpm, version", [
    ("echo 24.19.2", "24.19.2, "), ("echo not owned; exit 1", "of unknown version, ")])
def test_xenapi_of_dom0(host, switch, rpm, version):
    """dom0's XenAPI is a single file without a version: the version is that of the file's package,
    and not that of the other XenAPI that this Python has."""
    host.write("/site/XenAPI.py", "")
    host.patch = "sys.path.insert(0, %r)" % host.at("/site")
    host.program("rpm", '[ "$*" = "-qf --qf %%{VERSION} %s" ] || exit 9\n%s\n' % (
        host.at("/site/XenAPI.py"), rpm))
    assert host.doctor(switch)["python-XenAPI"]["found"] == version + host.at("/site")


def test_a_check_with_a_defect(host, switch):
    """A defect in the code of one check makes no other check fail."""
    host.patch = ("from xenvif_tagger.doctor.host import Host\n"
                  "def stock(self): raise RuntimeError('a defect')\nHost.stock = stock")
    checks = host.doctor(switch)
    assert (checks["stock-script"]["state"], checks["hook-file"]["state"]) == ("WARN", "OK")
    assert "RuntimeError: a defect" in checks["stock-script"]["found"]
