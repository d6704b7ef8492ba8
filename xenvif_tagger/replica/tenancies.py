"""Which VLANs the agent uses for which networks, by its notes on Ports: the tenancies of the VLANs.

A port may follow a sibling whose network had the VLAN before (docs/design.md 4.5, rule 8). So
a change of a Port with the agent's notes, or of its Interface or its bridge, can make or end the
proof that the VLAN is another network's, and concerns the VIFs' other ports in that VLAN.
"""
from typing import TYPE_CHECKING, Dict, Iterable, Optional, Set, Tuple
from uuid import UUID

from ..core import mark, names
from ..ovsdb.rows import tenancy
from .compact import as_json

if TYPE_CHECKING:
    from ..ovsdb.rows import Row as JsonRow
    from .compact import Row

    Tenancy = Tuple[int, str]  # a tag, and the network (net_uuid) that the agent uses the tag for


class Tenancies(object):
    """The Ports that have the agent's notes, and the VIFs' ports by VLAN."""

    def __init__(self) -> None:
        self._tenancies: "Dict[UUID, Tenancy]" = {}  # UUID of a Port: as rows.tenancy returns
        self._uuids: Dict[str, UUID] = {}  # name of a Port in _tenancies: the Port's UUID
        self._bound: "Dict[int, Dict[str, Dict[UUID, Row]]]" = {}  # tag: network: Port rows by UUID
        # UUID of a VIF's Port: its tag, and as Port.followed_network
        self._followed: Dict[UUID, Tuple[int, Optional[str]]] = {}
        # tag: followed network: the names of those Ports by UUID
        self._followers: Dict[int, Dict[Optional[str], Dict[UUID, str]]] = {}
        self._changed: "Set[Tenancy]" = set()  # those of changed Ports, since take_changed()

    def take(self, row: "Row", is_gone: bool) -> None:
        """Take a Port row that came, went or changed."""
        name: str = row._data["name"].values
        old = self._tenancies.pop(row.uuid, None)
        if old is not None:
            self._changed.add(old)
            self._uuids.pop(name, None)
            del self._bound[old[0]][old[1]][row.uuid]
        followed = self._followed.pop(row.uuid, None)
        if followed is not None:
            del self._followers[followed[0]][followed[1]][row.uuid]
        if is_gone:
            return
        new: "Optional[Tenancy]" = None
        if "net_uuid" in row._data["other_config"].values:  # for speed: tenancy() looks closely
            new = tenancy({column: row._data[column].to_json()
                           for column in ("tag", "other_config")})
        if new is not None:
            self._changed.add(new)
            self._tenancies[row.uuid] = new
            self._uuids[name] = row.uuid
            self._bound.setdefault(new[0], {}).setdefault(new[1], {})[row.uuid] = row
        for tag in row._data["tag"].atoms() if names.parse(name) else ():
            network = mark.network_of(mark.parse(
                row._data["external_ids"].values.get(mark.KEY)), tag) if new is None else new[1]
            self._followed[row.uuid] = tag, network
            self._followers.setdefault(tag, {}).setdefault(network, {})[row.uuid] = name

    def touch(self, name: str) -> None:
        """Take a change of the Interface or the bridge of a Port."""
        if name in self._uuids:
            self._changed.add(self._tenancies[self._uuids[name]])

    def bound(self, tag: Optional[int]) -> "Dict[str, Iterable[JsonRow]]":
        """Network -> the Port rows that the agent has bound to that network with this tag."""
        networks = {} if tag is None else self._bound.get(tag, {})
        return {network: map(as_json, rows.values()) for network, rows in networks.items()}

    def take_changed(self) -> Tuple[Set[int], Set[str]]:
        """Which VLANs have had a change of a tenancy since the last call.

        :returns: ``(tags, names)``: the tags of these VLANs; and the names of the VIFs' ports there
            that are not known to follow the network of the tenancy
        """
        changed, self._changed = self._changed, set()
        return {tag for tag, _ in changed}, {
            name for tag, network in changed
            for followed, ports in self._followers.get(tag, {}).items()
            if followed != network for name in ports.values()}
