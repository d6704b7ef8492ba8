"""`doctor`: a check that compares the VIFs that XAPI calls attached on this host with the VIFs that
have a port here.

A VIF is known by its uuid, which xapi's scripts write to each of its ports. A domain id would not
do: two hosts of a pool use the same domain ids, and a VM that migrates to its own host has two.
"""
import importlib.util
import os
import re
import shlex
from typing import TYPE_CHECKING, Dict, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from ..core.names import names_of, parse_known
from ..core.port import Port
from ..output.checks import FAIL, OK, SKIP, WARN, first_few
from ..output.console import Unavailable
from ..ovsdb.client import OvsdbError
from ..xapi import vms
from .database import Database
from .patient import Patient, Result

if TYPE_CHECKING:
    from ..xapi.session import Record, Xapi  # at run time only where XenAPI is there

INVENTORY = "/etc/xensource-inventory"
# The cure where this host's own XAPI can't answer.
ELSEWHERE = "xenvif-tagger --xapi https://MASTER --password-file FILE doctor"
WITHIN = 10  # seconds to wait for XAPI at most, if --timeout is not given

Vif = NamedTuple("Vif", [
    ("vm", str),  # the name of its VM
    ("device", str),  # the number of the VIF in its VM
    ("uuid", str),
    ("is_here", bool),  # its VM is running, or paused, on this host
    ("is_attached", bool),  # as XAPI says
    ("domid", str),  # the domain id of its VM, as XAPI says
    ("network", str),  # the ref of its network
])
# uuid of a VIF -> the VIF; None if an operation of XAPI is changing the VIF or its VM.
Vifs = Dict[str, Optional[Vif]]
# uuid of a VIF -> its ports, by domain, the vif first.
Ports = Dict[str, List[Port]]
Finding = NamedTuple("Finding", [
    ("attached", int),  # how many VIFs are attached on this host
    # The VIFs that should have a port and have none, each with its bridge.
    ("lacking", List[Tuple[Vif, str]]),
    # The VIFs that should have no port, each with its ports; None: XAPI does not know the VIF.
    ("extra", List[Tuple[Optional[Vif], List[Port]]]),
])


def xapi_vifs(patient: Patient) -> Result:
    """Whether the VIFs that are attached on this host, and no others, have ports."""
    host, access, database = patient.host, patient.xapi, patient.database
    if database.error:
        return SKIP, "the database can't be read", None
    if "".join((host.read("/etc/xensource/network.conf") or "").split()) == "bridge":
        return SKIP, "VIFs are plugged to Linux bridges here", None
    match = re.search(r"^INSTALLATION_UUID='?([0-9a-f-]{36})'?$", host.read(INVENTORY) or "", re.M)
    if match is None:
        return SKIP, "this is not a host of XAPI's: no INSTALLATION_UUID in %s" % INVENTORY, None
    host_uuid = match.group(1)
    absent = access.absent()
    if absent:
        return SKIP, absent, None
    if importlib.util.find_spec("XenAPI") is None:
        return SKIP, "XAPI can't be asked without its library, XenAPI", None
    try:
        finding = vms.ask_xapi(
            access, WITHIN, lambda session: _compare(session, host_uuid, database))
    except OvsdbError as error:
        return SKIP, "the database can't be read again: %s" % error, None
    except Unavailable as error:
        if os.geteuid() and "permission denied" in error.message:
            return SKIP, error.message, None
        return WARN, error.message, "xe-toolstack-restart" if access.is_local() else ELSEWHERE
    if finding is None:
        return WARN, "the pool that was asked has no host of this host's uuid, %s" % (
            host_uuid), ELSEWHERE
    return _result(finding)


def _result(finding: Finding) -> Result:
    lines = ["VIF %s of %s is attached, and has no vif on %s" % (vif.device, vif.vm, bridge)
             for vif, bridge in finding.lacking]
    lines += ["%s: %s" % (" and ".join(port.name for port in ports), _why(vif))
              for vif, ports in finding.extra]
    if finding.lacking:
        return FAIL, first_few(lines), "xe vif-unplug uuid={0} && xe vif-plug uuid={0}".format(
            shlex.quote(finding.lacking[0][0].uuid))
    if finding.extra:
        return WARN, first_few(lines), _removal(*finding.extra[0])
    return OK, "%d VIFs are attached on this host, and they alone have ports" % (
        finding.attached), None


def _compare(session: "Xapi", host_uuid: str, database: Database) -> Optional[Finding]:
    """Compare XAPI's VIFs with the database's ports; None if XAPI has no such host.

    XAPI is asked four times at most, however many VIFs there are: for this host; for the VMs on
    this host; for the VIFs of these VMs and the VIFs that have a port here; for the VMs of those
    VIFs, as far as they are on another host.
    If XAPI and the database differ, XAPI is asked four times more. A VIF may have been plugged
    between the two readings, so the VIFs that differ are read anew from XAPI and the database; and
    the network of a VIF, with the PIFs of this host, says whether the VIF has a port at all.
    """
    ports = _by_vif(database.ports())
    with session.understood():
        hosts = session.records("host", uuid={host_uuid})
        if not hosts:
            return None
        host, = hosts
        residents = session.records("VM", resident_on={host})
        vifs = _vifs(session, host, residents, VM=set(residents), uuid=set(ports))
    attached = sum(_is_plugged(vif) for vif in vifs.values())
    suspects = {vif.uuid for vif in _lacking(vifs, ports)} | _extra(vifs, ports)
    if not suspects:
        return Finding(attached, [], [])
    ports = _by_vif(database.ports_now())
    with session.understood():
        vifs = _vifs(session, host, {}, uuid=suspects)
        lacking = _with_bridge(session, host, _lacking(vifs, ports))
    extra = [(vifs.get(uuid), ports[uuid]) for uuid in suspects & _extra(vifs, ports)]
    return Finding(attached, sorted(lacking), sorted(extra, key=lambda item: _place(item[1][0])))


def _with_bridge(session: "Xapi", host: str, vifs: List[Vif]) -> List[Tuple[Vif, str]]:
    """The VIFs whose port should be on a bridge of this host, each with the bridge.

    :param host: the ref of this host
    """
    networks = session.records("network", _ref={vif.network for vif in vifs})
    passed = _passed_through(session.records("PIF", host={host}) if vifs else {})
    # The ports of a network with backend_vm are in another domain (xapi_xenops.ml,
    # backend_of_network).
    return [(vif, networks[vif.network]["bridge"]) for vif in vifs if vif.network not in passed
            and "backend_vm" not in networks[vif.network]["other_config"]]


def _by_vif(ports: Iterable[Port]) -> Ports:
    by_vif: Ports = {}
    for port in sorted(ports, key=_place):
        uuid = port.ids["Interface"].get(vms.VIF_KEY)
        if uuid is not None:
            by_vif.setdefault(uuid, []).append(port)
    return by_vif


def _place(port: Port) -> Tuple[int, int, int]:
    """The key by which ports are sorted: by domain, then by device, the vif first."""
    domid, devid, _ = parse_known(port.name)
    return domid, devid, names_of(domid, devid).index(port.name)


def _vifs(session: "Xapi", host: str, known_vms: "Mapping[str, Record]",
          **wanted: Set[str]) -> Vifs:
    """Some VIFs; a VIF whose VM XAPI does not know is left out.

    :param host: the ref of this host
    :param known_vms: records of VMs that need not be asked for, by ref
    :param wanted: the VIFs, as fields of Xapi.records
    """
    records = session.records("VIF", **wanted).values()
    vm_records = dict(known_vms)
    vm_records.update(session.records("VM", _ref={
        record["VM"] for record in records if record["VM"] not in vm_records}))
    return {record["uuid"]: _vif(record, vm_records[record["VM"]], host) for record in records
            if record["VM"] in vm_records}


def _vif(record: "Record", vm: "Record", host: str) -> Optional[Vif]:
    # During an operation XAPI's records do not show the present state: VM.start sets
    # currently_attached before all else (xapi_xenops.ml), and a migration changes resident_on last.
    # dom0 itself has no ports of VIFs.
    if vm["current_operations"] or record["current_operations"] or vm["is_control_domain"]:
        return None
    # The power state counts, too: the VIFs of a suspended VM stay attached, and a VM that is being
    # checkpointed stays resident on its host.
    is_here = vm["resident_on"] == host and vm["power_state"] in ("Running", "Paused")
    return Vif(vm["name_label"], record["device"], record["uuid"], is_here,
               record["currently_attached"], vm["domid"], record["network"])


def _is_plugged(vif: Optional[Vif]) -> bool:
    """Whether a VIF is surely attached on this host."""
    return bool(vif and vif.is_here and vif.is_attached)


def _lacking(vifs: Vifs, ports: Ports) -> List[Vif]:
    """The VIFs that should have a port, and have none.

    Only the vif counts, which every guest has: a tap is there only with QEMU, and may have gone.
    """
    with_vif = {uuid for uuid, vif_ports in ports.items()
                if any(parse_known(port.name)[2] == "vif" and not port.gone for port in vif_ports)}
    return [vif for uuid, vif in vifs.items()
            if vif and _is_plugged(vif) and uuid not in with_vif]


def _extra(vifs: Vifs, ports: Ports) -> Set[str]:
    """The uuids of the VIFs that have a port, and should have none: XAPI does not know the VIF, or
    says that it is not attached here."""
    return {uuid for uuid in ports if uuid not in vifs
            or vifs[uuid] is not None and not _is_plugged(vifs[uuid])}


def _passed_through(pifs: "Mapping[str, Record]") -> Set[str]:
    """The refs of the networks of SR-IOV, and of the networks of VLANs on SR-IOV. A VIF of such a
    network has no port: the VIF is a virtual function of a network card, and the guest itself
    drives that function.

    :param pifs: the records of this host's PIFs, by ref
    """
    logical = [pif for pif in pifs.values() if pif["sriov_logical_PIF_of"]]
    vlans = {vlan for pif in logical for vlan in pif["VLAN_slave_of"]}
    return {pif["network"] for pif in pifs.values()
            if pif in logical or pif["VLAN_master_of"] in vlans}


def _why(vif: Optional[Vif]) -> str:
    """Why a port should not be there."""
    if vif is None:
        return "of a VIF that XAPI does not know"
    return "of VIF %s of %s, which is not %s" % (
        vif.device, vif.vm, "attached" if vif.is_here else "running on this host")


def _removal(vif: Optional[Vif], ports: List[Port]) -> str:
    """The command that removes ports that should not be there. But if the guest of the ports runs
    here, the command attaches the VIF instead, so that no running guest is cut off."""
    if vif and vif.is_here and vif.domid in {str(parse_known(port.name)[0]) for port in ports}:
        return "xe vif-plug uuid=%s" % shlex.quote(vif.uuid)
    domid, devid, _ = parse_known(ports[0].name)
    return "xl list %d || ovs-vsctl %s" % (domid, " -- ".join(
        "--if-exists del-port " + shlex.quote(name) for name in names_of(domid, devid)
        if name in {port.name for port in ports}))
