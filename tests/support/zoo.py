"""Pairs of ports in a database, one in each state, and functions that read that database."""
import json
import re
import uuid

from support.command import assert_done, run
from support.constants import HELD

STATES = "in-sync drift mirrored conflict refused held single orphan".split()
COMMENT = "xenvif-tagger: "  # the beginning of each of our comments in the database's log


def identity(domid, devid=0, **more):
    """The external_ids that XenServer gives a VIF's ports."""
    name = "%d.%d" % (domid, devid)
    ids = {
        "xs-vif-uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "xs-vm-uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, str(domid))),
        "attached-mac": "00:16:3e:%02x:%02x:%02x" % (domid >> 8 & 255, domid & 255, devid),
    }
    ids.update(more)
    return ids


def add(ovs, name, ids=None, bridge="xenbr0", **columns):
    """Add one port with its VIF's identity."""
    domid, devid = re.match(r"\D+(\d+)\.(\d+)", name).groups()
    ovs.add_port(bridge, name, identity(int(domid), int(devid), **(ids or {})), **columns)


def add_pair(ovs, domid, devid=0, vif=None, tap=None, emu=False):
    """Add a pair. vif, tap: arguments of add(); by default the vif has tag 5 and the tap has no
    VLAN."""
    names = "vif%d.%d" % (domid, devid), "tap%d.%d" % (domid, devid)
    if emu:
        names = names[0], names[0] + "-emu"
    add(ovs, names[0], **({"tag": 5} if vif is None else vif))
    add(ovs, names[1], **(tap or {}))


def held_mark():
    return {"xenvif-tagger": json.dumps({"held": HELD})}


# domid -> state. The zoo has a pair in each state but "mirrored".
ZOO = {12: "drift", 13: "conflict", 14: "in-sync", 15: "single", 16: "refused", 17: "held",
       18: "orphan"}


def add_zoo(ovs, *domids):
    """Add the pairs of these domids of ZOO; without domids, all pairs."""
    domids = domids or sorted(ZOO)
    if 12 in domids:
        add_pair(ovs, 12)
    if 13 in domids:
        add_pair(ovs, 13, tap={"tag": 6})
    if 14 in domids:
        add_pair(ovs, 14, tap={"tag": 5})
    if 15 in domids:
        add(ovs, "vif15.0", tag=5)
    if 16 in domids:
        add_pair(ovs, 16, tap={"ids": {"xs-vif-uuid": "another"}})
    if 17 in domids:
        held = dict(HELD, port_external_ids=held_mark())
        add_pair(ovs, 17, vif=held, tap=held)
    if 18 in domids:
        add_pair(ovs, 18)
        assert_done(run("-q", "mirror", "dom", 18, db=ovs))
        ovs.delete_port("vif18.0")


def dump(ovs):
    """The whole database: table -> UUID -> row, with the _version that each write changes."""
    return {table: {row["_uuid"]: row for row in ovs.rows(table)}
            for table in ovs.schema["tables"]}


def read_log(ovs):
    """The bytes of the database file, which has a record for each transaction."""
    with open(ovs.database, "rb") as stream:
        return stream.read()


def commits(ovs):
    """The number of transactions that the database has committed."""
    return read_log(ovs).count(b"\nOVSDB JSON ") + 1


def our_commits(ovs):
    """The comments of our own transactions, in order."""
    return re.findall('"_comment":"(%s[^"]*)"' % COMMENT, read_log(ovs).decode())


def tag(ovs, name):
    """The port's tag, or None."""
    return (ovs.port(name)["tag"] or [None])[0]


def move_port(ovs, name, source, target):
    """Move a port to another bridge; its row stays as it is."""
    port = ["uuid", ovs.port(name)["_uuid"]]
    ovs.transact(*[
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
         "mutations": [["ports", mutator, ["set", [port]]]]}
        for bridge, mutator in ((source, "delete"), (target, "insert"))])


def many_pairs(ovs, domids, **columns):
    ovs.add_many_ports("xenbr0", [
        dict({"name": "%s%d.0" % (side, domid), "external_ids": identity(domid)},
             **{"tag": domid % 4000 + 1} if side == "vif" else {})
        for domid in domids for side in ("vif", "tap")])
