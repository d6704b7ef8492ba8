"""The decision about a VIF's two ports: a pure function of the two rows as they stand
(docs/design.md 4).

The plug-time hook, the one-shot commands and the watcher all call ``decide`` and write the changes
of its Decision. The function has no memory, does no I/O and reads no clock.
"""
from . import hold, identity, iface_id, mark, merge, names, pair
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
from .unit import DEAD, describe

MYPY = False
if MYPY:
    from typing import Dict, Iterable, List, Optional, Tuple

    from .port import Port


def decide(vif: "Optional[Port]", tap: "Optional[Port]", settings: Settings,
           prefer: "Optional[str]" = None, expired: bool = False) -> Decision:
    """Decide about a VIF's two ports.

    :param vif, tap: port.Port as the row stands, or None for a side without a port (not both)
    :param Settings settings: what the operator has set, and the host's facts
    :param prefer: "vif" or "tap" where a person has named that side as the right one; else None
    :param bool expired: the VIF is an orphan whose grace is over (docs/design.md 4.5, 8), by the
        caller's clock
    :returns: Decision
    """
    drafts = {side: Draft(port) for side, port in ((VIF, vif), (TAP, tap)) if port is not None}
    for side in drafts:
        draft = drafts[side]
        draft.note(hold.tidy(draft))
        if side != prefer:
            draft.note(hold.mend_trunks(draft, draft.mark.get("base")))
    source: "Optional[str]" = None
    split: "List[str]" = []
    if len(drafts) == 1:
        side, draft = next(iter(drafts.items()))
        if side == prefer:
            # A person has named this port as the right one: the port follows no sibling any more.
            draft.mark.pop("base", None)
        state, reason = _alone(draft, settings, expired)
    else:
        state, source, reason, split = _together(drafts, settings, prefer)
    if split:
        reason += "; each port keeps its own %s" % ", ".join(split)
    for draft in drafts.values():
        _stamp(draft, settings)

    notes = [note for side in SIDES if side in drafts for note in drafts[side].notes]
    changes = [change for side in SIDES if side in drafts
               for change in differences(drafts[side].port, drafts[side])]
    unit = None
    if state == IN_SYNC:
        unit = drafts[VIF].unit
        if not all(is_bookkeeping(change) for change in changes):
            state = DRIFT
    target = None
    if len(drafts) == 2 and state not in (REFUSED, CONFLICT):
        written_sides = [side for side in SIDES if drafts[side].is_written()]
        target = OTHER[source] if source else (
            written_sides[0] if len(written_sides) == 1 else None)
    return Decision(vif, tap, state, "; ".join([reason] + notes),
                    drafts[OTHER[target]].port.name if target else None,
                    drafts[target].port.name if target else None, unit, split, changes)


def decide_vif(ports: "Iterable[Port]", settings: Settings, prefer: "Optional[str]" = None,
               expired: bool = False) -> Decision:
    """Decide about all ports that bear one VIF's number.

    :param ports: list of port.Port, one to three: the tap side has two names
    :returns: Decision

    The other parameters are those of ``decide``.
    """
    sides: "Dict[str, List[Port]]" = {VIF: [], TAP: []}
    for port in sorted(ports, key=lambda port: port.name):
        sides[names.parse_known(port.name)[2]].append(port)
    vif, tap = (sides[side][0] if sides[side] else None for side in SIDES)
    if len(sides[TAP]) > 1:
        return Decision(vif, tap, REFUSED, "%s are both named as the VIF's emulated NIC" % (
            " and ".join(port.name for port in sides[TAP])))
    return decide(vif, tap, settings, prefer, expired)


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


def _alone(draft: Draft, settings: Settings, expired: bool) -> "Tuple[str, str]":
    """Decide about a port without a sibling: returns ``(state, reason)``."""
    if hold.is_held(draft):
        return HELD, "%s has no sibling, and is held until it has a real tag" % draft.port.name
    if "base" not in draft.mark:
        return SINGLE, "%s has no sibling" % draft.port.name
    # The tag of a managed row is never written, not even after the grace: the rows don't tell
    # whether the agent still counts the port as the agent's own.
    if (expired and draft.port.bridge in settings.hold_bridges and not draft.port.managed
            and draft.unit.get("tag") != DEAD):
        old_unit = describe(draft.unit)
        hold.hold(draft)
        return HELD, "%s is held: its sibling was deleted longer than orphan_grace ago, and " \
            "the VLAN (%s) may be another tenant's by now" % (draft.port.name, old_unit)
    return ORPHAN, "%s has no sibling any more, and keeps %s" % (
        draft.port.name, describe(draft.unit))


def _together(drafts: "Dict[str, Draft]", settings: Settings, prefer: "Optional[str]"
              ) -> "Tuple[str, Optional[str], str, List[str]]":
    """Decide about two rows that have one VIF's names, and change the drafts of the two rows.

    :returns: ``(state, source, reason, split)``: source is the side whose unit was copied, or None;
        split lists the external_ids keys that stay different
    """
    vif, tap = drafts[VIF], drafts[TAP]
    refusal = identity.refusal(vif.port, tap.port)
    if refusal:
        return REFUSED, None, refusal, []
    siblings = pair.Pair(vif, tap, settings)
    if siblings.base and OTHER[siblings.holder] != prefer:
        other = drafts[OTHER[siblings.holder]]
        other.note(hold.mend_trunks(other, siblings.base))
    verdict, source, reason = siblings.choose(prefer)
    if verdict == pair.REFUSED:
        return REFUSED, None, reason, []
    if verdict == pair.CONFLICT and siblings.is_split():
        # The mark gets no "seen": only the agent can end this conflict.
        return CONFLICT, None, reason, []
    if verdict == pair.CONFLICT:
        tap.mark["seen"] = {"port": vif.port.uuid, VIF: vif.unit, TAP: tap.unit}
        return CONFLICT, None, reason, []
    if verdict == pair.WAIT:
        return DRIFT, None, reason, []
    if verdict == pair.HOLD:
        _hold(drafts.values())
    elif source:  # pair.COPY
        reason += _copy(drafts, source, settings, prefer)

    _give_identity(vif, tap)
    split = merge.merge(vif, tap, siblings.base, settings, siblings.lends, prefer)
    iface_id.keep(drafts, siblings.lends, settings)
    tap.mark.pop("seen", None)
    _renew_base(drafts, siblings, settings)
    held = hold.is_held(vif) or hold.is_held(tap)
    return HELD if held else IN_SYNC, source, reason, split


def _hold(drafts: "Iterable[Draft]") -> None:
    for draft in drafts:
        if not hold.is_held(draft):
            hold.hold(draft)


def _copy(drafts: "Dict[str, Draft]", source: str, settings: Settings,
          prefer: "Optional[str]") -> str:
    """Give one side's unit to the other side; returns the words to add to the reason."""
    giver, taker = drafts[source], drafts[OTHER[source]]
    if not giver.unit and not prefer and giver.port.bridge in settings.hold_bridges:
        # Rule 3: on a listed bridge a port whose unit was cleared is held, and its sibling with it.
        # The agent's own port stays as it is.
        _hold([taker] if giver.port.managed and not taker.port.managed else [giver, taker])
        return "; on this bridge a port without a VLAN is held"
    taker.unit = dict(giver.unit)
    taker.mark.pop("held", None)
    return ""


def _give_identity(vif: Draft, tap: Draft) -> None:
    """Give a row without identity keys its sibling's identity, once (docs/design.md 4.3).

    Where the row has no other keys and no policing either, its Interface gets the sibling's
    identity keys. Any other row gets the identity into its stamp only: with identity keys such a
    row would lend its own keys from then on, though nothing proves that those keys are this VIF's.
    """
    for row, sibling in ((vif, tap), (tap, vif)):
        if identity.keys_of(row.ids["Interface"]):
            continue
        if not row.ids["Interface"] and set(row.ids["Port"]) <= {mark.KEY} and not row.policing:
            row.ids["Interface"].update(identity.keys_of(sibling.ids["Interface"]))
        elif "vif" not in row.mark:
            row.mark["vif"] = identity.stamp_of(sibling.ids["Interface"])
            row.mark["boot"] = ""


def _renew_base(drafts: "Dict[str, Draft]", siblings: pair.Pair, settings: Settings) -> None:
    """Note the base, the state in which the pair is alike, on one of the two rows.

    The base goes to the row that was written, or to the tap if both or neither were written. Where
    exactly one port is the agent's own, the base goes to the sibling of that port: when the agent's
    port goes, the base shows that the sibling is an orphan, whose VLAN may become another tenant's.
    """
    vif, tap = drafts[VIF], drafts[TAP]
    common = merge.alike(vif, tap, settings)
    # The unit of a held row is nobody's decision: the hold has set that unit.
    common["unit"] = {} if hold.is_held(vif) or hold.is_held(tap) else dict(vif.unit)
    written_sides = [side for side in SIDES if drafts[side].is_written()]
    old_base = siblings.base
    if siblings.owner:
        holder = OTHER[siblings.owner]
    elif len(written_sides) == 1:
        holder = written_sides[0]
    elif old_base and not written_sides and dict(common, port=old_base["port"]) == old_base:
        holder = siblings.holder  # the base is there already
    else:
        holder = TAP
    drafts[holder].mark["base"] = dict(common, port=drafts[OTHER[holder]].port.uuid)
    drafts[OTHER[holder]].mark.pop("base", None)
