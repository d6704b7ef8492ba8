"""The one-shot driver: read the ports, ask the core, write, look again where a race was lost."""
import time

from ..core.decide import DRIFT, IN_SYNC, MIRRORED, decide_vif
from ..core.settings import Settings
from ..host.paths import boot_id
from .vswitch import Unwritten, Vswitch

# VIFs in one transaction: some 10 operations each.
BATCH = 500
# How often a VIF that somebody changes under our hands is read anew.
TRIES = 20
# From how many VIFs on all rows are read: the server looks for each name in all of its rows.
MANY = 50


class Outcome(object):
    """What became of a VIF.

    domid, devid (int); ports: the names of all ports that bear its number; decision
    (decide.Decision); written (bool): its changes are made; problem (str or None): why the
    database did not take them.
    """

    __slots__ = ("domid", "devid", "ports", "decision", "written", "problem")

    def __init__(self, vif, ports, decision):
        self.domid, self.devid = vif
        self.ports = [port.name for port in ports]
        self.decision = decision
        self.written = False
        self.problem = None

    @property
    def vif(self):
        """(domid, devid)."""
        return self.domid, self.devid


def settings_of(values):
    """The core's Settings from the values of a config file (see config.py)."""
    return Settings(
        iface_id=values["mirror", "iface_id"], exclude=values["mirror", "exclude"],
        policing=values["mirror", "policing"], hold_bridges=values["hold", "bridges"],
        boot=boot_id())


class OneShot(object):
    """Decisions about VIFs, once.

    :param ovsdb.Client client: the connection
    :param dict values: the config file's values (see config.py)
    :param bool patient: the client's deadline begins anew with each read of rows and each write
    """

    def __init__(self, client, values, patient=True):
        self.client = client
        self._patient = patient
        self.vswitch = Vswitch(client)
        self.settings = settings_of(values)

    def look(self, vifs=None, prefer=None):
        """What would be done, nothing written.

        :param vifs: list of (domid, devid), or None for all
        :returns: list of Outcome, in the order of (domid, devid); a VIF without ports is left out
        :raises ovsdb.OvsdbError: the database can't be reached
        """
        self._renew()
        if vifs is None or len(vifs) > MANY:
            found = self.vswitch.read_all()
        else:
            found = self.vswitch.read(vifs)
        if vifs is not None:
            found = {vif: found[vif] for vif in vifs if vif in found}
        self.settings.cvlans = self.vswitch.has_cvlans
        return [Outcome(vif, found[vif], decide_vif(found[vif], self.settings, prefer))
                for vif in sorted(found)]

    def _renew(self):
        if self._patient:
            self.client.restart_deadline()

    def mirror(self, vifs=None, prefer=None):
        """Do it: parameters, result and errors as ``look``; outcomes as they are afterwards."""
        done = {}
        tries = {}
        while True:
            outcomes = self.look(vifs, prefer)
            for vif in vifs or ():
                done.pop(vif, None)  # it may have gone
            done.update((outcome.vif, outcome) for outcome in outcomes)
            vifs = self._write([outcome for outcome in outcomes if outcome.decision.changes], tries)
            if not vifs:
                return [done[vif] for vif in sorted(done)]

    def _write(self, outcomes, tries):
        """Write what is to be changed, in few transactions.

        One that failed once goes alone from then on, so that it does not hold up the others.

        :param tries: dict VIF -> how often it has failed, kept here
        :returns: list of the VIFs that must be looked at again: a race was lost
        """
        together = [outcome for outcome in outcomes if outcome.vif not in tries]
        batches = [together[at:at + BATCH] for at in range(0, len(together), BATCH)]
        batches += [[outcome] for outcome in outcomes if outcome.vif in tries]
        again = []
        while batches:
            batch = batches.pop()
            self._renew()  # what was ours to do in between took the server no time
            try:
                self.vswitch.write([outcome.decision for outcome in batch])
            except Unwritten as error:
                if error.culprit is None and len(batch) > 1:
                    # The commit failed. Whose fault it is, only halving tells.
                    batches += [batch[:len(batch) // 2], batch[len(batch) // 2:]]
                    continue
                for outcome in batch:
                    guilty = error.culprit in (None, outcome.decision)
                    if guilty:
                        tries[outcome.vif] = tries.get(outcome.vif, 0) + 1
                    if guilty and not error.lost:
                        outcome.problem = error.reason
                    elif tries.get(outcome.vif) == TRIES:
                        outcome.problem = "somebody changes it all the time: gave up after %d " \
                            "tries" % TRIES
                    else:
                        again.append(outcome.vif)
                continue
            for outcome in batch:
                outcome.written = True
                if outcome.decision.state == DRIFT and outcome.decision.is_substantial():
                    outcome.decision.state = MIRRORED
        return again

    def wait(self, find, seconds, prefer=None, name=None):
        """Mirror as soon as there is something to mirror: woken by the database, not polling.

        :param find: function without parameters: the VIFs to look at, list of (domid, devid)
        :param float seconds: how long at most
        :param name: a port that must be there; None: any
        :returns: ``(ready, outcomes)``: whether every pair found has a VLAN on both, and there is
            one; what became of each
        """
        until = time.monotonic() + seconds
        mirrored = {}
        self.vswitch.monitor()
        while True:
            self.client.restart_deadline()  # for find()
            outcomes = self.mirror(find(), prefer)
            # What was mirrored in an earlier round is told as such.
            outcomes = [mirrored.get(outcome.vif, outcome)
                        if outcome.decision.state == IN_SYNC else outcome for outcome in outcomes]
            mirrored.update((outcome.vif, outcome) for outcome in outcomes
                            if outcome.decision.state == MIRRORED)
            ready = is_ready(outcomes) and (
                name is None or any(name in outcome.ports for outcome in outcomes))
            left = until - time.monotonic()
            if ready or left <= 0 or not self.client.wait_update(left):
                return ready, outcomes


def is_ready(outcomes):
    """Whether a wait is over: there is a pair, and each that there is has a VLAN on both sides."""
    pairs = [outcome.decision for outcome in outcomes if len(outcome.decision.ports()) == 2]
    return bool(pairs) and all(
        decision.state in (MIRRORED, IN_SYNC) and decision.unit for decision in pairs)
