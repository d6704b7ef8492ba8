"""The files that name our modules, but whose imports no other test runs."""
import importlib
import os
import re

import pytest

import xenvif_tagger
from support.constants import ROOT
from xenvif_tagger.doctor import libraries
from xenvif_tagger.host import paths

# An import, in any kind of file or string; or an entry point as setup.py writes it.
NAMED = re.compile(r"from (xenvif_tagger[\w.]*) import (\w+(?:, \w+)*)|"
                   r"(xenvif_tagger[\w.]*):(\w+)")


def named():
    """The names that our files take from our modules: a list of (file, module, name). The files are
    the installed files, and the files that build, measure or show the installed files."""
    found = []
    for top in "hotplug", "dom0-install.d", "packaging", "bench", "demo", "xenvif_tagger", "":
        for folder, folders, files in os.walk(os.path.join(ROOT, top)):
            if not top:
                folders[:] = []
            for file in files:
                path = os.path.join(folder, file)
                if os.path.islink(path) or file.endswith((".pyc", ".db")):
                    continue
                with open(path, encoding="utf-8", errors="replace") as stream:
                    for match in NAMED.finditer(stream.read()):
                        for name in (match.group(2) or match.group(4)).split(", "):
                            found.append((os.path.relpath(path, ROOT),
                                          match.group(1) or match.group(3), name))
    return found


@pytest.mark.parametrize("file, module, name", named())
def test_each_named_module_and_name_is_there(file, module, name):
    module = importlib.import_module(module)
    if not hasattr(module, name):
        importlib.import_module("%s.%s" % (module.__name__, name))


def test_the_files_that_no_test_imports_are_searched():
    """If named() found no names in these files, test_each_named_module_and_name_is_there would
    check no name of these files."""
    files = {file for file, _, _ in named()}
    assert {"setup.py", "hotplug/setup-vif-rules", "hotplug/vif-openvswitch-tagger",
            "hotplug/xenvif-tagger", "dom0-install.d/check.sh", "packaging/manual", "bench/host.py",
            "xenvif_tagger/doctor/stock.py"} <= files


def test_the_directory_of_the_package():
    place = os.path.dirname(os.path.abspath(xenvif_tagger.__file__))
    assert paths.PACKAGE == place
    assert libraries.python(None)[1].endswith(" in " + place)
