"""The merge of a pair's external_ids, key by key (docs/design.md 4.4 and 4.5, rule 6)."""
from . import identity, mark
from .iface_id import IFACE_ID, may_be_given
from .names import OTHER

MYPY = False
if MYPY:
    from typing import Any, Dict, List, Mapping, Optional

    from .decision import Draft, Settings

# iface-status is "active" on one of the two Interfaces and "inactive" on the other
# (ovs-vswitchd.conf.db(5), Interface external_ids). ovn-controller writes ovn-installed* on the one
# port that it has set up.
_NEVER = frozenset(identity.KEYS + (mark.KEY, "iface-status"))
_NEVER_PREFIX = "ovn-installed"


def is_mirrored(key: str, settings: "Settings") -> bool:
    """Whether an external_ids key is one that both siblings are to have."""
    if key in _NEVER or key.startswith(_NEVER_PREFIX) or settings.excludes(key):
        return False
    return key != IFACE_ID or settings.iface_id == "both"


def _cells(row: "Draft", settings: "Settings") -> "Dict[str, Dict[str, Any]]":
    """The dicts of a draft whose values are mirrored, by place: ``Port`` and ``Interface`` are the
    external_ids of those tables, ``policing`` the columns of that name."""
    places: "Dict[str, Dict[str, Any]]" = dict(row.ids)
    if settings.policing:
        places["policing"] = row.policing
    return places


def alike(one: "Draft", other: "Draft", settings: "Settings") -> "Dict[str, Any]":
    """The mirrored external_ids and policing that both rows have with the same value, as a base
    has them: ``{"Port": {...}, "Interface": {...}, "policing": {...}}``."""
    cells, other_cells = _cells(one, settings), _cells(other, settings)
    common: "Dict[str, Any]" = {"Port": {}, "Interface": {}, "policing": {}}
    for place in cells:
        for key, value in cells[place].items():
            if other_cells[place].get(key) == value and is_mirrored(key, settings):
                common[place][key] = value
    return common


def _source(values: "Mapping[str, Any]", base_value: "Any", lends: "Mapping[str, bool]",
            winner: "Optional[str]") -> "Optional[str]":
    """The side whose value of one key goes to the other side: "vif", "tap", or None for neither.

    :param values: side -> the row's value of the key, None where the row has no such key; the two
        values differ
    :param base_value: the value of the key in the base, None where the base has no such key
    :param lends, winner: as for merge
    """
    for lender, taker in OTHER.items():
        if not lends[taker]:
            # If only the taker has the key, somebody wrote the key there: the key stays, unless the
            # base shows that the key was removed from the lender.
            unchanged = values[taker] == base_value
            return lender if values[lender] is not None or unchanged else None
    vif_value, tap_value = values["vif"], values["tap"]
    if tap_value == base_value:
        return "vif"
    if vif_value == base_value:
        return "tap"
    if vif_value is None or tap_value is None:
        return "tap" if vif_value is None else "vif"
    return winner


def merge(vif: "Draft", tap: "Draft", base: "Optional[Dict[str, Any]]", settings: "Settings",
          lends: "Mapping[str, bool]", winner: "Optional[str]" = None) -> "List[str]":
    """Merge the mirrored keys of two drafts, in place.

    With a base the merge is a three-way one; without a base each row gets the keys that it lacks.
    Where the values of a key have changed on both rows, each row keeps its own value, unless there
    is a winner.

    :param vif, tap: Draft of the two rows
    :param base: the mark's ``base`` that names the other row, or None
    :param lends: side -> whether that row may lend; at least one row may
    :param winner: the side whose value wins where the values on both rows have changed, or None
    :returns: list of the keys that stay different
    """
    split = []
    rows = {"vif": vif, "tap": tap}
    cells = {side: _cells(row, settings) for side, row in rows.items()}
    for place in cells["vif"]:
        for key in sorted(set(cells["vif"][place]) | set(cells["tap"][place])):
            values = {side: cells[side][place].get(key) for side in rows}
            if values["vif"] == values["tap"] or not is_mirrored(key, settings):
                continue
            base_value = (base or {}).get(place, {}).get(key)
            source = _source(values, base_value, lends, winner)
            if source and place != "Port" and rows[OTHER[source]].port.managed:
                # The managed row keeps its value: of two Interfaces with one iface-id Neutron's
                # agent takes the one modified last, so a write to the managed row's Interface
                # could make the agent jump to that row (docs/design.md 2.4). A key that was taken
                # off the sibling alone is put back on the sibling.
                managed = OTHER[source]
                put_back = (
                    values[source] is None and not rows[source].port.managed and lends[managed])
                source = managed if put_back else None
            if source is None:
                split.append(key)
                continue
            target = OTHER[source]
            if (key == IFACE_ID and place == "Interface" and values[source] is not None
                    and not may_be_given(rows[target])):
                continue
            if values[source] is None:
                del cells[target][place][key]
            else:
                cells[target][place][key] = values[source]
    return split
