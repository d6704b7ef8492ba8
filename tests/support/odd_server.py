"""A server that misbehaves as a test of the OVSDB client wants."""
import fcntl
import json
import socket
import struct
import termios
import threading
import time

from support.constants import LONG
from xenvif_tagger.ovsdb.client import Framer


class Server:
    """Accepts one connection and runs `talk(connection)` on it in a thread.

    An exception of talk is raised in the test when the context ends. Until then the connection
    stays open, unless talk closes it.
    """

    def __init__(self, path, talk):
        self.remote = "unix:" + path
        self._talk = talk
        self._problem = None
        self._done = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(LONG)
        self._listener.bind(path)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            connection = self._listener.accept()[0]
            with connection:
                connection.settimeout(LONG)
                self._talk(connection)
                self._done.wait(LONG)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has given up, which the test checks itself
        except Exception as error:
            self._problem = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._done.set()
        self._thread.join(LONG)
        self._listener.close()
        if kind is None and self._problem is not None:
            raise self._problem


def read_message(connection):
    """The client's next request (dict). The client must not have sent anything after the request
    yet."""
    return read_messages(connection, 1)[0]


def read_messages(connection, count):
    framer = Framer()
    messages = []
    while len(messages) < count:
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        messages += framer.feed(data)
    assert len(messages) == count
    return messages


def send_alone(connection, data):
    """Send data, and return when the client has read all of it."""
    connection.sendall(data)
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:
        time.sleep(0.0001)


def reply_to(request, result):
    return encode({"id": request["id"], "result": result, "error": None})


def encode(message):
    return json.dumps(message, ensure_ascii=False).encode("utf-8")


def select_reply(request, *names):
    return reply_to(request, [{"rows": [{"name": name} for name in names]}])


UPDATE = encode({"id": None, "method": "update", "params": ["xenvif-tagger", {"Port": {}}]})
ECHO = encode({"id": "echo", "method": "echo", "params": ["still there?"]})
ECHO_REPLY = {"id": "echo", "result": ["still there?"], "error": None}
