"""Which of two siblings decides about the VLAN unit (docs/design.md 4.5, rules 1 to 5 and 7).

Where a base names the other row, the choice is a three-way merge of whole units (docs/design.md
4.5, rule 2).
"""
from . import identity
from .iface_id import IFACE_ID
from .names import OTHER, SIDES, TAP, VIF
from .unit import DEAD, describe, is_real

MYPY = False
if MYPY:
    from typing import Dict, List, Optional, Tuple

    from .decision import Draft, Settings
    from .unit import Unit

    Choice = Tuple[str, Optional[str], str]

# The verdicts of Pair.choose on the two units of a pair.
COPY = "copy"  # one side's unit goes to the other side
ALIKE = "alike"  # both units are the same and stay
WAIT = "wait"  # the agent's own port has no tag yet: both units stay until it has one
CONFLICT = "conflict"  # nothing says which of the two units is right
REFUSED = "refused"  # no unit may be given to the other side


class Pair(object):
    """The drafts of two siblings (after hold.lift), and the history that their marks tell.

    rows (dict): side -> Draft.
    lends (dict): side -> whether the row may lend.
    base (dict or None): the ``base`` whose ``port`` is the present UUID of the other row.
    old_base (dict or None): the only ``base`` of the pair, if that names a row that was deleted.
    holder (str): the side whose mark has base or old_base; "tap" where both are None.
    owner (str or None): the side that is the agent's own port, if exactly one is.
    """

    def __init__(self, vif: "Draft", tap: "Draft", settings: "Settings") -> None:
        self.rows = {VIF: vif, TAP: tap}
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
        managed = [side for side in SIDES if self.rows[side].port.managed]
        self.owner = managed[0] if len(managed) == 1 else None

    def unit(self, side: str) -> "Unit":
        """The side's VLAN unit, as the draft has it."""
        return self.rows[side].unit

    def says(self, side: str) -> str:
        """A side's unit in words, for reasons: ``vif12.0 has tag 5``."""
        return "%s has %s" % (self.rows[side].port.name, describe(self.unit(side)))

    def seen(self) -> "Optional[Dict[str, Unit]]":
        """The units, by side, with which the pair was reported to be in conflict; None where no
        conflict was reported."""
        seen = self.rows[TAP].mark.get("seen")
        if seen is None or seen["port"] != self.rows[VIF].port.uuid:
            return None
        return {side: seen[side] for side in SIDES}

    def before(self) -> "Optional[Dict[str, Unit]]":
        """The units, by side, from which a change of a side is counted; None where no mark tells.

        After the report of a conflict a side has changed if its unit differs from the reported
        unit, not from the base's unit: a change back to the base's unit is somebody's latest
        decision, too.
        """
        return self.seen() or (dict.fromkeys(SIDES, self.base["unit"]) if self.base else None)

    def changed(self) -> "List[str]":
        """The sides that have changed since ``before``."""
        before = self.before()
        return [side for side in SIDES if self.unit(side) != before[side]] if before else []

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
        if self.unit(VIF) == self.unit(TAP):
            return ALIKE, None, "both ports have %s" % describe(self.unit(VIF))
        for side in SIDES:
            if not self.lends[side]:
                return self._choose_lender(OTHER[side])
        if self.owner:
            return self._choose_owner(self.owner)
        if self.is_split():
            return self._conflict("the agent has bound the two to different networks")
        for side in SIDES:
            if (self.base and "held" in self.rows[side].port.mark and is_real(self.unit(side))
                    and self.unit(OTHER[side]).get("tag") == DEAD):
                return COPY, side, "%s, which ends the hold of both" % self.says(side)
        before, changed = self.before(), self.changed()
        empty = [side for side in SIDES if not self.unit(side)]
        if len(empty) == 1 and (not self.base or self.seen() and changed == empty):
            # Somebody who clears one side of a conflict chooses the other side.
            source = OTHER[empty[0]]
            return COPY, source, "%s, and %s has no VLAN" % (
                self.says(source), self.rows[empty[0]].port.name)
        if before and len(changed) == 1:
            return COPY, changed[0], "%s, changed from %s" % (
                self.says(changed[0]), describe(before[changed[0]]))
        return self._conflict("both ports changed from %s" % describe(self.base["unit"])
                              if self.base else "nothing says which VLAN is right")

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
        if source.unit == target.unit:
            return ALIKE, None, "both ports have %s" % describe(source.unit)
        return COPY, prefer, "%s, and was named as the source" % self.says(prefer)

    def _choose_lender(self, lender: str) -> "Choice":
        """Choose where only one side may lend."""
        taker = OTHER[lender]
        if self.owner == taker:
            return REFUSED, None, (
                "%s is left over, but is the agent's own port: only the agent sets its VLAN" % (
                    self.rows[taker].port.name))
        if self.unit(lender):
            return COPY, lender, "%s, and %s, which is left over, takes the same" % (
                self.says(lender), self.rows[taker].port.name)
        return REFUSED, None, "%s is left over: %s does not take its %s" % (
            self.rows[taker].port.name, self.rows[lender].port.name, describe(self.unit(taker)))

    def _choose_owner(self, owner: str) -> "Choice":
        """Choose where one side is the agent's own port (rule 1)."""
        other = OTHER[owner]
        if self._agent_has_moved(other):
            return COPY, other, "%s, which the agent has set: iface-id is on both ports" % (
                self.says(other))
        if self.unit(owner):
            return COPY, owner, "%s, and is the agent's own port" % self.says(owner)
        # The agent is just binding a port without a tag: older agents write other_config first and
        # the tag later (docs/design.md 2.4). A copy of the empty unit would open the sibling to
        # every VLAN.
        return WAIT, None, "%s is the agent's own port and has no tag yet: %s stays as it is" % (
            self.rows[owner].port.name, self.rows[other].port.name)

    def _agent_has_moved(self, other: str) -> bool:
        """Whether the agent has set the other row dead, or alive again, instead of its own row.

        With iface-id on both rows the agent takes the Interface that was modified last. The agent's
        notes (net_uuid) stay on the row that the agent had taken before (docs/design.md 2.4).
        """
        if not self.base or self.changed() != [other]:
            return False
        tags = self.base["unit"].get("tag"), self.unit(other).get("tag")
        return DEAD in tags and None not in tags and all(
            IFACE_ID in row.ids["Interface"] for row in self.rows.values())

    def _conflict(self, why: str) -> "Choice":
        vif = self.rows[VIF]
        return CONFLICT, None, "%s, %s: %s; choose with 'mirror port %s --from vif' (or tap)" % (
            self.says(VIF), self.says(TAP), why, vif.port.name)
