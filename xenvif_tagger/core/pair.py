"""Which of two siblings gives its VLAN unit to the other (docs/design.md 4.5, rules 1 to 5 and 7).

Where a base names the other row, the choice is a three-way merge of whole units (docs/design.md
4.5, rule 2).
"""
from . import identity
from .hold import is_held
from .names import OTHER, SIDES, TAP, VIF
from .unit import describe, is_real

MYPY = False
if MYPY:
    from typing import Any, Dict, List, Optional, Tuple

    from .decision import Draft, Settings
    from .unit import Unit

    Choice = Tuple[str, Optional[str], str]

# The verdicts of Pair.choose on the two units of a pair.
COPY = "copy"  # one side's unit goes to the other side
ALIKE = "alike"  # both units are the same and stay
HOLD = "hold"  # both ports become held, or stay held
PARTED = "parted"  # one port is held, and the other's unit does not end the hold: both stay
WAIT = "wait"  # the agent's own port has no tag yet: both units stay until it has one
CONFLICT = "conflict"  # nothing says which of the two units is right
REFUSED = "refused"  # no unit may be given to the other side


class Pair(object):
    """The drafts of two siblings (after hold.tidy), and the history that their marks tell.

    rows (dict): side -> Draft.
    lends (dict): side -> whether the row may lend.
    base (dict or None): the ``base`` whose ``port`` is the present UUID of the other row.
    old_base (dict or None): the only ``base`` of the pair, if that names a row that was deleted.
    holder (str): the side whose mark has base or old_base; "tap" where both are None.
    cleared (list): the sides whose row is empty although the row's own base has a unit.
    owner (str or None): the side that is the agent's own port, if exactly one is.
    """

    def __init__(self, vif: "Draft", tap: "Draft", settings: "Settings") -> None:
        self.rows = {VIF: vif, TAP: tap}
        self.settings = settings
        self.lends = {side: identity.may_lend(self.rows[side].port, settings.boot)
                      for side in SIDES}
        bases = {side: self.rows[side].mark["base"] for side in SIDES
                 if "base" in self.rows[side].mark}
        naming = [side for side in bases if bases[side]["port"] == self.rows[OTHER[side]].port.uuid]
        # Rule 5: of two bases the one that names the other row counts. If both bases name the other
        # row, or neither of the two bases does, no base counts.
        holders = naming if len(naming) == 1 else list(bases) if len(bases) == 1 else []
        self.holder = holders[0] if holders else TAP
        self.base = bases[self.holder] if holders and naming else None
        self.old_base = bases[self.holder] if holders and not naming else None
        self.cleared = [side for side in bases
                        if bases[side]["unit"] and not self.rows[side].unit]
        managed = [side for side in SIDES if self.rows[side].port.managed]
        self.owner = managed[0] if len(managed) == 1 else None

    def unit(self, side: str) -> "Unit":
        """The side's VLAN unit, as the draft has it."""
        return self.rows[side].unit

    def says(self, side: str) -> str:
        """A side's unit in words, for reasons: ``vif12.0 has tag 5``."""
        return "%s has %s" % (self.rows[side].port.name, describe(self.unit(side)))

    def changed_since_seen(self) -> "Optional[List[str]]":
        """The sides whose unit has changed since the pair was reported to be in conflict (list), or
        None where no conflict was reported."""
        seen = self.rows[TAP].mark.get("seen")
        if seen is None or seen["port"] != self.rows[VIF].port.uuid:
            return None
        return [side for side in SIDES if self.unit(side) != seen[side]]

    def choose(self, prefer: "Optional[str]") -> "Choice":
        """Choose what becomes of the two units.

        :param prefer: the side that a person has named as the source, or None
        :returns: ``(verdict, side, reason)``: one of the verdicts above; for COPY the side whose
            unit goes to the other side, else None; and the reason in words
        """
        if not any(self.lends.values()):
            return REFUSED, None, "both ports are left over: neither may lend to the other"
        if prefer:
            return self._choose_by_hand(prefer)
        held = [side for side in SIDES if is_held(self.rows[side])]
        if held:
            return self._choose_held(held)
        if self.unit(VIF) == self.unit(TAP):
            if self._was_cleared(VIF) and self._may_hold():
                return HOLD, None, (
                    "both ports were cleared; on this bridge a port without a VLAN is held")
            return ALIKE, None, "both ports have %s" % describe(self.unit(VIF))
        for side in SIDES:
            if not self.lends[side]:
                return self._choose_lender(OTHER[side])
        if self.owner:
            return self._choose_owner(self.owner)
        if self.is_split():
            return self._conflict("the agent has bound the two to different networks")
        if self.base:
            return self._choose_by_base(self.base)
        return self._choose_without_base()

    def is_split(self) -> bool:
        """Whether both ports are the agent's own, each in another network. With the same tag on
        both, the agent's restart would end in a KeyError (neutron, _restore_local_vlan_map)."""
        ports = [self.rows[side].port for side in SIDES]
        return all(port.managed for port in ports) and ports[0].network != ports[1].network

    def _choose_by_hand(self, prefer: str) -> "Choice":
        source, target = self.rows[prefer], self.rows[OTHER[prefer]]
        if not self.lends[prefer]:
            return REFUSED, None, "%s is left over from another guest and can't be the source" % (
                source.port.name)
        if self.owner == OTHER[prefer]:
            return REFUSED, None, "%s is the agent's own port: only the agent sets its VLAN" % (
                target.port.name)
        if not is_real(source.unit) and (is_held(source) or is_held(target)):
            return REFUSED, None, "only a real tag opens a held port: set %s's tag first" % (
                source.port.name)
        if source.unit == target.unit:
            return ALIKE, None, "both ports have %s" % describe(source.unit)
        return COPY, prefer, "%s, and was named as the source" % self.says(prefer)

    def _choose_held(self, held: "List[str]") -> "Choice":
        if len(held) == 2:
            return HOLD, None, "both ports are held until one of the two has a real tag"
        side = OTHER[held[0]]
        if is_real(self.unit(side)) and self.lends[side] and self.owner != held[0]:
            return COPY, side, "%s, which ends the hold of %s" % (
                self.says(side), self.rows[held[0]].port.name)
        if not self.unit(side) and self.owner != side:
            return HOLD, None, "%s is held, so its sibling is held too" % (
                self.rows[held[0]].port.name)
        return PARTED, None, "%s is held, and %s, which does not end the hold" % (
            self.rows[held[0]].port.name, self.says(side))

    def _was_cleared(self, side: str) -> bool:
        """Whether the side is empty, and the base says that the pair had a unit: somebody cleared
        the side."""
        return bool(self.base and self.base["unit"]) and not self.unit(side)

    def _may_hold(self) -> bool:
        """Whether the pair is on a bridge that holds, and neither port is the agent's own."""
        ports = [self.rows[side].port for side in SIDES]
        return ports[0].bridge in self.settings.hold_bridges and not any(
            port.managed for port in ports)

    def _choose_lender(self, lender: str) -> "Choice":
        taker = OTHER[lender]
        if self.owner == taker:
            return REFUSED, None, (
                "%s is left over, but is the agent's own port: only the agent sets its VLAN" % (
                    self.rows[taker].port.name))
        if self.unit(lender) or self._was_cleared(lender):
            return COPY, lender, "%s, and %s, which is left over, takes the same" % (
                self.says(lender), self.rows[taker].port.name)
        return REFUSED, None, "%s is left over: %s does not take its %s" % (
            self.rows[taker].port.name, self.rows[lender].port.name, describe(self.unit(taker)))

    def _choose_owner(self, owner: str) -> "Choice":
        # Rule 1. The agent is just binding a port without a tag, unless the base shows that this
        # port had a tag: older agents write other_config first and the tag later (docs/design.md
        # 2.4). A copy of the empty unit would open the sibling to every VLAN.
        if self.unit(owner) or self._was_cleared(owner):
            return COPY, owner, "%s, and is the agent's own port" % self.says(owner)
        return WAIT, None, "%s is the agent's own port and has no tag yet: %s stays as it is" % (
            self.rows[owner].port.name, self.rows[OTHER[owner]].port.name)

    def _choose_by_base(self, base: "Dict[str, Any]") -> "Choice":
        # Rules 2 to 4 where the base names the other row. After the report of a conflict a side has
        # changed if its unit differs from the reported unit, not from the base's unit: a change
        # back to the base's unit is somebody's latest decision, too.
        changed = self.changed_since_seen()
        if changed is None:
            changed = [side for side in SIDES if self.unit(side) != base["unit"]]
        if len(changed) == 1:
            latest = changed[0]
            return COPY, latest, "%s, changed from %s" % (
                self.says(latest), describe(base["unit"]))
        return self._conflict("both ports changed from %s" % describe(base["unit"]))

    def _choose_without_base(self) -> "Choice":
        empty = [side for side in SIDES if not self.unit(side) and side not in self.cleared]
        if len(empty) == 1:
            source = OTHER[empty[0]]
            return COPY, source, "%s, and %s has no VLAN" % (
                self.says(source), self.rows[empty[0]].port.name)
        if self.old_base and self.unit(self.holder) == self.old_base["unit"]:
            source = OTHER[self.holder]
            return COPY, source, "%s, and %s only followed a port that was deleted" % (
                self.says(source), self.rows[self.holder].port.name)
        changed = self.changed_since_seen()
        if changed is not None and len(changed) == 1:
            latest = changed[0]
            return COPY, latest, "%s, changed since the conflict was reported" % self.says(latest)
        return self._conflict("nothing says which VLAN is right")

    def _conflict(self, why: str) -> "Choice":
        vif = self.rows[VIF]
        return CONFLICT, None, "%s, %s: %s; choose with 'mirror port %s --from vif' (or tap)" % (
            self.says(VIF), self.says(TAP), why, vif.port.name)
