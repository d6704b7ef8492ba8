"""The watcher's counts and its latencies."""
import math
import time
from typing import Dict, Optional

from ..core.decision import CONFLICT, REFUSED

# Latencies are counted in classes: class number N ends at LEAST * WIDTH ** (N + 1). So there are a
# few hundred counters at most, however long the watcher runs, and a quantile is right to within the
# factor WIDTH.
WIDTH = 1.05
LEAST = 1e-5  # seconds


class Stats(object):
    """Counts since the start of the watcher.

    transactions: transactions sent; mirrored: VIFs written with more than our own marks; marked:
    VIFs written with marks only; conflicts, refused: reports of these states; retries: lost races,
    and transactions under way when the connection was lost; failed: VIFs that could not be decided,
    and VIFs whose changes the database refused; wakeups: turns of the loop; last_error (str or
    None): the last error, in one line.
    """

    def __init__(self) -> None:
        self.transactions = 0
        self.mirrored = 0
        self._mirrored_at: Optional[float] = None
        self.marked = 0
        self.conflicts = 0
        self.refused = 0
        self.retries = 0
        self.failed = 0
        self.wakeups = 0
        self.last_error: Optional[str] = None
        self._classes: Dict[int, int] = {}  # number of a class: how many latencies are in it
        self._longest = 0.0  # seconds

    def count_mirrored(self) -> None:
        """Count a VIF that was written with more than our own marks."""
        self.mirrored += 1
        self._mirrored_at = time.monotonic()

    def last_mirrored(self) -> Optional[float]:
        """Seconds since a VIF was last mirrored; None if no VIF was mirrored yet."""
        if self._mirrored_at is None:
            return None
        return round(time.monotonic() - self._mirrored_at, 3)

    def count_report(self, state: str) -> None:
        """Count the report of a state."""
        self.conflicts += state == CONFLICT
        self.refused += state == REFUSED

    def count_latency(self, seconds: float) -> None:
        """Count the time from the arrival of a change until it was mirrored."""
        number = int(math.log(max(seconds, LEAST) / LEAST, WIDTH))
        self._classes[number] = self._classes.get(number, 0) + 1
        self._longest = max(self._longest, seconds)

    def latency(self) -> Optional[Dict[str, float]]:
        """Median, 95th percentile and maximum of the latencies, in milliseconds; None if there is
        no latency yet."""
        if not self._classes:
            return None
        return {"median": self._quantile(0.5), "p95": self._quantile(0.95),
                "max": round(self._longest * 1000, 3)}

    def _quantile(self, share: float) -> float:
        """The end of the class in which a share (0 to 1) of all latencies is reached, in ms."""
        left = share * sum(self._classes.values())
        for number in sorted(self._classes):
            left -= self._classes[number]
            if left <= 0:
                break
        return round(min(LEAST * WIDTH ** (number + 1), self._longest) * 1000, 3)
