"""A port as it stands in the database: what a decision about it is based on."""
from collections import namedtuple

from . import mark

MYPY = False
if MYPY:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from .unit import Unit

    Ids = Dict[str, Dict[str, str]]

POLICING = ("ingress_policing_rate", "ingress_policing_burst")

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
    network (str or None): the one that Neutron's agent has noted on the row: its port_bound()
        writes net_uuid into the Port's other_config.
    gone (bool): Open vSwitch has the row but not the device any more.
    mark (dict): our own notes on the row, see mark.py.
    cvlans (bool): the database's schema has Port.cvlans (Open vSwitch 2.5 had not).
    """

    __slots__ = ("name", "uuid", "bridge", "unit", "ids", "policing", "network", "gone", "mark",
                 "cvlans")

    def __init__(self, name: str, uuid: str, bridge: str, unit: "Optional[Unit]" = None,
                 port_ids: "Optional[Mapping[str, str]]" = None,
                 interface_ids: "Optional[Mapping[str, str]]" = None,
                 other_config: "Optional[Mapping[str, str]]" = None,
                 ofport: "Optional[int]" = None, error: "Optional[str]" = None,
                 policing: "Optional[Mapping[str, int]]" = None, cvlans: bool = True) -> None:
        """other_config is the Port's; ofport and error are the Interface's."""
        self.name = name
        self.uuid = uuid
        self.bridge = bridge
        self.unit = dict(unit or {})
        self.ids: "Ids" = {"Port": dict(port_ids or {}), "Interface": dict(interface_ids or {})}
        self.policing = {key: value for key, value in (policing or {}).items() if value}
        self.network = (other_config or {}).get("net_uuid")
        # An empty ofport is a port that ovs-vswitchd has not opened yet: that one is coming.
        self.gone = ofport == -1 or bool(error)
        self.mark = mark.parse(self.ids["Port"].get(mark.KEY))
        self.cvlans = cvlans

    @property
    def managed(self) -> bool:
        """Whether it is the agent's own port (docs/design.md 4.5): the agent has bound it, and
        finds it by its iface-id."""
        return self.network is not None and "iface-id" in self.ids["Interface"]

    def is_same(self, other: "Port", unit: "Unit", ids: "Ids") -> bool:
        """Whether this port is the other one with this unit and these ids in place of its own."""
        return (self.uuid == other.uuid and self.unit == unit and self.ids == ids
                and self.bridge == other.bridge and self.network == other.network
                and self.gone == other.gone and self.policing == other.policing)


def differences(port: Port, draft: "Any") -> "List[Change]":
    """What must be written to turn a port as read into the draft of it.

    :param Port port: the row as it stands
    :param draft: an object with the attributes unit, ids, policing and mark (decision.Draft)
    :returns: list of Change, in a fixed order
    """
    changes: "List[Change]" = []

    def compare(table: str, old: "Mapping[str, Any]", new: "Mapping[str, Any]",
                column: "Optional[str]" = None, unset: "Any" = None) -> None:
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


def after(port: Port, changes: "Iterable[Change]") -> "Tuple[Unit, Ids]":
    """The VLAN unit and the ids (see Port) that a port has when changes are made."""
    unit = dict(port.unit)
    ids = {table: dict(found) for table, found in port.ids.items()}
    for change in changes:
        if change.row != port.name or change.column in POLICING:
            continue
        if change.key is None:
            _set(unit, change.column, change.new)
        else:
            _set(ids[change.table], change.key, change.new)
    return unit, ids


def _set(cells: "Dict[str, Any]", key: str, value: "Any") -> None:
    if value is None:
        cells.pop(key, None)
    else:
        cells[key] = value


def is_bookkeeping(change: Change) -> bool:
    """Whether the change is only to our own mark, and nothing that anybody else looks at."""
    return (change.column, change.key) == ("external_ids", mark.KEY)
