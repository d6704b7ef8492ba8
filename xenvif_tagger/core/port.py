"""A port as it stands in the database, and the changes that turn one state of it into another."""
from . import mark

MYPY = False
if MYPY:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from .unit import Unit

    Ids = Dict[str, Dict[str, str]]

POLICING = ("ingress_policing_rate", "ingress_policing_burst")


class Change(object):
    """One cell of the database that is to change.

    table (str): "Port" or "Interface".
    row (str): the row's name, which is the same for a port and its Interface.
    column (str), key (str or None): the column's name; the key in a map column, None in any other.
    old, new: the value before and after; None where the cell is not set.
    """

    # Not a namedtuple: to make the class of a namedtuple would cost each plug 0.2 to 0.4 ms.
    __slots__ = ("table", "row", "column", "key", "old", "new")

    def __init__(self, table: str, row: str, column: str, key: "Optional[str]", old: "Any",
                 new: "Any") -> None:
        self.table = table
        self.row = row
        self.column = column
        self.key = key
        self.old = old
        self.new = new


class Port(object):
    """One Port row with its Interface row.

    name, uuid (str): the Port row's name and UUID; the UUID is empty while there is no row yet
        (birth.UNBORN).
    bridge (str): the name of the Bridge row that has the port. (A VLAN, or "fake", bridge has no
        Bridge row: as the ports of a VLAN bridge ovs-vsctl lists those ports of a Bridge row that
        have the VLAN's tag.)
    unit (dict): the VLAN unit of the Port.
    ids (dict): ``{"Port": {...}, "Interface": {...}}``, the external_ids of the two rows.
    policing (dict): those columns of POLICING that are not 0, with their values (int).
    network (str or None): the network that Neutron's agent has noted on the Port: net_uuid of
        other_config (neutron, port_bound).
    gone (bool): the row is there, but Open vSwitch has no device for the port any more.
    mark (dict): our own notes on the row, see mark.py.
    cvlans (bool): the database's schema has Port.cvlans (Open vSwitch 2.5 has no such column).
    noted_tag (str or None): the tag that the agent has noted on the Port: tag of other_config.
    rivals (frozenset of str): the networks, other than followed_network, for which the agent has
        this port's tag in use, by its notes on other ports of the bridge (vlan_network).
    """

    __slots__ = ("name", "uuid", "bridge", "unit", "ids", "policing", "network", "noted_tag",
                 "gone", "mark", "cvlans", "rivals")

    def __init__(self, name: str, uuid: str, bridge: str, unit: "Optional[Unit]" = None,
                 port_ids: "Optional[Mapping[str, str]]" = None,
                 interface_ids: "Optional[Mapping[str, str]]" = None,
                 other_config: "Optional[Mapping[str, str]]" = None,
                 ofport: "Optional[int]" = None, error: "Optional[str]" = None,
                 policing: "Optional[Mapping[str, int]]" = None, cvlans: bool = True,
                 rivals: "Iterable[str]" = ()) -> None:
        """Make a Port of the two rows' columns: ofport, error and policing are the Interface's,
        other_config is the Port's."""
        self.name = name
        self.uuid = uuid
        self.bridge = bridge
        self.unit = dict(unit or {})
        self.ids: "Ids" = {"Port": dict(port_ids or {}), "Interface": dict(interface_ids or {})}
        self.policing = {key: value for key, value in (policing or {}).items() if value}
        self.network = (other_config or {}).get("net_uuid")
        self.noted_tag = (other_config or {}).get("tag")
        # A port with an empty ofport is not gone: ovs-vswitchd has yet to open the port's device.
        self.gone = ofport == -1 or bool(error)
        self.mark = mark.parse(self.ids["Port"].get(mark.KEY))
        self.cvlans = cvlans
        self.rivals = frozenset(rivals) - {self.followed_network}

    @property
    def managed(self) -> bool:
        """Whether this is the agent's own port (docs/design.md 4.5): the agent has bound the port,
        and finds its Interface by iface-id."""
        return self.network is not None and "iface-id" in self.ids["Interface"]

    def network_of(self, tag: "Optional[int]") -> "Optional[str]":
        """The network (net_uuid) whose VLAN the tag is, by the agent's notes on the row.

        None where the notes name another tag: the agent writes tag and notes in two transactions
        (docs/design.md 2.4).
        """
        return self.network if self.noted_tag == str(tag) else None

    @property
    def vlan_network(self) -> "Optional[str]":
        """The network (net_uuid) for which the agent has the port's tag in use, by its notes on the
        row. None where the row is not the agent's own, or its device is gone: the agent may have
        given the VLAN away."""
        if self.managed and not self.gone:
            return self.network_of(self.unit.get("tag"))
        return None

    @property
    def is_forgotten(self) -> bool:
        """Whether the agent has forgotten this port of its own: the agent has the port's tag in use
        for another network, too."""
        return self.vlan_network is not None and bool(self.rivals)

    @property
    def followed_network(self) -> "Optional[str]":
        """The network (net_uuid) whose VLAN the port's tag should be: by the agent's notes on the
        row, or by the port's base, if that has the same tag. None where none is known."""
        tag = self.unit.get("tag")
        return self.network_of(tag) or mark.network_of(self.mark, tag)

    def is_same(self, other: "Port", unit: "Unit", ids: "Ids") -> bool:
        """Whether this port equals a copy of the other port that has this unit and these ids."""
        return (self.uuid == other.uuid and self.unit == unit and self.ids == ids
                and self.bridge == other.bridge and self.network == other.network
                and self.gone == other.gone and self.rivals == other.rivals
                and self.policing == other.policing)


def differences(port: Port, draft: "Any") -> "List[Change]":
    """The changes that turn a port as read into the draft of it.

    :param Port port: the row as it stands
    :param draft: an object with the attributes unit, ids, policing and mark (decision.Draft)
    :returns: list of Change, in a fixed order
    """
    changes: "List[Change]" = []

    def compare(table: str, old: "Mapping[str, Any]", new: "Mapping[str, Any]",
                column: "Optional[str]" = None, unset: "Any" = None) -> None:
        if old == new:  # nearly always; to compare key by key takes most of a decision's time
            return
        for key in sorted(set(old) | set(new)):
            was, becomes = old.get(key, unset), new.get(key, unset)
            if was != becomes:
                # (The key of a column without a colon is None, and not the empty string, which may
                # be a key of external_ids.)
                name, colon, inner = (column, ":", key) if column else key.partition(":")
                changes.append(Change(
                    table, port.name, name, inner if colon else None, was, becomes))

    compare("Port", port.unit, draft.unit)
    compare("Interface", port.policing, draft.policing, unset=0)
    compare("Interface", port.ids["Interface"], draft.ids["Interface"], "external_ids")
    if draft.mark == port.mark:
        # Keep the mark's text as it stands: another text for the same mark is no reason to write.
        compare("Port", port.ids["Port"], draft.ids["Port"], "external_ids")
        return changes
    ids = dict(draft.ids["Port"])
    ids.pop(mark.KEY, None)
    if draft.mark:
        ids[mark.KEY] = mark.encode(draft.mark)
    compare("Port", port.ids["Port"], ids, "external_ids")
    return changes


def after(port: Port, changes: "Iterable[Change]") -> "Tuple[Unit, Ids]":
    """The VLAN unit and the ids (see Port) that a port has once the changes are written. Changes of
    other rows and of policing are ignored."""
    unit = dict(port.unit)
    ids = {table: dict(keys) for table, keys in port.ids.items()}
    for change in changes:
        if change.row != port.name or change.column in POLICING:
            continue
        if change.column == "external_ids" and change.key is not None:
            _set(ids[change.table], change.key, change.new)
        else:
            _set(unit, cell_of(change), change.new)
    return unit, ids


def cell_of(change: Change) -> str:
    """The changed cell, in the notation of ovs-vsctl: ``tag``, ``external_ids:iface-id``."""
    return change.column if change.key is None else "%s:%s" % (change.column, change.key)


def _set(cells: "Dict[str, Any]", key: str, value: "Any") -> None:
    if value is None:
        cells.pop(key, None)
    else:
        cells[key] = value


def is_bookkeeping(change: Change) -> bool:
    """Whether the change is to our own mark, which nobody else reads."""
    return (change.column, change.key) == ("external_ids", mark.KEY)
