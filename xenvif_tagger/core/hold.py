"""Keeping ports closed: the hold (docs/design.md 4.6), and the repair of ports that lost their
trunks (docs/design.md 4.5, rule 4).

Each rule here looks at one row by itself, so each rule applies to single ports, and to the ports of
a refused pair, too.
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
        return {"tag": DEAD, "vlan_mode": "dot1q-tunnel", "cvlans": [DEAD]}
    return {"tag": DEAD}


def is_held(row: "Union[Port, Draft]") -> bool:
    """Whether the row (a Port, or a draft of one) is held: the row's mark has the hold, and the row
    has no real tag."""
    return "held" in row.mark and not is_real(row.unit)


def hold(draft: "Draft") -> None:
    """Give the row the form of a held port, and note that form in the row's mark."""
    draft.unit = form(draft.port.cvlans)
    draft.mark["held"] = dict(draft.unit)


def release(draft: "Draft") -> None:
    """Take the hold off a row that has a real tag, and clear the other columns that the hold set.

    Older agents set the tag only and never clear the other columns (docs/design.md 2.4).
    """
    for column, value in draft.mark.pop("held").items():
        if column != "tag" and draft.unit.get(column) == value:
            del draft.unit[column]


def tidy(draft: "Draft") -> "Optional[str]":
    """Mend one row: release a held row that has a real tag, restore the form of any other held row,
    and close a dead row that has lost its trunks.

    :returns: the repair in words, for Draft.note, or None
    """
    if "held" in draft.mark:
        if is_real(draft.unit):
            release(draft)
            return "has a real tag, so its hold ends"
        if draft.unit != form(draft.port.cvlans):
            hold(draft)
            return "is held, and only a real tag ends a hold: its VLAN columns are restored"
    elif (draft.unit.get("tag") == DEAD and draft.unit.get("vlan_mode") == "trunk"
          and not draft.unit.get("trunks")):
        # Newer xapi's vif-real runs "clear Port DEV trunks" after the plug. That command makes
        # Neutron's dead form, a trunk of 4095, a trunk of every VLAN.
        draft.unit["trunks"] = [DEAD]
        return "is dead, but had lost its trunks, and was open to every VLAN"
    return None


def mend_trunks(draft: "Draft", base: "Optional[Dict[str, Any]]") -> "Optional[str]":
    """Restore the trunks of a row that is open to every VLAN without trunks, if the row's unit
    differs from the base in nothing else.

    Newer xapi's vif-real clears the trunks at the end of a plug (xapi-project/xen-api 26.17,
    ocaml/xenopsd/scripts/vif-real, handle_trunks). That clear is nobody's decision
    to open the port.

    :param dict base: the mark's ``base`` that has the unit of this row before the loss, or None
    :returns: the repair in words, for Draft.note, or None
    """
    old_unit = base["unit"] if base else {}
    if old_unit.get("trunks") and dict(draft.unit, trunks=old_unit["trunks"]) == old_unit and (
            is_open_trunk(draft.unit)):
        draft.unit = dict(old_unit)
        return "had lost its trunks, and was open to every VLAN"
    return None
