"""Words of an ovs-vsctl command line: read from the stock script's, and made for ours."""
import json

MYPY = False
if MYPY:
    from typing import Any, Dict, List, Mapping

    from ..core.unit import Unit


def ids_in(args: "List[str]") -> "Dict[str, str]":
    """The Interface external_ids that a command line of the stock script sets.

    The script writes each external_id as ``external-ids:"key"="value"`` (setup-vif-rules,
    make_vswitch_external_ids).
    """
    ids = {}
    for word in args:
        if word.startswith('external-ids:"') and word.endswith('"'):
            key, equals, value = word[len('external-ids:"'):-1].partition('"="')
            if equals:
                ids[key] = value
    return ids


def unit_in(args: "List[str]") -> "Unit":
    """The VLAN unit that a person chose for a port, as the words after ``add-port BRIDGE DEVICE``.

    Xen's vif-openvswitch writes ``tag=5`` and ``trunk=6,7`` there if the guest's config names VLANs
    in its bridge= string.
    """
    unit: "Unit" = {}
    for word in args[:args.index("--") if "--" in args else None]:
        column, _, value = word.partition("=")
        if column == "tag":
            unit["tag"] = int(value)
        elif column in ("trunk", "trunks"):
            unit["trunks"] = sorted({int(vlan) for vlan in value.split(",")})
    return unit


def words(table: str, name: str, unit: "Unit", ids: "Mapping[str, Any]") -> "List[str]":
    """The part of an ovs-vsctl command line that sets a row's columns and external_ids.

    All strings are written as JSON strings, which ovs-vsctl takes to the letter (ovs-vsctl(8),
    Database Values).
    """
    values = []
    for column, value in sorted(unit.items()):
        values.append("%s=%s" % (column, json.dumps(value)))
    for key, value in sorted(ids.items()):
        values.append("external_ids:%s=%s" % (json.dumps(key), json.dumps(value)))
    return ["--", "set", table, name] + values if values else []
