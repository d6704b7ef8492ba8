"""hotplug/vif-openvswitch-tagger in a stand-in dom0 with libxl's scripts
(docs/design.md 3: P1, P2).

With XEN_SCRIPTS=DIRECTORY the tests use the real scripts in that directory (dom0/stock.py).
"""
import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import time

import pytest

from dom0 import Dom0
from support.constants import ROOT
from xenvif_tagger.core import mark
from xenvif_tagger.ovsdb.jsonstream import Framer
from xenvif_tagger.plug import libxl as plug_libxl

SCRIPTS = "/etc/xen/scripts"
TAGGER = SCRIPTS + "/vif-openvswitch-tagger"
LOG = "/var/log/xen/xen-hotplug.log"
CONFIG = "/etc/xenvif-tagger.conf"
HELD = {"tag": [4095], "vlan_mode": ["dot1q-tunnel"], "cvlans": [4095], "trunks": []}
domids = itertools.count(1)


@pytest.fixture(scope="module")
def shared():
    with Dom0() as made:
        made.add_bridge("xenbr0")
        install(made)
        yield made


@pytest.fixture
def dom0(shared):
    """The shared dom0, with its config and scripts as usual: each test has domains of its own."""
    yield shared
    if os.path.exists(shared.path(CONFIG)):
        os.unlink(shared.path(CONFIG))


@pytest.fixture
def before(dom0):
    """Put a shell script before a command: before(NAME, TEXT), in which $real is the command."""
    done = []

    def put(name, text):
        place = "/usr/bin/" + name
        shown = dom0.path(place)
        kept = None
        if os.path.lexists(shown):
            kept = shown + ".kept"
            os.rename(shown, kept)
        real = place + ".kept" if kept else shutil.which(name)
        done.append((shown, kept))
        dom0.write_file(place, "#!/bin/sh\nreal=%s\n%s\n" % (real, text), 0o755)

    yield put
    for shown, kept in done:
        os.unlink(shown)
        if kept:
            os.rename(kept, shown)


def install(dom0, top=ROOT):
    place = dom0.path(TAGGER)
    if os.path.lexists(place):
        os.unlink(place)
    os.symlink(top + "/hotplug/vif-openvswitch-tagger", place)


def add(dom0, script=TAGGER, **options):
    return dom0.add_libxl_vif(next(domids), 0, script=script, **options)


def plug(dom0, vif, port):
    """libxl's call for vif1.0 or vif1.0-emu."""
    how = dom0.plug_libxl_emu if port == vif.emu else dom0.plug_libxl_vif
    return how(vif.domid, vif.devid)


def good(result):
    assert (result.returncode, result.stdout, result.stderr) == (0, "", ""), result
    return result


def unit(row):
    return {column: row[column] for column in HELD}


def only(**columns):
    return dict({column: [] for column in HELD}, **columns)


def noted(row):
    return mark.parse(row["external_ids"].get(mark.KEY))


def status(dom0, vif):
    return [dom0.xenstore.read(vif.backend + "/hotplug-" + key) for key in ("status", "error")]


def said(dom0, device):
    """Our lines in the syslog that name the device."""
    return [line for line in dom0.syslog()
            if re.search("xenvif-tagger: %s[: ]" % re.escape(device), line)]


class Watch:
    """A monitor of the database, which tells the columns with which a row first appeared."""

    COLUMNS = {"Port": ["name", "external_ids"] + sorted(HELD),
               "Interface": ["name", "external_ids"]}

    def __init__(self, dom0):
        self.ovs = dom0.ovs
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(dom0.ovs.socket_path)
        self.framer = Framer()
        self.messages = []
        tables = {table: {"columns": columns, "select": {"initial": False}}
                  for table, columns in self.COLUMNS.items()}
        self.socket.sendall(json.dumps({
            "method": "monitor", "params": ["Open_vSwitch", None, tables], "id": 1}).encode())
        self.next()  # the answer to the monitor request

    def next(self):
        while not self.messages:
            self.messages += self.framer.feed(self.socket.recv(1 << 16))
        return self.messages.pop(0)

    def born(self, name):
        """The Port and the Interface row of the first update that has them; ends the monitor."""
        while True:
            message = self.next()
            if message.get("method") != "update":
                continue
            found = [self.row(message["params"][1].get(table, {}), name) for table in (
                "Port", "Interface")]
            if found[0]:
                self.socket.close()
                return found

    @staticmethod
    def row(updates, name):
        for update in updates.values():
            new = update.get("new", {})
            if "old" not in update and new.get("name") == name:
                return {column: plain(value, column in HELD) for column, value in new.items()}
        return None


def plain(value, is_set):
    if not isinstance(value, list):
        return [value] if is_set else value
    return dict(value[1]) if value[0] == "map" else sorted(value[1])


def both(vif, order):
    return (vif.vif, vif.emu) if order == "vif first" else (vif.emu, vif.vif)


ORDERS = pytest.mark.parametrize("order", ["vif first", "emu first"])


# ---- P1 ---------------------------------------------------------------------------------------


@ORDERS
def test_a_port_is_born_with_its_siblings_unit_and_ids(dom0, order):
    vif = add(dom0)
    first, second = both(vif, order)
    good(plug(dom0, vif, first))
    assert unit(dom0.ovs.port(first)) == only()
    dom0.ovs.vsctl("set", "Port", first, "tag=5", "vlan_mode=access", "external_ids:a=\"b, c=d\"",
                   "--", "set", "Interface", first, "external_ids:iface-id=i",
                   "external_ids:vm-id=v")
    watch = Watch(dom0)
    good(plug(dom0, vif, second))
    port, interface = watch.born(second)
    assert unit(port) == only(tag=[5], vlan_mode=["access"])
    assert port["external_ids"]["a"] == "b, c=d"
    assert interface["external_ids"] == {
        "xen-vm-name": "guest", "xen-vm-uuid": vif.vm_uuid, "attached-mac": vif.mac, "vm-id": "v"}
    assert noted(port)["base"]["unit"] == {"tag": 5, "vlan_mode": "access"}
    assert noted(port)["base"]["port"] == dom0.ovs.port(first)["_uuid"]
    assert noted(port)["kept"]["iface-id"] == "i"
    assert dom0.is_up(second)
    assert unit(dom0.ovs.port(second)) == unit(port)
    assert status(dom0, vif) == ["connected", None]


@ORDERS
@pytest.mark.parametrize("bridge, columns", [
    ("xenbr0.5", {"tag": [5]}), ("xenbr0.5:7:6", {"tag": [5], "trunks": [6, 7]}),
    ("xenbr0:6:7", {"trunks": [6, 7]})])
def test_a_vlan_in_the_bridge_string_is_kept(dom0, order, bridge, columns):
    vif = add(dom0, bridge=bridge)
    for name in both(vif, order):
        watch = Watch(dom0)
        good(plug(dom0, vif, name))
        assert unit(watch.born(name)[0]) == only(**columns)
    for name in (vif.vif, vif.emu):
        assert unit(dom0.ovs.port(name)) == only(**columns)
    rows = [dom0.ovs.port(name) for name in (vif.vif, vif.emu)]
    assert [noted(row)["base"]["unit"] for row in rows if "base" in noted(row)] == [
        {column: value[0] if column == "tag" else value for column, value in columns.items()}]


def test_an_agents_own_port_wins_over_the_bridge_string_before_the_link_is_up(dom0):
    vif = add(dom0, bridge="xenbr0.5")
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=9", "other_config:net_uuid=n", "--", "set",
                   "Interface", vif.vif, "external_ids:iface-id=i")
    watch = Watch(dom0)
    good(plug(dom0, vif, vif.emu))
    port, _ = watch.born(vif.emu)
    assert unit(port) == only(tag=[5]) and set(noted(port)) == {"vif", "boot"}
    assert unit(dom0.ovs.port(vif.emu)) == unit(dom0.ovs.port(vif.vif)) == only(tag=[9])


def test_a_bridge_string_that_differs_from_the_sibling_is_a_conflict(dom0):
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=9")
    dom0.xenstore.write(vif.backend + "/bridge", "xenbr0.5")
    good(plug(dom0, vif, vif.emu))
    assert unit(dom0.ovs.port(vif.emu)) == only(tag=[5])
    assert unit(dom0.ovs.port(vif.vif)) == only(tag=[9])
    assert noted(dom0.ovs.port(vif.emu))["seen"]


def test_a_replugged_vif_has_its_tag_and_iface_id_again(dom0):
    vif = add(dom0)
    for name in (vif.vif, vif.emu):
        good(plug(dom0, vif, name))
    dom0.ovs.vsctl("set", "Port", vif.emu, "tag=5", "--",
                   "set", "Interface", vif.vif, "external_ids:iface-id=i")
    dom0.xenstore.write(vif.backend + "/state", 1)
    # The new row has lost the base with unit 5, and the vif has no unit yet.
    good(plug(dom0, vif, vif.emu))
    dom0.ovs.vsctl("set", "Port", vif.emu, "tag=5")
    watch = Watch(dom0)
    good(plug(dom0, vif, vif.vif))
    port, interface = watch.born(vif.vif)
    assert port["tag"] == [5] and interface["external_ids"]["iface-id"] == "i"


def test_the_sibling_retagged_while_ovs_vsctl_runs_is_followed_before_the_link_is_up(dom0, before):
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
    before("ovs-vsctl", '$real set Port %s tag=7; exec $real "$@"' % vif.vif)
    before("ip", 'case "$*" in *%s" up") ovs-vsctl.kept get Port %s tag >/run/seen;; esac\n'
           'exec $real "$@"' % (vif.emu, vif.emu))
    watch = Watch(dom0)
    good(plug(dom0, vif, vif.emu))
    assert unit(watch.born(vif.emu)[0]) == only(tag=[5])
    assert dom0.read_file("/run/seen") == "7\n"
    assert noted(dom0.ovs.port(vif.emu))["base"]["unit"] == {"tag": 7}


def test_one_process_more_than_stock(dom0, before):
    """Our script starts one process more than stock in each call; for a device without a VIF's
    name, our script starts no more than stock."""
    before("python3", 'echo "$$" >>/run/pythons; exec $real "$@"')

    def last_pid():
        return int(dom0.run("/bin/sh", "-c", "echo $$").stdout)

    counts = []
    for script in ("vif-openvswitch", TAGGER):
        vif = add(dom0, script=script)
        for call in (dom0.plug_libxl_vif, dom0.plug_libxl_emu, dom0.unplug_libxl_emu,
                     dom0.unplug_libxl_vif):
            first = last_pid()
            good(call(vif.domid, vif.devid))
            counts.append(last_pid() - first)
    assert [ours - stock for stock, ours in zip(counts[:4], counts[4:])] == [1, 1, 1, 1]
    vif = add(dom0, vifname="web%d" % next(domids))
    good(plug(dom0, vif, vif.vif))
    assert status(dom0, vif) == ["connected", None]
    assert len(dom0.read_file("/run/pythons").split()) == 4


# ---- left-overs, hold, unplug -----------------------------------------------------------------


@pytest.mark.parametrize("boot, tag", [(None, [5]), ("an-earlier-one", [])])
def test_an_emulated_nics_row_without_device_lends_if_this_boot_has_seen_it(dom0, boot, tag):
    vif = add(dom0)
    good(plug(dom0, vif, vif.emu))
    dom0.ovs.vsctl("set", "Port", vif.emu, "tag=5")
    if boot:
        text = mark.encode(dict(noted(dom0.ovs.port(vif.emu)), boot=boot))
        dom0.ovs.vsctl("set", "Port", vif.emu, "external_ids:%s=%s" % (mark.KEY, json.dumps(text)))
    dom0.remove_device(vif.emu)
    # A dummy ovs-vswitchd needs no device: the unknown type makes the port gone.
    dom0.ovs.vsctl("set", "Interface", vif.emu, "type=gone")
    assert dom0.ovs.interface(vif.emu)["ofport"] == [-1]
    watch = Watch(dom0)
    good(plug(dom0, vif, vif.vif))
    assert unit(watch.born(vif.vif)[0]) == only(tag=tag)
    # The guest ends, and the row of its emulated NIC goes too.
    for unplug in (dom0.unplug_libxl_vif, dom0.unplug_libxl_emu):
        good(unplug(vif.domid, 0))
    assert dom0.ovs.port(vif.vif) is dom0.ovs.port(vif.emu) is None


def test_the_link_goes_up_after_the_second_look(dom0, before):
    """The link waits for the second look, but no longer than the look's limit."""
    before("python3", "echo '=0.8'; read x; sleep 0.3; echo >/run/looked")
    before("ip", 'case "$*" in *up*) [ ! -e /run/looked ] || echo >/run/after;; esac\n'
           'exec $real "$@"')
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    assert os.path.exists(dom0.path("/run/after"))


@ORDERS
def test_a_port_on_a_hold_bridge_is_held_until_an_agent_binds_it(dom0, order):
    dom0.write_file(CONFIG, "[hold]\nbridges = xenbr0\n")
    vif = add(dom0)
    first, second = both(vif, order)
    for name in (first, second):
        watch = Watch(dom0)
        good(plug(dom0, vif, name))
        assert unit(watch.born(name)[0]) == HELD
    dom0.ovs.vsctl("set", "Port", first, "tag=5")
    watch = Watch(dom0)
    good(plug(dom0, vif, second))
    assert watch.born(second)[0]["tag"] == [5]
    assert [unit(dom0.ovs.port(name)) for name in (first, second)] == [only(tag=[5])] * 2


def test_a_vlan_in_the_bridge_string_is_not_held(dom0):
    dom0.write_file(CONFIG, "[hold]\nbridges = xenbr0\n")
    vif = add(dom0, bridge="xenbr0.5")
    for name in (vif.vif, vif.emu):
        good(plug(dom0, vif, name))
        assert unit(dom0.ovs.port(name)) == only(tag=[5])
        assert "held" not in noted(dom0.ovs.port(name))


def test_an_unplugged_port_loses_its_iface_id_before_its_row_goes(dom0, before):
    """The hook deletes the port right after the removal of iface-id, so that the stock script's
    del-port finds no port."""
    vif = add(dom0)
    for name in (vif.vif, vif.emu):
        good(plug(dom0, vif, name))
        dom0.ovs.vsctl("set", "Interface", name, "external_ids:iface-id=i")
    before("ovs-vsctl", '$real --columns=name list Port >/run/left; echo "$@" >/run/stock\n'
           'exec $real "$@"')
    count = len(dom0.ovs.records())
    good(dom0.unplug_libxl_emu(vif.domid, 0))
    taken, deleted = [text for text in dom0.ovs.records()[count:] if '"xenvif-tagger: ' in text]
    assert 'table Interface row "%s"' % vif.emu in taken and "external_ids=" in taken
    assert "attached-mac" in taken and "iface-id" in taken and "delete row" not in taken
    assert "delete row" in deleted and "%s is unplugged" % vif.emu in deleted
    assert vif.emu not in dom0.read_file("/run/left")
    assert "--if-exists del-port %s\n" % vif.emu in dom0.read_file("/run/stock")
    assert dom0.ovs.port(vif.emu) is None
    good(dom0.unplug_libxl_vif(vif.domid, 0))
    assert dom0.ovs.port(vif.vif) is None


# ---- P2 ---------------------------------------------------------------------------------------

# Seconds after which a plug counts as hanging: many times the script's time-outs, enough for a busy
# machine, and less than the time that the stand-ins sleep.
HANGS = 60


def as_stock(dom0, why):
    """Plug with the stock script and with ours: the results are alike, but for one line of our log
    for each port."""
    names = ("vif", "emu")
    seen = []
    for script in ("vif-openvswitch", TAGGER):
        vif = add(dom0, script=script)
        began = time.monotonic()
        results = [plug(dom0, vif, getattr(vif, name)) for name in names]
        took = time.monotonic() - began
        rows = []
        for name in names:
            port = dom0.ovs.port(getattr(vif, name))
            ids = dom0.ovs.interface(getattr(vif, name))["external_ids"]
            for secret in ("xen-vm-uuid", "attached-mac"):
                assert ids.pop(secret)
            rows.append((unit(port), port["external_ids"], ids, dom0.is_up(getattr(vif, name))))
        answers = [(result.returncode, result.stdout, result.stderr) for result in results]
        seen.append((answers, rows, status(dom0, vif), took))
    assert seen[0][:3] == seen[1][:3]
    assert seen[1][3] - seen[0][3] < len(names) * HANGS
    for name in names:
        lines = said(dom0, getattr(vif, name))
        assert len(lines) == 1 and why in lines[0], lines


def broken(dom0, how):
    top = "/opt/broken"
    shutil.rmtree(dom0.path(top), ignore_errors=True)
    for part in ("hotplug", "xenvif_tagger"):
        shutil.copytree(os.path.join(ROOT, part), dom0.path(top + "/" + part),
                        ignore=shutil.ignore_patterns("__pycache__"))
    how(dom0.path(top + "/xenvif_tagger"))
    install(dom0, top)


@pytest.mark.parametrize("how, why", [
    (shutil.rmtree, "No module named"),
    (lambda top: open(top + "/plug/hook.py", "w").close(), "AttributeError"),
    (lambda top: os.truncate(top + "/plug/hook.py", 3000), "Error"),
    (lambda top: os.truncate(top + "/plug/libxl.py", 900), "Error"),
    (lambda top: write(top + "/core/birth.py", "raise RuntimeError('no\\nway')"), "no way"),
    (lambda top: write(top + "/core/birth.py", "import os; os.abort()"), "python3 gave no answer"),
    (lambda top: write(top + "/core/birth.py", "import signal; signal.pause()"), "no answer"),
    (lambda top: write(top + "/core/birth.py", "print('=')"), "the stock script goes on alone"),
], ids=["missing", "empty", "truncated", "truncated too", "raising", "killed", "hung", "chatty"])
def test_with_a_broken_package_the_plug_is_as_by_stock(dom0, how, why):
    broken(dom0, how)
    try:
        as_stock(dom0, why)
    finally:
        install(dom0)


def write(path, text):
    with open(path, "w") as stream:
        stream.write(text)


@pytest.mark.parametrize("text, why", [
    ("exit 1", "no answer"), ("exec 1>&-; exec sleep 100", "no answer"),
    ("kill -9 $$", "no answer"), ("kill -STOP $$", "no answer")],
    ids=["fails", "silent", "killed", "stopped"])
def test_with_a_broken_python_the_plug_is_as_by_stock(dom0, before, text, why):
    before("python3", text)
    as_stock(dom0, why)


@pytest.mark.parametrize("text", ["kill -STOP $$", "echo '=0.1'; exec sleep 1000"],
                         ids=["before its answer", "after it"])
def test_a_python_that_hangs_is_ended(dom0, before, text):
    before("python3", "echo $$ >/run/hung; " + text)
    vif = add(dom0)
    # (Other tests write to this log, too. Their Python may be killed before bash has disowned it.)
    seen = len(dom0.read_file(LOG)) if os.path.exists(dom0.path(LOG)) else 0
    good(plug(dom0, vif, vif.vif))
    until = time.monotonic() + 20
    # The process is gone, or is a zombie.
    state = 'read -r _ _ state _ </proc/%d/stat && [ "$state" != Z ]' % int(
        dom0.read_file("/run/hung"))
    while not dom0.run("/bin/sh", "-c", state).returncode:
        assert time.monotonic() < until
    assert "no answer" in said(dom0, vif.vif)[0] or "again in time" in said(dom0, vif.vif)[0]
    # One line says so, and bash does not print the source of the job that was killed.
    assert "import" not in dom0.read_file(LOG)[seen:]


def test_a_python_that_is_killed_before_bash_has_disowned_it(dom0, before):
    """Bash then prints the job's command into Xen's log: one line, which is not Python's source."""
    before("python3", "kill -9 $$")
    dom0.write_file("/run/no-disown", "enable -n disown\n")
    vif = add(dom0)
    dom0.create_device(vif.vif)
    seen = len(dom0.read_file(LOG)) if os.path.exists(dom0.path(LOG)) else 0
    good(dom0.run(TAGGER, "online", "type_if=vif", env={
        "PATH": "/bin:/usr/bin", "XENBUS_PATH": vif.backend, "vif": vif.vif,
        "BASH_ENV": "/run/no-disown"}))
    killed = [line for line in dom0.read_file(LOG)[seen:].splitlines() if "Killed" in line]
    assert len(killed) == 1 and "import" not in dom0.read_file(LOG)[seen:]


def test_the_config_sets_the_time_for_pythons_answer(dom0, before):
    """The usual time is under a second."""
    dom0.write_file(CONFIG, "[plug]\ntimeout = 60\n")
    before("python3", 'sleep 1.5; exec $real "$@"')
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
    good(plug(dom0, vif, vif.emu))
    assert dom0.ovs.port(vif.emu)["tag"] == [5] and noted(dom0.ovs.port(vif.emu))["base"]
    assert not said(dom0, vif.vif)


def test_half_an_answer_of_python_is_not_used(dom0, before):
    before("python3", "printf '+%s\\n' -- set Port \"$5\" tag=9")
    as_stock(dom0, "no answer")


def test_no_python(dom0):
    with away(dom0, "/usr/bin/python3"):
        as_stock(dom0, "no python3")


@contextlib.contextmanager
def away(dom0, path):
    place = dom0.path(path)
    os.rename(place, place + ".away")
    try:
        yield
    finally:
        os.rename(place + ".away", place)


def test_no_open_vswitch(dom0):
    """The stock script reports the missing command, and must not take our function ovs-vsctl for
    that command."""
    with away(dom0, "/usr/bin/ovs-vsctl"):
        answers = []
        for script in "vif-openvswitch", TAGGER:
            vif = add(dom0, script=script)
            result = plug(dom0, vif, vif.vif)
            answers.append((result.returncode, result.stdout, status(dom0, vif)))
        assert answers[0] == answers[1] and answers[0][0] and not said(dom0, vif.vif)


def test_no_logger(dom0, before):
    """Without logger, our line goes to the file that has the stock script's standard error."""
    before("logger", 'case "$*" in *xenvif-tagger:*) exit 1;; esac; exec $real "$@"')
    before("python3", "exit 1")
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    assert ("xenvif-tagger: %s: python3 gave no answer\n" % vif.vif
            in dom0.read_file("/var/log/xen/xen-hotplug.log"))


def test_ovs_vsctl_refuses_our_words(dom0, before):
    before("ovs-vsctl", 'case "$*" in *"set port"*) echo no >&2; exit 1;; esac; exec $real "$@"')
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
    good(plug(dom0, vif, vif.emu))
    assert dom0.ovs.port(vif.emu)["tag"] == [5]  # the second look has set the tag
    assert "did not take the sibling's settings" in said(dom0, vif.emu)[-1]


@pytest.mark.parametrize("python, then, calls", [
    ("exec $real \"$@\"", "exit 1", 2), ("exec $real \"$@\"", "sleep 2.1; exit 1", 1),
    ("exit 1", "exit 1", 1)], ids=["our part", "the database", "no part of ours"])
def test_ovs_vsctl_is_run_again_if_our_words_may_be_at_fault(
        dom0, before, python, then, calls):
    before("python3", python)
    before("ovs-vsctl", "echo >>/run/calls; " + then)
    dom0.write_file("/run/calls", "")
    vif = add(dom0)
    assert plug(dom0, vif, vif.vif).returncode == 1
    assert dom0.read_file("/run/calls") == "\n" * calls


def test_no_second_look_at_a_port_that_was_not_plugged(dom0, before):
    before("python3", "echo '=0.5'; read x; echo >/run/looked-in-vain")
    before("ovs-vsctl", "exit 1")
    vif = add(dom0)
    assert plug(dom0, vif, vif.vif).returncode == 1
    assert not os.path.exists(dom0.path("/run/looked-in-vain"))


def test_ovs_vsctl_fails(dom0):
    vif = add(dom0, bridge="nobridge")
    stock = add(dom0, "vif-openvswitch", bridge="nobridge")
    assert [plug(dom0, each, each.vif).returncode for each in (vif, stock)] == [1, 1]
    ours, theirs = ([text.replace(each.vif, "DEV").replace(each.vm_uuid, "VM").replace(
        each.mac, "MAC") for text in status(dom0, each)] for each in (vif, stock))
    assert ours == theirs and ours[0] == "error" and "add-port nobridge DEV" in ours[1]


def test_the_database_hangs(dom0):
    """The stock script hangs too, for 30 s: we give up earlier, and leave the plug to that
    script."""
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.create_device(vif.emu)
    dom0.ovs.pause()
    try:
        began = time.monotonic()
        env = {"PATH": "/bin:/usr/bin", "XENBUS_PATH": vif.backend, "INTERFACE": vif.emu}
        with dom0.popen(TAGGER, "add", "type_if=tap", env=env) as process:
            while not said(dom0, vif.emu):
                assert time.monotonic() - began < HANGS
            dom0.ovs.resume()
            assert process.wait(30) == 0
    finally:
        dom0.ovs.resume()
    assert unit(dom0.ovs.port(vif.emu)) == only() and dom0.is_up(vif.emu)
    assert "hung" in said(dom0, vif.emu)[0] and len(said(dom0, vif.emu)) == 1


def test_pythons_start_counts_against_the_databases_time(dom0, before):
    before("python3", 'sleep 0.3; exec $real "$@"')
    vif = add(dom0)
    dom0.create_device(vif.vif)
    dom0.ovs.pause()
    env = {"PATH": "/bin:/usr/bin", "XENBUS_PATH": vif.backend, "vif": vif.vif}
    with dom0.popen(TAGGER, "online", "type_if=vif", env=env) as process:
        began = time.monotonic()
        while not said(dom0, vif.vif):
            assert time.monotonic() - began < 10
        dom0.ovs.resume()
        assert process.wait(30) == 0
    seconds = float(re.search(r"no answer within ([0-9.]+) s", said(dom0, vif.vif)[0]).group(1))
    assert 0.05 <= seconds <= plug_libxl.BUDGET - 0.3


@pytest.mark.parametrize("started", ["", "x", "0", "9" * 12, "nan"])
def test_an_unknown_start_of_python_counts_as_a_fixed_time(started):
    """The start is not known if bash is older than 5.0, or if the clock was set meanwhile."""
    assert plug_libxl._spent(started, 1) == plug_libxl.UNKNOWN_START


@pytest.mark.parametrize("text", ["[plug]\nstock_script = %s" % TAGGER, "nonsense", b"\xff\0",
                                  "[plug]\nstock_script = /nowhere/vif-openvswitch",
                                  "[plug]\nstock_script = /etc/xen/scripts",
                                  "[plug]\nstock_script = /etc/passwd"])
def test_a_wrong_config_does_not_fail_the_plug(dom0, text):
    dom0.write_file(CONFIG, text)
    vif = add(dom0)
    for name in (vif.vif, vif.emu):
        good(plug(dom0, vif, name))
    assert noted(dom0.ovs.port(vif.emu))["base"]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("config", [CONFIG, "/opt/config"])
def test_the_config_names_the_stock_script(dom0, config, end):
    dom0.write_file("/opt/stock/vif-openvswitch", STOCK, 0o755)
    dom0.write_file(config, "[plug]\n  stock_script =  /opt/stock/vif-openvswitch" + end)
    result = dom0.run(TAGGER, "online", env=dict(
        {"PATH": "/bin:/usr/bin"}, **{} if config == CONFIG else {"XENVIF_TAGGER_CONFIG": config}))
    assert (result.returncode, result.stdout) == (3, "/opt/stock/vif-openvswitch online\n")


STOCK = "#!/bin/sh\necho \"$0 $*\"\nexit 3\n"


@pytest.mark.parametrize("beside", [True, False])
def test_the_stock_script_is_beside_our_script_or_in_xens_directory(dom0, beside):
    """We look for the stock script beside the link by which our script is called, not beside the
    file to which the link leads."""
    there = "/opt/beside" if beside else "/opt/alone"
    if beside:
        dom0.write_file(there + "/vif-openvswitch", STOCK, 0o755)
    os.makedirs(dom0.path(there), exist_ok=True)
    os.symlink(ROOT + "/hotplug/vif-openvswitch-tagger", dom0.path(there + "/vif-tagger"))
    vif = add(dom0, script=there + "/vif-tagger")
    result = plug(dom0, vif, vif.vif)
    own = there + "/vif-openvswitch online type_if=vif\n"
    assert result.stdout == (own if beside else "")
    assert bool(dom0.ovs.port(vif.vif)) == (not beside)


def test_no_stock_script(dom0):
    with away(dom0, SCRIPTS + "/vif-openvswitch"):
        vif = add(dom0)
        result = plug(dom0, vif, vif.vif)
    assert result.returncode == 1 and "no stock script" in result.stderr
    assert any("no stock script" in line for line in dom0.syslog())


@pytest.mark.parametrize("env", [
    {"POSIXLY_CORRECT": "1"}, {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"},
    {"BASH_FUNC_ovs-vsctl%%": "() { false; }", "XENVIF_TAGGER_HOOK": "/nowhere"},
    {"SHELLOPTS": "errexit:posix"}, {"CDPATH": "/"}, {"PATH": "/nowhere"}],
    ids=lambda env: min(env))
def test_a_hostile_environment(dom0, env):
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
    dom0.create_device(vif.emu)
    watch = Watch(dom0)
    good(dom0.run(TAGGER, "add", "type_if=tap", env=dict({
        "XENBUS_PATH": vif.backend, "INTERFACE": vif.emu, "vif": vif.vif,
        "PATH": "/bin:/usr/bin"}, **env)))
    assert unit(watch.born(vif.emu)[0]) == only(tag=[5])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(dom0, closed):
    vif = add(dom0)
    good(plug(dom0, vif, vif.vif))
    dom0.ovs.vsctl("set", "Port", vif.vif, "tag=5")
    dom0.create_device(vif.emu)
    good(dom0.run("/bin/bash", "-c", "%s add type_if=tap %s" % (TAGGER, closed), env={
        "XENBUS_PATH": vif.backend, "INTERFACE": vif.emu, "PATH": "/bin:/usr/bin"}))
    assert unit(dom0.ovs.port(vif.emu)) == only(tag=[5])
    assert noted(dom0.ovs.port(vif.emu))["base"]["unit"] == {"tag": 5}
