"""A dry run prints exactly the changes that a run then makes."""
import json
import re

import pytest

from support.command import assert_done, run
from support.constants import HELD
from support.printed import check_shape, printed_changes
from support.zoo import (
    add_pair,
    dump,
    held_mark,
    our_commits,
    read_log,
    tag,
)


def applied(before, changes):
    """The database after the changes, which have the form of the JSON. Fails if the old value of a
    change is not the value in the database."""
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
    """(table, name) of each row that was written, also of a row that was written with its former
    values."""
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
def test_a_dry_run_prints_exactly_the_changes_of_a_run(host, case, kind):
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
    # A run gives each pair the state of the dry run, but turns "drift" into "mirrored".
    for dry, wet in zip(said_json.pairs, done.pairs):
        assert wet["state"] == ("mirrored" if dry["state"] == "drift" else dry["state"])
        assert (wet["reason"], wet["source"], wet["target"]) == (
            dry["reason"], dry["source"], dry["target"])

    # A second run finds nothing to do, and writes nothing.
    log = read_log(host)
    again = run(*args + ["--json"], db=host)
    assert all(pair["changes"] == [] for pair in again.pairs)
    assert read_log(host) == log


def test_verbose_prints_the_changes(host):
    add_pair(host, 12, vif={"tag": 5, "ids": IDS})
    dry = assert_done(run("mirror", "dom", 12, "--dry-run", db=host))
    done = assert_done(run("-v", "mirror", "dom", 12, db=host))
    assert printed_changes(done.out) == printed_changes(dry.out) != []
    assert done.out.splitlines()[0] == "vif12.0 -> tap12.0: mirrored"
    assert dry.out.splitlines()[0] == "vif12.0 -> tap12.0: drift"
    assert printed_changes(assert_done(run("-v", "mirror", "all", db=host)).out) == []


def test_without_verbose_the_reason_is_printed(host):
    add_pair(host, 12)
    result = assert_done(run("mirror", "dom", 12, db=host))
    assert result.out.splitlines()[0] == "vif12.0 -> tap12.0: mirrored"
    assert "tag 5" in result.out and not printed_changes(result.out)


def test_mirror_all_prints_the_changed_pairs_and_a_sum(zoo):
    result = assert_done(run("mirror", "all", db=zoo))
    assert "vif12.0 -> tap12.0: mirrored" in result.out
    assert "vif13.0 and tap13.0: conflict" in result.out
    assert "vif14.0" not in result.out and "vif15.0" not in result.out
    assert re.search(r"^7 VIFs: .*\b1 mirrored\b", result.out, re.M)


def test_quiet_prints_nothing(host):
    add_pair(host, 12)
    for args in (["status"], ["mirror", "dom", "12", "--dry-run"], ["mirror", "dom", "12"],
                 ["mirror", "all"], ["check"]):
        assert assert_done(run("-q", *args, db=host)).out == ""
    assert tag(host, "tap12.0") == 5


def test_quiet_json_is_json(host):
    """-q drops the text, but not the JSON that the user asked for."""
    add_pair(host, 12)
    assert assert_done(run("-q", "status", "--json", db=host)).pair["state"] == "drift"


def test_the_comment_of_each_transaction_names_us(host):
    add_pair(host, 12)
    assert_done(run("mirror", "dom", 12, db=host))
    assert our_commits(host) == ["xenvif-tagger: vif12.0 -> tap12.0"]
