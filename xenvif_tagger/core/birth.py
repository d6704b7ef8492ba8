"""The decisions about a port that is about to be created or deleted (docs/design.md 4.6, 4.7):
what the plug adds to the new row, and which keys the unplug takes off the old row first.
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
         settings: Settings, fake: bool = False, own: "Optional[Unit]" = None,
         cvlans: bool = True) -> "Tuple[Unit, Ids, Decision]":
    """Decide about a port that is about to be created.

    :param str name: the port's name
    :param str bridge: the name of the bridge that will have the port
    :param dict interface_ids: the Interface external_ids that the toolstack creates the port with
    :param siblings: the ports with the same VIF's number (list of port.Port); a row that already
        has this name is about to be replaced and does not count
    :param Settings settings: what the operator has set, and the host's facts
    :param bool fake: the bridge is a VLAN ("fake") bridge, which gives its ports their tag
    :param dict own: the VLAN unit that the toolstack creates the port with; we leave that as it is
    :param bool cvlans: the database's schema has Port.cvlans
    :returns: ``(unit, ids, decision)``: the VLAN unit to create the port with (dict, {} for none
        of ours); the external_ids to add, ``{"Port": {...}, "Interface": {...}}``; and the
        Decision, for its reason
    """
    def unborn(unit: "Unit", noted: "Dict[str, Any]") -> Port:
        ids = {mark.KEY: mark.encode(noted)} if noted else None
        return Port(name, UNBORN, bridge, unit, ids, interface_ids, cvlans=cvlans)

    siblings = [port for port in siblings if port.name != name]
    new = unborn(own or {}, {})
    decision = decide_vif(siblings + [new], settings)
    if own and any(change.row == name and change.key is None for change in decision.changes):
        # The sibling's unit would win over the toolstack's, but the port is created with the latter
        # all the same. So note nothing about the sibling yet: the hook reads both rows again after
        # add-port, and decides about them then.
        decision = decide_vif([new], settings)
    elif bridge in settings.hold_bridges and not fake and not own and not _is_lent(decision):
        # Decide as if the new port had always been held: then its mark, and what becomes of the
        # sibling, are the same as for a held row that is read from the database.
        form = hold.form(cvlans)
        new = unborn(form, {"held": form})
        decision = decide_vif(siblings + [new], settings)
    unit, ids = after(new, [change for change in decision.changes if change.row == name])
    given = {"Port": ids["Port"], "Interface": {
        key: value for key, value in ids["Interface"].items() if key not in interface_ids}}
    return {} if fake or own else unit, given, decision


def _is_lent(decision: Decision) -> bool:
    """Whether the decision gives the new port a unit that is neither dead nor empty."""
    return decision.state != REFUSED and bool(decision.unit) and (
        is_real(decision.unit) or "tag" not in decision.unit)


def dying(name: str, ports: "List[Port]") -> "Optional[Decision]":
    """Decide about a port that is about to be deleted.

    Where both siblings have one iface-id and one of the rows is deleted, Neutron's agent takes the
    guest's port for deleted. Taking iface-id and attached-mac off the dying row in an earlier
    transaction prevents that (docs/design.md 2.4).

    :param str name: the port's name
    :param ports: all ports with the VIF's number, this one too (list of port.Port)
    :returns: Decision, or None where no key need be taken off
    """
    port = next((port for port in ports if port.name == name), None)
    living = [other for other in ports if other.name != name and not other.gone]
    if port is None or len(living) != 1 or identity.refusal(port, living[0]):
        return None
    ids = port.ids["Interface"]
    if IFACE_ID not in ids or living[0].ids["Interface"].get(IFACE_ID) != ids[IFACE_ID]:
        return None
    vif, tap = port, living[0]
    if names.parse_known(name)[2] == names.TAP:
        vif, tap = tap, vif
    return Decision(vif, tap, DRIFT, "%s goes and %s stays, with the same iface-id" % (
        name, living[0].name), changes=[
            Change("Interface", name, "external_ids", key, ids[key], None)
            for key in (IFACE_ID, "attached-mac") if key in ids])
