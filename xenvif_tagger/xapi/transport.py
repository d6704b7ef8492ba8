"""HTTP to XAPI that ends in time.

XenAPI's own transport over a unix socket waits for ever, and a socket's own time-out begins anew
with each byte that comes.
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
from urllib.parse import urlsplit


class _TimedFile(io.RawIOBase):
    """What a socket receives, read with what is left of the time (function) at each read."""

    def __init__(self, sock, left):
        self._sock = sock
        self._left = left
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self):
        return True

    def readinto(self, buffer):
        self._sock.settimeout(self._left())
        return self._raw.readinto(buffer)

    def close(self):
        self._raw.close()
        io.RawIOBase.close(self)


class _TimedSocket(object):
    """What http.client needs of a socket, within what is left of the time (function)."""

    def __init__(self, sock, left):
        self._sock = sock
        self._left = left
        self.close = sock.close

    def sendall(self, data):
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode):
        return io.BufferedReader(_TimedFile(self._sock, self._left), 1 << 16)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket at a path."""

    def __init__(self, path, left):
        http.client.HTTPConnection.__init__(self, "localhost")
        self._path = path
        self._left = left

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Not settimeout(): with that, a queue that is full for the moment is an error at once.
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
    def __init__(self, host, context, left):
        http.client.HTTPSConnection.__init__(self, host, context=context)
        self._left = left

    def connect(self):
        self.timeout = self._left()
        http.client.HTTPSConnection.connect(self)
        self.sock = _TimedSocket(self.sock, self._left)


class Transport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket or TLS.

    :param str remote: ``unix:PATH`` or ``https://HOST[:PORT]``; ValueError for any other
    :param bool verify: whether the certificate of an https remote must be a good one
    patience (float): for how many seconds the server may still be waited for, all requests
        together. What we do with its answers in between is not on its account.
    """

    accept_gzip_encoding = False

    def __init__(self, remote, verify, patience):
        xmlrpc.client.Transport.__init__(self)
        self._connect = _connector(remote, verify)
        self.patience = patience
        self._until = 0

    def beside(self, patience):
        """Another one to the same remote, with a connection and a patience of its own.

        What there is of certificates is not read again: 64 times that would be seconds.
        """
        other = copy.copy(self)
        other._connection = None, None
        other.patience = patience
        return other

    def _left(self):
        left = self._until - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        return left

    def make_connection(self, host):
        if not self._connection[1]:
            self._connection = host, self._connect(self._left)
        return self._connection[1]

    def request(self, *args, **kwargs):
        self._until = time.monotonic() + self.patience
        if self._connection[1]:
            return xmlrpc.client.Transport.request(self, *args, **kwargs)
        # The base class asks again where a connection is lost. A new one can't have gone cold:
        # what is lost there may have been heard, and a second login is a second session.
        return self.single_request(*args, **kwargs)

    def single_request(self, *args, **kwargs):
        try:
            return xmlrpc.client.Transport.single_request(self, *args, **kwargs)
        except Exception:
            raise  # the base class has seen to it
        except BaseException:
            # A signal has come: with an answer under way nobody could log out by this connection.
            self.close()
            raise

    def parse_response(self, response):
        data = response.read()
        self.patience = self._until - time.monotonic()
        parser, target = self.getparser()
        parser.feed(data)
        parser.close()
        return target.close()


def is_local(remote):
    """Whether the remote is a unix socket: no user and no password are needed."""
    return remote.startswith("unix:")


def _connector(remote, verify):
    """A function of ``left`` that gives a connection to the remote."""
    if is_local(remote) and remote != "unix:":
        path = os.path.abspath(remote[5:])
        return lambda left: _UnixConnection(path, left)
    try:
        url = urlsplit(remote)
        good = (url.scheme == "https" and url.hostname and "@" not in url.netloc
                and url.path in ("", "/") and not url.query and (url.port or 1))
    except ValueError:
        good = False
    if not good:
        raise ValueError("%s: not an address of XAPI: write https://HOST[:PORT] or unix:PATH"
                         % (remote or "''"))
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return lambda left: _TlsConnection(url.netloc, context, left)
