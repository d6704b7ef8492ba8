"""A port as it stands in the database: what a decision about it is based on.

A *VLAN unit* (DESIGN 4.4) is a dict of those of Port's columns ``tag`` (int), ``vlan_mode`` (str),
``trunks`` and ``cvlans`` (sorted lists of int) that are set; ``{}`` is a port of which none is set:
to Open vSwitch that is a trunk of every VLAN.
"""
from collections import namedtuple

from . import mark

UNIT = ("tag", "vlan_mode", "trunks", "cvlans")
POLICING = ("ingress_policing_rate", "ingress_policing_burst")

# Neutron's "dead" VLAN (DEAD_VLAN_TAG in neutron's plugins/ml2/.../openvswitch/agent/common):
# the VLAN of a port that belongs to no network.
DEAD = 4095

# One cell of the database that is to change. row: the port's name (its Interface has the same);
# key: the key in a map column, else None; old, new: the value, None for "not there".
Change = namedtuple("Change", "table row column key old new")


class Port(object):
    """One Port row with its Interface row.

    name, uuid (str): of the Port row.
    bridge (str): the bridge that has it; for a port on a VLAN ("fake") bridge, that one's name.
    unit (dict): its VLAN unit.
    ids (dict): ``{"Port": {...}, "Interface": {...}}``, the external_ids of the two rows.
    policing (dict): those of POLICING that are not 0.
    network (str or None): the one that Neutron's agent has noted on it: port_bound() writes
        net_uuid; bound (bool): it has.
    managed (bool): it is the agent's own port (DESIGN 4.5): bound, and found by its iface-id.
    gone (bool): Open vSwitch has the row but not the device any more.
    mark (dict): our own notes on the row, see mark.py.
    """

    __slots__ = ("name", "uuid", "bridge", "unit", "ids", "policing", "network", "bound", "managed",
                 "gone", "mark")

    def __init__(self, name, uuid, bridge, unit=None, port_ids=None, interface_ids=None,
                 other_config=None, ofport=None, error=None, policing=None):
        """other_config is the Port's; ofport (int) and error (str) are the Interface's."""
        self.name = name
        self.uuid = uuid
        self.bridge = bridge
        self.unit = dict(unit or {})
        self.ids = {"Port": dict(port_ids or {}), "Interface": dict(interface_ids or {})}
        self.policing = {key: value for key, value in (policing or {}).items() if value}
        self.network = (other_config or {}).get("net_uuid")
        self.bound = self.network is not None
        self.managed = self.bound and "iface-id" in self.ids["Interface"]
        # An empty ofport is a port that ovs-vswitchd has not opened yet: that one is coming.
        self.gone = ofport == -1 or bool(error)
        self.mark = mark.parse(self.ids["Port"].get(mark.KEY))

    def is_same(self, other, unit, ids):
        """Whether it is another Port with this unit and these ids in the place of its own."""
        return (self.uuid == other.uuid and self.unit == unit and self.ids == ids
                and self.bridge == other.bridge and self.network == other.network
                and self.gone == other.gone and self.policing == other.policing)


def is_real(unit):
    """Whether the unit puts its port into a tenant's VLAN: a tag, and not the dead one."""
    return unit.get("tag", DEAD) != DEAD


def is_open_trunk(unit):
    """Whether the unit lets every VLAN through: trunk or native mode without a list of trunks.

    Without a vlan_mode the tag decides: no tag, a trunk; a tag, an access port
    (ovs-vswitchd.conf.db(5), Port, vlan_mode).
    """
    mode = unit.get("vlan_mode") or ("access" if "tag" in unit else "trunk")
    return mode in ("trunk", "native-tagged", "native-untagged") and not unit.get("trunks")


def describe(unit):
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


def differences(port, draft):
    """What must be written to turn a port as read into the draft of it.

    :param Port port: the row as it stands
    :param draft: an object with the attributes unit, ids, policing and mark
    :returns: list of Change, in a fixed order
    """
    changes = []

    def compare(table, old, new, column=None, unset=None):
        if old == new:  # nearly always: twelve of these a decision are most of its time
            return
        for key in sorted(set(old) | set(new)):
            was, becomes = old.get(key, unset), new.get(key, unset)
            if was != becomes:
                where = (key, None) if column is None else (column, key)
                changes.append(Change(table, port.name, where[0], where[1], was, becomes))

    compare("Port", port.unit, draft.unit)
    compare("Interface", port.policing, draft.policing, unset=0)
    compare("Interface", port.ids["Interface"], draft.ids["Interface"], "external_ids")
    if draft.mark == port.mark:
        # Not re-encoded: a mark that says the same in other words is no reason to write.
        compare("Port", port.ids["Port"], draft.ids["Port"], "external_ids")
        return changes
    ids = dict(draft.ids["Port"])
    ids.pop(mark.KEY, None)
    if draft.mark:
        ids[mark.KEY] = mark.encode(draft.mark)
    compare("Port", port.ids["Port"], ids, "external_ids")
    return changes


def after(port, changes):
    """The VLAN unit and the ids (see Port) that a port has when changes are made."""
    unit = dict(port.unit)
    ids = {table: dict(found) for table, found in port.ids.items()}
    for change in changes:
        if change.row != port.name or change.column in POLICING:
            continue
        cells, key = ((unit, change.column) if change.key is None
                      else (ids[change.table], change.key))
        if change.new is None:
            cells.pop(key, None)
        else:
            cells[key] = change.new
    return unit, ids


def is_bookkeeping(change):
    """Whether the change is only to our own mark, and nothing that anybody else looks at."""
    return change.column == "external_ids" and change.key == mark.KEY
