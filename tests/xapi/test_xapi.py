"""XAPI asked for VMs: the client by itself, and the commands, against an XAPI of our own."""
import collections
import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import uuid

import pytest
import XenAPI

from support.command import Run, assert_done, assert_error, command, environment, run
from support.constants import LONG
from support.gate import proxies
from support.printed import check_table, printed_changes
from support.xapi_server import PASSWORD, XapiServer, compiled
from support.zoo import add, add_pair, identity, our_commits, read_log, tag
from xenvif_tagger.xapi.session import MANY, BadRemote, Xapi, XapiError

VIF_UUIDS = "VIF.get_all_records_where", "VIF.get_all_records"
NO_SUCH_UUID = str(uuid.UUID(int=0))


def vif_uuid(domid, devid=0):
    return identity(domid, devid)["xs-vif-uuid"]


@pytest.fixture(scope="module")
def tls_server():
    with XapiServer(tls=True) as server:
        server.add_vm("web", [vif_uuid(12)])
        yield server


@pytest.fixture
def tls(tls_server):
    yield tls_server
    assert tls_server.sessions == set(), "not logged out"


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_bytes((PASSWORD + "\nnot this\n").encode())
    return str(path)


def ask(server, timeout=LONG, **how):
    return Xapi(server.remote, timeout=timeout, **how)


def fails(server, *words, ask_for=None, timeout=LONG):
    """What asking the server raises: one line that has these words."""
    with pytest.raises(XapiError) as caught:
        with Xapi(getattr(server, "remote", server), timeout=timeout) as session:
            (ask_for or (lambda session: session.names([vif_uuid(12)])))(session)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(getattr(server, "remote", server) + ": "), text
    for word in words:
        assert word in text, text
    return caught.value


# ---- the server of the tests ---------------------------------------------------------------------


def test_the_server_speaks_with_xenapi_as_it_is():
    """Nothing of ours between them; XenAPI's own transport can't do paths with underscores."""
    with XapiServer(tls=True) as server:
        session = XenAPI.Session(server.remote, ignore_ssl=True)
        session.xenapi.login_with_password("root", PASSWORD, "1.0", "a test")
        name = server.add_vm("web", [vif_uuid(12)])
        (vm,) = session.xenapi.VM.get_all_records().values()
        assert (vm["uuid"], vm["domid"], vm["is_a_template"]) == (name, "7", False)
        (pool,) = session.xenapi.pool.get_all_records().values()
        assert session.xenapi.host.get_name_label(pool["master"]) == "host-1"
        assert session.xenapi.network.get_record(
            session.xenapi.VIF.get_record(vm["VIFs"][0])["network"])["bridge"] == "xenbr0"
        server.plugin = lambda *call: "%s %s %s" % call[1:]
        assert session.xenapi.host.call_plugin(pool["master"], "p", "f", {"a": "b"}) == \
            "p f {'a': 'b'}"
        with pytest.raises(XenAPI.Failure) as caught:
            session.xenapi.VM.get_by_uuid(NO_SUCH_UUID)
        assert caught.value.details == ["UUID_INVALID", "VM", NO_SUCH_UUID]
        assert len(server.sessions) == 1
        session.xenapi.session.logout()
        assert server.sessions == set()


@pytest.mark.parametrize("query, answer", [
    ('field "a" = "x"', True), ('(field "a" = "y") or (field "b" = "true")', True),
    ('field "a" = "x" and field "b" = "false"', False)])
def test_the_servers_queries(query, answer):
    assert compiled(query)({"a": "x", "b": "true"}) is answer


# ---- names ---------------------------------------------------------------------------------------


def test_names(xapi):
    web = xapi.add_vm("web", [vif_uuid(12), vif_uuid(12, 1)])
    other = xapi.add_vm("ü <&> \"x\"", [vif_uuid(13)])
    xapi.add_vm("no VIF")
    with ask(xapi) as session:
        assert session.names([vif_uuid(12), vif_uuid(12, 1), vif_uuid(13), vif_uuid(14)]) == {
            vif_uuid(12): (web, "web"), vif_uuid(12, 1): (web, "web"),
            vif_uuid(13): (other, "ü <&> \"x\"")}
    assert (xapi.logins, xapi.originators) == (1, {"xenvif-tagger"})


@pytest.mark.parametrize("asked", [[], ["another"], ['" or field "uuid" = "x'], ["x\n"], [""]])
def test_what_is_no_uuid_is_not_asked_for(xapi, asked):
    """external_ids may be anybody's: none of it may get into a query."""
    xapi.add_vm("web", [vif_uuid(12)])
    with ask(xapi) as session:
        assert session.names(asked) == {}
    assert set(xapi.calls) == {"session.login_with_password", "session.logout"}


def test_a_vif_that_xapi_has_not_got(xapi):
    xapi.add_vm("web", [vif_uuid(12)])
    with ask(xapi) as session:
        assert session.names([vif_uuid(99)]) == {}


@pytest.mark.parametrize("number", [1, MANY, MANY + 1, 10000])
def test_calls_are_bounded(xapi, number):
    uuids = [vif_uuid(domid) for domid in range(number)]
    for domid in range(0, number, 2):  # of two VIFs each
        xapi.add_vm("vm-%d" % domid, uuids[domid:domid + 2])
    xapi.add_vm("another's", [vif_uuid(99999)])
    xapi.add_vm("a template", [], is_a_template=True)
    with ask(xapi) as session:
        names = session.names(uuids)
    assert {each: name for each, (_, name) in names.items()} == {
        each: "vm-%d" % (domid // 2 * 2) for domid, each in enumerate(uuids)}
    assert xapi.calls == collections.Counter({
        "session.login_with_password": 1, VIF_UUIDS[number > MANY]: 1,
        "VM.get_all_records_where": 1, "session.logout": 1})


# ---- VMs -----------------------------------------------------------------------------------------


def test_find_vms(xapi):
    first = xapi.add_vm("web", [vif_uuid(12), vif_uuid(12, 1)])
    second = xapi.add_vm("db", [vif_uuid(13)])
    third = xapi.add_vm("db")
    xapi.add_vm("db", [vif_uuid(14)], is_a_template=True)
    xapi.add_vm("db", is_a_snapshot=True, is_a_template=True)
    xapi.add_vm("Control domain", is_control_domain=True)
    uuid_like = xapi.add_vm(NO_SUCH_UUID)
    quoted = xapi.add_vm("a \"b\" or 'c' \\ (field)")
    with ask(xapi) as session:
        for wanted in ("web", first, first.upper()):
            assert session.find_vms(wanted) == [
                (first, "web", sorted([vif_uuid(12), vif_uuid(12, 1)]))], wanted
        assert session.find_vms("db") == sorted([
            (second, "db", [vif_uuid(13)]), (third, "db", [])])
        assert session.find_vms(second) == [(second, "db", [vif_uuid(13)])]
        assert session.find_vms("a \"b\" or 'c' \\ (field)")[0][0] == quoted
        assert session.find_vms(NO_SUCH_UUID)[0][0] == uuid_like
        for wanted in ("WEB", "we", "", "Control domain", str(uuid.uuid4())):
            assert session.find_vms(wanted) == [], wanted


@pytest.mark.parametrize("number", [1, 10000])
def test_calls_for_a_vm_are_bounded(xapi, number):
    """However many VIFs there are, and however many VMs have the name."""
    for domid in range(number):
        xapi.add_vm("web", [vif_uuid(domid)])
    xapi.add_vm("another's", [vif_uuid(99999)])
    with ask(xapi) as session:
        found = session.find_vms("web")
    assert len(found) == number and all(len(vm[2]) == 1 for vm in found)
    assert xapi.calls == collections.Counter({
        "session.login_with_password": 1, "VM.get_by_name_label": 1,
        "VM.get_all_records_where": 1, VIF_UUIDS[number > MANY]: 1, "session.logout": 1})


# ---- errors --------------------------------------------------------------------------------------


LOGIN, VIFS, VMS, LOGOUT = ("session.login_with_password", "VIF.get_all_records_where",
                            "VM.get_all_records_where", "session.logout")
FAULTS = [
    (["HOST_IS_SLAVE", "10.0.0.1"], ["10.0.0.1", "--xapi https://10.0.0.1"]),
    (["HOST_IS_SLAVE"], ["--xapi https://MASTER"]),
    (["SESSION_AUTHENTICATION_FAILED", "root", "x"], ["--user", "--password-file"]),
    (["SESSION_INVALID", "x"], ["SESSION_INVALID"]),
    (["HOST_STILL_BOOTING"], ["HOST_STILL_BOOTING"]),
    (["two\nlines"], ["two"]),
    ("drop", ["dropped the connection"]), ("cut", ["dropped the connection"]),
    ("boast", []),  # the library believes it, or reads on (MemoryError, IncompleteRead)
    ("garbage", ["not XAPI"]), ("empty", ["not XAPI"]), ("http", ["not XAPI", "500"]),
    ("no value", ["not XAPI"]), ("text", ["not XAPI"]),
]


@pytest.mark.parametrize("method", [LOGIN, VIFS, VMS])
@pytest.mark.parametrize("what, words", FAULTS, ids=lambda value: str(value))
def test_faults(xapi, method, what, words):
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(method, what)
    if what == ["two\nlines"]:
        with pytest.raises(XapiError):
            with ask(xapi) as session:
                session.names([vif_uuid(12)])
    else:
        error = fails(xapi, *words)
        assert error.details == (tuple(what) if isinstance(what, list)
                                 and what[0] != "SESSION_INVALID" else ())
    # What was logged in is logged out; what login itself did is in the fixture.
    assert xapi.calls[LOGOUT] >= (method != LOGIN)
    if method == LOGIN and what == "cut":
        xapi.sessions.clear()  # its name never came here


@pytest.mark.parametrize("xml, words", [
    ("<?xml version='1.0' encoding='none'?><methodResponse/>", "unknown encoding"),
    ("<methodResponse><params><param><value><bigdecimal>x</bigdecimal></value></param></params>"
     "</methodResponse>", "InvalidOperation"),
    ("<methodResponse><params><param><value><i4>x</i4></value></param></params></methodResponse>",
     "ValueError"),
])
def test_an_answer_that_python_fails_on(xapi, monkeypatch, xml, words):
    """Each in its own way: what the libraries raise is not of one class."""
    monkeypatch.setattr(xapi, "_read", lambda *_: None)
    monkeypatch.setattr(xapi, "_xml", lambda value, xml_of=xapi._xml: (
        xml.encode() if value is None else xml_of(value)))
    fails(xapi, "not XAPI", words)


@pytest.mark.parametrize("odd", ["a\x01b", "\x1b[2J", os.fsdecode(b"\xff"), "\ufffe"], ids=ascii)
def test_what_xml_can_not_carry(host, xapi, tls, monkeypatch, odd):
    """XAPI could make nothing of the whole request: it is not XAPI that is wrong."""
    result = Run("--xapi", xapi.remote, "mirror", "vm", odd, db=host, env={"LC_ALL": "C.UTF-8"})
    with result:
        assert_error(result.end(), 2, "XAPI knows no VM of this name")
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    for how in {"user": odd}, {"password": PASSWORD + odd}:
        with pytest.raises(XapiError, match="no such user or password"):
            with ask(tls, **how):
                pass


@pytest.mark.parametrize("odd", [5, True, 1.5, ["a"], {"a": "b"}], ids=repr)
def test_a_name_that_is_no_text(xapi, odd):
    web = xapi.add_vm(odd, [vif_uuid(12)])
    fails(xapi, "not XAPI", "name_label is no text")
    fails(xapi, "name_label is no text", ask_for=lambda session: session.find_vms(web))
    xapi.add_host(odd)
    fails(xapi, "name_label is no text", ask_for=lambda session: session.hosts())


@pytest.mark.parametrize("method", [LOGIN, VIFS, VMS])
@pytest.mark.parametrize("what", ["hang", "drip"])
def test_time_out(xapi, method, what):
    """A byte now and then is no answer, either."""
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(method, what)
    fails(xapi, "within 0.5 s", "--timeout", timeout=0.5)
    if method == LOGIN:
        xapi.sessions.clear()


def test_the_time_is_for_all_calls_together(xapi):
    """And what we do in between is not on XAPI's account; restart_deadline() begins anew."""
    with ask(xapi, timeout=1000) as session:
        first = session._transport.patience
        session.names([vif_uuid(12)])
        second = session._transport.patience
        assert second < first < 1000
        session.restart_deadline()
        assert session._transport.patience == 1000


def test_no_more_connections(tmp_path):
    """XAPI hangs, and its queue is full."""
    path = str(tmp_path / "x")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        listener.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect(path)
        fails("unix:" + path, "within 0.2 s", timeout=0.2)


def test_nobody_there(tmp_path):
    fails("unix:%s/absent" % tmp_path, "no such socket")
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
    fails("unix:" + path, "nothing listens there")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        fails("https://127.0.0.1:%d" % listener.getsockname()[1], "nothing listens there")
    fails("unix:/" + 120 * "x", "unix:/xxx")
    fails("https://a..b", "https://a..b")


@pytest.mark.parametrize("remote", [
    "", "unix:", "http://127.0.0.1", "https://", "https://root:x@h", "https://h/path", "h",
    "https://h:port", "https://h?x", "https://[::1", "tcp:127.0.0.1:80"])
def test_bad_remotes(remote):
    with pytest.raises(BadRemote) as caught:
        Xapi(remote)
    assert "https://HOST" in str(caught.value)


# ---- sessions ------------------------------------------------------------------------------------


def test_a_session_that_ends_in_the_middle_is_begun_anew(xapi):
    web = xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(VMS, "expire", times=1)
    with ask(xapi) as session:
        assert session.names([vif_uuid(12)]) == {vif_uuid(12): (web, "web")}
    assert (xapi.logins, xapi.sessions) == (2, set())


@pytest.mark.parametrize("what", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_logged_out_whatever_happens(xapi, what):
    with pytest.raises(what):
        with ask(xapi):
            assert len(xapi.sessions) == 1
            raise what()
    assert (xapi.calls[LOGOUT], xapi.sessions) == (1, set())


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", -15), ("SIGHUP", -1)])
@pytest.mark.parametrize("args, method", [
    (["status"], VIFS), (["mirror", "vm", "web"], VMS), (["pool", "check"], "host.get_all_records"),
    (["pool", "check"], "host.call_plugin")], ids=str)
def test_logged_out_when_a_signal_ends_it(host, xapi, args, method, name, code):
    """In the middle of a call, whose answer nobody will read."""
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(re.escape(method), "hang")
    with Run("--timeout", LONG, "--xapi", xapi.remote, *args, db=host) as asking:
        until(lambda: xapi.calls[method])
        asking.process.send_signal(getattr(signal, name))
        asking.end()
    assert asking.code == code and "Traceback" not in asking.err, asking
    assert (xapi.calls[LOGOUT], xapi.sessions) == (1, set())


def test_what_nohup_has_ignored_stays_ignored(host, xapi):
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(VIFS, "hang")
    argv = command("--timeout", 1, "--xapi", xapi.remote, "status", db=host)
    with Run(argv=["nohup"] + argv) as asking:
        until(lambda: xapi.calls[VIFS])
        asking.process.send_signal(signal.SIGHUP)
        assert asking.end().code == 0


def until(condition):
    limit = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_logged_out_over_a_new_connection(xapi):
    """That on which it was logged in is lost."""
    xapi.fault(VIFS, "drop")
    fails(xapi, "dropped")
    assert (xapi.logins, xapi.calls[LOGOUT]) == (1, 1)


@pytest.mark.parametrize("what", [["HOST_STILL_BOOTING"], "drop", "hang"], ids=str)
def test_logged_out_where_logging_in_goes_on(xapi, monkeypatch, what):
    """XenAPI of xapi 24 and older, as in XenServer 8, asks for the version of the API in its login:
    there is a session by then."""
    class Older(XenAPI.Session):
        def _login(self, *args):
            super()._login(*args)
            assert self.API_version

    monkeypatch.setattr(XenAPI, "Session", Older)
    with ask(xapi) as session:
        assert session.names([vif_uuid(12)]) == {}
    assert (xapi.calls["pool.get_all"], xapi.calls[LOGOUT]) == (1, 1)
    xapi.fault("pool.get_all", what)
    fails(xapi, timeout=0.5 if what == "hang" else LONG)
    assert (xapi.calls[LOGIN], xapi.calls[LOGOUT], xapi.sessions) == (2, 2, set())


def test_a_lost_answer_to_a_login_is_no_second_session(xapi):
    xapi.fault(LOGIN, "drop after")
    fails(xapi, "dropped")
    assert xapi.calls[LOGIN] == 1
    xapi.sessions.clear()  # its name never came here


@pytest.mark.parametrize("what", [["SESSION_INVALID", "x"], ["HOST_IS_SLAVE", "x"], "drop", "hang",
                                  "garbage", "empty", "http", "cut"], ids=str)
def test_a_logout_that_fails_costs_no_answer(xapi, what):
    web = xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(LOGOUT, what)
    with ask(xapi) as session:
        names = session.names([vif_uuid(12)])
    assert names == {vif_uuid(12): (web, "web")}
    assert xapi.calls[LOGOUT] >= 1
    xapi.sessions.clear()


def test_errors_of_the_users_own_are_left_alone(xapi):
    """An error beside the calls is not XAPI's."""
    with pytest.raises(ValueError, match="ours"):
        with ask(xapi):
            raise ValueError("ours")


def test_calling_a_plugin(xapi):
    xapi.plugin = lambda host, *call: "%s %s %s" % call if call[1] == "good" else {
        "Status": "Failure", "ErrorDescription": ["XENAPI_PLUGIN_FAILURE", "bad", "x", "y"]}
    with ask(xapi) as session:
        (host,) = session.call("host.get_all")
        assert session.call("host.call_plugin", host, "p", "good", {}) == "p good {}"
        with pytest.raises(XapiError) as caught:
            session.call("host.call_plugin", host, "p", "bad", {})
        assert caught.value.details == ("XENAPI_PLUGIN_FAILURE", "bad", "x", "y")


# ---- TLS -----------------------------------------------------------------------------------------


def test_tls_is_verified(tls, monkeypatch):
    how = {"user": "root", "password": PASSWORD}
    with pytest.raises(XapiError) as caught:
        with ask(tls, **how):
            pass
    assert "--no-verify" in str(caught.value) and "SSL_CERT_FILE" in str(caught.value)
    assert tls.calls[LOGIN] == 0
    with ask(tls, verify=False, **how) as session:
        assert list(session.names([vif_uuid(12)])) == [vif_uuid(12)]
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    with ask(tls, **how) as session:
        assert list(session.names([vif_uuid(12)])) == [vif_uuid(12)]
    with pytest.raises(XapiError) as caught:
        with Xapi(tls.remote.replace("127.0.0.1", "localhost"), timeout=LONG, **how):
            pass
    assert "--no-verify" in str(caught.value), "another host's certificate"


def test_tls_with_one_who_says_nothing():
    """The handshake has its time, too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        fails("https://127.0.0.1:%d" % listener.getsockname()[1], "within 0.2 s", timeout=0.2)


@pytest.mark.parametrize("what", ["hang", "drip"])
def test_tls_time_out(tls, what, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    tls.fault("VIF.get_all_records_where", what, times=1)
    with pytest.raises(XapiError) as caught:
        with Xapi(tls.remote, "root", PASSWORD, 1) as session:
            session.names([vif_uuid(12)])
    assert "within 1 s" in str(caught.value)


def test_a_wrong_password(tls):
    with pytest.raises(XapiError) as caught:
        with ask(tls, user="root", password="wrong", verify=False):
            pass
    assert caught.value.details[0] == "SESSION_AUTHENTICATION_FAILED"
    assert PASSWORD not in str(caught.value) and "wrong" not in str(caught.value)


# ---- status and check ----------------------------------------------------------------------------


@pytest.fixture
def host(ovs):
    """A private Open vSwitch with a bridge, as in test_cli.py."""
    ovs.add_bridge("xenbr0")
    return ovs


def asking(xapi, *args, **how):
    return run("--xapi", getattr(xapi, "remote", xapi), *args, **how)


def warning(result, code, *words):
    """The command's answer is there, and one line on stderr says why it has no names."""
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


def test_never_by_domain_or_by_the_vms_uuid(host, xapi):
    """Another VM has this domain id elsewhere in the pool; the VIF says whose it is."""
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
    """One VIF here, in a pool of as many: two calls, and the session."""
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


def test_xapi_that_was_named_and_is_not_there(host, tmp_path):
    add_pair(host, 12)
    warning(asking("unix:%s/absent" % tmp_path, "status", db=host), 0, "no such socket")


@pytest.mark.skipif(os.path.exists("/var/lib/xcp/xapi"), reason="this host has an XAPI")
def test_where_there_is_no_xapi(host):
    """A host with libxl: not a word, and not even XenAPI is imported."""
    add_pair(host, 12)
    assert_done(run("status", db=host))
    assert_error(run("mirror", "vm", "web", db=host), 3, "/var/lib/xcp/xapi", "no such socket")


@pytest.mark.parametrize("args", [["-q", "status"], ["-q", "check"], ["mirror", "all"],
                                  ["mirror", "dom", "12"], ["mirror", "port", "vif12.0"]],
                         ids=" ".join)
def test_who_needs_no_names_does_not_ask(host, xapi, args):
    add_pair(host, 12, tap={"tag": 5})
    assert_done(asking(xapi, *args, db=host))
    assert xapi.calls == {}


def test_ports_of_no_vif_that_xapi_could_know(host, xapi):
    host.add_port("xenbr0", "vif12.0", {"xen-vm-name": "x"}, tag=5)
    assert_done(asking(xapi, "status", db=host))
    assert xapi.calls == {}


IMPORTED = """
import sys
sys.argv = ["x"] + %r
from xenvif_tagger import cli
try:
    cli.main()
finally:
    sys.stderr.write(" ".join(each for each in sys.modules if each.startswith(
        ("XenAPI", "xmlrpc", "ssl", "http", "xenvif_tagger.xapi.session"))))
"""


@pytest.mark.parametrize("args", [["--help"], ["mirror", "all"], ["mirror", "dom", "12"],
                                  ["-q", "check"], ["status"]], ids=" ".join)
def test_nobody_pays_for_what_is_not_asked(host, args):
    """The last one: where no VIF is XAPI's."""
    host.add_port("xenbr0", "vif12.0", {"xen-vm-name": "x"}, tag=5)
    argv = [sys.executable, "-c", IMPORTED % (["--db", host.remote] + args)]
    assert_done(run(argv=argv))


def test_that_import_is_seen(host, xapi):
    add_pair(host, 12, tap={"tag": 5})
    argv = [sys.executable, "-c", IMPORTED % (
        ["--db", host.remote, "--xapi", xapi.remote, "status"])]
    assert "XenAPI" in run(argv=argv).err


@pytest.mark.parametrize("module", ["plug", "plug_libxl", "watch", "daemon", "control"])
def test_neither_the_plug_path_nor_the_watcher_knows_xapi(module):
    argv = [sys.executable, "-c", "import sys, xenvif_tagger.%s\n"
            "print([each for each in sys.modules if 'xapi' in each.lower()])" % module]
    assert assert_done(run(argv=argv)).out == "[]\n"


def test_without_the_library(host, xapi):
    """XenAPI is not there: no traceback."""
    add_pair(host, 12, tap={"tag": 5})
    for args, code in (["status"], 0), (["mirror", "vm", "web"], 3):
        result = run(argv=[sys.executable, "-c", "import sys\nsys.modules['XenAPI'] = None\n"
                           "sys.argv = ['x'] + %r\nfrom xenvif_tagger.cli import main\nmain()" % (
                               ["--db", host.remote, "--xapi", xapi.remote] + args)])
        assert (result.code, result.err.count("\n")) == (code, 1), result
        assert "XenAPI" in result.err and "Traceback" not in result.err
    assert xapi.calls == {}


# ---- mirror vm -----------------------------------------------------------------------------------


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
    """While it migrates to its own host, a VM has two domains."""
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
    """XAPI is asked once, before; a port that comes later is found by its VIF's uuid."""
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
    """Also at each wake-up of --wait: not what a thousand others have."""
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
    assert len(answers) > 4  # more than one look
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


# ---- options -------------------------------------------------------------------------------------


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
    """Whoever pipes standard output gets the table only."""
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
