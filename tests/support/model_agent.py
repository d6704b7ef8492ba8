"""Neutron's agent with the VLANs that it gives to networks, and the ground truth about them.

The agent of model_actors binds a port to a VLAN that the model gives. The Agent of this module
chooses the VLANs as the real agent does (docs/design.md 2.4): a network has a VLAN on a bridge
while a port of that network is on the bridge. The agent gives a returned VLAN again only after the
agent's restart, and then the lowest free VLAN first. So a VLAN that a left-over port still has may
become another guest's.

Each guest has a network of its own, with one port in it.
"""
from support import model_actors as actors
from support.invariants import Story, agents_port_untouched, foreign_columns_untouched
from support.model_actors import change_map, code_of, write_binding
from support.ovsdb_model import port_of, rows_of, vif_of
from xenvif_tagger.core.decide import decide_vif
from xenvif_tagger.core.decision import CONFLICT, REFUSED
from xenvif_tagger.core.names import SIDES
from xenvif_tagger.core.unit import has_no_vlan, is_open_trunk, is_real


class Agent(object):
    """Neutron's agent, and the Neutron server's list of the ports that are down.

    vlans: (bridge, guest's code) -> VLAN.
    used: set of the (bridge, VLAN) that the agent has given since its start.
    bound: iface-id -> the row that the agent has bound, as the row was before the binding.
    deaf: iface-id -> the rows with this iface-id, which the agent ignores until one of them
    changes.
    down: set of the iface-ids whose ports the Neutron server has as administratively down.
    runs: how often the agent was started.
    """

    def __init__(self, world):
        self.world = world
        self.down = set()
        self.runs = 0
        self.start()

    def start(self):
        """Start: take each port's VLAN from the agent's notes on the row, and forget every binding,
        so that the next poll binds every port anew."""
        self.vlans, self.used, self.bound, self.deaf = {}, set(), {}, {}
        self.busy = False
        self.runs += 1
        for row in self.visible():
            tag = row.other_config.get("tag", "4095")
            if "net_uuid" in row.other_config and row.unit.get("tag") != 4095 and tag != "4095":
                at, code = (row.bridge, int(tag)), code_of(row.other_config["net_uuid"])
                if at not in self.used:
                    self.vlans.setdefault((row.bridge, code), int(tag))
                    self.used.add(at)

    def visible(self):
        """The rows that the agent takes for its ports: with iface-id, MAC and device."""
        return [row for row in self.world.db.rows.values() if row.ofport != -1
                and {"iface-id", "attached-mac"} <= set(row.interface_ids)
                and code_of(row.interface_ids["iface-id"])]

    def rows_with(self, iface_id):
        return [row for row in self.visible() if row.interface_ids["iface-id"] == iface_id]

    def forget(self):
        """Treat a bound port whose row is gone as deleted, also where another row has its iface-id
        (docs/design.md 2.4); but not a port whose iface-id was removed before the row went."""
        for iface_id, row in list(self.bound.items()):
            if row.uuid in [visible.uuid for visible in self.rows_with(iface_id)]:
                continue
            del self.bound[iface_id]
            there = self.world.db.rows  # the rows at the last moment at which this row was there
            if row.uuid not in there:
                there = next(commit.before for commit in reversed(self.world.db.journal)
                             if row.uuid in commit.before)
            if there[row.uuid].interface_ids.get("iface-id") == iface_id:
                self.vlans.pop((row.bridge, code_of(iface_id)), None)
                self.deaf[iface_id] = [other for other in self.rows_with(iface_id)
                                       if other.uuid in there]

    def vlan(self, bridge, code):
        if (bridge, code) not in self.vlans:
            self.vlans[bridge, code] = next(
                tag for tag in range(1, 100) if (bridge, tag) not in self.used)
            self.used.add((bridge, self.vlans[bridge, code]))
        return self.vlans[bridge, code]

    def wants(self, iface_id, row):
        """The tag that the agent wants on the row."""
        return 4095 if iface_id in self.down else self.vlan(row.bridge, code_of(iface_id))


def poll(world, slot, side, number):
    """One round of the agent. number chooses the row where two rows have one iface-id, and the
    release whose writes the agent makes."""
    agent, runs = world.agent, world.agent.runs
    if agent.busy:
        return
    agent.busy = True
    agent.forget()
    for iface_id in sorted({row.interface_ids["iface-id"] for row in agent.visible()}):
        rows = sorted(agent.rows_with(iface_id), key=lambda row: row.name)
        bound = agent.bound.get(iface_id)
        if not rows or rows == agent.deaf.get(iface_id):
            continue
        row = rows[number // 2 % len(rows)]  # the row modified last, which can be either
        if bound and number % 2 and bound.uuid in [found.uuid for found in rows]:
            row = next(found for found in rows if found.uuid == bound.uuid)
        if not bound or bound.uuid != row.uuid or row.unit.get("tag") != agent.wants(iface_id, row):
            agent.deaf.pop(iface_id, None)
            agent.bound[iface_id] = row
            tag = agent.wants(iface_id, row)
            if tag == 4095:
                # port_dead(): a port without a tag is left alone.
                if is_real(row.unit):
                    world.db.commit("agent", ("unit", row.uuid, {"tag": 4095}))
                continue
            yield from write_binding(
                world, row, tag, "%d#net" % code_of(iface_id), number % 3 > 0, number % 3 < 2)
            if agent.runs != runs:
                return
    agent.busy = False


def restart_neutron(world, slot, side, number):
    world.agent.start()
    return poll(world, slot, side, number)


def admin(world, slot, side, number):
    """The Neutron server sets the port administratively down, or up again."""
    world.agent.down ^= {"%d#port" % world.codes[slot]}
    return poll(world, slot, side, number)


def both_have_iface_id(world, slot, side, number):
    for each in SIDES:
        yield from actors.set_iface_id(world, slot, each, 0)
        yield


def migrate(world, slot, side, number):
    """Local migration: the guest's second domain is there before the first domain goes."""
    to = (slot + 1) % 3
    if rows_of(world.db.rows, world.vifs[to]):
        return
    world.codes[to] = world.codes[slot]
    world.bridges[to] = world.bridges[slot]
    for each in SIDES:
        yield from actors.plug_hooked(world, to, each, 0)
    yield from actors.set_iface_id(world, to, SIDES[number % 2], 0)
    yield
    for each in SIDES[::1 if number % 4 < 2 else -1]:
        yield from actors.unplug(world, slot, each, 1)
        yield


def strip_identity(world, slot, side, number):
    row = world.row(slot, side)
    if row:
        change_map(world, "operator", row, "interface_ids", dict.fromkeys(world.identity(0)))
    return
    yield


def choose(world, slot, side, number):
    """``mirror port ... --from side``."""
    reader = world.db.reader()
    ports = reader.read(world.vifs[slot])
    if any(port.name == world.name(slot, side) for port in ports):
        reader.write([decide_vif(ports, world.settings, prefer=side)])
    return
    yield


def clear(world, slot, side, number):
    row = world.row(slot, side)
    if row:
        world.db.commit("operator", ("unit", row.uuid, actors.deciders(10)[2]))
    return
    yield


def unlist(world, slot, side, number):
    """An operator takes the bridge off the config's list of hold bridges, or puts it on the
    list."""
    world.settings.hold_bridges ^= {actors.HOLD}
    return
    yield


def restored(world, slot, side, number):
    """The host boots, the database is kept from before the boot, and the ports live."""
    world.settings.boot += "+"
    return
    yield


ACTORS = [poll, restart_neutron, admin, both_have_iface_id, migrate, strip_identity, choose, clear,
          unlist, restored] + [getattr(actors, name) for name in (
              "set_iface_id", "xapi_sync", "plug", "plug_hooked", "move", "new_guest", "unplug",
              "device_gone", "one_shot", "set_key")]


def rest(world, settle):
    """Let the agent, the watchers and ovs-xapi-sync act in turn until none of them writes. Fails
    if that takes more than a few rounds."""
    for _ in range(12):
        actors.quiesce(world, settle)
        count = len(world.db.journal)
        world.start(poll, 0, "vif", 1)
        world.finish()
        settle()
        if len(world.db.journal) == count:
            return
    raise AssertionError("the agent and we never come to rest")


def check(world):
    """Check the ground truth. Each living port is in its own guest's VLAN, or is closed, or, on a
    bridge that holds no ports, is as the stock script leaves a port. No living port is in another
    guest's VLAN."""
    agent, rows, settings = world.agent, world.db.rows, world.settings
    born, blurred = {}, set()
    for vif in world.vifs:
        story = Story(world.db.journal, vif, settings, rows)
        born.update(story.born)
        if story.blurred:
            # 4.9: ovs-xapi-sync gave a left-over row a new identity before we saw the row.
            blurred.update(row.uuid for row in story.rows)
        agents_port_untouched(story)
        foreign_columns_untouched(story)
    in_use = {(row.bridge, agent.vlans.get((row.bridge, code_of(iface_id)))): code_of(iface_id)
              for iface_id, row in agent.bound.items() if iface_id not in agent.down}
    for row in rows.values():
        if row.ofport == -1:
            continue
        ports = [port_of(other, rows) for other in rows_of(rows, vif_of(row))]
        decision = decide_vif(ports, settings)
        managed = "net_uuid" in row.other_config and "iface-id" in row.interface_ids
        tag = row.unit.get("tag")
        if is_real(row.unit):
            owner = in_use.get((row.bridge, tag))
            # 4.5, 1: we never write the agent's own port, we only report the port. Where
            # ovs-xapi-sync has led the agent itself to take the row for another guest's port, we
            # don't report the port either.
            told = managed and (decision.state == CONFLICT
                                or code_of(row.other_config["net_uuid"]) == owner)
            assert owner in (None, born[row.uuid]) or told or row.uuid in blurred, (
                "in the VLAN of %s" % owner, row)
        elif row.bridge in settings.hold_bridges:
            assert managed and has_no_vlan(row.unit) or not is_open_trunk(row.unit), ("open", row)
        assert tag != 4095 or not is_open_trunk(row.unit), ("dead and open", row)
    for iface_id, row in agent.bound.items():
        now = rows.get(row.uuid)
        if now is None or now.ofport == -1 or not now.unit and iface_id in agent.down:
            continue
        tag = agent.wants(iface_id, now)
        assert now.unit.get("tag") == tag, ("not as the agent has set it", tag, now)
        ports = [port_of(other, rows) for other in rows_of(rows, vif_of(row))]
        decision = decide_vif(ports, settings)
        for other in rows_of(rows, vif_of(row)):
            if other.ofport != -1 and decision.state not in (REFUSED, CONFLICT):
                assert other.unit.get("tag") == tag, ("not as its sibling", decision.reason, other)
