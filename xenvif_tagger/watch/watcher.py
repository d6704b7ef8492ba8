"""The watcher's work: look at VIFs that have changed, decide, write, in batches
(docs/design.md 3, P3).

The watcher knows a VIF only by the replica's rows and by the notes in memory.py.
"""
import itertools
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Optional, Tuple

from ..core.decide import decide_vif
from ..core.decision import DRIFT, ORPHAN, STATES, Decision, Outcome, Settings
from ..core.port import after, is_bookkeeping
from ..ovsdb.client import DATABASE, failure
from ..ovsdb.rows import operations
from ..replica.replica import Replica
from .journal import Journal
from .memory import Memory
from .stats import Stats

if TYPE_CHECKING:
    from ..ovsdb.rows import Operation, PortRows, Vif

# The lock of the database (RFC 7047, 4.1.8). Its name is an <id>, which has no hyphens.
LOCK = "xenvif_tagger"
# VIFs in one transaction. With some 15 operations each that is a message of a megabyte.
BATCH = 250
# VIFs looked at in one turn of the loop: signals and ovs-appctl are served between two turns.
LOOKS = 1000
# How many races for a VIF may be lost in a row until the log has a line about that.
TRIES = 20
# Seconds until a VIF that could not be decided or written is tried again, unless a row of the VIF
# changes earlier.
RETRY = 30


class Flight(object):
    """A transaction under way.

    outcomes: the Outcomes whose changes the transaction writes; owners: for each operation of the
    transaction the index of its Outcome, or None; since: when the first change of these VIFs
    arrived, in seconds of the watcher's clock.
    """

    __slots__ = ("outcomes", "owners", "since")

    def __init__(self, outcomes: List[Outcome], owners: List[Optional[int]],
                 since: float) -> None:
        self.outcomes = outcomes
        self.owners = owners
        self.since = since


class Watcher(object):
    """Keeps the two ports of each VIF in a replica alike.

    :param replica.Replica replica: the database
    :param decision.Settings settings: the operator's settings
    :param float grace: seconds after which an orphan on a listed bridge is held
    :param journal.Journal journal: takes lines for people
    :param stats.Stats stats: takes counts
    :param clock: function that gives seconds, monotonic
    """

    def __init__(self, replica: Replica, settings: Settings, grace: float, journal: Journal,
                 stats: Stats, clock: Callable[[], float] = time.monotonic) -> None:
        self.replica = replica
        self.settings = settings
        self.grace = grace
        self.journal = journal
        self.stats = stats
        self.clock = clock
        self.memory = Memory(clock)
        self.flight: Optional[Flight] = None
        self._halves: "List[List[Vif]]" = []  # of batches whose commit failed; each half is a batch
        self._last_was_alone = False  # whether the last batch was one VIF that loses races
        self._connections = 0  # of the replica, at the last turn
        self._had_lock = False  # at the last turn

    # -- turns

    def turn(self) -> None:
        """Look, decide and send what can be sent now. Call this after each Replica.run()."""
        replica = self.replica
        if replica.connections != self._connections:
            self._connections = replica.connections
            self.stats.last_error = replica.problem or self.stats.last_error
        if not replica.is_current:
            return
        if replica.has_lock and not self._had_lock:
            # The watcher that held the lock before may have died with changes pending: so look at
            # every VIF again. (Latencies count from now on, not from the changes in the replica.)
            replica.changed.clear()
            replica.touch_all()
        self._had_lock = replica.has_lock
        if replica.has_lock and self.flight is None:
            for vif in self.memory.due():
                replica.touch(vif)
            self._send()

    @property
    def is_idle(self) -> bool:
        """Whether no VIF waits to be looked at, and no transaction is under way."""
        return self.flight is None and not self._halves and not self.replica.changed

    @property
    def is_busy(self) -> bool:
        """Whether the next turn has work at once, without an answer of the database."""
        return (self.replica.is_current and self.replica.has_lock and self.flight is None
                and not self.is_idle)

    def next_alarm(self) -> Optional[float]:
        """When turn() will have work because time has passed: seconds of the clock, or None."""
        return self.memory.next_alarm() if self.replica.has_lock else None

    # -- looking

    def outcomes(self) -> List[Outcome]:
        """The Outcome of each VIF, with nothing written, as oneshot.OneShot.look returns."""
        outcomes = []
        for vif in sorted(self.replica.vifs()):
            try:
                outcome = self._look(vif)[0]
            except Exception:
                continue  # a defect of ours, which _send() has logged
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def _look(self, vif: "Vif") -> "Tuple[Optional[Outcome], Dict[str, PortRows]]":
        """Decide about a VIF: its Outcome, None if it has no port, and the rows of its ports."""
        ports, rows = self.replica.ports(vif)
        if not ports:
            return None, rows
        decision = decide_vif(ports, self.settings, expired=self.memory.expired(vif))
        return Outcome(vif, ports, decision), rows

    def _look_and_note(self, vif: "Vif") -> "Tuple[Optional[Outcome], Dict[str, PortRows]]":
        """As ``_look``; renews the notes on the VIF, and reports its state."""
        outcome, rows = self._look(vif)
        if outcome is None:
            self.memory.forget(vif)
            return None, rows
        decision = outcome.decision
        self.memory.note_orphans(vif, (
            port for port in decision.orphans if port.bridge in self.settings.hold_bridges),
            self.grace)
        self.memory.note_ports(vif, decision.ports())
        self._report(vif, decision)
        return outcome, rows

    def _report(self, vif: "Vif", decision: Decision) -> None:
        """Log a state that a person should know of, unless the last report about the VIF had the
        same state and reason."""
        # A drift with nothing to write waits for the agent (docs/design.md 4.5, rule 1).
        waits = decision.state == DRIFT and not decision.is_substantial()
        # With libxl the vif's row goes first; the row of the tap, whose device has gone with QEMU,
        # follows a moment later: the tap's short time as an orphan is not logged.
        ends = decision.state == ORPHAN and all(port.gone for port in decision.orphans)
        if ends or not waits and not STATES[decision.state].logged:
            self.memory.note_nothing_to_report(vif)
        elif self.memory.note_report(vif, decision.state, decision.reason):
            self.stats.count_report(decision.state)
            self.journal.say("%s: %s: %s" % (decision.who(), decision.state, decision.reason))

    # -- writing

    def _send(self) -> None:
        """Look at VIFs that have changed, and send their changes in one transaction."""
        changed = self.replica.changed
        now = self.clock()
        outcomes: List[Outcome] = []
        owners: List[Optional[int]] = [None]
        batch: "List[Operation]" = [{"op": "assert", "lock": LOCK}]
        since = now
        for vif in self._next_batch():
            if len(outcomes) == BATCH:
                break
            arrived = changed.pop(vif, now)
            try:
                outcome, rows = self._look_and_note(vif)
                if outcome is None or not outcome.decision.changes:
                    self.memory.lost_races.pop(vif, None)
                    continue
                ops = operations(outcome.decision, rows)
            except Exception as error:  # a defect of ours must not stop the work on other VIFs
                self._put_off(vif, "vif%d.%d: can't be decided" % vif, "%s: %s" % (
                    type(error).__name__, error))
                continue
            owners += [len(outcomes)] * len(ops)
            outcomes.append(outcome)
            batch += ops
            since = min(since, arrived)
        if outcomes:
            self.flight = Flight(outcomes, owners, since)
            self.stats.transactions += 1
            self.replica.ask("transact", [DATABASE, *batch], self._take_answer)

    def _next_batch(self) -> "List[Vif]":
        """The VIFs to look at next: half of a batch whose commit failed; or else, by turns, one VIF
        that has lost a race, and all VIFs that have lost no race."""
        if self._halves:
            return self._halves.pop()
        changed = self.replica.changed
        lost_races = self.memory.lost_races
        alone = [vif for vif in lost_races if vif in changed][:1]
        self._last_was_alone = bool(alone) and not self._last_was_alone
        if not self._last_was_alone:
            together = list(itertools.islice(
                (vif for vif in changed if vif not in lost_races), LOOKS))
            if together or not alone:
                return together
        return alone

    def _take_answer(self, message: Any) -> None:
        """Take the answer to the transaction under way: a jsonrpc.Message, or None if the
        connection was lost before the answer came."""
        flight, self.flight = self.flight, None
        if message is None or flight is None:
            self.stats.retries += 1  # after a reconnect the replica has every VIF as changed
            return
        if message.type != message.T_REPLY or not isinstance(message.result, list):
            failed: Optional[Tuple[Optional[int], str, str]] = (
                None, "refused", str(message.error))
        else:
            failed = failure(message.result, len(flight.owners))
        if failed is None:
            self._finish(flight)
            return
        index, error, details = failed
        owner = flight.owners[index] if index is not None else None
        culprits = flight.outcomes if len(flight.outcomes) == 1 else []
        if owner is not None:
            culprits = [flight.outcomes[owner]]
        others = [outcome for outcome in flight.outcomes if outcome not in culprits]
        if error == "not owner":
            # We have lost the lock. The server says so in a message of its own. If the replica has
            # not had that message, and still takes the lock for ours, only a new connection helps.
            self._touch(flight.outcomes)
            if self.replica.has_lock:
                self.replica.force_reconnect()
        elif error == "timed out":  # of a wait: a race is lost (RFC 7047, 5.2.6)
            self.stats.retries += 1
            self._touch(flight.outcomes)
            for outcome in culprits:
                self._count_lost_race(outcome)
        elif culprits:
            self._touch(others)
            self._put_off(culprits[0].vif, culprits[0].decision.who() + ": not written",
                          "%s: %s" % (error, details))
        else:
            # The commit failed, and the server does not say of which operation: halve the batch
            # until one VIF is left.
            vifs = [outcome.vif for outcome in flight.outcomes]
            self._halves += [vifs[:len(vifs) // 2], vifs[len(vifs) // 2:]]

    def _count_lost_race(self, outcome: Outcome) -> None:
        """Count a race that a VIF has lost. Until the changes of that VIF are written, they get
        transactions of their own, by turns with those of the other VIFs: a program that changes one
        VIF all the time must not delay the other VIFs."""
        if self.memory.note_lost_race(outcome.vif) % TRIES == 0:
            self.journal.warn("%s: not written yet: somebody changes the rows all the time" % (
                outcome.decision.who()))

    def _touch(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.replica.touch(outcome.vif)

    def _put_off(self, vif: "Vif", what_failed: str, problem: str) -> None:
        """Log that a VIF can't be decided or written, and try again after RETRY seconds."""
        self.stats.failed += 1
        self.stats.last_error = "%s: %s" % (what_failed, problem)
        self.memory.retry_after(vif, RETRY)
        self.journal.warn("%s: tried again when a row of the VIF changes, or in %d s" % (
            self.stats.last_error, RETRY))

    def _finish(self, flight: Flight) -> None:
        """The database has committed a transaction: count and log its outcomes."""
        seconds = self.clock() - flight.since
        self.stats.count_latency(seconds)
        for outcome in flight.outcomes:
            decision = outcome.decision
            self.memory.note_write(outcome.vif)
            if decision.target and decision.state == DRIFT and self._is_as_written(outcome):
                # The update that the replica has got is of our own write: no need to look again.
                self.replica.changed.pop(outcome.vif, None)
                self.memory.note_ports(outcome.vif, self.replica.ports(outcome.vif)[0])
            if not decision.is_substantial():
                self.stats.marked += 1
                continue
            self.stats.count_mirrored()
            self.journal.say("%s: %s [%s] (%.1f ms)" % (
                decision.who(), decision.reason, _changed_columns(decision), seconds * 1000))

    def _is_as_written(self, outcome: Outcome) -> bool:
        """Whether a VIF's ports stand as the outcome's changes left them."""
        decision = outcome.decision
        ports = {port.name: port for port in self.replica.ports(outcome.vif)[0]}
        return sorted(ports) == sorted(outcome.ports) and all(
            ports[port.name].is_same(port, *after(port, decision.changes))
            for port in decision.ports())


def _changed_columns(decision: Decision) -> str:
    """The changes of a decision in a few words: ``tag 5, vm-id``."""
    words: List[str] = []
    for change in decision.changes:
        if not is_bookkeeping(change):
            word = change.column if change.key is None else change.key
            word += " gone" if change.new is None else (
                " %s" % (change.new,) if change.key is None else "")
            if word not in words:
                words.append(word)
    return ", ".join(words)
