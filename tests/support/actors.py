"""Actors: stand-ins for the programs and people that write the rows of a VIF's ports beside us.

An actor stands for one program. Each method of an actor is a generator, which sends the program's
OVSDB transactions one at a time and yields after each, so that a test can act in between:

    act(agent.bind("vif12.0", "net-1", 5), between=host.settle)

Like ovsdbapp, ovs-vsctl and ovs-xapi-sync, an actor sends no transaction that would change nothing.
The transactions are those of the sources at: neutron 2131d26 (master), unmaintained/yoga and 12.1.1
(queens); openvswitch branch-2.5 and v2.17.7; os-vif e75e5c7; xen-api e2ee48d; xen c447b73.
"""
import json

from support.private_ovs import OvsError, to_map, to_set
from xenvif_tagger.host import config as config_file
from xenvif_tagger.plug.hook import Plug

DEAD_VLAN = 4095


def act(steps, between=None):
    """Do all steps of an actor's method, and call `between` after each."""
    for _ in steps:
        if between:
            between()


class Nic:
    """One NIC of a guest: its ports' names, and the external_ids that the toolstack gives them."""

    def __init__(self, domid, guest="a", devid=0, bridge="br0", iface_id=None):
        self.vif, self.tap = ("%s%d.%d" % (kind, domid, devid) for kind in ("vif", "tap"))
        self.emu = self.vif + "-emu"
        self.bridge = bridge
        self.mac = "00:16:3e:00:0%d:0%s" % (devid, guest)
        self.iface_id = iface_id or "port-%s%d" % (guest, devid)
        self.xapi_ids = {"xs-vif-uuid": "vif-%s%d" % (guest, devid), "xs-vm-uuid": "vm-" + guest,
                         "xs-network-uuid": "net-" + bridge, "attached-mac": self.mac}
        self.libxl_ids = {"xen-vm-name": guest, "xen-vm-uuid": "vm-" + guest,
                          "attached-mac": self.mac}


def write(ovs, table, name, who, **columns):
    """Write whole columns of one row, by UUID and unguarded, as the Python IDL does for ovsdbapp's
    DbSetCommand and DbClearCommand. If one column differs, all are written. None and [] clear a
    column."""
    found = ovs.rows(table, [["name", "==", name]])[0]
    as_read = {column: [] if value is None else value if isinstance(value, (dict, list))
               else [value] for column, value in columns.items()}
    if any(found[column] != value for column, value in as_read.items()):
        row = {column: to_map(value) if isinstance(value, dict) else ["set", value]
               for column, value in as_read.items()}
        ovs.transact({"op": "update", "table": table, "row": row,
                      "where": [["_uuid", "==", ["uuid", found["_uuid"]]]]},
                     {"op": "comment", "comment": who})


def merge(ovs, table, name, who, column, **keys):
    """Set keys of a map column as ovsdbapp's DbSetCommand does: one transaction waits for the old
    map and writes the whole new map; after a lost race the command begins again."""
    while True:
        found = ovs.rows(table, [["name", "==", name]])[0]
        new = dict(found[column], **keys)
        if new == found[column]:
            return
        where = [["_uuid", "==", ["uuid", found["_uuid"]]]]
        try:
            ovs.transact({"op": "wait", "table": table, "where": where, "timeout": 0,
                          "columns": [column], "until": "==",
                          "rows": [{column: to_map(found[column])}]},
                         {"op": "update", "table": table, "where": where,
                          "row": {column: to_map(new)}},
                         {"op": "comment", "comment": who})
            return
        except OvsError as error:
            if "timed out" not in str(error):
                raise


class NeutronAgent:
    """neutron/plugins/ml2/drivers/openvswitch/agent/ovs_neutron_agent.py, OVSNeutronAgent.

    release: "new" (23.0 to master), "yoga" (20; 17.4, 18.3 and 19.2 do the same) or "queens" (12;
    17.3, 18.2 and 19.1 are the last releases that never clear vlan_mode and trunks).

    Of two ports with one iface-id the real agent takes the one modified last, or another (ovs_lib,
    get_vifs_by_ids, get_vif_port_by_id). Here the test names the port in each call.
    """

    RELEASES = ("new", "yoga", "queens")

    def __init__(self, ovs, release="new"):
        self.ovs = ovs
        self.release = release
        self.vlans = {}  # like vlan_manager's: network -> the network's local VLAN on this host
        self.ports = {}  # the bound ports: name -> network

    def _tag(self, name):
        return (self.ovs.port(name)["tag"] or [None])[0]

    def _ofport(self, name):
        return (self.ovs.interface(name)["ofport"] or [None])[0]

    def bind(self, name, network, vlan):
        """process_network_ports -> treat_vif_port -> port_bound, then _bind_devices.

        The agent does the same for a port that is up again, or is bound to another network, and
        for every port after the agent's restart.
        """
        assert self.vlans.setdefault(network, vlan) == vlan, "the network has another VLAN"
        assert list(self.vlans.values()).count(vlan) == 1, "the VLAN is another network's"
        self.ports[name] = network
        notes = {"net_uuid": network, "network_type": "vlan", "physical_network": "physnet1",
                 "segmentation_id": "10%02d" % vlan}
        if self.release == "new":
            write(self.ovs, "Port", name, "neutron: _set_port_vlan", tag=vlan, vlan_mode=None,
                  trunks=[])
            yield "tag"
            merge(self.ovs, "Port", name, "neutron: port_bound", "other_config", tag=str(vlan),
                  **notes)
            yield "other_config"
            write(self.ovs, "Interface", name, "neutron: _bind_devices", other_config={})
            yield "Interface other_config"
        else:
            merge(self.ovs, "Port", name, "neutron: port_bound", "other_config", **notes)
            yield "other_config"
            merge(self.ovs, "Port", name, "neutron: _add_port_tag_info", "other_config",
                  tag=str(vlan))
            yield "other_config:tag"
        tag = self._tag(name)
        if tag != vlan:
            # All releases but "queens" clear vlan_mode and trunks, and only those of a dead port.
            clears = self.release != "queens" and tag == DEAD_VLAN and self._ofport(name) != -1
            write(self.ovs, "Port", name, "neutron: _bind_devices", tag=vlan,
                  **({"vlan_mode": None, "trunks": []} if clears else {}))
        yield "tag"

    def dead(self, name):
        """port_dead: for a port that is admin down, that process_deleted_ports handles, or that has
        no active binding on this host.

        The agent does not make a port without a tag dead: that port stays a trunk.
        """
        usable = self.release == "queens" or self._ofport(name) not in (None, -1)
        if usable and self._tag(name) not in (None, DEAD_VLAN):
            write(self.ovs, "Port", name, "neutron: port_dead", tag=DEAD_VLAN)
        yield "tag 4095"

    def deactivated(self, name):
        """process_deactivated_bindings: the source of a live migration deletes the port itself."""
        if self.ovs.port(name):
            self.ovs.delete_port(name)
        self.lost(name)
        yield "del-port"

    def lost(self, name):
        """treat_devices_removed -> port_unbound -> reclaim_local_vlan. Writes nothing to the
        database.

        If this was the last port of its network, any network can get the VLAN next.
        """
        network = self.ports.pop(name, None)
        if network not in self.ports.values():
            self.vlans.pop(network, None)

    def restored(self):
        """_restore_local_vlan_map: network -> VLAN, as an agent that starts now would believe.

        :raises KeyError: two networks have one VLAN; the real agent ends with the same error
        """
        available, hints = set(range(1, DEAD_VLAN)), {}
        for interface in self.ovs.rows("Interface"):
            # ovs_lib.get_vif_ports(ofport_filter) takes the ports of VMs that have a device.
            if not {"iface-id", "attached-mac"} <= set(interface["external_ids"]):
                continue
            if interface["ofport"] in ([], [-1]):
                continue
            port = self.ovs.port(interface["name"])
            network, tag = port["other_config"].get("net_uuid"), (port["tag"] or [None])[0]
            if tag and network and network not in hints and tag != DEAD_VLAN:
                available.remove(tag)
                hints[network] = tag
        return hints

    def restart(self):
        """Restart the agent: it takes the networks' VLANs from the rows, then binds all ports
        again."""
        ports, self.ports, self.vlans = self.ports, {}, self.restored()
        for name, network in sorted(ports.items()):
            if self.ovs.port(name):
                for step in self.bind(name, network, self.vlans[network]):
                    yield step


class OvsXapiSync:
    """XenServer's ovs-xapi-sync as Open vSwitch has it: xenserver/
    usr_share_openvswitch_scripts_ovs-xapi-sync (branch-2.5 to v2.17.7).

    iface_ids: xs-vif-uuid -> VIF.other_config:nicira-iface-id; where a VIF has none, its iface-id
    is its UUID.
    """

    def __init__(self, ovs, iface_ids=None):
        self.ovs = ovs
        self.iface_ids = dict(iface_ids or {})

    def _wanted(self, rows):
        """The external_ids that main(), update_tap_from_vif() and update_iface_id, _vm_id and
        _iface_status want on the rows: row -> ids."""
        wanted = {}
        for name in rows:
            ids = wanted[name] = dict(rows[name]["external_ids"])
            vif = rows.get("vif" + name[3:]) if name.startswith("tap") else None
            if vif:  # the program finds the vif by its name alone, whatever its bridge or VM
                for key in ("attached-mac", "xs-network-uuid", "xs-vif-uuid", "xs-vm-uuid"):
                    _put(ids, key, vif["external_ids"].get(key))
            uuid = ids.get("xs-vif-uuid")
            _put(ids, "iface-id", uuid and self.iface_ids.get(uuid, uuid))
            _put(ids, "vm-id", ids.get("xs-vm-uuid"))
            tap = name.startswith("vif") and "tap" + name[3:] in rows
            _put(ids, "iface-status", "active" if vif else "inactive" if tap
                 else "active" if name.startswith("vif") else None)
        return wanted

    def look(self):
        """A pass of main(): one transaction on all Interface rows, guarded by all of their ids."""
        while True:
            rows = {row["name"]: row for row in self.ovs.rows("Interface")}
            wanted = self._wanted(rows)
            yield "XAPI asked"
            changed = [name for name in sorted(rows)
                       if wanted[name] != rows[name]["external_ids"]]
            if not changed:
                return
            where = {name: [["_uuid", "==", ["uuid", rows[name]["_uuid"]]]] for name in rows}
            try:
                self.ovs.transact(*[
                    {"op": "wait", "table": "Interface", "where": where[name], "timeout": 0,
                     "columns": ["external_ids"], "until": "==",
                     "rows": [{"external_ids": to_map(rows[name]["external_ids"])}]}
                    for name in sorted(rows)] + [
                    {"op": "update", "table": "Interface", "where": where[name],
                     "row": {"external_ids": to_map(wanted[name])}} for name in changed] + [
                    {"op": "comment", "comment": "ovs-xapi-sync: Updating records from XAPI"}])
            except OvsError as error:
                if "timed out" not in str(error):
                    raise
                continue  # the real program reads again, too: TRY_AGAIN
            yield "written"
            return


def _put(ids, key, value):
    ids.pop(key, None)
    if value:
        ids[key] = value


class Vswitchd:
    """ovs-vswitchd: the columns that it writes of a port (vswitchd/bridge.c, iface_create and
    iface_refresh_*)."""

    def __init__(self, ovs):
        self.ovs = ovs
        self.last = 0

    def opened(self, name):
        self.last += 1
        write(self.ovs, "Interface", name, "vswitchd", ofport=self.last, error=None)

    def gone(self, name):
        """Note on the Interface that its device is missing."""
        write(self.ovs, "Interface", name, "vswitchd", ofport=-1,
              error="could not open network device %s (No such device)" % name)


class StockScripts:
    """xapi's scripts setup-vif-rules and vif-real (ocaml/xenopsd/scripts), and the calls by which
    xenopsd runs them (xc/xenops_server_xen.ml). ovs-vsctl is the real one.

    config (str): the text of our config file. With a text, our hook runs setup-vif-rules: the real
    Plug wraps the script's commands. With None the scripts run without our hook.
    """

    def __init__(self, ovs, vswitchd, config=None):
        self.ovs = ovs
        self.vswitchd = vswitchd
        self.values = None
        if config is not None:
            self.values, problems = config_file.parse(config)
            assert not problems, problems
            self.values["ovsdb", "remote"] = ovs.remote
            self.values["plug", "timeout"] = 30.0  # seconds: enough on a busy machine
        self.device = True
        self.meanwhile = self.afterwards = None

    def _doexec(self, device, action):
        """common.doexec(), wrapped by the hook if there is one."""
        def run(args):
            adds = "add-port" in args
            if adds and self.meanwhile:
                self.meanwhile()
            self.ovs.vsctl(*args[2:])
            if adds:  # ovs-vsctl waits until ovs-vswitchd has opened the port
                (self.vswitchd.opened if self.device else self.vswitchd.gone)(device)
                if self.afterwards:
                    self.afterwards()
            return 0, "", ""
        if self.values is None:
            return run
        plug = Plug(device, action, self.values)

        def hooked(args):
            result = plug.around(run)(args)
            assert not plug.failed, "the hook failed: see syslog"
            return result
        return hooked

    def filter(self, device, nic, present=True, meanwhile=None, afterwards=None):
        """setup-vif-rules ... filter -> handle_vswitch: del-port, add-port with the ids.

        present: whether the port's device exists.
        meanwhile: called after the hook has read and decided, just before ovs-vsctl commits.
        afterwards: called just after that commit, before the hook's second look.
        """
        doexec = self._doexec(device, "filter")
        self.device, self.meanwhile, self.afterwards = present, meanwhile, afterwards
        if self.ovs.port(device):
            doexec(["/usr/bin/ovs-vsctl", "--timeout=30", "--", "--if-exists", "del-port", device])
            yield "del-port"
        ids = ['external-ids:"%s"="%s"' % item for item in sorted(nic.xapi_ids.items())]
        doexec(["/usr/bin/ovs-vsctl", "--timeout=30", "add-port", nic.bridge, device]
               + [word for key in ids for word in ("--", "set", "interface", device, key)])
        yield "add-port"

    def late_clear(self, device, trunks=()):
        """handle_trunks, the end of vif-real from xapi 26.17 on. Sends nothing if the port has no
        trunks."""
        if trunks:
            self.ovs.vsctl("set", "Port", device, "trunks=" + ",".join(map(str, trunks)))
        else:
            self.ovs.vsctl("clear", "Port", device, "trunks")
        yield "trunks"

    def add(self, device, nic, trunks=(), **how):
        """A plug: udev calls vif-real online or add."""
        for step in self.filter(device, nic, **how):
            yield step
        for step in self.late_clear(device, trunks):
            yield step

    def clear(self, device):
        """An unplug: vif-real remove -> setup-vif-rules ... clear."""
        if self.ovs.port(device):
            self._doexec(device, "clear")(
                ["/usr/bin/ovs-vsctl", "--timeout=30", "--", "--if-exists", "del-port", device])
        yield "del-port"

    def set_locking_mode(self, nic, tap_present=True):
        """VIF.set_locking_mode: filter for vif and tap, without handle_trunks afterwards. The
        script makes the tap's row even where PV drivers have closed the tap."""
        for device, present in ((nic.vif, True), (nic.tap, tap_present)):
            for step in self.filter(device, nic, present):
                yield step

    def move(self, nic, bridge):
        """VIF.move: vif-real move, for the vif only."""
        nic.bridge = bridge
        for step in self.add(nic.vif, nic):
            yield step

    def set_trunks(self, devices, trunks):
        """VIF.set_trunks and remove_trunks of a running VM: first the vif's trunks, then the
        tap's."""
        for device in devices:
            for step in self.late_clear(device, trunks):
                yield step


class Libxl:
    """Xen's tools/hotplug/Linux/vif-openvswitch: one ovs-vsctl call to plug, one to unplug."""

    def __init__(self, ovs, vswitchd):
        self.ovs = ovs
        self.vswitchd = vswitchd

    def add(self, device, nic):
        words = ["--if-exists", "del-port", device, "--", "add-port", nic.bridge, device]
        for key, value in sorted(nic.libxl_ids.items()):
            words += ["--", "set", "interface", device,
                      "external-ids:%s=%s" % (key, json.dumps(value))]
        self.ovs.vsctl(*words)
        self.vswitchd.opened(device)
        yield "add-port"

    def remove(self, device):
        if self.ovs.port(device):
            self.ovs.vsctl("del-port", device)
        yield "del-port"


class OsVif:
    """os-vif's create_ovs_vif_port (vif_plug_ovs/ovsdb/ovsdb_lib.py): makes a row with all its
    ids."""

    def __init__(self, ovs, vswitchd):
        self.ovs = ovs
        self.vswitchd = vswitchd

    def plug(self, device, nic, isolate=False):
        """Plug the port. With isolate_vif (since 4.1.0) the port is dead until the agent binds it;
        without isolate_vif the port is a trunk of every VLAN until then."""
        port = {"name": device, "interfaces": ["named-uuid", "i"]}
        if isolate:
            port.update(tag=DEAD_VLAN, vlan_mode="trunk", trunks=to_set([DEAD_VLAN]))
        ids = {"iface-id": nic.iface_id, "iface-status": "active", "attached-mac": nic.mac,
               "vm-uuid": nic.xapi_ids["xs-vm-uuid"]}
        self.ovs.transact(
            {"op": "insert", "table": "Interface", "uuid-name": "i",
             "row": {"name": device, "external_ids": to_map(ids)}},
            {"op": "insert", "table": "Port", "uuid-name": "p", "row": port},
            {"op": "mutate", "table": "Bridge", "where": [["name", "==", nic.bridge]],
             "mutations": [["ports", "insert", ["named-uuid", "p"]]]})
        self.vswitchd.opened(device)
        yield "plugged"

    def unplug(self, device):
        """delete_ovs_vif_port() of os-vif."""
        if self.ovs.port(device):
            self.ovs.delete_port(device)
        yield "unplugged"


class Operator:
    """A person who writes with ovs-vsctl, or a script that gives XCP-ng's ports their iface-id."""

    def __init__(self, ovs):
        self.ovs = ovs

    def ids(self, device, table="Interface", **keys):
        """Set keys of external_ids (``_`` stands for ``-``); None removes a key."""
        for key, value in sorted(keys.items()):
            key = key.replace("_", "-")
            if value is None:
                self.ovs.vsctl("remove", table, device, "external_ids", key)
            else:
                self.ovs.vsctl("set", table, device, "external_ids:%s=%s" % (
                    key, json.dumps(value)))
            yield key

    def unit(self, device, **columns):
        """Set columns of the Port in one transaction; None clears."""
        words = []
        for column, value in sorted(columns.items()):
            if value is None:
                words += ["--", "clear", "Port", device, column]
            else:
                text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
                words += ["--", "set", "Port", device, "%s=%s" % (column, text)]
        self.ovs.vsctl(*words)
        yield "set"
