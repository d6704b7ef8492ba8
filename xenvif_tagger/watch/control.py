"""What ``ovs-appctl -t xenvif-tagger`` can ask of the watcher, by the library's unixctl server."""
import errno
import json
import os

import ovs.unixctl
import ovs.unixctl.server

from .. import __version__
from ..output import report

WIDTH = 100  # columns of a table whose reader's terminal is not known


class Control(object):
    """The control socket, and the commands.

    :param daemon.Daemon daemon: the process that is asked
    :param str path: of the socket
    """

    def __init__(self, daemon, path):
        self.daemon = daemon
        self.path = path
        self._server = None
        self._waiting = []  # Barriers: those who ask for a resync are answered when it is over
        for name, usage, most, callback in (
                ("status", "[--json]", 1, self._status), ("stats", "[--json]", 1, self._stats),
                ("resync", "", 0, self._resync), ("version", "", 0, self._version),
                ("exit", "", 0, self._exit)):
            ovs.unixctl.command_register(name, usage, 0, most, callback, None)

    def open(self):
        try:
            error, self._server = ovs.unixctl.server.UnixctlServer.create(self.path)
            problem = error and os.strerror(error)
        except (OSError, RecursionError):  # the library's answer to a name that is too long
            problem = os.strerror(errno.ENAMETOOLONG)
        if problem:
            self.daemon.journal.warn("%s: %s: no ovs-appctl" % (self.path, problem))
        else:
            os.chmod(self.path, 0o700)

    def close(self):
        if self._server is not None:
            self.run()
            self._server.close()  # and the library removes the socket
            self._server = None

    def run(self):
        """Answer what can be answered now."""
        try:
            if self._server is not None:
                self._server.run()
        # The library lets through what odd requests bring about; of set-options it is argparse's.
        except (Exception, SystemExit) as error:
            self.daemon.journal.warn("%s: a request can't be taken (%s: %s): all who ask are cut "
                                     "off" % (self.path, type(error).__name__, error))
            self._server.close()
            self.open()
        self._waiting = [barrier for barrier in self._waiting if not barrier.run()]

    def wait(self, poller):
        if self._server is not None:
            self._server.wait(poller)

    # -- commands

    def _status(self, connection, words, _):
        outcomes = self.daemon.watcher.outcomes()
        _answer(connection, words, lambda: report.as_json(
            outcomes, {"watcher": {"pid": os.getpid()}}), lambda: "\n".join(
            report.table(outcomes, WIDTH, False)))

    def _stats(self, connection, words, _):
        found = stats(self.daemon)
        _answer(connection, words, lambda: json.dumps(found, indent=2, sort_keys=True),
                lambda: "\n".join("%s: %s" % (name, _word(found[name])) for name in sorted(found)))

    def _resync(self, connection, _words, _):
        self._waiting.append(Barrier(self.daemon, connection))

    def _version(self, connection, _words, _):
        connection.reply("%s %s" % (ovs.util.PROGRAM_NAME, __version__))

    def _exit(self, connection, _words, _):
        connection.reply("")
        self.daemon.ending = True


class Barrier(object):
    """A ``resync`` under way: it is over when all that the server had committed before has been
    heard of, and dealt with."""

    def __init__(self, daemon, connection):
        self.daemon = daemon
        self.connection = connection
        self._heard = False
        self._problem = None
        state = daemon.lock_state()
        if state == "held":
            # What was committed before is sent before the answer.
            daemon.replica.touch_all()
            daemon.replica.ask("echo", [], self._answered)
        else:
            self._problem = "not done: " + {
                "waiting": "another watcher has the lock", "none": "no database"}[state]

    def _answered(self, message):
        if message is None:
            self._problem = "not done: the connection to the database was lost"
        self._heard = True

    def run(self):
        """Whether it is over; then the asker has been told, or has gone."""
        if self._is_alone():
            return True
        if not self._problem and self.daemon.lock_state() != "held":
            self._problem = "not done: the connection or the lock was lost"
        if not self._problem and not (self._heard and self.daemon.watcher.is_idle):
            return False
        self.connection.reply(self._problem or "done: %d VIFs" % len(self.daemon.replica.vifs()))
        return True

    def _is_alone(self):
        """Whether the asker has gone. The library (ovs/unixctl/server.py) forgets the request then,
        and takes an answer to it for a defect; or, if the request's id is not 0, it does not look,
        and its poll comes back at once for ever."""
        return self.connection._request_id is None or (
            self.connection._rpc.recv()[0] not in (0, errno.EAGAIN))


def stats(daemon):
    """What ``stats`` tells: dict."""
    counted = daemon.stats
    found = {name: getattr(counted, name) for name in (
        "transactions", "mirrored", "marked", "conflicts", "refused", "retries", "failed",
        "wakeups", "last_error")}
    found.update({
        "version": __version__, "pid": os.getpid(), "lock": daemon.lock_state(),
        "connected": daemon.replica.is_current,
        "synced": daemon.lock_state() == "waiting" or (
            daemon.lock_state() == "held" and daemon.watcher.is_idle),
        "vifs": len(daemon.replica.vifs()), "events": daemon.replica.events,
        "reconnects": max(0, daemon.replica.connections - 1), "latency_ms": counted.latency(),
        "last_mirrored_seconds": counted.last_mirrored(),
        "held_seconds": {"vif%d.%d" % vif: round(seconds, 3) for vif, seconds in
                         daemon.watcher.memory.held().items()}})
    return found


def _answer(connection, words, as_json, as_text):
    if words not in ([], ["--json"]):
        connection.reply_error('"%s": the only option is --json' % " ".join(words))
    else:
        connection.reply(as_json() if words else as_text())


def _word(value):
    """A number, a text, a yes or no, several with names, or none, for people."""
    if isinstance(value, dict):
        return ", ".join("%s %s" % (key, value[key]) for key in sorted(value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value
