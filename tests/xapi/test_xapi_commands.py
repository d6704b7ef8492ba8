"""The commands that ask XAPI: VMs' names in the table, `mirror vm`, and the options for XAPI."""
import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from support.command import Run, assert_done, assert_error, command, environment, run
from support.constants import LONG
from support.printed import check_table, printed_changes
from support.proxy import proxies
from support.xapi_calls import FAULTS, LOGIN, LOGOUT, NO_SUCH_UUID, vif_uuid
from support.xapi_server import PASSWORD
from support.zoo import add, add_pair, identity, our_commits, read_log, tag


def asking(xapi, *args, **how):
    return run("--xapi", getattr(xapi, "remote", xapi), *args, **how)


def warning(result, code, *words):
    """The command has ended with this code, and with one line on stderr that says why the output
    has no VM names."""
    assert result.code == code, result
    assert re.match(r"xenvif-tagger: no VM names: [^\n]+\n\Z", result.err), result
    for word in words:
        assert word in result.err, result
    return result


@pytest.mark.parametrize("args", [["status"], ["check"], ["status", 12]], ids=str)
def test_names_in_the_table(host, xapi, args):
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("web server 1", [vif_uuid(12)])
    result = assert_done(asking(xapi, *args, db=host))
    assert check_table(result.out)[0] == [
        "web server 1", "xenbr0", "vif12.0", "5", "tap12.0", "5", "in-sync"]


def test_names_in_json(host, xapi):
    add_pair(host, 12)
    add(host, "tap13.0")
    add(host, "vif14.0", ids={"xs-vif-uuid": vif_uuid(99)})
    add(host, "vif15.0", ids={"xen-vm-name": "by libxl", "xen-vm-uuid": "u-1"})
    web = xapi.add_vm("web", [vif_uuid(12)])
    db = xapi.add_vm("db", [vif_uuid(13)])
    expected = [{"uuid": web, "name": "web"}, {"uuid": db, "name": "db"}, None,
                {"uuid": "u-1", "name": "by libxl"}]
    for args, code in (["status"], 0), (["check"], 1), (["-q", "status"], 0):
        result = assert_done(asking(xapi, *args + ["--json"], db=host), code)
        assert [pair["vm"] for pair in result.pairs] == expected
    assert xapi.calls[LOGIN] == 3


def test_a_vm_is_found_by_its_vifs_uuid_only(host, xapi):
    """Another VM may have this domid on another host of the pool: the command finds the VM by the
    uuid of the VM's VIF."""
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("wrong", [vif_uuid(13)], domid="12", uuid=identity(12)["xs-vm-uuid"])
    xapi.add_vm("right", [vif_uuid(12)], domid="99")
    result = assert_done(asking(xapi, "status", db=host))
    assert check_table(result.out)[0][0] == "right"


def test_a_vm_without_a_name(host, xapi):
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("", [vif_uuid(12)])
    result = assert_done(asking(xapi, "status", db=host))
    assert check_table(result.out)[0][0] == identity(12)["xs-vm-uuid"][:8]


def test_a_name_that_would_steer_the_terminal(host, xapi):
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("a\x9b31mb‮c", [vif_uuid(12)])
    result = assert_done(asking(xapi, "status", db=host))
    assert check_table(result.out)[0][0] == "a?31mb?c"


def test_names_of_10000_ports(host, xapi):
    """The host has one VIF, and the pool has 10,000: the command makes two calls, besides login and
    logout."""
    add_pair(host, 12, tap={"tag": 5})
    for domid in range(10000):
        xapi.add_vm("vm-%d" % domid, [vif_uuid(domid)])
    result = assert_done(asking(xapi, "--timeout", LONG, "status", db=host))
    assert check_table(result.out)[0][0] == "vm-12"
    assert sum(xapi.calls.values()) == 4


@pytest.mark.parametrize("args", [["status"], ["check"], ["status", "--json"]], ids=" ".join)
@pytest.mark.parametrize("what, word", [
    ("hang", "within 0.3 s"), ("drop", "dropped"), ("garbage", "not XAPI"),
    (["HOST_IS_SLAVE", "10.0.0.1"], "https://10.0.0.1"), (["SESSION_INVALID"], "SESSION_INVALID")],
    ids=str)
def test_without_names(host, xapi, args, what, word):
    """XAPI is down, slow, or the slave of a master that does not answer."""
    add_pair(host, 12)
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault("(?!session.logout).*", what)
    slow = ["--timeout", "0.3"] if what == "hang" else []
    result = warning(asking(xapi, *slow + args, db=host), args == ["check"], word, xapi.remote)
    if args[1:]:
        assert result.pair["vm"] is None and result.pair["state"] == "drift"
    else:
        assert check_table(result.out)[0][0] == identity(12)["xs-vm-uuid"][:8]


def test_a_named_xapi_that_is_not_there(host, tmp_path):
    add_pair(host, 12)
    warning(asking("unix:%s/absent" % tmp_path, "status", db=host), 0, "no such socket")


@pytest.mark.skipif(os.path.exists("/var/lib/xcp/xapi"), reason="this host has an XAPI")
def test_a_host_without_xapi(host):
    """On a host with libxl, status prints nothing about XAPI; `mirror vm` prints that XAPI's
    socket is missing."""
    add_pair(host, 12)
    assert_done(run("status", db=host))
    assert_error(run("mirror", "vm", "web", db=host), 3, "/var/lib/xcp/xapi", "no such socket")


@pytest.mark.parametrize("args", [["-q", "status"], ["-q", "check"], ["mirror", "all"],
                                  ["mirror", "dom", "12"], ["mirror", "port", "vif12.0"]],
                         ids=" ".join)
def test_a_command_that_needs_no_names_does_not_ask_xapi(host, xapi, args):
    add_pair(host, 12, tap={"tag": 5})
    assert_done(asking(xapi, *args, db=host))
    assert xapi.calls == {}


def test_ports_without_a_uuid_of_xapis(host, xapi):
    host.add_port("xenbr0", "vif12.0", {"xen-vm-name": "x"}, tag=5)
    assert_done(asking(xapi, "status", db=host))
    assert xapi.calls == {}


IMPORTED = """
import sys
sys.argv = ["x"] + %r
from xenvif_tagger.cli.main import main
try:
    main()
finally:
    sys.stderr.write(" ".join(each for each in sys.modules if each.startswith(
        ("XenAPI", "xmlrpc", "ssl", "http", "xenvif_tagger.xapi.session"))))
"""


@pytest.mark.parametrize("args", [["--help"], ["mirror", "all"], ["mirror", "dom", "12"],
                                  ["-q", "check"], ["status"]], ids=" ".join)
def test_a_command_that_does_not_ask_xapi_imports_no_xenapi(host, args):
    """The last command, status, asks XAPI only if a VIF has a uuid of XAPI's."""
    host.add_port("xenbr0", "vif12.0", {"xen-vm-name": "x"}, tag=5)
    argv = [sys.executable, "-c", IMPORTED % (["--db", host.remote] + args)]
    assert_done(run(argv=argv))


def test_the_program_reports_an_import_of_xenapi(host, xapi):
    add_pair(host, 12, tap={"tag": 5})
    argv = [sys.executable, "-c", IMPORTED % (
        ["--db", host.remote, "--xapi", xapi.remote, "status"])]
    assert "XenAPI" in run(argv=argv).err


@pytest.mark.parametrize("module", [
    "plug.stock", "plug.libxl", "watch.watcher", "watch.daemon", "watch.control"])
def test_neither_the_plug_path_nor_the_watcher_knows_xapi(module):
    argv = [sys.executable, "-c", "import sys, xenvif_tagger.%s\n"
            "print([each for each in sys.modules if 'xapi' in each.lower()])" % module]
    assert assert_done(run(argv=argv)).out == "[]\n"


def test_without_the_library(host, xapi):
    """Without XenAPI the commands print one line that names XenAPI, and no traceback."""
    add_pair(host, 12, tap={"tag": 5})
    for args, code in (["status"], 0), (["mirror", "vm", "web"], 3):
        result = run(argv=[sys.executable, "-c", "import sys\nsys.modules['XenAPI'] = None\n"
                           "from xenvif_tagger.cli.main import main\n"
                           "sys.argv = ['x'] + %r\nmain()" % (
                               ["--db", host.remote, "--xapi", xapi.remote] + args)])
        assert (result.code, result.err.count("\n")) == (code, 1), result
        assert "XenAPI" in result.err and "Traceback" not in result.err
    assert xapi.calls == {}


@pytest.mark.parametrize("by", ["name", "uuid", "UUID"])
def test_mirror_vm(host, xapi, by):
    for domid, devid in (12, 0), (12, 1), (13, 0):
        add_pair(host, domid, devid)
    web = xapi.add_vm("web", [vif_uuid(12), vif_uuid(12, 1)])
    xapi.add_vm("db", [vif_uuid(13)])
    wanted = {"name": "web", "uuid": web, "UUID": web.upper()}[by]
    result = assert_done(asking(xapi, "mirror", "vm", wanted, db=host))
    assert "vif12.0 -> tap12.0: mirrored" in result.out and "vif12.1" in result.out
    assert [tag(host, name) for name in ("tap12.0", "tap12.1", "tap13.0")] == [5, 5, None]
    assert xapi.sessions == set()


def test_mirror_vm_in_two_domains(host, xapi):
    """A VM that migrates to its own host has two domains for a while."""
    add_pair(host, 12)
    add_pair(host, 13, vif={"tag": 5, "ids": identity(12)}, tap={"ids": identity(12)})
    xapi.add_vm("web", [vif_uuid(12)])
    assert_done(asking(xapi, "mirror", "vm", "web", db=host))
    assert [tag(host, name) for name in ("tap12.0", "tap13.0")] == [5, 5]


def test_mirror_vm_json_and_dry_run(host, xapi):
    add_pair(host, 12)
    web = xapi.add_vm("web", [vif_uuid(12)])
    before = read_log(host)
    result = assert_done(asking(xapi, "mirror", "vm", "web", "--dry-run", db=host))
    assert printed_changes(result.out)
    result = assert_done(asking(xapi, "mirror", "vm", "web", "--dry-run", "--json", db=host))
    assert (result.pair["vm"], result.pair["state"]) == ({"uuid": web, "name": "web"}, "drift")
    assert read_log(host) == before


def test_mirror_vm_from(host, xapi):
    add_pair(host, 12, tap={"tag": 6})
    xapi.add_vm("web", [vif_uuid(12)])
    result = asking(xapi, "mirror", "vm", "web", db=host)
    assert (result.code, result.err) == (1, "") and "conflict" in result.out
    assert_done(asking(xapi, "mirror", "vm", "web", "--from", "tap", db=host))
    assert tag(host, "vif12.0") == 6


def test_mirror_vm_wait(host, xapi, tmp_path_factory):
    """The command asks XAPI once, before the wait; the command finds a port that comes later by the
    uuid of the port's VIF."""
    xapi.add_vm("web", [vif_uuid(12)])
    assert_error(asking(xapi, "mirror", "vm", "web", "--wait", "0", db=host), 1, "web")
    with proxies(tmp_path_factory) as proxied, contextlib.ExitStack() as stack:
        proxy = proxied(host)
        waiting = stack.enter_context(
            Run("--xapi", xapi.remote, "mirror", "vm", "web", "--wait", LONG, db=proxy))
        proxy.wait_until_waiting()
        assert xapi.sessions == set()
        add_pair(host, 12)
        assert_done(waiting.end())
    assert tag(host, "tap12.0") == 5
    assert xapi.calls[LOGIN] == xapi.calls[LOGOUT] == 2


def test_mirror_vm_reads_its_own_ports_only(host, xapi, tmp_path_factory):
    """Each time that --wait wakes up, the command reads the VM's ports, and not the other thousand.
    """
    host.add_many_ports("xenbr0", [{
        "name": "vif%d.0" % domid, "external_ids": identity(domid)} for domid in range(100, 1100)])
    for devid in 0, 1:
        add_pair(host, 12, devid, vif={})
    xapi.add_vm("web", [vif_uuid(12), vif_uuid(12, 1), vif_uuid(13)])
    with proxies(tmp_path_factory) as proxied, contextlib.ExitStack() as stack:
        proxy = proxied(host)
        waiting = stack.enter_context(
            Run("--xapi", xapi.remote, "mirror", "vm", "web", "--wait", LONG, db=proxy))
        proxy.wait_until_waiting()
        host.vsctl("set", "Port", "vif12.0", "tag=5", "--", "set", "Port", "vif12.1", "tag=6")
        assert_done(waiting.end())
    assert [tag(host, name) for name in ("tap12.0", "tap12.1")] == [5, 6]
    answers = [message["result"] for whose, message in proxy.log
               if whose == "server" and isinstance(message.get("result"), list)]
    assert len(answers) > 4  # the command has read the ports more than once
    assert max(sum(len(result.get("rows", ())) for result in results) for results in answers) < 20


def test_a_vm_that_is_named_like_a_port(host, xapi):
    add_pair(host, 12)
    add_pair(host, 13)
    xapi.add_vm("vif13.0", [vif_uuid(12)])
    assert_done(asking(xapi, "mirror", "vm", "vif13.0", db=host))
    assert [tag(host, name) for name in ("tap12.0", "tap13.0")] == [5, None]


def test_ambiguous_names(host, xapi):
    add_pair(host, 12)
    uuids = [xapi.add_vm("web", [vif_uuid(12)]), xapi.add_vm("web")]
    assert_error(asking(xapi, "mirror", "vm", "web", db=host), 2, "web", *uuids)
    assert our_commits(host) == [] and tag(host, "tap12.0") is None
    assert_done(asking(xapi, "mirror", "vm", uuids[0], db=host))
    assert tag(host, "tap12.0") == 5


def test_unknown_vms(host, xapi):
    add_pair(host, 12)
    xapi.add_vm("elsewhere", [vif_uuid(99)])
    for wanted in ("web", NO_SUCH_UUID, "", "two\nlines"):
        assert_error(asking(xapi, "mirror", "vm", wanted, db=host), 2, wanted.partition("\n")[0])
    assert_error(asking(xapi, "mirror", "vm", "elsewhere", db=host), 2, "elsewhere", "this host")


@pytest.mark.parametrize("what, word", FAULTS[:2] + FAULTS[6:9] + [("hang", "within 0.3 s")],
                         ids=str)
def test_mirror_vm_without_xapi(host, xapi, what, word):
    add_pair(host, 12)
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(".*", what)
    word = [word] if isinstance(word, str) else word
    slow = ["--timeout", "0.3"] if what == "hang" else []
    assert_error(asking(xapi, *slow + ["mirror", "vm", "web"], db=host), 3, xapi.remote, *word)
    assert our_commits(host) == []
    xapi.sessions.clear()


def test_mirror_vm_with_xapi_and_without_the_database(xapi):
    xapi.add_vm("web", [vif_uuid(12)])
    assert_error(asking(xapi, "mirror", "vm", "web", db="unix:/nonexistent"), 3, "/nonexistent")


def test_xapi_elsewhere(host, tls, password_file):
    add_pair(host, 12, tap={"tag": 5})
    trusting = {"SSL_CERT_FILE": tls.ca}
    for args, env in ((["--no-verify"], {}), ([], trusting), (["--user", "root"], trusting)):
        result = assert_done(asking(tls, "--password-file", password_file, *args + ["status"],
                                    db=host, env=env))
        assert check_table(result.out)[0][0] == "web"
    warning(asking(tls, "--password-file", password_file, "status", db=host), 0, "--no-verify")
    result = warning(asking(tls, "--password-file", password_file, "--user", "me", "--no-verify",
                            "status", db=host), 0, "--password-file")
    assert PASSWORD not in result.err
    assert_error(asking(tls, "--password-file", password_file, "mirror", "vm", "web", db=host), 3,
                 "--no-verify")


def test_xapi_by_the_environment(host, tls, password_file):
    add_pair(host, 12, tap={"tag": 5})
    result = assert_done(run("status", db=host, env={
        "XENVIF_TAGGER_XAPI": tls.remote, "XENVIF_TAGGER_USER": "root",
        "XENVIF_TAGGER_PASSWORD_FILE": password_file, "XENVIF_TAGGER_NO_VERIFY": "1"}))
    assert check_table(result.out)[0][0] == "web"


@pytest.mark.parametrize("command", [["status"], ["mirror", "vm", "web"]], ids=" ".join)
def test_bad_xapi_options(host, tmp_path, command):
    add_pair(host, 12)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for options, word in (
            (["--xapi", "http://h"], "https://HOST"), (["--xapi", "unix:"], "unix:PATH"),
            (["--xapi", "https://h"], "--password-file"), (["--xapi", ""], "https://HOST"),
            (["--xapi", "https://h", "--password-file", "/nonexistent"], "/nonexistent"),
            (["--xapi", "https://h", "--password-file", str(tmp_path / "empty")], "empty"),
            (["--xapi", "https://h", "--password-file", str(tmp_path / "binary")], "not text")):
        assert_error(run(*options + command, db=host), 2, word)


def test_on_a_terminal_the_warning_is_apart_from_the_table(host, xapi):
    """The warning goes to standard error, so that standard output is whole JSON."""
    xapi.fault(LOGIN, ["HOST_STILL_BOOTING"])
    add_pair(host, 12)
    master, slave = pty.openpty()
    try:
        done = subprocess.run(command("--xapi", xapi.remote, "status", "--json", db=host),
                              env=environment(), stdout=subprocess.PIPE, stderr=slave,
                              stdin=subprocess.DEVNULL, timeout=LONG)
        assert json.loads(done.stdout.decode())["pairs"]
        assert b"HOST_STILL_BOOTING" in os.read(master, 10000)
    finally:
        os.close(master)
        os.close(slave)
