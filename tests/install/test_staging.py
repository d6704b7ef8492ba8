"""dom0-install.sh with --dry-run, --check and --root."""
import contextlib
import os
import re
import shutil
import subprocess

import pytest

from support.install_host import (
    CONFIG,
    DONE,
    FAILED,
    HOOK,
    LINKS,
    PATH,
    REFUSED,
    SCRIPTS,
    SERVICE,
    SERVICE_LINK,
    SETTING,
    STOCK,
    UNIT,
    Result,
    look,
    make_dom0,
    write,
)


def test_no_link_in_a_directory_that_does_not_exist(root):
    for path in LINKS:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(os.path.dirname(root + path))
    before = listing(root)
    assert "link" not in stage(root, "--dry-run").out.replace("link /usr/bin", "").replace(
        "make the links in", "")
    assert stage(root).code == DONE
    assert stage(root, "--check").code == DONE
    assert not any(os.path.lexists(root + path) for path in LINKS)
    # zsh's directory comes after the install.
    os.makedirs(root + "/usr/share/zsh/site-functions")
    assert stage(root, "--check").code == FAILED
    assert stage(root).out == "link /usr/share/zsh/site-functions/_xenvif-tagger\n"
    assert stage(root, "--uninstall").code == DONE
    os.rmdir(root + "/usr/share/zsh/site-functions")
    assert listing(root) == before


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


def test_a_dry_run_prints_the_steps_of_a_run(up):
    for action in ("install", "--uninstall"):
        planned = up.install(action, "--dry-run").out.replace("would ", "")
        done = up.install(action).out
        assert planned.replace(" when it has no task in progress", "") == done


@pytest.mark.parametrize("gone, piece", [
    (HOOK, "the hook"), (SETTING, "the setting"), ("/usr/bin/xenvif-tagger", "the command"),
    (CONFIG, "the config file"), ("/opt/xenvif-tagger/xenvif_tagger/__init__.py", "the package in"),
    ("/opt/xenvif-tagger/xenvif_tagger/__pycache__", "compiled"),
    ("/opt/xenvif-tagger/unread", "has read"), (STOCK, "the stock script")])
def test_check_names_the_missing_piece(installed, gone, piece):
    installed.run("rm", "-r", os.path.realpath(gone) if gone.startswith("/etc") else gone)
    result = installed.install("--check")
    assert result.code == FAILED and re.search("MISSING .*" + piece, result.out), result


def test_check_finds_a_vif_that_is_not_covered(installed):
    installed.plug("c", STOCK)
    result = installed.install("--check")
    assert result.code == FAILED and result.out.count("MISSING") == 1, result


def test_an_image_whose_opt_leads_out_of_it(root, tmp_path):
    """Through an absolute link in the image, the script would change this machine's own files."""
    os.rename(root + "/opt", root + "/disk2")
    os.symlink(str(tmp_path), root + "/opt")
    before = listing(str(tmp_path))
    result = stage(root)
    assert result.code == REFUSED and "outside of" in result.err, result
    assert listing(str(tmp_path)) == before
    os.unlink(root + "/opt")
    os.symlink("disk2", root + "/opt")
    assert stage(root).code == stage(root, "--check").code == DONE


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
    """A dom0's files below a directory with a space in its name. The commands that ask the running
    system are traps: each leaves a file "asked"."""
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
    assert listing(root) == before  # so no trap has left a file "asked" either
    assert not any("xenvif" in name for name in os.listdir("/opt") + os.listdir("/etc"))


def test_staging_below_a_relative_path(root, tmp_path):
    """CDPATH names another directory, to which a plain cd in the script would go."""
    shutil.copytree(root + "/etc", str(tmp_path / "else" / os.path.basename(root) / "etc"))
    result = subprocess.run(["bundle/dom0-install.sh", "--root", "../" + os.path.basename(root)],
                            cwd=root, env={"PATH": PATH, "CDPATH": str(tmp_path / "else")})
    assert result.returncode == DONE
    result = subprocess.run(["bash", os.path.basename(root) + "/bundle/dom0-install.sh", "--check",
                             "--root", os.path.basename(root)], cwd=str(tmp_path),
                            env={"PATH": PATH, "CDPATH": str(tmp_path / "else")})
    assert result.returncode == DONE


def test_staging_below_a_directory_that_is_no_dom0s_root(root):
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


def test_staging_reads_the_unit_of_the_image(root):
    write(root + UNIT + ".d/local.conf", "[Service]\nExecStart=\nExecStart=-/usr/sbin/xenopsd-xc "
          "--config /etc/xenopsd.conf --config-dir ${WHERE}\nEnvironment='WHERE=/etc/w.d'\n")
    assert stage(root).code == DONE
    assert os.path.exists(root + "/etc/w.d/zz-xenvif-tagger.conf")


@pytest.mark.parametrize("wrong, reason", [
    (("/usr/bin/python3", "python3.4"), "Python 3.4"),
    (("/usr/bin/python3", None), "no /usr/bin/python3"),
    ((UNIT, None), "not a dom0"), ((STOCK, None), "no stock")])
def test_staging_refuses_a_wrong_root(root, wrong, reason):
    os.unlink(root + wrong[0])
    if wrong[1]:
        os.symlink(wrong[1], root + wrong[0])
    before = listing(root)
    result = stage(root)
    assert result.code == REFUSED and reason in result.err, result
    assert listing(root) == before
