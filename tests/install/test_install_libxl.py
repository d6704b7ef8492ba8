"""dom0-install.sh on a dom0 with libxl's scripts."""
import os

import pytest

from support.install_host import DONE, FAILED, LIBXL, LIBXL_KEYS

HOOK = LIBXL + "-tagger"
SAVED = "/var/lib/xen/userdata-d.%s.0b1c-uuid.libxl-json"


def test_libxl(libxl):
    result = libxl.install()
    assert result.code == DONE and "script=vif-openvswitch-tagger" in result.out, result
    assert libxl.run("test", "-x", LIBXL + "-tagger").code == 0
    libxl.assert_watches()
    assert libxl.install("--check").code == DONE
    assert libxl.install().out.startswith("nothing to do\n")
    libxl.store(LIBXL_KEYS)
    result = libxl.install("--uninstall")
    assert result.code == DONE and result.err == "", result
    assert libxl.changes() == {} and libxl.restarts() == 0
    assert libxl.store() == {
        path: LIBXL if "/vif/" in path else value for path, value in LIBXL_KEYS.items()}


def shell(host, *words):
    """Run a shell in the dom0: the shell follows the dom0's links, such as /var/run."""
    assert host.run("sh", "-c", *words).code == 0


@pytest.mark.parametrize("path, cure", [
    (SAVED % 3, "xl config-update 3 CFG"), ("/etc/libvirt/libxl/web.xml", "virsh edit web"),
    ("/var/run/libvirt/libxl/web.xml", "virsh edit web"), ("/etc/xen/web.cfg", "take script= out"),
    ("/etc/xen/auto/web", "take script= out")])
def test_a_config_that_names_the_hook(libxl, path, cure):
    """The uninstall leaves a stub under the hook's name, which runs the stock script: without the
    stub, the guest of that config would end at its next reboot."""
    libxl.install()
    shell(libxl, "mkdir -p ${1%/*}; echo script=$0 >$1", HOOK, path)
    libxl.write(SAVED % 4, "... %s ..." % LIBXL)
    libxl.write(LIBXL, "#!/bin/sh\necho stock \"$@\"\n")
    os.chmod(libxl.path(LIBXL), 0o755)
    for _ in range(2):
        result = libxl.install("--uninstall")
        assert result.code == DONE and result.err == "" and cure in result.out, result
        assert "userdata-d.4" not in result.out
        assert libxl.run(HOOK, "online", "a b").out == "stock online a b\n"
        assert not libxl.exists("/opt/xenvif-tagger")
        result = libxl.install("--check")
        assert result.code == FAILED and cure in result.out, result
    shell(libxl, "echo >$0", path)
    assert "no config names" in libxl.install("--check").out
    result = libxl.install("--uninstall")
    assert result.code == DONE and result.out == "remove %s\n" % HOOK, result
    assert not libxl.exists(HOOK)


def test_an_install_over_the_stub(libxl):
    libxl.install()
    libxl.write("/etc/xen/web.cfg", HOOK)
    libxl.install("--uninstall")
    assert libxl.install().code == libxl.install("--check").code == DONE
    assert os.readlink(libxl.path(HOOK)) == "/opt/xenvif-tagger/hotplug/vif-openvswitch-tagger"

