"""The command line is a contract (DESIGN 6): the command as a stranger runs it, on a real
database."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import uuid

import pytest

from support.command import Run, assert_done, assert_error, command, environment, run
from support.constants import HELD, LONG, ROOT
from support.printed import check_table, printed_changes
from support.zoo import (
    STATES,
    ZOO,
    add,
    add_pair,
    add_zoo,
    dump,
    held_mark,
    identity,
    move_port,
    our_commits,
    read_log,
    tag,
)
from xenvif_tagger import __version__

PAIR_KEYS = {
    "domid", "devid", "bridge", "vm", "vif", "tap", "state", "reason", "source", "target",
    "changes",
}
# cvlans is not in DESIGN 6, and is mirrored as the others are.
PORT_KEYS = {"port", "tag", "vlan_mode", "trunks", "cvlans", "external_ids"}
CHANGE_KEYS = {"table", "row", "column", "key", "old", "new"}


@pytest.fixture
def host(ovs):
    """A private Open vSwitch with a bridge."""
    ovs.add_bridge("xenbr0")
    return ovs


@pytest.fixture
def zoo(host):
    add_zoo(host)
    return host


# ---- usage -------------------------------------------------------------------------------------


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


def test_help_needs_no_good_config():
    assert_done(run("mirror", "dom", "--help", env={"XENVIF_TAGGER_CONFIG": "/nonexistent"}))


def test_version():
    assert __version__ in assert_done(run("--version")).out


# Without a database: what is wrong is found before one is asked for.
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
    """DESIGN 4.1: D is a canonical decimal number; "1_2" must not be domain 12."""
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
def test_what_the_database_has_not_got(host, args):
    add_pair(host, 12)
    before = read_log(host)
    assert_error(run(*args, db=host), 2, [arg for arg in args if re.search("[0-9]", arg)][0])
    assert read_log(host) == before


def test_a_port_of_which_there_is_only_the_sibling(host):
    add(host, "vif15.0", tag=5)
    assert_error(run("mirror", "port", "tap15.0", db=host), 2, "tap15.0")
    assert_done(run("mirror", "port", "vif15.0", db=host))


def test_both_names_of_the_emulated_nic_can_be_asked_for(host):
    """Three ports bear one VIF's number: each of them is there, and refused."""
    add_pair(host, 12)
    add(host, "vif12.0-emu")
    for name in ("vif12.0", "tap12.0", "vif12.0-emu"):
        result = assert_done(run("mirror", "port", name, db=host), 1)
        assert "refused" in result.out


def test_bad_remotes_are_usage_and_dead_ones_are_not(tmp_path):
    assert_error(run("--db", "unix:relative-and-not-there", "status", cwd=str(tmp_path)), 3,
                 "unix:%s/relative-and-not-there" % tmp_path)
    assert_error(run("--db", "unix:/" + 120 * "x", "status"), 3, "107")
    # An argument that is not text in any encoding.
    assert_error(run(argv=[os.fsencode(arg) for arg in command("--db")] + [
        b"unix:/\xff\xfe", b"status"]), 3)
    assert_error(run(argv=[os.fsencode(arg) for arg in command("mirror", "port")] + [b"\xff"]), 2)


# ---- the same by either name -------------------------------------------------------------------


@pytest.mark.parametrize("args, code", [
    (["--help"], 0), (["--version"], 0), (["status"], 0), (["check"], 1), (["bogus"], 2),
    (["--db", "unix:/nonexistent", "status"], 3), ([], 2), (["mirror", "dom", "--help"], 0),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_the_console_script_is_alike(host, args, code):
    add_pair(host, 12)
    script = os.path.join(os.path.dirname(sys.executable), "xenvif-tagger")
    results = [run(argv=argv + args, env={"XENVIF_TAGGER_DB": host.remote})
               for argv in (command(), [script])]
    assert results[0].code == code
    assert [(result.code, result.out, result.err) for result in results[:1]] == [
        (result.code, result.out, result.err) for result in results[1:]]


# ---- states, exit codes, JSON ------------------------------------------------------------------


def check_shape(pairs):
    for pair in pairs:
        assert set(pair) == PAIR_KEYS
        assert isinstance(pair["domid"], int) and isinstance(pair["devid"], int)
        assert isinstance(pair["bridge"], str)
        assert pair["state"] in STATES
        assert isinstance(pair["reason"], str) and pair["reason"].strip()
        names = []
        for side in ("vif", "tap"):
            port = pair[side]
            if port is None:
                continue
            assert set(port) == PORT_KEYS
            names.append(port["port"])
            assert port["tag"] is None or isinstance(port["tag"], int)
            assert port["vlan_mode"] is None or isinstance(port["vlan_mode"], str)
            assert all(isinstance(vlan, int) for vlan in port["trunks"] + port["cvlans"])
            assert all(isinstance(text, str) for item in port["external_ids"].items()
                       for text in item)
        assert names
        assert {pair["source"], pair["target"]} <= {None} | set(names)
        for change in pair["changes"]:
            assert set(change) == CHANGE_KEYS
            assert change["table"] in ("Port", "Interface") and change["row"] in names
            assert change["old"] != change["new"]


@pytest.mark.parametrize("args", [["status"], ["check"], ["mirror", "all", "--dry-run"]],
                         ids=" ".join)
def test_each_state(zoo, args):
    before = read_log(zoo)
    result = run(*args + ["--json"], db=zoo)
    assert (result.code, result.err) == (args == ["check"], "")
    check_shape(result.pairs)
    assert {pair["domid"]: pair["state"] for pair in result.pairs} == ZOO
    assert read_log(zoo) == before


def test_json_of_a_pair(host):
    add_pair(host, 12, vif={"vlan_mode": "native-untagged", "tag": 5, "trunks": [7, 6],
                           "ids": {"iface-id": "port-a", "note": "ü"}})
    result = assert_done(run("status", 12, "--json", db=host))
    pair = result.pair
    changes = pair.pop("changes")
    assert pair.pop("reason")
    assert pair == {
        "domid": 12, "devid": 0, "bridge": "xenbr0", "vm": None, "state": "drift",
        "source": "vif12.0", "target": "tap12.0",
        "vif": {"port": "vif12.0", "tag": 5, "vlan_mode": "native-untagged", "trunks": [6, 7],
                "cvlans": [], "external_ids": identity(12, note="ü", **{"iface-id": "port-a"})},
        "tap": {"port": "tap12.0", "tag": None, "vlan_mode": None, "trunks": [], "cvlans": [],
                "external_ids": identity(12)}}
    substantial = [change for change in changes if change["key"] != "xenvif-tagger"]
    assert sorted(substantial, key=lambda change: change["column"]) == [
        {"table": "Interface", "row": "tap12.0", "column": "external_ids", "key": "note",
         "old": None, "new": "ü"},
        {"table": "Port", "row": "tap12.0", "column": "tag", "key": None, "old": None, "new": 5},
        {"table": "Port", "row": "tap12.0", "column": "trunks", "key": None, "old": None,
         "new": [6, 7]},
        {"table": "Port", "row": "tap12.0", "column": "vlan_mode", "key": None, "old": None,
         "new": "native-untagged"}]


def test_json_after_mirroring_shows_the_rows_as_they_are_then(host):
    add_pair(host, 12, vif={"tag": 5, "ids": {"note": "x"}})
    done = assert_done(run("mirror", "dom", 12, "--json", db=host)).pair
    now = assert_done(run("status", 12, "--json", db=host)).pair
    assert (done["state"], now["state"], now["changes"]) == ("mirrored", "in-sync", [])
    assert [done[side] for side in ("vif", "tap")] == [now[side] for side in ("vif", "tap")]
    assert now["tap"]["tag"] == 5 and now["tap"]["external_ids"]["note"] == "x"


@pytest.mark.parametrize("bare", ["vif12.0", "tap12.0", "vif12.0-emu"])
def test_json_where_there_is_one_port(host, bare):
    add(host, bare, tag=5)
    pair = assert_done(run("status", "--json", db=host)).pair
    check_shape([pair])
    there, absent = ("vif", "tap") if bare == "vif12.0" else ("tap", "vif")
    assert pair[absent] is None and pair[there]["port"] == bare and pair["state"] == "single"


@pytest.mark.parametrize("args", [["status"], ["check"], ["mirror", "all"],
                                  ["mirror", "all", "--dry-run"]], ids=" ".join)
def test_nothing_there(host, args):
    """Names that look alike are none, and no VIF at all is no error."""
    for name in ("vif12.0x", "vif012.0", "tap12.0-emu", "vif12", "vif-1.0", "eth0"):
        host.add_port("xenbr0", name, identity(12), tag=5)
    before = read_log(host)
    assert assert_done(run(*args + ["--json"], db=host)).pairs == []
    assert_done(run(*args, db=host))
    assert read_log(host) == before


def test_json_is_in_the_order_of_domains_and_devices(host):
    for domid, devid in ((120, 0), (12, 10), (2, 0), (12, 2)):
        add(host, "vif%d.%d" % (domid, devid))
    pairs = assert_done(run("status", "--json", db=host)).pairs
    assert [(pair["domid"], pair["devid"]) for pair in pairs] == [
        (2, 0), (12, 2), (12, 10), (120, 0)]


@pytest.mark.parametrize("domid, code", [
    (12, 0), (13, 1), (14, 0), (15, 0), (16, 1), (17, 0), (18, 0)])
def test_exit_code_of_mirror(host, domid, code):
    """1 where the named target is refused or in conflict; what is so is said."""
    add_zoo(host, domid)
    port = "tap18.0" if domid == 18 else "vif%d.0" % domid
    for args in (["dom", domid], ["port", port]):
        for more in (["--dry-run"], ["--dry-run", "--json"], [], ["--json"]):
            result = assert_done(run("mirror", *args + more, db=host), code)
            assert port in result.out
    assert_done(run("mirror", "all", db=host), 0)


def test_quiet_still_says_why_it_failed(host):
    """-q: nothing but errors; exit 1 without a word would leave an operator with nothing."""
    add_zoo(host, 13)
    assert_error(run("-q", "mirror", "dom", 13, db=host), 1, "vif13.0")


@pytest.mark.parametrize("domid, code", [
    (12, 1), (13, 1), (14, 0), (15, 0), (16, 0), (17, 0), (18, 0)])
def test_exit_code_of_check(host, domid, code):
    add_zoo(host, domid)
    before = read_log(host)
    for more in ([], ["--json"]):
        result = assert_done(run("check", *more, db=host), code)
        status = assert_done(run("status", *more, db=host))
        assert result.out == status.out != ""
    assert run("-q", "check", db=host).code == code
    assert read_log(host) == before


def test_check_after_mirroring(host):
    add_pair(host, 12)
    add_pair(host, 13)
    assert run("check", db=host).code == 1
    assert_done(run("mirror", "dom", 12, db=host))
    assert run("check", db=host).code == 1
    assert_done(run("mirror", "all", db=host))
    assert assert_done(run("check", db=host)).code == 0
    host.vsctl("set", "port", "tap12.0", "tag=9")
    assert run("check", db=host).code == 1
    assert_done(run("mirror", "all", db=host))
    assert tag(host, "vif12.0") == 9


def test_from_resolves_a_conflict(host):
    for domid, side, kept in ((13, "vif", 5), (14, "tap", 6)):
        add_pair(host, domid, tap={"tag": 6})
        result = assert_done(run("mirror", "dom", domid, db=host), 1)
        assert "--from" in result.out
        assert [tag(host, "%s%d.0" % (name, domid)) for name in ("vif", "tap")] == [5, 6]
        assert_done(run("mirror", "dom", domid, "--from", side, db=host))
        assert [tag(host, "%s%d.0" % (name, domid)) for name in ("vif", "tap")] == [kept, kept]
        assert run("check", db=host).code == 0


def test_mirror_port_leaves_other_vifs_of_the_domain_alone(host):
    for devid in (0, 1, 10):
        add_pair(host, 12, devid)
    add_pair(host, 120)
    pairs = assert_done(run("mirror", "port", "tap12.1", "--json", db=host)).pairs
    assert [(pair["domid"], pair["devid"]) for pair in pairs] == [(12, 1)]
    assert [tag(host, name) for name in ("tap12.0", "tap12.1", "tap12.10", "tap120.0")] == [
        None, 5, None, None]
    assert_done(run("mirror", "dom", 12, db=host))
    assert [tag(host, name) for name in ("tap12.0", "tap12.10", "tap120.0")] == [5, 5, None]


def test_differing_ids_are_shown(host):
    """DESIGN 4.5, 6: where values differ each keeps its own, and it is shown."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"owner": "a"}}, tap={"ids": {"owner": "b"}})
    result = assert_done(run("mirror", "dom", 12, db=host))
    assert "owner" in result.out
    assert "owner" in run("status", 12, "--json", db=host).pair["reason"]
    assert "owner" in run("status", db=host).out


# ---- what is printed is what is done -----------------------------------------------------------


def applied(before, changes):
    """The database after changes (as in the JSON); fails if one does not start from what is."""
    after = json.loads(json.dumps(before))
    for change in changes:
        (row,) = [row for row in after[change["table"]].values() if row["name"] == change["row"]]
        column, key, old, new = (change[name] for name in ("column", "key", "old", "new"))
        if key is not None:
            assert row[column].get(key) == old
            row[column][key] = new
            if new is None:
                del row[column][key]
        elif isinstance(row[column], list):
            cells = {name: [] if value is None else value if isinstance(value, list) else [value]
                     for name, value in (("old", old), ("new", new))}
            assert row[column] == cells["old"]
            row[column] = cells["new"]
        else:
            assert row[column] == old
            row[column] = new
    return after


def without_versions(rows):
    return {table: {uuid: {column: value for column, value in row.items() if column != "_version"}
                    for uuid, row in found.items()} for table, found in rows.items()}


def written_rows(before, after):
    """(table, name) of the rows that were written, be it with what they had."""
    return {(table, row.get("name")) for table in after for uuid, row in after[table].items()
            if row["_version"] != before[table].get(uuid, {}).get("_version")}


def change_lines(changes):
    """The changes as --dry-run and -v print them."""
    def text(value):
        return "(none)" if value is None else json.dumps(value, ensure_ascii=False)
    return ["    %s %s %s%s: %s -> %s" % (
        change["table"], change["row"], change["column"],
        "" if change["key"] is None else ":" + change["key"],
        text(change["old"]), text(change["new"])) for change in changes]


IDS = {"note": 'a "b" \\ c, d=e', "ünï": "çødé 🐧"}
CASES = {
    "vif tagged": ({"tag": 5}, {}, ()),
    "tap tagged": ({}, {"tag": 6, "vlan_mode": "native-tagged", "trunks": [1, 2]}, ()),
    "nothing but marks": ({"tag": 5}, {"tag": 5}, ()),
    "no VLAN": ({}, {}, ()),
    "ids both ways": ({"tag": 5, "ids": IDS}, {"ids": {"other": "x"},
                                               "port_external_ids": {"p": "q"}}, ()),
    "iface-id": ({"tag": 5, "ids": {"iface-id": "port-a", "iface-status": "active"}}, {}, ()),
    "conflict": ({"tag": 5}, {"tag": 6}, ()),
    "from": ({"tag": 5}, {"tag": 6, "vlan_mode": "access"}, ("--from", "vif")),
    "refused": ({"tag": 5}, {"ids": {"xs-vif-uuid": "another"}}, ()),
    "held, released": ({"tag": 5}, dict(HELD, port_external_ids=held_mark()), ()),
    "dead, open": ({"tag": 4095, "vlan_mode": "trunk"}, {}, ()),
}


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("kind", ["dom", "port", "all"])
def test_dry_run_says_exactly_what_a_run_does(host, case, kind):
    vif, tap, more = CASES[case]
    add_pair(host, 12, vif=dict(vif), tap=dict(tap))
    add_pair(host, 13, tap={"tag": 5})
    if kind != "all":
        assert_done(run("mirror", "dom", 13, db=host))
    args = ["mirror", kind] + {"dom": ["12"], "port": ["tap12.0"], "all": []}[kind] + list(more)
    if kind == "all" and more:
        args = args[:2] + list(more)
    before, log = dump(host), read_log(host)
    said = run(*args + ["--dry-run"], db=host)
    said_json = run(*args + ["--dry-run", "--json"], db=host)
    assert said.err == said_json.err == ""
    assert dump(host) == before and read_log(host) == log

    done = run(*args + ["--json"], db=host)
    assert done.err == "" and done.code == said.code == said_json.code
    check_shape(done.pairs)
    changes = [change for pair in done.pairs for change in pair["changes"]]
    assert changes == [change for pair in said_json.pairs for change in pair["changes"]]
    assert change_lines(changes) == printed_changes(said.out)
    after = dump(host)
    assert without_versions(after) == without_versions(applied(before, changes))
    assert written_rows(before, after) == {(change["table"], change["row"])
                                           for change in changes}
    # For each pair the states differ by one word.
    for dry, wet in zip(said_json.pairs, done.pairs):
        assert wet["state"] == ("mirrored" if dry["state"] == "drift" else dry["state"])
        assert (wet["reason"], wet["source"], wet["target"]) == (
            dry["reason"], dry["source"], dry["target"])

    # And once more: nothing is left to do, and nothing is written.
    log = read_log(host)
    again = run(*args + ["--json"], db=host)
    assert all(pair["changes"] == [] for pair in again.pairs)
    assert read_log(host) == log


def test_verbose_says_what_is_written(host):
    add_pair(host, 12, vif={"tag": 5, "ids": IDS})
    dry = assert_done(run("mirror", "dom", 12, "--dry-run", db=host))
    done = assert_done(run("-v", "mirror", "dom", 12, db=host))
    assert printed_changes(done.out) == printed_changes(dry.out) != []
    assert done.out.splitlines()[0] == "vif12.0 -> tap12.0: mirrored"
    assert dry.out.splitlines()[0] == "vif12.0 -> tap12.0: drift"
    assert printed_changes(assert_done(run("-v", "mirror", "all", db=host)).out) == []


def test_without_verbose_the_reason_is_said(host):
    add_pair(host, 12)
    result = assert_done(run("mirror", "dom", 12, db=host))
    assert result.out.splitlines()[0] == "vif12.0 -> tap12.0: mirrored"
    assert "tag 5" in result.out and not printed_changes(result.out)


def test_mirror_all_tells_the_news_and_a_sum(zoo):
    result = assert_done(run("mirror", "all", db=zoo))
    assert "vif12.0 -> tap12.0: mirrored" in result.out
    assert "vif13.0 and tap13.0: conflict" in result.out
    assert "vif14.0" not in result.out and "vif15.0" not in result.out
    assert re.search(r"^7 VIFs: .*\b1 mirrored\b", result.out, re.M)


def test_quiet_says_nothing(host):
    add_pair(host, 12)
    for args in (["status"], ["mirror", "dom", "12", "--dry-run"], ["mirror", "dom", "12"],
                 ["mirror", "all"], ["check"]):
        assert assert_done(run("-q", *args, db=host)).out == ""
    assert tag(host, "tap12.0") == 5


def test_quiet_json_is_json(host):
    """What was asked for by --json is not chatter."""
    add_pair(host, 12)
    assert assert_done(run("-q", "status", "--json", db=host)).pair["state"] == "drift"


def test_each_transaction_says_whose_it_is(host):
    add_pair(host, 12)
    assert_done(run("mirror", "dom", 12, db=host))
    assert our_commits(host) == ["xenvif-tagger: vif12.0 -> tap12.0"]


# ---- the table ---------------------------------------------------------------------------------


def test_the_table(zoo):
    result = assert_done(run("status", db=zoo))
    rows = check_table(result.out)
    assert [row[-1] for row in rows] == [ZOO[domid] for domid in sorted(ZOO)]
    assert rows[0] == [identity(12)["xs-vm-uuid"][:8], "xenbr0", "vif12.0", "5", "tap12.0", "trunk",
                       "drift"]
    assert rows[3][2:6] == ["vif15.0", "5", "-", "-"]
    # The reason of what is not as it should be is below it.
    lines = result.out.splitlines()
    at = [number for number, line in enumerate(lines) if line.endswith("conflict")][0]
    assert lines[at + 1].startswith("    vif13.0 has tag 5, tap13.0 has tag 6")
    assert "\x1b" not in result.out


def test_status_of_one_domain(zoo):
    assert [row[2] for row in check_table(run("status", 13, db=zoo).out)] == ["vif13.0"]
    assert [pair["domid"] for pair in run("status", 13, "--json", db=zoo).pairs] == [13]


def long_names(host, name):
    host.add_bridge("a-long-bridge-n")  # 15 characters: all that a device's name can have
    ids = {"xen-vm-name": name, "xen-vm-uuid": str(uuid.uuid4())}
    trunks = {"vlan_mode": "native-untagged", "tag": 4000, "trunks": list(range(1000, 1200))}
    add_pair(host, 32767, 15, emu=True, vif=dict(trunks, ids=ids, bridge="a-long-bridge-n"),
             tap=dict(trunks, tag=4001, ids=ids, bridge="a-long-bridge-n"))
    add_pair(host, 1, vif={"tag": 1, "ids": {"xen-vm-name": "a"}}, tap={"tag": 1})
    add(host, "tap32767.1")


def test_the_table_with_long_names(host):
    long_names(host, "a-virtual-machine-with-quite-a-long-name")
    check_table(assert_done(run("status", db=host)).out)


def test_the_table_with_wide_letters(host):
    add_pair(host, 12, tap={"tag": 5}, vif={"tag": 5, "ids": {"xen-vm-name": "虚拟机一号"}})
    add_pair(host, 13, tap={"tag": 5}, vif={"tag": 5, "ids": {"xen-vm-name": "plain"}})
    check_table(assert_done(run("status", db=host)).out)


@pytest.mark.parametrize("columns", ["80", "60", "132", "0", "nonsense", None])
def test_reasons_are_as_wide_as_the_terminal(host, columns):
    add_pair(host, 13, tap={"tag": 6})
    lines = assert_done(run("status", db=host, env={"COLUMNS": columns})).out.splitlines()[:-1]
    width = int(columns) if columns in ("60", "132") else 80
    assert max(len(line) for line in lines[2:]) <= width
    assert (len(lines) == 3) == (width == 132)


@pytest.mark.parametrize("value", ["\x1b[31mred", "\x9b31m", "a\rb", "a\x07", "a\x08b"])
def test_what_stands_in_the_database_does_not_steer_the_terminal(host, value):
    """Names and values may be anybody's: no control character of theirs is printed."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"xen-vm-name": value, "attached-mac": value,
                                             "note": value, value: "1"}})
    for args in (["status"], ["check"], ["mirror", "all", "--dry-run"], ["mirror", "dom", "12"]):
        result = run(*args, db=host)
        assert all(char.isprintable() for char in result.out.replace("\n", "")), ascii(result.out)


def on_a_terminal(*args, **how):
    """(what the command writes to a terminal, its exit code)."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        env = environment(COLUMNS=None, TERM="xterm")
        process = subprocess.Popen(command(*args, **how), env=env, stdin=subprocess.DEVNULL,
                                   stdout=slave, stderr=slave)
        os.close(slave)
        slave = None
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while True:
                part = os.read(master, 1 << 16)
                if not part:
                    break
                shown += part
        return shown.decode().replace("\r\n", "\n"), process.wait(LONG)
    finally:
        for end in (master, slave):
            if end is not None:
                os.close(end)


def test_colours_on_a_terminal_only(zoo):
    escape = r"\x1b\[[0-9;]*m"
    shown, code = on_a_terminal("status", db=zoo)
    assert code == 0
    assert re.search(escape + "conflict" + escape, shown)
    piped = run("status", db=zoo, env={"COLUMNS": "100"}).out
    assert "\x1b" not in piped
    assert re.sub(escape, "", shown) == piped
    # Red is for what is bad, and not for what is well.
    colours = {state: colour for colour, state in re.findall(
        r"((?:\x1b\[[0-9;]*m)+)([a-z-]+)\x1b", shown)}
    assert colours["conflict"] == colours["refused"]
    assert len({colours[state] for state in ("conflict", "drift", "in-sync")}) == 3


@pytest.mark.parametrize("args", [["status", "--json"], ["check", "--json"]], ids=" ".join)
def test_no_colours_in_json_on_a_terminal(host, args):
    add_zoo(host, 12)
    shown, code = on_a_terminal(*args, db=host)
    assert "\x1b" not in shown
    assert json.loads(shown)["pairs"][0]["state"] == "drift"


# ---- environment, config file, precedence ------------------------------------------------------


def test_the_database_by_the_environment(host):
    add_pair(host, 12)
    for env in ({"XENVIF_TAGGER_DB": host.remote}, {"OVS_RUNDIR": host.dir}):
        assert "vif12.0" in assert_done(run("status", env=env)).out


@pytest.mark.parametrize("kind", ["dom", "port", "all"])
@pytest.mark.parametrize("yes", ["1", "true", "yes"])
def test_dry_run_by_the_environment(host, kind, yes):
    add_pair(host, 12)
    before = read_log(host)
    args = ["mirror", kind] + {"dom": ["12"], "port": ["vif12.0"], "all": []}[kind]
    result = assert_done(run(*args, db=host, env={
        "XENVIF_TAGGER_MIRROR_%s_DRY_RUN" % kind.upper(): yes}))
    assert printed_changes(result.out)
    assert read_log(host) == before


def test_a_dry_run_variable_that_says_neither(host):
    add_pair(host, 12)
    before = read_log(host)
    result = run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_DRY_RUN": "maybe"})
    assert_error(result, 2, "maybe")
    assert read_log(host) == before


@pytest.mark.parametrize("args, name", [
    (["status"], "STATUS"), (["check"], "CHECK"), (["mirror", "dom", "12"], "MIRROR_DOM"),
    (["mirror", "port", "vif12.0"], "MIRROR_PORT"), (["mirror", "all"], "MIRROR_ALL"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_json_by_the_environment(host, args, name):
    add_pair(host, 12, tap={"tag": 5})
    result = assert_done(run(*args, db=host, env={"XENVIF_TAGGER_%s_JSON" % name: "1"}))
    assert result.pair["domid"] == 12


def test_from_and_wait_by_the_environment(host):
    add_pair(host, 12, tap={"tag": 6})
    assert_done(run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_FROM": "tap"}))
    assert tag(host, "vif12.0") == 6
    result = run("mirror", "dom", 99, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_WAIT": "0"})
    assert_error(result, 1, "domain 99")


def test_quiet_and_verbose_by_the_environment(host):
    add_pair(host, 12)
    result = assert_done(run("status", db=host, env={"XENVIF_TAGGER_QUIET": "1"}))
    assert result.out == ""
    result = assert_done(run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_VERBOSE": "1"}))
    assert printed_changes(result.out)


@pytest.mark.parametrize("name, value", [("VERSION", "0.1.0"), ("VERSION", "1"), ("HELP", "1")])
def test_version_and_help_are_no_variables(host, name, value):
    """An installer may well set XENVIF_TAGGER_VERSION for itself."""
    result = assert_done(run("status", "--json", db=host, env={"XENVIF_TAGGER_" + name: value}))
    assert result.pairs == []


@pytest.fixture
def config(tmp_path):
    def write(text, name="conf"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return str(path)

    return write


def test_precedence_of_the_database(config, tmp_path):
    """Option, variable, config file, OVS_RUNDIR, default: who is asked says the error."""
    env = {"OVS_RUNDIR": str(tmp_path / "rundir")}
    assert_error(run("status", env=env), 3, "unix:%s/rundir/db.sock: " % tmp_path)
    env["XENVIF_TAGGER_CONFIG"] = config("[ovsdb]\nremote = unix:/by/config\n")
    assert_error(run("status", env=env), 3, "unix:/by/config: ")
    env["XENVIF_TAGGER_DB"] = "unix:/by/variable"
    assert_error(run("status", env=env), 3, "unix:/by/variable: ")
    assert_error(run("--db", "unix:/by/option", "status", env=env), 3, "unix:/by/option: ")
    other = config("[ovsdb]\nremote = unix:/by/other\n", "other")
    del env["XENVIF_TAGGER_DB"]
    assert_error(run("--config", other, "status", env=env), 3, "unix:/by/other: ")


def test_precedence_of_the_timeout(host, config):
    host.pause()
    env = {"XENVIF_TAGGER_CONFIG": config("[ovsdb]\ntimeout = 0.11\n")}
    assert_error(run("status", db=host, env=env), 3, "0.11 s")
    env["XENVIF_TAGGER_TIMEOUT"] = "0.12"
    assert_error(run("status", db=host, env=env), 3, "0.12 s")
    assert_error(run("--timeout", "0.13", "status", db=host, env=env), 3, "0.13 s")


@pytest.mark.parametrize("how", ["--db", "variable", "config", "OVS_RUNDIR"])
def test_a_relative_remote_begins_at_the_working_directory(host, config, how):
    add_pair(host, 12)
    parent, name = os.path.split(host.dir)
    remote = "unix:%s/db.sock" % name
    args, env = [], {}
    if how == "--db":
        args = ["--db", remote]
    elif how == "variable":
        env = {"XENVIF_TAGGER_DB": remote}
    elif how == "config":
        args = ["--config", config("[ovsdb]\nremote = %s\n" % remote)]
    else:
        env = {"OVS_RUNDIR": name}
    env["PYTHONPATH"] = ROOT
    assert "vif12.0" in assert_done(run(*args + ["status"], cwd=parent, env=env)).out


def test_a_relative_config_file(host, config):
    path = config("[mirror]\nexclude = note\n")
    add_pair(host, 12, vif={"tag": 5, "ids": {"note": "x"}})
    directory, name = os.path.split(path)
    env = {"PYTHONPATH": ROOT}
    assert_done(run("--config", name, "mirror", "all", db=host, cwd=directory, env=env))
    assert tag(host, "tap12.0") == 5 and "note" not in host.interface("tap12.0")["external_ids"]


def test_the_option_beats_the_variable_for_the_config(host, config):
    good = config("# nothing\n", "good")
    assert_done(run("--config", good, "status", db=host, env={
        "XENVIF_TAGGER_CONFIG": "/nonexistent"}))
    assert_error(run("status", db=host, env={"XENVIF_TAGGER_CONFIG": "/nonexistent"}), 2,
                 "/nonexistent")


@pytest.mark.parametrize("text", [
    "", "# only a comment\n\n; and another\n", "[mirror]\n", "[mirror]\r\niface_id = both\r\n",
    "[mirror]\niface_id=one\nexclude = a, b* c\npolicing = yes\n[hold]\nbridges = x y\n"
    "orphan_grace = 1.5\n[plug]\nstock_script = /a\ntimeout = 1\n[ovsdb]\ntimeout = 3\n",
    "[plug]\nstock_script =\n[ovsdb]\nremote =\n", "\ufeff[mirror]\niface_id = both\n",
], ids=["empty", "comments", "section", "CRLF", "all", "no values", "byte order mark"])
def test_good_config_files(host, config, text):
    add_pair(host, 12)
    assert_done(run("--config", config(text), "status", db=host))


@pytest.mark.parametrize("text, line, word", [
    ("[mirror]\n\n# a comment\nifaceid = one\n", 4, "ifaceid"),
    ("[miror]\n", 1, "miror"),
    ("\niface_id = one\n", 2, "iface_id"),
    ("[mirror]\niface_id = two\n", 2, "two"),
    ("[mirror]\npolicing = maybe\n", 2, "maybe"),
    ("[hold]\norphan_grace = -1\n", 2, "-1"),
    ("[hold]\norphan_grace = nan\n", 2, "nan"),
    ("[plug]\ntimeout = soon\n", 2, "soon"),
    ("[plug]\nstock_script = relative\n", 2, "relative"),
    ("[ovsdb]\n\n\ntimeout = 0\n", 4, "0"),
    ("[ovsdb]\ntimeout = 1\ntimeout = 2\n", 3, "timeout"),
    ("[mirror]\njust words\n", 2, "just words"),
    ("[mirror\n", 1, "[mirror"),
    (b"[mirror]\niface_id = \xff\xfe\n", 2, "iface_id"),
    (b"\x7fELF\x02\x01\x01\x00\x00", 1, ""),
    ("[ovsdb]\nremote = nonsense\n", 2, "nonsense"),
])
def test_bad_config_files(host, config, text, line, word):
    add_pair(host, 12)
    before = read_log(host)
    path = config(text)
    for args in (["status"], ["mirror", "all"]):
        result = run(*args, env={"XENVIF_TAGGER_CONFIG": path, "OVS_RUNDIR": host.dir})
        assert_error(result, 2, path, "line %d" % line, word)
    assert read_log(host) == before


def test_a_config_file_with_several_faults_is_one_line(host, config):
    path = config("[mirror]\na = 1\nb = 2\n")
    assert_error(run("--config", path, "status", db=host), 2, "line 2", "line 3")


def test_config_files_that_cannot_be_read(host, tmp_path):
    """(Permissions don't stop root.)"""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (str(tmp_path), str(loop), str(tmp_path / "absent"), "/proc/self/mem"):
        assert_error(run("--config", path, "status", db=host), 2, path)


def test_the_default_config_file_may_be_absent(host):
    """(Where this host has one, it is read; its remote is not what counts here.)"""
    assert_done(run("status", db=host, env={"XENVIF_TAGGER_CONFIG": None}))


# ---- surroundings ------------------------------------------------------------------------------

LOCALES = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": "POSIX"},
    # As udev and cron leave it, and no help from newer Pythons either.
    "none": {"LC_ALL": None, "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C, ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "absent": {"LC_ALL": "xx_YY.UTF-8"},
}


@pytest.mark.parametrize("name", sorted(LOCALES))
def test_any_locale(host, name):
    """Python 3.6 has ASCII in the C locale, in which a service may well run."""
    value = "naïve – ü 虚 🐧"
    add_pair(host, 12, vif={"tag": 5, "ids": {"xen-vm-name": value, "note": value}})
    add_pair(host, 13, tap={"ids": {"xen-vm-uuid": value}}, vif={"ids": {"xen-vm-uuid": "x"}})
    env = LOCALES[name]
    pairs = assert_done(run("status", "--json", db=host, env=env)).pairs
    assert pairs[0]["vif"]["external_ids"]["note"] == value
    assert_done(run("status", db=host, env=env))
    assert_done(run("mirror", "dom", 13, db=host, env=env), 1)  # its reason has such letters
    assert_done(run("mirror", "all", "--dry-run", db=host, env=env))
    assert_done(run("-v", "mirror", "all", db=host, env=env))
    assert host.interface("tap12.0")["external_ids"]["note"] == value
    assert_done(run("--help", env=env))
    argv = [os.fsencode(arg) for arg in command("mirror", "port", db=host)] + ["ü".encode()]
    assert_error(run(argv=argv, env=env), 2)


def by_shell(script, **variables):
    return run(argv=["/bin/bash", "-c", script, "sh"] + variables.pop("args"), env=variables)


def test_a_reader_that_goes_away(host):
    """More than a pipe holds: the command is still writing when head has gone."""
    host.add_many_ports("xenbr0", [
        {"name": "%s%d.0" % (side, domid), "external_ids": identity(domid),
         "tag": 5 if side == "vif" else None} for domid in range(1, 301) for side in ("vif", "tap")
    ])
    for args in (["status", "--json"], ["status"], ["mirror", "all", "--dry-run"],
                 ["-v", "mirror", "all"]):
        result = by_shell('"$@" | head -n 1', args=command(*args, db=host))
        assert (result.code, result.err, result.out.count("\n")) == (0, "", 1), result
    # It was written all the same.
    assert tag(host, "tap1.0") == tag(host, "tap300.0") == 5


@pytest.mark.parametrize("args", [
    ["status"], ["status", "--json"], ["check"], ["mirror", "dom", "14"], ["--help"],
    ["mirror", "--help"], ["--version"]], ids=" ".join)
def test_a_reader_that_never_was(host, args):
    """The end is as of any filter, by SIGPIPE: not 1, which is what check finds."""
    add_zoo(host, 14)
    script = 'exec 3> >(true); wait $!; "$@" >&3'
    result = by_shell(script, args=command(*args, db=host))
    assert result.err == ""
    assert result.code == 128 + signal.SIGPIPE


@pytest.mark.parametrize("args, code", [
    (["status"], 0), (["status", "--json"], 0), (["check"], 1), (["mirror", "dom", "12"], 0),
    (["mirror", "all", "--json"], 0), (["--help"], 0), (["--version"], 0),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_closed_stdout(host, args, code):
    """As some service managers start things: nobody hears it, and the code is what counts."""
    add_zoo(host, 12)
    result = by_shell('"$@" >&-', args=command(*args, db=host))
    assert (result.err, result.code) == ("", code)
    if args[0] == "mirror":
        assert tag(host, "tap12.0") == 5


@pytest.mark.parametrize("args, code", [
    (["status", "99"], 2), (["bogus"], 2), (["--db", "unix:/nonexistent", "status"], 3)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_closed_stderr(host, args, code):
    assert by_shell('"$@" 2>&-', args=command(*args, db=host)).code == code


@pytest.mark.parametrize("args", [
    ["status", "99"], ["bogus"], ["--db", "unix:/nonexistent", "status"]], ids=" ".join)
def test_nobody_reads_stderr(host, args):
    """The code is then not one of those that say how the pairs are."""
    result = by_shell('exec 3> >(true); wait $!; "$@" 2>&3', args=command(*args, db=host))
    assert result.code not in (0, 1)


def test_a_working_directory_that_is_gone(host, tmp_path):
    """What can't be found is not the output; and nobody needs it for an absolute path."""
    add_zoo(host, 14)
    script = 'cd "$0" && rmdir "$0" && "$@"'
    for remote, code in ((host.remote, 0), ("unix:relative", 3)):
        directory = tmp_path / str(code)
        directory.mkdir()
        argv = ["/bin/bash", "-c", script, str(directory)] + command("status", db=remote)
        result = run(argv=argv)
        if code:
            assert_error(result, code, "relative")
        else:
            assert_done(result)


@pytest.mark.parametrize("args", [["status"], ["status", "--json"], ["mirror", "dom", "12"]],
                         ids=" ".join)
def test_a_full_disk(host, args):
    add_zoo(host, 12)
    result = by_shell('"$@" >/dev/full', args=command(*args, db=host))
    assert result.code not in (0, 1)
    assert re.match(r"xenvif-tagger: [^\n]*No space left[^\n]*\n\Z", result.err), result


# ---- --wait ------------------------------------------------------------------------------------


def waiting(*args, db):
    return Run("mirror", *args + ("--wait", str(LONG)), db=db)


def check_woken(proxy, since):
    """After `since` messages, what came first was an update from the server."""
    whose, message = proxy.log[since]
    assert (whose, message.get("method")) == ("server", "update"), proxy.log[since:]


LATER = {
    # what is there, what comes
    "tap": (lambda ovs: add(ovs, "vif12.0", tag=5), lambda ovs: add(ovs, "tap12.0")),
    "vif": (lambda ovs: add(ovs, "tap12.0"), lambda ovs: add(ovs, "vif12.0", tag=5)),
    "emulated": (lambda ovs: add(ovs, "vif12.0", tag=5), lambda ovs: add(ovs, "vif12.0-emu")),
    "tag of the vif": (lambda ovs: add_pair(ovs, 12, vif={}),
                       lambda ovs: ovs.vsctl("set", "port", "vif12.0", "tag=5")),
    "tag of the tap": (lambda ovs: add_pair(ovs, 12, vif={}),
                       lambda ovs: ovs.vsctl("set", "port", "tap12.0", "tag=5")),
    "decision": (lambda ovs: add_pair(ovs, 12, tap={"tag": 6}),
                 lambda ovs: ovs.vsctl("set", "port", "tap12.0", "tag=5")),
    "identity": (lambda ovs: (add(ovs, "vif12.0", {"xs-vm-uuid": "one of several VIFs"}, tag=5),
                              ovs.add_port(
                                  "xenbr0", "tap12.0", {"xs-vm-uuid": "one of several VIFs"})),
                 lambda ovs: ovs.vsctl("set", "interface", "tap12.0", "external_ids:xs-vif-uuid="
                                       + identity(12)["xs-vif-uuid"])),
    "bridge": (lambda ovs: (ovs.add_bridge("xenbr1"),
                            add_pair(ovs, 12, tap={"bridge": "xenbr1"})),
               lambda ovs: move_port(ovs, "tap12.0", "xenbr1", "xenbr0")),
    "device": (lambda ovs: add_pair(ovs, 12, vif={"tag": 5, "ofport": -1}),
               lambda ovs: ovs.vsctl("set", "interface", "vif12.0", "ofport=3")),
}


@pytest.mark.parametrize("what", sorted(LATER))
@pytest.mark.parametrize("args", [("dom", "12"), ("all",)], ids=" ".join)
def test_wait_until_it_comes(host, proxied, what, args):
    before, then = LATER[what]
    before(host)
    proxy = proxied(host)
    with waiting(*args, db=proxy) as waiter:
        proxy.wait_until_waiting()
        since = len(proxy.log)
        then(host)
        result = assert_done(waiter.end())
    check_woken(proxy, since)
    assert "mirrored" in result.out or what == "decision"
    other = "vif12.0-emu" if what == "emulated" else "tap12.0"
    assert tag(host, "vif12.0") == tag(host, other) == 5


def test_wait_for_a_port_by_name(host, proxied):
    proxy = proxied(host)
    with waiting("port", "tap12.0", db=proxy) as waiter:
        proxy.wait_until_waiting()
        add_pair(host, 12)
        assert_done(waiter.end())
    assert tag(host, "tap12.0") == 5


def test_wait_for_a_port_that_has_another_name(host):
    """The VIF's tap side is there, and is not called as was asked: nothing was done to that."""
    add_pair(host, 12, emu=True)
    result = run("mirror", "port", "tap12.0", "--wait", "0.1", db=host)
    assert result.code in (1, 2) and "tap12.0" in result.err, result


def test_wait_where_there_is_nothing_to_wait_for(host):
    add_pair(host, 12)
    for state in ("mirrored", "in-sync"):
        result = assert_done(run("mirror", "dom", 12, "--wait", LONG, "--json", db=host))
        assert result.pair["state"] == state


def test_what_was_mirrored_while_waiting_is_said(host, proxied):
    """State "mirrored (just done)", with its changes, also where another pair came later."""
    add_pair(host, 12, 0)
    add_pair(host, 12, 1, vif={})
    proxy = proxied(host)
    with waiting("dom", "12", "--json", db=proxy) as waiter:
        proxy.wait_until_waiting()
        host.vsctl("set", "port", "vif12.1", "tag=6")
        result = assert_done(waiter.end())
    assert [tag(host, name) for name in ("tap12.0", "tap12.1")] == [5, 6]
    assert [pair["state"] for pair in result.pairs] == ["mirrored", "mirrored"]
    assert all(pair["changes"] for pair in result.pairs)


WAITED_FOR = {
    "nothing": lambda ovs: None,
    "one port": lambda ovs: add(ovs, "vif12.0", tag=5),
    "no VLAN": lambda ovs: add_pair(ovs, 12, vif={}),
    "conflict": lambda ovs: add_pair(ovs, 12, tap={"tag": 6}),
    "refused": lambda ovs: add_pair(ovs, 12, tap={"ids": {"xs-vif-uuid": "another"}}),
}


@pytest.mark.parametrize("what", sorted(WAITED_FOR))
def test_it_does_not_poll(host, proxied, what):
    """However long it waits, it asks the server for nothing more, nor where others change."""
    WAITED_FOR[what](host)
    host.add_port("xenbr0", "eth0")
    # What is written at the first look (stamps) is written before the counting.
    run("mirror", "dom", 12, db=host)
    sent = {}
    for seconds in ("0.1", "1.5"):
        proxy = proxied(host)
        with Run("mirror", "dom", 12, "--wait", seconds, db=proxy) as waiter:
            proxy.wait_until_waiting()
            # A column that no decision depends on, as ovs-vswitchd writes it all the time.
            host.vsctl("set", "interface", "eth0", "statistics:rx_packets=" + seconds[-1])
            result = waiter.end()
        assert result.code == 1, result
        sent[seconds] = [message.get("method") for message in proxy.requests()]
    assert sent["0.1"] == sent["1.5"]
    assert sent["1.5"].count("monitor") == 1


@pytest.mark.parametrize("what", sorted(WAITED_FOR))
@pytest.mark.parametrize("seconds", ["0", "0.2"])
def test_wait_in_vain(host, what, seconds):
    WAITED_FOR[what](host)
    result = run("mirror", "dom", 12, "--wait", seconds, db=host)
    assert result.code == 1
    assert re.match(r"xenvif-tagger: [^\n]+\n\Z", result.err), result
    assert "12" in result.err and seconds + " s" in result.err


def test_wait_in_vain_json_is_json(host):
    add(host, "vif12.0", tag=5)
    result = run("mirror", "dom", 12, "--wait", "0", "--json", db=host)
    assert result.code == 1
    assert result.pair["state"] == "single"


def test_wait_zero_does_what_there_is(host):
    add_pair(host, 12)
    result = assert_done(run("mirror", "dom", 12, "--wait", 0, "--json", db=host))
    assert result.pair["state"] == "mirrored"
    assert tag(host, "tap12.0") == 5


def test_no_dry_run_that_waits(host):
    assert_error(run("mirror", "dom", 12, "--wait", 1, "--dry-run", db=host), 2, "--dry-run")


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_the_database_ends_while_waiting(host, kill):
    # (Not by a proxy: what the command sees when the server itself goes.)
    add(host, "vif12.0", tag=5)
    with waiting("dom", "12", db=host) as waiter:
        wait_for_connections(host, 1)
        host.stop_server(kill)
        assert_error(waiter.end(), 3, host.remote)


def wait_for_connections(ovs, count):
    """Until the server has this many monitors."""
    def monitors():
        return sum(int(line.partition("monitors:")[2].split()[0]) for line in
                   ovs.appctl("ovsdb-server", "memory/show").splitlines() if "monitors:" in line)

    poll = threading.Event()
    for _ in range(LONG * 100):
        if monitors() >= count:
            return
        poll.wait(0.01)
    raise AssertionError("nobody monitors")


def test_echo_is_answered_while_waiting(host, proxied):
    """A server that probes each second; it cuts off who has not answered one a second later."""
    add(host, "vif12.0", tag=5)
    host.appctl("ovsdb-server", "ovsdb-server/add-remote",
               "db:Open_vSwitch,Open_vSwitch,manager_options")
    path = os.path.join(host.dir, "probing.sock")
    host.vsctl("set-manager", "punix:" + path, "--", "set", "manager", ".", "inactivity_probe=1000")
    poll = threading.Event()
    for _ in range(LONG * 100):
        if os.path.exists(path):
            break
        poll.wait(0.01)
    proxy = proxied("unix:" + path)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        since = len(proxy.log)
        proxy.wait_for(lambda _: len(proxy.log) >= since + 4)
        talk = proxy.log[since:since + 4]
        assert [(whose, message.get("method")) for whose, message in talk] == 2 * [
            ("server", "echo"), ("client", None)]
        for asked, answered in zip(talk[::2], talk[1::2]):
            assert answered[1] == {"id": asked[1]["id"], "result": asked[1]["params"],
                                   "error": None}
        add(host, "tap12.0")
        assert_done(waiter.end())
    assert tag(host, "tap12.0") == 5


# ---- Ctrl-C ------------------------------------------------------------------------------------


def test_ctrl_c_while_waiting(host, proxied):
    proxy = proxied(host)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        waiter.process.send_signal(signal.SIGINT)
        assert_error(waiter.end(), 130, "interrupted")


def test_ctrl_c_while_the_database_hangs(host, proxied):
    proxy = proxied(host, before=lambda message: False)
    with Run("status", db=proxy) as hanging:
        proxy.wait_for(lambda proxy: proxy.log)
        hanging.process.send_signal(signal.SIGINT)
        assert_error(hanging.end(), 130, "interrupted")


@pytest.mark.parametrize("how", ["2>/dev/full", ">/dev/full 2>&1", "2> >(exec true)", "2>&-"])
def test_the_exit_status_where_nobody_hears_the_error(host, how):
    """It is all that is left to say what was wrong."""
    def ended(*args):
        return by_shell('"$@" %s; exit $?' % how, args=list(args)).code

    assert ended(*command("mirror", "dom", 99, db=host)) == 2
    assert ended(*command("status", db="unix:/nowhere")) == 3
    add_pair(host, 12, vif={"tag": 5}, tap={"tag": 6})
    assert ended(*command("-q", "mirror", "dom", 12, db=host)) == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_ends_while_waiting(host, proxied, name):
    proxy = proxied(host)
    with waiting("dom", "12", db=proxy) as waiter:
        proxy.wait_until_waiting()
        waiter.process.send_signal(getattr(signal, name))
        result = waiter.end()
    assert (result.code, result.err) == (-getattr(signal, name), "")
