"""The mark, our own notes on a row: one key in Port external_ids, a small JSON object
(docs/design.md 4.2).

The history of a pair is kept in the database, not in a process. So a restart forgets nothing, and
hook, one-shot commands and watcher come to the same decision. The fields, all optional:

``vif``   the identity keys of the VIF that the row was plugged for: ``{"xs-vif-uuid": ...}`` or
          ``{"xen-vm-uuid": ..., "attached-mac": ...}``.
``boot``  the id of the host's boot in which the row was first seen with its device; empty while
          the device was gone at every look. ``vif`` and ``boot`` together are the *stamp*.
``base``  ``{"port", "unit", "Port", "Interface", "policing", "network"}``: the state in which the
          pair was last alike: the other row's Port UUID; the VLAN unit; the mirrored external_ids
          that both Ports had, and that both Interfaces had; the policing columns that both had;
          and, if the agent had noted it, the network (net_uuid) whose VLAN the unit was.
``kept``  ``{"port", "iface-id"}``: the sibling's Port UUID and the sibling's iface-id, a key that
          this row itself does not have.
``held``  the VLAN unit that a hold has set (docs/design.md 4.6).
``opened``  true: a hold has ended on this row, and the hold's vlan_mode went with it (hold.lift).
``seen``  ``{"port", "vif", "tap"}``: on the tap of a pair in conflict: the vif's Port UUID, and the
          units of vif and tap when the conflict was reported.
"""
import json

from .unit import is_unit

KEY = "xenvif-tagger"

MYPY = False
if MYPY:
    from typing import Any, Dict, Mapping, Optional


def _is_map(value: "Any", item_type: type = str) -> bool:
    return isinstance(value, dict) and all(isinstance(item, item_type) for item in value.values())


def _is_base(value: "Any") -> bool:
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and is_unit(value.get("unit")) and _is_map(value.get("Port"))
            and _is_map(value.get("Interface")) and _is_map(value.get("policing"), int)
            and isinstance(value.get("network", ""), str))


def _is_seen(value: "Any") -> bool:
    return (isinstance(value, dict) and isinstance(value.get("port"), str)
            and is_unit(value.get("vif")) and is_unit(value.get("tap")))


_FIELDS = {
    "vif": _is_map,
    "boot": lambda value: isinstance(value, str),
    "base": _is_base,
    "kept": lambda value: _is_map(value) and set(value) == {"port", "iface-id"},
    "held": is_unit,
    "opened": lambda value: value is True,
    "seen": _is_seen,
}


def parse(text: "Optional[str]") -> "Dict[str, Any]":
    """The fields of the mark in an external_ids value.

    :param text: the value of the key (str), or None where the row has no such key
    :returns: dict of those fields that are well formed

    Anybody can write to the key, so a field that can't be understood counts as absent, and no text
    raises an error.
    """
    if not text:
        return {}
    try:
        fields = json.loads(_json_of(text))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(fields, dict):
        return {}
    return {name: fields[name] for name, is_well_formed in _FIELDS.items()
            if name in fields and is_well_formed(fields[name])}


def encode(fields: "Mapping[str, Any]") -> str:
    """The external_ids value for a mark (dict of its fields). Equal marks give equal texts."""
    value = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    for char, escape in _ESCAPES:
        value = value.replace(char, escape)
    return value


def network_of(fields: "Mapping[str, Any]", tag: "Optional[int]") -> "Optional[str]":
    """The network (net_uuid) whose VLAN the tag was when the pair was last alike, by the base of a
    mark. None where the base names none, or has another tag."""
    base = fields.get("base", {"unit": {}})
    network: "Optional[str]" = base.get("network")
    return network if base["unit"].get("tag") == tag else None


# The value has no comma, equals sign, space or quote, since other programs split external_ids at
# those (Ansible's openvswitch_port module, _external_ids_to_dict, dies on an equals sign in a
# value). The value is JSON with "|" in place of each quote and ";" in place of each comma; the
# characters themselves, where a text has them, are percent-encoded.
_ESCAPES = (("%", "%25"), ("|", "%7C"), (";", "%3B"), ("=", "%3D"), (" ", "%20"), ("'", "%27"),
            ('"', "|"), (",", ";"))


def _json_of(value: str) -> str:
    """The JSON text in a mark's value. A mark of an older version is plain JSON."""
    if '"' in value:
        return value
    for char, escape in reversed(_ESCAPES):
        value = value.replace(escape, char)
    return value
