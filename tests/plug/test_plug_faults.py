"""Whatever goes wrong, a port is plugged as by the stock script (P2), and a line of our log says
why."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from dom0.xapi import DAEMON
from dom0.xapi import SETUP_VIF_RULES as STOCK
from support.constants import CONFIG, HOOK, ROOT
from support.private_ovs import PrivateOvs, to_map

COMMON = os.path.dirname(STOCK) + "/common.py"
OURS = "xenvif-tagger: "
MARK = "xenvif-tagger"
DONE = "tap1.0 is plugged: vif1.0 has tag 5"
LATE = 5  # seconds after which a hanging server answers


class Plugged(object):
    """A call of a script, and its results.

    said: exit code, stdout and stderr; lines: stock's lines in the syslog; ours: our lines there;
    row: the device's row in the database, None if the device has no port.
    """

    def __init__(self, dom0, script, device="tap1.0", action="filter", args=None, env=None,
                 shell='exec "$@"', database=True, log=True, **popen):
        if database and dom0.ovs.port(device):
            dom0.ovs.delete_port(device)
        seen = len(dom0.syslog()) if log else 0
        if args is None:
            args = ("classic", device, dom0.vifs[1, 0].vm_uuid, 0, action)
        result = dom0.run("/bin/sh", "-c", shell, "sh", script, *args,
                          env=DAEMON if env is None else env, **popen)
        self.said = result.returncode, result.stdout, result.stderr
        lines = [line.partition(": ")[2] for line in dom0.syslog()[seen:]] if log else []
        self.lines = [_plain(line) for line in lines
                      if not re.match(OURS + r"|ovs\|\d+\|(timeval|poll_loop|coverage)\|", line)]
        self.ours = [line[len(OURS):] for line in lines if line.startswith(OURS)]
        self.row = _row(dom0, device) if database else None


def _plain(line):
    """A line of the syslog without the numbers that differ each time, and without our words to
    add-port."""
    line = re.sub(r"\[\d+\](?= - )|(?<=name=)\d+|(?<=ovs\|)\d+", "", line)
    line = re.sub(r"(-ofport', )'\d+'", r"\1N", line)
    return re.sub(r"""(add-port .*attached-mac\\?"=\\?"[0-9a-f:]{17}\\?"['"]).*?(\]?)$""",
                  r"\1\2", line.replace("'add-port',", "add-port "))


def _row(dom0, device):
    port, interface = dom0.ovs.port(device), dom0.ovs.interface(device)
    if port is None:
        return None
    row = {column: port[column] for column in (
        "tag", "vlan_mode", "trunks", "cvlans", "external_ids", "other_config", "qos")}
    row["mark"] = row["external_ids"].pop(MARK, None) is not None
    row["ids"] = interface["external_ids"]
    row["open"] = bool(interface["ofport"]), interface["error"], dom0.is_up(device)
    return row


def compare(dom0, *why, **options):
    """Plug by the stock script, then by `script` (the hook): the results are alike, but for the
    differences that the options allow.

    why      regular expressions, one for each of our lines, in their order
    tagged   True: the port has its sibling's tag all the same; None: the port may have that tag
    extra    stock may run ovs-vsctl once more
    stock    options for the stock script only
    """
    script, tagged = options.pop("script", HOOK), options.pop("tagged", False)
    extra, differs = options.pop("extra", False), options.pop("stock", {})
    stock = Plugged(dom0, STOCK, **dict(options, **differs))
    ours = Plugged(dom0, script, **options)
    assert ours.said == stock.said
    assert len(ours.ours) == len(why), ours.ours
    for line, pattern in zip(ours.ours, why):
        assert re.search(pattern, line)
    if extra:
        left = iter(ours.lines)
        assert all(line in left for line in stock.lines)
    else:
        assert ours.lines == stock.lines
    if tagged is None:
        tagged = bool(ours.row and ours.row["tag"])
    assert ours.row == (dict(stock.row, tag=[5], mark=True) if tagged else stock.row)
    return ours


def differs(stock, ours, why=None):
    """The first difference (str) between a plug with a bug of ours and a plug by the stock script;
    "" if the two are alike."""
    left = iter(ours.lines)
    if ours.said != stock.said:
        return "%s" % (ours.said,)
    if dict(ours.row or {}, tag=[], mark=False) != stock.row:
        return "row: %s" % ours.row
    if not all(line in left for line in stock.lines):
        return "stock's lines are not all there"
    if sum("Called with interface" in line for line in ours.lines) != 1:
        return "stock ran more than once"
    if why is not None and not (len(ours.ours) == 1 and re.search(why, ours.ours[0])):
        return "lines: %s" % ours.ours
    return ""


def edit(dom0, path, *replacements):
    """Change a stock script. Each replacement must apply."""
    text = dom0.read_file(path)
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    dom0.write_file(path, text, 0o755)


# ---- the database -----------------------------------------------------------------------------


class Server(object):
    """A server on a socket that runs act(connection, over) for a connection; `over` is set when the
    test ends."""

    def __init__(self, path, act):
        self.over, self.late = threading.Event(), False
        self._act = act
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(5)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self):
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    self.late |= bool(self._act(connection, self.over))
                except OSError:
                    pass  # the client has gone


def hang(connection, over, reply=b'{"id":1,"error":null,"result":[{"rows":[]}]}'):
    """Answer after LATE seconds. Returns whether the client has waited until then."""
    late = not over.wait(LATE)
    if late:
        connection.sendall(reply)
    return late


def says(reply, then=lambda connection, over: False):
    def act(connection, over):
        connection.recv(1 << 16)
        connection.sendall(reply)
        return then(connection, over)
    return act


def trickle(connection, over):
    for _ in range(LATE * 20):
        connection.sendall(b" ")
        if over.wait(0.05):
            return False
    return True


def storm(connection, over):
    while not over.is_set():
        connection.sendall(b'{"id":"echo","method":"echo","params":[]}')
        connection.recv(1 << 16)


def result(value, **more):
    return says(json.dumps(dict({"id": 1, "error": None, "result": value}, **more)).encode())


SERVERS = {
    "hangs": hang,
    "5 s": says(b"", hang),
    "closes": lambda connection, over: False,
    "closes when asked": says(b""),
    "closes mid-reply": says(b'{"id":1,"error":null,"result":[{"ro'),
    "hangs mid-reply": says(b'{"id":1,"error":null,"result":[{"ro', hang),
    "garbage": says(b"\0\xff\xfe\x80 garbage"),
    "http": says(b"HTTP/1.1 400 Bad Request\r\n\r\n{}"),
    "newlines": says(b'{"id":1,"result":"\\n\\u0000\\ud800","error":null}'),
    "array": says(b"[]"),
    "deep": says(b'{"id":' + b"[" * 200000),
    "deep objects": says(b'{"a":' * 50000 + b"1" + b"}" * 50000),
    "trickle": says(b"", trickle),
    "storm of echoes": storm,
    "null": result(None),
    "no result": says(b'{"id":1}'),
    "number": result(7),
    "no rows": result([{}]),
    "rows null": result([{"rows": None}]),
    "rows of rows": result([{"rows": [[]]}]),
    "too many": result([{"rows": []}] * 9),
    "an error": result(None, error="unknown database"),
    "an odd error": result(None, error=[{"x": "\0"}]),
    "an operation's error": result([{"error": "a\0b\n\udcff", "details": None}]),
}


def remote(dom0, where, timeout=1):
    """Let the hook ask this remote.

    :param timeout: seconds that the hook waits for all answers together
    """
    dom0.write_file(CONFIG, "[ovsdb]\nremote = %s\n[plug]\ntimeout = %d\n" % (where, timeout))


@pytest.mark.parametrize("kind, action", [(kind, "filter") for kind in sorted(SERVERS)] + [
    ("5 s", "clear"), ("closes mid-reply", "clear"), ("garbage", "clear")])
def test_a_server_that_is_no_ovsdb_server(dom0, kind, action):
    path = dom0.ovs.dir + "/fake.sock"
    remote(dom0, "unix:" + path)
    with Server(path, SERVERS[kind]) as server:
        compare(dom0, "before del-port: .*the stock script goes on alone", action=action)
        assert not server.late


def test_no_server(dom0):
    for where in ("unix:/nowhere", "unix:/etc/passwd", "unix:/", "unix:/" + "x" * 200,
                  "ssl:127.0.0.1:6640", "tcp:127.0.0.1:1", "tcp:127.0.0.1",
                  "tcp:nowhere.invalid:1", "tcp:" + "x" * 300 + ":1"):
        remote(dom0, where)
        compare(dom0, "before del-port: .*the stock script goes on alone")


def test_a_server_that_is_stopped_and_one_whose_queue_is_full(dom0):
    with PrivateOvs() as other:
        other.pause()
        remote(dom0, other.remote)
        compare(dom0, "no answer within 1 s")
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        path = dom0.ovs.dir + "/full.sock"
        full.bind(path)
        full.listen(0)
        first.connect(path)
        remote(dom0, "unix:" + path)
        compare(dom0, "no answer within 1 s|no connection within 1 s")


@pytest.mark.parametrize("then", ["hangs", "closes"])
@pytest.mark.parametrize("good", range(4))
def test_a_server_that_fails_after_some_answers(dom0, good, then):
    """The hook sends its first request before del-port, two requests before add-port, and the other
    requests after add-port."""
    def act(connection, over):
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(dom0.ovs.socket_path)
            for _ in range(good):
                real.sendall(connection.recv(1 << 20))
                connection.sendall(real.recv(1 << 20))
            return SERVERS[then](connection, over)

    path = dom0.ovs.dir + "/fake.sock"
    remote(dom0, "unix:" + path, timeout=4)  # a busy server may need 3 seconds for the answers
    with Server(path, act) as server:
        if good < 3:
            compare(dom0, "before %s-port: .*the stock script goes on alone" % (
                "del" if good < 1 else "add"))
        else:
            compare(dom0, DONE, "after add-port: ", tagged=True)
        assert not server.late


def relay(dom0, before_request):
    """An act for Server: passes all on to the real ovsdb-server, and calls before_request(data)
    before each piece that the client sends."""
    def act(connection, over):
        with socket.socket(socket.AF_UNIX) as real:
            real.connect(dom0.ovs.socket_path)
            to = {connection: real, real: connection}
            while True:
                for end in select.select(list(to), [], [])[0]:
                    data = end.recv(1 << 20)
                    if not data:
                        return
                    if end is connection:
                        before_request(data)
                    to[end].sendall(data)
    return act


def unplugged(dom0, act):
    """Unplug tap1.0 with the hook, whose database is behind an act for Server; returns our lines in
    the log."""
    path = dom0.ovs.dir + "/fake.sock"
    remote(dom0, "unix:" + path, timeout=60)
    with Server(path, act):
        seen = len(dom0.syslog())
        done = dom0.run(HOOK, "classic", "tap1.0", dom0.vifs[1, 0].vm_uuid, 0, "clear", env=DAEMON)
    assert done.returncode == 0 and dom0.ovs.port("tap1.0") is None
    return [line for line in dom0.syslog()[seen:] if OURS in line]


@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("change, expected", [
    (("set", "Port", "vif1.0", "other_config:net_uuid=Z"), None),
    (("del-port", "vif2.0"), "i"),
    (("set", "Interface", "tap1.0", "external_ids:iface-id=another"), "another")],
    ids=["the agent binds the sibling", "the other domain's port goes", "the iface-id changes"])
def test_a_row_that_changes_during_an_unplug(dom0, change, expected, moment):
    """Before each request of the unplug step: the step never acts on rows as they were before."""
    Plugged(dom0, HOOK)
    dom0.ovs.vsctl("set", "Interface", "tap1.0", "external_ids:iface-id=i")
    if change[0] == "del-port":  # a local migration: two domains of one guest
        dom0.ovs.add_port("xenbr0", "vif2.0", {"iface-id": "i", "xs-vif-uuid": "b"}, ofport=9)
    requests = []

    def before_request(_):
        requests.append(None)
        if len(requests) == moment + 1:
            dom0.ovs.vsctl(*change)

    unplugged(dom0, relay(dom0, before_request))
    if len(requests) <= moment:
        return  # the step has fewer requests
    found = dom0.ovs.interface("vif1.0")["external_ids"].get("iface-id")
    assert found == expected


@pytest.mark.parametrize("races, said", [
    (0, "iface-id taken off: "), (2, "iface-id taken off: "), (3, "iface-id not taken off: ")])
def test_a_race_for_the_ids_of_a_dying_port(dom0, races, said):
    """The hook tries three times to remove the keys; the port is unplugged in any case."""
    Plugged(dom0, HOOK)
    for name in "vif1.0", "tap1.0":
        dom0.ovs.vsctl("set", "Interface", name, "external_ids:iface-id=i")
    lost = []

    def race(data):
        if (b'"mutate"' in data or b'"update"' in data) and len(lost) < races:
            lost.append(dom0.ovs.vsctl(
                "set", "Interface", "tap1.0", "external_ids:attached-mac=00:00:00:00:00:0%d" % (
                    len(lost)), "--", "set", "Interface", "vif1.0",
                "external_ids:attached-mac=00:00:00:00:00:0%d" % len(lost)))

    line, = unplugged(dom0, relay(dom0, race))
    assert len(lost) == races and "tap1.0: " + said in line


def test_no_server_for_ovs_vsctl_either(dom0):
    dom0.ovs.stop_server()
    stock = Plugged(dom0, STOCK, database=False)
    ours = Plugged(dom0, HOOK, database=False)
    assert ours.said == stock.said
    assert ours.said[0] == 1
    assert ours.lines == stock.lines
    assert len(ours.ours) == 1


def test_10000_ports(dom0):
    # ovs-vswitchd would open all the ports, which takes minutes: without ovs-vswitchd no plug waits
    # for that.
    os.kill(dom0.ovs.vswitchd_pid, signal.SIGKILL)
    dom0.ovs.vswitchd = None
    shim(dom0, 'set -- --no-wait "$@"')
    dom0.ovs.add_many_ports("xenbr0", [{"name": "p%d" % number} for number in range(10000)])
    compare(dom0, DONE, tagged=True)


# ---- ovs-vsctl --------------------------------------------------------------------------------


def shim(dom0, text):
    """Run this text before each ovs-vsctl."""
    real = "/usr/libexec/real/ovs-vsctl"
    os.makedirs(os.path.dirname(dom0.path(real)))
    shutil.copy(shutil.which("ovs-vsctl"), dom0.path(real))
    dom0.write_file("/usr/bin/ovs-vsctl", '#!/bin/bash\n%s\nexec %s "$@"\n' % (text, real), 0o755)


@pytest.mark.parametrize("how", [
    "exit 1", "exit 77", "kill -9 $$", "echo no >&2; exit 1",
    "read -t 1.2 <>/run/pipe; exit 1"])
def test_ovs_vsctl_refuses_our_words(dom0, how):
    shim(dom0, 'case $* in *external_ids*) %s ;; esac' % how)
    os.mkfifo(dom0.path("/run/pipe"))
    # The hook itself can still mirror the pair at once, after the plug.
    compare(dom0, DONE, "ovs-vsctl did not take", tagged=True, extra=True)


def test_ovs_vsctl_refuses_our_words_beside_a_sibling_with_a_mark(dom0):
    """The hook's second look has no change for the sibling, and must write the new port's unit."""
    Plugged(dom0, HOOK)
    assert MARK in dom0.ovs.port("vif1.0")["external_ids"]  # the sibling has a stamp now
    shim(dom0, 'case $* in *external_ids*) exit 1 ;; esac')
    compare(dom0, DONE, "ovs-vsctl did not take", tagged=True, extra=True)


def test_ovs_vsctl_was_ended_by_its_time_out(dom0):
    """Our words did not cause the time-out, and a second ovs-vsctl would time out, too: the hook
    starts none."""
    shim(dom0, 'case $* in *add-port*) kill -ALRM $$ ;; esac')
    assert compare(dom0, DONE).said[0] == 1


def test_ovs_vsctl_can_not_be_run(dom0):
    edit(dom0, COMMON, ("    send_to_syslog(args)\n    process", "    send_to_syslog(args)\n"
                        "    if 'add-port' in args:\n        raise OSError('of stock')\n"
                        "    process"))
    assert compare(dom0, DONE, extra=True).said[0] == 1


def test_ovs_vsctl_refuses_the_port_itself(dom0):
    shim(dom0, 'case $* in *add-port*) echo no >&2; exit 3 ;; esac')
    assert compare(dom0, DONE, extra=True).said[0] == 1


def give_ids(dom0, table, ids):
    dom0.ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", "vif1.0"]],
                       "mutations": [["external_ids", "insert", to_map(ids)]]})


HOSTILE = {
    '"': '"', "'": "'", "\\": "\\\\", "a\nb": "c\nd", "--": "--", "-- del-port": "-- del-port",
    "=": "=", "a=b": "c=d", ":": ":", "a,b": "c,d", "{": "}", "[]": "[]", "-x": "-x", "": "",
    " ": " ", "$(id)": "`id`", "\u20ac\U0001f600": "\u20ac\U0001f600", "\x7f\x01": "\x7f\x01",
    "%s": "%s%n", "set": "port",
}


@pytest.mark.parametrize("ids", [
    HOSTILE, {"k%d" % number: "v" for number in range(1000)}, {"large": "x" * 100000}],
    ids=["hostile", "1000", "100 kB"])
def test_ids_of_a_sibling(dom0, ids):
    give_ids(dom0, "Interface", ids)
    ours = Plugged(dom0, HOOK)
    assert ours.said == (0, "", "")
    assert len(ours.ours) == 1
    own = dom0.vifs[1, 0]
    assert ours.row["ids"] == dict(ids, **{
        "attached-mac": own.mac, "xs-vif-uuid": own.vif_uuid, "xs-vm-uuid": own.vm_uuid,
        "xs-network-uuid": own.network_uuid})
    assert ours.row["tag"] == [5]
    assert ours.row["mark"]


TOO_LARGE = {"a value": {"large": "x" * 200000},
             "together": {"k%d" % number: "x" * 3000 for number in range(1000)}}


@pytest.mark.parametrize("table", ["Port", "Interface"])
@pytest.mark.parametrize("kind", sorted(TOO_LARGE))
def test_ids_that_are_too_large_for_a_command_line(dom0, kind, table):
    give_ids(dom0, table, TOO_LARGE[kind])
    stock = Plugged(dom0, STOCK)
    ours = Plugged(dom0, HOOK)
    assert ours.said == stock.said == (0, "", "")
    assert any("Argument list too long" in line for line in ours.ours)
    assert len(ours.ours) <= 2
    assert ours.row["tag"] == [5]
    # P1: the command line has room for the VLAN, so the port was never without its tag.
    born = [line for line in dom0.syslog() if "Called as" in line and "add-port" in line]
    assert "tag=5" in born[-1]


# ---- our own code -----------------------------------------------------------------------------


def modules():
    """The modules of the package that a plug imports: their paths in the package, without .py."""
    code = "import sys; sys.path.insert(0, %r); import xenvif_tagger.plug.stock; print(' '.join(" \
        "each for each in sys.modules if each.startswith('xenvif_tagger.')))" % ROOT
    told = subprocess.check_output([sys.executable, "-I", "-c", code]).decode().split()
    paths = [name.partition(".")[2].replace(".", "/") for name in told]
    return [path for path in paths
            if os.path.isfile(os.path.join(ROOT, "xenvif_tagger", path + ".py"))]


DAMAGES = {
    "empty": lambda text: b"",  # a power cut leaves an empty file
    "cut": lambda text: text[:len(text) // 2 + 3],
    "cut late": lambda text: b"\n".join(text.split(b"\n")[:text.count(b"\n") * 3 // 4]),
    "zeros": lambda text: bytes(len(text)),
    "says odd things": lambda text: b"raise RuntimeError('a\\0b\\udcff')\n",
    "exits": lambda text: b"raise SystemExit('bye')\n",
}


@pytest.mark.parametrize("how", [None] + sorted(DAMAGES), ids=str)
def test_a_damaged_module(dom0, copy, how):
    dom0.write_file(CONFIG, "[plug]\ntimeout = 1\n")  # seconds: a damaged client may wait so long
    stock, found = Plugged(dom0, STOCK), {}
    for module in modules():
        path = copy / "xenvif_tagger" / (module + ".py")
        text = path.read_bytes()
        if how:
            path.write_bytes(DAMAGES[how](text))
        else:
            path.unlink()
        ours = Plugged(dom0, str(copy / "hotplug/setup-vif-rules"))
        found[module] = differs(stock, ours, None if how == "cut late" else
                                "can't be loaded|goes on alone|" + DONE)
        path.write_bytes(text)
    assert not {module: what for module, what in found.items() if what}


def test_no_package(dom0, copy):
    shutil.rmtree(str(copy / "xenvif_tagger"))
    script = str(copy / "hotplug/setup-vif-rules")
    compare(dom0, "can't be loaded", script=script)
    compare(dom0, "can't be loaded", script=script, shell='exec "$@" <&- >&- 2>&-')
    for text in "/nowhere", "/etc/passwd", "/usr", "\0", "\xe9", script:
        dom0.write_file(CONFIG, "[plug]\nstock_script = %s\n" % text)
        compare(dom0, "can't be loaded", script=script, timeout=10)


SHORT = "#!/bin/sh\necho \"$0 $*\"\nexit 3\n"


@pytest.mark.parametrize("place", ["/opt/else/stock", "/opt/xensource/libexec/setup-vif-rules"])
@pytest.mark.parametrize("config", [CONFIG, "/opt/config"])
def test_no_package_and_stock_is_elsewhere(dom0, copy, place, config):
    shutil.rmtree(str(copy / "xenvif_tagger"))
    dom0.write_file(place, SHORT, 0o755)
    if place == "/opt/else/stock":
        dom0.write_file(config, b"# \xff\n[plug]\nstock_script = /opt/else/stock\n")
    else:
        os.rename(dom0.path(STOCK), dom0.path(STOCK + ".away"))
    ours = Plugged(dom0, str(copy / "hotplug/setup-vif-rules"), args=("x", "y"), env=dict(
        DAEMON, **{} if config == CONFIG else {"XENVIF_TAGGER_CONFIG": config}))
    assert ours.said == (3, place + " x y\n", "")


def test_no_package_and_no_stock(dom0, copy):
    shutil.rmtree(str(copy / "xenvif_tagger"))
    os.rename(dom0.path(STOCK), dom0.path(STOCK + ".away"))
    code, out, err = Plugged(dom0, str(copy / "hotplug/setup-vif-rules")).said
    assert (code, out) == (1, "") and "no stock script" in err and CONFIG in err


def test_the_hook_called_by_a_link(dom0):
    os.makedirs(dom0.path("/opt/link"))
    os.symlink(HOOK, dom0.path("/opt/link/setup-vif-rules"))
    compare(dom0, DONE, tagged=True, script="/opt/link/setup-vif-rules")


STEPS = (
    "host/config.read", "host/config.parse", "host/paths.default_remote", "host/paths.boot_id",
    "core/names.parse", "core/names.names_of", "core/birth.born", "core/decide.decide_vif",
    "core/mark.encode", "core/port.after", "core/decision.settings_of",
    "ovsdb/vswitch.Vswitch.read_beside", "ovsdb/vswitch.Vswitch.is_unchanged",
    "ovsdb/rows.unit_of", "ovsdb/client.Client.__init__", "ovsdb/client.Client.transact",
    "ovsdb/client.Client.extend_deadline", "ovsdb/jsonstream.Framer.feed",
    "plug/hook.read_config", "plug/stock.find_stock", "plug/hook.words", "plug/hook.ids_in",
    "plug/hook.unit_in", "plug/hook.Plug.connect", "plug/hook.Plug.before_replug",
    "plug/hook.Plug.additions", "plug/hook.Plug.look_again", "ovsdb/vswitch.Vswitch.read_port")
# The steps that a plug takes only if the sibling was changed meanwhile.
LATER_STEPS = ("ovsdb/oneshot.OneShot.mirror",)


@pytest.mark.parametrize("how", [
    "raise RuntimeError('of ours')", "raise RuntimeError('a\\0b\\udcff')", "return None",
    "return {'tag': 'nonsense'}"])
def test_a_step_of_ours_that_fails_does_not_fail_the_plug(dom0, copy, how):
    stock, found = Plugged(dom0, STOCK), {}
    for step in STEPS + LATER_STEPS:
        if how.startswith("return") and step.startswith("plug/"):
            continue
        module, _, name = step.partition(".")
        path = copy / "xenvif_tagger" / (module + ".py")
        text = path.read_text(encoding="utf-8")
        broken = "\n\ndef broken(*_, **__):\n    %s\n\n\n%s = broken\n" % (how, name)
        if step in LATER_STEPS:
            broken += "import xenvif_tagger.ovsdb.vswitch\n" \
                "xenvif_tagger.ovsdb.vswitch.Vswitch.is_unchanged = lambda *_: False\n"
        path.write_text(text + broken, encoding="utf-8")
        ours = Plugged(dom0, str(copy / "hotplug/setup-vif-rules"))
        wrong = differs(stock, ours)
        if not wrong and how.startswith("raise") and not ours.ours:
            wrong = "no line says why"
        found[step] = wrong
        path.write_text(text, encoding="utf-8")
    assert not {step: what for step, what in found.items() if what}


# ---- the config file --------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    b"nonsense", bytes(range(256)) * 4, b"[plug]\nstock_script = /usr/x\0y\n", b"\0" * 512,
    "[plug]\ntimeout = 1\n".encode("utf-16"), b"[plug]\ntimeout = nan\n", b"x\n" * 20000,
    b"[plug]\nstock_script = relative\n", b"[plug]\nstock_script = /nowhere\n",
    b"[plug]\nstock_script = /usr\n", b"[plug]\nstock_script = %s\n" % HOOK.encode(),
    b"[plug]\nstock_script = /etc/passwd\n", b"[ovsdb]\nremote = tcp\n"],
    ids=range(13))
def test_a_wrong_config_does_not_fail_the_plug(dom0, text):
    dom0.write_file(CONFIG, text)
    compare(dom0, re.escape(CONFIG) + "|stock", DONE, tagged=True, timeout=20)


def test_a_config_that_cant_be_read(dom0):
    place = dom0.path(CONFIG)
    os.unlink(place)
    for target in CONFIG, "/proc/self/mem", "/etc/passwd/x", "/dev/log":
        os.symlink(target, place)
        compare(dom0, re.escape(CONFIG), DONE, tagged=True)
        os.unlink(place)
    os.mkdir(place)
    compare(dom0, re.escape(CONFIG), DONE, tagged=True)
    os.rmdir(place)
    compare(dom0, DONE, tagged=True)  # a missing config file is no fault


# ---- the stock script -------------------------------------------------------------------------

IMPORT = "from common import ON_ERROR_FAIL, doexec, run, send_to_syslog"
OWN_DOEXEC = IMPORT.replace("doexec, run, ", "") + '''
import subprocess


def doexec(args):
    send_to_syslog(args)
    command = ["/usr/bin/env", "PATH=" + common.path] + args
    process = subprocess.Popen(command, stdout=-1, stderr=-1, universal_newlines=True)
    return process.wait(), process.stdout, process.stderr


def run(_, args):
    assert doexec(args)[0] == 0
'''
START, END = 'if __name__ == "__main__":\n', '\n    ip_link_set(vif_name, "up")\n\n\nif __name__'
FIRST = "#!/usr/bin/python3\n"


def test_stock_has_its_own_run(dom0):
    edit(dom0, COMMON, ("def run(", "def gone("))
    edit(dom0, STOCK, (IMPORT, IMPORT.replace("run, ", "")
                       + "\n\n\ndef run(_, args):\n    assert doexec(args)[0] == 0\n"))
    compare(dom0, DONE, tagged=True)


def test_stock_has_its_own_doexec(dom0):
    edit(dom0, STOCK, (IMPORT, OWN_DOEXEC))
    # The hook does not see the script's add-port: a line says so, and the hook tags the port
    # after the plug.
    compare(dom0, "add-port", tagged=True)
    edit(dom0, COMMON, ("doexec(", "execute("))
    compare(dom0, "run as a process of its own: .*doexec", tagged=True)


def test_stock_adds_no_port_and_there_is_no_server(dom0):
    """A plug that adds no port, as with Linux bridges, needs no server: we log nothing."""
    remote(dom0, "unix:/nowhere")
    edit(dom0, STOCK, (START, START + FAILS["3"]))
    assert compare(dom0).said[0] == 3


def test_stock_adds_another_port_too(dom0):
    """The hook gives that other port no unit and no mark."""
    edit(dom0, STOCK, (START, START + (
        '    doexec(["/usr/bin/ovs-vsctl", "--may-exist", "add-port", "xenbr0", "other", "--", '
        '"set", "interface", "other", "type=internal"])\n')))
    compare(dom0, DONE, tagged=True)
    port = dom0.ovs.port("other")
    assert port["tag"] == [] and MARK not in port["external_ids"]


def test_stock_deletes_another_port_too(dom0):
    """A port loses its iface-id only if its device is the one that the script unplugs, and only if
    the script deletes the port and does not add the port again."""
    Plugged(dom0, HOOK)
    for name in "vif1.0", "tap1.0":
        dom0.ovs.vsctl("set", "Interface", name, "external_ids:iface-id=i")
    edit(dom0, STOCK, (START, START + (
        '    doexec(["/usr/bin/ovs-vsctl", "--if-exists", "del-port", "xenbr0", "other"])\n'
        '    if sys.argv[5] == "clear":\n        sys.exit(0)\n')))
    for action in "clear", "filter":
        ours = Plugged(dom0, HOOK, action=action, database=False)
        assert ours.said[0] == 0 and not [line for line in ours.ours if "taken off" in line]


def test_doexec_returns_something_else(dom0):
    edit(dom0, COMMON, ("return process.wait(), process.stdout, process.stderr",
                        "return iter((process.wait(), process.stdout, process.stderr))"))
    edit(dom0, STOCK, ('"/pvs-interface"])[0]', '"/pvs-interface"]).__next__()'))
    compare(dom0, ".", ".", tagged=None)


@pytest.mark.parametrize("path", [STOCK, COMMON])
@pytest.mark.parametrize("name", ["run", "doexec", "VIF"])
def test_stock_lacks_a_function_that_it_needs(dom0, path, name):
    """The stock script fails, and the hook fails in the same way."""
    edit(dom0, COMMON, ("def %s(" % name if name != "VIF" else "class VIF:",
                        "def gone(" if name != "VIF" else "class Gone:"))
    if path == STOCK:
        edit(dom0, STOCK, (IMPORT, "from common import *"))
    why = ["run as a process of its own: .*doexec"] if name == "doexec" else []
    assert compare(dom0, *why).said[0] == 1


def test_python_2(dom0):
    os.symlink(dom0.python, dom0.path("/usr/bin/python2.7"))
    edit(dom0, STOCK, (FIRST, "#!/usr/bin/python2.7 -s\n"))
    compare(dom0, "run as a process of its own: the script is for Python 2", tagged=True)
    compare(dom0, "run as a process of its own", tagged=True, shell='exec "$@" <&- >&- 2>&-')
    Plugged(dom0, HOOK)
    for name in "vif1.0", "tap1.0":
        dom0.ovs.vsctl("set", "Interface", name, "external_ids:iface-id=i")
    ours = Plugged(dom0, HOOK, action="clear", database=False)
    assert re.search("iface-id taken off", ours.ours[1]) and dom0.ovs.port("tap1.0") is None
    remote(dom0, "unix:/nowhere")
    compare(dom0, "run as a process of its own", "after plugging: .*no such socket")


FAILS = {
    "syntax": "    print 'x'\n",
    "raises": "    raise ValueError('of stock')\n",
    "chain": "    try:\n        common.VIF('x', 'y', 0)\n    except OSError as e:\n"
             "        raise ValueError('z') from e\n",
    "context": "    try:\n        common.doexec(7)\n    finally:\n        run(0, None)\n",
    "in doexec": "    doexec([7])\n",
    "in run": "    run(0, {})\n",
    "interrupted": "    raise KeyboardInterrupt\n",
    "3": "    sys.exit(3)\n",
    "words": "    print('out')\n    sys.exit('in words')\n",
    "none": "    sys.exit()\n",
    "at once": "    os._exit(4)\n",
    "at exit": "    import atexit\n    atexit.register(print, 'bye')\n    sys.exit(5)\n",
    "TERM": "    os.kill(os.getpid(), 15)\n",
    "KILL": "    os.kill(os.getpid(), 9)\n",
    "SEGV": "    os.kill(os.getpid(), 11)\n",
    "hook": "    sys.excepthook = lambda *_: print('caught')\n    raise ValueError\n",
    "itself": "    import __main__\n    print(__file__, __name__, sys.argv, sys.path[0], __doc__,\n"
              "          __main__.handle_vswitch.__name__, open is __builtins__.open)\n"
              "    import gc, os\n    print(gc.isenabled(), [place for place in sys.path\n"
              "          if os.path.exists(place + '/xenvif_tagger')])\n",
}


@pytest.mark.parametrize("interpreter", ["python3", "python2.7"])
@pytest.mark.parametrize("kind", sorted(FAILS))
def test_stock_ends_in_its_own_way(dom0, kind, interpreter):
    os.symlink(dom0.python, dom0.path("/usr/bin/python2.7"))
    edit(dom0, STOCK, (FIRST, "#!/usr/bin/%s\n" % interpreter))
    text = dom0.read_file(STOCK)
    beside = interpreter != "python3" or kind == "syntax"
    for at, early in (START, True), (END, False):
        edit(dom0, STOCK, (at, START + FAILS[kind] if early else "\n" + FAILS[kind] + END))
        why = "run as a process of its own" if beside else DONE
        compare(dom0, *[why] if beside or not early or kind == "itself" else [], tagged=None)
        dom0.write_file(STOCK, text, 0o755)


@pytest.mark.parametrize("kind", ["raises", "interrupted"])
def test_stock_fails_and_stderr_is_closed(dom0, kind):
    edit(dom0, STOCK, (END, "\n" + FAILS[kind] + END))
    assert compare(dom0, DONE, tagged=True, shell='exec "$@" 2>&-').said[0] != 0


def test_stock_has_a_nul(dom0):
    edit(dom0, STOCK, (FIRST, FIRST + "\0\n"))
    compare(dom0, "run as a process of its own", tagged=None)


def test_stock_cant_import_common(dom0):
    edit(dom0, COMMON, ("import syslog\n", "import syslog\nraise OSError('a\\0b')\n"))
    assert compare(dom0, "run as a process of its own: its common.py").said[0] == 1
    os.unlink(dom0.path(COMMON))
    assert compare(dom0, "run as a process of its own: its common.py").said[0] == 1


# ---- the surroundings and arguments of the call -----------------------------------------------


@pytest.mark.parametrize("shell", [
    'exec "$@" <&-', 'exec "$@" >&-', 'exec "$@" 2>&-', 'exec "$@" <&- >&- 2>&-',
    'exec "$@" >/dev/full 2>/dev/full', 'mkdir /run/x; cd /run/x; rmdir /run/x; exec "$@"',
    'ulimit -n 12; exec "$@"', 'trap "" PIPE CHLD; exec "$@"', 'umask 777; exec "$@"'])
def test_odd_streams_and_working_directories(dom0, shell):
    compare(dom0, DONE, tagged=True, shell=shell)
    compare(dom0, args=(), shell=shell)  # stock prints its usage


@pytest.mark.parametrize("env", [
    {}, {"HOME": "/nowhere"}, {"LC_ALL": "nonsense"}, {"LC_ALL": "C"}, {"TMPDIR": "/nowhere"},
    {"LD_PRELOAD": "/nowhere.so"}, {"LD_LIBRARY_PATH": "/nowhere:\1"}, {"PATH": "/nowhere"}],
    ids=str)
def test_odd_environments(dom0, env):
    compare(dom0, DONE, tagged=True, env=env)


@pytest.mark.parametrize("name, value", [
    ("PYTHONPATH", "/tmp/hostile"), ("PYTHONHOME", "/nowhere"), ("PYTHONSTARTUP", "/tmp/hostile"),
    ("PYTHONINSPECT", "1"), ("PYTHONIOENCODING", "nonsense"), ("PYTHONWARNINGS", "error"),
    ("PYTHONOPTIMIZE", "2"), ("PYTHONDEBUG", "1"), ("PYTHONVERBOSE", "1")])
def test_pythons_variables_in_the_environment(dom0, tmp_path, name, value):
    """The stock script may fail by such a variable; our hook must not."""
    for module in "json", "os", "syslog", "common", "xenvif_tagger":
        (tmp_path / (module + ".py")).write_text("raise SystemExit(9)\n")
    value = value.replace("/tmp/hostile", str(tmp_path))
    compare(dom0, DONE, tagged=True, env=dict(DAEMON, **{name: value}), stock={"env": DAEMON})


def test_no_syslog(dom0, copy):
    os.rename(dom0.path("/dev/log"), dom0.path("/dev/log.away"))
    compare(dom0, tagged=True, log=False)
    shutil.rmtree(str(copy / "xenvif_tagger"))
    compare(dom0, script=str(copy / "hotplug/setup-vif-rules"), log=False)
    os.rename(dom0.path("/dev/log.away"), dom0.path("/dev/log"))


@pytest.mark.parametrize("args", [
    (), ("classic", "tap1.0", "UUID", 0), ("classic", "tap1.0", "UUID", 0, "filter", 1),
    ("classic", "tap1.0", "UUID", 0, "nonsense"), ("classic", "tap1.0", "UUID", "x", "filter"),
    ("classic", "tap1.0", "no-uuid", 0, "filter"), ("nonsense", "tap1.0", "UUID", 0, "filter"),
    ("classic", "", "UUID", 0, "clear"), ("--help",)], ids=str)
def test_odd_arguments(dom0, args):
    args = [dom0.vifs[1, 0].vm_uuid if word == "UUID" else word for word in args]
    compare(dom0, args=args)


def test_another_action(dom0):
    """The action is neither a plug nor an unplug: the hook leaves the port as it stands."""
    Plugged(dom0, HOOK)
    dom0.ovs.vsctl("clear", "port", "tap1.0", "tag")
    ours = Plugged(dom0, HOOK, action="nonsense", database=False)
    assert ours.ours == [] and dom0.ovs.port("tap1.0")["tag"] == []


def test_the_database_is_not_asked_about_another_device(dom0):
    asked, path = [], dom0.ovs.dir + "/fake.sock"
    remote(dom0, "unix:" + path)
    dom0.create_device("eth0")
    with Server(path, lambda connection, _: asked.append(connection)):
        compare(dom0, device="eth0")
    assert not asked


def test_the_plug_of_a_port_without_a_sibling_is_not_logged(dom0):
    ours = Plugged(dom0, HOOK, device="vif1.0")
    assert ours.said[0] == 0 and ours.ours == [] and ours.row["mark"]


@pytest.mark.parametrize("device", ["eth0", "tap01.0", "tap1.0.0", "tap1", "vif1.0-emux"])
def test_a_device_that_is_no_vifs(dom0, device):
    dom0.create_device(device)
    assert compare(dom0, device=device).said[0] == 0
    compare(dom0, device=device, action="clear")
