"""``--check`` finds each room of the package that is not compiled, and so would slow each plug."""
import os
import re

import pytest

from support.constants import ROOT

PACKAGE = os.path.join(ROOT, "xenvif_tagger")
ROOMS = sorted(name for name in os.listdir(PACKAGE)
               if os.path.exists(os.path.join(PACKAGE, name, "__init__.py")))


def test_a_room_that_is_not_compiled_is_missing(installed):
    assert not re.search("MISSING .*compiled", installed.install("--check").out)
    found = {}
    for room in ROOMS:
        cache = "/opt/xenvif-tagger/xenvif_tagger/%s/__pycache__" % room
        installed.run("mv", cache, "/opt/away")
        found[room] = bool(re.search("MISSING .*compiled", installed.install("--check").out))
        installed.run("mv", "/opt/away", cache)
    assert len(found) > 9 and all(found.values()), found


@pytest.mark.parametrize("room", ["", "core/"])
def test_one_module_that_is_not_compiled_is_missing(installed, room):
    cache = "/opt/xenvif-tagger/xenvif_tagger/%s__pycache__" % room
    installed.run("sh", "-c", "rm %s/__init__.*.pyc" % cache)
    assert re.search("MISSING .*compiled", installed.install("--check").out)
