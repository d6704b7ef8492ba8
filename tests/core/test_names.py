"""The names of a VIF's ports (docs/design.md 4.1)."""
import pytest

from xenvif_tagger.core import names


@pytest.mark.parametrize("name,parsed", [
    ("vif12.0", (12, 0, "vif")), ("tap12.0", (12, 0, "tap")), ("vif12.0-emu", (12, 0, "tap")),
    ("vif0.0", (0, 0, "vif")), ("tap0.10", (0, 10, "tap")), ("vif120.1", (120, 1, "vif")),
    ("vif32751.6", (32751, 6, "vif")), ("vif99999999999999999999.0", (10 ** 20 - 1, 0, "vif"))])
def test_a_vifs_port(name, parsed):
    assert names.parse(name) == parsed
    assert name in names.names_of(*parsed[:2])


@pytest.mark.parametrize("name", [
    "", "vif", "tap", "vif12", "vif12.", "vif.0", "vif.", "vif12.0x", "vif12.0.0", "vif12.0-em",
    "vif12.0-emux", "vif12.0-emu-emu", "vif12-emu", "vif12.-emu", "tap12.0-emu", "-emu",
    "vif012.0", "vif12.00", "vif12.01", "vif-1.0", "vif+1.0", "vif12.-0", "vif 12.0", "vif12.0 ",
    "vif12.0\n", " vif12.0", "vif1_2.0", "vif1e1.0", "vif0x1.0", "VIF12.0", "Tap12.0", "xvif12.0",
    "vif12,0", "eth0", "xenbr0", "xapi12", "vif\u0661\u0662.0", "vif12.\u0660", "vif\u00b2.0",
    "vif\uff11.0", "vif12\uff0e0", "tapb2f0f3ac-5e"])
def test_a_name_that_is_no_vifs_port(name):
    assert names.parse(name) is None


def test_the_names_of_a_vifs_ports():
    assert names.names_of(12, 3) == ("vif12.3", "tap12.3", "vif12.3-emu")
