"""The links by which other programs, such as man and xen-bugtool, find our files."""
import os
import re

import pytest

from support.install_host import (
    BUGTOOL,
    DONE,
    FAILED,
    HOOK,
    LINKS,
    REFUSED,
    write,
)


def test_the_links_lead_to_our_files(installed):
    for path, name in LINKS.items():
        assert os.readlink(installed.path(path)) == "/opt/xenvif-tagger/hotplug/" + name
        assert installed.run("test", "-r", path).code == 0, path
    assert installed.run("test", "-x", BUGTOOL + "/run").code == 0


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
def test_files_of_others_in_place_of_a_link_stay(host, taken):
    taken(host)
    host.start()
    for options in ((), ("--dry-run",)):
        result = host.install(*options)
        assert result.code == REFUSED and "is there already, and not ours" in result.err, result
        assert result.err.count("\n") == 1 and host.changes() == {}


def test_opt_is_a_link(host):
    """Where /opt is a link, install, --check, a second install and uninstall do as where /opt is a
    directory."""
    os.rename(host.at("/opt"), host.at("/disk2"))
    os.symlink("/disk2", host.at("/opt"))
    host.start()
    result = host.install()
    assert result.code == DONE and result.err == "", result
    result = host.install("--check")
    assert result.code == DONE and "MISSING" not in result.out, result
    assert host.install().out == "nothing to do\n"
    assert host.runs() == HOOK and host.run("test", "-x", HOOK).code == 0
    result = host.install("--uninstall")
    assert result.code == DONE and result.err == "", result
    host.assert_as_before()


@pytest.mark.parametrize("path", sorted(LINKS))
def test_check_finds_and_install_mends_a_link(installed, path):
    before = installed.changes()
    installed.run("rm", path)
    result = installed.install("--check")
    assert result.code == FAILED and re.findall("MISSING.*", result.out) == [
        "MISSING  the link " + path], result
    assert installed.install().out == "link %s\n" % path
    assert installed.changes() == before
    installed.assert_installed()

    installed.run("ln", "-sfnT", "/etc/passwd", path)
    assert installed.install("--check").code == FAILED
    assert installed.install().code == REFUSED
    assert installed.install("--uninstall").code == DONE
    assert set(installed.changes()) == {path}  # the link is not ours, so it stays


def test_an_upgrade_replaces_the_files_behind_the_links(installed):
    write(installed.bundle("hotplug/completion.bash"), "# new\n")
    os.unlink(installed.bundle("hotplug/completion.zsh"))
    result = installed.install()
    assert result.code == DONE and result.out.count("remove /usr/share/zsh/") == 2, result
    assert installed.text("/usr/share/bash-completion/completions/xenvif-tagger") == "# new\n"
    assert not any(path.startswith("/usr/share/zsh") for path in installed.changes())
    assert installed.install("--check").code == DONE
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()


def test_a_new_link_that_a_killed_run_has_left_goes(installed):
    for path in LINKS:
        installed.run("ln", "-s", "/opt/xenvif-tagger/hotplug/x", path + ".new")
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()
