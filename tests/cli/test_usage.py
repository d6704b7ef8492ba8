"""The command line: the help, the version, and wrong usage."""
import os
import re
import sys

import pytest

from support.command import assert_done, assert_error, command, run
from support.zoo import (
    add,
    add_pair,
    read_log,
    tag,
)
from xenvif_tagger import __version__


@pytest.mark.parametrize("how", ["-h", "--help"])
def test_help_lists_the_commands_that_work_and_no_others(how):
    result = assert_done(run(how))
    listed = result.out.partition("Commands:\n")[2]
    assert re.findall(r"^  (\S+)", listed, re.M) == [
        "check", "doctor", "mirror", "pool", "status", "watch"]
    for option in ("--db REMOTE", "--config FILE", "--timeout", "--xapi REMOTE", "--user NAME",
                   "--password-file FILE", "--no-verify", "-v,", "-q,", "--version"):
        assert option in result.out
    result = assert_done(run("mirror", how))
    assert re.findall(r"^  (\S+)", result.out.partition("Commands:\n")[2], re.M) == [
        "all", "dom", "port", "vm"]


@pytest.mark.parametrize("kind", ["dom", "port", "vm", "all"])
def test_help_of_mirror_shows_its_options(kind):
    result = assert_done(run("mirror", kind, "--help"))
    for option in ("--from [vif|tap]", "--dry-run", "--json", "--wait SECONDS"):
        assert option in result.out


def test_help_does_not_read_the_config():
    assert_done(run("mirror", "dom", "--help", env={"XENVIF_TAGGER_CONFIG": "/nonexistent"}))


def test_version():
    assert __version__ in assert_done(run("--version")).out


# (arguments, a word of the error). These tests have no database: the command finds wrong usage
# before its first question to the database.
BAD_USAGE = [
    ([], "--help"),
    (["mirror"], "--help"),
    (["bogus"], "bogus"),
    (["mirror", "vm"], "NAME-OR-UUID"),
    (["mirror", "vm", "x", "y"], "y"),
    (["mirror", "bogus"], "bogus"),
    (["--bogus", "status"], "--bogus"),
    (["status", "--bogus"], "--bogus"),
    (["mirror", "dom"], "DOMID"),
    (["mirror", "dom", "twelve"], "twelve"),
    (["mirror", "dom", "12.0"], "12.0"),
    (["mirror", "dom", "--", "-1"], "-1"),
    (["mirror", "dom", ""], "DOMID"),
    (["mirror", "dom", "12", "13"], "13"),
    (["status", "twelve"], "twelve"),
    (["check", "twelve"], "twelve"),
    (["mirror", "port"], "NAME"),
    (["mirror", "port", "eth0"], "eth0"),
    (["mirror", "port", "vif12"], "vif12"),
    (["mirror", "port", "vif012.0"], "vif012.0"),
    (["mirror", "port", "tap12.0-emu"], "tap12.0-emu"),
    (["mirror", "port", ""], "vifD.N"),
    (["mirror", "port", "two\nlines"], "two lines"),
    (["mirror", "all", "12"], "12"),
    (["mirror", "dom", "12", "--from", "both"], "both"),
    (["mirror", "dom", "12", "--wait", "long"], "long"),
    (["mirror", "dom", "12", "--wait", "-1"], "-1"),
    (["mirror", "dom", "12", "--wait", "nan"], "nan"),
    (["mirror", "dom", "12", "--wait", "inf"], "inf"),
    (["--timeout", "0", "status"], "--timeout"),
    (["--timeout", "-1", "status"], "--timeout"),
    (["--timeout", "soon", "status"], "soon"),
    (["--timeout", "nan", "status"], "nan"),
    (["--timeout", "inf", "status"], "inf"),
    (["-v", "-q", "status"], "-q"),
    (["--db", "nonsense", "status"], "nonsense"),
    (["--db", "unix:", "status"], "unix:PATH"),
    (["--db", "tcp:", "status"], "tcp:HOST"),
    (["--db", "ssl:127.0.0.1:6640", "status"], "ssl:"),
    (["--db", "punix:/tmp/x", "status"], "punix:"),
    (["--config", "/nonexistent", "status"], "/nonexistent"),
]


@pytest.mark.parametrize("args, word", BAD_USAGE, ids=lambda value: " ".join(value) or "nothing"
                         if isinstance(value, list) else "")
def test_bad_usage(args, word):
    env = {"OVS_RUNDIR": "/nonexistent/dir"}
    assert_error(run(*args, env=env), 2, word)


@pytest.mark.parametrize("digits", ["1_2", "+12", "012", " 12", "１２"])
def test_a_domain_is_a_plain_number(host, digits):
    """docs/design.md 4.1: D is a canonical decimal number; "1_2" must not be domain 12."""
    add_pair(host, 12)
    assert_error(run("mirror", "dom", digits, db=host), 2)
    assert tag(host, "tap12.0") is None


@pytest.mark.parametrize("args", [
    ["mirror", "dom", "99"], ["mirror", "port", "vif99.0"], ["mirror", "port", "tap99.0"],
    ["mirror", "port", "vif12.1"], ["status", "99"], ["check", "99"],
    ["mirror", "dom", "99", "--dry-run"], ["mirror", "dom", "99", "--json"],
    ["mirror", "port", "vif99.0", "--json"], ["status", "99", "--json"], ["-q", "status", "99"],
    ["mirror", "dom", "1"], ["mirror", "dom", "120"],
    ["mirror", "dom", "99999999999999999999"],
], ids=" ".join)
def test_a_vif_that_the_database_does_not_have(host, args):
    add_pair(host, 12)
    before = read_log(host)
    assert_error(run(*args, db=host), 2, [arg for arg in args if re.search("[0-9]", arg)][0])
    assert read_log(host) == before


def test_a_named_port_whose_sibling_alone_is_there(host):
    add(host, "vif15.0", tag=5)
    assert_error(run("mirror", "port", "tap15.0", db=host), 2, "tap15.0")
    assert_done(run("mirror", "port", "vif15.0", db=host))


def test_both_names_of_the_emulated_nic_can_be_named(host):
    """Three ports belong to one VIF by their names: the command knows each name, and refuses the
    VIF."""
    add_pair(host, 12)
    add(host, "vif12.0-emu")
    for name in ("vif12.0", "tap12.0", "vif12.0-emu"):
        result = assert_done(run("mirror", "port", name, db=host), 1)
        assert "refused" in result.out


def test_a_bad_remote_is_wrong_usage_and_a_dead_remote_is_not(tmp_path):
    assert_error(run("--db", "unix:relative-and-not-there", "status", cwd=str(tmp_path)), 3,
                 "unix:%s/relative-and-not-there" % tmp_path)
    assert_error(run("--db", "unix:/" + 120 * "x", "status"), 3, "107")
    # The bytes of these arguments are no UTF-8.
    assert_error(run(argv=[os.fsencode(arg) for arg in command("--db")] + [
        b"unix:/\xff\xfe", b"status"]), 3)
    assert_error(run(argv=[os.fsencode(arg) for arg in command("mirror", "port")] + [b"\xff"]), 2)


@pytest.mark.parametrize("args, code", [
    (["--help"], 0), (["--version"], 0), (["status"], 0), (["check"], 1), (["bogus"], 2),
    (["--db", "unix:/nonexistent", "status"], 3), ([], 2), (["mirror", "dom", "--help"], 0),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_the_console_script_does_as_python_m(host, args, code):
    add_pair(host, 12)
    script = os.path.join(os.path.dirname(sys.executable), "xenvif-tagger")
    results = [run(argv=argv + args, env={"XENVIF_TAGGER_DB": host.remote})
               for argv in (command(), [script])]
    assert results[0].code == code
    assert [(result.code, result.out, result.err) for result in results[:1]] == [
        (result.code, result.out, result.err) for result in results[1:]]
