"""The dom0 and the copy of our code that tests of the hook's faults share."""
import os
import shutil

import pytest

from dom0 import Dom0
from support.constants import CONFIG, PATIENT, ROOT


@pytest.fixture
def dom0():
    """A dom0 with a plugged vif1.0 that has tag 5, and a device tap1.0 that is not plugged."""
    with Dom0() as dom0:
        dom0.add_bridge("xenbr0")
        dom0.write_file(CONFIG, PATIENT)
        dom0.add_vif(1, 0)
        for device in "vif1.0", "tap1.0":
            dom0.create_device(device)
        assert dom0.filter("vif1.0").returncode == 0
        dom0.ovs.vsctl("set", "port", "vif1.0", "tag=5")
        yield dom0


@pytest.fixture
def copy(tmp_path):
    """The directory of a copy of our code, for a test to damage."""
    for part in "hotplug", "xenvif_tagger":
        shutil.copytree(os.path.join(ROOT, part), str(tmp_path / part),
                        ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path
