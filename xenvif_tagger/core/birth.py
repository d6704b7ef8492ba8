"""The decisions about a port that is about to be created or deleted (docs/design.md 4.6, 4.7):
what the plug adds to the new row, and which keys the unplug takes off the old row before the row is
deleted.
"""
from . import hold, identity, mark, names
from .decide import decide_vif
from .decision import DRIFT, REFUSED, Decision, Settings
from .iface_id import IFACE_ID
from .port import Change, Port, after
from .unit import is_real

MYPY = False
if MYPY:
    from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

    from .port import Ids
    from .unit import Unit

# Stands for the UUID of a port that is not created yet. No mark names a row by an empty UUID.
UNBORN = ""


def born(name: str, bridge: str, interface_ids: "Mapping[str, str]", siblings: "Iterable[Port]",
         settings: Settings, fake: bool = False, toolstack_unit: "Optional[Unit]" = None,
         cvlans: bool = True) -> "Tuple[Unit, Ids, Decision]":
    """Decide about a port that is about to be created.

    :param str name: the port's name
    :param str bridge: the name of the bridge that will have the port
    :param dict interface_ids: the Interface external_ids that the toolstack creates the port with
    :param siblings: the ports with this VIF's number (list of port.Port); a row that already has
        this name is about to be replaced and does not count
    :param Settings settings: what the operator has set, and the host's facts
    :param bool fake: the bridge is a VLAN ("fake") bridge, which gives its ports their tag
    :param dict toolstack_unit: the VLAN unit that the toolstack creates the port with, or None; we
        leave that unit as it is
    :param bool cvlans: the database's schema has Port.cvlans
    :returns: ``(unit, ids, decision)``: the VLAN unit to create the port with (dict, {} for none
        of ours); the external_ids to add, ``{"Port": {...}, "Interface": {...}}``; and the
        Decision, whose reason the hook logs
    """
    def unborn(unit: "Unit", fields: "Dict[str, Any]") -> Port:
        ids = {mark.KEY: mark.encode(fields)} if fields else None
        return Port(name, UNBORN, bridge, unit, ids, interface_ids, cvlans=cvlans)

    siblings = [port for port in siblings if port.name != name]
    new = unborn(toolstack_unit or {}, {})
    decision = decide_vif(siblings + [new], settings)
    if toolstack_unit and any(
            change.row == name and change.key is None for change in decision.changes):
        # The sibling's unit would win over the toolstack's unit, but add-port creates the port with
        # the toolstack's. So note nothing about the sibling yet: the hook reads both rows again
        # after add-port, and decides about both rows then.
        decision = decide_vif([new], settings)
    elif (bridge in settings.hold_bridges and not fake and not toolstack_unit
          and not _gives_live_unit(decision)):
        # Decide as if the new port had always been held: then the new port's mark and the changes
        # of the sibling are the same as for a held row that is read from the database.
        form = hold.form(cvlans)
        new = unborn(form, {"held": form})
        decision = decide_vif(siblings + [new], settings)
    unit, ids = after(new, [change for change in decision.changes if change.row == name])
    ids_to_add = {"Port": ids["Port"], "Interface": {
        key: value for key, value in ids["Interface"].items() if key not in interface_ids}}
    return {} if fake or toolstack_unit else unit, ids_to_add, decision


def _gives_live_unit(decision: Decision) -> bool:
    """Whether the decision gives the new port a unit that is neither dead nor empty."""
    return decision.state != REFUSED and bool(decision.unit) and (
        is_real(decision.unit) or "tag" not in decision.unit)


def dying(name: str, ports: "List[Port]") -> "Optional[Decision]":
    """Decide about a port that is about to be deleted.

    If both siblings have one iface-id and one of the two rows is deleted, Neutron's agent takes the
    guest's Neutron port for deleted. The agent does not do so if iface-id and attached-mac are
    taken off the dying row in an earlier transaction (docs/design.md 2.4).

    :param str name: the port's name
    :param ports: all ports with the VIF's number, the dying one included (list of port.Port)
    :returns: Decision, or None where no key need be taken off
    """
    port = next((port for port in ports if port.name == name), None)
    living = [other for other in ports if other.name != name and not other.gone]
    if port is None or len(living) != 1 or identity.refusal(port, living[0]):
        return None
    sibling = living[0]
    ids = port.ids["Interface"]
    if IFACE_ID not in ids or sibling.ids["Interface"].get(IFACE_ID) != ids[IFACE_ID]:
        return None
    vif, tap = port, sibling
    if names.parse_known(name)[2] == names.TAP:
        vif, tap = tap, vif
    return Decision(vif, tap, DRIFT, "%s is deleted, and %s with the same iface-id stays" % (
        name, sibling.name), changes=[
            Change("Interface", name, "external_ids", key, ids[key], None)
            for key in (IFACE_ID, "attached-mac") if key in ids])
