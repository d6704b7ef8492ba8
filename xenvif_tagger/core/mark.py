"""Our own notes on a row: one key in Port external_ids, a small JSON object (docs/design.md 4.2).

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
``held``  the VLAN unit that a hold has set (docs/design.md 4.6).
``seen``  ``{"port", "vif", "tap"}``: on the tap of a pair in conflict, the vif's Port UUID and the
          two units when it was reported.
"""
import json

from .unit import is_unit

KEY = "xenvif-tagger"

MYPY = False
if MYPY:
    from typing import Any, Dict, Mapping, Optional


def _is_map(value: "Any", of: type = str) -> bool:
    return isinstance(value, dict) and all(isinstance(item, of) for item in value.values())


def _is_base(value: "Any") -> bool:
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and is_unit(value.get("unit")) and _is_map(value.get("Port"))
            and _is_map(value.get("Interface")) and _is_map(value.get("policing"), int))


def _is_seen(value: "Any") -> bool:
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and is_unit(value.get("vif")) and is_unit(value.get("tap")))


_FIELDS = {
    "vif": _is_map,
    "boot": lambda value: isinstance(value, str),
    "base": _is_base,
    "kept": lambda value: _is_map(value) and set(value) == {"port", "iface-id"},
    "held": is_unit,
    "seen": _is_seen,
}


def parse(text: "Optional[str]") -> "Dict[str, Any]":
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


def encode(fields: "Mapping[str, Any]") -> str:
    """The external_ids value for a mark (dict of its fields): the same text for the same mark."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))
