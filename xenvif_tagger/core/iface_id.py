"""iface-id: which of two siblings has the key, and which row may be given the key.

Neutron's agent groups Interfaces by their iface-id and configures one of a group (docs/design.md
2.4). With the setting ``iface_id = one`` only one of the two rows has the key: if both rows had
the key, the agent would take the guest's Neutron port for deleted when either row is deleted.
"""
from .names import OTHER, SIDES

MYPY = False
if MYPY:
    from typing import Dict, Iterable, Mapping

    from .decision import Draft, Settings
    from .port import Port

IFACE_ID = "iface-id"


def may_be_given(row: "Draft") -> bool:
    """Whether a row may be given an iface-id.

    An iface-id would make a Port that still has the agent's notes of a network (net_uuid) the
    agent's own port, and a restarted agent would believe those old notes (neutron,
    _restore_local_vlan_map).
    """
    return row.port.network is None


def is_unbound(ports: "Iterable[Port]") -> bool:
    """Whether any of a VIF's ports has an iface-id, and no agent has bound any of these ports."""
    ports = list(ports)
    return any(IFACE_ID in port.ids["Interface"] for port in ports) and not any(
        port.network is not None for port in ports)


def keep(drafts: "Dict[str, Draft]", lends: "Mapping[str, bool]", settings: "Settings") -> None:
    """Note one sibling's iface-id in the other sibling's mark (``kept``). A sibling that was
    plugged anew gets the noted iface-id back.

    At the unplug the iface-id may have gone to the row that stayed (birth.dying). An agent with
    ``minimize_polling``, Neutron's default, does not see the iface-id there, but sees the one that
    a new port is created with (docs/design.md 2.4). So the iface-id goes back, unless the agent has
    bound the row that stayed.

    :param drafts: side -> Draft; both sides
    :param lends: side -> whether that row may lend now
    """
    kept = {side: drafts[side].mark.pop("kept", None) for side in SIDES}
    if settings.iface_id != "one" or settings.excludes(IFACE_ID):
        return
    ids = {side: drafts[side].ids["Interface"] for side in SIDES}
    for side in SIDES:
        other = OTHER[side]
        if (kept[side] and not kept[other] and lends[side]
                and kept[side]["port"] != drafts[other].port.uuid
                and may_be_given(drafts[other])
                and all(row.get(IFACE_ID, kept[side][IFACE_ID]) == kept[side][IFACE_ID]
                        for row in ids.values())
                and (IFACE_ID not in ids[side] or may_be_given(drafts[side]))):
            ids[other][IFACE_ID] = kept[side][IFACE_ID]
            ids[side].pop(IFACE_ID, None)
    for side in SIDES:
        other = OTHER[side]
        if IFACE_ID in ids[other] and IFACE_ID not in ids[side] and lends[other]:
            drafts[side].mark["kept"] = {
                "port": drafts[other].port.uuid, IFACE_ID: ids[other][IFACE_ID]}

