"""The watcher's answers to ``ovs-appctl -t xenvif-tagger``, by the library's unixctl server."""
import errno
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

import ovs.unixctl
import ovs.unixctl.server

from .. import __version__
from ..output import report
from .watcher import Watcher

if TYPE_CHECKING:
    from ..ovsdb.rows import Vif

WIDTH = 100  # columns of a table: the watcher does not know the width of ovs-appctl's terminal


class Control(object):
    """The control socket, and the commands.

    :param watcher.Watcher watcher: the watcher that the commands are about
    :param str path: the socket's path
    :param end: function without parameters that ends this process after this turn of the loop
    """

    def __init__(self, watcher: Watcher, path: str, end: Callable[[], None]) -> None:
        self.watcher = watcher
        self.path = path
        self._end = end
        self._server: Any = None
        self._file: Optional[Tuple[int, int]] = None  # device and inode of our socket
        self._problem: Optional[str] = None  # why the socket can't be made, as last logged
        self._waiting: List[Barrier] = []  # a resync is answered when its Barrier is over
        # The library's server makes an object of this class for each asker.
        ovs.unixctl.server.UnixctlConnection = careful_connection(
            ovs.unixctl.server.UnixctlConnection, self._report_odd_request)
        for name, usage, most_words, callback in (
                ("status", "[--json]", 1, self._status), ("stats", "[--json]", 1, self._stats),
                ("resync", "", 0, self._resync), ("version", "", 0, self._version),
                ("exit", "", 0, self._exit)):
            ovs.unixctl.command_register(name, usage, 0, most_words, callback, None)

    def keep(self) -> None:
        """Make the socket unless it is there: at the start, and after somebody has removed it. If
        the socket can't be made, the log says that ovs-appctl can't reach the watcher."""
        if self._server is not None and self._file == _identity(self.path):
            return
        was_there = self._server is not None
        self.close()
        try:
            os.stat(os.path.dirname(self.path))  # the library would print a line of its own
            problem = _in_use(self.path)
            if problem is None:
                error, self._server = ovs.unixctl.server.UnixctlServer.create(self.path)
                problem = os.strerror(error) if error else None
        except FileNotFoundError as gone:
            problem = gone.strerror
        except (OSError, RecursionError):  # the library raises these for a path that is too long
            problem = os.strerror(errno.ENAMETOOLONG)
        if problem is None:
            os.chmod(self.path, 0o700)
            self._file = _identity(self.path)
            if was_there or self._problem:
                self.watcher.journal.say("%s: made anew" % self.path)
        elif problem != self._problem:
            self.watcher.journal.warn("%s: %s: ovs-appctl can't reach the watcher" % (
                self.path, problem))
        self._problem = problem

    def close(self) -> None:
        """Answer the requests that have come, and remove the socket."""
        if self._server is not None:
            self.run()
            self._server.close()  # the library removes the socket
            self._server = None

    def run(self) -> None:
        """Answer the requests that can be answered now."""
        if self._server is not None:
            self._server.run()
        self._waiting = [barrier for barrier in self._waiting if not barrier.run()]

    def wait(self, poller: Any) -> None:
        """Let a request wake an ovs.poller.Poller."""
        if self._server is not None:
            self._server.wait(poller)

    def _report_odd_request(self, error: BaseException) -> None:
        self.watcher.journal.warn("%s: a malformed request (%s: %s): the connection is closed" % (
            self.path, type(error).__name__, error))

    # -- commands: each gets the library's connection to the asker, and the words of its arguments

    def _status(self, connection: Any, words: List[str], _: None) -> None:
        outcomes = self.watcher.outcomes()
        _answer(connection, words, lambda: report.as_json(
            outcomes, {"watcher": {"pid": os.getpid()}}), lambda: "\n".join(
            report.table(outcomes, WIDTH, False)))

    def _stats(self, connection: Any, words: List[str], _: None) -> None:
        values = stats(self.watcher)
        _answer(connection, words, lambda: json.dumps(values, indent=2, sort_keys=True),
                lambda: "\n".join("%s: %s" % (name, _in_words(values[name]))
                                  for name in sorted(values)))

    def _resync(self, connection: Any, _words: List[str], _: None) -> None:
        self._waiting.append(Barrier(self.watcher, connection))

    def _version(self, connection: Any, _words: List[str], _: None) -> None:
        connection.reply("%s %s" % (ovs.util.PROGRAM_NAME, __version__))

    def _exit(self, connection: Any, _words: List[str], _: None) -> None:
        connection.reply("")
        self._end()


def _identity(path: str) -> Optional[Tuple[int, int]]:
    """The device and the inode of a file; None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _in_use(path: str) -> Optional[str]:
    """Why no control socket can be made at a path, in words: the library would remove whatever file
    is there. None if there is no file, or a socket on which no process listens any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return "a file that is no socket is there"
        with socket.socket(socket.AF_UNIX) as asker:
            asker.setblocking(False)
            asker.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except BlockingIOError:
        pass  # a process listens, and has its hands full
    return "another process listens there"


def careful_connection(library_connection: Any,
                       report_error: Callable[[BaseException], None]) -> Any:
    """A subclass of the library's connection: a malformed request ends its own connection.

    The run() of the library's connection raises any exception that a malformed request causes (for
    a bad set-options, argparse's SystemExit). The run() of the library's server does not catch the
    exception, and so would not serve the connections after this one.

    :param type library_connection: ovs.unixctl.server.UnixctlConnection
    :param report_error: takes the exception, and logs it
    """
    class Connection(library_connection):  # type: ignore[misc]
        def run(self) -> Any:
            try:
                return super().run()
            except (Exception, SystemExit) as error:
                report_error(error)
                return errno.EPROTO  # the server closes this connection

    return Connection


class Barrier(object):
    """A ``resync`` under way. The resync is over when the watcher has looked at every VIF, with all
    changes that ovsdb-server had committed before the request."""

    def __init__(self, watcher: Watcher, connection: Any) -> None:
        self.watcher = watcher
        self.connection = connection
        self._echoed = False  # whether the server has answered our echo
        self._problem: Optional[str] = None
        state = watcher.replica.lock_state()
        if state == "held":
            # The server sends all changes that it has committed before it answers an echo.
            watcher.replica.touch_all()
            watcher.replica.ask("echo", [], self._take_echo)
        else:
            self._problem = "not done: " + {
                "waiting": "another watcher has the lock", "none": "no database",
                "refused": "the server is read-only"}[state]

    def _take_echo(self, message: Any) -> None:
        if message is None:
            self._problem = "not done: the connection to the database was lost"
        self._echoed = True

    def run(self) -> bool:
        """Answer the asker if the resync is over. Returns whether the resync is over, or the asker
        has gone."""
        if self._is_deserted():
            return True
        if not self._problem and self.watcher.replica.lock_state() != "held":
            self._problem = "not done: the connection or the lock was lost"
        if not self._problem and not (self._echoed and self.watcher.is_idle):
            return False
        self.connection.reply(self._problem or "done: %d VIFs" % len(self.watcher.replica.vifs()))
        return True

    def _is_deserted(self) -> bool:
        """Whether the asker has gone. The library (ovs/unixctl/server.py) then does one of two
        things. Either the library drops the request, and an answer would fail an assertion. Or, if
        the request's id is not 0, the library does not notice the closed connection, and every poll
        returns at once."""
        return self.connection._request_id is None or (
            self.connection._rpc.recv()[0] not in (0, errno.EAGAIN))


def stats(watcher: Watcher) -> Dict[str, Any]:
    """The values that the command ``stats`` prints."""
    counts, replica = watcher.stats, watcher.replica
    lock = replica.lock_state()
    values = {name: getattr(counts, name) for name in (
        "transactions", "mirrored", "marked", "conflicts", "refused", "retries", "failed",
        "wakeups", "last_error")}
    values.update({
        "version": __version__, "pid": os.getpid(), "lock": lock,
        "connected": replica.is_current,
        "synced": lock in ("waiting", "refused") or (lock == "held" and watcher.is_idle),
        "vifs": len(replica.vifs()), "events": replica.events,
        "reconnects": max(0, replica.connections - 1), "latency_ms": counts.latency(),
        "log_dropped": watcher.journal.dropped(),
        "last_mirrored_seconds": counts.last_mirrored(),
        "held_seconds": _by_name(watcher.memory.held()),
        "unbound_seconds": _by_name(watcher.memory.unbound())})
    return values


def _by_name(seconds: "Dict[Vif, float]") -> Dict[str, float]:
    return {"vif%d.%d" % vif: round(value, 3) for vif, value in seconds.items()}


def _answer(connection: Any, words: List[str], as_json: Callable[[], str],
            as_text: Callable[[], str]) -> None:
    """Answer as the words of a command ask: as text, or with --json as JSON."""
    if words not in ([], ["--json"]):
        connection.reply_error('"%s": the only option is --json' % " ".join(words))
    else:
        connection.reply(as_json() if words else as_text())


def _in_words(value: Any) -> str:
    """A value of ``stats`` for people."""
    if isinstance(value, dict):
        return ", ".join("%s %s" % (key, value[key]) for key in sorted(value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
