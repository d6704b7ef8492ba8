"""The decision about a VIF's two ports: a pure function of the two rows as they stand
(docs/design.md 4).

The plug-time hook, the one-shot commands and the watcher all call ``decide`` and write what it
says. No memory, no I/O, no clock.
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

    :param vif, tap: port.Port as they stand, or None where there is none (not both)
    :param Settings settings: what the operator has set, and the host's facts
    :param prefer: "vif" or "tap": a person has said which side is right; else None
    :param bool expired: an orphan's grace is over (the caller has the clock, docs/design.md 4.5, 8)
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
            # A person says that it is right as it is: it follows nobody any more.
            draft.mark.pop("base", None)
        state, reason = _alone(draft, settings, expired)
    else:
        state, source, reason, split = _together(drafts, settings, prefer)
    if split:
        reason += "; %s differs, each keeps its own" % ", ".join(split)
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
        written = [side for side in SIDES if drafts[side].is_written()]
        target = OTHER[source] if source else written[0] if len(written) == 1 else None
    return Decision(vif, tap, state, "; ".join([reason] + notes),
                    drafts[OTHER[target]].port.name if target else None,
                    drafts[target].port.name if target else None, unit, split, changes)


def decide_vif(ports: "Iterable[Port]", settings: Settings, prefer: "Optional[str]" = None,
               expired: bool = False) -> Decision:
    """Decide about all ports that bear one VIF's number.

    :param ports: list of port.Port, one to three: there are two names for the tap side
    :returns: Decision; parameters else as ``decide``
    """
    sides: "Dict[str, List[Port]]" = {VIF: [], TAP: []}
    for port in sorted(ports, key=lambda port: port.name):
        sides[names.parse_known(port.name)[2]].append(port)
    vif, tap = (sides[side][0] if sides[side] else None for side in SIDES)
    if len(sides[TAP]) > 1:
        return Decision(vif, tap, REFUSED, "%s and %s both say that they are the emulated NIC" % (
            sides[TAP][0].name, sides[TAP][1].name))
    return decide(vif, tap, settings, prefer, expired)


def _stamp(draft: Draft, settings: Settings) -> None:
    """Note on a row when it is first seen whose it is, before ovs-xapi-sync can rewrite its ids.

    The boot is noted when it is first seen alive: a row that was gone by then may not lend.
    """
    stamp = identity.stamp_of(draft.ids["Interface"])
    if stamp and "vif" not in draft.mark:
        draft.mark["vif"] = stamp
        draft.mark["boot"] = ""
    if draft.mark.get("boot") == "" and not draft.port.gone:
        draft.mark["boot"] = settings.boot


def _alone(draft: Draft, settings: Settings, expired: bool) -> "Tuple[str, str]":
    """A port without a sibling: ``(state, reason)``."""
    if hold.is_held(draft):
        return HELD, "it has no sibling, and is held until it has a real tag"
    if "base" not in draft.mark:
        return SINGLE, "%s has no sibling" % draft.port.name
    # A managed row's tag is never written, not even here: whether the agent still knows it as its
    # own can't be told from the rows.
    if (expired and draft.port.bridge in settings.hold_bridges and not draft.port.managed
            and draft.unit.get("tag") != DEAD):
        had = describe(draft.unit)
        hold.hold(draft)
        return HELD, "its sibling is gone for longer than the grace, and its VLAN (%s) may be " \
            "another tenant's by now: held" % had
    return ORPHAN, "its sibling is gone; it keeps %s" % describe(draft.unit)


def _together(drafts: "Dict[str, Draft]", settings: Settings, prefer: "Optional[str]"
              ) -> "Tuple[str, Optional[str], str, List[str]]":
    """Two rows that may be siblings: change their drafts. Returns
    ``(state, source side, reason, split)``."""
    vif, tap = drafts[VIF], drafts[TAP]
    refusal = identity.refusal(vif.port, tap.port)
    if refusal:
        return REFUSED, None, refusal, []
    both = pair.Pair(vif, tap, settings)
    if both.base and OTHER[both.holder] != prefer:
        other = drafts[OTHER[both.holder]]
        other.note(hold.mend_trunks(other, both.base))
    verdict, source, reason = both.choose(prefer)
    if verdict == pair.REFUSED:
        return REFUSED, None, reason, []
    if verdict == pair.CONFLICT and both.is_split():
        return CONFLICT, None, reason, []  # until the agent comes to one mind: no change decides it
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
    split = merge.merge(vif, tap, both.base, settings, both.lends, prefer)
    iface_id.keep(drafts, both.lends, settings)
    tap.mark.pop("seen", None)
    _renew_base(drafts, both, settings)
    held = hold.is_held(vif) or hold.is_held(tap)
    return HELD if held else IN_SYNC, source, reason, split


def _hold(rows: "Iterable[Draft]") -> None:
    for row in rows:
        if not hold.is_held(row):
            hold.hold(row)


def _copy(drafts: "Dict[str, Draft]", source: str, settings: Settings,
          prefer: "Optional[str]") -> str:
    """Give one side's unit to the other; returns what to add to the reason."""
    giver, taker = drafts[source], drafts[OTHER[source]]
    if not giver.unit and not prefer and giver.port.bridge in settings.hold_bridges:
        # Rule 3. The agent's own port is left to the agent.
        _hold([taker] if giver.port.managed and not taker.port.managed else [giver, taker])
        return "; on this bridge that means held"
    taker.unit = dict(giver.unit)
    taker.mark.pop("held", None)
    return ""


def _give_identity(vif: Draft, tap: Draft) -> None:
    """Note on a row without any identity whose it is taken to be; if it says nothing at all, it
    gets the sibling's identity keys, once (docs/design.md 4.4).

    Not if it has other keys, or policing: with an identity it would lend them from then on, on
    our word alone.
    """
    for row, sibling in ((vif, tap), (tap, vif)):
        if identity.keys_of(row.ids["Interface"]):
            continue
        if not row.ids["Interface"] and set(row.ids["Port"]) <= {mark.KEY} and not row.policing:
            row.ids["Interface"].update(identity.keys_of(sibling.ids["Interface"]))
        elif "vif" not in row.mark:
            row.mark["vif"] = identity.stamp_of(sibling.ids["Interface"])
            row.mark["boot"] = ""


def _renew_base(drafts: "Dict[str, Draft]", both: pair.Pair, settings: Settings) -> None:
    """Note the state in which the pair is alike, on one row: the one that was written.

    Beside the agent's own port always on the other one: when the agent's goes, what is left must
    be known for an orphan, whose VLAN may become another tenant's.
    """
    vif, tap = drafts[VIF], drafts[TAP]
    alike = merge.alike(vif, tap, settings)
    # A held row's unit is the hold's, nobody's decision.
    alike["unit"] = {} if hold.is_held(vif) or hold.is_held(tap) else dict(vif.unit)
    written = [side for side in SIDES if drafts[side].is_written()]
    if both.owner:
        holder = OTHER[both.owner]
    elif len(written) == 1:
        holder = written[0]
    elif both.base and not written and dict(alike, port=both.base["port"]) == both.base:
        holder = both.holder
    else:
        holder = TAP
    drafts[holder].mark["base"] = dict(alike, port=drafts[OTHER[holder]].port.uuid)
    drafts[OTHER[holder]].mark.pop("base", None)
