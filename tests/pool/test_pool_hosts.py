"""The choice of the hosts that the pool's commands ask, and XAPI, which lists the hosts."""
import json
import re
import sys

import pytest

from support.command import assert_error, run
from support.constants import LONG
from support.pool import CALL, LOGIN, SOON, Pool, assert_lines, assert_narrow, told
from support.xapi_server import PASSWORD, XapiServer, failure
from support.zoo import identity


def test_some_hosts(pool, alike):
    pool.add("one", alike)
    two = pool.add("two", alike)
    pool.add("three", alike, live=False)
    assert set(told(pool.run("version", "--json", "--host", "one"), 0)) == {"one"}
    assert set(told(pool.run("version", "--json", "--host", pool.uuid(two).upper(),
                             "--host", "one"), 0)) == {"one", "two"}
    assert pool.server.calls[CALL] == 3


def test_unknown_and_ambiguous_hosts(pool, alike):
    uuids = sorted(pool.uuid(pool.add("one", alike)) for _ in range(2))
    assert_error(pool.run("check", "--host", "x"), 2, "x: the pool has no host", "xe host-list")
    assert_error(pool.run("check", "--host", "one"), 2, "2 hosts have this name", ", ".join(uuids))
    assert pool.server.calls[CALL] == 0


@pytest.mark.parametrize("method", [LOGIN, "host.get_all_records", "host_metrics.get_all_records"])
@pytest.mark.parametrize("what, words", [
    (["HOST_IS_SLAVE", "10.0.0.1"], ["--xapi https://10.0.0.1"]), ("drop", ["dropped"]),
    ("hang", ["within 0.5 s"]), ("garbage", ["not XAPI"])], ids=str)
def test_xapi_does_not_answer(pool, alike, method, what, words):
    pool.add("one", alike)
    pool.server.fault(method, what)
    seconds = "0.5" if what == "hang" else str(LONG)
    assert_error(run("--timeout", seconds, *pool.argv("check")), 3, *words)


def test_no_xapi(tmp_path):
    assert_error(run("--xapi", "unix:%s/x" % tmp_path, "pool", "check"), 3, "no such socket")
    for words in ("pool", "check"), ("mirror", "vm", "a"):
        assert_error(run("--xapi", "none", *words), 2, "--xapi none: ", "leave the option out")


@pytest.mark.parametrize("args", [[], ["mirror"], ["check", "12"], ["check", "--timeout", "0"],
                                  ["check", "--timeout", "x"]])
def test_wrong_usage(pool, args):
    assert_error(pool.run(*args), 2)
    assert not pool.server.calls


def test_by_tls(plugins, drifted, tmp_path):
    password = tmp_path / "password"
    password.write_bytes(PASSWORD.encode())
    with XapiServer(tls=True) as server:
        pool = Pool(server, plugins)
        server.remember = True
        for number in range(8):
            hung = pool.add("host-%d" % number, drifted)
        server.add_vm("web", [identity(12)["xs-vif-uuid"]])
        args = ["--password-file", str(password)] + list(pool.argv("check", "--json"))
        hosts = told(run(*args, env={"SSL_CERT_FILE": server.ca}), 1)
        assert {host["output"]["pairs"][0]["vm"]["name"] for host in hosts.values()} == {"web"}
        assert len(hosts) == 8
        assert_error(run(*args), 3, "--no-verify")
        server.fault(CALL, "hang", host=hung)
        told(run("--no-verify", *args, "--timeout", str(SOON)), 1, "host-7: no answer within 3 s")
        assert server.sessions == set() and server.logins == 2


def test_the_time_for_a_host_may_be_longer_than_the_time_for_xapi(pool, alike):
    """The time for a host's answer may be longer than --timeout, the time for XAPI itself."""
    pool.add("one", alike)
    answer = json.dumps({"exit": 0, "stderr": [], "output": {"version": "1"}})
    pool.server.plugin = lambda *_: pool.server.released.wait(6) or answer
    done = run("--timeout", "5", *pool.argv("version"))
    assert (done.code, done.err) == (0, ""), done


def test_a_host_without_metrics_in_xapi_may_be_down(pool, alike):
    pool.add("one", alike, metrics="OpaqueRef:NULL")
    pool.server.plugin = lambda *_: failure("HOST_OFFLINE", "x")
    assert_lines(pool.run("check"), "one: down: XAPI can't reach this host", "no host has answered")


def test_a_host_with_any_name(pool, alike):
    pool.add("del\x7f " + 30 * "word ", alike)
    done = pool.run("check")
    assert_narrow(done)
    assert "\x7f" not in done.out and "\ndel? word" in done.out and done.code == 0


def test_hosts_that_their_names_do_not_tell_apart(pool, alike, drifted):
    refs = [pool.add("twin", alike), pool.add("twin", drifted), pool.add(" ", alike)]
    down = pool.add("twin", alike, live=False)
    labels = ["%s (%s)" % (name, pool.uuid(ref)[:8]) for name, ref in zip(
        ("twin", "twin", " "), refs)]
    for function in "check", "doctor", "version":
        done = pool.run(function)
        for label in labels:
            assert re.search("^" + re.escape(label) + "[: ]", done.out, re.M), done
        assert_lines(done, "twin (%s): down" % pool.uuid(down)[:8])


# A program that runs the command, with a look-up of host names that never ends in any thread but
# the main thread.
HANGING_RESOLVER = r"""
import socket, sys, threading
look_up = socket.getaddrinfo
def hanging(*args, **how):
    if threading.current_thread() is not threading.main_thread():
        threading.Event().wait()
    return look_up(*args, **how)
socket.getaddrinfo = hanging
from xenvif_tagger.cli.main import main
main()
"""


def test_a_thread_that_never_ends(plugins, alike, tmp_path):
    """A thread whose look-up never ends delays neither the answer nor the end of the process; and
    the command logs out."""
    password = tmp_path / "password"
    password.write_bytes(PASSWORD.encode())
    with XapiServer(tls=True) as server:
        pool = Pool(server, plugins)
        pool.add("one", alike)
        done = run(argv=[sys.executable, "-c", HANGING_RESOLVER, "--no-verify", "--password-file",
                         str(password)] + list(pool.argv("check", "--timeout", "0.5")))
        assert done.code == 3, done
        assert_lines(done, "one: no answer within 0.5 s", "no host has answered, of 1")
        assert (server.logins, server.sessions) == (1, set())
