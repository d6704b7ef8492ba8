"""`doctor`: the VIFs' ports, one by one and in pairs.

A check takes an examine.Patient and returns (state, what was found, cure).
"""
import os
import shlex

from ..core import identity
from ..core.decision import CONFLICT, DRIFT, ORPHAN, REFUSED
from ..core.hold import is_held
from ..core.names import parse
from ..output.checks import FAIL, OK, SKIP, WARN, first_few
from ..ovsdb.client import OvsdbError
from ..plug.vsctl import words
from .database import of_database

XAPI_SYNC = "ovs-xapi-sync"
LONG_HELD = 60  # seconds: an agent has long set its tag by then
STOP_XAPI_SYNC = "systemctl disable --now openvswitch-xapi-sync"


def _agent_bound(database):
    """Whether Neutron's agent has bound a port here."""
    return any(port.network is not None for port in database.ports())


def _with_both(database):
    """The pairs of which both rows carry iface-id."""
    return [decision for decision in database.pairs() if all(
        "iface-id" in port.ids["Interface"] for port in decision.ports())]


def xapi_sync(patient):
    running = [pid for pid, argv in patient.host.processes.items()
               if any(os.path.basename(word) == XAPI_SYNC for word in argv[:3])]
    if not running:
        hidden = patient.host.hidden()
        return (SKIP, hidden, None) if hidden else (OK, "it does not run", None)
    found = "it runs, pid %d" % running[0]
    if patient.database.error:
        return (WARN, found + "; whether it writes iface-id can't be told without the database",
                STOP_XAPI_SYNC)
    if not _with_both(patient.database):
        return OK, found + "; no pair has iface-id on both ports", None
    if not _agent_bound(patient.database):
        return (WARN, found + ", and pairs have iface-id on both ports. Under a Neutron agent a "
                "guest's port would go DOWN when its tap goes", STOP_XAPI_SYNC)
    return (FAIL, found + ", and pairs have iface-id on both ports, under a Neutron agent: it "
            "jumps between the two, and a guest's port goes DOWN when its tap goes", STOP_XAPI_SYNC)


@of_database
def iface_id(database):
    both = _with_both(database)
    if not both:
        return OK, "no pair has it on both ports", None
    found = "on both ports of %s" % first_few(_names(decision) for decision in both)
    if database.shot.settings.iface_id == "both":
        return WARN, found + ", as the config's iface_id = both wants it", None
    # Off the tap, also where the agent has bound that one: it is the tap that goes, and an agent
    # whose port loses its iface-id while the sibling has it goes on with the sibling
    # (docs/design.md 2.4).
    cure = "ovs-vsctl remove Interface %s external_ids iface-id" % both[0].tap.name
    if any(port.network is not None for decision in both for port in decision.ports()):
        return (FAIL, found + ", under a Neutron agent: a guest's port goes DOWN there when its "
                "tap goes other than by our hook (PV drivers loaded)", cure)
    return WARN, found + ": a Neutron agent would take either for the guest's port", cure


@of_database
def drift(database):
    """Only what is still so now: the watcher, or an agent, may have been at it."""
    vifs = [outcome.vif for outcome in database.outcomes if outcome.decision.state == DRIFT]
    if vifs:
        try:
            decisions = [outcome.decision for outcome in database.shot.look(vifs)]
        except OvsdbError as error:
            return SKIP, "it can't be looked at again: %s" % error, None
        left = [decision for decision in decisions if decision.state == DRIFT]
        if any(decision.is_substantial() for decision in left):
            return FAIL, _told(left), "xenvif-tagger mirror all"
        if left:
            return WARN, _told(left), "systemctl restart neutron-openvswitch-agent"
    return OK, "no pair is to be mirrored", None


@of_database
def conflict(database):
    wrong = database.pairs(CONFLICT)
    if not wrong:
        return OK, "no pair is in conflict", None
    return FAIL, _told(wrong), "xenvif-tagger mirror port %s --from vif   (or tap)" % (
        wrong[0].vif.name)


def _parted(database):
    return [decision for decision in database.pairs()
            if decision.vif.bridge != decision.tap.bridge]


@of_database
def refused(database):
    elsewhere = _parted(database)
    wrong = [decision for decision in database.pairs(REFUSED) if decision not in elsewhere]
    if not wrong:
        return OK, "no pair is refused", None
    ids = wrong[0].ports()[0].ids["Interface"]
    vif = ids.get("xs-vif-uuid")
    cure = "xe vif-unplug uuid={0} && xe vif-plug uuid={0}".format(shlex.quote(vif)) if vif else (
        "xenvif-tagger --verbose mirror dom %d --dry-run" % parse(wrong[0].ports()[0].name)[0])
    return WARN, _told(wrong), cure


def held(patient):
    """The database has no clock: since when a port is held the watcher knows, if anybody."""
    if patient.database.error:
        return SKIP, "the database can't be read", None
    closed = [port for port in patient.database.ports() if is_held(port)]
    if not closed:
        return OK, "no port is held", None
    since = patient.watch.stats.get("held_seconds")
    if since is None:
        found = "%s: held until an agent sets a tag; since when can't be told without the " \
            "watcher, so look whether it is for longer than a minute" % first_few(_names_of(closed))
    else:
        seconds = {port.name: since.get("vif%d.%d" % parse(port.name)[:2], 0) for port in closed}
        closed = [port for port in closed if seconds[port.name] >= LONG_HELD]
        if not closed:
            return OK, "%s: held, for less than %g s: as long as no agent has set a tag" % (
                first_few(sorted(seconds)), LONG_HELD), None
        found = "%s: the guest is cut off until an agent sets a tag" % first_few(
            "%s held for %d s or more" % (port.name, seconds[port.name]) for port in closed)
    return WARN, found, "ovs-vsctl set Port %s tag=VLAN -- clear Port %s vlan_mode" % (
        (closed[0].name,) * 2)


@of_database
def dead_vlan(database):
    dead = [port for port in database.ports()
            if port.unit.get("tag") == 4095 and not is_held(port)]
    if not dead:
        return OK, "no port has tag 4095 but those that are held", None
    port_id = next((port.ids["Interface"]["iface-id"] for port in dead
                    if "iface-id" in port.ids["Interface"]), None)
    return (WARN, "%s: tag 4095, dead to the agent: the guest is cut off" % first_few(
        port.name for port in dead), "openstack port show %s   (admin_state_up, binding)" % (
            shlex.quote(port_id)) if port_id else
            "ovs-vsctl set Port %s tag=VLAN" % dead[0].name)


@of_database
def bridges(database):
    parted = _parted(database)
    if not parted:
        return OK, "all siblings are on the same bridge", None
    return WARN, "%s: VIF.move takes only the vif along; the guest is on the old network while " \
        "it uses the emulated NIC" % first_few(decision.reason for decision in parted), (
            _move(parted[0]))


def _move(decision):
    """The command that takes a tap to its vif's bridge: never open in between."""
    vif, tap = decision.vif, decision.tap
    keys = identity.keys_of(vif.ids["Interface"])
    made = ["ovs-vsctl", "--", "del-port", tap.name, "--", "add-port", vif.bridge, tap.name]
    made += words("port", tap.name, vif.unit, {}) + words("interface", tap.name, {}, keys)
    return " ".join(shlex.quote(word) for word in made)


@of_database
def orphans(database):
    alone = database.pairs(ORPHAN)
    if not alone:
        return OK, "no port has lost the sibling that it followed", None
    port = alone[0].ports()[0]
    return (WARN, "%s: its agent may have lost it with its sibling, and give its VLAN to another "
            "tenant. If that VLAN is right:" % first_few(_named(decision) for decision in alone),
            "xenvif-tagger mirror port %s --from %s" % (port.name, parse(port.name)[2]))


@of_database
def unmarked(database):
    """Ports that nobody of us has seen: neither hook nor watcher has stamped them."""
    unseen = [port for port in database.ports() if "vif" not in port.mark]
    if not unseen:
        return OK, "all ports were plugged by our hook, or seen by the watcher", None
    if any(identity.stamp_of(port.ids["Interface"]) for port in unseen):
        return WARN, "plugged without us: %s. A left-over of another guest could be among them" % (
            first_few(port.name for port in unseen)), "xenvif-tagger mirror all"
    return (WARN, "plugged without us, and with nothing that says whose they are: %s" % first_few(
        port.name for port in unseen), "xenvif-tagger status")


def _names_of(ports):
    return [port.name for port in ports]


def _names(decision):
    return " and ".join(_names_of(decision.ports()))


def _named(decision):
    return "%s: %s" % (_names(decision), decision.reason)


def _told(decisions):
    return first_few(_named(decision) for decision in decisions)
