"""The decisions about a port that is about to be created or deleted (docs/design.md 4.6, 4.7):
what the plug adds to the new row, and which keys the unplug takes off the old row, or hands to the
sibling, before the row is deleted.
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

# The UUID of a row that does not exist yet. By the empty UUID decide.py sees that no mark can name
# the row.
UNBORN = ""


def born(name: str, bridge: str, interface_ids: "Mapping[str, str]", siblings: "Iterable[Port]",
         settings: Settings, toolstack_unit: "Optional[Unit]" = None, cvlans: bool = True,
         before: "Optional[Port]" = None) -> "Tuple[Unit, Ids, Decision]":
    """Decide about a port that is about to be created.

    :param str name: the port's name
    :param str bridge: the name of the Bridge row that will have the port
    :param dict interface_ids: the Interface external_ids that the toolstack creates the port with
    :param siblings: the ports with this VIF's number (list of port.Port); a row that already has
        this name is about to be replaced and does not count
    :param Settings settings: the operator's settings, and the host's boot
    :param dict toolstack_unit: the VLAN unit with which the toolstack creates the port, whatever
        this function decides: the tag of a VLAN ("fake") bridge, or the unit that the command line
        names; None for no such unit
    :param bool cvlans: the database's schema has Port.cvlans
    :param Port before: the port of this name that the same call of the stock script deletes, or
        None. The new port keeps the unit and the ids of the deleted port, if the deleted port
        belonged to this VIF and bears no stamp of an earlier boot
    :returns: ``(unit, ids, decision)``: the VLAN unit that the hook adds to the new port (dict; {}
        if the hook adds none); the external_ids that the hook adds, ``{"Port": {...},
        "Interface": {...}}``; and the Decision, whose reason the hook logs
    """
    siblings = [port for port in siblings if port.name != name]
    new = Port(name, UNBORN, bridge, toolstack_unit, None, interface_ids, cvlans=cvlans)
    # A row that an earlier boot has left behind has the new device by now, and so counts as living:
    # only the row's stamp can tell.
    if (before is not None and before.mark.get("boot", settings.boot) == settings.boot
            and identity.may_lend(before, settings.boot)
            and identity.refusal(before, new) is None):
        new = _replugged(before, siblings, interface_ids, toolstack_unit, settings)
    decision = decide_vif(siblings + [new], settings)
    unit, ids = after(new, decision.changes)
    if toolstack_unit is not None and unit != toolstack_unit:
        # The sibling's unit would win over the toolstack's unit, but add-port creates the port with
        # the toolstack's. So note nothing about the sibling yet: the hook reads both rows again
        # after add-port, and decides about both rows then.
        decision = decide_vif([new], settings)
        ids = after(new, decision.changes)[1]
    ids_to_add = {"Port": ids["Port"], "Interface": {
        key: value for key, value in ids["Interface"].items() if key not in interface_ids}}
    return {} if toolstack_unit is not None else unit, ids_to_add, decision


def _replugged(before: Port, siblings: "Iterable[Port]", interface_ids: "Mapping[str, str]",
               toolstack_unit: "Optional[Unit]", settings: Settings) -> Port:
    """The new port of a VIF whose old port (before) the stock script has just deleted, with the
    ids and the history of the old port. The parameters are those of born()."""
    ids = {table: {key: value for key, value in old_ids.items()
                   if key == IFACE_ID or merge.is_mirrored(key, settings)}
           for table, old_ids in before.ids.items()}
    fields = dict(before.mark)
    if before.vlan_network:
        # The agent's notes go with the old row. Until the agent has bound the new row, the new row
        # follows the old one.
        fields["base"] = {"port": before.uuid, "unit": before.unit, "network": before.vlan_network,
                          "Port": {}, "Interface": {}, "policing": {}}
    for sibling in siblings:
        base = sibling.mark.get("base", {})
        if base.get("port") == before.uuid:
            # The sibling's base names the deleted row, and can't name the new row, which has no
            # UUID yet. So the new row gets the base: where the sibling differs from that base,
            # the sibling has changed.
            fields["base"] = dict(base, port=sibling.uuid)
    ids["Port"][mark.KEY] = mark.encode(fields)
    return Port(before.name, UNBORN, before.bridge,
                before.unit if toolstack_unit is None else toolstack_unit,
                ids["Port"], dict(ids["Interface"], **interface_ids),
                cvlans=before.cvlans, rivals=before.rivals)


def dying(name: str, ports: "List[Port]") -> "Optional[Decision]":
    """Decide about a port that is about to be deleted.

    Neutron's agent takes the guest's Neutron port for deleted in two cases: when the only row with
    the iface-id of that Neutron port is deleted; and when one of two such rows is deleted, unless
    an earlier transaction has taken iface-id and attached-mac off that row (docs/design.md 2.4).
    So the iface-id stays with, or goes to, the row that stays.

    :param str name: the port's name
    :param ports: the ports of all VIFs that have the dying port's iface-id, the dying port included
        (list of port.Port): in a local migration the VIFs of two domains have the same iface-id
    :returns: Decision, or None where the unplug needs no step of ours
    """
    port = next((port for port in ports if port.name == name), None)
    if port is None or IFACE_ID not in port.ids["Interface"]:
        return None
    ids = port.ids["Interface"]
    dying_keys = [Change("Interface", name, "external_ids", key, ids[key], None)
                  for key in (IFACE_ID, "attached-mac") if key in ids]
    vif, tap = (port, None) if names.parse_known(name)[2] == names.VIF else (None, port)
    for other in ports:
        if (other.uuid != port.uuid and not other.gone
                and other.ids["Interface"].get(IFACE_ID) == ids[IFACE_ID]):
            return Decision(
                vif, tap, DRIFT, "%s is deleted, and %s with the same iface-id stays" % (
                    name, other.name), changes=dying_keys, third=other)
    siblings = [other for other in ports if other.name != name and not other.gone
                and names.parse_known(other.name)[:2] == names.parse_known(name)[:2]]
    if len(siblings) != 1 or identity.refusal(port, siblings[0]):
        return None
    sibling = siblings[0]
    # If the sibling has the agent's notes of another network, an iface-id would make the sibling
    # the agent's port of that network.
    if IFACE_ID in sibling.ids["Interface"] or sibling.network not in (None, port.network):
        return None
    vif, tap = (port, sibling) if vif else (sibling, port)
    return Decision(vif, tap, DRIFT, "%s is deleted, and %s, which stays, gets its iface-id" % (
        name, sibling.name), name, sibling.name, changes=dying_keys + [Change(
            "Interface", sibling.name, "external_ids", IFACE_ID, None, ids[IFACE_ID])])
