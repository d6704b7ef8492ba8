"""The hold: how a port without a VLAN is written where it must not be a trunk of every VLAN
(docs/design.md 4.6), and what would open a port by mistake.

All here is about one row by itself, with a sibling or without one. A decision begins with
``lift``, which shows the row without its hold, and ends with ``close``, which writes the hold on a
row that has got no VLAN.
"""
from .unit import (
    DEAD,
    has_no_vlan,
    is_closed,
    is_open_trunk,
    is_real,
    vlan_of,
    without_vlan,
)

MYPY = False
if MYPY:
    from typing import Optional, Union

    from .decision import Draft
    from .port import Port
    from .unit import Unit

_TUNNEL = "dot1q-tunnel"


def form(cvlans: bool) -> "Unit":
    """The VLAN unit of a held port.

    :param bool cvlans: whether the database has the column

    Tag 4095 is what Neutron's agent takes for "dead, mine to bind". A dot1q-tunnel lets through
    only what carries a customer VLAN of cvlans, and 4095 is reserved (IEEE 802.1Q, table 9-2), so
    nobody's. Nothing in it is in ``trunks``, which newer xapi clears after the plug. When an agent
    sets a tag and clears vlan_mode, cvlans without dot1q-tunnel means nothing: the port is open.
    Without cvlans (Open vSwitch 2.5) an access port of VLAN 4095 is the closest: closed to every
    VLAN but the reserved one, also after that clear; Neutron's own dead form, a trunk of 4095,
    would be open to all after that clear.
    """
    if cvlans:
        return {"tag": DEAD, "vlan_mode": _TUNNEL, "cvlans": [DEAD]}
    return {"tag": DEAD}


def is_held(row: "Union[Port, Draft]") -> bool:
    """Whether the row (a Port, or a draft of it) is held: its mark says so, and it has no real
    tag."""
    return "held" in row.mark and not is_real(row.unit)


def lift(draft: "Draft") -> "Optional[str]":
    """Show a row without its hold: what stands then is what others have set.

    A real tag ends the hold. What the hold has set beside the tag goes (older agents never clear
    vlan_mode themselves), unless somebody has changed cvlans: then dot1q-tunnel is that one's mode
    as well. Whoever sets dot1q-tunnel on a held port changes nothing that Open vSwitch could tell
    of; the mark's ``opened`` remembers that the mode went with the hold, and cvlans that come
    without a mode bring it back.

    :returns: what was done in words, or None
    """
    unit = draft.unit
    held = draft.mark.pop("held", None)
    if held is None:
        opened = draft.mark.pop("opened", None)
        if not opened or "vlan_mode" in unit or not is_real(unit):
            return None
        if "cvlans" not in unit:
            draft.mark["opened"] = opened
            return None
        unit["vlan_mode"] = _TUNNEL
        return "its cvlans came after its hold: it is a dot1q-tunnel"
    if not is_real(unit):
        draft.unit = without_vlan(unit)
        return None
    if unit.get("cvlans", held.get("cvlans")) == held.get("cvlans"):
        if held.get("vlan_mode") == _TUNNEL == unit.get("vlan_mode"):
            del unit["vlan_mode"]
            draft.mark["opened"] = True
        if "cvlans" in held:
            unit.pop("cvlans", None)
    return "it has a real tag: the hold goes"


def close(draft: "Draft", closes: bool) -> "Optional[str]":
    """Write the hold's form on a row that has no VLAN, or that only a real tag may open.

    The agent's own port is left to the agent, unless the agent has only begun to bind it.

    :param bool closes: a port without a VLAN is to be closed here
    :returns: what was done in words, or None
    """
    port, unit = draft.port, draft.unit
    was_held = is_held(port)
    if port.managed and not was_held or not closes or not (
            # The dead form of an agent, a trunk of 4095, would be open after xapi's late clear.
            has_no_vlan(unit) or not is_real(unit) and (
                was_held or has_no_vlan(port.unit) and unit.get("tag") == DEAD)):
        return None
    if was_held and is_closed(port.unit):
        # Somebody may have changed the form, and still nothing gets through: an agent that sets
        # vlan_mode and cvlans before the tag is not to be undone.
        draft.unit = dict(without_vlan(unit), **vlan_of(port.unit))
        draft.mark["held"] = dict(port.mark["held"])
        return None
    draft.unit = dict(without_vlan(unit), **form(port.cvlans))
    draft.mark["held"] = form(port.cvlans)
    if was_held:
        return "it is held, and only a real tag opens it: its form is restored"
    return "closed until it has a real tag"


def mend_dead(draft: "Draft") -> "Optional[str]":
    """Close a dead port that gapes.

    Neutron's dead form after the "clear Port DEV trunks" of newer xapi's vif-real is a trunk of
    every VLAN.

    :returns: what was done in words, or None
    """
    unit = draft.unit
    if unit.get("tag") == DEAD and unit.get("vlan_mode") == "trunk" and not unit.get("trunks"):
        unit["trunks"] = [DEAD]
        return "it is dead, and without trunks it was open to every VLAN"
    return None


def mend_trunks(draft: "Draft", was: "Optional[Unit]") -> "Optional[str]":
    """Give back trunks whose loss alone would open the port.

    The end of newer xapi's vif-real clears them after the plug (xapi-project/xen-api 26.17,
    ocaml/xenopsd/scripts/vif-real, handle_trunks): nobody's decision.

    :param dict was: the VLAN unit that the row had by a mark, or None
    :returns: what was done in words, or None
    """
    if was and was.get("trunks") and dict(draft.unit, trunks=was["trunks"]) == was and (
            is_open_trunk(draft.unit)):
        draft.unit = dict(was)
        return "it had lost its trunks, and would have been open to every VLAN"
    return None
