"""The VLAN unit: the columns of a Port that say together which VLANs the port is in.

A unit is a dict of those columns of UNIT that are set, with their values. A unit is always copied
as a whole (docs/design.md 4.4). ``{}`` is the empty unit, the unit of a port on which none of the
columns is set: to Open vSwitch such a port is a trunk of every VLAN.
"""

MYPY = False
if MYPY:
    from typing import Any, Dict

    Unit = Dict[str, Any]

# The columns of the unit, and the Python type of each column's value; a list is a sorted list of
# int. The code that reads, guards, writes, marks and shows a unit uses this table, so a further
# column of the unit is a further entry here. (cvlans came with Open vSwitch 2.8.) A name with a
# colon is a key of a map column, in ovs-vsctl's notation: the two keys of other_config are VLAN
# settings of Open vSwitch's own (ovs-vswitchd.conf.db(5), Port, VLAN Configuration).
UNIT = {"tag": int, "vlan_mode": str, "trunks": list, "cvlans": list,
        "other_config:qinq-ethtype": str, "other_config:priority-tags": str}

# Neutron's "dead" VLAN (DEAD_VLAN_TAG in neutron's plugins/ml2/.../openvswitch/agent/common):
# the VLAN of a port that belongs to no network.
DEAD = 4095


def is_unit(value: "Any") -> bool:
    """Whether a value that was read from JSON is a VLAN unit."""
    return isinstance(value, dict) and all(
        column in UNIT and isinstance(item, UNIT[column]) and (
            not isinstance(item, list) or all(isinstance(vlan, int) for vlan in item))
        for column, item in value.items())


def vlan_of(unit: "Unit") -> "Unit":
    """The part of the unit that says a VLAN: all but the keys of other_config."""
    return {column: value for column, value in unit.items() if ":" not in column}


def without_vlan(unit: "Unit") -> "Unit":
    """The unit less all that says a VLAN."""
    return {column: value for column, value in unit.items() if ":" in column}


def is_real(unit: "Unit") -> bool:
    """Whether the unit puts its port into a tenant's VLAN: the unit has a tag other than DEAD."""
    return bool(unit.get("tag", DEAD) != DEAD)


def has_no_vlan(unit: "Unit") -> bool:
    """Whether nothing in the unit says a VLAN: to Open vSwitch such a port is a trunk of every
    VLAN. (cvlans mean something only in a dot1q-tunnel.)"""
    return not ("tag" in unit or "vlan_mode" in unit or "trunks" in unit)


def is_closed(unit: "Unit") -> bool:
    """Whether the unit lets through no VLAN but the reserved one."""
    return unit.get("tag") == DEAD and unit.get("vlan_mode") in (None, "access", "dot1q-tunnel")


def is_open_trunk(unit: "Unit") -> bool:
    """Whether the unit lets every VLAN through: trunk or native mode without a list of trunks.

    Where vlan_mode is not set, a port with a tag is an access port, and a port without a tag is a
    trunk (ovs-vswitchd.conf.db(5), Port, vlan_mode).
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
