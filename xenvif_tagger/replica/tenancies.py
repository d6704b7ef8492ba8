"""Which VLANs the agent uses for which networks, by its notes on Ports: the tenancies of the VLANs.

A port may follow a sibling whose network had the VLAN before (docs/design.md 4.5, rule 8). So
a change of a Port with the agent's notes, or of its Interface or its bridge, can make or end the
proof that the VLAN is another network's, and concerns the VIFs' other ports in that VLAN.
"""
from typing import TYPE_CHECKING, Dict, Iterable, Iterator, Optional, Set, Tuple
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
        self._tags: Dict[UUID, int] = {}  # UUID of a VIF's Port: the Port's tag
        # tag: UUID of a VIF's Port: the Port's name, and as Port.followed_network
        self._followers: Dict[int, Dict[UUID, Tuple[str, Optional[str]]]] = {}
        self._changed: "Set[Tenancy]" = set()  # those of changed Ports, since take_changed()

    def take(self, row: "Row", is_gone: bool) -> None:
        """Take a Port row that came, went or changed."""
        name: str = row._data["name"].values
        old = self._tenancies.pop(row.uuid, None)
        if old is not None:
            self._changed.add(old)
            self._uuids.pop(name, None)
            del self._bound[old[0]][old[1]][row.uuid]
        old_tag = self._tags.pop(row.uuid, None)
        if old_tag is not None:
            del self._followers[old_tag][row.uuid]
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
            self._tags[row.uuid] = tag
            base = mark.parse(row._data["external_ids"].values.get(mark.KEY)).get("base", {})
            self._followers.setdefault(tag, {})[row.uuid] = (
                name, base.get("network") if new is None else new[1])

    def touch(self, name: str) -> None:
        """Take a change of the Interface or the bridge of a Port."""
        if name in self._uuids:
            self._changed.add(self._tenancies[self._uuids[name]])

    def bound(self, tag: Optional[int]) -> "Dict[str, Iterable[JsonRow]]":
        """Network -> the Port rows that the agent has bound to that network with this tag."""
        networks = {} if tag is None else self._bound.get(tag, {})
        return {network: map(as_json, rows.values()) for network, rows in networks.items()}

    def take_changed(self) -> Iterator[Tuple[str, bool]]:
        """The VIFs' ports in the VLANs of which a tenancy has changed since the last call.

        :returns: for each: the port's name; and whether the change concerns the port, which follows
            another network
        """
        changed, self._changed = self._changed, set()
        for tag, network in changed:
            for name, followed in self._followers.get(tag, {}).values():
                yield name, followed not in (None, network)
