"""Pairs that the database refuses to change, and values of all kinds in external_ids."""
import random

import pytest

from support.command import assert_done, run
from support.private_ovs import (
    schema_without,
    to_map,
)
from support.zoo import (
    add_pair,
    identity,
    read_log,
    tag,
)


def schema_with_index(table, *columns):
    """The installed schema, with an index: no two rows may have the same values in these columns.

    The server finds a violation only at the commit, so that its error names no operation.
    """
    schema = schema_without()
    schema["tables"][table]["indexes"] = schema["tables"][table].get("indexes", []) + [columns]
    return schema


def schema_with_limit(table, column, limit):
    """The installed schema, with a limit on the keys of a map: the server finds a violation at the
    operation, and its error names the operation."""
    schema = schema_without()
    schema["tables"][table]["columns"][column]["type"]["max"] = limit
    return schema


def add_refused_one(ovs, how):
    """Add twenty pairs in drift; the server will refuse the change that pair 12 needs."""
    for domid in range(1, 21):
        odd = domid == 12
        own = {"k%d" % number: "v" for number in range(3)} if odd else {}
        if how == "commit":
            config = {"n": "12 both"} if odd else None
            add_pair(ovs, domid, vif={"tag": 5, "other_config": config or {"n": "%d" % domid}},
                     tap={"other_config": config or {"n": "%d tap" % domid}})
        else:
            add_pair(ovs, domid, tap={"port_external_ids": own})


SCHEMAS_THAT_REFUSE = {
    "operation": lambda: schema_with_limit("Port", "external_ids", 3),
    "commit": lambda: schema_with_index("Port", "tag", "other_config"),
}


@pytest.mark.parametrize("args", [["all"], ["all", "--json"], ["dom", "12"]], ids=" ".join)
@pytest.mark.parametrize("how", sorted(SCHEMAS_THAT_REFUSE))
def test_one_pair_that_the_database_refuses(with_schema, how, args):
    ovs = with_schema(SCHEMAS_THAT_REFUSE[how]())
    add_refused_one(ovs, how)
    result = run("mirror", *args, db=ovs)
    # One line on stderr names the pair and the server's reason.
    assert result.code not in (0, 2) and result.err.count("\n") == 1, result
    assert "12.0" in result.err, result
    assert {"operation": "0 to 3 members", "commit": "constraint violation"}[how] in result.err
    expected = [12] if args[0] == "all" else list(range(1, 21))
    assert [domid for domid in range(1, 21) if tag(ovs, "tap%d.0" % domid) != 5] == expected
    assert tag(ovs, "vif12.0") == 5


NASTY = {
    "quotes": 'a "quoted" \'value\' `x` $(y)',
    "backslashes": "\\ \\\\ \\n \\u0041 \\",
    "commas": ",a,,b,",
    "equals": "=a==b=c",
    "spaces": "  a  b  ",
    "newlines": "\na\n\nb\r\nc\n",
    "tab": "\ta\tb",
    "control": "".join(map(chr, range(1, 32))) + "\x7f" + "\x80\x9b\xa0",
    "letters": "naïve Ünïcödé ßẞ łódź",
    "CJK": "虚拟机 仮想マシン 가상머신",
    "emoji": "🐧👩‍👩‍👧‍👦🇩🇪",
    "combining": "e\u0301 \u202e rtl \u200b \ufeff \u2028 \U0010ffff",
    "empty": "",
    "JSON": '{"a": ["set", []], "b": null}',
    "OVSDB": '["map",[]]',
    "braces": "}{}{[[\"}{\"",
    "number": "0005",
    "true": "true",
    "%s %d {} %(a)s": "%s %d {0} %(a)s",
    "": "an empty key",
    " ": "a space for a key",
    "a key: with, all = \"that\" \\ \n": "x",
    "ключ 🔑": "значение",
    "-- set": "--",
}


def raw_ids(ovs, table, name):
    """The row's external_ids, as the server sends them."""
    row = ovs.transact({"op": "select", "table": table, "where": [["name", "==", name]],
                        "columns": ["external_ids"]})[0]["rows"][0]
    kind, items = row["external_ids"]
    assert kind == "map"
    return dict(items)


def set_ids(ovs, table, name, ids):
    ovs.transact({"op": "mutate", "table": table, "where": [["name", "==", name]],
                  "mutations": [["external_ids", "insert", to_map(ids)]]})


@pytest.mark.parametrize("source, target", [("vif12.0", "tap12.0"), ("tap12.0", "vif12.0")])
@pytest.mark.parametrize("what", ["nasty", "1000 keys", "100 kB", "random"])
def test_ids_are_copied_exactly(host, source, target, what):
    letters = random.Random(7)
    ids = {
        "nasty": NASTY,
        "1000 keys": {"key %d" % number: "value %d ü" % number for number in range(1000)},
        "100 kB": {"long": 25000 * "aü🐧"[:4] + "\"\\\n", 10000 * "k": "a long key"},
        "random": {"".join(chr(letters.choice([letters.randrange(1, 0xd800),
                                               letters.randrange(0xe000, 0x110000),
                                               letters.randrange(1, 128)]))
                           for _ in range(letters.randrange(40))): "".join(
            chr(letters.randrange(1, 0x300)) for _ in range(40)) for _ in range(100)},
    }[what]
    add_pair(host, 12)
    for table in ("Interface", "Port"):
        set_ids(host, table, source, ids)
    dry = assert_done(run("mirror", "dom", 12, "--dry-run", "--json", db=host)).pair
    done = assert_done(run("mirror", "dom", 12, "--json", db=host)).pair
    assert done["changes"] == dry["changes"]
    for table in ("Interface", "Port"):
        expected = dict(ids, **(identity(12) if table == "Interface" else {}))
        for name in (source, target):
            found = raw_ids(host, table, name)
            found.pop("xenvif-tagger", None)
            assert found == expected
    # A second run finds nothing to do. After a change of one key and the removal of another key on
    # one side, the next run copies the change and the removal to the other side.
    log = read_log(host)
    assert_done(run("mirror", "dom", 12, db=host))
    assert_done(run("status", db=host))
    assert read_log(host) == log
    key = sorted(ids)[len(ids) // 2]
    if len(ids) > 1:
        gone = sorted(ids)[0] if sorted(ids)[0] != key else sorted(ids)[-1]
        host.transact({"op": "mutate", "table": "Port", "where": [["name", "==", target]],
                      "mutations": [["external_ids", "delete", ["set", [gone]]]]})
        host.transact(
            {"op": "mutate", "table": "Interface", "where": [["name", "==", target]],
             "mutations": [["external_ids", "delete", ["set", [key]]],
                           ["external_ids", "insert", to_map({key: "changed\n"})]]})
        assert_done(run("mirror", "dom", 12, db=host))
        assert gone not in raw_ids(host, "Port", source)
        assert raw_ids(host, "Interface", source)[key] == "changed\n"


NEVER = {
    "iface-status": "active", "ovn-installed": "true", "ovn-installed-ts": "1700000000",
    "xs-network-uuid": "n", "xenvif-tagger-not": "", "mine": "x", "my-1": "x", "my-2": "",
}


@pytest.mark.parametrize("side", ["vif", "tap"])
def test_excluded_keys_are_never_copied(host, tmp_path, side):
    """The command does not remove an excluded key that only one side has either."""
    config = tmp_path / "conf"
    config.write_text("[mirror]\nexclude = mine, my-*\n")
    keys = dict(NEVER)
    del keys["xenvif-tagger-not"], keys["xs-network-uuid"]
    add_pair(host, 12)
    source, other = "%s12.0" % side, {"vif": "tap", "tap": "vif"}[side] + "12.0"
    for table in ("Interface", "Port"):
        set_ids(host, table, source, dict(keys, **{"copied": "yes", "iface-id": "port-a"}))
        set_ids(host, table, other, {"my-3": "its own"})
    before = {(table, name): raw_ids(host, table, name)
              for table in ("Interface", "Port") for name in (source, other)}
    for again in ("yes", "no"):
        set_ids(host, "Interface", source, {"again": again})
        assert_done(run("--config", str(config), "mirror", "dom", 12, db=host))
    for table in ("Interface", "Port"):
        found = raw_ids(host, table, other)
        assert found["copied"] == "yes"
        assert not (set(keys) | {"iface-id"}) & set(found)
        assert found["my-3"] == "its own"
        source_now = raw_ids(host, table, source)
        assert "my-3" not in source_now
        assert {key: source_now[key] for key in before[table, source]} == before[table, source]


def test_identity_and_our_own_key_are_never_copied(host):
    """A key with the name of our mark is no mark on an Interface row: the command neither copies
    nor removes that key."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"xs-network-uuid": "n", "xen-vm-uuid": "u",
                                             "xenvif-tagger": "{}"}})
    assert_done(run("mirror", "dom", 12, db=host))
    assert raw_ids(host, "Interface", "tap12.0") == identity(12)
    assert raw_ids(host, "Interface", "vif12.0")["xenvif-tagger"] == "{}"


@pytest.mark.parametrize("mark", [
    "", "{", "null", "5", "[]", '{"base": 5}', '{"base": {"port": 5}}', '{"vif": []}', "x" * 70000,
    '{"held": {"tag": "x"}}', "[" * 100000, '{"kept": {"iface-id": null}}', '{"seen": {}}',
    '{"base": {"port": "x", "unit": {"tag": 5}, "Port": {}, "Interface": {}}}',
    '{"boot": 5, "vif": {"a": 5}}', "\x01ü🐧", '{"vif": {"\\ud800": "\\ud800"}}',
])
@pytest.mark.parametrize("side", ["vif", "tap"])
def test_a_mark_that_somebody_has_damaged(host, mark, side):
    add_pair(host, 12)
    set_ids(host, "Port", side + "12.0", {"xenvif-tagger": mark})
    for args in (["status"], ["mirror", "dom", "12"], ["check"]):
        assert_done(run(*args, db=host))
    assert tag(host, "tap12.0") == 5
    log = read_log(host)
    assert_done(run("mirror", "dom", 12, db=host))
    assert read_log(host) == log
