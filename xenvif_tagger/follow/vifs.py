"""The VIFs of a replica as they stand, and what has changed in them since the last look."""
from ..core.decide import decide_vif
from ..core.decision import Outcome
from . import changes


class Followed(object):
    """What ``status --follow`` knows of the VIFs.

    :param replica.Replica replica: the database
    :param decision.Settings settings: what the operator has set
    :param domid: a domain (int), or None for all
    """

    def __init__(self, replica, settings, domid):
        self._replica = replica
        self._settings = settings
        self._domid = domid
        self._outcomes = {}
        self._connection = 0  # the one whose data we have

    @property
    def is_synced(self):
        """Whether there was a first look."""
        return bool(self._connection)

    def outcomes(self):
        """What is there: list of decision.Outcome, in the order of (domid, devid)."""
        return [self._outcomes[vif] for vif in sorted(self._outcomes)]

    def look(self):
        """Look at what has changed since the last time; only while the replica is current.

        :returns: ``(lines, came)``: what has changed, in words, nothing at the first look; and
            the outcomes of the VIFs that are new here
        """
        replica, first = self._replica, not self.is_synced
        vifs = set(replica.changed)
        replica.changed.clear()
        if replica.connections != self._connection:
            self._connection = replica.connections
            vifs |= set(self._outcomes)  # what went while there was no connection, nobody tells
        lines, came = [], []
        for vif in sorted(vifs):
            if self._domid not in (None, vif[0]):
                continue
            ports = replica.ports(vif)[0]
            before = self._outcomes.pop(vif, None)
            after = None
            if ports:
                after = self._outcomes[vif] = Outcome(
                    vif, ports, decide_vif(ports, self._settings))
                if before is None:
                    came.append(after)
            if not first:
                lines += changes.lines(before, after)
        return lines, came
