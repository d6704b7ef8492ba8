"""The VIFs of a replica as they stand, and their changes since the last look."""
from typing import Dict, List, Optional, Tuple

from ..core.decide import decide_vif
from ..core.decision import Outcome, Settings
from ..replica.replica import Replica
from . import changes


class Followed(object):
    """The VIFs that ``status --follow`` shows.

    :param replica: the copy of the database
    :param settings: the operator's settings
    :param domid: the domain whose VIFs are shown; None for all VIFs
    """

    def __init__(self, replica: Replica, settings: Settings, domid: Optional[int]) -> None:
        self._replica = replica
        self._settings = settings
        self._domid = domid
        self._outcomes: Dict[Tuple[int, int], Outcome] = {}
        self._connection = 0  # the number of the replica's connection at the last look

    @property
    def is_synced(self) -> bool:
        """Whether the first look has been taken."""
        return bool(self._connection)

    def outcomes(self) -> List[Outcome]:
        """The outcomes of all VIFs shown, in the order of (domid, devid)."""
        return [self._outcomes[vif] for vif in sorted(self._outcomes)]

    def look(self) -> Tuple[List[str], List[Outcome]]:
        """Decide anew about the VIFs that have changed in the replica, which must be current.

        :returns: ``(lines, new)``: the changes, in words (none at the first look); and the
            outcomes of the VIFs that were not there at the last look
        """
        replica, is_first = self._replica, not self.is_synced
        vifs = set(replica.changed)
        replica.changed.clear()
        if replica.connections != self._connection:
            self._connection = replica.connections
            # The replica does not name VIFs that went while it had no connection.
            vifs |= set(self._outcomes)
        lines: List[str] = []
        new: List[Outcome] = []
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
                    new.append(after)
            if not is_first:
                lines += changes.lines(before, after)
        return lines, new
