"""Keeping ports closed: the hold (docs/design.md 4.6), and the repair of ports that lost their
trunks (docs/design.md 4.5, rule 4).

Each rule here looks at one row by itself, so it counts for single ports and in refused pairs too.
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

    To Neutron's agent tag 4095 means "dead, mine to bind". A port in mode dot1q-tunnel passes only
    frames with a customer VLAN that is in cvlans, and no customer has VLAN 4095: that number is
    reserved (IEEE 802.1Q, table 9-2). The form does not use ``trunks``, because newer xapi clears
    trunks after the plug (docs/design.md 2.1). An agent opens the port by setting a tag and
    clearing vlan_mode: without dot1q-tunnel, cvlans has no effect.

    A schema without cvlans is that of Open vSwitch 2.5. There the port becomes an access port of
    VLAN 4095, which stays closed to every other VLAN after xapi's clear. Neutron's own dead form,
    a trunk of 4095, would be open to every VLAN after that clear.
    """
    if cvlans:
        return {"tag": DEAD, "vlan_mode": "dot1q-tunnel", "cvlans": [DEAD]}
    return {"tag": DEAD}


def is_held(row: "Union[Port, Draft]") -> bool:
    """Whether the row (a Port, or a draft of one) is held: its mark says so, and it has no real
    tag."""
    return "held" in row.mark and not is_real(row.unit)


def hold(draft: "Draft") -> None:
    """Give the row the form of a held port, and note that form in its mark."""
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

    :returns: what was mended, in words, or None
    """
    if "held" in draft.mark:
        if is_real(draft.unit):
            release(draft)
            return "it has a real tag, so the hold ends"
        if draft.unit != form(draft.port.cvlans):
            hold(draft)
            return "it is held, and only a real tag opens it: its form is restored"
    elif (draft.unit.get("tag") == DEAD and draft.unit.get("vlan_mode") == "trunk"
          and not draft.unit.get("trunks")):
        # Newer xapi's vif-real runs "clear Port DEV trunks" after the plug. Neutron's dead form,
        # a trunk of 4095, becomes a trunk of every VLAN by that.
        draft.unit["trunks"] = [DEAD]
        return "it is dead, and without trunks it was open to every VLAN"
    return None


def mend_trunks(draft: "Draft", base: "Optional[Dict[str, Any]]") -> "Optional[str]":
    """Restore the trunks of a row that differs from its base by their loss only, and is open.

    Newer xapi's vif-real clears the trunks at the end of a plug (xapi-project/xen-api 26.17,
    ocaml/xenopsd/scripts/vif-real, handle_trunks). Nobody has decided to open the port.

    :param dict base: the mark's ``base`` that says which unit the row had, or None
    :returns: what was mended, in words, or None
    """
    was = base["unit"] if base else {}
    if was.get("trunks") and dict(draft.unit, trunks=was["trunks"]) == was and (
            is_open_trunk(draft.unit)):
        draft.unit = dict(was)
        return "it had lost its trunks, and would have been open to every VLAN"
    return None
