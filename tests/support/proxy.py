"""A proxy between the command and the database, which logs, stops and changes messages."""
import codecs
import contextlib
import json
import socket
import threading

from support.constants import LONG


class Proxy:
    """A unix socket before the database's, which logs the JSON-RPC messages of both directions.

    before(message): called with each message of the command before the proxy passes it on. The
    function may change the database first. If it returns False, the proxy drops the message.
    after(message): the same for each message of the server.
    """

    def __init__(self, path, upstream, before=None, after=None):
        self.remote = "unix:" + path
        self.log = []  # (sender, message); the sender is "client" or "server"
        self._upstream = upstream.partition(":")[2]
        self._hooks = {"client": before, "server": after}
        self._news = threading.Condition()
        self._sending = threading.Lock()  # held by a thread that sends to the command
        self._clients = []
        self._echoes = 0  # the number of echo requests that we have sent
        self._answered = 0
        self._problems = []
        self._threads = []
        self._sockets = []
        self._stopped = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(8)
        self._start(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._stopped = True
        for end in [self._listener] + self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LONG)
        for end in [self._listener] + self._sockets:
            end.close()
        if kind is None and self._problems:
            raise self._problems[0]

    def requests(self, method=None):
        """The messages that the command has sent: requests and answers, or the requests of one
        method."""
        with self._news:
            return [message for whose, message in self.log if whose == "client"
                    and (method is None or message.get("method") == method)]

    def writes(self):
        """The operations of each writing transaction that the command has sent."""
        return [message["params"][1:] for message in self.requests("transact")
                if is_write(message)]

    def wait_for(self, condition):
        """Wait until condition(proxy) is true; looks again at each message."""
        with self._news:
            assert self._news.wait_for(lambda: condition(self), LONG), self.log

    def wait_until_waiting(self):
        """Wait until the command has a monitor, has read the rows since, and waits for updates
        only.

        The command answers an echo when it reads next. Two echoes may arrive together with an
        answer that the command was waiting for. A command that answers three echoes in a row and
        sends no request in between waits for updates.
        """
        quiet = 0
        while quiet < 3:
            self.wait_for(lambda _: self._has_looked() and self._unanswered() == set())
            before = len(self.requests())
            self._echo()
            self.wait_for(lambda _: self._answered == self._echoes)
            quiet = quiet + 1 if len(self.requests()) == before else 0

    def _has_looked(self):
        """Whether the command has sent a transaction since the monitor, and since the last
        update."""
        methods = [message.get("method") for _, message in self.log]
        last = {method: number for number, method in enumerate(methods)}
        return "monitor" in last and last.get("transact", -1) > max(
            last["monitor"], last.get("update", -1))

    def _unanswered(self):
        asked, told = ({message["id"] for whose, message in self.log if whose == side
                        and ("method" in message) == (side == "client")}
                       for side in ("client", "server"))
        return asked - told

    def _echo(self):
        """Send the command an echo request, as a server does; the log does not get it."""
        self._echoes += 1
        message = {"method": "echo", "params": ["x"], "id": "proxy-%d" % self._echoes}
        with self._sending:
            self._clients[-1].sendall(json.dumps(message).encode())

    def _is_answer(self, message):
        """Whether the message is an answer to _echo."""
        if not str(message.get("id")).startswith("proxy-"):
            return False
        with self._news:
            assert message == {"id": "proxy-%d" % self._echoes, "result": ["x"], "error": None}
            self._answered += 1
            self._news.notify_all()
        return True

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._sockets += [client, server]
            self._clients.append(client)
            if self._stopped:
                return
            server.connect(self._upstream)
            self._start(self._pump, "client", client, server)
            self._start(self._pump, "server", server, client)

    def _pump(self, whose, source, sink):
        try:
            for message in messages(source):
                if whose == "client" and self._is_answer(message):
                    continue
                hook = self._hooks[whose]
                passed = hook(message) if hook else None
                with self._news:
                    self.log.append((whose, message))
                    self._news.notify_all()
                if passed is None or passed:
                    with self._sending if whose == "server" else contextlib.ExitStack():
                        sink.sendall(json.dumps(message).encode())
        except OSError:
            pass  # one side has closed its connection
        except BaseException as error:
            self._problems.append(error)
        finally:
            # When one side ends its connection, the other side must notice.
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def messages(source):
    """The JSON objects that arrive on a socket until its end."""
    utf8 = codecs.getincrementaldecoder("utf-8")()
    decoder = json.JSONDecoder()
    text = ""
    while True:
        data = source.recv(1 << 20)
        if not data:
            return
        text += utf8.decode(data)
        while text.lstrip():
            text = text.lstrip()
            try:
                if not text.endswith("}") and len(text) > 1 << 16:
                    break  # a long message is not complete yet; don't decode at each piece
                message, end = decoder.raw_decode(text)
            except ValueError:
                break
            text = text[end:]
            yield message


def is_write(message):
    return message.get("method") == "transact" and any(
        operation["op"] in ("update", "mutate", "insert", "delete")
        for operation in message["params"][1:])


@contextlib.contextmanager
def proxies(tmp_path_factory):
    """A function ``start(ovs or remote, before, after)`` that returns a running Proxy, which is
    stopped at the end."""
    with contextlib.ExitStack() as stack:
        def start(ovs, before=None, after=None):
            path = str(tmp_path_factory.mktemp("p") / "s")
            return stack.enter_context(Proxy(path, getattr(ovs, "remote", ovs), before, after))

        yield start
