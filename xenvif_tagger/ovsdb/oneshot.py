"""The one-shot driver: read the ports, ask the core, write, and read again if a race was lost."""
import time

from ..core.decide import decide_vif
from ..core.decision import IN_SYNC, MIRRORED, Outcome, settings_of
from ..host.paths import boot_id
from .vswitch import Unwritten, Vswitch

MYPY = False
if MYPY:
    from typing import Callable, Collection, Dict, Iterable, List, Optional, Tuple

    from ..host.config import Values
    from .client import Client
    from .rows import Vif

# The most VIFs in one transaction; a VIF takes some 10 operations.
BATCH = 500
# How many lost races end the attempt to mirror a VIF.
TRIES = 20
# For more VIFs than this all rows are read: ovsdb-server searches all rows for each single name.
MANY = 50


class OneShot(object):
    """Decides about VIFs, and mirrors them, once.

    :param client.Client client: the connection
    :param dict values: the config file's values (see config.py)
    :param bool patient: whether the client's timeout begins anew at each read and each write
    """

    def __init__(self, client: "Client", values: "Values", patient: bool = True) -> None:
        self.client = client
        self._patient = patient
        self.vswitch = Vswitch(client)
        self.settings = settings_of(values, boot_id())

    def look(self, vifs: "Optional[Collection[Vif]]" = None,
             prefer: "Optional[str]" = None) -> "List[Outcome]":
        """Read the ports of VIFs and decide about them; write nothing.

        :param vifs: list of (domid, devid), or None for all
        :param prefer: "vif" or "tap": a person has said which side is right; else None
        :returns: list of Outcome, in the order of (domid, devid); a VIF without ports has none
        :raises client.OvsdbError: the database can't be reached
        """
        self._restart_deadline()
        if vifs is None or len(vifs) > MANY:
            ports = self.vswitch.read_all()
        else:
            ports = self.vswitch.read(vifs)
        if vifs is not None:
            ports = {vif: ports[vif] for vif in vifs if vif in ports}
        return [Outcome(vif, ports[vif], decide_vif(ports[vif], self.settings, prefer))
                for vif in sorted(ports)]

    def _restart_deadline(self) -> None:
        if self._patient:
            self.client.restart_deadline()

    def mirror(self, vifs: "Optional[Collection[Vif]]" = None,
               prefer: "Optional[str]" = None) -> "List[Outcome]":
        """Read, decide, and write the changes; parameters, result and errors as ``look``.

        An Outcome says whether its changes are written, or why not.
        """
        latest: "Dict[Vif, Outcome]" = {}
        tries: "Dict[Vif, int]" = {}
        while True:
            outcomes = self.look(vifs, prefer)
            for vif in vifs or ():
                latest.pop(vif, None)  # its ports may have gone since the last look
            latest.update((outcome.vif, outcome) for outcome in outcomes)
            vifs = self._write([outcome for outcome in outcomes if outcome.decision.changes], tries)
            if not vifs:
                return [latest[vif] for vif in sorted(latest)]

    def _write(self, outcomes: "Iterable[Outcome]", tries: "Dict[Vif, int]") -> "List[Vif]":
        """Write the changes of outcomes, in few transactions.

        A VIF that failed once gets a transaction of its own from then on, so that it does not hold
        up the others.

        :param tries: dict VIF -> how often a write of the VIF has failed; this method updates it
        :returns: the VIFs that must be read again, because another writer won a race
        """
        together = [outcome for outcome in outcomes if outcome.vif not in tries]
        batches = [together[at:at + BATCH] for at in range(0, len(together), BATCH)]
        batches += [[outcome] for outcome in outcomes if outcome.vif in tries]
        again: "List[Vif]" = []
        while batches:
            batch = batches.pop()
            # Our own work since the last answer must not shorten the server's time.
            self._restart_deadline()
            try:
                self.vswitch.write([outcome.decision for outcome in batch])
            except Unwritten as error:
                if error.culprit is None and len(batch) > 1:
                    # The commit failed, and the server does not say because of which operation:
                    # halve the batch until one VIF is left.
                    batches += [batch[:len(batch) // 2], batch[len(batch) // 2:]]
                    continue
                for outcome in batch:
                    guilty = error.culprit in (None, outcome.decision)
                    if guilty:
                        tries[outcome.vif] = tries.get(outcome.vif, 0) + 1
                    if guilty and not error.lost:
                        outcome.problem = error.reason
                    elif tries.get(outcome.vif) == TRIES:
                        outcome.problem = "somebody changes these ports all the time: gave up " \
                            "after %d tries" % TRIES
                    else:
                        again.append(outcome.vif)
                continue
            for outcome in batch:
                outcome.written = True
        return again

    def wait(self, find: "Callable[[], Optional[Collection[Vif]]]", seconds: float,
             prefer: "Optional[str]" = None,
             name: "Optional[str]" = None) -> "Tuple[bool, List[Outcome]]":
        """Mirror until the VIFs are ready: each change in the database wakes this method.

        :param find: gives the VIFs, as for ``look``; called before each round
        :param float seconds: how long to wait at most
        :param prefer: as for ``look``
        :param name: the name of a port that must be there; None if any port will do
        :returns: ``(ready, outcomes)``: whether there is a pair of ports, every pair has the same
            VLAN on both ports, and the named port is there; and the outcomes of the VIFs
        """
        until = time.monotonic() + seconds
        mirrored: "Dict[Vif, Outcome]" = {}
        self.vswitch.monitor()
        while True:
            self.client.restart_deadline()  # find() may ask the database
            outcomes = self.mirror(find(), prefer)
            # A VIF that an earlier round has mirrored is reported as mirrored.
            outcomes = [mirrored.get(outcome.vif, outcome)
                        if outcome.state == IN_SYNC else outcome for outcome in outcomes]
            mirrored.update((outcome.vif, outcome) for outcome in outcomes
                            if outcome.state == MIRRORED)
            pairs = [outcome for outcome in outcomes if len(outcome.decision.ports()) == 2]
            ready = bool(pairs) and all(pair.is_alike for pair in pairs) and (
                name is None or any(name in outcome.ports for outcome in outcomes))
            left = until - time.monotonic()
            if ready or left <= 0:
                return ready, outcomes
            # When the time is over, the VIFs are looked at once more: a database that hangs sends
            # no changes, and only a question can tell.
            self.client.wait_update(left)
