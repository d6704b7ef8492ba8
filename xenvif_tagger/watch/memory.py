"""The watcher's notes on VIFs, kept in no database. A restart of the watcher loses these notes:
then an orphan's grace, for example, begins anew."""
from typing import TYPE_CHECKING, Any, Callable, Collection, Dict, Iterable, List, Optional, Tuple

from ..core.hold import is_held
from ..core.iface_id import is_unbound
from ..core.port import Port

if TYPE_CHECKING:
    from ..ovsdb.rows import Vif


class Memory(object):
    """Notes on VIFs: dicts whose keys are VIFs, (domid, devid).

    lost_races (dict): VIF -> how many races the VIF has lost since the database last took changes
        of the VIF.

    :param clock: function that gives seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # VIF: UUID of an orphaned Port: when the grace of that Port ends; None: it has ended
        self._orphans: "Dict[Vif, Dict[str, Optional[float]]]" = {}
        self._retries: "Dict[Vif, float]" = {}  # VIF: when to look at the VIF again
        self._reports: "Dict[Vif, Tuple[str, str]]" = {}  # VIF: the state and reason last reported
        self._held: "Dict[Vif, float]" = {}  # VIF: when one of its ports was first seen held
        self._unbound: "Dict[Vif, float]" = {}  # VIF: when it was first seen to wait for the agent
        self.lost_races: "Dict[Vif, int]" = {}

    def forget(self, vif: "Vif") -> None:
        """Drop all notes on a VIF that has no port any more."""
        all_notes: "Iterable[Dict[Vif, Any]]" = (
            self._orphans, self._retries, self._reports, self._held, self._unbound,
            self.lost_races)
        for notes in all_notes:
            notes.pop(vif, None)

    def due(self) -> "List[Vif]":
        """The VIFs that must be looked at now because time has passed; each is returned once."""
        now = self._clock()
        due = [vif for vif, until in self._retries.items() if until <= now]
        for vif in due:
            del self._retries[vif]
        for vif, ends in self._orphans.items():
            ended = [uuid for uuid, end in ends.items() if end is not None and end <= now]
            ends.update(dict.fromkeys(ended))
            due += [vif] if ended else []
        return due

    def next_alarm(self) -> Optional[float]:
        """When due() will return a VIF next, in seconds of the clock; None for never."""
        return min(list(self._retries.values()) + [
            end for ends in self._orphans.values() for end in ends.values() if end is not None],
            default=None)

    def retry_after(self, vif: "Vif", seconds: float) -> None:
        """Let due() return the VIF after so many seconds."""
        self._retries[vif] = self._clock() + seconds

    def note_write(self, vif: "Vif") -> None:
        """Drop the retry and the lost races of a VIF whose changes the database has taken."""
        self._retries.pop(vif, None)
        self.lost_races.pop(vif, None)

    def note_lost_race(self, vif: "Vif") -> int:
        """Count a race that a VIF has lost; returns lost_races of that VIF."""
        self.lost_races[vif] = self.lost_races.get(vif, 0) + 1
        return self.lost_races[vif]

    def expired(self, vif: "Vif") -> List[str]:
        """The UUIDs of a VIF's orphaned Ports whose grace has ended."""
        return [uuid for uuid, end in self._orphans.get(vif, {}).items() if end is None]

    def note_orphans(self, vif: "Vif", orphans: Iterable[Port], grace: float) -> None:
        """Begin, keep or end the grace of each orphan.

        :param orphans: all orphans that the VIF has now on bridges where orphans are held
        :param grace: seconds
        """
        before = self._orphans.pop(vif, {})
        end = self._clock() + grace
        ends = {port.uuid: before.get(port.uuid, end) for port in orphans}
        if ends:
            self._orphans[vif] = ends

    def note_ports(self, vif: "Vif", ports: "Collection[Port]") -> None:
        """Note since when a VIF has a held port, and since when a VIF waits for the agent. A note
        is dropped when the VIF has no held port any more, or waits no more.

        :param ports: the VIF's ports as they stand
        """
        for notes, is_true in ((self._held, any(map(is_held, ports))),
                               (self._unbound, is_unbound(ports))):
            if is_true:
                notes.setdefault(vif, self._clock())
            else:
                notes.pop(vif, None)

    def held(self) -> "Dict[Vif, float]":
        """For how many seconds, at least, each VIF has been held."""
        return self._seconds(self._held)

    def unbound(self) -> "Dict[Vif, float]":
        """For how many seconds, at least, each VIF has waited for the agent."""
        return self._seconds(self._unbound)

    def _seconds(self, notes: "Dict[Vif, float]") -> "Dict[Vif, float]":
        now = self._clock()
        return {vif: now - since for vif, since in notes.items()}

    def note_report(self, vif: "Vif", state: str, reason: str) -> bool:
        """Note a VIF's state and reason; returns False if the last report had the same two."""
        if self._reports.get(vif) == (state, reason):
            return False
        self._reports[vif] = state, reason
        return True

    def note_nothing_to_report(self, vif: "Vif") -> None:
        """Drop the note on the VIF's last report, so that the same report can be made again."""
        self._reports.pop(vif, None)
