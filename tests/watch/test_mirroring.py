"""The changes that `xenvif-tagger watch` mirrors, and their times."""
import time

import pytest

from support.lab import A
from support.watch_proxy import HOLD, Scene, until
from support.watching import Watching
from support.zoo import dump, our_commits


def test_pairs_from_before_the_start_are_mirrored(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})
        assert watcher.stats()["mirrored"] == 3  # two pairs were there already


@pytest.mark.parametrize("side", ["vif", "tap"])
def test_a_change_on_either_side_is_mirrored(lab, side):
    lab.plug("vif")
    lab.plug("tap")
    with Watching(lab.ovs) as watcher:
        for unit in ({"tag": 5}, {"tag": 6, "vlan_mode": "native-tagged", "trunks": [7, 8]},
                     {"tag": 9, "vlan_mode": "dot1q-tunnel", "cvlans": [1, 2]}, {}):
            lab.set(side, unit)
            watcher.settle()
            assert lab.units() == (unit, unit)
        lab.ids(side, probe="1")
        lab.ids(side, "Port", other="2")
        watcher.settle()
        for each in ("vif", "tap"):
            assert lab.iface(each, "probe") == "1" and lab.port_ids(each) == {"other": "2"}


def test_a_change_is_mirrored_without_a_command(lab):
    """The change of the row wakes the watcher: the test sends no command."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        for tag in range(100, 120):
            lab.set("tap", {"tag": tag})
            until(lambda: lab.units() == (lab.unit("tap"),) * 2)


def test_a_pair_plugged_later_is_mirrored(lab):
    with Watching(lab.ovs) as watcher:
        for tag in (5, 6):
            lab.plug("vif", {"tag": tag})
            watcher.settle()
            lab.plug("tap")
            watcher.settle()
            assert lab.units() == ({"tag": tag}, {"tag": tag})
            lab.unplug("tap")
            lab.unplug("vif")
        watcher.settle()
        assert (12, 0) not in [(pair["domid"], pair["devid"])
                               for pair in watcher.status()["pairs"]]


def test_no_other_row_or_column_is_written(ovs):
    scene = Scene(ovs)
    with Watching(ovs) as watcher:
        scene.assert_works(watcher)
        watcher.settle()
        before = dump(ovs)
        watcher.settle()
        assert dump(ovs) == before


def test_a_fresh_pair_is_written_in_one_transaction(lab):
    """The transaction writes the stamps of both ports, the base and the tag."""
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        written = len(our_commits(lab.ovs))
        lab.ovs.add_many_ports("br0", [
            {"name": "vif12.0", "external_ids": A, "tag": 5, "ofport": 1},
            {"name": "tap12.0", "external_ids": A, "ofport": 2}])
        watcher.settle()
        assert len(our_commits(lab.ovs)) == written + 1
    for side in ("vif", "tap"):
        assert lab.unit(side) == {"tag": 5}
        assert lab.mark(side)["vif"] == {"xs-vif-uuid": A["xs-vif-uuid"]}
        assert lab.mark(side)["boot"]
    assert "base" in lab.mark("tap") and "base" not in lab.mark("vif")


def test_a_single_port_gets_its_stamp_when_it_is_seen_alive(lab):
    with Watching(lab.ovs) as watcher:
        watcher.settle()
        before = watcher.stats()
        lab.plug("vif", {"tag": 5}, ofport=1)
        watcher.settle()
        after = watcher.stats()
        assert lab.mark("vif")["vif"] and lab.mark("vif")["boot"]
        assert (after["marked"], after["mirrored"]) == (before["marked"] + 1, before["mirrored"])
        assert after["transactions"] == before["transactions"] + 1
        # The watcher writes the stamp once.
        lab.interface("vif", ofport=7)
        watcher.settle()
        assert watcher.stats()["transactions"] == after["transactions"]


def test_a_burst_of_changes_makes_few_transactions(ovs):
    scene = Scene(ovs, range(1, 301))
    with Watching(ovs) as watcher:
        watcher.settle()
        assert scene.is_done()
        at = watcher.stats()["transactions"]
        ovs.transact(*[{
            "op": "update", "table": "Port", "where": [["name", "==", "vif%d.0" % domid]],
            "row": {"tag": 3000 + domid}} for domid in scene.domids])
        watcher.settle()
        assert scene.agree(vif1=3001, vif300=3300)
        assert watcher.stats()["transactions"] - at <= 30
        scene.assert_untouched()


def test_an_orphan_is_held_after_its_grace(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "0.3") as watcher:
        watcher.settle()
        lab.unplug("vif")
        until(lambda: lab.unit("tap").get("tag") == 4095)  # no command wakes the watcher
        assert lab.mark("tap")["held"] == lab.unit("tap")


def test_an_orphan_within_its_grace_keeps_its_vlan(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "3600") as watcher:
        watcher.settle()
        lab.unplug("vif")
        watcher.settle()
        watcher.settle()
        assert lab.unit("tap") == {"tag": 5}
        assert {(pair["domid"], pair["devid"]): pair["state"]
                for pair in watcher.status()["pairs"]}[12, 0] == "orphan"
        lab.plug("vif")
        watcher.settle()
        assert lab.units() == ({"tag": 5}, {"tag": 5})


def test_a_sibling_that_comes_back_ends_the_grace(lab):
    """A grace belongs to one absence of the sibling: the second absence has a whole grace."""
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, HOLD % "1.5") as watcher:
        for _ in range(6):
            watcher.settle()
            lab.unplug("vif")
            watcher.settle()
            if lab.unit("tap") != {"tag": 5}:  # a busy machine took longer than the grace
                break
            time.sleep(0.4)  # both absences together are longer than the grace, each one is shorter
            lab.plug("vif", {"tag": 5})
            watcher.settle()
        assert lab.unit("tap") == {"tag": 5}


def test_on_a_bridge_not_listed_an_orphan_is_not_held(lab):
    lab.plug("vif", {"tag": 5})
    lab.plug("tap", {"tag": 5})
    with Watching(lab.ovs, "[hold]\norphan_grace = 0.1\n") as watcher:
        watcher.settle()
        lab.unplug("vif")
        watcher.settle()
        time.sleep(0.5)  # the watcher may write nothing meanwhile
        assert lab.unit("tap") == {"tag": 5}
