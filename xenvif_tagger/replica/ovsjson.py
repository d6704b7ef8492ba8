"""The connection of Open vSwitch's Python library, with Python's own JSON parser.

The library's own connection

* drops the stream when a UTF-8 character is split over two reads (seen with 2.17.12, 3.3.9 and
  4.0.0: ovs/jsonrpc.py, recv(), begins with a new decoder each time);
* parses in Python where its C part is not built, as it is not by pip: that is most of the time
  that a large database takes to arrive;
* reads 4 kB at a time.
"""
import collections
import errno

import ovs.jsonrpc
import ovs.vlog

from ..ovsdb.jsonstream import Framer, NotJson
from . import compact

RECEIVE_SIZE = 1 << 16
vlog = ovs.vlog.Vlog("jsonrpc")


class Connection(ovs.jsonrpc.Connection):
    """The library's, apart from what is received."""

    def __init__(self, stream):
        super(Connection, self).__init__(stream)
        self._framer = Framer(compact.thin)
        self._messages = collections.deque()

    def recv(self):
        """(0, the next Message), or (errno, None): EAGAIN where none is complete, EOF after all."""
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
        if not isinstance(message, ovs.jsonrpc.Message):  # then it is a str that says what is wrong
            self._refuse(message)
            return self.status, None
        return 0, message

    def _refuse(self, problem):
        vlog.warn("%s: not an OVSDB server: it sent %s" % (self.name, problem))
        self.error(errno.EPROTO)

    def recv_wait(self, poller):
        if self.status or self._messages:
            poller.immediate_wake()
        else:
            self.stream.recv_wait(poller)


def use():
    """Let the library make its connections of this kind from now on."""
    ovs.jsonrpc.Connection = Connection
