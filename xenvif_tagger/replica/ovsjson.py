"""A connection for Open vSwitch's Python library, with Python's own JSON parser.

The library's own connection

* drops the stream when a UTF-8 character is split over two reads (seen with 2.17.12, 3.3.9 and
  4.0.0: ovs/jsonrpc.py, recv(), begins with a new decoder each time);
* parses JSON in Python if the library's C part is not built (pip does not build it): with a large
  database the parser takes most of the time until all rows are here;
* reads 4 kB at a time.
"""
import collections
import errno
from typing import Any, Deque, Dict, Optional, Tuple

import ovs.jsonrpc
import ovs.vlog

from ..ovsdb.jsonstream import Framer, NotJson
from . import compact

RECEIVE_SIZE = 1 << 16
vlog = ovs.vlog.Vlog("jsonrpc")


class Connection(ovs.jsonrpc.Connection):
    """The library's connection, with a receiving half of our own."""

    def __init__(self, stream: Any) -> None:
        super(Connection, self).__init__(stream)
        self._framer = Framer(compact.shrink)
        self._messages: Deque[Dict[str, Any]] = collections.deque()

    def recv(self) -> Tuple[int, Optional[Any]]:
        """(0, the next jsonrpc.Message), or (errno, None): EAGAIN if no message is complete yet,
        EOF at the end of the stream."""
        while not self._messages and not self.status:
            error, data = self.stream.recv(RECEIVE_SIZE)
            if error == errno.EAGAIN:
                return error, None
            if error or not data:
                self.error(error or ovs.jsonrpc.EOF)
                break
            self.received_bytes += len(data)
            try:
                self._messages.extend(self._framer.feed(data))
            except NotJson as problem:
                self._refuse(problem)
        if self.status:
            return self.status, None
        message = ovs.jsonrpc.Message.from_json(self._messages.popleft())
        if not isinstance(message, ovs.jsonrpc.Message):
            self._refuse(message)  # from_json() returned a str, which names the fault
            return self.status, None
        return 0, message

    def _refuse(self, problem: Any) -> None:
        """Log a fault in the server's answer (NotJson or str), and give up the connection."""
        vlog.warn("%s: not an OVSDB server: it sent %s" % (self.name, problem))
        self.error(errno.EPROTO)

    def recv_wait(self, poller: Any) -> None:
        """Let a message wake an ovs.poller.Poller."""
        if self.status or self._messages:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)


def use() -> None:
    """Let the library make its connections of this class, in the whole process."""
    ovs.jsonrpc.Connection = Connection
