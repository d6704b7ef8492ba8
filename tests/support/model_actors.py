"""Whoever writes to a VIF's ports beside us, as programs that stop between their transactions.

Each actor is a generator; what others do happens while it is suspended. The transactions are
those of the real programs (docs/design.md 2; neutron's ovs_neutron_agent, ovs-xapi-sync of
openvswitch
branch-2.5, xen-api's setup-vif-rules and vif-real). They run on whatever has Model's commit(),
rows and reader(): the model, or a real ovsdb-server.

A guest has a number, its *code*. Its VLANs are code * 10 to code * 10 + 9, and what is in its
external_ids begins with "code#": so what came from another guest can be told.
"""

from support.ovsdb_model import rows_of, side_of, vif_of
from xenvif_tagger.core import birth
from xenvif_tagger.core.names import SIDES, TAP, VIF

OPEN, HOLD = "open", "hold"  # the bridges; on the second one ports are held
HOSTS = ("upstream", "shipped", "libxl")  # which ovs-xapi-sync, or none and other names and ids
GONE = "could not open network device"


def code_of(text):
    """The guest that an external_ids value is of, or None."""
    code, mark, _ = text.partition("#")
    return int(code) if mark and code.isdigit() else None


def guest_of(row):
    """The code that a row says it is of, by its identity keys; None without any."""
    for key in ("xs-vif-uuid", "xen-vm-uuid", "xs-vm-uuid"):
        if key in row.interface_ids:
            return code_of(row.interface_ids[key])
    mac = row.interface_ids.get("attached-mac")
    return mac and int(mac[-2:], 16)


def vlan(code, number):
    return code * 10 + number % 5


def deciders(code):
    """What an operator may do to a VLAN unit, in one ovs-vsctl each."""
    trunks = [code * 10 + 5, code * 10 + 6]
    return [
        {"tag": vlan(code, 1)}, {"tag": vlan(code, 2)},
        {"tag": None, "vlan_mode": None, "trunks": None, "cvlans": None},
        {"tag": None, "vlan_mode": "trunk", "trunks": trunks},
        {"tag": 4095}, {"trunks": trunks}, {"tag": None},
        {"tag": vlan(code, 3), "vlan_mode": "native-untagged", "trunks": trunks},
        {"vlan_mode": None, "trunks": None, "cvlans": None},
        {"tag": 4095, "vlan_mode": "trunk", "trunks": [4095]},
    ]


class World(object):
    """The host: the database, its guests and their agent. first: the lowest domid."""

    def __init__(self, db, settings, host, first=12):
        self.db = db
        self.settings = settings
        self.host = host
        self.vifs = [(first, 0), (first + 1, 0), (first + 2, 0)]
        self.bridges = [OPEN, HOLD, HOLD]
        self.generation = [0, 0, 0]
        self.networks = {}  # code -> the VLAN that the agent has for it
        self.pending = []
        self.grace_over = False  # some orphan's

    def code(self, slot):
        return 10 * (slot + 1) + self.generation[slot]

    def name(self, slot, side):
        name = "%s%d.%d" % ((TAP if side == TAP and self.host != "libxl" else VIF,)
                            + self.vifs[slot])
        return name + "-emu" if side == TAP and self.host == "libxl" else name

    def identity(self, code):
        mac = {"attached-mac": "00:16:3e:00:00:%02x" % code}
        if self.host == "libxl":
            return dict(mac, **{"xen-vm-uuid": "%d#vm" % code, "xen-vm-name": "%d#name" % code})
        return dict(mac, **{"xs-vif-uuid": "%d#vif" % code, "xs-vm-uuid": "%d#vm" % code})

    def row(self, slot, side):
        """The row as it stands, or None."""
        name = self.name(slot, side)
        return next((row for row in self.db.rows.values() if row.name == name), None)

    def now(self, row):
        """The row as it has become, or None when it is gone."""
        return self.db.rows.get(row.uuid)

    def start(self, actor, slot, side, number):
        """Let an actor do its first transaction; the rest is pending."""
        self.pending.append(actor(self, slot, side, number))
        self.step(-1)

    def step(self, number):
        """Let one of those pending do its next transaction."""
        if self.pending:
            actor = self.pending[number % len(self.pending)]
            if next(actor, self) is self:
                self.pending.remove(actor)

    def boot(self):
        """The host boots: the database stays as it was, no device is there, all begin anew."""
        self.pending = []
        self.settings.boot += "+"
        self.networks = {}
        self.db.commit("boot", *[("opened", row.uuid, -1, GONE) for row in self.db.rows.values()
                                 if vif_of(row) in self.vifs])

    def finish(self):
        """Let all that are pending come to their end."""
        while self.pending:
            self.step(0)


def change_map(world, who, row, column, changed):
    """As ovs-vsctl and ovsdbapp: the whole old map is expected, and it is tried again."""
    while row is not None:
        operations = [("expect", row.uuid, column, getattr(row, column)),
                      ("map", row.uuid, column, changed)]
        if world.db.commit(who, *operations):
            return
        row = world.now(row)


# -- operators

def set_unit(world, slot, side, number):
    row = world.row(slot, side)
    if row:
        choices = deciders(guest_of(row) or world.code(slot))
        world.db.commit("operator", ("unit", row.uuid, choices[number % len(choices)]))
    return
    yield


def set_key(world, slot, side, number):
    """Set or remove a key of the Interface's or the Port's external_ids."""
    row = world.row(slot, side)
    if row:
        column = ("interface_ids", "port_ids")[number % 2]
        value = (None, "%d#1", "%d#2")[number // 2 % 3]
        value = value and value % (guest_of(row) or world.code(slot))
        change_map(world, "operator", row, column, {"x": value})
    return
    yield


def remove_identity(world, slot, side, number):
    row = world.row(slot, side)
    keys = sorted(world.identity(0))
    if row:
        change_map(world, "operator", row, "interface_ids", {keys[number % len(keys)]: None})
    return
    yield


def set_iface_id(world, slot, side, number):
    """The glue of a host whose ovs-xapi-sync does not do it: on the row that it chose."""
    row = world.row(slot, side)
    if row and guest_of(row):
        change_map(world, "operator", row, "interface_ids",
                   {"iface-id": "%d#port" % guest_of(row) if number % 4 < 3 else None})
    return
    yield


# -- Neutron's agent

def agents_row(world, slot, side):
    """The row on which the agent finds the port; where both are, the one of the side.

    (It takes the last one modified: either can be.)
    """
    rows = [row for row in rows_of(world.db.rows, world.vifs[slot])
            if {"iface-id", "attached-mac"} <= set(row.interface_ids) and row.ofport != -1
            and code_of(row.interface_ids["iface-id"])]
    return next((row for row in rows if side_of(row) == side), rows[0] if rows else None)


def _bind(world, slot, side, number, marks_first, clears):
    row = agents_row(world, slot, side)
    if row is None:
        return
    code = code_of(row.interface_ids["iface-id"])
    tag = world.networks[code] = vlan(code, number)
    noted = {"net_uuid": "%d#net" % number, "network_type": "vlan", "segmentation_id": "7"}
    if marks_first:
        change_map(world, "agent", row, "other_config", noted)
        yield
        if world.now(row):
            change_map(world, "agent", world.now(row), "other_config", {"tag": str(tag)})
        yield
        now = world.now(row)
        if now and now.unit.get("tag") != tag:
            cleared = {"vlan_mode": None, "trunks": None} if (
                clears and now.unit.get("tag") == 4095) else {}
            world.db.commit("agent", ("unit", row.uuid, dict(cleared, tag=tag)))
        return
    world.db.commit("agent", ("unit", row.uuid, {"tag": tag, "vlan_mode": None, "trunks": None}))
    yield
    now = world.now(row)
    if now:
        change_map(world, "agent", now, "other_config", dict(noted, tag=str(tag)))
    yield
    now = world.now(row)
    if now and now.unit.get("tag") != tag:
        cleared = {"vlan_mode": None, "trunks": None} if now.unit.get("tag") == 4095 else {}
        world.db.commit("agent", ("unit", row.uuid, dict(cleared, tag=tag)))


def bind_new(world, slot, side, number):
    """21.0 and later: tag and clears, then the marks, then the tag again if it is not there."""
    return _bind(world, slot, side, number, False, True)


def bind_yoga(world, slot, side, number):
    """8.0 to 20: the marks, then other_config:tag, then the tag; 16 to 20 clear a dead form."""
    return _bind(world, slot, side, number, True, True)


def bind_queens(world, slot, side, number):
    """The same, never clearing vlan_mode and trunks."""
    return _bind(world, slot, side, number, True, False)


def bind_juno(world, slot, side, number):
    """2014.2: the tag, and no marks at all."""
    row = agents_row(world, slot, side)
    if row:
        code = code_of(row.interface_ids["iface-id"])
        world.networks[code] = vlan(code, number)
        world.db.commit("agent", ("unit", row.uuid, {"tag": world.networks[code]}))
    return
    yield


def dead(world, slot, side, number):
    """port_dead(): not of a port without tag."""
    row = agents_row(world, slot, side)
    if row and row.unit.get("tag", 4095) != 4095:
        world.db.commit("agent", ("unit", row.uuid, {"tag": 4095}))
    return
    yield


def restart_agent(world, slot, side, number):
    """It takes the VLAN that its port has for the network's, and binds it anew."""
    row = agents_row(world, slot, side)
    if row is None:
        return iter(())
    code = code_of(row.interface_ids["iface-id"])
    tag = row.unit.get("tag")
    if "net_uuid" not in row.other_config or tag in (None, 4095) or tag // 10 != code:
        tag = world.networks.get(code, 0)
    return _bind(world, slot, side, tag % 10, False, True)


# -- ovs-xapi-sync

def xapi_sync(world, slot, side, number):
    """One pass over all rows, upstream's; what it wants, it writes if nothing has changed since."""
    while True:
        rows = dict(world.db.rows)
        operations = sync_operations(world, rows)
        if not operations:
            return
        yield
        if world.db.commit("sync", *[("expect", row.uuid, "interface_ids", row.interface_ids)
                                     for row in rows.values()] + operations):
            return


def sync_operations(world, rows):
    """What a pass of ovs-xapi-sync over these rows comes to: of this world's VIFs only."""
    operations = []
    for vif in world.vifs:
        found = rows_of(rows, vif)
        alone = len(found) == 1
        for row in found:
            ids = dict(row.interface_ids)
            code = guest_of(row)
            if world.host == "upstream":
                if side_of(row) == TAP and not alone:
                    for key in ("attached-mac", "xs-vif-uuid", "xs-vm-uuid"):
                        ids[key] = found[0].interface_ids.get(key)
                code = code_of(ids.get("xs-vif-uuid") or "")
                ids["iface-id"] = code and "%d#port" % code
                ids["vm-id"] = ids.get("xs-vm-uuid")
                active = side_of(row) == TAP and not alone or side_of(row) == VIF and alone
                ids["iface-status"] = "active" if active else (
                    None if alone else "inactive")
            elif world.host == "shipped" and side_of(row) == VIF and code:
                ids["neutron-port-uuid"] = "%d#port" % code
            changed = {key: value for key, value in ids.items()
                       if row.interface_ids.get(key) != value}
            if changed:
                operations.append(("map", row.uuid, "interface_ids", changed))
    return operations


# -- what plugs and unplugs

def _plug(world, slot, side, hooked, bridge=None, code=None):
    """setup-vif-rules filter: del-port, add-port; then ovs-vswitchd; then vif-real's last line."""
    name = world.name(slot, side)
    bridge = bridge or world.bridges[slot]
    old = world.row(slot, side)
    if old:
        world.db.commit("stock", ("delete", old.uuid))
        yield
    identity = world.identity(code or world.code(slot))
    unit, ids = {}, {"Port": {}, "Interface": {}}
    if hooked:
        ports = world.db.reader().read(world.vifs[slot])
        unit, ids, _ = birth.born(name, bridge, identity, ports, world.settings)
        yield
    if world.row(slot, side):
        return  # plugged twice at a time: ovs-vsctl fails
    world.db.commit("hook" if hooked else "stock", ("insert", {
        "name": name, "bridge": bridge, "unit": unit, "port_ids": ids["Port"],
        "interface_ids": dict(identity, **ids["Interface"]), "other_config": {},
        "ofport": None, "error": None}))
    row = world.row(slot, side)
    yield
    if hooked:
        # The second look, before the link is up.
        yield from mirror(world, slot)
    world.db.commit("vswitchd", ("opened", row.uuid, 7, None))
    yield
    world.db.commit("stock", ("unit", row.uuid, {"trunks": None}))


def plug(world, slot, side, number):
    """The stock script as it is: our hook is not installed, or could not do its part."""
    return _plug(world, slot, side, False)


def plug_hooked(world, slot, side, number):
    return _plug(world, slot, side, True)


def plug_and_bind(world, slot, side, number):
    """A re-plug on a host whose glue names the port at once, and any agent that binds it."""
    yield from _plug(world, slot, side, number % 2)
    yield from set_iface_id(world, slot, side, 0)
    yield
    yield from (bind_new, bind_yoga, bind_queens)[number % 3](world, slot, side, number)


def move(world, slot, side, number):
    """VIF.move: the vif goes to the other bridge, the tap stays."""
    world.bridges[slot] = HOLD if world.bridges[slot] == OPEN else OPEN
    return _plug(world, slot, VIF, number % 2)


def new_guest(world, slot, side, number):
    """Another guest with the same number; what is left of the old one stays as it was.

    A host that is up does not give a domid twice so soon; but left-overs stay for long.
    """
    for old in rows_of(world.db.rows, world.vifs[slot]):
        world.db.commit("vswitchd", ("opened", old.uuid, -1, GONE))
    world.generation[slot] = (world.generation[slot] + 1) % 10
    return _plug(world, slot, side, number % 2)


def unplug(world, slot, side, number):
    """setup-vif-rules clear, our hook first taking off what Neutron would take for a deletion."""
    row = world.row(slot, side)
    if row is None:
        return
    if number % 3:
        ports = world.db.reader().read(world.vifs[slot])
        decision = birth.dying(row.name, ports)
        if decision:
            yield
            read = {port.uuid: port for port in ports}
            world.db.commit(
                "dying", *[("expect", uuid, "interface_ids", port.ids["Interface"])
                           for uuid, port in read.items()]
                + [("map", row.uuid, "interface_ids",
                    {change.key: None for change in decision.changes})])
            yield
    world.db.commit("stock", ("delete", row.uuid))


def device_gone(world, slot, side, number):
    """PV drivers take over and only the device goes (libxl); or it comes back."""
    row = world.row(slot, side)
    if row:
        world.db.commit("vswitchd", ("opened", row.uuid, -1, GONE) if number % 3
                        else ("opened", row.uuid, 8, None))
    return
    yield


# -- our other driver

def mirror(world, slot):
    """As OneShot.mirror: no lock, at most some tries."""
    reader = world.db.reader()
    for _ in range(20):
        from_now = reader.read(world.vifs[slot])
        if not from_now:
            return
        decision = birth.decide_vif(from_now, world.settings)
        if not decision.changes:
            return
        yield
        if reader.write([decision]):
            return


def one_shot(world, slot, side, number):
    return mirror(world, slot)


ACTORS = [set_unit, set_key, remove_identity, set_iface_id, bind_new, bind_yoga, bind_queens,
          bind_juno, dead, restart_agent, xapi_sync, plug, plug_hooked, plug_and_bind, move,
          new_guest, unplug, device_gone, one_shot]


def quiesce(world, settle):
    """Everything that was begun comes to its end, and the watchers (settle) and ovs-xapi-sync,
    which wakes with each change of external_ids, come to rest: in a few rounds."""
    world.finish()
    for _ in range(8):
        settle()
        if world.host == "libxl" or not sync_operations(world, world.db.rows):
            return
        world.start(xapi_sync, 0, VIF, 0)
        world.finish()
    raise AssertionError("ovs-xapi-sync and we never come to rest")


def begin(world, how, settle):
    """Both ports of each VIF plugged: 1 by the stock script, 2 by our hook, 3 and bound."""
    if how:
        for slot in range(3):
            for side in SIDES:
                world.start(plug if how == 1 else plug_hooked, slot, side, 0)
                world.finish()
            if how == 3:
                world.start(set_iface_id, slot, SIDES[slot % 2], 0)
                world.start(bind_new, slot, SIDES[slot % 2], slot)
                world.finish()
        if how > 1:
            settle()
