"""Databases of other versions of Open vSwitch."""
import json
import os

import pytest

from support.command import Run, assert_done, assert_error, run
from support.constants import LONG
from support.private_ovs import (
    load_schema,
    schema_like_2_5,
    schema_with_extra,
    schema_without,
)
from support.proxy import Proxy
from support.zoo import (
    add,
    add_pair,
    add_zoo,
    read_log,
    tag,
)

SCHEMAS = {
    "2.5": schema_like_2_5,
    "installed": load_schema,
    "extra columns": lambda: schema_with_extra({
        "Port": {"colour": {"type": {"key": "string", "min": 0, "max": "unlimited"}}},
        "Interface": {"weight": {"type": {"key": "real", "min": 0}},
                      "peers": {"type": {"key": {"type": "uuid", "refTable": "Interface",
                                                 "refType": "weak"},
                                         "min": 0, "max": "unlimited"}}},
        "Bridge": {"mood": {"type": "string"}}}),
    "no policing": lambda: schema_without("Interface.ingress_policing_rate",
                                          "Interface.ingress_policing_burst"),
}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_command_works_with_each_schema(with_schema, tmp_path, name):
    schema = SCHEMAS[name]()
    ovs = with_schema(schema)
    config = tmp_path / "conf"
    config.write_text("[mirror]\npolicing = yes\n")
    cvlans = "cvlans" in schema["tables"]["Port"]["columns"]
    policing = "ingress_policing_rate" in schema["tables"]["Interface"]["columns"]
    assert cvlans == (name != "2.5") and policing == (name != "no policing")
    unit = {"tag": 5, "vlan_mode": "native-tagged", "trunks": [6, 7]}
    if cvlans:
        unit = {"tag": 5, "vlan_mode": "dot1q-tunnel", "cvlans": [6, 7]}
    add_pair(ovs, 12, vif=dict(unit, ids={"note": "x"}))
    add_pair(ovs, 13, vif={}, tap={"tag": 8}, emu=True)
    add(ovs, "vif14.0")
    if policing:
        ovs.vsctl("set", "interface", "vif12.0", "ingress_policing_rate=1000")
    if name == "extra columns":
        ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", "vif12.0"]],
                      "row": {"colour": ["set", ["red", "blue"]]}},
                     {"op": "update", "table": "Interface", "where": [],
                      "row": {"weight": 0.1}})
    conf = ["--config", str(config)]
    log = read_log(ovs)
    pairs = {pair["domid"]: pair for pair in assert_done(run(
        *conf + ["status", "--json"], db=ovs)).pairs}
    assert [pairs[domid]["state"] for domid in (12, 13, 14)] == ["drift", "drift", "single"]
    assert pairs[12]["vif"]["cvlans"] == ([6, 7] if cvlans else [])
    assert_done(run(*conf + ["mirror", "dom", "12", "--dry-run"], db=ovs))
    assert read_log(ovs) == log
    assert_done(run(*conf + ["mirror", "dom", "12"], db=ovs))
    assert_done(run(*conf + ["mirror", "all"], db=ovs))
    assert_done(run(*conf + ["check"], db=ovs))
    vif, tap = ovs.port("vif12.0"), ovs.port("tap12.0")
    for column in ("tag", "vlan_mode", "trunks") + (("cvlans",) if cvlans else ()):
        assert vif[column] == tap[column]
    assert tap["vlan_mode"] == [unit["vlan_mode"]]
    assert tag(ovs, "vif13.0") == 8
    assert ovs.interface("tap12.0")["external_ids"]["note"] == "x"
    if policing:
        assert ovs.interface("tap12.0")["ingress_policing_rate"] == 1000
    if name == "extra columns":
        assert vif["colour"] == ["blue", "red"] and tap["colour"] == []


def test_a_held_port_on_2_5(with_schema, tmp_path):
    """A schema without cvlans has another form of the hold. The command takes the form from the
    database's schema, whichever port the user names."""
    ovs = with_schema(schema_like_2_5())
    held = {"tag": 4095, "port_external_ids": {"xenvif-tagger": json.dumps(
        {"held": {"tag": 4095}})}}
    add_pair(ovs, 17, vif=held, tap=held)
    result = assert_done(run("mirror", "dom", 17, "--json", db=ovs))
    assert result.pair["state"] == "held"
    assert tag(ovs, "vif17.0") == tag(ovs, "tap17.0") == 4095
    ovs.vsctl("set", "port", "vif17.0", "tag=5")
    assert_done(run("mirror", "dom", 17, db=ovs))
    assert tag(ovs, "tap17.0") == 5


def test_the_database_is_upgraded_while_the_command_waits(with_schema):
    """The conversion of the database ends the command's connection: the command prints one line
    about that, and no traceback."""
    ovs = with_schema(schema_like_2_5())
    add(ovs, "vif12.0", tag=5)
    with Proxy(os.path.join(ovs.dir, "p"), ovs.remote) as proxy:
        with Run("mirror", "dom", 12, "--wait", LONG, db=proxy) as waiter:
            proxy.wait_until_waiting()
            ovs.restart_server(load_schema())
            assert_error(waiter.end(), 3, proxy.remote)
    add_zoo(ovs, 14)
    assert_done(run("status", db=ovs))
