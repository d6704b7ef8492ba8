"""The surroundings of the watcher in its tests: a gate before the database, which fails in the ways
that a test asks for, and a scene of pairs among rows that the watcher must not touch."""
import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import threading
import time

from support.command import Run, assert_error
from support.constants import ROOT
from support.private_ovs import to_map
from support.proxy import messages
from support.watching import PATIENCE, Watching
from support.zoo import identity
from xenvif_tagger.core import mark
from xenvif_tagger.core.unit import UNIT
from xenvif_tagger.host import config
from xenvif_tagger.ovsdb.client import Client, OvsdbError
from xenvif_tagger.ovsdb.oneshot import OneShot

CUT = "cut"  # break the connection, and do not pass the message on
SEND_AND_CUT = "send and cut"  # pass the message on, and break the connection then


def until(condition, what="never came true"):
    """Wait until condition() is true; returns its value. (The database may be down meanwhile: an
    error of the condition counts as false.)"""
    limit = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, OvsdbError):
            found = condition()
            if found:
                return found
        assert time.monotonic() < limit, what() if callable(what) else what
        time.sleep(0.005)


# ---- between the watcher and the database ------------------------------------------------------


class Gate:
    """A socket before the database's, as a context manager. A test can change its attributes at any
    time.

    sizes: iterable of int: the gate passes on the server's bytes in pieces of these sizes. Without
        sizes the gate reads whole messages, and calls one of these functions with each:
    on_request(message): returns None to pass the message on, a dict to answer in the server's
        place, CUT or SEND_AND_CUT.
    on_reply(message, request): returns None or CUT. request: the request that the message answers,
        or None for a notification.
    """

    def __init__(self, upstream, sizes=None, on_request=None, on_reply=None, tcp=False):
        self._dir = tempfile.mkdtemp(prefix="gate-", dir="/tmp")
        self._upstream = getattr(upstream, "remote", upstream).partition(":")[2]
        self._sizes = itertools.cycle(sizes) if sizes else None
        self.on_request, self.on_reply = on_request, on_reply
        self.greeting = None  # bytes that each client gets, in place of a connection
        self.closed = False  # close each new connection at once
        self.deaf = False  # accept connections and messages, and never answer
        self.links = 0  # the number of connections so far
        self.bytes = 0  # the number of bytes passed on in pieces
        self._open = []
        self._problems = []
        self._stopped = False
        if tcp:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", 0))
            self.remote = "tcp:127.0.0.1:%d" % self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind("%s/s" % self._dir)
            self.remote = "unix:%s/s" % self._dir
        self._listener.listen(16)
        self._threads = []
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in list(self._threads):
            thread.join(PATIENCE)
        self.cut()
        self._listener.close()
        shutil.rmtree(self._dir)
        if kind is None and self._problems:
            raise self._problems[0]

    def cut(self):
        """Break all present connections."""
        for end in list(self._open):
            _shutdown(end)

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self._open.append(client)
            if self._stopped or self.closed:
                _shutdown(client)
            elif self.greeting is not None:
                with contextlib.suppress(OSError):
                    client.sendall(self.greeting)
            elif not self.deaf:
                server = socket.socket(socket.AF_UNIX)
                self._open.append(server)
                try:
                    server.connect(self._upstream)
                except OSError:
                    _shutdown(client)
                else:
                    requests = {}
                    self._start(self._pump, client, server, self._ask, requests)
                    self._start(self._pump, server, client, self._tell, requests)
            self.links += 1

    def _pump(self, source, sink, hand_on, requests):
        try:
            if self._sizes:
                self._pump_bytes(source, sink, hand_on == self._tell)
            else:
                for message in messages(source):
                    hand_on(message, source, sink, requests)
        except OSError:
            pass  # the client or the server has closed its connection
        except BaseException as error:
            self._problems.append(error)
        finally:
            _shutdown(source)
            _shutdown(sink)

    def _pump_bytes(self, source, sink, cut_up):
        while True:
            data = source.recv(1 << 16)
            if not data:
                return
            while data:
                size = next(self._sizes) if cut_up else len(data)
                sink.sendall(data[:size])
                self.bytes += len(data[:size]) if cut_up else 0
                data = data[size:]

    def _ask(self, message, client, server, requests):
        answer = self.on_request(message) if self.on_request else None
        if self.deaf:
            return
        if answer == CUT:
            raise ConnectionResetError
        if isinstance(answer, dict):
            client.sendall(json.dumps(answer).encode())
            return
        if "method" in message:
            requests[json.dumps(message["id"])] = message
        server.sendall(json.dumps(message).encode())
        if answer == SEND_AND_CUT:
            raise ConnectionResetError

    def _tell(self, message, server, client, requests):
        request = None if "method" in message else requests.get(json.dumps(message["id"]))
        if self.deaf:
            return
        if self.on_reply and self.on_reply(message, request) == CUT:
            raise ConnectionResetError
        client.sendall(json.dumps(message).encode())


def _shutdown(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


# ---- around the process ------------------------------------------------------------------------


@contextlib.contextmanager
def wrapped_python(before="", path=None):
    """Make a `python` that first runs some lines of shell, in which $PYTHON is the real
    interpreter, and then Python with one more directory on its path."""
    directory = tempfile.mkdtemp(prefix="python-", dir="/tmp")
    script = os.path.join(directory, "python")
    try:
        with open(script, "w") as stream:
            stream.write("#!/bin/sh\nPYTHON=%s\nexport PYTHON PYTHONPATH=%s\n%s\n"
                         'exec "$PYTHON" "$@"\n' % (
                             sys.executable, ":".join(filter(None, [path, ROOT])), before))
        os.chmod(script, stat.S_IRWXU)
        yield script
    finally:
        shutil.rmtree(directory)


def switches(pid):
    """How often the threads of the process have gone to sleep, added up."""
    count = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as stream:
            count += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", stream.read()).group(1))
    return count


def resident(pid):
    """The resident memory of the process in KiB."""
    with open("/proc/%d/status" % pid) as stream:
        return int(re.search(r"VmRSS:\s+(\d+)", stream.read()).group(1))


# ---- the rows of the database -------------------------------------------------------------------

LOOKALIKES = ("vif1.0.5", "vif01.0", "tap1.00", "xvif1.0", "tap1", "vif1.0-em")


class Scene:
    """Pairs on br0, whose vifs have a tag and whose taps have none, among foreign rows."""

    def __init__(self, ovs, domids=(1, 2, 3), furnish=True):
        self.ovs = ovs
        self.domids = list(domids)
        if furnish:
            self.furnish()
        self._before = None if not furnish else self.foreign()

    def furnish(self):
        ovs = self.ovs
        ovs.add_bridge("br0")
        own = {"note": "ü\U0001d11e\u2028", "iface-status": "active"}
        ovs.add_many_ports("br0", [
            dict(name=side % domid, external_ids=dict(identity(domid), **own),
                 port_external_ids={"k": "same"}, other_config={"foreign": side % domid},
                 **({"tag": self.first(domid)} if side[0] == "v" else {}))
            for domid in self.domids for side in ("vif%d.0", "tap%d.0")])
        ids = identity(1)
        for name in LOOKALIKES:
            ovs.add_port("br0", name, ids, {"xenvif-tagger": "mine"}, tag=99)
        ovs.add_port("br0", "eth0", ids, {"a": "b"}, trunks=[7, 8], other_config={"c": "d"})
        ovs.transact(
            {"op": "insert", "table": "QoS", "uuid-name": "q", "row": {
                "type": "linux-htb", "external_ids": to_map({"whose": "the agent's"})}},
            {"op": "update", "table": "Port", "where": [["name", "==", "eth0"]],
             "row": {"qos": ["named-uuid", "q"]}},
            {"op": "update", "table": "Open_vSwitch", "where": [], "row": {
                "external_ids": to_map({"hostname": "dom0", "odd": "\ud7ff\ufffd\x7f"}),
                "other_config": to_map({"x": "y"})}})

    @staticmethod
    def first(domid):
        return domid % 4000 + 1

    # -- acts

    def tag(self, name, value):
        """Set a tag as an agent does: in a transaction of its own."""
        self.ovs.transact({"op": "update", "table": "Port", "where": [["name", "==", name]],
                           "row": {"tag": value}})

    # -- the rows as they stand

    def tags(self):
        with Client(self.ovs.remote, PATIENCE) as client:
            rows = client.transact([{"op": "select", "table": "Port", "where": [],
                                     "columns": ["name", "tag"]}])[0]["rows"]
        return {row["name"]: row["tag"] if isinstance(row["tag"], int) else None for row in rows}

    def outcomes(self, **settings):
        values = config.parse("")[0]
        values.update(settings)
        with Client(self.ovs.remote, PATIENCE) as client:
            return OneShot(client, values).look()

    def is_done(self):
        """Whether the one-shot driver would write nothing, and each pair is alike."""
        outcomes = [outcome for outcome in self.outcomes() if outcome.domid in self.domids]
        return len(outcomes) == len(self.domids) and all(
            outcome.decision.state == "in-sync" and not outcome.decision.changes
            for outcome in outcomes)

    def agree(self, **tags):
        """Whether nothing is left to write, and the pairs have these tags: vif1=5 means vif1.0 and
        tap1.0."""
        found = self.tags()
        return self.is_done() and all(
            found[side % int(name[3:])] == value
            for name, value in tags.items() for side in ("vif%d.0", "tap%d.0"))

    def foreign(self):
        """All rows that no tagger may write: table -> UUID -> row."""
        found = {}
        with Client(self.ovs.remote, PATIENCE) as client:
            for table in self.ovs.schema["tables"]:
                rows = client.transact([{"op": "select", "table": table, "where": []}])[0]["rows"]
                found[table] = {row["_uuid"][1]: row for row in rows}
        for table, rows in found.items():
            for row in rows.values():
                del row["_version"]
                if table == "Port" and re.match(r"(vif|tap)[1-9]\d*\.0\Z", row["name"]):
                    for column in UNIT:
                        row.pop(column, None)
                    row["external_ids"] = dict(row["external_ids"][1])
                    row["external_ids"].pop(mark.KEY, None)
        return found

    def assert_untouched(self, before=None):
        """Check that no foreign row has changed since the scene was made. (If the schema has
        changed, this looks at the columns that both schemas have.)"""
        before, after = before or self._before, self.foreign()
        for table in set(before) & set(after):
            assert set(before[table]) == set(after[table])
            for uuid, row in before[table].items():
                now = after[table][uuid]
                common = set(row) & set(now)
                assert {column: row[column] for column in common} == {
                    column: now[column] for column in common}

    def assert_works(self, watcher, domid=1, value=None):
        """Check that a change made now is mirrored, and that no foreign row was written, now or
        before."""
        for name in ("vif%d.0" % domid, "tap%d.0" % domid):
            value = (value or self.tags()[name] or 0) % 4000 + 7
            self.tag(name, value)
            self.await_tags(watcher, **{"vif%d" % domid: value})
        self.assert_untouched()

    def await_tag(self, name, value):
        """Wait until one port has this tag."""
        until(lambda: self.ovs.port(name)["tag"] == [value],
              lambda: "%s is %s, not %d" % (name, self.ovs.port(name), value))

    def await_state(self, watcher, domid, state):
        """Wait until a watcher says that a pair is in this state."""
        until(lambda: [pair["state"] for pair in watcher.status()["pairs"]
                       if pair["domid"] == domid] == [state], watcher.status)

    def await_tags(self, watcher, **tags):
        """Wait until agree(tags)."""
        until(lambda: self.agree(**tags),
              lambda: "%s\n%s" % (self.tags(), "\n".join(watcher.log()[-20:])))


def lines_about(watcher, *words):
    return [line for line in watcher.log() if all(word in line for word in words)]


HOLD = "[hold]\nbridges = br0\norphan_grace = %s\n"


@contextlib.contextmanager
def by_name(ovs, **how):
    """A watcher without --unixctl, whose control socket is at the place where ovs-appctl looks."""
    watcher = Watching(ovs, **how)
    at = watcher._command.index("--unixctl")
    del watcher._command[at:at + 2]
    watcher.socket = "xenvif-tagger"
    with watcher:
        yield watcher


def assert_refused(*args, **how):
    """Check that the watcher prints one line with the error and ends, and does not wait for a
    database."""
    words = how.pop("words", ())
    with Run(*args, **how) as started:
        until(lambda: started.process.poll() is not None, "it runs")
        assert_error(started.end(), 2, *words)


def text(watcher):
    return "\n".join(watcher.log())
