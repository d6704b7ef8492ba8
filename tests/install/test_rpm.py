"""The RPM's scriptlets with the real installer, on the made-up dom0 of support/install_host.py.

rpm runs in the made-up dom0, without a network. rpm's database and the packages lie in /lab,
outside of the layer that shows the changes of the host. The last test plugs ports with the
package's hooks in the other stand-in, tests/dom0, in which no systemd runs.
"""
import os
import re
import shutil

import pytest

from dom0 import Dom0
from support import building, install_host
from support.constants import ROOT
from support.install_host import (
    CONFIG,
    DONE,
    FAILED,
    HOOK,
    LIBXL,
    LINKS,
    REFUSED,
    RESTART_LATER,
    SERVICE,
    SERVICE_LINK,
    SETTING,
    STOCK,
)
from support.install_stand_ins import TASK_DONE
from support.shared import made_once
from xenvif_tagger.core import mark

SHARE = "/usr/share/xenvif-tagger"
OLD, NEW = "0.0.1", "99.1"
# Debian's rpm prints these lines at each installation; other rpms do not.
DEBIANS = "rpm: RPM should not be used directly.*\nrpm: However assuming you know.*\n"
HINT = "xenvif-tagger: the package is there, but the host does not use this version of it:\n"


def make_packages(directory):
    """Build VERSION.rpm of two versions; each has a module that the other lacks."""
    with open(os.path.join(ROOT, "xenvif_tagger", "__init__.py")) as stream:
        text = stream.read()
    for version in (OLD, NEW):
        place = os.path.join(directory, version)
        init, count = re.subn(r'(?m)^__version__ = ".*"$', '__version__ = "%s"' % version, text)
        assert count == 1
        root = building.commit_copy(place, **{
            "xenvif_tagger/__init__.py": init,
            "xenvif_tagger/only_in_%s.py" % version.replace(".", "_"): ""})
        os.rename(building.rpm(root, os.path.join(place, "out")), place + ".rpm")


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """{version: the RPM's path}"""
    made = made_once(tmp_path_factory, "rpm", make_packages)
    return {version: os.path.join(made, version + ".rpm") for version in (OLD, NEW)}


@pytest.fixture(scope="session")
def added(tmp_path_factory, packages):
    """The directory to which Host.keep() has copied a dom0 with the package OLD."""
    def make(path):
        made = Host(path + ".host", packages)
        try:
            made.start().add(OLD)
            made.assert_uses(OLD)
            made.keep(path)
        finally:
            made.stop()
    return made_once(tmp_path_factory, "added", make)


class Host(install_host.Host):
    """A dom0 with rpm, and with no bundle and no Python libraries."""

    def __init__(self, base, packages):
        empty = os.path.join(str(base), "empty")
        os.makedirs(empty)
        super(Host, self).__init__(base, empty)
        shutil.rmtree(self.at("/usr/share/openvswitch/python"))
        for version, path in packages.items():
            shutil.copy(path, self.lab(version + ".rpm"))

    def rpm(self, *arguments, **environment):
        result = self.run("unshare", "--net", "rpm", "--dbpath", "/lab/rpm", *arguments,
                          **environment)
        result.err = re.sub(DEBIANS, "", result.err)
        return result

    def add(self, version, *options, **environment):
        """Install or upgrade with rpm -U, as yum does. --nodeps, because rpm's database has no
        other packages."""
        return self.rpm("-U", "--nodeps", "/lab/%s.rpm" % version, *options, **environment)

    def erase(self, **environment):
        return self.rpm("-e", "xenvif-tagger", **environment)

    def install(self, *options, **environment):
        return self.run(SHARE + "/dom0-install.sh", *options, **environment)

    def assert_package(self, version):
        """rpm has this version of the package, all its files are whole, and no file of another
        version is there."""
        assert self.rpm("-q", "--qf", "%{version}\n", "xenvif-tagger").out == version + "\n"
        result = self.rpm("-V", "--nodeps", "xenvif-tagger")
        assert (result.code, result.out) == (0, ""), result
        owned = set(self.rpm("-ql", "xenvif-tagger").out.splitlines())
        there = set(self.run("find", SHARE).out.splitlines())
        assert there == owned and any("/only_in_" in path for path in there)

    def assert_uses(self, version):
        self.assert_package(version)
        self.assert_installed()
        assert self.text(SETTING).endswith("\nsetup-vif-rules=%s\n" % HOOK)
        assert self.exists(CONFIG)
        assert self.run("xenvif-tagger", "--version").out == "xenvif-tagger, version %s\n" % version
        result = self.run("xenvif-tagger", "status")
        assert result.code == 0, result

    def assert_gone(self):
        assert self.rpm("-q", "xenvif-tagger").code == 1
        self.assert_as_before()


@pytest.fixture
def host(tmp_path, packages):
    made = Host(tmp_path, packages)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def up(host):
    return host.start()


@pytest.fixture
def old(host, added):
    """A started dom0 with the package OLD."""
    return host.start(added)


def modules(host):
    """The modules of the release in use that only one version has."""
    return [name for name in host.run("ls", "/opt/xenvif-tagger/xenvif_tagger").out.split()
            if name.startswith("only_in_")]


def test_installs_upgrades_and_erases(up):
    up.ovs.add_port("br0", "vif1.0", {}, {mark.KEY: "{}", "x": "y"}, tag=5)

    result = up.add(OLD)
    assert result.code == 0 and result.err == "", result
    up.assert_uses(OLD)
    assert up.restarts() == 1
    assert {path for path in up.changes()
            if not path.startswith(("/opt/xenvif-tagger/", SHARE + "/"))} == {
                CONFIG, SETTING, SERVICE, SERVICE_LINK, "/usr/bin/xenvif-tagger",
                "/opt/xenvif-tagger", SHARE} | set(LINKS)
    assert "mirror vm" in up.run("man", "xenvif-tagger", MANWIDTH="100").out

    result = up.add(NEW)
    assert result.code == 0 and result.err == "", result
    up.assert_uses(NEW)
    assert modules(up) == ["only_in_99_1.py"]
    assert up.restarts() == 1  # xenopsd had the setting all the time
    assert up.ovs.port("vif1.0")["external_ids"] == {mark.KEY: "{}", "x": "y"}

    for version, option in ((NEW, "--replacepkgs"), (OLD, "--oldpackage")):
        result = up.add(version, option)
        assert result.code == 0 and result.err == "", result
        up.assert_uses(version)
    assert up.restarts() == 1

    result = up.erase()
    assert result.code == 0 and result.err == "", result
    up.assert_gone()
    assert up.restarts() == 2 and up.runs() == STOCK
    assert up.ovs.port("vif1.0")["external_ids"] == {"x": "y"}


def test_erased_after_uninstall_by_hand(old):
    assert old.install("--uninstall").code == DONE
    old.assert_package(OLD)
    assert old.erase().code == 0
    old.assert_gone()


def test_a_package_over_an_installation_by_hand(old):
    """The package upgrades an installation from a bundle; an erase of the package removes all files
    of the package and of the bundle."""
    old.rpm("-e", "--justdb", "--noscripts", "xenvif-tagger")
    old.run("rm", "-r", SHARE)
    old.add(NEW)
    old.assert_uses(NEW)
    assert old.erase().code == 0
    old.assert_gone()


def test_a_config_that_was_changed_stays(old):
    old.write(CONFIG, "[hold]\nbridges = br7\n")
    old.add(NEW)
    old.assert_uses(NEW)
    assert old.text(CONFIG) == "[hold]\nbridges = br7\n"
    result = old.erase()
    assert result.code == 0 and "so the file stays" in result.out, result
    assert set(old.changes()) == {CONFIG} and old.text(CONFIG) == "[hold]\nbridges = br7\n"


def test_a_dom0_that_is_refused(host):
    install_host.bridge(host)
    host.start()
    result = host.add(OLD)
    assert result.code == 0 and "Linux bridge" in result.err, result
    assert HINT + "  dom0-install.sh ended with %d" % REFUSED in result.err
    host.assert_package(OLD)
    assert all(path.startswith(SHARE) for path in host.changes()) and host.restarts() == 0
    assert host.erase().code == 0
    host.assert_gone()


def test_a_refused_upgrade_leaves_the_old_release_in_use(old):
    old.write("/etc/xenopsd.conf.d/zzz.conf", "setup-vif-rules=%s\n" % STOCK)
    result = old.add(NEW)
    assert result.code == 0 and "zzz.conf" in result.err and HINT in result.err, result
    old.assert_package(NEW)
    assert modules(old) == ["only_in_0_0_1.py"]
    old.assert_works()
    # The cure that the message names works.
    old.run("rm", "/etc/xenopsd.conf.d/zzz.conf")
    assert "\n  %s/dom0-install.sh\n" % SHARE in result.err
    assert old.install().code == DONE
    old.assert_uses(NEW)
    assert old.erase().code == 0
    old.assert_gone()


def test_xenopsd_is_busy(host):
    host.tasks("xenops-cli")  # xenops-cli fails, so xenopsd may be busy
    host.start()
    result = host.add(OLD)
    assert result.code == 0 and "in use only once xenopsd is restarted" in result.err, result
    host.assert_package(OLD)
    host.assert_works()
    assert host.restarts() == 0 and host.xenopsd_would_run() == HOOK

    host.run("systemctl", "restart", "xenopsd-xc")
    assert host.install().code == DONE
    host.assert_uses(OLD)
    # The running xenopsd plugs VIFs by the hook, so the hook stays, and the package stays too.
    result = host.erase()
    assert result.code == 1, result
    assert "not removed: dom0-install.sh --uninstall ended with %d" % RESTART_LATER in result.err
    host.assert_package(OLD)
    host.assert_works()
    assert host.exists(HOOK)

    host.tasks("xenops-cli", TASK_DONE)
    assert host.erase().code == 0
    host.assert_gone()


def test_the_database_is_down_at_erase(old):
    old.ovs.stop_server()
    result = old.erase()
    assert result.code == 0 and "the database can't be reached" in result.err, result
    old.assert_gone()


@pytest.mark.parametrize("point", ["release", "setting", "keys"])
def test_killed_at_install(up, point):
    result = up.add(OLD, XENVIF_TAGGER_INSTALL_STOP_AFTER=point)
    assert result.code == 0 and HINT in result.err, result
    up.assert_package(OLD)
    up.assert_works()
    assert up.install().code == DONE
    up.assert_uses(OLD)
    assert up.erase().code == 0
    up.assert_gone()


@pytest.mark.parametrize("point", ["setting-removed", "marks", "files"])
def test_killed_at_erase(old, point):
    result = old.erase(XENVIF_TAGGER_INSTALL_STOP_AFTER=point)
    assert result.code == 1 and "not removed" in result.err, result
    old.assert_package(OLD)
    old.assert_works()
    assert old.install("--check").code == FAILED
    assert old.erase().code == 0
    old.assert_gone()


# ---- the installed hooks plug ports

# A stand-in for xenstore-ls, which reads the files of the stand-in tests/dom0/bin/xenstore.
XENSTORE_LS = r"""#!/bin/sh
if ! [ "$1" = -f ] || ! cd "/run/xenstore$2"; then
    echo "xenstore-ls: xs_directory ($2): No such file or directory" >&2
    exit 1
fi
find . -name .value | sed "s|^\./\(.*\)/\.value$|\1|" | while read -r path; do
    echo "$2/$path = \"$(cat "$path/.value")\""
done
"""


@pytest.fixture
def dom0():
    with Dom0() as made:
        made.add_bridge("xenbr0")
        made.write_file("/usr/bin/xenstore-ls", XENSTORE_LS, 0o755)
        yield made


def changes(dom0):
    """The files of the dom0 that differ from this machine's: {path: look(path)}."""
    found = {}
    for tree in ("/usr", "/etc", "/opt", "/var"):
        top = dom0.path("/run/.dom0" + tree)
        for where, folders, files in os.walk(top):
            for path in (os.path.join(where, name) for name in folders + files):
                inside = tree + path[len(top):]
                if not os.path.lexists(inside) or (
                        install_host.look(path) != install_host.look(inside)):
                    found[inside] = install_host.look(path)
    return found


def test_the_installed_hooks_plug_ports(dom0, packages, tmp_path):
    def rpm(*arguments):
        result = dom0.run("rpm", "--dbpath", tmp_path / "db", *arguments)
        assert result.returncode == 0, result

    def plug(how, domid, **vif):
        result = how(domid, 0, **vif)
        assert result.returncode == 0, result

    def tags(*ports):
        return [dom0.ovs.port(port)["tag"] for port in ports]

    # First plug by the stock scripts alone, so that `before` has the files that the stock scripts
    # leave behind: a log, and Python's compiled common.py.
    dom0.add_vif(9, 0)
    plug(dom0.plug_vif, 9)
    plug(dom0.plug_libxl_vif, 8, script="vif-openvswitch")
    before = changes(dom0)
    for domid, version in ((1, OLD), (3, NEW)):
        rpm("-U", "--nodeps", packages[version])
        vif = dom0.add_libxl_vif(domid, 0, script="vif-openvswitch-tagger")
        plug(dom0.plug_libxl_vif, domid)
        dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
        plug(dom0.plug_libxl_emu, domid)
        assert tags(vif.vif, vif.emu) == [[5], [5]]

        vif = dom0.add_vif(domid + 1, 0, setup_vif_rules=HOOK)
        plug(dom0.plug_vif, domid + 1)
        dom0.ovs.vsctl("set", "Port", vif.vif, "tag=6")
        plug(dom0.plug_tap, domid + 1)
        assert tags(vif.vif, vif.tap) == [[6], [6]]

    def marks():
        return [row["name"] for row in dom0.ovs.rows("Port") if mark.KEY in row["external_ids"]]

    script = "backend/vif/1/0/script"
    assert len(marks()) == 8
    assert dom0.xenstore.read(script) == LIBXL + "-tagger"
    rpm("-e", "xenvif-tagger")
    after = changes(dom0)
    assert [path for path in set(before) | set(after) if before.get(path) != after.get(path)] == []
    assert dom0.xenstore.read(script) == LIBXL
    assert marks() == []
