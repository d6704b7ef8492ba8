"""The decision about a VIF's two ports: a pure function of the rows as they stand
(docs/design.md 4).

The plug-time hook, the one-shot commands and the watcher all call ``decide_vif`` and write the
changes of the Decision. This module has no memory, no I/O and no clock.
"""
from . import hold, identity, iface_id, merge, names, pair
from .decision import (
    CONFLICT,
    DRIFT,
    HELD,
    IN_SYNC,
    ORPHAN,
    REFUSED,
    SINGLE,
    Decision,
    Draft,
    Settings,
)
from .names import OTHER, SIDES, TAP, VIF
from .port import differences, is_bookkeeping
from .unit import DEAD, describe, has_no_vlan, is_real, without_vlan

MYPY = False
if MYPY:
    from typing import Collection, Dict, Iterable, List, Optional, Tuple

    from .port import Port
    from .unit import Unit


def decide_vif(ports: "Iterable[Port]", settings: Settings, prefer: "Optional[str]" = None,
               expired: "Collection[str]" = ()) -> Decision:
    """Decide about all ports with one VIF's number.

    :param ports: one to three port.Port: the tap side has two possible names
    :param Settings settings: the operator's settings, and the host's boot
    :param prefer: "vif" or "tap" where a person has named that side as the right one; else None
    :param expired: the UUIDs of the Ports whose grace as an orphan is over (docs/design.md 4.5, 8),
        by the caller's clock
    :returns: Decision
    """
    drafts = [Draft(port) for port in sorted(ports, key=lambda port: port.name)]
    sides = {side: [draft for draft in drafts if names.parse_known(draft.port.name)[2] == side]
             for side in SIDES}
    rows = {side: side_drafts[0] for side, side_drafts in sides.items() if side_drafts}
    for draft in drafts:
        draft.note(hold.lift(draft))
        draft.note(hold.mend_dead(draft))
        if draft.port.bridge in settings.hold_bridges and has_no_vlan(draft.unit):
            # cvlans mean nothing on a port without a VLAN, so the rules below do not see them.
            draft.unit = without_vlan(draft.unit)
        if draft is not rows.get(prefer or ""):
            draft.note(hold.mend_trunks(draft, draft.mark.get("base", {}).get("unit")))

    refusal: "Optional[str]" = None
    if len(sides[TAP]) > 1:
        refusal = "%s and %s both say that they are the emulated NIC" % (
            sides[TAP][0].port.name, sides[TAP][1].port.name)
    elif len(rows) == 2:
        refusal = identity.refusal(rows[VIF].port, rows[TAP].port)
    if prefer and not refusal:
        refusal = _refuse_choice(prefer, rows, settings)
    source: "Optional[str]" = None
    split: "List[str]" = []
    siblings: "Optional[pair.Pair]" = None
    orphans: "List[Port]" = []
    if len(rows) == 2 and not refusal:
        siblings = _pair(rows, settings, prefer)
        state, source, reason, split = _decide_siblings(siblings, settings, prefer)
    else:
        state, reason = REFUSED, refusal or ""
        for draft in drafts:
            _drop_lost_vlans([draft], drafts)
        if not refusal:
            state, reason = SINGLE, "%s has no sibling" % drafts[0].port.name
            if prefer:
                # A person has named this port as the right one: the port follows no sibling any
                # more.
                drafts[0].mark.pop("base", None)
        orphan_drafts = [draft for draft in drafts if _is_orphan(draft, drafts)]
        orphans = [draft.port for draft in orphan_drafts]
        for draft in orphan_drafts:
            draft.note(_decide_orphan(draft, settings, expired))
            if not refusal:
                state, reason = ORPHAN, ""

    # A port without a VLAN beside a held port is held, too. On a bridge that the config does not
    # list (any more) a person may open both ports, by naming one as the right one (prefer).
    by_hand = prefer in rows and state != REFUSED
    for draft in drafts:
        draft.note(hold.close(draft, any(
            other.closes or other.port.bridge in settings.hold_bridges
            or not by_hand and hold.is_held(other.port)
            for other in (drafts if siblings and state != REFUSED else [draft]))))
    held = [draft for draft in drafts if "held" in draft.mark]
    if held and state in (IN_SYNC, SINGLE, ORPHAN):
        state = HELD
        held[0].note("is held until it has a real tag" if all(
            hold.is_held(draft.port) for draft in held) else None)
    if siblings and state in (IN_SYNC, HELD):
        _renew_base(rows, siblings, settings)
    elif siblings and state == CONFLICT and not siblings.is_split():
        # (A pair that the agent has split gets no "seen": only the agent can end that conflict.)
        rows[TAP].mark["seen"] = dict(
            {side: _decided(rows[side]) for side in SIDES},
            port=rows[VIF].port.uuid)
    rival = _rival(drafts)
    if rival and state in (IN_SYNC, SINGLE, ORPHAN, REFUSED):
        state, reason = CONFLICT, "%s; %s" % (rival, reason)
    if split:
        reason += "; each port keeps its own %s" % ", ".join(split)
    for draft in drafts:
        _stamp(draft, settings)

    changes = [change for side in SIDES for draft in sides[side]
               for change in differences(draft.port, draft)]
    unit = rows[VIF].unit if state == IN_SYNC else None
    if state == IN_SYNC and not all(is_bookkeeping(change) for change in changes):
        state = DRIFT
    target = None
    if siblings and state not in (REFUSED, CONFLICT):
        written = [side for side in SIDES if rows[side].is_written()]
        if source:
            target = OTHER[source] if OTHER[source] in written else None
        elif len(written) == 1:
            target = written[0]
    return Decision(
        rows[VIF].port if VIF in rows else None, rows[TAP].port if TAP in rows else None, state,
        "; ".join(([reason] if reason else []) + [
            note for side in SIDES for draft in sides[side] for note in draft.notes]),
        rows[OTHER[target]].port.name if target else None,
        rows[target].port.name if target else None, unit, split, changes, orphans,
        sides[TAP][1].port if len(sides[TAP]) > 1 else None)


def _refuse_choice(prefer: str, rows: "Dict[str, Draft]", settings: Settings) -> "Optional[str]":
    """Why a person can't choose a side, in words; None if the side may be chosen. The parameters
    are those of decide_vif."""
    if prefer not in rows:
        return "there is no %s that could be the source" % prefer
    port = rows[prefer].port
    if port.bridge in settings.hold_bridges and not is_real(rows[prefer].unit) and any(
            hold.is_held(row.port) for row in rows.values()):
        return "only a real tag opens a held port on a bridge in [hold]: set %s's tag first" % (
            port.name)
    return None


def _stamp(draft: Draft, settings: Settings) -> None:
    """Stamp a row that has no stamp: note in the row's mark the VIF that the row belongs to, and
    the host's boot in which the row was first seen with its device.

    The VIF is noted at the first look, before ovs-xapi-sync can rewrite the row's external_ids. The
    boot is noted at the first look at which the row has its device: a row whose device was gone at
    every look may not lend.
    """
    stamp = identity.stamp_of(draft.ids["Interface"])
    if stamp and "vif" not in draft.mark:
        draft.mark["vif"] = stamp
        draft.mark["boot"] = ""
    if draft.mark.get("boot") == "" and not draft.port.gone:
        draft.mark["boot"] = settings.boot


def _is_orphan(draft: Draft, drafts: "List[Draft]") -> bool:
    """Whether the row has followed a port that was deleted, while the row itself is neither held
    nor the agent's own living port.

    :param drafts: all rows with the VIF's number
    """
    base = draft.mark.get("base")
    return (base is not None and not hold.is_held(draft.port) and not draft.port.vlan_network
            and not any(base["port"] == other.port.uuid for other in drafts))


def _drop_lost_vlans(rows: "Collection[Draft]", drafts: "Collection[Draft]") -> None:
    """Take off rows of one VIF the VLAN that the agent has given to another network.

    The base of a row says to which network the row's VLAN belonged; so do the agent's notes on a
    row that is not the agent's own any more. The proof is a port of another network on the same
    bridge that has the same tag by the agent's notes.

    :param rows: rows that may be one pair: the agent's notes on one row count for both
    :param drafts: all rows with the VIF's number: a base counts for the row that the base names,
        even if the pair is refused by now
    """
    if any(draft.port.vlan_network for draft in rows):
        return  # one of the ports is the agent's own, and alive: the agent decides
    lost: "List[Draft]" = []
    for draft in rows:
        port, unit = draft.port, draft.unit
        networks = {row.port.network_of(unit.get("tag")) for row in rows} - {None}
        if not networks:  # the agent's notes are newer than any base
            bases = [(row, row.port.mark.get("base", {})) for row in drafts]
            networks = {base.get("network") for row, base in bases if base.get("unit") == unit and (
                row is draft or base["port"] == port.uuid)} - {None}
        if not port.managed and is_real(unit) and networks and port.rivals - networks:
            lost.append(draft)
    for draft in lost:
        draft.note("had a VLAN (%s) that is another network's by now" % describe(draft.unit))
        draft.unit = without_vlan(draft.unit)
        draft.mark.pop("base", None)
        draft.closes = True


def _rival(drafts: "List[Draft]") -> "Optional[str]":
    """Why the agent's own port can't be trusted, in words: the port's tag is another network's,
    too. None if no port of the agent's has such a tag."""
    for draft in drafts:
        if draft.port.is_forgotten:
            return "%s has %s for network %s, and the agent has this tag in use for network %s: " \
                "the agent has forgotten this port: plug it anew" % (
                    draft.port.name, describe(draft.unit), draft.port.vlan_network,
                    min(draft.port.rivals))
    return None


def _decide_orphan(draft: Draft, settings: Settings, expired: "Collection[str]") -> str:
    """Decide about a row that has followed a port that was deleted; returns words for Draft.note.
    """
    # The tag of a managed row is never written, not even after the grace: the rows don't tell
    # whether the agent still counts the port as the agent's own.
    if (draft.port.uuid in expired and draft.port.bridge in settings.hold_bridges
            and not draft.port.managed and draft.unit.get("tag") != DEAD):
        old_unit = describe(draft.unit)
        draft.unit = without_vlan(draft.unit)
        draft.mark.pop("base", None)
        return "is held: its sibling was deleted longer than orphan_grace ago, and the VLAN (%s) " \
            "may be another tenant's by now" % old_unit
    return "has no sibling any more, and keeps %s" % describe(draft.unit)


def _pair(rows: "Dict[str, Draft]", settings: Settings, prefer: "Optional[str]") -> pair.Pair:
    """The Pair of the two rows, without the VLANs that the agent has given away, and with the
    trunks restored that a mark shows to be lost."""
    _drop_lost_vlans(rows.values(), rows.values())
    siblings = pair.Pair(rows[VIF], rows[TAP], settings)
    seen = siblings.seen() or {}
    for side in SIDES:
        if side != prefer:
            if siblings.base:
                rows[side].note(hold.mend_trunks(rows[side], siblings.base["unit"]))
            rows[side].note(hold.mend_trunks(rows[side], seen.get(side)))
    return siblings


def _decide_siblings(siblings: pair.Pair, settings: Settings, prefer: "Optional[str]"
                     ) -> "Tuple[str, Optional[str], str, List[str]]":
    """Decide about two rows that may be siblings, and change the drafts of the two rows.

    :returns: ``(state, source, reason, split)``: source is the side whose unit was copied, or None;
        split lists the external_ids keys that stay different
    """
    rows = siblings.rows
    vif, tap = rows[VIF], rows[TAP]
    verdict, source, reason = siblings.choose(prefer)
    if verdict == pair.REFUSED:
        return REFUSED, None, reason, []
    if verdict == pair.CONFLICT:
        return CONFLICT, None, reason, []
    if verdict == pair.WAIT:
        return DRIFT, None, reason, []
    if source:
        rows[OTHER[source]].unit = dict(rows[source].unit)
        rows[OTHER[source]].mark.pop("opened", None)
    split = merge.merge(vif, tap, siblings.base, settings, siblings.lends, prefer)
    iface_id.keep(rows, siblings.lends, settings)
    tap.mark.pop("seen", None)
    return IN_SYNC, source, reason, split


def _decided(draft: Draft) -> "Unit":
    """The draft's unit, for a mark; without the VLAN if the row is held: the VLAN of a held row
    comes from the hold, and is nobody's decision."""
    return without_vlan(draft.unit) if "held" in draft.mark else dict(draft.unit)


def _renew_base(rows: "Dict[str, Draft]", siblings: pair.Pair, settings: Settings) -> None:
    """Note the base, the state in which the pair is alike, on one of the two rows.

    A row that is about to be created holds the base itself, because the base on the other row could
    not name a row that has no UUID yet. Else, where exactly one port is the agent's own, the base
    goes to the sibling of that port: when the agent's port goes, the base shows that the sibling is
    an orphan, whose VLAN may become another tenant's. Else the base goes to the one row that was
    written. If both rows were written, or neither, the base goes to the tap, but an unchanged base
    stays where it is.
    """
    vif, tap = rows[VIF], rows[TAP]
    unborn = [side for side in SIDES if not rows[side].port.uuid]
    if unborn and rows[OTHER[unborn[0]]].is_written():
        return  # the hook writes only the new row now, so the two rows are not alike yet
    common = merge.alike(vif, tap, settings)
    common["unit"] = _decided(tap if "held" in tap.mark else vif)
    before = siblings.base or siblings.old_base
    if siblings.old_base and rows[siblings.holder].port.unit != siblings.old_base["unit"]:
        before = None  # the VLAN comes from the other row, which has not followed that base
    networks = {row.port.network_of(common["unit"].get("tag")) for row in rows.values()} - {None}
    if len(networks) == 1:
        common["network"] = networks.pop()
    elif not networks and before and before["unit"] == common["unit"] and "network" in before:
        common["network"] = before["network"]
    written_sides = [side for side in SIDES if rows[side].is_written()]
    base = siblings.base
    if unborn:
        holder = unborn[0]
    elif siblings.owner:
        holder = OTHER[siblings.owner]
    elif len(written_sides) == 1:
        holder = written_sides[0]
    elif base and not written_sides and dict(common, port=base["port"]) == base:
        holder = siblings.holder  # the base is there already
    else:
        holder = TAP
    rows[holder].mark["base"] = dict(common, port=rows[OTHER[holder]].port.uuid)
    rows[OTHER[holder]].mark.pop("base", None)
