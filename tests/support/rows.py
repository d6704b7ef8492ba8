"""Rows as the core sees them, made and changed by hand, for the tests of the core."""
import copy
import json

from support.constants import NEUTRON
from xenvif_tagger.core import mark
from xenvif_tagger.core.decide import decide_vif
from xenvif_tagger.core.decision import Settings
from xenvif_tagger.core.port import Port, cell_of
from xenvif_tagger.core.unit import UNIT

BOOT = "boot-now"
VIF_UUID = "port-vif"
TAP_UUID = "port-tap"
IDENTITY = {"xs-vif-uuid": "vif-a", "xs-vm-uuid": "vm-a", "attached-mac": "00:16:3e:00:00:0a"}
SETTINGS = Settings(boot=BOOT)


def unit(tag=None, vlan_mode=None, trunks=(), cvlans=()):
    values = {"tag": tag, "vlan_mode": vlan_mode, "trunks": list(trunks), "cvlans": list(cvlans)}
    return {column: value for column, value in values.items() if value not in (None, [])}


def row(side, unit=None, ids=None, identity=IDENTITY, mark=None, **more):
    """A row as plain data: the arguments of Port."""
    made = {
        "name": {"vif": "vif12.0", "tap": "tap12.0"}[side],
        "uuid": {"vif": VIF_UUID, "tap": TAP_UUID}[side],
        "bridge": "xenbr0", "unit": dict(unit or {}), "port_ids": {}, "other_config": {},
        "interface_ids": dict(identity, **(ids or {})), "ofport": None, "error": None,
        "policing": {}}
    made.update(more)
    if mark:
        made["port_ids"] = dict(made["port_ids"], **{"xenvif-tagger": json.dumps(mark)})
    return made


def vif(*args, **more):
    return row("vif", *args, **more)


def tap(*args, **more):
    return row("tap", *args, **more)


def base(unit=None, port=None, network=None, **ids):
    """A mark's base. port: the UUID of the other row; the default is the vif's UUID."""
    made = {"port": port or VIF_UUID, "unit": dict(unit or {}),
            "Port": ids.get("Port", {}), "Interface": ids.get("Interface", {}),
            "policing": ids.get("policing", {})}
    return dict(made, network=network) if network else made


def apply(rows, changes):
    """The rows (by name) after the changes. Fails if a change's old value is not the row's."""
    rows = copy.deepcopy(rows)
    for change in changes:
        found = rows[change.row]
        if change.column == "external_ids":
            cells, key = found[{"Port": "port_ids", "Interface": "interface_ids"}[change.table]], \
                change.key
        elif cell_of(change) in UNIT:
            cells, key = found["unit"], cell_of(change)
        else:
            cells, key = found["policing"], change.column
            cells.setdefault(key, 0)
        assert cells.get(key) == change.old and change.old != change.new, change
        if change.new is None:
            del cells[key]
        else:
            cells[key] = change.new
    return rows


class World(object):
    """A pair of rows, and the steps of a driver: decide, and write the changes to the rows."""

    def __init__(self, *rows, **settings):
        self.rows = {found["name"]: copy.deepcopy(found) for found in rows}
        settings.setdefault("boot", BOOT)
        self.settings = Settings(**settings)
        self.replugs = 0
        self.rivals = {}  # tag -> the networks of other ports that the agent bound to this VLAN

    def __getitem__(self, name):
        return self.rows.get({"vif": "vif12.0", "tap": "tap12.0"}.get(name, name))

    def __repr__(self):
        return "World(%r, %r)" % (self.rows, {
            name: getattr(self.settings, name) for name in self.settings.__slots__})

    def decide(self, **how):
        ports = [Port(rivals=self.rivals.get(found["unit"].get("tag"), ()), **found)
                 for found in self.rows.values()]
        return decide_vif(ports, self.settings, **how)

    def mirror(self, **how):
        """Decide and write; returns the decision. Fails if a second time changes anything."""
        decision = self.decide(**how)
        self.rows = apply(self.rows, decision.changes)
        how.pop("prefer", None)
        again = self.decide(**how)
        assert again.changes == [], again.changes
        return decision

    def tags(self):
        return tuple(self[side]["unit"].get("tag") if self[side] else None
                     for side in ("vif", "tap"))

    def units(self):
        return tuple(self[side]["unit"] for side in ("vif", "tap"))

    def mark(self, side):
        return mark.parse(self[side]["port_ids"].get(mark.KEY))

    def set(self, side, **unit_columns):
        """Set columns as ``ovs-vsctl set Port`` does; None clears a column."""
        for column, value in unit_columns.items():
            self[side]["unit"].pop(column, None)
            if value is not None:
                self[side]["unit"][column] = value

    def clear(self, side):
        self[side]["unit"] = {}

    def unplug(self, side):
        del self.rows[self[side]["name"]]

    def plug(self, side, unit=None, **more):
        """Plug the port by the stock script: a new row, with a new UUID and the identity keys
        only."""
        self.replugs += 1
        made = row(side, unit, **more)
        made["uuid"] += "-%d" % self.replugs
        self.rows[made["name"]] = made

    def bind(self, side, tag):
        """Bind the port as Neutron's agent does: the tag, then the agent's notes in
        other_config."""
        self.set(side, tag=tag)
        self[side]["other_config"] = dict(NEUTRON)
