"""Between the command and the database: a proxy that logs, stops and changes the messages."""
import codecs
import contextlib
import json
import socket
import threading

from support.constants import LONG


class Proxy:
    """A unix socket before another that logs the JSON-RPC messages of both directions.

    `before(message)` is called with each request before it goes on: it may change the database
    first; what is false for it to return (`None` is not) is swallowed.
    `after(message)` likewise with what the server sends.
    """

    def __init__(self, path, upstream, before=None, after=None):
        self.remote = "unix:" + path
        self.log = []  # (whose, message): "client" or "server"
        self._upstream = upstream.partition(":")[2]
        self._hooks = {"client": before, "server": after}
        self._news = threading.Condition()
        self._sending = threading.Lock()  # to the command
        self._clients = []
        self._echoes = 0  # of ours
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
        """What the command has sent: requests and answers (of a method: those requests)."""
        with self._news:
            return [message for whose, message in self.log if whose == "client"
                    and (method is None or message.get("method") == method)]

    def writes(self):
        """The operations of each writing transaction that the command has sent."""
        return [message["params"][1:] for message in self.requests("transact")
                if is_write(message)]

    def wait_for(self, condition):
        """Until condition(proxy) is true, looked at with each message."""
        with self._news:
            assert self._news.wait_for(lambda: condition(self), LONG), self.log

    def wait_until_waiting(self):
        """Until the command has a monitor, has looked after that, and waits for nothing but news.

        An echo is answered where it next reads. Up to two may come together with what it was
        waiting for; three without a word between them, and it has no more to say.
        """
        quiet = 0
        while quiet < 3:
            self.wait_for(lambda _: self._has_looked() and self._unanswered() == set())
            before = len(self.requests())
            self._echo()
            self.wait_for(lambda _: self._answered == self._echoes)
            quiet = quiet + 1 if len(self.requests()) == before else 0

    def _has_looked(self):
        """Whether it has asked for something since the monitor, and since the last news."""
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
        """Ask the command whether it lives, as a server does. Not logged."""
        self._echoes += 1
        message = {"method": "echo", "params": ["x"], "id": "proxy-%d" % self._echoes}
        with self._sending:
            self._clients[-1].sendall(json.dumps(message).encode())

    def _is_answer(self, message):
        """Whether it answers _echo."""
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
            pass  # either side has gone
        except BaseException as error:
            self._problems.append(error)
        finally:
            # What one side's end says, the other is to hear.
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


def messages(source):
    """The JSON objects that come from a socket until its end."""
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
                    break  # the rest of something long: not decoded at each piece
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
    """start(ovs or remote, before, after): a started Proxy, stopped at the end."""
    with contextlib.ExitStack() as stack:
        def start(ovs, before=None, after=None):
            path = str(tmp_path_factory.mktemp("p") / "s")
            return stack.enter_context(Proxy(path, getattr(ovs, "remote", ovs), before, after))

        yield start
