"""The decision about a VIF's two ports: a pure function of the two rows as they stand (DESIGN 4).

The plug-time hook, the one-shot commands and the watcher all call ``decide`` and write what it
says. No memory, no I/O, no clock.
"""
from . import hold, identity, mark, merge, names, pair
from .names import OTHER, SIDES, TAP, VIF
from .port import DEAD, describe, differences, is_bookkeeping

# States (DESIGN 6); "mirrored" is what the one-shot makes of a drift that it has written.
IN_SYNC = "in-sync"
DRIFT = "drift"
MIRRORED = "mirrored"
CONFLICT = "conflict"
REFUSED = "refused"
HELD = "held"
SINGLE = "single"
ORPHAN = "orphan"


class Draft(object):
    """A row as it is to become: begins as the Port was read, and is changed in place."""

    __slots__ = ("port", "name", "uuid", "managed", "unit", "ids", "policing", "mark", "notes")

    def __init__(self, port):
        self.port = port
        self.notes = []
        self.name = port.name
        self.uuid = port.uuid
        self.managed = port.managed
        self.unit = dict(port.unit)
        self.ids = {table: dict(ids) for table, ids in port.ids.items()}
        self.policing = dict(port.policing)
        self.mark = dict(port.mark)

    def note(self, what):
        """Add to the reason what was done to this row by itself (str), if anything (None)."""
        if what:
            self.notes.append("%s: %s" % (self.name, what))

    def is_written(self):
        """Whether anything beside our mark differs from the row as read."""
        port = self.port
        return self.unit != port.unit or self.ids != port.ids or self.policing != port.policing


class Decision(object):
    """What is to happen to a VIF's ports, and why.

    vif, tap (Port or None): the rows that it was based on.
    state (str), reason (str): for people and scripts, see above.
    source, target (str or None): names of the ports from which and to which something goes.
    unit (dict): the VLAN unit that both have when the changes are made; {} also where they
        will not be alike.
    split (list of str): external_ids keys that stay different.
    changes (list of port.Change): what is to be written; empty if nothing.
    """

    __slots__ = ("vif", "tap", "state", "reason", "source", "target", "unit", "split", "changes")

    def __init__(self, vif, tap, state, reason):
        self.vif = vif
        self.tap = tap
        self.state = state
        self.reason = reason
        self.source = None
        self.target = None
        self.unit = {}
        self.split = []
        self.changes = []

    def ports(self):
        """The rows that there are, the vif first."""
        return [port for port in (self.vif, self.tap) if port is not None]

    def is_substantial(self):
        """Whether more than our own marks is to be written."""
        return any(not is_bookkeeping(change) for change in self.changes)


def decide(vif, tap, settings, prefer=None, expired=False):
    """Decide about a VIF's two ports.

    :param vif, tap: port.Port as they stand, or None where there is none (not both)
    :param Settings settings: what the operator has set, and the host's facts
    :param prefer: "vif" or "tap": a person has said which side is right; else None
    :param bool expired: an orphan's grace is over (the caller has the clock, DESIGN 4.5, 8)
    :returns: Decision
    """
    drafts = {side: Draft(port) for side, port in ((VIF, vif), (TAP, tap)) if port is not None}
    for side in drafts:
        draft = drafts[side]
        draft.note(hold.tidy(draft, settings))
        if side != prefer:
            draft.note(hold.mend_trunks(draft, draft.mark.get("base")))
    source, split = None, []
    if len(drafts) == 1:
        side, draft = next(iter(drafts.items()))
        if side == prefer:
            # A person says that it is right as it is: it follows nobody any more.
            draft.mark.pop("base", None)
        state, reason = _alone(draft, settings, expired)
    else:
        reason = identity.refusal(vif, tap)
        state = REFUSED
        if reason is None:
            state, source, reason, split = _together(drafts, settings, prefer)
    if split:
        reason += "; %s differs, each keeps its own" % ", ".join(split)
    for draft in drafts.values():
        _stamp(draft, settings)

    notes = [note for side in SIDES if side in drafts for note in drafts[side].notes]
    decision = Decision(vif, tap, state, "; ".join([reason] + notes))
    decision.split = split
    decision.changes = [change for side in SIDES if side in drafts
                        for change in differences(drafts[side].port, drafts[side])]
    if state == IN_SYNC:
        decision.unit = drafts[VIF].unit
        if decision.is_substantial():
            decision.state = DRIFT
    if len(drafts) == 2 and state not in (REFUSED, CONFLICT):
        written = [side for side in SIDES if drafts[side].is_written()]
        target = OTHER[source] if source else written[0] if len(written) == 1 else None
        if target:
            decision.source = drafts[OTHER[target]].name
            decision.target = drafts[target].name
    return decision


def decide_vif(ports, settings, prefer=None, expired=False):
    """Decide about all ports that bear one VIF's number.

    :param ports: list of port.Port, one to three: there are two names for the tap side
    :returns: Decision; parameters else as ``decide``
    """
    sides = {VIF: [], TAP: []}
    for port in sorted(ports, key=lambda port: port.name):
        sides[names.parse(port.name)[2]].append(port)
    vif, tap = ((found or [None])[0] for found in (sides[VIF], sides[TAP]))
    if len(sides[TAP]) > 1:
        return Decision(vif, tap, REFUSED, "%s and %s both say that they are the emulated NIC" % (
            sides[TAP][0].name, sides[TAP][1].name))
    return decide(vif, tap, settings, prefer, expired)


def _stamp(draft, settings):
    """Note on a row when it is first seen whose it is, before ovs-xapi-sync can rewrite its ids.

    The boot is noted when it is first seen alive: a row that was gone by then may not lend.
    """
    stamp = identity.stamp_of(draft.ids["Interface"])
    if stamp and "vif" not in draft.mark:
        draft.mark["vif"] = stamp
        draft.mark["boot"] = ""
    if draft.mark.get("boot") == "" and not draft.port.gone:
        draft.mark["boot"] = settings.boot


def _alone(draft, settings, expired):
    """A port without a sibling: ``(state, reason)``."""
    if hold.is_held(draft):
        return HELD, "it has no sibling, and is held until it has a real tag"
    if "base" not in draft.mark:
        return SINGLE, "%s has no sibling" % draft.name
    # A managed row's tag is never written, not even here: whether the agent still knows it as its
    # own can't be told from the rows.
    if (expired and draft.port.bridge in settings.hold_bridges and not draft.managed
            and draft.unit.get("tag") != DEAD):
        had = describe(draft.unit)
        hold.hold(draft, settings)
        return HELD, "its sibling is gone for longer than the grace, and its VLAN (%s) may be " \
            "another tenant's by now: held" % had
    return ORPHAN, "its sibling is gone; it keeps %s" % describe(draft.unit)


def _together(drafts, settings, prefer):
    """Two rows that may be siblings: change their drafts. Returns
    ``(state, source side, reason, split)``."""
    vif, tap = drafts[VIF], drafts[TAP]
    both = pair.Pair(vif, tap, settings)
    if both.valid and OTHER[both.holder] != prefer:
        other = drafts[OTHER[both.holder]]
        other.note(hold.mend_trunks(other, both.base))
    verdict, source, reason = both.choose(prefer)
    if verdict == pair.REFUSED:
        return REFUSED, None, reason, []
    if verdict == pair.CONFLICT and both.is_split():
        return CONFLICT, None, reason, []  # until the agent comes to one mind: no change decides it
    if verdict == pair.CONFLICT:
        tap.mark["seen"] = {"port": vif.uuid, VIF: vif.unit, TAP: tap.unit}
        return CONFLICT, None, reason, []
    if verdict == pair.WAIT:
        return DRIFT, None, reason, []
    if verdict == pair.HOLD:
        _hold(drafts.values(), settings)
    elif verdict == pair.COPY:
        reason += _copy(drafts, source, settings, prefer)

    _give_identity(vif, tap)
    split = merge.merge(vif, tap, both.base if both.valid else None, settings, both.lends, prefer)
    _keep_iface_id(drafts, {side: both.lends[side] or _will_lend(drafts[side], settings)
                            for side in SIDES}, both.lends, settings)
    tap.mark.pop("seen", None)
    _renew_base(drafts, both, settings)
    held = hold.is_held(vif) or hold.is_held(tap)
    return HELD if held else IN_SYNC, source, reason, split


def _hold(rows, settings):
    for row in rows:
        if not hold.is_held(row):
            hold.hold(row, settings)


def _copy(drafts, source, settings, prefer):
    """Give one side's unit to the other; returns what to add to the reason."""
    giver, taker = drafts[source], drafts[OTHER[source]]
    if not giver.unit and not prefer and giver.port.bridge in settings.hold_bridges:
        # Rule 3. The agent's own port is left to the agent.
        _hold([taker] if giver.managed and not taker.managed else [giver, taker], settings)
        return "; on this bridge that means held"
    taker.unit = dict(giver.unit)
    taker.mark.pop("held", None)
    return ""


def _give_identity(vif, tap):
    """Note on a row without any identity whose it is taken to be; if it says nothing at all, it
    gets the sibling's identity keys, once (DESIGN 4.4).

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


def _will_lend(draft, settings):
    """Whether a row may lend from the next look on, since it was given its identity in this one."""
    return (not draft.port.gone and draft.port.mark.get("boot") in (None, "", settings.boot)
            and bool(identity.keys_of(draft.ids["Interface"])))


def _keep_iface_id(drafts, lends_then, lends, settings):
    """Note a sibling's iface-id in the other row's mark, and give it back to a re-plugged one.

    Under ``iface_id = one`` it stands on one row only: with it on both, Neutron's agent takes the
    guest's port for deleted when either goes (DESIGN 2.4).
    """
    key = merge.IFACE_ID
    kept = {side: drafts[side].mark.pop("kept", None) for side in SIDES}
    if settings.iface_id != "one" or merge.is_excluded(key, settings):
        return
    ids = {side: drafts[side].ids["Interface"] for side in SIDES}
    for side in SIDES:
        other = OTHER[side]
        if (kept[side] and not kept[other] and key not in ids[side] and key not in ids[other]
                and kept[side]["port"] != drafts[other].uuid and lends[side]
                and merge.may_have_iface_id(drafts[other])):
            ids[other][key] = kept[side][key]
    for side in SIDES:
        other = OTHER[side]
        if key in ids[other] and key not in ids[side] and lends_then[other]:
            drafts[side].mark["kept"] = {"port": drafts[other].uuid, key: ids[other][key]}


def _renew_base(drafts, both, settings):
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
    elif both.valid and not written and dict(alike, port=both.base["port"]) == both.base:
        holder = both.holder
    else:
        holder = TAP
    drafts[holder].mark["base"] = dict(alike, port=drafts[OTHER[holder]].uuid)
    drafts[OTHER[holder]].mark.pop("base", None)
