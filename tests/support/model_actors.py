"""Actors of the model: stand-ins for all programs that write to a VIF's ports beside us.

Each actor is a generator that stops after each of its transactions, and other actors act while it
is stopped. The transactions are those of the real programs (docs/design.md 2; neutron's
ovs_neutron_agent, ovs-xapi-sync of openvswitch branch-2.5, xen-api's setup-vif-rules and vif-real).
An actor runs on any object that has Model's commit(), rows and reader(): the model, or a real
ovsdb-server.

A guest has a number, its *code*. The guest's VLANs are code * 10 to code * 10 + 9, and its
external_ids have values that begin with "code#", so a test can tell values of another guest.
"""

from support.ovsdb_model import port_of, rows_of, side_of, vif_of
from xenvif_tagger.core import birth
from xenvif_tagger.core.names import SIDES, TAP, VIF

OPEN, HOLD = "open", "hold"  # the bridges: the config lists the second one under [hold]
# upstream, shipped: the origin of the host's ovs-xapi-sync. A libxl host has no ovs-xapi-sync, and
# its ports have other names and ids.
HOSTS = ("upstream", "shipped", "libxl")
GONE = "could not open network device"


def code_of(text):
    """The code of the guest whose external_ids have this value, or None."""
    code, mark, _ = text.partition("#")
    return int(code) if mark and code.isdigit() else None


def guest_of(row):
    """The code of the guest that a row's identity keys name, or None if the row has no such key."""
    for key in ("xs-vif-uuid", "xen-vm-uuid", "xs-vm-uuid"):
        if key in row.interface_ids:
            return code_of(row.interface_ids[key])
    mac = row.interface_ids.get("attached-mac")
    return mac and int(mac[-2:], 16)


def vlan(code, number):
    return code * 10 + number % 5


def deciders(code):
    """The changes that an operator may make to a VLAN unit, each with one ovs-vsctl call."""
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
    """The host: the database, the guests and the agent. first: the lowest domid of a guest."""

    def __init__(self, db, settings, host, first=12):
        self.db = db
        self.settings = settings
        self.host = host
        self.vifs = [(first, 0), (first + 1, 0), (first + 2, 0)]
        self.bridges = [OPEN, HOLD, HOLD]
        self.codes = [10, 20, 30]  # the guests' codes, ten apart for new_guest()
        self.networks = {}  # code -> the VLAN that the agent has for that guest
        self.pending = []
        self.plugging = set()  # names of the ports that are just being plugged
        self.grace_over = False  # whether the grace of some orphan is over

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
        """The present row with this row's UUID, or None if the row is gone."""
        return self.db.rows.get(row.uuid)

    def start(self, actor, slot, side, number):
        """Let an actor do its first transaction. The actor is pending until its last
        transaction."""
        self.pending.append(actor(self, slot, side, number))
        self.step(-1)

    def step(self, number):
        """Let one pending actor do its next transaction."""
        if self.pending:
            actor = self.pending[number % len(self.pending)]
            if next(actor, self) is self:
                self.pending.remove(actor)

    def boot(self):
        """Boot the host: the database stays as it was, all devices are gone, all actors begin
        anew."""
        self.pending = []
        self.plugging = set()
        self.settings.boot += "+"
        self.networks = {}
        self.db.commit("boot", *[("opened", row.uuid, -1, GONE) for row in self.db.rows.values()
                                 if vif_of(row) in self.vifs])

    def finish(self):
        """Let all pending actors do all their transactions."""
        while self.pending:
            self.step(0)


def change_map(world, who, row, column, changed):
    """Change a map as ovs-vsctl and ovsdbapp do: the transaction expects the whole old map, and is
    tried again after a lost race."""
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
        choices = deciders(guest_of(row) or world.codes[slot])
        world.db.commit("operator", ("unit", row.uuid, choices[number % len(choices)]))
    return
    yield


def set_key(world, slot, side, number):
    """An operator sets or removes a key of the Interface's or the Port's external_ids."""
    row = world.row(slot, side)
    if row:
        column = ("interface_ids", "port_ids")[number % 2]
        value = (None, "%d#1", "%d#2")[number // 2 % 3]
        value = value and value % (guest_of(row) or world.codes[slot])
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
    """A local script sets iface-id on one of the rows, on a host whose ovs-xapi-sync sets none."""
    row = world.row(slot, side)
    if row and guest_of(row):
        change_map(world, "operator", row, "interface_ids",
                   {"iface-id": "%d#port" % guest_of(row) if number % 4 < 3 else None})
    return
    yield


# -- Neutron's agent

def agents_row(world, slot, side):
    """The row that the agent takes for the port. Where both rows have iface-id: that of `side`.

    (The real agent takes the row modified last, which can be either.)
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
    yield from write_binding(world, row, tag, "%d#net%d" % (code, tag), marks_first, clears)


def write_binding(world, row, tag, network, marks_first, clears):
    """The agent's transactions on a row that the agent binds."""
    noted = {"net_uuid": network, "network_type": "vlan", "segmentation_id": "7"}
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
    """Releases from 21.0 on write the tag and the clears, then other_config, and then the tag again
    if the row lacks the tag."""
    return _bind(world, slot, side, number, False, True)


def bind_yoga(world, slot, side, number):
    """Releases 8.0 to 20 write other_config, then other_config:tag, then the tag. Releases 16 to 20
    clear a dead form too."""
    return _bind(world, slot, side, number, True, True)


def bind_queens(world, slot, side, number):
    """Older releases write the same, and never clear vlan_mode and trunks."""
    return _bind(world, slot, side, number, True, False)


def bind_juno(world, slot, side, number):
    """Release 2014.2 writes the tag, and no other_config."""
    row = agents_row(world, slot, side)
    if row:
        code = code_of(row.interface_ids["iface-id"])
        world.networks[code] = vlan(code, number)
        world.db.commit("agent", ("unit", row.uuid, {"tag": world.networks[code]}))
    return
    yield


def dead(world, slot, side, number):
    """port_dead(), which leaves a port without a tag alone."""
    row = agents_row(world, slot, side)
    if row and row.unit.get("tag", 4095) != 4095:
        world.db.commit("agent", ("unit", row.uuid, {"tag": 4095}))
    return
    yield


def restart_agent(world, slot, side, number):
    """Restart the agent: it takes its port's VLAN for the VLAN of the network, and binds the port
    again."""
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
    """One pass of upstream's ovs-xapi-sync over all rows. The program writes if nothing has changed
    since it read the rows."""
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
    """The operations that a pass of ovs-xapi-sync makes of these rows, for this world's VIFs
    only."""
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


# -- the scripts that plug and unplug

def _plug(world, slot, side, hooked):
    """setup-vif-rules filter: del-port and add-port; then ovs-vswitchd opens the port; then
    vif-real ends with its clear of trunks. xenopsd plugs a port once at a time.
    """
    name = world.name(slot, side)
    if name not in world.plugging:
        world.plugging.add(name)
        yield from _plug_once(world, slot, side, hooked, name)
        world.plugging.discard(name)


def _plug_once(world, slot, side, hooked, name):
    bridge = world.bridges[slot]
    old = world.row(slot, side)
    before = old and port_of(old, world.db.rows)
    if old:
        # The hook sees this deletion in the stock script's call; the new row of the same VIF is
        # created with the unit and ids of the deleted row.
        world.db.commit("replaced" if hooked else "stock", ("delete", old.uuid))
        yield
    identity = world.identity(world.codes[slot])
    unit, ids = {}, {"Port": {}, "Interface": {}}
    if hooked:
        ports = world.db.reader().read(world.vifs[slot])
        unit, ids, _ = birth.born(
            name, bridge, identity, ports, world.settings, before=before)
        yield
    world.db.commit("hook" if hooked else "stock", ("insert", {
        "name": name, "bridge": bridge, "unit": unit, "port_ids": ids["Port"],
        "interface_ids": dict(identity, **ids["Interface"]), "other_config": {},
        "ofport": None, "error": None}))
    row = world.row(slot, side)
    yield
    if hooked:
        # The hook reads the rows a second time, before the link goes up.
        yield from mirror(world, slot)
    world.db.commit("vswitchd", ("opened", row.uuid, 7, None))
    yield
    world.db.commit("stock", ("unit", row.uuid, {"trunks": None}))


def plug(world, slot, side, number):
    """The stock script without our hook: the hook is not installed, or could not do its part."""
    return _plug(world, slot, side, False)


def plug_hooked(world, slot, side, number):
    return _plug(world, slot, side, True)


def plug_and_bind(world, slot, side, number):
    """A re-plug on a host where a script sets iface-id at once, and then an agent binds the
    port."""
    yield from _plug(world, slot, side, number % 2)
    yield from set_iface_id(world, slot, side, 0)
    yield
    yield from (bind_new, bind_yoga, bind_queens)[number % 3](world, slot, side, number)


def move(world, slot, side, number):
    """VIF.move: the vif goes to the other bridge; the tap stays."""
    world.bridges[slot] = HOLD if world.bridges[slot] == OPEN else OPEN
    return _plug(world, slot, VIF, number % 2)


def new_guest(world, slot, side, number):
    """A new guest gets the number of an old one, whose left-over rows stay as they were.

    A running host does not give a domid twice so soon, but rows can be left over for long.
    """
    for old in rows_of(world.db.rows, world.vifs[slot]):
        world.db.commit("vswitchd", ("opened", old.uuid, -1, GONE))
    world.codes[slot] = 10 * (slot + 1) + (world.codes[slot] + 1) % 10
    return _plug(world, slot, side, number % 2)


def unplug(world, slot, side, number):
    """setup-vif-rules clear. Our hook first takes off the keys by which Neutron's agent would
    notice the deletion. (xenopsd does one thing at a time with a VIF.)"""
    row = world.row(slot, side)
    if row is None or world.plugging.intersection(world.name(slot, each) for each in SIDES):
        return
    if number % 3:
        ports = world.db.reader().read(world.vifs[slot])
        decision = birth.dying(row.name, [
            port for vif in world.vifs for port in world.db.reader().read(vif)])
        if decision:
            yield
            read = {port.uuid: port for port in ports}
            world.db.commit(
                "dying", *[("expect", uuid, "interface_ids", port.ids["Interface"])
                           for uuid, port in read.items()]
                + [("map", port.uuid, "interface_ids",
                    {change.key: change.new for change in decision.changes
                     if change.row == port.name}) for port in ports])
            yield
    world.db.commit("stock", ("delete", row.uuid))


def device_gone(world, slot, side, number):
    """PV drivers take over, and the device goes while its row stays (libxl); or the device comes
    back."""
    row = world.row(slot, side)
    if row:
        world.db.commit("vswitchd", ("opened", row.uuid, -1, GONE) if number % 3
                        else ("opened", row.uuid, 8, None))
    return
    yield


# -- our other driver

def mirror(world, slot):
    """Mirror as OneShot.mirror does: without a lock, and with a limited number of tries."""
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
    """Finish all pending actors, and run the watchers (settle) and ovs-xapi-sync, which wakes at
    each change of external_ids, until neither writes. Fails if that takes more than a few
    rounds."""
    world.finish()
    for _ in range(8):
        settle()
        if world.host == "libxl" or not sync_operations(world, world.db.rows):
            return
        world.start(xapi_sync, 0, VIF, 0)
        world.finish()
    raise AssertionError("ovs-xapi-sync and we never come to rest")


def begin(world, how, settle):
    """Plug both ports of each VIF. how: 1, by the stock script; 2, by our hook; 3, by our hook, and
    the agent binds the port."""
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
