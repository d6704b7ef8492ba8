"""`doctor`: the VIFs that XAPI says are attached on this host, beside those that have a port.

A VIF is known by its uuid, which xapi's scripts write to each of its ports: a domain id is not
unique in a pool, and while a VM migrates to its own host, it has two.
"""
import importlib.util
import os
import re
import shlex
from collections import namedtuple

from ..core.names import names_of, parse
from ..output.checks import FAIL, OK, SKIP, WARN, first_few
from ..output.console import Unavailable
from ..ovsdb.client import OvsdbError
from ..xapi import vms

INVENTORY = "/etc/xensource-inventory"
ELSEWHERE = "xenvif-tagger --xapi https://MASTER --password-file FILE doctor"
WITHIN = 10  # seconds for XAPI, where --timeout says no other

# Of a VIF in XAPI: vm (str): its VM's name; device (str): its number; here: whether that VM is
# running, or paused, on this host; attached, domid (str): as XAPI has them; network: its ref.
Vif = namedtuple("Vif", "vm device uuid here attached domid network")


def xapi_vifs(patient):
    """VIFs that are attached and have no port, and ports of VIFs that are not attached."""
    host, access, database = patient.host, patient.xapi, patient.database
    if database.error:
        return SKIP, "the database can't be read", None
    if "".join((host.read("/etc/xensource/network.conf") or "").split()) == "bridge":
        return SKIP, "VIFs are plugged to Linux bridges here", None
    ours = re.search(r"^INSTALLATION_UUID='?([0-9a-f-]{36})'?$", host.read(INVENTORY) or "", re.M)
    if ours is None:
        return SKIP, "not a host of XAPI's: no INSTALLATION_UUID in %s" % INVENTORY, None
    if access.absent():
        return SKIP, access.absent(), None
    if importlib.util.find_spec("XenAPI") is None:
        return SKIP, "XAPI can't be asked without its library, XenAPI", None
    try:
        found = vms.ask_xapi(
            access, WITHIN, lambda session: _ask(session, ours.group(1), database))
    except OvsdbError as error:
        return SKIP, "the database can't be looked at again: %s" % error, None
    except Unavailable as error:
        return _unanswered(access, error.message)
    if found is None:
        return WARN, "not a host of the pool that was asked: that has none of the uuid %s" % (
            ours.group(1)), ELSEWHERE
    return _told(*found)


def _unanswered(access, problem):
    if os.geteuid() and "permission denied" in problem:
        return SKIP, problem, None
    return WARN, problem, "xe-toolstack-restart" if access.is_local() else ELSEWHERE


def _told(attached, lacking, extra):
    """The check, of what _ask gives."""
    told = ["VIF %s of %s is attached, and has no vif on %s" % (vif.device, vif.vm, bridge)
            for vif, bridge in lacking]
    told += ["%s: %s" % (" and ".join(port.name for port in ports), _why(vif))
             for vif, ports in extra]
    if lacking:
        return FAIL, first_few(told), "xe vif-unplug uuid={0} && xe vif-plug uuid={0}".format(
            shlex.quote(lacking[0][0].uuid))
    if extra:
        return WARN, first_few(told), _removal(*extra[0])
    return OK, "%d VIFs are attached on this host, and they alone have ports" % attached, None


def _ask(session, host_uuid, database):
    """What there is to tell: (attached, lacking, extra); None: XAPI has no such host.

    attached (int): how many VIFs; lacking: list of (Vif, its bridge); extra: list of (Vif or None,
    list of port.Port).

    However many VIFs there are, XAPI is asked four times at most: for this host, the VMs on it,
    their VIFs with those that have a port here, and the VMs of the latter that are not here. If
    that is not what the database says, four times more: between the two readings a VIF may have
    been plugged, so what differed is read anew from both; and its network, with this host's PIFs,
    says whether it has a port at all.
    """
    ports = _by_vif(database.ports())
    with session.understood():
        found = session.records("host", uuid={host_uuid})
        if not found:
            return None
        host, = found
        residents = session.records("VM", resident_on={host})
        vifs = _vifs(session, host, residents, VM=set(residents), uuid=set(ports))
    attached = sum(bool(vif and vif.here and vif.attached) for vif in vifs.values())
    suspects = _lacking(vifs, ports) | _extra(vifs, ports)
    if not suspects:
        return attached, [], []
    ports = _by_vif(database.ports_now())
    with session.understood():
        vifs = _vifs(session, host, {}, uuid=suspects)
        lacking = _with_bridge(session, host, [vifs[uuid] for uuid in _lacking(vifs, ports)])
    extra = [(vifs.get(uuid), ports[uuid]) for uuid in suspects & _extra(vifs, ports)]
    return attached, sorted(lacking), sorted(extra, key=lambda each: _place(each[1][0]))


def _with_bridge(session, host, vifs):
    """Those VIFs whose port should be on a bridge of this host's: list of (Vif, bridge)."""
    networks = session.records("network", _ref={vif.network for vif in vifs})
    passed = _passed_through(session.records("PIF", host={host}) if vifs else {})
    # (With backend_vm it is on another domain's: xapi_xenops.ml, backend_of_network.)
    return [(vif, networks[vif.network]["bridge"]) for vif in vifs if vif.network not in passed
            and "backend_vm" not in networks[vif.network]["other_config"]]


def _by_vif(ports):
    """uuid of a VIF -> its ports (list of port.Port), by domain, the vif first."""
    found = {}
    for port in sorted(ports, key=_place):
        uuid = port.ids["Interface"].get(vms.VIF_KEY)
        if uuid is not None:
            found.setdefault(uuid, []).append(port)
    return found


def _place(port):
    domid, devid = parse(port.name)[:2]
    return domid, devid, names_of(domid, devid).index(port.name)


def _vifs(session, host, vms_known, **of):
    """Some VIFs, as ``Xapi.records`` takes them: uuid -> Vif; None where it can't be told now."""
    records = session.records("VIF", **of).values()
    machines = dict(vms_known)
    machines.update(session.records("VM", _ref={
        record["VM"] for record in records if record["VM"] not in machines}))
    return {record["uuid"]: _vif(record, machines[record["VM"]], host) for record in records
            if record["VM"] in machines}


def _vif(record, vm, host):
    # In the middle of an operation XAPI says what will be: VM.start sets currently_attached first
    # of all (xapi_xenops.ml), a migration changes resident_on last. dom0 has no ports of VIFs.
    if vm["current_operations"] or record["current_operations"] or vm["is_control_domain"]:
        return None
    # A suspended VM's VIFs stay attached, and in a checkpoint it stays on its host.
    here = vm["resident_on"] == host and vm["power_state"] in ("Running", "Paused")
    return Vif(vm["name_label"], record["device"], record["uuid"], here,
               record["currently_attached"], vm["domid"], record["network"])


def _lacking(vifs, ports):
    """The uuids of VIFs that should have a port, and have none.

    Of the two it is the vif that each guest has: a tap comes only with QEMU, and may have gone.
    """
    there = {uuid for uuid, own in ports.items()
             if any(parse(port.name)[2] == "vif" and not port.gone for port in own)}
    return {uuid for uuid, vif in vifs.items()
            if vif and vif.here and vif.attached and uuid not in there}


def _extra(vifs, ports):
    """The uuids of VIFs that have a port, and should have none."""
    return {uuid for uuid in ports if uuid not in vifs
            or vifs[uuid] and not (vifs[uuid].here and vifs[uuid].attached)}


def _passed_through(pifs):
    """The networks whose VIFs are functions of a network card's (SR-IOV): the guest has the device
    itself. Those of VLANs on such a network, too."""
    logical = [pif for pif in pifs.values() if pif["sriov_logical_PIF_of"]]
    vlans = {vlan for pif in logical for vlan in pif["VLAN_slave_of"]}
    return {pif["network"] for pif in pifs.values()
            if pif in logical or pif["VLAN_master_of"] in vlans}


def _why(vif):
    if vif is None:
        return "of a VIF that XAPI does not know"
    return "of VIF %s of %s, which is not %s" % (
        vif.device, vif.vm, "attached" if vif.here else "running on this host")


def _removal(vif, ports):
    """What to do about a port that should not be: nothing that cuts off a guest that lives."""
    if vif and vif.here and vif.domid in {str(parse(port.name)[0]) for port in ports}:
        return "xe vif-plug uuid=%s" % shlex.quote(vif.uuid)
    domid, devid = parse(ports[0].name)[:2]
    return "xl list %d || ovs-vsctl %s" % (domid, " -- ".join(
        "--if-exists del-port " + shlex.quote(name) for name in names_of(domid, devid)
        if name in {port.name for port in ports}))
