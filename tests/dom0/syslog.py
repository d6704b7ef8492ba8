"""A private /dev/log."""

import os
import re
import socket
import threading

_HEAD = re.compile(r"<\d+>(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )?")


class Syslog(object):
    """Binds the socket `path`, and keeps every message that is sent there."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._path = path
        self._messages = []
        self._marks = {}
        self._closing = False
        # The kernel holds ten messages and then makes the sender wait, so read them all the time.
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def lines(self):
        """All messages that were sent before this call, as "tag: text"."""
        mark, seen = os.urandom(16), threading.Event()
        self._marks[mark] = seen
        self._send(mark)  # once the mark has arrived, all messages sent before have arrived
        seen.wait()
        return [_HEAD.sub("", data.decode(errors="replace")).rstrip("\0\n")
                for data in self._messages]

    def close(self):
        if not self._closing:
            self._closing = True
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._socket.close()

    def _send(self, data):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(data, self._path)

    def _collect(self):
        while True:
            data = self._socket.recv(1 << 16)
            if self._closing:
                return
            if data in self._marks:
                self._marks.pop(data).set()
            else:
                self._messages.append(data)
