"""Our own notes on a row: one key in Port external_ids, a small JSON object (DESIGN 4.2).

History lives in the database, not in a process: so a restart forgets nothing, and hook, one-shot
and watcher decide alike. The fields, all optional:

``vif``   the identity keys of the VIF that the row was plugged for, ``{"xs-vif-uuid": ...}`` or
          ``{"xen-vm-uuid": ..., "attached-mac": ...}``; with ``boot``, the host's boot id when
          it was first seen alive (empty: not yet), it is the *stamp*.
``base``  ``{"port", "unit", "Port", "Interface", "policing"}``: the state in which the pair was
          last alike: the other row's Port UUID, the VLAN unit, and per table the mirrored
          external_ids that both had.
``kept``  ``{"port", "iface-id"}``: the sibling's iface-id, which must not stand on this row, and
          the sibling's Port UUID.
``held``  the VLAN unit that a hold has set (DESIGN 4.6).
``seen``  ``{"port", "vif", "tap"}``: on the tap of a pair in conflict, the vif's Port UUID and the
          two units when it was reported.
"""
import json

KEY = "xenvif-tagger"



def _is_map(value, of=str):
    return isinstance(value, dict) and all(isinstance(item, of) for item in value.values())


def _is_vlans(value):
    return isinstance(value, list) and all(isinstance(vlan, int) for vlan in value)


_COLUMNS = {
    "tag": lambda value: isinstance(value, int),
    "vlan_mode": lambda value: isinstance(value, str),
    "trunks": _is_vlans,
    "cvlans": _is_vlans,
}


def _is_unit(value):
    return isinstance(value, dict) and all(
        column in _COLUMNS and _COLUMNS[column](item) for column, item in value.items())


def _is_base(value):
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and _is_unit(value.get("unit")) and _is_map(value.get("Port"))
            and _is_map(value.get("Interface")) and _is_map(value.get("policing"), int))


def _is_seen(value):
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and _is_unit(value.get("vif")) and _is_unit(value.get("tap")))


_FIELDS = {
    "vif": _is_map,
    "boot": lambda value: isinstance(value, str),
    "base": _is_base,
    "kept": lambda value: _is_map(value) and set(value) == {"port", "iface-id"},
    "held": _is_unit,
    "seen": _is_seen,
}


def parse(text):
    """The mark in an external_ids value.

    :param text: the value as it stands (str), or None where the key is absent
    :returns: dict of those fields that are well formed. Anybody may write to the key: what can't
        be understood counts as not there, it never raises.
    """
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name, good in _FIELDS.items()
            if name in found and good(found[name])}


def encode(fields):
    """The external_ids value for a mark (dict of its fields): the same text for the same mark."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
