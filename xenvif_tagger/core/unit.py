"""The VLAN unit: those columns of a Port that say together which VLANs it is in.

A unit is a dict of those columns of UNIT that are set, and is copied as a whole (docs/design.md
4.4); ``{}`` is a port of which none is set: to Open vSwitch that is a trunk of every VLAN.
"""

MYPY = False
if MYPY:
    from typing import Any, Dict

    Unit = Dict[str, Any]

# The columns, and the Python type of each one's value; a list is a sorted list of int. A further
# column of Port in the unit is a further line here: what reads, guards, writes, marks and shows a
# unit goes by this table. (cvlans came with Open vSwitch 2.8.)
UNIT = {"tag": int, "vlan_mode": str, "trunks": list, "cvlans": list}

# Neutron's "dead" VLAN (DEAD_VLAN_TAG in neutron's plugins/ml2/.../openvswitch/agent/common):
# the VLAN of a port that belongs to no network.
DEAD = 4095


def is_unit(value: "Any") -> bool:
    """Whether a value of JSON (any type) is a VLAN unit."""
    return isinstance(value, dict) and all(
        column in UNIT and isinstance(item, UNIT[column]) and (
            not isinstance(item, list) or all(isinstance(vlan, int) for vlan in item))
        for column, item in value.items())


def is_real(unit: "Unit") -> bool:
    """Whether the unit puts its port into a tenant's VLAN: a tag, and not the dead one."""
    return bool(unit.get("tag", DEAD) != DEAD)


def is_open_trunk(unit: "Unit") -> bool:
    """Whether the unit lets every VLAN through: trunk or native mode without a list of trunks.

    Without a vlan_mode the tag decides: no tag, a trunk; a tag, an access port
    (ovs-vswitchd.conf.db(5), Port, vlan_mode).
    """
    mode = unit.get("vlan_mode") or ("access" if "tag" in unit else "trunk")
    return mode in ("trunk", "native-tagged", "native-untagged") and not unit.get("trunks")


def describe(unit: "Unit") -> str:
    """The unit in words, for reasons and tables: ``tag 5, trunks 5,6``."""
    if not unit:
        return "no VLAN"
    words = []
    for column in UNIT:
        if column in unit:
            value = unit[column]
            if isinstance(value, list):
                value = ",".join(str(vlan) for vlan in value)
            words.append("%s %s" % (column, value))
    return ", ".join(words)
