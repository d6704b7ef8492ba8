"""The words of an ovs-vsctl command line that give a port its VLAN."""
import pytest

from support.constants import HELD
from support.rows import unit
from xenvif_tagger.plug import vsctl

ADD = "--timeout=30 add-port xenbr0 vif1.0"
IDS = " -- set interface vif1.0 external-ids:\"xs-vif-uuid\"=\"a\""


@pytest.mark.parametrize("words, expected", [
    ("", {}), (" tag=5", unit(5)), (" tag=5 trunk=7,6", unit(5, trunks=[6, 7])),
    (" -- set port vif1.0 tag=7 trunks=5,6", unit(7, trunks=[5, 6])),
    (" -- set Port vif1.0 tag=7 -- set port vif1.0 trunks=[5,6]", unit(7, trunks=[5, 6])),
    (" tag=5 -- set port vif1.0 tag=7", unit(7)),
    (" -- set port vif1.0 vlan-mode=trunk Trunks=5", unit(None, "trunk", [5])),
    (" -- set port vif1.0 vlan_mode=dot1q-tunnel tag=100 cvlans=10,20",
     unit(100, "dot1q-tunnel", cvlans=[10, 20])),
    (" -- set port vif1.0 tag=5 other_config:qinq-ethtype=802.1q other-config:priority-tags=never",
     dict(unit(5), **{"other_config:qinq-ethtype": "802.1q",
                      "other_config:priority-tags": "never"})),
    (" -- set port vif1.0 tag=5 other_config:net_uuid=n qos=@q external_ids:tag=9", unit(5)),
    (" -- --if-exists set port vif1.0 tag=7", unit(7)),
    # These words set another port or another table, or are no set command.
    (" -- set port vif1.00 tag=7 -- set interface vif1.0 tag=7 -- clear port vif1.0 tag"
     " -- --may-exist add-port xenbr0 vif2.0 tag=7 -- SET port vif1.0 tag=7", {}),
])
@pytest.mark.parametrize("ids", ["", IDS])
def test_the_unit_of_a_command_line(words, expected, ids):
    """All words of a ``set port DEV`` count, as do the words after add-port."""
    for line in (ADD + words + ids, ADD + ids + words if words.startswith(" --") else ADD + words):
        assert vsctl.unit_in(line.split(), "vif1.0") == expected


def test_ovs_vsctl_and_unit_in_read_the_words_that_words_writes(ovs):
    """``words`` writes a unit; ovs-vsctl takes the words, and ``unit_in`` reads the same unit."""
    ovs.add_bridge("xenbr0")
    made = dict(HELD, **{"other_config:qinq-ethtype": "802.1q"})
    ours = vsctl.words("port", "vif1.0", made, {"a": "b, c=d"})
    ovs.vsctl("add-port", "xenbr0", "vif1.0", *ours)
    row = ovs.port("vif1.0")
    assert (row["tag"], row["vlan_mode"], row["cvlans"], row["other_config"], row[
        "external_ids"]) == ([4095], ["dot1q-tunnel"], [4095], {"qinq-ethtype": "802.1q"},
                             {"a": "b, c=d"})
    assert vsctl.unit_in(["add-port", "xenbr0", "vif1.0"] + ours, "vif1.0") == made
