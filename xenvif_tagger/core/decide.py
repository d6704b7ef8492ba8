"""The decision about a VIF's two ports: a pure function of the rows as they stand
(docs/design.md 4).

The plug-time hook, the one-shot commands and the watcher all call ``decide_vif`` and write what it
says. No memory, no I/O, no clock.
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
    """Decide about all ports that bear one VIF's number.

    :param ports: one to three: there are two names for the tap side
    :param settings: what the operator has set, and the host's boot
    :param prefer: "vif" or "tap": a person has said which side is right; else None
    :param expired: the UUIDs of Ports whose grace as an orphan is over (the caller has the clock,
        docs/design.md 4.5, 8)
    """
    every = [Draft(port) for port in sorted(ports, key=lambda port: port.name)]
    sides = {side: [draft for draft in every if names.parse_known(draft.port.name)[2] == side]
             for side in SIDES}
    rows = {side: drafts[0] for side, drafts in sides.items() if drafts}
    for draft in every:
        draft.note(hold.lift(draft))
        draft.note(hold.mend_dead(draft))
        if draft.port.bridge in settings.hold_bridges and has_no_vlan(draft.unit):
            draft.unit = without_vlan(draft.unit)  # cvlans that mean nothing: it is to be closed
        if draft is not rows.get(prefer or ""):
            draft.note(hold.mend_trunks(draft, draft.mark.get("base", {}).get("unit")))

    refusal = None  # type: Optional[str]
    if len(sides[TAP]) > 1:
        refusal = "%s and %s both say that they are the emulated NIC" % (
            sides[TAP][0].port.name, sides[TAP][1].port.name)
    elif len(rows) == 2:
        refusal = identity.refusal(rows[VIF].port, rows[TAP].port)
    source, split, both = None, [], None  # type: Optional[str], List[str], Optional[pair.Pair]
    orphans = []  # type: List[Port]
    if len(rows) == 2 and not refusal:
        both = _pair(rows, settings, prefer)
        state, source, reason, split = _together(both, settings, prefer)
    else:
        state, reason = REFUSED, refusal or ""
        if not refusal:
            state, reason = SINGLE, "%s has no sibling" % every[0].port.name
            if every[0] is rows.get(prefer or ""):
                # A person says that it is right as it is: it follows nobody any more.
                every[0].mark.pop("base", None)
        orphans = [draft.port for draft in every if _is_orphan(draft, every)]
        for draft in every:
            if not _lose([draft]) and draft.port in orphans:
                draft.note(_part(draft, settings, expired))
                state = state if refusal else ORPHAN

    # A port without a VLAN beside a held one is held itself. On a bridge that is not listed (any
    # more) a person may open both.
    by_hand = prefer in rows and state != REFUSED
    for draft in every:
        draft.note(hold.close(draft, any(
            other.closes or other.port.bridge in settings.hold_bridges
            or not by_hand and hold.is_held(other.port)
            for other in (every if both and state != REFUSED else [draft]))))
    if any("held" in draft.mark for draft in every) and state in (IN_SYNC, SINGLE, ORPHAN):
        state = HELD
        reason += "; held until it has a real tag"
    if both and state in (IN_SYNC, HELD):
        _renew_base(rows, both, settings)
    elif both and state == CONFLICT and not both.is_split():
        # (Until the agent comes to one mind about a split pair, no change decides it.)
        rows[TAP].mark["seen"] = dict(
            {side: _decided(rows[side]) for side in SIDES},
            port=rows[VIF].port.uuid)
    rival = _rival(every)
    if rival and state in (IN_SYNC, SINGLE, ORPHAN, REFUSED):
        state, reason = CONFLICT, "%s; %s" % (rival, reason)
    if split:
        reason += "; each port keeps its own %s" % ", ".join(split)
    for draft in every:
        _stamp(draft, settings)

    changes = [change for side in SIDES for draft in sides[side]
               for change in differences(draft.port, draft)]
    unit = rows[VIF].unit if state == IN_SYNC else None
    if state == IN_SYNC and not all(is_bookkeeping(change) for change in changes):
        state = DRIFT
    target = None
    if both and state not in (REFUSED, CONFLICT):
        written = [side for side in SIDES if rows[side].is_written()]
        if source:
            target = OTHER[source] if OTHER[source] in written else None
        elif len(written) == 1:
            target = written[0]
    return Decision(
        rows[VIF].port if VIF in rows else None, rows[TAP].port if TAP in rows else None, state,
        "; ".join([reason] + [note for side in SIDES for draft in sides[side]
                              for note in draft.notes]),
        rows[OTHER[target]].port.name if target else None,
        rows[target].port.name if target else None, unit, split, changes, orphans,
        sides[TAP][1].port if len(sides[TAP]) > 1 else None)


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


def _is_orphan(draft: Draft, every: "List[Draft]") -> bool:
    """Whether the row had followed a port that is gone, and has not become the agent's own."""
    base = draft.mark.get("base")
    return (base is not None and not hold.is_held(draft.port) and not draft.port.vlan_network
            and not any(base["port"] == other.port.uuid for other in every))


def _lose(rows: "Collection[Draft]") -> "List[Draft]":
    """Take off rows of one VIF the VLAN that the agent has given to another network; which they
    were.

    A base says of which network the VLAN was, or the agent's notes on a row that is not the agent's
    own any more. Another network's port with the same tag on the same bridge, by the agent's
    notes, is the proof.
    """
    if any(draft.port.vlan_network for draft in rows):
        return []  # beside its own living port the agent decides
    lost: "List[Draft]" = []
    for draft in rows:
        port, unit = draft.port, draft.unit
        networks = {row.port.network_of(unit.get("tag")) for row in rows}
        for row in rows:
            base = row.mark.get("base", {})
            if base.get("unit") == unit and (row is draft or base["port"] == port.uuid):
                networks.add(base.get("network"))
        networks.discard(None)
        if not port.managed and is_real(unit) and networks and port.rivals - networks:
            lost.append(draft)
    for draft in lost:
        draft.note("its VLAN (%s) is another network's by now" % describe(draft.unit))
        draft.unit = without_vlan(draft.unit)
        draft.mark.pop("base", None)
        draft.closes = True
    return lost


def _rival(every: "List[Draft]") -> "Optional[str]":
    """What is wrong where the tag of the agent's own port is another network's too, in words."""
    for draft in every:
        port = draft.port
        if port.vlan_network and port.rivals:
            return "%s has %s for network %s, and the agent has this tag in use for network %s: " \
                "the agent has forgotten this port: plug it anew" % (
                    port.name, describe(draft.unit), port.vlan_network, min(port.rivals))
    return None


def _part(draft: Draft, settings: Settings, expired: "Collection[str]") -> str:
    """What becomes of a row that had followed a port that is gone; returns the reason."""
    # The agent's own port is never written, not even here: whether the agent still knows the port
    # can't be told from the rows.
    if (draft.port.uuid in expired and draft.port.bridge in settings.hold_bridges
            and not draft.port.managed and draft.unit.get("tag") != DEAD):
        had = describe(draft.unit)
        draft.unit = without_vlan(draft.unit)
        draft.mark.pop("base", None)
        return "its sibling is gone for longer than the grace, and its VLAN (%s) may be another " \
            "tenant's by now" % had
    return "its sibling is gone; it keeps %s" % describe(draft.unit)


def _pair(rows: "Dict[str, Draft]", settings: Settings, prefer: "Optional[str]") -> pair.Pair:
    """The two rows that may be siblings, with what their marks say of their history."""
    _lose(rows.values())
    both = pair.Pair(rows[VIF], rows[TAP], settings)
    seen = both.seen() or {}
    for side in SIDES:
        if side != prefer:
            if both.base:
                rows[side].note(hold.mend_trunks(rows[side], both.base["unit"]))
            rows[side].note(hold.mend_trunks(rows[side], seen.get(side)))
    return both


def _together(both: pair.Pair, settings: Settings, prefer: "Optional[str]"
              ) -> "Tuple[str, Optional[str], str, List[str]]":
    """Two rows that may be siblings: change their drafts. Returns
    ``(state, source side, reason, split)``."""
    rows = both.rows
    vif, tap = rows[VIF], rows[TAP]
    verdict, source, reason = both.choose(prefer, vif.port.bridge in settings.hold_bridges)
    if verdict == pair.REFUSED:
        return REFUSED, None, reason, []
    if verdict == pair.CONFLICT:
        return CONFLICT, None, reason, []
    if verdict == pair.WAIT:
        return DRIFT, None, reason, []
    if source:
        rows[OTHER[source]].unit = dict(rows[source].unit)
        rows[OTHER[source]].mark.pop("opened", None)
    split = merge.merge(vif, tap, both.base, settings, both.lends, prefer)
    iface_id.keep(rows, both.lends, settings)
    tap.mark.pop("seen", None)
    return IN_SYNC, source, reason, split


def _decided(draft: Draft) -> "Unit":
    """The draft's unit, for a mark. A held row's VLAN is the hold's, nobody's decision."""
    return without_vlan(draft.unit) if "held" in draft.mark else dict(draft.unit)


def _renew_base(rows: "Dict[str, Draft]", both: pair.Pair, settings: Settings) -> None:
    """Note the state in which the pair is alike, on one row: the one that was written.

    Beside the agent's own port always on the other one: when the agent's goes, what is left must
    be known for an orphan, whose VLAN may become another tenant's.
    """
    vif, tap = rows[VIF], rows[TAP]
    unborn = [side for side in SIDES if not rows[side].port.uuid]
    if unborn and rows[OTHER[unborn[0]]].is_written():
        return  # only the new row is written now: they are not alike yet
    base = merge.alike(vif, tap, settings)
    base["unit"] = _decided(tap if "held" in tap.mark else vif)
    before = both.base or both.old_base
    networks = {row.port.network_of(base["unit"].get("tag")) for row in rows.values()} - {None}
    if len(networks) == 1:
        base["network"] = networks.pop()
    elif not networks and before and before["unit"] == base["unit"] and "network" in before:
        base["network"] = before["network"]
    written = [side for side in SIDES if rows[side].is_written()]
    if unborn:
        holder = unborn[0]  # nothing can name it
    elif both.owner:
        holder = OTHER[both.owner]
    elif len(written) == 1:
        holder = written[0]
    elif both.base and not written and dict(base, port=both.base["port"]) == both.base:
        holder = both.holder
    else:
        holder = TAP
    rows[holder].mark["base"] = dict(base, port=rows[OTHER[holder]].port.uuid)
    rows[OTHER[holder]].mark.pop("base", None)
