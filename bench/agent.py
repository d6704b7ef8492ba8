"""The client of bench/watch.py: sets tags, as an agent does, and waits for the siblings' tags."""
import itertools
import json
import socket
import time

PATIENCE = 60  # seconds


class Agent:
    """Two connections to the database: one writes, the other monitors the tags of all ports.

    tags: name of a port -> its tag, by the latest update of the monitor.
    """

    def __init__(self, path):
        self.tags, self._uuids, self._names = {}, {}, {}
        self._numbers = itertools.cycle(range(1, 4000))
        self._writer, self._monitor = _Connection(path), _Connection(path)
        self._monitor.send(_request("monitor", "Open_vSwitch", None, {
            "Port": [{"columns": ["name", "tag"]}]}))
        self._take(self._monitor.receive()["result"]["Port"])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._writer.close()
        self._monitor.close()

    def transact(self, *operations):
        self._writer.send(_transact(operations))
        return self._reply()

    def set_tag(self, domids, how="one", patience=PATIENCE):
        """Give the vifs of these domains another tag, and wait until the taps have it.

        :param how: "one": by one transaction; "each": by a transaction for each vif, all sent at
            once; "turns": by a transaction for each vif, each after the reply to the one before
        :returns: dict of seconds: "commit", from sending the first transaction to the reply to the
            last; "reaction", from that reply to the update with the last tap's tag; "all", the sum
            of both. None if the taps did not get the tag in time
        """
        tag = next(self._numbers)
        while any(self.tags["vif%d.0" % domid] == tag for domid in domids):
            tag = next(self._numbers)
        operations = [{"op": "update", "table": "Port", "row": {"tag": tag},
                       "where": [["_uuid", "==", ["uuid", self._uuids["vif%d.0" % domid]]]]}
                      for domid in domids]
        requests = ([_transact(operations)] if how == "one" else
                    [_transact([operation]) for operation in operations])
        sent = time.perf_counter()
        if how == "each":
            self._writer.send(b"".join(requests))
        for request in requests:
            if how != "each":
                self._writer.send(request)
            self._reply()
        done = self._writer.received
        if not self._await(["tap%d.0" % domid for domid in domids], tag, done + patience):
            return None
        seen = self._monitor.received
        return {"commit": done - sent, "reaction": seen - done, "all": seen - sent}

    def _await(self, names, tag, until):
        """Whether the monitor shows in time that these ports have this tag."""
        missing = {name for name in names if self.tags[name] != tag}
        while missing:
            message = self._monitor.receive(until)
            if message is None:
                return False
            self._take(message["params"][1]["Port"])
            missing = {name for name in missing if self.tags[name] != tag}
        return True

    def _take(self, rows):
        for uuid, row in rows.items():
            row = row["new"]
            self._uuids[row["name"]], self.tags[row["name"]] = uuid, row["tag"]

    def _reply(self):
        reply = self._writer.receive()
        if reply["error"] or any(result and "error" in result for result in reply["result"]):
            raise ValueError("the database says: %s" % reply)
        return reply["result"]


class _Connection:
    """received: when the last part of the latest message was received."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._text, self._decode = "", json.JSONDecoder().raw_decode
        self.send, self.close, self.received = self._socket.sendall, self._socket.close, 0

    def receive(self, until=None):
        """The next message; None if none is received in time."""
        while True:
            if self._text.endswith("}"):  # else the message is not complete
                try:
                    message, end = self._decode(self._text)
                    self._text = self._text[end:]
                    return message
                except ValueError:
                    pass
            left = PATIENCE if until is None else until - time.perf_counter()
            try:
                self._socket.settimeout(max(0.0001, left))
                part = self._socket.recv(1 << 16)
            except socket.timeout:
                if until is None:
                    raise
                return None
            self.received = time.perf_counter()
            if not part:
                raise ConnectionError("the database has closed the connection")
            self._text += part.decode()


def _request(method, *params):
    return json.dumps({"method": method, "params": params, "id": 0}).encode()


def _transact(operations):
    return _request("transact", "Open_vSwitch", *operations)
