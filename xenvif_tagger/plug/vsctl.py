"""Words of an ovs-vsctl command line: what they set, and those that set what we want."""
import json


def ids_in(args):
    """The Interface external_ids that a command line of the stock script sets.

    It writes each as ``external-ids:"key"="value"`` (make_vswitch_external_ids in setup-vif-rules).
    """
    found = {}
    for word in args:
        if word.startswith('external-ids:"') and word.endswith('"'):
            key, equals, value = word[len('external-ids:"'):-1].partition('"="')
            if equals:
                found[key] = value
    return found


def unit_in(args):
    """The VLAN unit in the words that follow ``add-port BRIDGE DEVICE``: what a person named.

    Xen's vif-openvswitch has ``tag=5`` and ``trunk=6,7`` there from a bridge= string with VLANs.
    """
    unit = {}
    for word in args[:args.index("--") if "--" in args else None]:
        column, _, value = word.partition("=")
        if column == "tag":
            unit["tag"] = int(value)
        elif column in ("trunk", "trunks"):
            unit["trunks"] = sorted({int(vlan) for vlan in value.split(",")})
    return unit


def words(table, name, unit, ids):
    """The part of an ovs-vsctl command line that sets a row's columns and external_ids.

    Strings are written as JSON strings: ovs-vsctl takes those to the letter (ovs-vsctl(8),
    Database Values).
    """
    values = []
    for column, value in sorted(unit.items()):
        values.append("%s=%s" % (column, json.dumps(value)))
    for key, value in sorted(ids.items()):
        values.append("external_ids:%s=%s" % (json.dumps(key), json.dumps(value)))
    return ["--", "set", table, name] + values if values else []
