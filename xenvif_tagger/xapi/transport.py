"""HTTP to XAPI with a limit on the whole time of a request.

XenAPI's own transport has no such limit: over a unix socket it waits for ever, and the time-out of
a Python socket begins anew with each byte that comes.
"""
import copy
import http.client
import io
import os
import socket
import ssl
import struct
import time
import xmlrpc.client
from typing import Any, Callable
from urllib.parse import urlsplit

Left = Callable[[], float]  # gives the seconds that are left; raises socket.timeout if none is


class _TimedFile(io.RawIOBase):
    """The bytes that a socket receives; each read ends when no time is left."""

    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock = sock
        self._left = left
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._sock.settimeout(self._left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        io.RawIOBase.close(self)


class _TimedSocket(object):
    """The methods of a socket that http.client calls; each call ends when no time is left."""

    def __init__(self, sock: socket.socket, left: Left) -> None:
        self._sock = sock
        self._left = left
        self.close = sock.close

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedFile(self._sock, self._left), 1 << 16)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket at a path."""

    def __init__(self, path: str, left: Left) -> None:
        http.client.HTTPConnection.__init__(self, "localhost")
        self._path = path
        self._left = left

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With settimeout(), connect() would fail at once while the server's queue is full; with
            # SO_SNDTIMEO the kernel waits (unix(7), socket(7)).
            left = self._left()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                            struct.pack("ll", int(left), max(1, int(left % 1 * 1000000))))
            sock.connect(self._path)
        except BlockingIOError:
            sock.close()
            raise socket.timeout()
        except BaseException:
            sock.close()
            raise
        self.sock = _TimedSocket(sock, self._left)


class _TlsConnection(http.client.HTTPSConnection):
    """HTTP over TLS."""

    def __init__(self, host: str, context: ssl.SSLContext, left: Left) -> None:
        http.client.HTTPSConnection.__init__(self, host, context=context)
        self._left = left

    def connect(self) -> None:
        self.timeout = self._left()
        http.client.HTTPSConnection.connect(self)
        self.sock = _TimedSocket(self.sock, self._left)


class Transport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket or TLS.

    patience (float): seconds for which we may still wait for the server, all requests together. Our
    own work between two requests takes nothing off the patience.

    :param remote: ``unix:PATH`` or ``https://HOST[:PORT]``
    :param verify: whether the certificate of an https remote is verified
    :param patience: the attribute's first value
    :raises ValueError: the remote has neither form
    """

    accept_gzip_encoding = False

    def __init__(self, remote: str, verify: bool, patience: float) -> None:
        xmlrpc.client.Transport.__init__(self)
        self._connect = _connector(remote, verify)
        self.patience = patience
        self._until = 0.0

    def beside(self, patience: float) -> "Transport":
        """Another transport to the same remote, with a connection and a patience of its own.

        The copy shares the TLS context: to read the certificates anew for each of 64 hosts would
        take seconds.
        """
        other = copy.copy(self)
        other._connection = None, None
        other.patience = patience
        return other

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        return left

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = self._connection[1] or self._connect(self._left)
        self._connection = host, connection
        return connection

    def request(self, *args: Any, **kwargs: Any) -> Any:
        self._until = time.monotonic() + self.patience
        if self._connection[1]:
            return xmlrpc.client.Transport.request(self, *args, **kwargs)
        # The base class repeats a request whose connection is lost. On a connection that was idle
        # a repeat is right: the server had closed the connection. On a new connection the server
        # may have taken the request before the connection was lost, and a repeated login would
        # open a second session.
        return self.single_request(*args, **kwargs)

    def single_request(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return xmlrpc.client.Transport.single_request(self, *args, **kwargs)
        except Exception:
            raise  # the base class has closed the connection if that was needed
        except BaseException:
            # A signal has come while an answer was under way on this connection, so the logout
            # that follows needs a new connection.
            self.close()
            raise

    def parse_response(self, response: Any) -> Any:
        data = response.read()
        self.patience = self._until - time.monotonic()
        parser, target = self.getparser()
        parser.feed(data)
        parser.close()
        return target.close()


def is_local(remote: str) -> bool:
    """Whether the remote is a unix socket, which takes no user and no password."""
    return remote.startswith("unix:")


def _connector(remote: str, verify: bool) -> Callable[[Left], http.client.HTTPConnection]:
    """A function that makes a connection to the remote, with a limit on its time."""
    if is_local(remote) and remote != "unix:":
        path = os.path.abspath(remote[5:])
        return lambda left: _UnixConnection(path, left)
    try:
        url = urlsplit(remote)
        is_good = (url.scheme == "https" and url.hostname and "@" not in url.netloc
                   and url.path in ("", "/") and not url.query and (url.port or 1))
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("%s: not an address of XAPI: write https://HOST[:PORT] or unix:PATH"
                         % (remote or "''"))
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return lambda left: _TlsConnection(url.netloc, context, left)
