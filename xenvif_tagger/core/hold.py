"""The hold: the form in which a port without a VLAN is written where the port must not be a trunk
of every VLAN (docs/design.md 4.6); and the repairs of ports that have been opened by mistake.

Each rule here looks at one row by itself, so each rule applies to single ports, and to the ports of
a refused pair, too. A decision begins with ``lift``, which shows the row without its hold, and ends
with ``close``, which writes the hold on a row that has got no VLAN.
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

    :param bool cvlans: the database's schema has Port.cvlans

    Neutron's agent takes a port with tag 4095 for a dead port that the agent may bind. A port in
    mode dot1q-tunnel passes only frames with a customer VLAN that is in cvlans, and no customer has
    VLAN 4095: that number is reserved (IEEE 802.1Q, table 9-2). The unit has no ``trunks``, because
    newer xapi clears the trunks of a port after the plug (docs/design.md 2.1). An agent opens the
    port by setting a tag and clearing vlan_mode: without dot1q-tunnel, cvlans has no effect.

    The schema of Open vSwitch 2.5 has no cvlans. There the port becomes an access port of VLAN
    4095, and stays closed to every other VLAN when xapi clears its trunks. A port in Neutron's own
    dead form, a trunk of 4095, would be open to every VLAN once xapi has cleared its trunks.
    """
    if cvlans:
        return {"tag": DEAD, "vlan_mode": _TUNNEL, "cvlans": [DEAD]}
    return {"tag": DEAD}


def is_held(row: "Union[Port, Draft]") -> bool:
    """Whether the row (a Port, or a draft of one) is held: the row's mark has the hold, and the row
    has no real tag."""
    return "held" in row.mark and not is_real(row.unit)


def lift(draft: "Draft") -> "Optional[str]":
    """Show a row without its hold: the columns that are left are those that others have set.

    A real tag ends the hold. Then the columns beside the tag that the hold has set are cleared,
    because older agents set the tag only (docs/design.md 2.4). If somebody has changed cvlans,
    dot1q-tunnel is the mode that the same program wants, and the mode stays. A program that sets
    dot1q-tunnel on a held port before the tag changes no column, so nobody sees that write. For
    such a program the mark's ``opened`` notes that the mode was cleared with the hold, and cvlans
    that come without a mode bring the mode back.

    :returns: the repair in words, for Draft.note, or None
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
        return "got its cvlans after the hold had ended: it is a dot1q-tunnel"
    if not is_real(unit):
        draft.unit = without_vlan(unit)
        return None
    if unit.get("cvlans", held.get("cvlans")) == held.get("cvlans"):
        if held.get("vlan_mode") == _TUNNEL == unit.get("vlan_mode"):
            del unit["vlan_mode"]
            draft.mark["opened"] = True
        if "cvlans" in held:
            unit.pop("cvlans", None)
    return "has a real tag, so its hold ends"


def close(draft: "Draft", closes: bool) -> "Optional[str]":
    """Write the hold's form on a row that has no VLAN, or that only a real tag may open.

    The agent's own port is left to the agent, unless the port was held as read: then the agent has
    only begun to bind the port.

    :param bool closes: whether a port without a VLAN is to be closed
    :returns: the repair in words, for Draft.note, or None
    """
    port, unit = draft.port, draft.unit
    was_held = is_held(port)
    if was_held and not closes:
        return "is open to every VLAN" if has_no_vlan(unit) else None
    if port.managed and not was_held or not closes or not (
            # The dead form of an agent, a trunk of 4095, would be open after xapi's late clear.
            has_no_vlan(unit) or not is_real(unit) and (
                was_held or has_no_vlan(port.unit) and unit.get("tag") == DEAD)):
        return None
    if was_held and is_closed(port.unit):
        # The port is closed as it stands. If somebody has changed the form, keep the change: an
        # agent may set vlan_mode and cvlans before the tag.
        draft.unit = dict(without_vlan(unit), **vlan_of(port.unit))
        draft.mark["held"] = dict(port.mark["held"])
        return None
    draft.unit = dict(without_vlan(unit), **form(port.cvlans))
    draft.mark["held"] = form(port.cvlans)
    if was_held:
        return "is held, and only a real tag ends a hold: its VLAN columns are restored"
    return "is closed until it has a real tag"


def mend_dead(draft: "Draft") -> "Optional[str]":
    """Close a dead row that has lost its trunks.

    Newer xapi's vif-real runs "clear Port DEV trunks" after the plug. That command makes Neutron's
    dead form, a trunk of 4095, a trunk of every VLAN.

    :returns: the repair in words, for Draft.note, or None
    """
    unit = draft.unit
    if unit.get("tag") == DEAD and unit.get("vlan_mode") == "trunk" and not unit.get("trunks"):
        unit["trunks"] = [DEAD]
        return "is dead, but had lost its trunks, and was open to every VLAN"
    return None


def mend_trunks(draft: "Draft", old_unit: "Optional[Unit]") -> "Optional[str]":
    """Restore the trunks of a row that has lost them and so is open to every VLAN, if the row's
    unit differs from the old unit in nothing else.

    Newer xapi's vif-real clears the trunks at the end of a plug (xapi-project/xen-api 26.17,
    ocaml/xenopsd/scripts/vif-real, handle_trunks). That command does not mean that somebody has
    decided to open the port.

    :param dict old_unit: the VLAN unit that the row had before, as a mark notes; or None
    :returns: the repair in words, for Draft.note, or None
    """
    if old_unit and old_unit.get("trunks") and (
            dict(draft.unit, trunks=old_unit["trunks"]) == old_unit) and (
            is_open_trunk(draft.unit)):
        draft.unit = dict(old_unit)
        return "had lost its trunks, and was open to every VLAN"
    return None
