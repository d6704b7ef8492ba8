"""`doctor`: the watcher of this host, by its pidfile and its control socket.

A check takes an examine.Patient and returns (state, what was found, cure).
"""
import json
import os

from .. import __version__
from ..host import pidfile
from ..host.paths import pidfile_path
from ..output.checks import FAIL, OK, SKIP, WARN
from ..ovsdb.client import Client, OvsdbError

RESTART = "systemctl restart xenvif-tagger"
TIMEOUT = 5  # seconds for an answer of the watcher's


class Watch(object):
    """What is known of the watcher: pid (int or None), stats (dict; {} if it was not to be asked),
    why (str): why there are none."""

    def __init__(self):
        path = pidfile_path()
        self.path = path
        self.stats, self.why = {}, None
        self.denied = False
        try:
            os.stat(path)
            self.denied = not os.access(path, os.R_OK | os.W_OK)
        except PermissionError:
            self.denied = True
        except OSError:
            pass  # not there
        self.pid = pidfile.running(path)
        if self.pid is None:
            self.why = "the watcher does not run"
            return
        try:
            with Client("unix:%s.%d.ctl" % (path[:-len(".pid")], self.pid), TIMEOUT) as client:
                self.stats = json.loads(client.call("stats", ["--json"]))
        except (OvsdbError, TypeError, ValueError) as error:
            self.why = "the watcher can't be asked: %s" % error


def running(patient):
    watch = patient.watch
    if watch.denied:
        return SKIP, "%s can't be read: run as root" % watch.path, None
    if watch.pid is None and patient.host.flavour is None:
        return SKIP, "none runs here, and this is not a dom0", None
    if watch.pid is None:
        return FAIL, ("it does not run: what an agent changes is not mirrored (no process has %s)"
                      % watch.path), "systemctl enable --now xenvif-tagger"
    if not watch.stats:
        return WARN, "it runs, pid %d, but %s" % (watch.pid, watch.why), RESTART
    if watch.stats.get("version") != __version__:
        return WARN, "it runs, pid %d, and is of version %s; the command is %s" % (
            watch.pid, watch.stats.get("version"), __version__), RESTART
    return OK, "it runs, pid %d, with %s VIFs" % (watch.pid, watch.stats.get("vifs")), None


def with_stats(check):
    """A check of what the watcher has told."""
    def checked(patient):
        if not patient.watch.stats:
            return SKIP, "run as root" if patient.watch.denied else patient.watch.why, None
        return check(patient.watch.stats)
    return checked


@with_stats
def lock(stats):
    state = stats.get("lock")
    if state == "held":
        return OK, "the watcher has it, so it writes", None
    if state == "waiting":
        return WARN, "another watcher has it: this one stands by", (
            "ovs-appctl -t xenvif-tagger stats")
    return FAIL, "the watcher has no lock, so it writes nothing%s" % (
        "" if stats.get("connected") else ": it is not connected to its database"), RESTART


@with_stats
def last_error(stats):
    if not stats.get("last_error"):
        return OK, "none since its start", None
    return WARN, str(stats["last_error"]), "journalctl -t xenvif-tagger"


@with_stats
def last_mirrored(stats):
    seconds = stats.get("last_mirrored_seconds")
    if seconds is None:
        return OK, "nothing mirrored since the watcher's start", None
    return OK, "%d s ago, of %s VIFs since the watcher's start" % (
        seconds, stats.get("mirrored")), None
