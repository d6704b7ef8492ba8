"""What the watcher counts."""
import math
import time

from ..core.decision import CONFLICT, REFUSED

# Latencies are counted in classes, each so much wider than the one before: a few hundred numbers
# for ever, and a quantile is right to that factor.
WIDTH = 1.05
LEAST = 1e-5  # seconds


class Stats(object):
    """Counts since the start. transactions: sent; mirrored: VIFs written with more than our own
    marks; marked: VIFs written with marks only; retries: races and connections lost; failed:
    writes that the database refused; last_error (str or None)."""

    def __init__(self):
        self.transactions = 0
        self.mirrored = 0
        self._mirrored_at = None
        self.marked = 0
        self.conflicts = 0
        self.refused = 0
        self.retries = 0
        self.failed = 0
        self.wakeups = 0
        self.last_error = None
        self._classes = {}
        self._longest = 0

    def mirror(self):
        """A VIF was mirrored."""
        self.mirrored += 1
        self._mirrored_at = time.monotonic()

    def last_mirrored(self):
        """Seconds since a VIF was last mirrored (float), None before any."""
        if self._mirrored_at is None:
            return None
        return round(time.monotonic() - self._mirrored_at, 3)

    def report(self, state):
        """A state was reported."""
        self.conflicts += state == CONFLICT
        self.refused += state == REFUSED

    def took(self, seconds):
        """A change was mirrored so long after it had arrived."""
        at = int(math.log(max(seconds, LEAST) / LEAST, WIDTH))
        self._classes[at] = self._classes.get(at, 0) + 1
        self._longest = max(self._longest, seconds)

    def latency(self):
        """Median, 95th percentile and maximum in milliseconds: dict, or None before any."""
        if not self._classes:
            return None
        return {"median": self._quantile(0.5), "p95": self._quantile(0.95),
                "max": round(self._longest * 1000, 3)}

    def _quantile(self, share):
        left = share * sum(self._classes.values())
        for at in sorted(self._classes):
            left -= self._classes[at]
            if left <= 0:
                return round(min(LEAST * WIDTH ** (at + 1), self._longest) * 1000, 3)
        return None
