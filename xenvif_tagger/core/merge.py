"""The external_ids of a pair, key by key (docs/design.md 4.4 and 4.5, rule 6)."""
from . import identity, mark
from .iface_id import IFACE_ID, may_be_given
from .names import OTHER

MYPY = False
if MYPY:
    from typing import Any, Dict, List, Mapping, Optional

    from .decision import Draft, Settings

# iface-status says which of the two is the active one, the other is inactive
# (ovs-vswitchd.conf.db(5), Interface external_ids); ovn-controller writes ovn-installed* for its
# own port.
_NEVER = frozenset(identity.KEYS + (mark.KEY, "iface-status"))
_NEVER_PREFIX = "ovn-installed"


def is_mirrored(key: str, settings: "Settings") -> bool:
    """Whether an external_ids key is one that both siblings are to have."""
    if key in _NEVER or key.startswith(_NEVER_PREFIX) or settings.excludes(key):
        return False
    return key != IFACE_ID or settings.iface_id == "both"


def _cells(row: "Draft", settings: "Settings") -> "Dict[str, Dict[str, Any]]":
    """The mirrored values of a row or draft: name of the place -> dict that holds them."""
    places: "Dict[str, Dict[str, Any]]" = dict(row.ids)
    if settings.policing:
        places["policing"] = row.policing
    return places


def alike(one: "Draft", other: "Draft", settings: "Settings") -> "Dict[str, Any]":
    """What both rows have alike: the external_ids (and policing) part of a base."""
    ours, theirs = _cells(one, settings), _cells(other, settings)
    common: "Dict[str, Any]" = {"Port": {}, "Interface": {}, "policing": {}}
    for place in ours:
        for key, value in ours[place].items():
            if theirs[place].get(key) == value and is_mirrored(key, settings):
                common[place][key] = value
    return common


def _source(a: "Any", b: "Any", was: "Any", lends: "Mapping[str, bool]",
            winner: "Optional[str]") -> "Optional[str]":
    """The side whose value of one key goes to the other: "vif", "tap", or None for neither.

    :param a, b: the vif's and the tap's value, None where it has none; they differ
    :param was: the value when they were last alike, None where they were not
    """
    for side, other, theirs in (("vif", "tap", b), ("tap", "vif", a)):
        if not lends[other]:
            value = a if side == "vif" else b
            # A key that only the other row has is somebody's, unless we know of its removal.
            return side if value is not None or theirs == was else None
    if b == was:
        return "vif"
    if a == was:
        return "tap"
    if a is None or b is None:
        return "tap" if a is None else "vif"
    return winner


def merge(vif: "Draft", tap: "Draft", base: "Optional[Dict[str, Any]]", settings: "Settings",
          lends: "Mapping[str, bool]", winner: "Optional[str]" = None) -> "List[str]":
    """Bring the mirrored keys of two drafts together.

    Three-way against base; without one each side gets the keys that it lacks. Where both have
    changed to different values each keeps its own, unless there is a winner.

    :param vif, tap: drafts
    :param base: a mark's ``base`` that names the other row, or None
    :param lends: dict side -> whether that row may lend; at least one may
    :param winner: side whose value wins where both differ, or None
    :returns: list of the keys on which the two stay different
    """
    split = []
    rows = {"vif": vif, "tap": tap}
    cells = {side: _cells(row, settings) for side, row in rows.items()}
    for place in cells["vif"]:
        for key in sorted(set(cells["vif"][place]) | set(cells["tap"][place])):
            values = {side: cells[side][place].get(key) for side in rows}
            if values["vif"] == values["tap"] or not is_mirrored(key, settings):
                continue
            was = (base or {}).get(place, {}).get(key)
            source = _source(values["vif"], values["tap"], was, lends, winner)
            if source and place != "Port" and rows[OTHER[source]].port.managed:
                # A write to its Interface makes Neutron's agent jump to that row: it takes the
                # last one modified of an iface-id (docs/design.md 2.4). What it has, stands.
                managed = OTHER[source]
                stands = values[source] is None and not rows[source].port.managed and lends[managed]
                source = managed if stands else None
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
