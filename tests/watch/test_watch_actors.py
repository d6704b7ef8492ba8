"""The life of a VIF's ports beside a watcher. The actors do what the real programs do (actors.py).

paced: the watcher has handled each transaction before the next transaction comes; otherwise the
transactions come as fast as ovsdb-server takes them. When a story ends, Host.check compares all
writes of the story with the writes that are allowed: no VLAN but the guest's own, nothing to the
agent's own port, no more transactions of ours than of the actors, and rows from which an agent that
starts anew restores the right VLANs.
"""
import pytest

from support.actors import NeutronAgent, Nic, act
from support.constants import HELD
from support.rows import unit
from support.story import HOLD, History, Host, ways

T5, T6, T7, DEAD, NONE = unit(5), unit(6), unit(7), unit(4095), {}
TRUNK = unit(None, "trunk", [5, 6])
RELEASES = NeutronAgent.RELEASES
EITHER = (True, False)


def plugged(host, nic, taps=True, own="vif"):
    """Plug both ports of a running guest, with iface-id on the port of the side `own`."""
    host.do(host.stock.add(nic.vif, nic))
    if taps:
        host.do(host.stock.add(nic.tap, nic))
    host.do(host.operator.ids(getattr(nic, own), iface_id=nic.iface_id))


def bound(host, nic, network="net-1", vlan=5, **how):
    plugged(host, nic, **how)
    name = getattr(nic, how.get("own", "vif"))
    version = host.interface_version(name)
    host.do(host.agent.bind(name, network, vlan))
    host.assert_both(nic, unit(vlan))
    # The Interface row stayed the same between the agent's two transactions, too.
    assert host.interface_version(name) == version


@ways("release", RELEASES)
def test_a_port_is_bound(ovs, release, paced):
    """Either of the two ports may be the one that has iface-id and is the agent's own."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs, release=release, paced=paced) as host:
        bound(host, nic)
        bound(host, other, "net-2", 6, own="tap")
        for sibling in (nic.tap, other.vif):
            assert "iface-id" not in host.ids(sibling)
            assert ovs.port(sibling)["other_config"] == {}
        assert host.agent.restored() == {"net-1": 5, "net-2": 6}


@ways("release", RELEASES)
def test_dead_and_up_again(ovs, release, paced):
    """An admin sets the Neutron port down and up again."""
    nic = Nic(12)
    with Host(ovs, release=release, paced=paced) as host:
        bound(host, nic)
        for _ in range(2):
            host.do(host.agent.dead(nic.vif))
            host.assert_both(nic, DEAD)
            assert host.agent.restored() == {}
            host.do(host.agent.bind(nic.vif, "net-1", 5))
            host.assert_both(nic, T5)


def test_down_and_up_faster_than_the_watcher_looks(ovs):
    nic = Nic(12)
    with Host(ovs) as host:
        bound(host, nic)
        with host.away("paused"):
            act(host.agent.dead(nic.vif))
            act(host.agent.bind(nic.vif, "net-1", 5))
        host.assert_both(nic, T5)
        # From now on the port stays dead.
        host.do(host.agent.dead(nic.vif))
        host.assert_both(nic, DEAD)
        host.do(host.agent.bind(nic.vif, "net-1", 5))


@ways("release", ("new", "queens"))
def test_port_deleted_in_neutron(ovs, release, paced):
    """process_deleted_ports makes the port dead for good; the guest is still there, in no
    network."""
    nic = Nic(12)
    with Host(ovs, release=release, paced=paced) as host:
        bound(host, nic)
        host.do(host.agent.dead(nic.vif))
        host.agent.lost(nic.vif)
        host.assert_both(nic, DEAD)


@ways("release", RELEASES)
def test_rebind_to_another_network(ovs, release, paced):
    nic = Nic(12)
    with Host(ovs, release=release, paced=paced) as host:
        bound(host, nic)
        for network, vlan in (("net-2", 6), ("net-1", 5), ("net-3", 7)):
            host.do(host.agent.bind(nic.vif, network, vlan))
            host.assert_both(nic, unit(vlan))
            assert host.agent.restored() == {network: vlan}


@ways("release", RELEASES)
def test_agent_restart(ovs, release, paced):
    """The agent restores its VLANs from the rows, binds all ports anew, and finds nothing to
    write."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs, hook=release != "yoga", release=release, paced=paced) as host:
        bound(host, nic)
        bound(host, other, "net-2", 6)
        # The tap is plugged anew, and gets the unit that its sibling has.
        host.do(host.stock.add(nic.tap, nic))
        host.assert_both(nic, T5)
        count, vif = host.count(), host.interface_version(nic.vif)
        assert host.agent.restored() == {"net-1": 5, "net-2": 6}
        host.do(host.agent.restart())
        assert host.agent.vlans == {"net-1": 5, "net-2": 6}
        assert (host.count(), host.interface_version(nic.vif)) == (count, vif)


@pytest.mark.parametrize("bound_first", [True, False])
def test_agent_restart_while_dead(ovs, bound_first):
    """The dead port is the last port of its network: after the restart the network gets another
    VLAN, and both ports get the new tag."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs) as host:
        bound(host, nic)
        host.do(host.agent.dead(nic.vif))
        assert host.agent.restored() == {}
        host.agent.lost(nic.vif)
        binds = [host.agent.bind(nic.vif, "net-1", 8)]
        if bound_first:  # the network's old VLAN belongs to another network by then
            bound(host, other, "net-2", 5)
        host.do(*binds)
        host.assert_both(nic, unit(8))
        assert host.agent.restored() == dict({"net-1": 8}, **(
            {"net-2": 5} if bound_first else {}))


@pytest.mark.parametrize("first, hook, paced", [("vif", True, True), ("tap", False, False)])
def test_port_unplugged(ovs, first, hook, paced):
    """The guest is shut down; then its VLAN becomes another tenant's, its domid another guest's."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, nic)
        order = (nic.vif, nic.tap) if first == "vif" else (nic.tap, nic.vif)
        for name in order:
            host.do(host.stock.clear(name))
            if name == nic.vif:
                host.agent.lost(name)
        assert ovs.port(nic.vif) is None and ovs.port(nic.tap) is None
        bound(host, other, "net-2", 5)
        # Another guest gets ports of the same names: they get nothing of the first guest's.
        again = Nic(12, "f")
        host.do(host.stock.add(again.tap, again), host.stock.add(again.vif, again))
        host.assert_both(again, NONE)
        assert not any("iface-id" in host.ids(name) for name in (again.vif, again.tap))


@ways("release", RELEASES)
def test_live_migration_in(ovs, release, paced):
    """The vif is plugged before the guest's memory is copied, and is bound minutes later; the tap
    is plugged after the binding."""
    nic = Nic(12)
    with Host(ovs, hook=release != "queens", release=release, paced=paced) as host:
        plugged(host, nic, taps=False)
        assert host.unit(nic.vif) == NONE
        # The port has no active binding here yet: port_dead leaves an untagged port as it is.
        host.do(host.agent.dead(nic.vif))
        assert host.unit(nic.vif) == NONE
        host.do(host.agent.bind(nic.vif, "net-1", 5))
        host.do(host.stock.add(nic.tap, nic))
        host.assert_both(nic, T5)


@ways("first", ("agent", "toolstack"))
def test_live_migration_out(ovs, first, paced):
    """binding_deactivate: the agent deletes its port, in a race with the toolstack."""
    nic = Nic(12)
    with Host(ovs, hook=True, paced=paced) as host:
        bound(host, nic)
        ends = [host.agent.deactivated(nic.vif), host.stock.clear(nic.vif)]
        host.do(*(ends if first == "agent" else ends[::-1]))
        assert host.unit(nic.tap) == T5 and host.state(nic) == "orphan"
        host.do(host.stock.clear(nic.tap))
        assert ovs.port(nic.tap) is None


@ways("hook", EITHER)
def test_local_migration_with_two_domains_of_one_vm(ovs, hook, paced):
    """Two domids have the same VM, VIF and Neutron port: we mirror each pair by itself."""
    old, new = Nic(12), Nic(13)
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, old)
        plugged(host, new)
        host.assert_both(new, NONE)
        host.do(host.agent.bind(new.vif, "net-1", 5), host.agent.dead(old.vif))
        host.assert_both(new, T5)
        host.assert_both(old, DEAD)
        host.do(host.stock.clear(old.tap), host.stock.clear(old.vif))
        host.agent.lost(old.vif)
        host.assert_both(new, T5)
        host.do(host.agent.bind(new.vif, "net-2", 6))
        host.assert_both(new, T6)


@ways("both, hook", EITHER, EITHER)
def test_pv_drivers_take_over(ovs, both, hook, paced):
    """QEMU closes the tap, and the tap's port is deleted: the agent's own port stays as it was."""
    nic = Nic(12)
    config = "[mirror]\niface_id = both\n" if both else ""
    with Host(ovs, config, hook=hook, paced=paced) as host:
        bound(host, nic)
        assert ("iface-id" in host.ids(nic.tap)) == both
        vif, ids, uuid = host.interface_version(nic.vif), host.ids(nic.vif), ovs.port(nic.tap)
        host.do(host.stock.clear(nic.tap))
        assert (host.interface_version(nic.vif), host.ids(nic.vif)) == (vif, ids)
        assert host.unit(nic.vif) == T5 and ids["iface-id"] == nic.iface_id
        # The hook takes iface-id off the dying row, in a transaction before the delete.
        taken = [record.number for record in History(ovs).records
                 if "tap12.0" in record.after and record.after["tap12.0"].uuid == uuid["_uuid"]
                 and record.comment.startswith("xenvif-tagger")
                 and not {"iface-id", "attached-mac"} & set(
                     record.after["tap12.0"].interface["external_ids"])]
        assert len(taken) == (both and hook)


@ways("hook", EITHER)
def test_windows_deletes_and_adds_the_vif_twice(ovs, hook, paced):
    """The PV driver of Windows has the vif deleted and added twice; the vif gets iface-id back from
    the tap."""
    nic = Nic(12)
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, nic)
        for _ in range(2):
            host.do(host.stock.clear(nic.vif))
            assert host.unit(nic.tap) == T5
            host.do(host.stock.add(nic.vif, nic))
            host.assert_both(nic, T5)
            assert host.ids(nic.vif)["iface-id"] == nic.iface_id
            assert "iface-id" not in host.ids(nic.tap)
            host.do(host.agent.bind(nic.vif, "net-1", 5))
            host.assert_both(nic, T5)


@ways("hook", EITHER)
def test_windows_adds_the_vif_late_and_gets_another_vlan(ovs, hook, paced):
    """The vif's port is away for more than three seconds: the agent has taken its VLAN back."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, nic)
        host.do(host.stock.clear(nic.vif))
        host.agent.lost(nic.vif)
        bound(host, other, "net-2", 5)
        host.do(host.stock.add(nic.vif, nic))
        host.do(host.agent.bind(nic.vif, "net-1", 7))
        host.assert_both(nic, T7)
        host.assert_both(other, T5)


@pytest.mark.parametrize("old_first, hook, paced", [(True, False, True), (False, True, False)])
def test_guest_reboot(ovs, old_first, hook, paced):
    """The guest gets a new domid, and so new rows; the old rows are deleted before or after."""
    old, new = Nic(12), Nic(14)
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, old)
        if not old_first:
            plugged(host, new)
        host.do(host.stock.clear(old.tap), host.stock.clear(old.vif))
        host.agent.lost(old.vif)
        if old_first:
            plugged(host, new)
        host.assert_both(new, NONE)
        host.do(host.agent.bind(new.vif, "net-1", 6))
        host.assert_both(new, T6)


@ways("hook, tap", EITHER, EITHER)
def test_set_locking_mode(ovs, hook, tap, paced):
    """VIF.set_locking_mode deletes and adds both ports; where PV drivers have taken over, the tap's
    row comes without a device, and the tap lends nothing. The hook keeps the vif's unit and
    ids."""
    nic = Nic(12)
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, nic)
        if not tap:
            host.do(host.stock.clear(nic.tap))
        host.do(host.stock.set_locking_mode(nic, tap_present=tap))
        if not tap:
            assert ovs.interface(nic.tap)["ofport"] == [-1]
        if tap:
            host.assert_both(nic, T5)
        elif hook:
            assert host.unit(nic.vif) == T5
        else:
            # No row has the vif's VLAN: the agent must bind the vif anew.
            assert host.unit(nic.vif) == NONE
            host.do(host.operator.ids(nic.vif, iface_id=nic.iface_id))
        assert host.ids(nic.vif)["iface-id"] == nic.iface_id
        host.do(host.agent.bind(nic.vif, "net-1", 5))
        host.assert_both(nic, T5)
        assert host.agent.restored() == {"net-1": 5}


@ways("hook", EITHER)
def test_vif_move(ovs, hook, paced):
    """VIF.move takes the vif alone to another bridge: the pair is refused until the vif is back."""
    nic = Nic(12)
    with Host(ovs, hook=hook, paced=paced) as host:
        bound(host, nic)
        network = nic.xapi_ids["xs-network-uuid"]
        nic.xapi_ids["xs-network-uuid"] = "net-br1"
        host.do(host.stock.move(nic, "br1"))
        assert host.state(nic) == "refused"
        assert (host.unit(nic.vif), host.unit(nic.tap)) == (NONE, T5)
        host.agent.lost(nic.vif)
        host.do(host.operator.unit(nic.vif, tag=7))
        assert (host.unit(nic.vif), host.unit(nic.tap)) == (T7, T5)
        nic.xapi_ids["xs-network-uuid"] = network
        host.do(host.stock.move(nic, "br0"))
        host.assert_both(nic, T5)
        host.do(host.agent.bind(nic.vif, "net-1", 6))
        host.assert_both(nic, T6)


@ways("hook", EITHER)
def test_set_trunks_and_the_late_clear(ovs, hook, paced):
    """xapi 26.17: the trunks of VIF.set_trunks go to both ports; the clear of trunks that ends each
    plug goes to no sibling."""
    nic = Nic(12)
    with Host(ovs, hook=hook, paced=paced) as host:
        plugged(host, nic)
        host.do(host.operator.unit(nic.vif, vlan_mode="trunk", trunks=[5, 6]))
        host.assert_both(nic, TRUNK)
        host.do(host.stock.set_trunks([nic.vif, nic.tap], [7, 8]))
        host.assert_both(nic, unit(None, "trunk", [7, 8]))
        # The plug ends with its late clear of trunks: we close the re-plugged port again, and the
        # tap was never open.
        for name in (nic.vif, nic.tap):
            host.do(host.stock.add(name, nic))
            host.assert_both(nic, unit(None, "trunk", [7, 8]))
        # An access port does not use its trunks: we mirror the trunks as an operator sets them.
        host.do(host.operator.unit(nic.tap, tag=5, vlan_mode=None, trunks=None))
        host.assert_both(nic, T5)


@ways("release, own", ("new", "yoga"), ("vif", "tap"))
def test_ovs_xapi_sync_puts_iface_id_on_both(ovs, own, release, paced):
    """ovs-xapi-sync writes all its keys to both rows; the agent takes either row for the port."""
    nic = Nic(12)
    with Host(ovs, hook=True, release=release, paced=paced,
              iface_ids={"vif-a0": "port-a0"}) as host:
        host.do(host.stock.add(nic.vif, nic))
        host.sync_until_quiet()
        host.do(host.stock.add(nic.tap, nic))
        host.sync_until_quiet()
        host.do(host.agent.bind(getattr(nic, own), "net-1", 5))
        host.sync_until_quiet()
        host.assert_both(nic, T5)
        vif, tap = host.ids(nic.vif), host.ids(nic.tap)
        assert vif["iface-id"] == tap["iface-id"] == "port-a0" and tap["vm-id"] == "vm-a"
        assert (vif["iface-status"], tap["iface-status"]) == ("inactive", "active")
        # The agent finds the port in the sibling's row, the row modified last, and binds the port
        # anew: the agent forgot the network when the network's last port went.
        other = nic.tap if own == "vif" else nic.vif
        host.agent.lost(getattr(nic, own))
        host.do(host.agent.bind(other, "net-1", 6))
        host.sync_until_quiet()
        host.assert_both(nic, T6)
        host.do(host.stock.clear(nic.tap))
        host.sync_until_quiet()
        assert host.ids(nic.vif) == dict(vif, **{"iface-status": "active"})


def test_we_write_between_ovs_xapi_syncs_read_and_its_write(ovs):
    """ovs-xapi-sync reads the rows, asks XAPI and writes; we write before its write. Then
    ovs-xapi-sync starts over, and the keys of both writers stay."""
    nic = Nic(12)
    with Host(ovs, iface_ids={"vif-a0": "port-a0"}) as host:
        host.do(host.stock.add(nic.vif, nic), host.stock.add(nic.tap, nic))
        steps = host.sync.look()
        assert next(steps) == "XAPI asked"
        host.do(host.operator.ids(nic.vif, role="db"))  # after this, the watcher writes to the tap
        assert host.ids(nic.tap)["role"] == "db"
        assert list(steps) == ["XAPI asked", "written"]
        host.sync_until_quiet()
        assert host.ids(nic.vif)["role"] == host.ids(nic.tap)["role"] == "db"
        assert host.ids(nic.vif)["iface-id"] == host.ids(nic.tap)["iface-id"] == "port-a0"


@pytest.mark.parametrize("release", ["yoga", "queens"])
@pytest.mark.parametrize("hook", EITHER)
def test_old_agent_writes_other_config_first(ovs, release, hook):
    """The re-plugged vif is the agent's own and has no tag yet: a vif without tag does not open the
    tap."""
    nic = Nic(12)
    with Host(ovs, hook=hook, release=release) as host:
        bound(host, nic)
        if not hook:
            host.down("stopped")
        act(host.stock.add(nic.vif, nic))
        act(host.operator.ids(nic.vif, iface_id=nic.iface_id))
        steps = host.agent.bind(nic.vif, "net-1", 5)
        next(steps)
        host.settle() if hook else host.up()
        host.settle()
        assert host.unit(nic.vif) == (T5 if hook else NONE)
        act(steps, host.settle)
        host.assert_both(nic, T5)
        assert History(ovs).units(nic.tap) == [NONE, T5]


GRACE = HOLD + "orphan_grace = %s\n"


@ways("back", EITHER)
def test_vlan_given_back_and_taken_by_another_tenant(ovs, back, paced):
    """The agent's port is gone for longer than the grace: we close the sibling that followed the
    agent's port."""
    nic, other = Nic(12), Nic(13, "e")
    with Host(ovs, GRACE % 0.3, hook=True, paced=paced) as host:
        bound(host, nic)
        host.extra = 1  # the grace
        host.do(host.stock.clear(nic.vif))
        host.agent.lost(nic.vif)
        host.watcher.until(lambda: host.unit(nic.tap) == HELD)
        bound(host, other, "net-2", 5)
        taken = host.count()
        if back:
            host.do(host.stock.add(nic.vif, nic))
            host.assert_both(nic, HELD)
            assert host.ids(nic.vif)["iface-id"] == nic.iface_id
            host.do(host.agent.bind(nic.vif, "net-1", 7))
            host.assert_both(nic, T7)
        assert all(record.after[name].unit != T5 for record in History(ovs).records[taken - 1:]
                   for name in (nic.vif, nic.tap) if name in record.after)


def test_a_vif_that_comes_back_within_the_grace(ovs):
    nic = Nic(12)
    with Host(ovs, GRACE % 3600, hook=True) as host:
        bound(host, nic)
        host.do(host.stock.clear(nic.vif))
        assert host.state(nic) == "orphan" and host.unit(nic.tap) == T5
        host.do(host.stock.add(nic.vif, nic))
        host.assert_both(nic, T5)


@ways("release", RELEASES)
def test_a_held_pair_is_bound(ovs, release, paced):
    """Each release of the agent opens both ports. In the end neither port has a column that the
    hold set beside the tag: the agent or the watcher clears these columns."""
    nics = {"vif": Nic(12), "tap": Nic(13, "e")}
    with Host(ovs, HOLD, hook=True, release=release, paced=paced) as host:
        for own, nic in sorted(nics.items()):
            plugged(host, nic, own=own)
            host.assert_both(nic, HELD)
            assert host.state(nic) == "held"
            host.do(host.agent.bind(getattr(nic, own), "net-1", 5))
            host.assert_both(nic, T5)
            for name in (nic.vif, nic.tap):
                assert "held" not in host.mark(name)
                assert NONE not in History(ovs).units(name)  # never a trunk of every VLAN
            # The agent sets the port dead and alive again: we write no hold.
            host.do(host.agent.dead(getattr(nic, own)))
            host.assert_both(nic, DEAD)
            host.do(host.agent.bind(getattr(nic, own), "net-1", 5))
            host.assert_both(nic, T5)


@ways("release", RELEASES)
def test_a_lone_held_vif_is_bound(ovs, release, paced):
    """The vif of a migration's target, on a hold bridge, is closed as long as the memory is
    copied."""
    nic = Nic(12)
    with Host(ovs, HOLD, hook=True, release=release, paced=paced) as host:
        plugged(host, nic, taps=False)
        host.do(host.agent.dead(nic.vif))
        assert host.unit(nic.vif) == HELD
        host.do(host.agent.bind(nic.vif, "net-1", 5))
        assert host.unit(nic.vif) == T5 and "held" not in host.mark(nic.vif)
        host.do(host.stock.add(nic.tap, nic))
        host.assert_both(nic, T5)


@ways("own", ("vif", "emu"))
def test_libxl_guest(ovs, own, paced):
    """vif-openvswitch deletes and adds the port in one transaction; the row of the emulated NIC
    outlives its device, until the guest ends."""
    nic = Nic(12)
    with Host(ovs, paced=paced) as host:
        host.do(host.libxl.add(nic.vif, nic), host.libxl.add(nic.emu, nic))
        name = getattr(nic, own)
        host.do(host.operator.ids(name, iface_id=nic.iface_id))
        host.do(host.agent.bind(name, "net-1", 5))
        host.assert_both(nic, T5, nic.emu)
        host.vswitchd.gone(nic.emu)
        host.do(host.libxl.add(nic.vif, nic))
        host.assert_both(nic, T5, nic.emu)
        host.do(host.libxl.remove(nic.vif), host.libxl.remove(nic.emu))
        host.agent.lost(name)


def test_os_vifs_ports_are_not_mirrored(ovs):
    """The ports of a libvirt host are os-vif's own: tap<eleven digits of the Neutron port>."""
    nic = Nic(12)
    with Host(ovs, HOLD) as host:
        for name, isolate in (("tap0123abcd-4e", True), ("tap12", False)):
            ours = len(History(ovs).ours())
            host.do(host.os_vif.plug(name, nic, isolate), host.agent.bind(name, "net-1", 5))
            assert host.unit(name) == T5 and len(History(ovs).ours()) == ours
            host.do(host.os_vif.unplug(name))
            host.agent.lost(name)


def test_many_guests_at_once(ovs):
    """Eight guests are plugged, bound and moved to other networks, and the ports of four guests are
    dead, all interleaved: no guest gets another guest's VLAN."""
    nics = [Nic(20 + number, chr(ord("e") + number)) for number in range(8)]
    with Host(ovs, hook=True, paced=False) as host:
        for nic in nics:
            plugged(host, nic)
        for first in (20, 40):
            binds = [host.agent.bind(nic.vif, "net-%d" % (first + number), first + number)
                     for number, nic in enumerate(nics)]
            while binds:
                binds = [steps for steps in binds if next(steps, None)]
        for nic in nics[::2]:
            act(host.agent.dead(nic.vif))
        host.settle()
        for number, nic in enumerate(nics):
            host.assert_both(nic, DEAD if number % 2 == 0 else unit(40 + number))


FORGED = {
    "another guest's VLAN": "no port of its guest ever had that unit",
    "the agent's own port": "is the agent's own",
    "its Interface": "is the agent's own",
    "an older decision": "unit is older than its own",
    "a clear of nobody's": "nobody cleared a port of its guest",
    "dead by nobody": "no port of its guest ever had that unit",
    "a held port opened": "no real tag released it",
    "another table": "a table that we never write",
    "other_config": "is never written",
    "too many": "of ours",
}


@pytest.mark.parametrize("what", [None] + sorted(FORGED))
def test_the_history_finds_each_forbidden_write(ovs, what):
    """The test forges the writes of a bad watcher: for each forged write History must fail, or the
    stories prove nothing."""
    nic, vif, tap = Nic(12), "vif12.0", "tap12.0"
    host = Host(ovs)  # no watcher runs: the test forges the writes
    act(host.stock.add(vif, nic))
    act(host.stock.add(tap, nic))
    act(host.agent.bind(vif, "net-1", 5))
    act(host.operator.unit(tap, tag=6))

    def forge(table, name, **row):
        ovs.transact({"op": "update", "table": table, "where": [["name", "==", name]],
                      "row": row}, {"op": "comment", "comment": "xenvif-tagger: %s" % tap})

    def mark(text):
        return {"external_ids": ["map", [["xenvif-tagger", text]]]}

    if what == "another guest's VLAN":
        forge("Port", tap, tag=11)
    elif what in ("the agent's own port", "its Interface"):
        act(host.operator.ids(vif, iface_id=nic.iface_id))
        if what == "its Interface":
            forge("Interface", vif, external_ids=["map", [["iface-id", "x"]]])
        else:
            forge("Port", vif, tag=6)
    elif what == "an older decision":
        forge("Port", tap, tag=5)
    elif what == "a clear of nobody's":
        forge("Port", tap, tag=["set", []])
    elif what == "dead by nobody":
        forge("Port", tap, tag=4095, **mark("{}"))
    elif what == "a held port opened":
        forge("Port", tap, tag=4095, vlan_mode="dot1q-tunnel", cvlans=4095,
              **mark('{"held":{"tag":4095}}'))
        forge("Port", tap, tag=["set", []], vlan_mode=["set", []], cvlans=["set", []])
    elif what == "another table":
        forge("Bridge", "br0", fail_mode="secure")
    elif what == "other_config":
        forge("Port", tap, other_config=["map", [["net_uuid", "net-1"]]])
    elif what == "too many":
        for number in range(50):
            forge("Port", tap, **mark('{"boot":"%d"}' % number))
    if what is None:
        History(ovs).check()
    else:
        with pytest.raises(AssertionError, match=FORGED[what]):
            History(ovs).check()
