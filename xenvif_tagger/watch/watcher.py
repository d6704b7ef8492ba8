"""The watcher's work: look at VIFs that have changed, decide, write, in batches
(docs/design.md 3, P3).

No more is remembered of a VIF than the replica has, but for what memory.py says.
"""
import itertools
import time

from ..core.decide import decide_vif
from ..core.decision import DRIFT, STATES, Outcome
from ..core.port import after, is_bookkeeping
from ..ovsdb.client import DATABASE, failure
from ..ovsdb.rows import operations
from .memory import Memory

# Of OVSDB, not of a file: RFC 7047, 4.1.8. Its name is an <id>, which has no hyphens.
LOCK = "xenvif_tagger"
# VIFs in one transaction. With some 15 operations each that is a message of a megabyte.
BATCH = 250
# VIFs looked at in one turn: others wait to be heard meanwhile.
LOOKS = 1000
# How many races for a VIF may be lost in a row until that is reported.
TRIES = 20
# Seconds until a write that the database refused is tried again, if nothing changes before.
RETRY = 30


class Flight(object):
    """A transaction under way: which outcomes it writes, and since when they waited for it."""

    __slots__ = ("outcomes", "owners", "since")

    def __init__(self, outcomes, owners, since):
        self.outcomes = outcomes
        self.owners = owners  # for each operation: index of the outcome, None for none
        self.since = since


class Watcher(object):
    """Keeps all VIFs of a replica alike.

    :param replica.Replica replica: the database
    :param decision.Settings settings: what the operator has set
    :param float grace: seconds after which an orphan is held, on bridges that hold
    :param journal.Journal journal: takes lines for people
    :param stats.Stats stats: takes counts
    :param clock: function that gives the seconds, monotonic
    """

    def __init__(self, replica, settings, grace, journal, stats, clock=time.monotonic):
        self.replica = replica
        self.settings = settings
        self.grace = grace
        self.journal = journal
        self.stats = stats
        self.clock = clock
        self.memory = Memory(clock)
        self.flight = None
        self._parts = []  # lists of VIFs: each is a batch of its own, after one that was refused
        self._alone = False  # whether the last batch was of a VIF that loses races
        self._connections = 0
        self._had_lock = False

    # -- turns

    def turn(self):
        """Do what there is to do now; after each Replica.run()."""
        replica = self.replica
        if replica.connections != self._connections:
            self._connections = replica.connections
            self.stats.last_error = replica.problem or self.stats.last_error
        if not replica.is_current:
            return
        if replica.has_lock and not self._had_lock:
            # Whoever had it may not have done what we saw coming; and that was long ago.
            replica.changed.clear()
            replica.touch_all()
        self._had_lock = replica.has_lock
        if replica.has_lock and self.flight is None:
            for vif in self.memory.due():
                replica.touch(vif)
            self._send()

    @property
    def is_idle(self):
        """Whether all that is known is dealt with."""
        return self.flight is None and not self._parts and not self.replica.changed

    @property
    def is_busy(self):
        """Whether there is more to do at once, without waiting for the database."""
        return (self.replica.is_current and self.replica.has_lock and self.flight is None
                and not self.is_idle)

    def next_alarm(self):
        """When to call turn() though nothing happens: seconds of the clock, or None."""
        return self.memory.next_alarm() if self.replica.has_lock else None

    # -- looking

    def outcomes(self):
        """What would be done for each VIF, as oneshot.OneShot.look: for status."""
        found = []
        for vif in sorted(self.replica.vifs()):
            try:
                outcome = self._look(vif)[0]
            except Exception:
                continue  # the log has it, see _send
            if outcome is not None:
                found.append(outcome)
        return found

    def _look(self, vif):
        """(Outcome, rows), or (None, None) where it has no port."""
        ports, rows = self.replica.ports(vif)
        if not ports:
            return None, None
        expired = self.memory.is_expired(vif, ports[0])
        return Outcome(vif, ports, decide_vif(ports, self.settings, expired=expired)), rows

    def _decide(self, vif):
        """Look, and note down what there is to note. Returns as _look."""
        outcome, rows = self._look(vif)
        if outcome is None:
            self.memory.forget(vif)
            return None, None
        decision = outcome.decision
        holds = decision.ports()[0].bridge in self.settings.hold_bridges
        self.memory.note_orphan(vif, decision, self.grace if holds else None)
        self.memory.note_held(vif, decision.ports())
        self._tell(vif, outcome)
        return outcome, rows

    def _tell(self, vif, outcome):
        """Report a state that a person should know of, once for each change of it."""
        decision = outcome.decision
        waits = decision.state == DRIFT and not decision.is_substantial()
        told = (decision.state, decision.reason) if (
            waits or STATES[decision.state].logged) else None
        if self.memory.is_news(vif, told):
            self.stats.report(decision.state)
            self.journal.say("%s: %s: %s" % (decision.who(), decision.state, decision.reason))

    # -- writing

    def _send(self):
        """Look at what has changed, and write what is to be written, in one transaction."""
        changed = self.replica.changed
        now = self.clock()
        vifs = self._next()
        outcomes, owners, batch = [], [None], [{"op": "assert", "lock": LOCK}]
        since = now
        for vif in vifs:
            if len(outcomes) == BATCH:
                break
            when = changed.pop(vif, now)
            try:
                outcome, rows = self._decide(vif)
                if outcome is None or not outcome.decision.changes:
                    self.memory.lost.pop(vif, None)
                    continue
                made = operations(outcome.decision, rows)
            except Exception as error:  # a defect of ours, and the others are not to suffer
                self._put_off(vif, "vif%d.%d: can't be decided" % vif, "%s: %s" % (
                    type(error).__name__, error))
                continue
            owners += [len(outcomes)] * len(made)
            outcomes.append(outcome)
            batch += made
            since = min(since, when)
        if outcomes:
            self.flight = Flight(outcomes, owners, since)
            self.stats.transactions += 1
            self.replica.ask("transact", [DATABASE] + batch, self._answered)

    def _next(self):
        """The VIFs of the next batch: list."""
        if self._parts:
            return self._parts.pop()
        changed = self.replica.changed
        alone = [vif for vif in self.memory.lost if vif in changed][:1]
        self._alone = bool(alone) and not self._alone
        if not self._alone:
            together = list(itertools.islice(
                (vif for vif in changed if vif not in self.memory.lost), LOOKS))
            if together or not alone:
                return together
        return alone

    def _answered(self, message):
        """The answer to the flight's transaction has come, or (None) the connection is lost."""
        flight, self.flight = self.flight, None
        if message is None:
            self.stats.retries += 1  # all is looked at again once it is back
            return
        if message.type != message.T_REPLY or not isinstance(message.result, list):
            failed = None, "refused", str(message.error)
        else:
            failed = failure(message.result, len(flight.owners))
        if failed is None:
            self._done(flight)
            return
        index, error, details = failed
        guilty = list(flight.outcomes) if len(flight.outcomes) == 1 else []
        if index is not None and flight.owners[index] is not None:
            guilty = [flight.outcomes[flight.owners[index]]]
        others = [outcome for outcome in flight.outcomes if outcome not in guilty]
        if error == "not owner":
            # We have lost it, and shall hear of that, or have heard of it already.
            self._again(flight.outcomes)
            if self.replica.has_lock:
                self.replica.force_reconnect()
        elif error == "timed out":  # of a wait: a race is lost (RFC 7047, 5.2.6)
            self.stats.retries += 1
            self._again(flight.outcomes)
            for outcome in guilty:
                self._lose(outcome)
        elif guilty:
            self._again(others)
            self._put_off(guilty[0].vif, guilty[0].decision.who() + ": not written",
                          "%s: %s" % (error, details))
        else:
            # The commit failed. Whose fault it is, only halving tells.
            vifs = [outcome.vif for outcome in flight.outcomes]
            self._parts += [vifs[:len(vifs) // 2], vifs[len(vifs) // 2:]]

    def _lose(self, outcome):
        """Count a race lost; from now on until one is won it goes alone, by turns with the others:
        who changes it all the time must not hold them up."""
        if self.memory.lose(outcome.vif) % TRIES == 0:
            self.journal.warn("%s: not written yet: somebody changes it all the time" % (
                outcome.decision.who()))

    def _again(self, outcomes):
        for outcome in outcomes:
            self.replica.touch(outcome.vif)

    def _put_off(self, vif, what, problem):
        self.stats.failed += 1
        self.stats.last_error = "%s: %s" % (what, problem)
        self.memory.put_off(vif, RETRY)
        self.journal.warn("%s: %s: tried again when it changes, or in %d s" % (
            what, problem, RETRY))

    def _done(self, flight):
        taken = self.clock() - flight.since
        self.stats.took(taken)
        for outcome in flight.outcomes:
            decision = outcome.decision
            self.memory.written(outcome.vif)
            if decision.target and decision.state == DRIFT and self._is_as_written(outcome):
                # What has changed since is our own doing, and there is nothing more to do.
                self.replica.changed.pop(outcome.vif, None)
                self.memory.note_held(outcome.vif, self.replica.ports(outcome.vif)[0])
            if not decision.is_substantial():
                self.stats.marked += 1
                continue
            self.stats.mirror()
            self.journal.say("%s: %s [%s] (%.1f ms)" % (
                decision.who(), decision.reason, _cells(decision), taken * 1000))

    def _is_as_written(self, outcome):
        """Whether a VIF's ports are what they became by our writing, and nothing else."""
        decision = outcome.decision
        there = {port.name: port for port in self.replica.ports(outcome.vif)[0]}
        return sorted(there) == sorted(outcome.ports) and all(
            there[port.name].is_same(port, *after(port, decision.changes))
            for port in decision.ports())




def _cells(decision):
    """What was changed in a few words: ``tag 5, vm-id``."""
    words = []
    for change in decision.changes:
        if not is_bookkeeping(change):
            word = change.column if change.key is None else change.key
            word += " gone" if change.new is None else (
                " %s" % (change.new,) if change.key is None else "")
            if word not in words:
                words.append(word)
    return ", ".join(words)
