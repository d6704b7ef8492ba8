"""The one-shot driver: read the ports, ask the core, write, look again where a race was lost."""
import os
import time

from .decide import DRIFT, IN_SYNC, MIRRORED, decide_vif
from .settings import Settings
from .vswitch import Vswitch

# How often a pair that somebody changes under our hands is read anew.
ROUNDS = 20


class Outcome(object):
    """What became of a VIF.

    domid, devid (int); decision (decide.Decision); written (bool): its changes are made;
    problem (str or None): why the database did not take them.
    """

    __slots__ = ("domid", "devid", "decision", "written", "problem")

    def __init__(self, vif, decision):
        self.domid, self.devid = vif
        self.decision = decision
        self.written = False
        self.problem = None


def boot_id():
    """This boot of the host (str). Source: random(4), /proc/sys/kernel/random/boot_id."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


def run_dir():
    """Open vSwitch's directory for sockets: absolute path (str). Source: ovs-vswitchd(8)."""
    return os.path.abspath(os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch")


def default_remote():
    """The remote of ovsdb-server on this host (str)."""
    return "unix:%s/db.sock" % run_dir()


def settings_of(values, has_cvlans):
    """The core's Settings from the values of a config file (see config.py)."""
    return Settings(
        iface_id=values["mirror", "iface_id"], exclude=values["mirror", "exclude"],
        policing=values["mirror", "policing"], hold_bridges=values["hold", "bridges"],
        boot=boot_id(), cvlans=has_cvlans)


class OneShot(object):
    """Decisions about VIFs, once.

    :param ovsdb.Client client: the connection; its deadline is begun anew with each round
    :param dict values: the config file's values (see config.py)
    """

    def __init__(self, client, values):
        self.client = client
        self.vswitch = Vswitch(client)
        self.settings = settings_of(values, self.vswitch.has_cvlans)

    def look(self, vifs=None, prefer=None):
        """What would be done, nothing written.

        :param vifs: list of (domid, devid), or None for all
        :returns: list of Outcome, in the order of (domid, devid); a VIF without ports is left out
        :raises ovsdb.OvsdbError: the database can't be reached
        """
        self.client.restart_deadline()
        found = self.vswitch.read_all() if vifs is None else self.vswitch.read(vifs)
        return [Outcome(vif, decide_vif(found[vif], self.settings, prefer))
                for vif in sorted(found)]

    def mirror(self, vifs=None, prefer=None):
        """Do it: parameters, result and errors as ``look``; outcomes as they are afterwards."""
        done = {}
        for _ in range(ROUNDS):
            outcomes = self.look(vifs, prefer)
            done.update(((outcome.domid, outcome.devid), outcome) for outcome in outcomes)
            lost = self._write([outcome for outcome in outcomes if outcome.decision.changes])
            if not lost:
                break
            vifs = lost
        return [done[vif] for vif in sorted(done)]

    def _write(self, outcomes):
        """Write what is to be changed; returns the VIFs with which a race was lost."""
        failed = {id(decision): error for decision, error in self.vswitch.write(
            [outcome.decision for outcome in outcomes])}
        lost = []
        for outcome in outcomes:
            error = failed.get(id(outcome.decision))
            outcome.written = error is None
            if error:
                outcome.problem = error.reason
                if error.lost:
                    lost.append((outcome.domid, outcome.devid))
            elif outcome.decision.state == DRIFT and outcome.decision.is_substantial():
                outcome.decision.state = MIRRORED
        return lost

    def wait(self, find, seconds, prefer=None):
        """Mirror as soon as there is something to mirror: woken by the database, not polling.

        :param find: function without parameters: the VIFs to look at, list of (domid, devid)
        :param float seconds: how long at most
        :returns: ``(ready, outcomes)``: whether every pair found has a VLAN on both, and there is
            one; what became of each
        """
        until = time.monotonic() + seconds
        self.vswitch.monitor()
        while True:
            self.client.restart_deadline()
            outcomes = self.mirror(find(), prefer)
            ready = is_ready(outcomes)
            left = until - time.monotonic()
            if ready or left <= 0 or not self.client.wait_update(left):
                return ready, outcomes


def is_ready(outcomes):
    """Whether a wait is over: there is a pair, and each that there is has a VLAN on both sides."""
    pairs = [outcome.decision for outcome in outcomes if len(outcome.decision.ports()) == 2]
    return bool(pairs) and all(
        decision.state in (MIRRORED, IN_SYNC) and decision.unit for decision in pairs)
