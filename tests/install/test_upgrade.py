"""dom0-install.sh upgrades from one release to another."""
import os
import re
import shutil

from support.constants import ROOT
from support.install_host import (
    DONE,
    stripped,
    write,
)


def test_upgrade_in_place(installed):
    old = os.readlink(installed.path("/opt/xenvif-tagger/current"))
    new = 'os = None\n__version__ = "99.1"\n'
    write(installed.bundle("xenvif_tagger/__init__.py"), new)
    result = installed.install()
    assert result.code == DONE, result
    assert os.readlink(installed.path("/opt/xenvif-tagger/current")).startswith("releases/99.1-")
    assert installed.text("/opt/xenvif-tagger/xenvif_tagger/__init__.py") == new
    # The upgrade does not restart xenopsd, and leaves the old release for a plug that is under way.
    assert installed.calls().count("systemctl restart xenvif-tagger.service\n") == 2
    assert installed.restarts() == 1
    assert installed.exists("/opt/xenvif-tagger/" + old + "/xenvif_tagger/core/pair.py")
    installed.assert_installed()
    assert installed.install().code == DONE
    assert not installed.exists("/opt/xenvif-tagger/" + old)
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()


def make_one_script(path):
    """Change the bundle in path to the form of earlier releases, in which dom0-install.sh is one
    script and there is no dom0-install.d."""
    with open(os.path.join(path, "dom0-install.sh")) as stream:
        head, loop, tail = re.split(r"(?ms)^    (for file in .*?^    done\n)", stream.read())
    parts = re.match(r"for file in ([^;]*);", loop).group(1).replace("\\", "").split()
    texts = []
    for name in parts:
        with open(os.path.join(path, "dom0-install.d", name + ".sh")) as stream:
            texts.append(stream.read())
    text = "".join(texts).replace("dom0-install.d ", "")
    assert len(parts) > 10 and "dom0-install.d" not in text
    write(os.path.join(path, "dom0-install.sh"), head + text + tail, 0o755)
    shutil.rmtree(os.path.join(path, "dom0-install.d"))
    write(os.path.join(path, "xenvif_tagger/__init__.py"), '__version__ = "0.0.1"\n')


def test_from_a_release_with_one_script_and_back(up, bundle):
    make_one_script(up.bundle())
    assert up.install().code == DONE
    up.assert_installed()
    one = stripped(up.changes())
    assert not any("dom0-install.d" in path for path in one)
    shutil.rmtree(up.bundle("xenvif_tagger"))
    shutil.copytree(os.path.join(bundle, "xenvif_tagger"), up.bundle("xenvif_tagger"))
    shutil.copytree(os.path.join(bundle, "dom0-install.d"), up.bundle("dom0-install.d"))
    shutil.copy(os.path.join(bundle, "dom0-install.sh"), up.bundle())
    result = up.install()
    assert result.code == DONE and result.err == "", result
    up.assert_installed()
    assert up.run("/opt/xenvif-tagger/dom0-install.sh").out == (
        "remove /opt/xenvif-tagger/releases/%s\n" % [
            path for path in one if "/releases/0.0.1-" in path][0].split("/")[4])
    assert up.run("/opt/xenvif-tagger/dom0-install.sh", "--check").code == DONE

    make_one_script(up.bundle())
    for _ in range(2):
        assert up.install().code == DONE
    up.assert_installed()
    assert stripped(up.changes()) == one
    assert up.run("/opt/xenvif-tagger/dom0-install.sh", "--uninstall").code == DONE
    up.assert_as_before()


def test_a_damaged_release_is_replaced(installed):
    current = os.readlink(installed.path("/opt/xenvif-tagger/current"))
    installed.write("/opt/xenvif-tagger/%s/xenvif_tagger/core/pair.py" % current, "oops")
    for _ in range(2):
        assert installed.install().code == DONE
        installed.assert_installed()
        with open(os.path.join(ROOT, "xenvif_tagger/core/pair.py")) as stream:
            assert installed.text("/opt/xenvif-tagger/xenvif_tagger/core/pair.py") == stream.read()
    assert installed.install().out == "nothing to do\n"
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()
