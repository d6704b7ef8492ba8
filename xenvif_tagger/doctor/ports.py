"""`doctor`: checks of Open vSwitch's database, and of the VIFs' ports in it."""
import os
import shlex
from typing import Callable, Iterable, List, Optional

from ..core import identity
from ..core.decision import CONFLICT, DRIFT, ORPHAN, REFUSED, Decision
from ..core.hold import is_held
from ..core.iface_id import is_unbound
from ..core.names import parse_known
from ..core.port import Port
from ..output.checks import FAIL, OK, SKIP, WARN, first_few
from ..ovsdb.client import BadRemote, OvsdbError
from ..plug.vsctl import words
from .database import Database
from .patient import Examination, Patient, Result

XAPI_SYNC = "ovs-xapi-sync"
LONG_HELD = 60  # seconds within which an agent that works has set its tag
STOP_XAPI_SYNC = "systemctl disable --now openvswitch-xapi-sync"


def of_database(check: Callable[[Database], Result]) -> Examination:
    """Turn a function of the database into a check, which is SKIP if the database can't be read."""
    def checked(patient: Patient) -> Result:
        if patient.database.error:
            return SKIP, "the database can't be read", None
        return check(patient.database)
    return checked


def reachable(patient: Patient) -> Result:
    """Whether the database can be read, and is of a version that we can work with."""
    database = patient.database
    error = database.error
    if error is None:
        text = "Open vSwitch %s, schema %s, %s" % (
            database.version or "of unknown version", database.schema, database.remote)
        if not database.version:  # ovs-ctl writes ovs_version
            return WARN, text + ": not started by ovs-ctl", "systemctl start openvswitch"
        if not database.has_cvlans and database.settings.hold_bridges:
            return (WARN, text + ": without Port.cvlans a hold closes a port only as an access "
                    "port of VLAN 4095", "upgrade Open vSwitch to 2.8 or newer")
        return OK, text, None
    if os.geteuid() and "permission denied" in str(error):
        return SKIP, str(error), None
    if isinstance(error, BadRemote) and database.remote.startswith("ssl:"):
        return SKIP, "%s: doctor connects to unix: and tcp: remotes only" % database.remote, None
    if not database.remote.startswith("unix:"):
        return FAIL, str(error), "ovs-vsctl --db=%s show" % database.remote
    return FAIL, str(error), "systemctl %s openvswitch" % (
        "restart" if "answer" in str(error) else "start")


def _agent_bound(database: Database) -> bool:
    """Whether Neutron's agent has bound a port here."""
    return any(port.network is not None for port in database.ports())


def _with_two_iface_ids(database: Database) -> List[Decision]:
    """The pairs of which both ports have iface-id."""
    return [decision for decision in database.pairs() if all(
        "iface-id" in port.ids["Interface"] for port in decision.ports())]


def xapi_sync(patient: Patient) -> Result:
    """Whether ovs-xapi-sync runs and writes iface-id to both ports of a pair."""
    pids = [process.pid for process in patient.host.processes
            if any(os.path.basename(word) == XAPI_SYNC for word in process.argv[:3])]
    if not pids:
        hidden = patient.host.hidden()
        return (SKIP, hidden, None) if hidden else (OK, "ovs-xapi-sync does not run", None)
    text = "ovs-xapi-sync runs, pid %d" % pids[0]
    if patient.database.error:
        return (WARN, text + "; without the database it is not known whether pairs have iface-id "
                "on both ports", STOP_XAPI_SYNC)
    if not _with_two_iface_ids(patient.database):
        return OK, text + "; no pair has iface-id on both ports", None
    if not _agent_bound(patient.database):
        return (WARN, text + ", and pairs have iface-id on both ports. Under a Neutron agent a "
                "guest's port would go DOWN when its tap goes", STOP_XAPI_SYNC)
    return (FAIL, text + ", and pairs have iface-id on both ports, under a Neutron agent: the "
            "agent changes from one port to the other, and a guest's port goes DOWN when its tap "
            "goes",
            STOP_XAPI_SYNC)


@of_database
def iface_id(database: Database) -> Result:
    """Whether only one port of each pair has iface-id."""
    pairs = _with_two_iface_ids(database)
    if not pairs:
        return OK, "no pair has iface-id on both ports", None
    text = "iface-id is on both ports of %s" % first_few(_names(decision) for decision in pairs)
    if database.settings.iface_id == "both":
        return WARN, text + ", as the config's iface_id = both wants it", None
    # Remove iface-id from the tap, even if the agent has bound the tap: of the two ports the tap is
    # the one that goes away. An agent whose port loses its iface-id goes on with the sibling that
    # has the same iface-id (docs/design.md 2.4).
    cure = "ovs-vsctl remove Interface %s external_ids iface-id" % pairs[0].ports()[1].name
    if any(port.network is not None for decision in pairs for port in decision.ports()):
        return (FAIL, text + ", under a Neutron agent: a guest's port goes DOWN when the tap goes "
                "without our hook, as when the guest loads its PV drivers", cure)
    return WARN, text + ": a Neutron agent would take either port for the guest's", cure


@of_database
def drift(database: Database) -> Result:
    """Whether pairs are in drift, at a second look too: during the first look the watcher or an
    agent may have been writing the two ports."""
    vifs = [outcome.vif for outcome in database.outcomes if outcome.state == DRIFT]
    if vifs:
        try:
            outcomes = database.look_again(vifs)
        except OvsdbError as error:
            return SKIP, "the database can't be read again: %s" % error, None
        drifting = [outcome.decision for outcome in outcomes if outcome.state == DRIFT]
        if any(decision.is_substantial() for decision in drifting):
            return FAIL, _with_reasons(drifting), "xenvif-tagger mirror all"
        if drifting:
            return WARN, _with_reasons(drifting), "systemctl restart neutron-openvswitch-agent"
    return OK, "no pair is in drift", None


@of_database
def conflict(database: Database) -> Result:
    """Whether no pair is in conflict."""
    conflicts = database.in_state(CONFLICT)
    if not conflicts:
        return OK, "no pair is in conflict", None
    # The agent's own ports whose VLAN the agent uses for another network, too.
    forgotten = [port for decision in conflicts for port in decision.ports()
                 if port.is_forgotten]
    if forgotten:  # to choose a side does not help: the VLAN of the agent's own port is wrong
        return FAIL, _with_reasons(conflicts), _replug(forgotten[0]) or (
            "systemctl restart neutron-openvswitch-agent")
    return FAIL, _with_reasons(conflicts), "xenvif-tagger mirror port %s --from vif   (or tap)" % (
        conflicts[0].ports()[0].name)


def _parted(database: Database) -> List[Decision]:
    """The pairs whose ports are on two bridges."""
    return [decision for decision in database.pairs()
            if len({port.bridge for port in decision.ports()}) > 1]


@of_database
def refused(database: Database) -> Result:
    """Whether no pair is refused, but for those on two bridges, which have a check of their own."""
    parted = _parted(database)
    others = [decision for decision in database.in_state(REFUSED) if decision not in parted]
    if not others:
        return OK, "no pair is refused", None
    port = others[0].ports()[0]
    return WARN, _with_reasons(others), _replug(port) or (
        "xenvif-tagger --verbose mirror dom %d --dry-run" % parse_known(port.name)[0])


def _replug(port: Port) -> Optional[str]:
    """The command that plugs a VIF anew; None if XAPI does not know the VIF."""
    uuid = port.ids["Interface"].get("xs-vif-uuid")
    return uuid and "xe vif-unplug uuid={0} && xe vif-plug uuid={0}".format(shlex.quote(uuid))


def hold_bridges(patient: Patient) -> Result:
    """Whether each bridge that the config's [hold] lists is a bridge of this host."""
    if patient.database.error:
        return SKIP, "the database can't be read", None
    database = patient.database
    unknown = database.settings.hold_bridges - database.bridges
    if unknown:
        return (WARN, "[hold] lists %s, and this host has no such bridge, so no port is closed for "
                "that name. (For the ports of a VLAN bridge list the bridge that has them)" % (
                    first_few(sorted(unknown))),
                "vi %s; systemctl restart xenvif-tagger" % patient.host.config_path)
    return OK, "this host has each bridge that [hold] lists", None


def held(patient: Patient) -> Result:
    """Whether no port is held for long. The database does not say since when a port is held; only
    the watcher knows."""
    if patient.database.error:
        return SKIP, "the database can't be read", None
    held_ports = [port for port in patient.database.ports() if is_held(port)]
    if not held_ports:
        return OK, "no port is held", None
    settings = patient.database.settings
    unlisted = [port for port in held_ports if port.bridge not in settings.hold_bridges]
    if unlisted:
        return (WARN, "%s: held, and [hold] does not list the bridge. An agent's tag opens the "
                "port. So does this command, after which a port without a tag is a trunk of every "
                "VLAN:" % (
                    first_few(_names_of(unlisted))), "xenvif-tagger mirror port %s --from %s" % (
                        unlisted[0].name, parse_known(unlisted[0].name)[2]))
    since = patient.watch.stats.get("held_seconds")
    if since is None:
        text = "%s: held until an agent sets a tag, which should take less than a minute. Only a " \
            "watcher would know since when" % first_few(_names_of(held_ports))
    else:
        seconds = {port.name: since.get("vif%d.%d" % parse_known(port.name)[:2], 0)
                   for port in held_ports}
        held_ports = [port for port in held_ports if seconds[port.name] >= LONG_HELD]
        if not held_ports:
            return OK, "%s: held until an agent sets a tag, for less than %g s so far" % (
                first_few(sorted(seconds)), LONG_HELD), None
        text = "%s: the guest is cut off until an agent sets a tag" % first_few(
            "%s held for %d s or more" % (port.name, seconds[port.name]) for port in held_ports)
    return WARN, text, "ovs-vsctl set Port %s tag=VLAN -- clear Port %s vlan_mode" % (
        (held_ports[0].name,) * 2)


def unbound(patient: Patient) -> Result:
    """Whether Neutron's agent, if there is one here, has bound each VIF that has iface-id. The
    database does not say since when a VIF waits for the agent; only the watcher knows."""
    if patient.database.error:
        return SKIP, "the database can't be read", None
    waiting = {outcome.vif: outcome for outcome in patient.database.outcomes
               if is_unbound(outcome.decision.ports())}
    if not waiting or not _agent_bound(patient.database):
        return OK, "no port with iface-id waits for an agent that has bound others", None
    since = patient.watch.stats.get("unbound_seconds")
    if since is None:
        return SKIP, "%s: no agent has bound these ports so far, though they have iface-id; only " \
            "a watcher would know since when" % first_few(
                _names(outcome.decision) for outcome in waiting.values()), None
    overdue = [(outcome, since.get("vif%d.%d" % vif, 0)) for vif, outcome in waiting.items()
               if since.get("vif%d.%d" % vif, 0) >= LONG_HELD]
    if not overdue:
        return OK, "%d VIFs wait for the agent, for less than %g s so far" % (
            len(waiting), LONG_HELD), None
    return (WARN, "%s: the agent has bound other ports. With minimize_polling=true, its default, "
            "the agent does not see an iface-id that comes after the port" % first_few(
                "%s has iface-id, and has been unbound for %d s or more" % (
                    _names(outcome.decision), seconds) for outcome, seconds in overdue),
            "systemctl restart neutron-openvswitch-agent")


@of_database
def dead_vlan(database: Database) -> Result:
    """Whether no port has the dead tag 4095, but for those that are held."""
    dead = [port for port in database.ports()
            if port.unit.get("tag") == 4095 and not is_held(port)]
    if not dead:
        return OK, "no port has tag 4095 but those that are held", None
    iface_ids = [port.ids["Interface"]["iface-id"] for port in dead
                 if "iface-id" in port.ids["Interface"]]
    if iface_ids:
        cure = "openstack port show %s   (admin_state_up, binding)" % shlex.quote(iface_ids[0])
    else:
        cure = "ovs-vsctl set Port %s tag=VLAN" % dead[0].name
    return WARN, "%s: tag 4095, by which an agent closes a port: the guest is cut off" % first_few(
        _names_of(dead)), cure


@of_database
def bridges(database: Database) -> Result:
    """Whether both ports of each pair are on the same bridge."""
    parted = _parted(database)
    if not parted:
        return OK, "the two ports of each pair are on the same bridge", None
    return WARN, "%s: XAPI's VIF.move moves only the vif; the guest is on the old network while " \
        "it uses the emulated NIC" % first_few(decision.reason for decision in parted), _move(
            *parted[0].ports())


def _move(vif: Port, tap: Port) -> str:
    """The command that moves a tap to its vif's bridge and, in the same transaction, gives the tap
    the vif's VLAN unit: a port without a VLAN unit is open to every VLAN."""
    keys = identity.keys_of(vif.ids["Interface"])
    command = ["ovs-vsctl", "--", "del-port", tap.name, "--", "add-port", vif.bridge, tap.name]
    command += words("port", tap.name, vif.unit, {}) + words("interface", tap.name, {}, keys)
    return " ".join(shlex.quote(word) for word in command)


@of_database
def unpaired(database: Database) -> Result:
    """Whether the names of the ports of each of libxl's NICs are a pair's names."""
    if not database.unpaired:
        return OK, "the ports of each NIC have the names of a pair", None
    return (FAIL, "%s: they have the MAC of one NIC, but not the names of a pair, so nothing is "
            "mirrored. Take vifname= out of the guest's config file CFG (you must tag a stub "
            "domain's port by hand)" % first_few(
                " and ".join(group) for group in database.unpaired),
            "xl config-update DOMID CFG && xl reboot DOMID")


@of_database
def orphans(database: Database) -> Result:
    """Whether no port has lost the sibling that it followed."""
    orphaned = database.in_state(ORPHAN)
    if not orphaned:
        return OK, "no port has lost the sibling that it followed", None
    port = orphaned[0].ports()[0]
    return (WARN, "%s: the agent may have forgotten the port together with its sibling, and give "
            "the port's VLAN to another tenant. If that VLAN is right:" % _with_reasons(orphaned),
            "xenvif-tagger mirror port %s --from %s" % (port.name, parse_known(port.name)[2]))


@of_database
def unmarked(database: Database) -> Result:
    """Whether every port has a mark of our hook or our watcher."""
    unseen = [port for port in database.ports() if "vif" not in port.mark]
    if not unseen:
        return OK, "all ports were plugged by our hook, or seen by the watcher", None
    if any(identity.stamp_of(port.ids["Interface"]) for port in unseen):
        return WARN, "plugged without our hook: %s. A former guest may have left such a port" % (
            first_few(_names_of(unseen))), "xenvif-tagger mirror all"
    return (WARN, "plugged without our hook, and without an external_id that names the VIF: %s" %
            first_few(_names_of(unseen)), "xenvif-tagger status")


def _names_of(ports: Iterable[Port]) -> List[str]:
    return [port.name for port in ports]


def _names(decision: Decision) -> str:
    return " and ".join(_names_of(decision.ports()))


def _with_reasons(decisions: Iterable[Decision]) -> str:
    return first_few("%s: %s" % (_names(decision), decision.reason) for decision in decisions)
