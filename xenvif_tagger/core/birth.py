"""What a port is created with, and what is taken off it before it is deleted
(docs/design.md 4.6, 4.7).
"""
from . import identity, mark, merge, names
from .decide import decide_vif
from .decision import DRIFT, Decision, Settings
from .iface_id import IFACE_ID
from .port import Change, Port, after

MYPY = False
if MYPY:
    from typing import Iterable, List, Mapping, Optional, Tuple

    from .port import Ids
    from .unit import Unit

# Stands in for the UUID of a row that is not there yet: no mark can name it. It is false, by which
# decide knows such a row.
UNBORN = ""


def born(name: str, bridge: str, interface_ids: "Mapping[str, str]", siblings: "Iterable[Port]",
         settings: Settings, own: "Optional[Unit]" = None, cvlans: bool = True,
         before: "Optional[Port]" = None) -> "Tuple[Unit, Ids, Decision]":
    """Decide about a port that is about to be created.

    :param str name: of the port; bridge: the Bridge row's name
    :param dict interface_ids: the Interface external_ids that it will be created with
    :param siblings: the other ports with its VIF's number
    :param dict own: the VLAN unit that it will be created with, whatever is decided here: a VLAN
        ("fake") bridge's tag, or what the command line names
    :param bool cvlans: the database's schema has Port.cvlans
    :param before: the port of this name that the same call of the stock script deletes. If the
        port was this VIF's since the host booted, the new one keeps what that one had
    :returns: ``(unit, ids, decision)``: the VLAN unit to create it with, dict; the external_ids
        to add, ``{"Port": {...}, "Interface": {...}}``; and the Decision, for its reason
    """
    siblings = [port for port in siblings if port.name != name]
    new = Port(name, UNBORN, bridge, own, None, interface_ids, cvlans=cvlans)
    if (before is not None and before.mark.get("boot") == settings.boot
            and identity.may_lend(before, settings.boot)
            and identity.refusal(before, new) is None):
        new = _anew(before, siblings, interface_ids, own, settings)
    decision = decide_vif(siblings + [new], settings)
    unit, ids = after(new, decision.changes)
    if own is not None and unit != own:
        # The sibling's unit would win, and add-port will not write it: the second look judges.
        decision = decide_vif([new], settings)
        ids = after(new, decision.changes)[1]
    given = {"Port": ids["Port"], "Interface": {
        key: value for key, value in ids["Interface"].items() if key not in interface_ids}}
    return {} if own is not None else unit, given, decision


def _anew(before: Port, siblings: "Iterable[Port]", interface_ids: "Mapping[str, str]",
          own: "Optional[Unit]", settings: Settings) -> Port:
    """The port that has just been deleted, as it is to be created again; parameters as born()."""
    ids = {table: {key: value for key, value in found.items()
                   if key == IFACE_ID or merge.is_mirrored(key, settings)}
           for table, found in before.ids.items()}
    noted = dict(before.mark)
    if before.vlan_network:
        # The agent's notes go with the row, so the new one follows the one that is gone, until the
        # agent has bound it.
        noted["base"] = {"port": before.uuid, "unit": before.unit, "network": before.vlan_network,
                         "Port": {}, "Interface": {}, "policing": {}}
    for sibling in siblings:
        base = sibling.mark.get("base", {})
        if base.get("port") == before.uuid:
            # Nothing can name the new row, so it has the pair's base: what the sibling has been
            # given since is a change.
            noted["base"] = dict(base, port=sibling.uuid)
    ids["Port"][mark.KEY] = mark.encode(noted)
    return Port(before.name, UNBORN, before.bridge, before.unit if own is None else own,
                ids["Port"], dict(ids["Interface"], **interface_ids),
                cvlans=before.cvlans, rivals=before.rivals)


def dying(name: str, ports: "List[Port]", others: "Iterable[Port]") -> "Optional[Decision]":
    """Decide about a port that is about to be deleted.

    Neutron's agent takes the guest's port for deleted when one of two rows with its iface-id goes,
    unless iface-id and attached-mac were taken off that row in an earlier transaction; and when
    the only row with it goes (docs/design.md 2.4). So the ids go with whichever row stays.

    :param str name: of the port
    :param ports: all ports with its VIF's number
    :param others: all ports of VIFs whose Interface has the same iface-id: local migration has two
        domains of one guest
    :returns: Decision, or None where there is nothing to do
    """
    port = next((port for port in ports if port.name == name), None)
    if port is None or IFACE_ID not in port.ids["Interface"]:
        return None
    ids = port.ids["Interface"]
    gone = [Change("Interface", name, "external_ids", key, ids[key], None)
            for key in (IFACE_ID, "attached-mac") if key in ids]
    vif, tap = (port, None) if names.parse_known(name)[2] == names.VIF else (None, port)
    for other in others:
        if (other.uuid != port.uuid and not other.gone
                and other.ids["Interface"].get(IFACE_ID) == ids[IFACE_ID]):
            return Decision(vif, tap, DRIFT, "%s goes and %s stays, with the same iface-id" % (
                name, other.name), changes=gone)
    siblings = [other for other in ports if other.name != name and not other.gone]
    if len(siblings) != 1 or identity.refusal(port, siblings[0]):
        return None
    sibling = siblings[0]
    # With notes of another network it would be the agent's own port of that one.
    if IFACE_ID in sibling.ids["Interface"] or sibling.network not in (None, port.network):
        return None
    vif, tap = (port, sibling) if vif else (sibling, port)
    return Decision(vif, tap, DRIFT, "%s goes, and %s stays: iface-id goes to that one" % (
        name, sibling.name), name, sibling.name, changes=gone + [Change(
            "Interface", sibling.name, "external_ids", IFACE_ID, None, ids[IFACE_ID])])
