"""Reads words of the stock script's ovs-vsctl command line, and makes the words that our hook adds
to that command line."""
import json

from ..core.unit import UNIT

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


def unit_in(args: "List[str]", device: str) -> "Unit":
    """The VLAN unit that a command line with ``add-port BRIDGE DEVICE`` itself gives the port.

    The words of the unit may follow the device, as Xen's vif-openvswitch writes ``tag=5`` and
    ``trunk=6,7`` if the guest's config names VLANs in its bridge= string; or the words may follow
    ``set port DEVICE``, as in a stock script that a site has changed. Words that set other columns
    do not count.
    """
    unit: "Unit" = {}
    commands: "List[List[str]]" = [[]]
    for word in args:
        if word == "--":
            commands.append([])
        else:
            commands[-1].append(word)
    for command in commands:
        # Options stand before each command's name: --timeout=30, --may-exist, --if-exists.
        while command and command[0].startswith("-"):
            command = command[1:]
        if command[:1] == ["add-port"] and command[2:3] == [device]:
            assignments = command[3:]
        elif command[:1] == ["set"] and [word.lower() for word in command[1:2]] == ["port"] and (
                command[2:3] == [device]):
            assignments = command[3:]
        else:
            continue
        for word in assignments:
            name, _, value = word.partition("=")
            name, colon, key = name.partition(":")
            # ovs-vsctl takes a column's name in either case, and "-" for "_".
            name = name.lower().replace("-", "_") + colon + key
            name = {"trunk": "trunks"}.get(name, name)
            value = value.strip("[]{}").replace('"', "")
            if name in UNIT and value:
                kind = UNIT[name]
                unit[name] = sorted({int(vlan) for vlan in value.split(",")}) if kind is list \
                    else kind(value)
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
