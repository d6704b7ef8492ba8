"""The states, the exit codes and the JSON, which are a contract (docs/design.md 6)."""
import pytest

from support.command import assert_done, assert_error, run
from support.printed import check_shape
from support.zoo import (
    ZOO,
    add,
    add_pair,
    add_zoo,
    identity,
    read_log,
    tag,
)


@pytest.mark.parametrize("args", [["status"], ["check"], ["mirror", "all", "--dry-run"]],
                         ids=" ".join)
def test_each_state(zoo, args):
    before = read_log(zoo)
    result = run(*args + ["--json"], db=zoo)
    assert (result.code, result.err) == (args == ["check"], "")
    check_shape(result.pairs)
    assert {pair["domid"]: pair["state"] for pair in result.pairs} == ZOO
    assert read_log(zoo) == before


NOT_SET = {"other_config:qinq-ethtype": None, "other_config:priority-tags": None}


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
        "vif": dict(NOT_SET, port="vif12.0", tag=5, vlan_mode="native-untagged", trunks=[6, 7],
                    cvlans=[], gone=False,
                    external_ids=identity(12, note="ü", **{"iface-id": "port-a"})),
        "tap": dict(NOT_SET, port="tap12.0", tag=None, vlan_mode=None, trunks=[], cvlans=[],
                    gone=False, external_ids=identity(12))}
    substantial = [change for change in changes if change["key"] != "xenvif-tagger"]
    assert sorted(substantial, key=lambda change: change["column"]) == [
        {"table": "Interface", "row": "tap12.0", "column": "external_ids", "key": "note",
         "old": None, "new": "ü"},
        {"table": "Port", "row": "tap12.0", "column": "tag", "key": None, "old": None, "new": 5},
        {"table": "Port", "row": "tap12.0", "column": "trunks", "key": None, "old": None,
         "new": [6, 7]},
        {"table": "Port", "row": "tap12.0", "column": "vlan_mode", "key": None, "old": None,
         "new": "native-untagged"}]


def test_json_after_mirroring_shows_the_written_rows(host):
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
def test_a_database_without_the_vif(host, args):
    """Names that only look like a VIF's are no ports of VIFs; and a database without any VIF is no
    error."""
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
    """The exit code is 1 if the named pair is refused or in conflict; the output names the port."""
    add_zoo(host, domid)
    port = "tap18.0" if domid == 18 else "vif%d.0" % domid
    for args in (["dom", domid], ["port", port]):
        for more in (["--dry-run"], ["--dry-run", "--json"], [], ["--json"]):
            result = assert_done(run("mirror", *args + more, db=host), code)
            assert port in result.out
    assert_done(run("mirror", "all", db=host), 0)


def test_quiet_prints_the_reason_of_a_failure(host):
    """-q prints errors and nothing else. Exit code 1 without a word would not tell the operator
    which pair is in conflict."""
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
    """docs/design.md 4.5, 6: where the values of a key differ, each port keeps its own value, and
    the command shows the key."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"owner": "a"}}, tap={"ids": {"owner": "b"}})
    result = assert_done(run("mirror", "dom", 12, db=host))
    assert "owner" in result.out
    assert "owner" in run("status", 12, "--json", db=host).pair["reason"]
    assert "owner" in run("status", db=host).out
