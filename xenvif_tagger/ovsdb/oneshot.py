"""The one-shot driver: read the ports, ask the core, write, look again where a race was lost."""
import time

from ..core.decide import decide_vif
from ..core.decision import IN_SYNC, MIRRORED, Outcome, settings_of
from ..host.paths import boot_id
from .vswitch import Unwritten, Vswitch

# VIFs in one transaction: some 10 operations each.
BATCH = 500
# How often a VIF that somebody changes under our hands is read anew.
TRIES = 20
# From how many VIFs on all rows are read: the server looks for each name in all of its rows.
MANY = 50




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
        self.settings = settings_of(values, boot_id())

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
                        if outcome.state == IN_SYNC else outcome for outcome in outcomes]
            mirrored.update((outcome.vif, outcome) for outcome in outcomes
                            if outcome.state == MIRRORED)
            pairs = [outcome for outcome in outcomes if len(outcome.decision.ports()) == 2]
            ready = bool(pairs) and all(pair.is_alike for pair in pairs) and (
                name is None or any(name in outcome.ports for outcome in outcomes))
            left = until - time.monotonic()
            if ready or left <= 0 or not self.client.wait_update(left):
                return ready, outcomes

