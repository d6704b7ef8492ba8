"""The client of XAPI by itself, with the stand-in for XAPI of support/xapi_server.py."""
import collections
import contextlib
import os
import re
import signal
import socket
import time
import uuid

import pytest
import XenAPI

from support.command import Run, assert_error, command
from support.constants import LONG
from support.xapi_calls import FAULTS, LOGIN, LOGOUT, NO_SUCH_UUID, VIFS, VMS, vif_uuid
from support.xapi_server import PASSWORD, XapiServer, compiled
from support.zoo import add_pair
from xenvif_tagger.xapi.session import MANY, BadRemote, Xapi, XapiError

VIF_UUIDS = "VIF.get_all_records_where", "VIF.get_all_records"


def ask(server, timeout=LONG, **how):
    return Xapi(server.remote, timeout=timeout, **how)


def fails(server, *words, ask_for=None, timeout=LONG):
    """Check that asking the server raises an XapiError of one line with these words; returns the
    error."""
    with pytest.raises(XapiError) as caught:
        with Xapi(getattr(server, "remote", server), timeout=timeout) as session:
            (ask_for or (lambda session: session.names([vif_uuid(12)])))(session)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(getattr(server, "remote", server) + ": "), text
    for word in words:
        assert word in text, text
    return caught.value


# ---- the server of the tests ---------------------------------------------------------------------


def test_the_stand_in_speaks_with_the_real_xenapi():
    """XenAPI alone can talk with the stand-in. The test uses TLS, because XenAPI's own transport
    can't take a socket's path with an underscore."""
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


def test_the_names_of_vms(xapi):
    web = xapi.add_vm("web", [vif_uuid(12), vif_uuid(12, 1)])
    other = xapi.add_vm("ü <&> \"x\"", [vif_uuid(13)])
    xapi.add_vm("no VIF")
    with ask(xapi) as session:
        assert session.names([vif_uuid(12), vif_uuid(12, 1), vif_uuid(13), vif_uuid(14)]) == {
            vif_uuid(12): (web, "web"), vif_uuid(12, 1): (web, "web"),
            vif_uuid(13): (other, "ü <&> \"x\"")}
    assert (xapi.logins, xapi.originators) == (1, {"xenvif-tagger"})


@pytest.mark.parametrize("asked", [[], ["another"], ['" or field "uuid" = "x'], ["x\n"], [""]])
def test_a_value_that_is_no_uuid_is_not_asked_for(xapi, asked):
    """Anybody may have written external_ids: a value that is no uuid may not get into a query."""
    xapi.add_vm("web", [vif_uuid(12)])
    with ask(xapi) as session:
        assert session.names(asked) == {}
    assert set(xapi.calls) == {"session.login_with_password", "session.logout"}


def test_a_vif_that_xapi_does_not_have(xapi):
    xapi.add_vm("web", [vif_uuid(12)])
    with ask(xapi) as session:
        assert session.names([vif_uuid(99)]) == {}


@pytest.mark.parametrize("number", [1, MANY, MANY + 1, 10000])
def test_the_number_of_calls_for_names_is_bounded(xapi, number):
    uuids = [vif_uuid(domid) for domid in range(number)]
    for domid in range(0, number, 2):  # each VM has two VIFs
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


def test_vms_are_found_by_name_and_uuid(xapi):
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
def test_the_number_of_calls_for_a_vm_is_bounded(xapi, number):
    """The number of calls grows neither with the VIFs nor with the VMs that have the name."""
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


@pytest.mark.parametrize("method", [LOGIN, VIFS, VMS])
@pytest.mark.parametrize("what, words", FAULTS, ids=lambda value: str(value))
def test_the_errors_for_the_faults_of_xapi(xapi, method, what, words):
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
    # If the fault came after the login, the client has logged out. (After a fault of the login,
    # the fixture checks that no session is open.)
    assert xapi.calls[LOGOUT] >= (method != LOGIN)
    if method == LOGIN and what == "cut":
        xapi.sessions.clear()  # the session's name never reached the client


@pytest.mark.parametrize("xml, words", [
    ("<?xml version='1.0' encoding='none'?><methodResponse/>", "unknown encoding"),
    ("<methodResponse><params><param><value><bigdecimal>x</bigdecimal></value></param></params>"
     "</methodResponse>", "InvalidOperation"),
    ("<methodResponse><params><param><value><i4>x</i4></value></param></params></methodResponse>",
     "ValueError"),
])
def test_an_answer_that_python_fails_on(xapi, monkeypatch, xml, words):
    """Python's libraries raise another class of exception for each of these answers."""
    monkeypatch.setattr(xapi, "_read", lambda *_: None)
    monkeypatch.setattr(xapi, "_xml", lambda value, xml_of=xapi._xml: (
        xml.encode() if value is None else xml_of(value)))
    fails(xapi, "not XAPI", words)


@pytest.mark.parametrize("odd", ["a\x01b", "\x1b[2J", os.fsdecode(b"\xff"), "\ufffe"], ids=ascii)
def test_a_character_that_xml_can_not_carry(host, xapi, tls, monkeypatch, odd):
    """XAPI could not parse a request with such a character: the client blames the name, the user or
    the password, and not XAPI."""
    result = Run("--xapi", xapi.remote, "mirror", "vm", odd, db=host, env={"LC_ALL": "C.UTF-8"})
    with result:
        assert_error(result.end(), 2, "XAPI knows no VM of this name")
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    for how in {"user": odd}, {"password": lambda: PASSWORD + odd}:
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
    """An answer that comes byte by byte, each within the limit for a read, takes too long, too."""
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(method, what)
    fails(xapi, "within 0.5 s", "--timeout", timeout=0.5)
    if method == LOGIN:
        xapi.sessions.clear()


def test_the_time_is_for_all_calls_together(xapi):
    """All calls share one time limit, so each call leaves less time for the next."""
    with ask(xapi, timeout=1000) as session:
        first = session._transport.patience
        session.names([vif_uuid(12)])
        second = session._transport.patience
        assert second < first < 1000


def test_no_more_connections(tmp_path):
    """XAPI hangs, and the queue of XAPI's socket is full."""
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


def test_no_xapi_at_the_remote(tmp_path):
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
def test_the_client_logs_out_whatever_happens(xapi, what):
    with pytest.raises(what):
        with ask(xapi):
            assert len(xapi.sessions) == 1
            raise what()
    assert (xapi.calls[LOGOUT], xapi.sessions) == (1, set())


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", -15), ("SIGHUP", -1)])
@pytest.mark.parametrize("args, method", [
    (["status"], VIFS), (["mirror", "vm", "web"], VMS), (["pool", "check"], "host.get_all_records"),
    (["pool", "check"], "host.call_plugin")], ids=str)
def test_the_command_logs_out_when_a_signal_ends_it(host, xapi, args, method, name, code):
    """The signal comes in the middle of a call: the command logs out without reading the answer."""
    add_pair(host, 12, tap={"tag": 5})
    xapi.add_vm("web", [vif_uuid(12)])
    xapi.fault(re.escape(method), "hang")
    with Run("--timeout", LONG, "--xapi", xapi.remote, *args, db=host) as asking:
        until(lambda: xapi.calls[method])
        asking.process.send_signal(getattr(signal, name))
        asking.end()
    assert asking.code == code and "Traceback" not in asking.err, asking
    assert (xapi.calls[LOGOUT], xapi.sessions) == (1, set())


def test_a_signal_that_nohup_has_ignored_stays_ignored(host, xapi):
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


def test_the_client_logs_out_over_a_new_connection(xapi):
    """The connection of the login is lost, so the client logs out over a new connection."""
    xapi.fault(VIFS, "drop")
    fails(xapi, "dropped")
    assert (xapi.logins, xapi.calls[LOGOUT]) == (1, 1)


@pytest.mark.parametrize("what", [["HOST_STILL_BOOTING"], "drop", "hang"], ids=str)
def test_the_client_logs_out_if_a_login_fails_after_its_session_is_open(xapi, monkeypatch, what):
    """XenAPI of xapi 24 and older, as in XenServer 8, asks for the API's version as a part of its
    login: if that question fails, a session is already open, and the client ends the session."""
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
    xapi.sessions.clear()  # the session's name never reached the client


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


def test_an_error_of_the_calling_code_is_raised_unchanged(xapi):
    """The client does not turn an error that another part of our code raises into an XapiError."""
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
    how = {"user": "root", "password": lambda: PASSWORD}
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
    assert "--no-verify" in str(caught.value), "the certificate names another host"


def test_tls_with_a_server_that_says_nothing():
    """The time limit counts for the TLS handshake, too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        fails("https://127.0.0.1:%d" % listener.getsockname()[1], "within 0.2 s", timeout=0.2)


@pytest.mark.parametrize("what", ["hang", "drip"])
def test_tls_time_out(tls, what, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)
    tls.fault("VIF.get_all_records_where", what, times=1)
    with pytest.raises(XapiError) as caught:
        with Xapi(tls.remote, "root", lambda: PASSWORD, 1) as session:
            session.names([vif_uuid(12)])
    assert "within 1 s" in str(caught.value)


def test_a_wrong_password(tls):
    with pytest.raises(XapiError) as caught:
        with ask(tls, user="root", password=lambda: "wrong", verify=False):
            pass
    assert caught.value.details[0] == "SESSION_AUTHENTICATION_FAILED"
    assert PASSWORD not in str(caught.value) and "wrong" not in str(caught.value)
