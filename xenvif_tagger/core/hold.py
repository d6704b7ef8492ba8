"""Keeping ports closed: the hold (docs/design.md 4.6), and what would open a port by mistake.

The rules of one row by itself; they hold for single ports and in refused pairs too.
"""
from .unit import DEAD, is_open_trunk, is_real

MYPY = False
if MYPY:
    from typing import Any, Dict, Optional, Union

    from .decision import Draft
    from .port import Port
    from .unit import Unit


def form(cvlans: bool) -> "Unit":
    """The VLAN unit of a held port.

    :param bool cvlans: whether the database has the column

    Tag 4095 is what Neutron's agent takes for "dead, mine to bind". A dot1q-tunnel lets through
    only what carries a customer VLAN of cvlans, and 4095 is reserved (IEEE 802.1Q, table 9-2), so
    nobody's. Nothing in it is in ``trunks``, which newer xapi clears after the plug. When an agent
    sets a tag and clears vlan_mode, cvlans without dot1q-tunnel means nothing: it is open.
    Without cvlans (Open vSwitch 2.5) an access port of VLAN 4095 is the closest: closed to every
    VLAN but the reserved one, also after that clear; Neutron's own dead form, a trunk of 4095,
    would be open to all after it.
    """
    if cvlans:
        return {"tag": DEAD, "vlan_mode": "dot1q-tunnel", "cvlans": [DEAD]}
    return {"tag": DEAD}


def is_held(row: "Union[Port, Draft]") -> bool:
    """Whether the row (a Port, or a draft of it) is held: it says so, and has no real tag."""
    return "held" in row.mark and not is_real(row.unit)


def hold(draft: "Draft") -> None:
    """Close the port."""
    draft.unit = form(draft.port.cvlans)
    draft.mark["held"] = dict(draft.unit)


def release(draft: "Draft") -> None:
    """Take the hold off a port that has a real tag, with what the hold had set beside the tag.

    Older agents never clear vlan_mode (nor anything else) themselves.
    """
    for column, value in draft.mark.pop("held").items():
        if column != "tag" and draft.unit.get(column) == value:
            del draft.unit[column]


def tidy(draft: "Draft") -> "Optional[str]":
    """Bring one row into order: release it, restore its form, or close it where it gapes.

    :returns: what was done in words, or None
    """
    if "held" in draft.mark:
        if is_real(draft.unit):
            release(draft)
            return "it has a real tag: the hold goes"
        if draft.unit != form(draft.port.cvlans):
            hold(draft)
            return "it is held, and only a real tag opens it: its form is restored"
    elif (draft.unit.get("tag") == DEAD and draft.unit.get("vlan_mode") == "trunk"
          and not draft.unit.get("trunks")):
        # Neutron's dead form after the "clear Port DEV trunks" of newer xapi's vif-real: a trunk
        # of every VLAN.
        draft.unit["trunks"] = [DEAD]
        return "it is dead, and without trunks it was open to every VLAN"
    return None


def mend_trunks(draft: "Draft", base: "Optional[Dict[str, Any]]") -> "Optional[str]":
    """Give back trunks whose loss alone would open the port.

    The end of newer xapi's vif-real clears them after the plug (xapi-project/xen-api 26.17,
    ocaml/xenopsd/scripts/vif-real, handle_trunks): nobody's decision.

    :param dict base: a mark's ``base`` that says what the row had, or None
    :returns: what was done in words, or None
    """
    was = base["unit"] if base else {}
    if was.get("trunks") and dict(draft.unit, trunks=was["trunks"]) == was and (
            is_open_trunk(draft.unit)):
        draft.unit = dict(was)
        return "it had lost its trunks, and would have been open to every VLAN"
    return None
