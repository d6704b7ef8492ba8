"""What the watcher remembers of VIFs beyond what the replica has: worth nothing after a restart."""
from ..core.decision import ORPHAN
from ..core.hold import is_held


class Memory(object):
    """Of VIFs, (domid, devid): since when, until when, how often.

    :param clock: function that gives the seconds, monotonic
    """

    def __init__(self, clock):
        self._clock = clock
        self._orphans = {}  # VIF: the row's UUID, and when its grace is over; None: it is
        self._put_offs = {}  # VIF: when to try again
        self._told = {}  # VIF: the state and reason that were reported last
        self._held = {}  # VIF: since when one of its ports is known to be held
        self.lost = {}  # VIF: how many races were lost since its last write

    def forget(self, vif):
        """It has no port any more."""
        for known in (self._orphans, self._put_offs, self._told, self._held, self.lost):
            known.pop(vif, None)

    def due(self):
        """The VIFs to look at though nothing happened, each told once: list."""
        now = self._clock()
        found = [vif for vif, until in self._put_offs.items() if until <= now]
        for vif in found:
            del self._put_offs[vif]
        for vif, (uuid, until) in self._orphans.items():
            if until is not None and until <= now:
                self._orphans[vif] = uuid, None
                found.append(vif)
        return found

    def next_alarm(self):
        """When due() will have something: seconds of the clock, or None."""
        return min(list(self._put_offs.values()) + [
            until for _, until in self._orphans.values() if until is not None], default=None)

    def put_off(self, vif, seconds):
        """It is due after so many seconds."""
        self._put_offs[vif] = self._clock() + seconds

    def written(self, vif):
        """It need not be tried again."""
        self._put_offs.pop(vif, None)
        self.lost.pop(vif, None)

    def lose(self, vif):
        """A race was lost; returns how many there were since its last write."""
        self.lost[vif] = self.lost.get(vif, 0) + 1
        return self.lost[vif]

    def is_expired(self, vif, port):
        """Whether the grace of an orphan, this port (port.Port), is over."""
        return self._orphans.get(vif) == (port.uuid, None)

    def note_orphan(self, vif, decision, grace):
        """Begin, keep or end an orphan's grace.

        :param grace: seconds, or None where there is none
        """
        if decision.state != ORPHAN:
            if decision.ports()[1:] or not decision.changes:
                self._orphans.pop(vif, None)
            return
        uuid = decision.ports()[0].uuid
        if grace is None:
            self._orphans.pop(vif, None)
        elif self._orphans.get(vif, ("",))[0] != uuid:
            self._orphans[vif] = uuid, self._clock() + grace

    def note_held(self, vif, ports):
        """Begin, keep or end its time of being held."""
        if any(is_held(port) for port in ports):
            self._held.setdefault(vif, self._clock())
        else:
            self._held.pop(vif, None)

    def held(self):
        """For how many seconds each VIF has been held, at least: dict."""
        now = self._clock()
        return {vif: now - since for vif, since in self._held.items()}

    def is_news(self, vif, told):
        """Whether this is not what was reported of it last; None: there is nothing to report."""
        if told is None:
            self._told.pop(vif, None)
            return False
        if self._told.get(vif) == told:
            return False
        self._told[vif] = told
        return True
