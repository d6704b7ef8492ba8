"""What a port is created with, and what is taken off it before it is deleted
(docs/design.md 4.6, 4.7).
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

# Stands in for the UUID of a row that is not there yet: no mark can name it.
UNBORN = ""


def born(name: str, bridge: str, interface_ids: "Mapping[str, str]", siblings: "Iterable[Port]",
         settings: Settings, fake: bool = False, own: "Optional[Unit]" = None,
         cvlans: bool = True) -> "Tuple[Unit, Ids, Decision]":
    """Decide about a port that is about to be created.

    :param str name, bridge: of the port
    :param dict interface_ids: the Interface external_ids that it will be created with
    :param siblings: the other ports with its VIF's number (list of port.Port)
    :param bool fake: the bridge is a VLAN ("fake") bridge, which gives its ports their tag
    :param bool cvlans: the database's schema has Port.cvlans
    :param dict own: the VLAN unit that it will be created with, whatever is decided here
    :returns: ``(unit, ids, decision)``: the VLAN unit to create it with, dict; the external_ids
        to add, ``{"Port": {...}, "Interface": {...}}``; and the Decision, for its reason
    """
    def unborn(unit: "Unit", noted: "Dict[str, Any]") -> Port:
        ids = {mark.KEY: mark.encode(noted)} if noted else None
        return Port(name, UNBORN, bridge, unit, ids, interface_ids, cvlans=cvlans)

    siblings = [port for port in siblings if port.name != name]
    new = unborn(own or {}, {})
    decision = decide_vif(siblings + [new], settings)
    if own and any(change.row == name and change.key is None for change in decision.changes):
        # Its sibling's would win, of which the second look is the judge: so nothing is noted yet.
        decision = decide_vif([new], settings)
    elif bridge in settings.hold_bridges and not fake and not own and not _is_lent(decision):
        # Created held, as if it had been held for ever: so its sibling is asked the same.
        form = hold.form(cvlans)
        new = unborn(form, {"held": form})
        decision = decide_vif(siblings + [new], settings)
    unit, ids = after(new, [change for change in decision.changes if change.row == name])
    given = {"Port": ids["Port"], "Interface": {
        key: value for key, value in ids["Interface"].items() if key not in interface_ids}}
    return {} if fake or own else unit, given, decision


def _is_lent(decision: Decision) -> bool:
    """Whether the new port gets a unit that is neither dead nor empty."""
    return decision.state != REFUSED and bool(decision.unit) and (
        is_real(decision.unit) or "tag" not in decision.unit)


def dying(name: str, ports: "List[Port]") -> "Optional[Decision]":
    """Decide about a port that is about to be deleted.

    Neutron's agent takes the guest's port for deleted when one of two rows with its iface-id goes,
    unless iface-id and attached-mac were taken off that row in an earlier transaction
    (docs/design.md 2.4).

    :param str name: of the port
    :param ports: all ports with its VIF's number (list of port.Port)
    :returns: Decision, or None where there is nothing to do
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
