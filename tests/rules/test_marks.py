"""The mark as other programs read it (docs/design.md 4.2), on a real ovsdb-server."""
import json

import pytest

from support.lab import T5, T7, A, Lab
from xenvif_tagger.core import mark

ODD = "a b, c=d'\"|;%7C%%\u2603"


def by_ansible(text):
    """external_ids as Ansible's openvswitch_port reads the output of ``ovs-vsctl get Port``
    (openvswitch.openvswitch, plugins/modules/openvswitch_port.py): the text is split at each comma,
    and each part at each equals sign."""
    found = {}
    for part in text.strip()[1:-1].split(","):
        key, value = part.strip().split("=")
        found[key] = value
    return found


@pytest.fixture
def lab(ovs):
    return Lab(ovs, bridges=("br0",))


def marked(lab):
    """Make marks with all fields, in steps; yields the side of a row with a mark."""
    lab.paired(T5, **{"iface-id": "port-a", "vm-id": ODD, "x": ODD})
    yield "tap"
    lab.set("vif", {})
    lab.run()
    yield "vif"
    yield "tap"
    for side, tag in (("vif", 6), ("tap", 7)):
        lab.set(side, {"tag": tag, "trunks": [5, 6]})
    assert lab.run().state == "conflict"
    yield "tap"


def test_programs_that_split_external_ids_can_read_a_row_with_a_mark(lab):
    fields = set()
    for side in marked(lab):
        fields |= set(lab.mark(side))
        name = lab.name(side)
        text = lab.ovs.vsctl("get", "Port", name, "external_ids")
        value = by_ansible(text)[mark.KEY]
        assert value[0] == value[-1] == '"' and not set(value[1:-1]) & set(",= \"'"), value
        listed = lab.ovs.vsctl("--columns=external_ids", "list", "Port", name)
        assert "%s=%s" % (mark.KEY, value) in listed
        assert mark.parse(json.loads(value)) == lab.mark(side)
    assert {"vif", "boot", "base", "kept", "held", "seen"} <= fields


def test_a_mark_that_an_older_version_wrote_as_json_is_read(lab):
    """A mark of an older version is plain JSON. We write the mark in the new form when a field
    changes."""
    lab.paired(T5, **{"vm-id": ODD})
    noted = lab.mark("tap")
    old = json.dumps(noted, sort_keys=True, separators=(",", ":"))
    lab.ids("tap", "Port", **{mark.KEY: old})
    assert lab.run().changes == []
    lab.set("vif", T7)
    assert lab.run().source == "vif12.0" and lab.units() == (T7, T7)
    text = lab.ovs.port("tap12.0")["external_ids"][mark.KEY]
    assert not set(text) & set(",= \"'")
    assert lab.mark("tap")["vif"] == {"xs-vif-uuid": A["xs-vif-uuid"]}
