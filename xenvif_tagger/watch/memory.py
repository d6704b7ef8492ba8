"""The watcher's notes on VIFs, kept in no database. A restart of the watcher loses these notes:
then an orphan's grace, for example, begins anew."""
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple

from ..core.decision import ORPHAN, Decision
from ..core.hold import is_held
from ..core.port import Port

if TYPE_CHECKING:
    from ..ovsdb.rows import Vif


class Memory(object):
    """Notes on VIFs, each (domid, devid): since when, until when, how often.

    lost_races (dict): VIF -> how many races for it were lost since its last write.

    :param clock: function that gives seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # VIF: the UUID of its orphaned row, and when the grace ends (None: the grace has ended)
        self._orphans: "Dict[Vif, Tuple[str, Optional[float]]]" = {}
        self._retries: "Dict[Vif, float]" = {}  # VIF: when to look at the VIF again
        self._reports: "Dict[Vif, Tuple[str, str]]" = {}  # VIF: the state and reason last reported
        self._held: "Dict[Vif, float]" = {}  # VIF: since when one of its ports is known to be held
        self.lost_races: "Dict[Vif, int]" = {}

    def forget(self, vif: "Vif") -> None:
        """Drop all notes on a VIF that has no port any more."""
        all_notes: "Iterable[Dict[Vif, Any]]" = (
            self._orphans, self._retries, self._reports, self._held, self.lost_races)
        for notes in all_notes:
            notes.pop(vif, None)

    def due(self) -> "List[Vif]":
        """The VIFs that must be looked at now because time has passed; each is returned once."""
        now = self._clock()
        due = [vif for vif, until in self._retries.items() if until <= now]
        for vif in due:
            del self._retries[vif]
        for vif, (uuid, end) in self._orphans.items():
            if end is not None and end <= now:
                self._orphans[vif] = uuid, None
                due.append(vif)
        return due

    def next_alarm(self) -> Optional[float]:
        """When due() will return a VIF next, in seconds of the clock; None for never."""
        return min(list(self._retries.values()) + [
            end for _, end in self._orphans.values() if end is not None], default=None)

    def retry_after(self, vif: "Vif", seconds: float) -> None:
        """Let due() return the VIF after so many seconds."""
        self._retries[vif] = self._clock() + seconds

    def note_write(self, vif: "Vif") -> None:
        """Drop the retry and the lost races of a VIF whose changes the database has taken."""
        self._retries.pop(vif, None)
        self.lost_races.pop(vif, None)

    def note_lost_race(self, vif: "Vif") -> int:
        """Count a lost race; returns how many there were since the VIF's last write."""
        self.lost_races[vif] = self.lost_races.get(vif, 0) + 1
        return self.lost_races[vif]

    def is_expired(self, vif: "Vif", port: Port) -> bool:
        """Whether this port is the row of an orphaned VIF whose grace has ended."""
        return self._orphans.get(vif) == (port.uuid, None)

    def note_orphan(self, vif: "Vif", decision: Decision, grace: Optional[float]) -> None:
        """Begin, keep or end the grace of an orphan.

        :param grace: seconds; None on a bridge where no orphan is held
        """
        if decision.state != ORPHAN:
            # An orphan whose hold is not written yet stays noted, since the write may fail.
            if decision.ports()[1:] or not decision.changes:
                self._orphans.pop(vif, None)
            return
        uuid = decision.ports()[0].uuid
        if grace is None:
            self._orphans.pop(vif, None)
        elif vif not in self._orphans or self._orphans[vif][0] != uuid:
            self._orphans[vif] = uuid, self._clock() + grace

    def note_held(self, vif: "Vif", ports: Iterable[Port]) -> None:
        """Note since when the VIF is held, if one of the ports is held; else drop that note."""
        if any(is_held(port) for port in ports):
            self._held.setdefault(vif, self._clock())
        else:
            self._held.pop(vif, None)

    def held(self) -> "Dict[Vif, float]":
        """For how many seconds, at least, each VIF has been held."""
        now = self._clock()
        return {vif: now - since for vif, since in self._held.items()}

    def note_report(self, vif: "Vif", state: str, reason: str) -> bool:
        """Note a VIF's state and reason; returns False if the last report had the same two."""
        if self._reports.get(vif) == (state, reason):
            return False
        self._reports[vif] = state, reason
        return True

    def note_nothing_to_report(self, vif: "Vif") -> None:
        """Drop the note on the VIF's last report, so that the same report can be made again."""
        self._reports.pop(vif, None)
