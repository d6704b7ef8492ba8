"""`doctor` when it asks XAPI which VIFs are attached.

The host is that of doctor_host.py, XAPI is the stand-in of xapi_server.py; the database is real.
"""
import collections
import os
import subprocess

import pytest

from support.constants import LONG
from support.doctor_host import HERE, Host, Xapi, prepared, reach
from support.private_ovs import PrivateOvs
from support.watching import Watching
from support.xapi_server import PASSWORD, new_ref
from support.zoo import identity
from xenvif_tagger.xapi.session import MANY

LOGIN, LOGOUT = "session.login_with_password", "session.logout"
WHERE = "%s.get_all_records_where"


@pytest.fixture
def xapi():
    with Xapi() as server:
        yield server
        assert server.sessions == set(), "doctor has not logged out"


@pytest.fixture(scope="module")
def watched():
    with PrivateOvs() as ovs:
        with Watching(ovs) as watcher:
            reach(watcher, ovs.dir)
            yield ovs.dir


@pytest.fixture
def host(tmp_path, watched, xapi):
    host = Host(tmp_path, watched)
    host.options = ["--xapi", xapi.remote]
    host.write("/etc/xensource-inventory",
               "PRODUCT_BRAND='XCP-ng'\nINSTALLATION_UUID='%s'\nCONTROL_DOMAIN_UUID='x'\n" % HERE)
    return host


@pytest.fixture
def switch():
    with PrivateOvs() as ovs:
        yield prepared(ovs)


def vif(domid, devid=0):
    """The uuid of a VIF."""
    return identity(domid, devid)["xs-vif-uuid"]


def plug(host, ovs, *names, **columns):
    """Add ports of VIFs, and run `mirror all`, so that the rows have our marks."""
    for name in names:
        domid, devid = name.lstrip("viftap").split(".")
        ovs.add_port("br0", name, identity(int(domid), int(devid)), **columns)
    host.run(ovs, "-q", "mirror", "all")


def is_well(host, ovs, *words):
    checks = host.doctor(ovs)
    assert {check["state"] for check in checks.values()} == {"OK"}, checks
    for word in words:
        assert word in checks["xapi-vifs"]["found"]


# ---- right hosts ---------------------------------------------------------------------------------


def test_a_right_host(host, switch, xapi):
    """XAPI also knows VMs that are not on this host, and VIFs that are not attached; guests without
    a tap are well too."""
    plug(host, switch, "vif1.0", "tap1.0", "vif1.1", "vif2.0")
    xapi.add_vm("web", [vif(1), vif(1, 1)])
    xapi.add_vm("paused", [vif(2)], power_state="Paused")
    xapi.add_vm("elsewhere", [vif(3)], host=xapi.add_host("host-2"))
    for state in "Halted", "Suspended":
        xapi.add_vm(state, [vif(20 + len(state))], power_state=state, resident_on="OpaqueRef:NULL")
    xapi.add_vm("checkpoint", [vif(7)], power_state="Suspended")  # still on this host
    xapi.add_vm("snapshot", [vif(4)], is_a_template=True, is_a_snapshot=True,
                power_state="Suspended", resident_on="OpaqueRef:NULL")
    xapi.add_vm("Control domain", [vif(5)], is_control_domain=True)
    xapi.add_vm("unplugged", [vif(6)])
    xapi.change("VIF", vif(6), currently_attached=False)
    is_well(host, switch, "3 VIFs")
    assert xapi.calls == {LOGIN: 1, WHERE % "host": 1, WHERE % "VM": 1, WHERE % "VIF": 1, LOGOUT: 1}


def test_a_host_without_guests(host, switch, xapi):
    is_well(host, switch, "0 VIFs")


BUSY = {"current_operations": {"OpaqueRef:task": "an operation"}}


@pytest.mark.parametrize("vm", [
    dict(BUSY), dict(BUSY, resident_on="OpaqueRef:another"), dict(BUSY, power_state="Suspended"),
    {"is_control_domain": True}], ids=str)
@pytest.mark.parametrize("plugged", [True, False])
def test_a_vm_whose_vifs_may_be_plugged_or_not(host, switch, xapi, vm, plugged):
    """While a VM starts or migrates, its VIFs may be plugged or not: doctor reports no fault in
    either case. The same holds for the VIFs of a control domain."""
    if plugged:
        plug(host, switch, "vif1.0")
    xapi.add_vm("web", [vif(1)], **vm)
    is_well(host, switch, "0 VIFs")


@pytest.mark.parametrize("plugged", [True, False])
def test_a_vif_that_is_being_plugged_or_unplugged(host, switch, xapi, plugged):
    if plugged:
        plug(host, switch, "vif1.0")
    xapi.add_vm("web", [vif(1)])
    xapi.change("VIF", vif(1), currently_attached=not plugged, **BUSY)
    is_well(host, switch, "0 VIFs")


def test_a_vm_in_two_domains(host, switch, xapi):
    """A VM that migrates to its own host has two domains for a while: doctor finds the VM's ports
    by the VIF, not by the domain."""
    plug(host, switch, "vif1.0")
    switch.add_port("br0", "vif2.0", identity(1))
    host.run(switch, "-q", "mirror", "all")
    xapi.add_vm("web", [vif(1)], domid="1")
    is_well(host, switch, "1 VIFs")


def test_vifs_that_have_no_port(host, switch, xapi):
    """A VIF has no port here if the guest has a function of the network card itself (SR-IOV), or if
    another domain is the network's backend."""
    vlan = new_ref()
    networks = [xapi.add_network("sriov0", sriov_logical_PIF_of=[new_ref()], VLAN_slave_of=[vlan]),
                xapi.add_network("sriov0v5", VLAN_master_of=vlan), xapi.add_network("xenbr7")]
    xapi.tables["network"][networks[2]]["other_config"]["backend_vm"] = "a uuid"
    xapi.add_vm("web", [vif(1, devid) for devid in range(3)])
    for devid, network in enumerate(networks):
        xapi.change("VIF", vif(1, devid), network=network)
    is_well(host, switch)
    # From now on only another host's card has SR-IOV: this host must have ports for these VIFs.
    for pif in xapi.tables["PIF"].values():
        pif["host"] = "OpaqueRef:another"
    xapi._answers.clear()
    found = host.is_ill(switch, "xapi-vifs", "FAIL", "sriov0;", "sriov0v5")
    assert "xenbr7" not in found["found"]


# ---- hosts with a fault --------------------------------------------------------------------------


@pytest.mark.parametrize("ports, columns", [
    ([], {}), (["tap1.0"], {}), (["vif1.0"], {"ofport": -1})], ids=str)
def test_attached_and_not_plugged(host, switch, xapi, ports, columns):
    """The VIF counts as not plugged if only its tap is there, or if the vif's device has gone."""
    plug(host, switch, *ports, **columns)
    xapi.add_vm("web", [vif(1)])
    found = host.is_ill(switch, "xapi-vifs", "FAIL",
                        "VIF 0 of web is attached, and has no vif on xenbr0")
    assert found["cure"] == "xe vif-unplug uuid={0} && xe vif-plug uuid={0}".format(vif(1))
    assert ";" not in found["found"]


def test_paused_and_not_plugged(host, switch, xapi):
    xapi.add_vm("web", [vif(1)], power_state="Paused")
    host.is_ill(switch, "xapi-vifs", "FAIL", "web")


def cure_of(host, switch, *words):
    return host.is_ill(switch, "xapi-vifs", "WARN", *words)["cure"]


REMOVAL = "xl list 1 || ovs-vsctl --if-exists del-port vif1.0 -- --if-exists del-port tap1.0"


def test_plugged_and_unknown(host, ovs_dummy, xapi):
    """The command that doctor prints removes the ports, unless their domain is running."""
    prepared(ovs_dummy)
    plug(host, ovs_dummy, "vif1.0", "tap1.0")
    cure = cure_of(host, ovs_dummy, "vif1.0 and tap1.0: of a VIF that XAPI does not know")
    assert cure == REMOVAL
    for code, left in ("0", ["vif1.0", "tap1.0"]), ("1", []):
        host.program("xl", "[ \"$*\" = 'list 1' ] && exit %s\n" % code)
        env = dict(ovs_dummy.env, PATH=host.bin + ":" + ovs_dummy.env["PATH"])
        subprocess.run(["sh", "-c", cure], env=env, check=True, timeout=LONG)
        assert sorted(ovs_dummy.vsctl("list-ports", "br0").split()) == sorted(left)
    assert host.doctor(ovs_dummy)["xapi-vifs"]["state"] == "OK"


def test_plugged_and_no_uuid(host, switch, xapi):
    """Anybody may have written xs-vif-uuid: doctor sends no query with a value that is no uuid."""
    switch.add_port("br0", "tap1.0", {"xs-vif-uuid": '" or field "uuid" = "x'})
    host.run(switch, "-q", "mirror", "all")
    assert cure_of(host, switch, "tap1.0: of a VIF that") == (
        "xl list 1 || ovs-vsctl --if-exists del-port tap1.0")


@pytest.mark.parametrize("domid, cure", [
    ("1", "xe vif-plug uuid=" + vif(1)), ("9", REMOVAL)])
def test_plugged_and_not_attached(host, switch, xapi, domid, cure):
    """If the ports belong to the running guest, the cure plugs the VIF and removes no port; the
    cure for ports that an earlier domain has left removes the ports."""
    plug(host, switch, "vif1.0", "tap1.0")
    xapi.add_vm("web", [vif(1)], domid=domid)
    xapi.change("VIF", vif(1), currently_attached=False)
    assert cure == cure_of(
        host, switch, "vif1.0 and tap1.0: of VIF 0 of web, which is not attached")


@pytest.mark.parametrize("vm", [
    {"resident_on": "OpaqueRef:another"},
    {"power_state": "Halted", "resident_on": "OpaqueRef:NULL"},
    {"power_state": "Suspended"}], ids=str)
def test_plugged_here_and_running_elsewhere(host, switch, xapi, vm):
    plug(host, switch, "vif1.0", "tap1.0")
    xapi.add_vm("web", [vif(1)], domid="1", **vm)
    assert cure_of(host, switch, "VIF 0 of web, which is not running on this host") == REMOVAL


def test_faults_of_both_kinds_in_their_order(host, switch, xapi):
    """The faults that cut a guest off come first; after a few VIFs doctor only counts the rest."""
    plug(host, switch, "vif7.0", *["vif10.%d" % devid for devid in range(9)])
    for domid in 2, 1:
        xapi.add_vm("vm-%d" % domid, [vif(domid)])
    found = host.is_ill(switch, "xapi-vifs", "FAIL", "VIF 0 of vm-1", "; and 9 more")
    assert vif(1) in found["cure"]
    places = [found["found"].index(text) for text in ("vm-1", "vm-2", "vif7.0: of a")]
    assert places == sorted(places)


# ---- between two readings ------------------------------------------------------------------------


def test_plugged_between_the_readings(host, switch, xapi):
    xapi.add_vm("web", [vif(1)])
    xapi.before[WHERE % "VM"] = lambda: switch.add_port("br0", "vif1.0", identity(1))
    assert host.doctor(switch)["xapi-vifs"]["state"] == "OK"
    assert xapi.calls[WHERE % "VIF"] == 2


def test_unplugged_between_the_readings(host, switch, xapi):
    plug(host, switch, "vif1.0", "vif2.0")
    xapi.add_vm("web", [vif(1)])
    xapi.add_vm("gone", [vif(2)])

    def unplug():
        xapi.change("VIF", vif(1), currently_attached=False)
        switch.delete_port("vif1.0")
        xapi.tables["VIF"] = {ref: record for ref, record in xapi.tables["VIF"].items()
                              if record["uuid"] != vif(2)}
        switch.delete_port("vif2.0")

    xapi.before[WHERE % "VM"] = unplug
    assert host.doctor(switch)["xapi-vifs"]["state"] == "OK"
    assert xapi.calls[WHERE % "VIF"] == 2


def test_a_vif_that_is_attached_before_the_second_look(host, switch, xapi):
    """doctor's first look finds the VIF not attached, the second look finds it attached."""
    plug(host, switch, "vif1.0")
    xapi.add_vm("web", [vif(1)])
    xapi.change("VIF", vif(1), currently_attached=False)
    xapi.before[WHERE % "VIF"] = lambda: xapi.before.update({
        WHERE % "VIF": lambda: xapi.change("VIF", vif(1), currently_attached=True)})
    assert host.doctor(switch)["xapi-vifs"]["state"] == "OK"


def test_a_port_that_comes_between_the_two_looks_is_not_reported(host, switch, xapi):
    """doctor reports only faults of VIFs that both looks have seen."""
    xapi.add_vm("web", [vif(1)])
    xapi.before[WHERE % "VM"] = lambda: switch.add_port("br0", "vif2.0", identity(2))
    assert "vif2.0" not in host.is_ill(switch, "xapi-vifs", "FAIL", "web")["found"]


def test_the_database_goes_between_the_readings(host, switch, xapi):
    xapi.add_vm("web", [vif(1)])
    xapi.before[WHERE % "VM"] = switch.stop_server
    host.is_ill(switch, "xapi-vifs", "SKIP", "again", switch.remote)


def test_the_connection_goes_between_the_readings(host, switch, xapi):
    """XAPI may be so slow that ovsdb-server closes doctor's idle connection: doctor connects
    again."""
    def restart():
        switch.stop_server()
        switch.start_server()

    xapi.add_vm("web", [vif(1)])
    xapi.before[WHERE % "VM"] = restart
    host.is_ill(switch, "xapi-vifs", "FAIL", "web")


@pytest.mark.parametrize("number", [1, MANY, 1000])
def test_calls_are_bounded(host, switch, xapi, number):
    """The number of calls does not grow with the number of VIFs, on this host or on others, plugged
    or not."""
    other = xapi.add_host("host-2")
    for domid in range(number):
        xapi.add_vm("lacking", [vif(domid)])
        xapi.add_vm("elsewhere", [vif(domid + number)], host=other)
    switch.add_many_ports("br0", [
        {"name": "vif%d.0" % domid, "external_ids": identity(domid)}
        for domid in range(number, 2 * number)])
    host.options += ["--timeout", str(LONG)]
    assert host.doctor(switch)["xapi-vifs"]["state"] == "FAIL"
    calls = collections.Counter()
    for method, count in xapi.calls.items():
        calls[method.partition(".")[0]] += count
    assert calls == {"session": 2, "host": 1, "VM": 3, "VIF": 2, "network": 1, "PIF": 1}


# ---- XAPI does not answer ------------------------------------------------------------------------


def test_not_a_host_of_xapis(host, switch):
    os.unlink(host.at("/etc/xensource-inventory"))
    host.is_ill(switch, "xapi-vifs", "SKIP", "/etc/xensource-inventory")


@pytest.mark.skipif(os.path.exists("/var/lib/xcp/xapi"), reason="this host has an XAPI")
def test_xapi_has_no_socket(host, switch):
    host.options = []
    host.is_ill(switch, "xapi-vifs", "SKIP", "/var/lib/xcp/xapi")
    host.options = ["--xapi", "none"]
    host.is_ill(switch, "xapi-vifs", "SKIP", "--xapi none")


def test_a_host_of_another_pool(host, switch, xapi):
    xapi.change("host", HERE, uuid=vif(99))
    assert "--xapi" in host.is_ill(switch, "xapi-vifs", "WARN", HERE)["cure"]


@pytest.mark.parametrize("what, word", [
    ("hang", "within 0.3 s"), ("drop", "dropped"), ("garbage", "not XAPI"),
    (["HOST_IS_SLAVE", "10.0.0.1"], "https://10.0.0.1"), (["SESSION_INVALID"], "SESSION_INVALID"),
], ids=str)
@pytest.mark.parametrize("method", [".*get_all.*", WHERE % "network"])
def test_xapi_does_not_answer(host, switch, xapi, what, word, method):
    xapi.add_vm("web", [vif(1)])
    xapi.fault(method, what)
    if what == "hang":
        host.options += ["--timeout", "0.3"]
    found = host.is_ill(switch, "xapi-vifs", "WARN", word, xapi.remote)
    assert found["cure"] == "xe-toolstack-restart"


def test_xapi_is_down(host, switch):
    host.options = ["--xapi", "unix:%s" % host.at("/absent")]
    found = host.is_ill(switch, "xapi-vifs", "WARN", "no such socket")
    assert found["cure"] == "xe-toolstack-restart"


AS_NOBODY = """
import os, XenAPI, ovs.json, ovs.version
import xenvif_tagger.doctor.examine, xenvif_tagger.xapi.session
from xenvif_tagger.xapi import vms
plain = vms.ask_xapi
def ask_as_nobody(*args):
    os.seteuid(65534)
    return plain(*args)
vms.ask_xapi = ask_as_nobody
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become somebody else")
def test_not_root(host, switch, xapi):
    """Only root may use XAPI's socket."""
    host.patch = AS_NOBODY
    host.is_ill(switch, "xapi-vifs", "SKIP", "run as root", xapi.remote)


def test_records_of_another_shape(host, switch, xapi):
    xapi.add_vm("web", [vif(1)])
    del next(iter(xapi.tables["VIF"].values()))["currently_attached"]
    host.is_ill(switch, "xapi-vifs", "WARN", "not XAPI")


def test_without_the_library(host, switch):
    host.patch = "sys.modules['XenAPI'] = None"
    host.is_ill(switch, "xapi-vifs", "SKIP", "XenAPI", **{"python-XenAPI": "WARN"})


def test_linux_bridge(host, switch, xapi):
    host.write("/etc/xensource/network.conf", "bridge\n")
    xapi.add_vm("web", [vif(1)])
    assert host.doctor(switch)["xapi-vifs"]["state"] == "SKIP"
    assert xapi.calls == {}


def test_without_a_database(host, switch, xapi):
    switch.stop_server()
    assert host.doctor(switch)["xapi-vifs"]["state"] == "SKIP"
    assert xapi.calls == {}


def test_xapi_elsewhere(host, switch, tmp_path):
    (tmp_path / "password").write_bytes(PASSWORD.encode())
    with Xapi(tls=True) as xapi:
        xapi.add_vm("web", [vif(1)])
        host.options = ["--xapi", xapi.remote, "--password-file", str(tmp_path / "password")]
        found = host.is_ill(switch, "xapi-vifs", "WARN", "--no-verify")
        assert "--xapi" in found["cure"]
        host.options += ["--no-verify", "--user", "root"]
        host.is_ill(switch, "xapi-vifs", "FAIL", "web")
        assert xapi.sessions == set()


@pytest.mark.parametrize("options, word", [
    (["--xapi", "https://h"], "--password-file"), (["--xapi", "http://h"], "https://HOST")])
def test_bad_options(host, switch, options, word):
    host.options = options
    code, out, err = host.run(switch, "doctor")
    assert (code, out, err.count("\n")) == (2, "", 1) and word in err
