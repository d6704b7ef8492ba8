"""Calls and checks that the tests of the OVSDB client share."""
import contextlib
import os
import time

import pytest

from support.constants import LONG
from xenvif_tagger.ovsdb.client import Client, OvsdbError

SHORT = 0.5  # seconds: the client's timeout in tests whose server never answers
PORT_NAMES = {"op": "select", "table": "Port", "where": [], "columns": ["name"]}


def where_name(name):
    return [["name", "==", name]]


def problem_of(call, *args):
    """Make a call that must raise an OvsdbError; returns ``(error, its one line)``. The call must
    end long before the client's timeout LONG."""
    started = time.monotonic()
    with pytest.raises(OvsdbError) as caught:
        call(*args)
    assert time.monotonic() - started < LONG / 2
    text = str(caught.value)
    assert text.isprintable()  # so the text is one line
    return caught.value, text


def names_from(server, timeout=LONG):
    with Client(server.remote, timeout) as client:
        return names(client)


def names(client):
    return [row["name"] for row in client.transact([PORT_NAMES])[0]["rows"]]


def ovs_port_for_tcp(ovs, address="127.0.0.1", inactivity_probe=None):
    """Make ovsdb-server listen on TCP too; returns the port, which the kernel chooses."""
    if inactivity_probe is None:
        ovs.appctl("ovsdb-server", "ovsdb-server/add-remote", "ptcp:0:" + address)
    else:
        manager = {"target": "ptcp:0:" + address, "inactivity_probe": inactivity_probe}
        ovs.transact(
            {"op": "insert", "table": "Manager", "row": manager, "uuid-name": "m"},
            {
                "op": "mutate",
                "table": "Open_vSwitch",
                "where": [],
                "mutations": [["manager_options", "insert", ["named-uuid", "m"]]],
            },
        )
        ovs.appctl(
            "ovsdb-server",
            "ovsdb-server/add-remote",
            "db:Open_vSwitch,Open_vSwitch,manager_options",
        )
    # ovsdb-server listens from the next turn of its loop on, and each answer takes a turn at least.
    until = time.monotonic() + LONG
    ports = listening_ports(ovs.server_pid)
    while not ports and time.monotonic() < until:
        ovs.transact({"op": "comment", "comment": "are you listening?"})
        ports = listening_ports(ovs.server_pid)
    assert len(ports) == 1
    return ports[0]


def listening_ports(pid):
    directory = "/proc/%d/fd" % pid
    sockets = set()
    for fd in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # the server has closed this descriptor since
            sockets.add(os.readlink(os.path.join(directory, fd)))
    ports = []
    for table in ("tcp", "tcp6"):
        with open("/proc/%d/net/%s" % (pid, table)) as lines:
            for fields in (line.split() for line in list(lines)[1:]):
                if fields[3] == "0A" and "socket:[%s]" % fields[9] in sockets:  # TCP_LISTEN
                    ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports
