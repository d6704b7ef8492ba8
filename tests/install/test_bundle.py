"""The bundle and the RPM: each build gives the same bytes, with all that a bare dom0 needs.

The packages that pip fetches for the bundle stay in build/vendor of the checkout, so that pip
fetches them once.
"""
import hashlib
import os
import re
import shutil
import sys
import tarfile

import pytest

from support.building import (
    DATE,
    DOWNLOADS,
    bundle,
    clone,
    commit_copy,
    environment,
    must,
    rpm,
    run,
)
from support.constants import ROOT
from support.private_ovs import find_schema

NETLESS = [shutil.which("unshare"), "--net"] + (["--map-root-user"] if os.geteuid() else [])
IDS = {"xs-vif-uuid": "vif-a", "attached-mac": "00:16:3e:00:00:0a"}
# The names of commands that build or fetch Python code.
BUILDERS = re.compile(r"(pip|python|pyenv|conda|easy_install|curl|wget|make$)"
                      r"|(.*-)?(cc|c\+\+|gcc|g\+\+|clang|cpp|tcc|ld|as)(-[\d.]+)?$")


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return commit_copy(str(tmp_path_factory.mktemp("repository")))


@pytest.fixture(scope="module")
def made(repository, tmp_path_factory):
    """The path of a bundle."""
    return bundle(repository, str(tmp_path_factory.mktemp("made")))


@pytest.fixture
def unpacked(made, tmp_path):
    """The directory to which the bundle unpacks."""
    must("tar", "-xzf", made, "-C", str(tmp_path))
    return str(tmp_path / os.path.basename(made)[:-len(".tar.gz")])


@pytest.fixture
def bare(tmp_path):
    """The path of a Python of the version under test, with nothing but its standard library."""
    base = os.path.join(sys.base_prefix, "bin", "python%d.%d" % sys.version_info[:2])
    must(base, "-m", "venv", "--without-pip", str(tmp_path / "bare"))
    python = str(tmp_path / "bare" / "bin" / "python3")
    for name in ("pip", "click", "ovs", "XenAPI", "xenvif_tagger"):
        assert run(python, "-Ic", "import " + name)[0] == 1
    return python


@pytest.fixture
def tools(tmp_path, bare):
    """The environment of a dom0: PATH has the system's commands without those that build or fetch
    code."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for place in ("/bin", "/usr/bin"):
        for name in os.listdir(place):
            if not BUILDERS.match(name) and not os.path.lexists(str(directory / name)):
                os.symlink(os.path.join(place, name), str(directory / name))
    os.symlink(bare, str(directory / "python3"))
    for name in ("pip", "pip3", "cc", "gcc", "make"):
        assert shutil.which(name, path=str(directory)) is None
    return {"PATH": str(directory)}


def site_packages(bare):
    return must(bare, "-Ic", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()


# ---- the same bytes, and no others


def test_two_runs_give_the_same_bytes(repository, made, tmp_path):
    other = clone(repository, str(tmp_path / "a longer" / "path"))
    for litter in ("hotplug/setup-vif-rules.orig", "xenvif_tagger/__pycache__/x.pyc",
                   "vendor/click/__init__.py", "xenvif_tagger/scratch.py"):
        path = os.path.join(other, litter)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").close()
    again = bundle(other, str(tmp_path / "out"), TZ="Asia/Tokyo", LC_ALL="C")
    assert os.path.basename(again) == os.path.basename(made)
    assert sha256(again) == sha256(made)
    later = bundle(repository, str(tmp_path / "later"), SOURCE_DATE_EPOCH="1800000000")
    with tarfile.open(later) as archive:
        assert {member.mtime for member in archive} == {1800000000}


def test_the_files_of_the_bundle(repository, made):
    with tarfile.open(made) as archive:
        members = archive.getmembers()
    top = os.path.basename(made)[:-len(".tar.gz")]
    assert re.match(r"xenvif-tagger-\d+\.\d+\.\d+", top)
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.uname, member.gname, member.mtime)
            for member in members} == {(0, 0, "root", "root", DATE)}
    assert {member.type for member in members} == {tarfile.DIRTYPE, tarfile.REGTYPE}
    files = {member.name[len(top) + 1:]: member.mode for member in members if member.isfile()}
    tracked = must("git", "-C", repository, "ls-files", "-s").splitlines()
    modes = {line.split("\t")[1]: int(line[3:6], 8) for line in tracked}
    ours = {name: mode for name, mode in files.items() if not name.startswith("vendor/")}
    assert ours.pop("hotplug/xenvif-tagger.8") == 0o644  # the only generated file
    assert ours == {name: modes[name] for name in ours}
    for part in ("hotplug/", "xenvif_tagger/", "docs/", "dom0-install.sh", "dom0-install.d/",
                 "README.md", "LICENSE"):
        wanted = {name for name in modes if name.startswith(part)}
        assert wanted and wanted <= set(ours)
    vendored = {name[len("vendor/"):] for name in files if name.startswith("vendor/")}
    assert {"ovs/db/idl.py", "click/core.py", "XenAPI/XenAPI.py", "vendor.txt",
            "licences/click-8.0.4/LICENSE.rst"} <= vendored
    others = [name for name in vendored if not name.endswith(".py")]
    assert all(name == "vendor.txt" or name.startswith("licences/") for name in others), others


def test_the_manual_is_made_with_the_bundles_own_code_and_click(tmp_path):
    """The click in the bundle makes the manual, not the click of the Python that runs the build.
    The manual's date is that of the commit."""
    with open(os.path.join(ROOT, "xenvif_tagger/cli/doctor.py")) as stream:
        text = stream.read()
    told = text.replace("Check whether this host", "With click %(version)s, check this host")
    assert told != text
    told += "\n\ndoctor.help %= {'version': click.__version__}\n"
    root = commit_copy(str(tmp_path / "root"), **{"xenvif_tagger/cli/doctor.py": told})
    with tarfile.open(bundle(root, str(tmp_path / "out"))) as archive:
        name = archive.getnames()[0] + "/hotplug/xenvif-tagger.8"
        page = archive.extractfile(name).read().decode()
    assert "With click 8.0.4, check this host" in page and '"2023-11-14"' in page


def test_a_download_with_another_checksum_is_not_used(repository, made, tmp_path):
    downloads = str(tmp_path / "downloads")
    shutil.copytree(DOWNLOADS, downloads)
    damaged = [os.path.join(where, name) for where, _, names in os.walk(downloads)
               for name in names if name.startswith("click")]
    for path in damaged:
        with open(path, "ab") as stream:
            stream.write(b"\0")
    status, output, errors = run(
        sys.executable, os.path.join(repository, "packaging", "bundle"), "--output",
        str(tmp_path / "out"), "--downloads", downloads,
        env=environment(PIP_CONFIG_FILE=os.devnull, PIP_NO_INDEX="1"))
    assert damaged and (status, output) == (1, "")
    assert errors.endswith(
        "pip could not fetch the packages that packaging/vendor.txt names, see above\n")
    assert not os.path.exists(str(tmp_path / "out"))


# ---- the bundle runs on a host without network, pip and compiler


def test_the_command_runs_without_network_pip_and_compiler(unpacked, bare, tools, ovs):
    ovs.add_bridge("br0")
    ovs.add_port("br0", "vif1.0", IDS, tag=5)
    ovs.add_port("br0", "tap1.0", IDS)

    def command(*arguments):
        return run(*(NETLESS + [bare, "-I", os.path.join(unpacked, "hotplug", "xenvif-tagger")]
                     + list(arguments)), env=tools, cwd="/")

    status, output, errors = command("--version")
    assert (status, errors) == (0, "")
    assert re.match(r"xenvif-tagger, version \d", output)
    status, output, errors = command("--db", ovs.remote, "mirror", "port", "tap1.0")
    assert (status, errors) == (0, ""), output
    assert ovs.port("tap1.0")["tag"] == [5]
    assert command("mirror", "--nonsense")[0] == 2


def test_the_bundle_installs_without_network_pip_and_compiler(unpacked, bare, tools, tmp_path):
    root = tmp_path / "root"
    unit = root / "usr/lib/systemd/system/xenopsd-xc.service"
    stock = root / "usr/libexec/xenopsd/setup-vif-rules"
    for path, text in ((unit, "[Service]\nExecStart=/usr/sbin/xenopsd-xc\n"),
                       (stock, "#!/usr/bin/python3\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    stock.chmod(0o755)
    (root / "etc").mkdir()
    (root / "usr/bin").mkdir()
    (root / "usr/bin/python3").symlink_to("python3.6")
    must(*(NETLESS + [os.path.join(unpacked, "dom0-install.sh"), "--root", str(root)]), env=tools)
    shutil.rmtree(unpacked)
    installed = str(root / "opt/xenvif-tagger/hotplug/xenvif-tagger")
    output = must(*(NETLESS + [bare, "-I", installed, "--version"]), env=tools)
    assert re.match(r"xenvif-tagger, version \d", output)


IDL = """
import sys
sys.path.append(sys.argv[1])
import XenAPI, ovs.db.idl, ovs.poller, ovs.unixctl.server
assert XenAPI.xapi_local and XenAPI.Failure
helper = ovs.db.idl.SchemaHelper(sys.argv[3])
helper.register_columns("Port", ["name", "tag"])
idl = ovs.db.idl.Idl(sys.argv[2], helper)
while not (idl.run() or idl.has_ever_connected()):
    poller = ovs.poller.Poller()
    idl.wait(poller)
    poller.block()
print(sorted((row.name, row.tag) for row in idl.tables["Port"].rows.values()))
"""


def test_the_libraries_of_the_watcher_and_of_xapi_run_too(unpacked, bare, tools, ovs, tmp_path):
    ovs.add_bridge("br0")
    ovs.add_port("br0", "vif1.0", IDS, tag=5)
    vendor = os.path.join(unpacked, "vendor")
    output = must(*(NETLESS + [bare, "-Ic", IDL, vendor, ovs.remote,
                               find_schema()]), env=tools)
    assert output == "[('br0', []), ('vif1.0', [5])]\n"
    # This Python can compile every file of the libraries.
    assert must(bare, "-Im", "compileall", "-q", vendor) == ""


@pytest.mark.parametrize("name, wins", [("click", True), ("xenvif_tagger", False)])
def test_the_hosts_library_wins_but_not_over_our_package(unpacked, bare, tools, name, wins):
    with open(os.path.join(site_packages(bare), name + ".py"), "w") as stream:
        stream.write("raise SystemExit('the host has its own')\n")
    status, _, errors = run(bare, "-I", os.path.join(unpacked, "hotplug", "xenvif-tagger"),
                            "--version", env=tools)
    assert (status, errors) == ((1, "the host has its own\n") if wins else (0, ""))


# ---- the RPM

STAND_IN = """#!/bin/bash
echo "$(cd "$(dirname "$0")/docs" && echo new*) $*" >>"$INSTALLER_LOG"
exit "$(cat "$INSTALLER_LOG.exit")"
"""


@pytest.fixture
def make_rpm(tmp_path):
    """A function ``make(version)`` that builds an RPM with a stand-in for dom0-install.sh and with
    a file new-VERSION in docs; returns the RPM's path."""

    def make(version):
        root = commit_copy(str(tmp_path / version), **{
            "dom0-install.sh": STAND_IN,
            "xenvif_tagger/__init__.py": '__version__ = "%s"\n' % version,
            "docs/new-" + version: ""})
        return rpm(root, str(tmp_path / (version + "-out")))

    return make


class Host(object):
    """Runs rpm in a mount namespace in which /usr/share is a directory of the test's own."""

    def __init__(self, directory):
        self.directory = directory
        self.log = str(directory / "log")
        (directory / "share").mkdir()
        (directory / "db").mkdir()
        self.installer_exits(0)

    def installer_exits(self, code):
        with open(self.log + ".exit", "w") as stream:
            stream.write("%d\n" % code)

    def rpm(self, *arguments):
        """Run rpm; returns (exit status, stderr)."""
        status, _, errors = run(
            NETLESS[0], "--mount", *(NETLESS[2:] + [
                "sh", "-c", 'mount --bind "$1" /usr/share && shift && exec "$@"', "sh",
                str(self.directory / "share"), "rpm", "--dbpath", str(self.directory / "db")]
                + list(arguments)), env=dict(os.environ, INSTALLER_LOG=self.log))
        return status, errors

    def calls(self):
        """The lines that the stand-in of dom0-install.sh has written since the last call of this
        method."""
        with open(self.log) as stream:
            lines = stream.read().splitlines()
        os.remove(self.log)
        return lines

    def files(self):
        return sorted(os.listdir(str(self.directory / "share")))


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_rpm_is_the_tree_of_the_bundle(repository, unpacked, tmp_path):
    path = rpm(repository, str(tmp_path / "one"))
    assert path.endswith(".noarch.rpm")
    assert sha256(path) == sha256(rpm(clone(repository, str(tmp_path / "copy")),
                                      str(tmp_path / "two")))
    out = tmp_path / "out"
    out.mkdir()
    must("sh", "-c", 'rpm2cpio "$1" | cpio -idm --quiet', "sh", path, cwd=str(out))
    must("diff", "-r", unpacked, str(out / "usr/share/xenvif-tagger"))
    assert os.listdir(str(out)) == ["usr"]
    requires = must("rpm", "-qp", "--requires", path).splitlines()
    assert {name for name in requires if not name.startswith("rpmlib(")} == {
        "/bin/bash", "/bin/sh", "/usr/bin/python3"}


def test_rpm_installs_upgrades_and_removes_by_the_installer(make_rpm, host):
    # If the installer refuses, rpm prints that, and the package is whole.
    host.installer_exits(2)
    status, errors = host.rpm("-i", "--nodeps", make_rpm("0.1.0"))
    assert (status, host.calls()) == (0, ["new-0.1.0 "])
    assert "the host does not use this version of it:\n  dom0-install.sh ended with 2" in errors
    assert host.rpm("-V", "--nodeps", "xenvif-tagger")[0] == 0

    # An upgrade runs no --uninstall, and leaves no file of the old version.
    host.installer_exits(0)
    status, errors = host.rpm("-U", "--nodeps", make_rpm("0.2.0"))
    assert (status, host.calls()) == (0, ["new-0.2.0 "])
    assert "dom0-install.sh ended" not in errors

    # If the installer can't uninstall, the package stays.
    host.installer_exits(4)
    status, errors = host.rpm("-e", "xenvif-tagger")
    assert (status, host.calls()) == (1, ["new-0.2.0 --uninstall"])
    assert "not removed: dom0-install.sh --uninstall ended with 4" in errors
    assert host.rpm("-V", "--nodeps", "xenvif-tagger")[0] == 0

    host.installer_exits(5)
    status, errors = host.rpm("-e", "xenvif-tagger")
    assert (status, host.calls()) == (0, ["new-0.2.0 --uninstall"])
    assert "not removed" not in errors
    assert host.files() == []
