"""dom0-install.sh is killed at any point, and run again."""
import os
import re

import pytest

from support.install_host import (
    DONE,
    LOCKED,
    RESTART_LATER,
    SCRIPTS,
    Host,
    default_directory,
    stripped,
    write,
)
from support.install_stand_ins import TASK_DONE, TASK_PENDING
from xenvif_tagger.core import mark

INSTALL_POINTS = ["state", "copying", "release", "current", "links-inside", "links",
                  "config-noted", "config-written", "config", "service-noted", "service",
                  "service-link", "service-started", "setting-noted", "setting-written", "setting",
                  "restart", "key", "keys", "tidy"]
UNINSTALL_POINTS = ["setting-removed", "setting", "restart", "key", "keys", "service-link",
                    "service-stopped", "service", "marks", "links", "config", "made", "files",
                    "base"]
LIBXL_POINTS = ["libxl-link"]


def test_the_points_are_those_of_the_script():
    points = set()
    for name in os.listdir(SCRIPTS):
        with open(os.path.join(SCRIPTS, name)) as stream:
            points.update(re.findall(r"\bpoint ([a-z][a-z-]+)", stream.read()))
    assert points == set(INSTALL_POINTS + UNINSTALL_POINTS + LIBXL_POINTS)


@pytest.fixture(scope="module")
def clean(tmp_path_factory, bundle):
    """(the directory of Host.keep(), the changes) of an install that was not killed, in a dom0 of
    default_directory."""
    directory = str(tmp_path_factory.mktemp("clean"))
    made = Host(directory, bundle)
    default_directory(made)
    try:
        assert made.start().install().code == DONE
        made.keep(directory + "/kept")
        return directory + "/kept", stripped(made.changes())
    finally:
        made.stop()


@pytest.mark.parametrize("point", INSTALL_POINTS)
def test_install_killed(host, clean, point):
    default_directory(host)
    host.start()
    host.until(point)
    host.assert_works()
    assert host.install().code == DONE
    host.assert_installed()
    assert stripped(host.changes()) == clean[1]
    host.install("--uninstall")
    host.assert_as_before()

    host.until(point)
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


@pytest.mark.parametrize("point", UNINSTALL_POINTS)
def test_uninstall_killed(host, clean, point):
    default_directory(host)
    host.start(clean[0])
    host.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}"})
    host.until(point, "--uninstall")
    host.assert_works()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()
    assert host.ovs.port("vif1.0")["external_ids"] == {}

    assert host.install().code == DONE
    host.until(point, "--uninstall")
    assert host.install().code == DONE
    host.assert_installed()
    assert stripped(host.changes()) == clean[1]


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


def test_killed_after_an_uninstall_that_was_left_waiting(installed):
    """dom0-install.sh notes which xenopsd process has not read the setting yet. The note must be
    about the last change of the setting, and not about an older change."""
    assert installed.install("--uninstall", "--no-restart").code == RESTART_LATER
    installed.run("systemctl", "restart", "xenopsd-xc")
    installed.until("setting-written")
    assert installed.install().code == DONE
    installed.assert_installed()


def install_that_waits(up):
    """Start an install that waits for a task of xenopsd until end_task(); returns the process."""
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


def test_only_one_installer_runs_at_a_time(up):
    first = install_that_waits(up)
    for action in ("install", "--uninstall"):
        result = up.install(action)
        assert result.code == LOCKED and "another run" in result.err, result
    up.assert_works()
    end_task(up)
    assert first.communicate(timeout=180)[1] == b"" and first.returncode == DONE
    up.assert_installed()


@pytest.mark.parametrize("end", ["in another text", "nothing left"])
def test_the_script_is_overwritten_while_it_runs(up, end):
    """scp overwrites a file in place, and bash reads each line of a script only when the line
    before is done: the running script must not run the new text."""
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
    assert first.communicate(timeout=180)[1] == b"" and first.returncode == DONE
    assert not os.path.exists(up.lab("astray"))


@pytest.mark.parametrize("point", ["copying", "release", "current", "tidy"])
def test_upgrade_killed(installed, point):
    write(installed.bundle("xenvif_tagger/__init__.py"), '__version__ = "99.1"\n')
    installed.until(point)
    installed.assert_works()
    assert installed.run("xenvif-tagger", "status").code == DONE
    assert installed.install().code == DONE
    installed.assert_installed()
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()


@pytest.mark.parametrize("point", LIBXL_POINTS)
def test_libxl_killed(libxl, point):
    libxl.until(point)
    assert libxl.install().code == DONE
    assert libxl.install("--check").code == DONE
    libxl.until(point, "--uninstall")
    assert libxl.install("--uninstall").code == DONE
    assert libxl.changes() == {}
