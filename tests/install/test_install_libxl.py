"""dom0-install.sh on a dom0 with libxl's scripts."""
from support.install_host import DONE, LIBXL, LIBXL_KEYS


def test_libxl(libxl):
    result = libxl.install()
    assert result.code == DONE and "script=vif-openvswitch-tagger" in result.out, result
    assert libxl.run("test", "-x", LIBXL + "-tagger").code == 0
    libxl.assert_watches()
    assert libxl.install("--check").code == DONE
    assert libxl.install().out.startswith("nothing to do\n")
    libxl.store(LIBXL_KEYS)
    result = libxl.install("--uninstall")
    assert result.code == DONE and "can't be started" in result.out, result
    assert libxl.changes() == {} and libxl.restarts() == 0
    assert libxl.store() == {
        path: LIBXL if "/vif/" in path else value for path, value in LIBXL_KEYS.items()}
