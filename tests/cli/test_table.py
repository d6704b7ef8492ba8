"""The table of `status`, on a terminal and elsewhere."""
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import uuid

import pytest

from support.command import assert_done, command, environment, run
from support.constants import LONG
from support.printed import check_table
from support.zoo import (
    ZOO,
    add,
    add_pair,
    add_zoo,
    identity,
)


def test_the_table(zoo):
    result = assert_done(run("status", db=zoo))
    rows = check_table(result.out)
    assert [row[-1] for row in rows] == [ZOO[domid] for domid in sorted(ZOO)]
    assert rows[0] == [identity(12)["xs-vm-uuid"][:8], "xenbr0", "vif12.0", "5", "tap12.0", "trunk",
                       "drift"]
    assert rows[3][2:6] == ["vif15.0", "5", "-", "-"]
    # Below the row of a pair that is not as it should be stands the reason.
    lines = result.out.splitlines()
    at = [number for number, line in enumerate(lines) if line.endswith("conflict")][0]
    assert lines[at + 1].startswith("    vif13.0 has tag 5, tap13.0 has tag 6")
    assert "\x1b" not in result.out


def test_status_of_one_domain(zoo):
    assert [row[2] for row in check_table(run("status", 13, db=zoo).out)] == ["vif13.0"]
    assert [pair["domid"] for pair in run("status", 13, "--json", db=zoo).pairs] == [13]


def long_names(host, name):
    host.add_bridge("a-long-bridge-n")  # 15 characters, the longest name that a device can have
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
def test_values_of_the_database_do_not_steer_the_terminal(host, value):
    """Anybody may have written the names and values in the database: the command prints none of
    their control characters."""
    add_pair(host, 12, vif={"tag": 5, "ids": {"xen-vm-name": value, "attached-mac": value,
                                             "note": value, value: "1"}})
    for args in (["status"], ["check"], ["mirror", "all", "--dry-run"], ["mirror", "dom", "12"]):
        result = run(*args, db=host)
        assert all(char.isprintable() for char in result.out.replace("\n", "")), ascii(result.out)


def on_a_terminal(*args, **how):
    """Run the command on a terminal; returns (the text that the command writes, its exit code)."""
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
    # "conflict" and "refused" have one colour; "drift" and "in-sync" have one each.
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


def test_ports_that_cannot_be_paired(host):
    """The command reports a port with libxl's vifname=web0 and the vif of a stub domain, and does
    not report the pair of a VIF or the two pairs of a local migration."""
    def plug(name, vm, mac):
        host.add_port("xenbr0", name, {"xen-vm-uuid": vm, "attached-mac": mac}, tag=5)

    for name, vm, mac in (("vif1.0", "a", "00:0A"), ("vif1.0-emu", "a", "00:0a"),
                          ("vif2.0", "a", "00:0a"), ("other", "b", "00:0b")):
        plug(name, vm, mac)
    assert run("check", db=host).code == 0
    for name, vm, mac in (("web0", "c", "00:0C"), ("web0-emu", "c", "00:0c"),
                          ("vif3.0", "d", "00:0d"), ("vif4.0", "stub", "00:0d")):
        plug(name, vm, mac)
    result = run("check", db=host)
    assert result.code == 1
    assert [line for line in result.out.splitlines() if line.startswith("not paired: ")] == [
        "not paired: vif3.0 and vif4.0: they have the MAC of one NIC, but not the names of a pair",
        "not paired: web0 and web0-emu: they have the MAC of one NIC, but not the names of a pair"]
    assert json.loads(run("status", "--json", db=host).out)["unpaired"] == [
        ["vif3.0", "vif4.0"], ["web0", "web0-emu"]]
    assert run("check", "1", db=host).code == 0
