"""`doctor`: checks of the watcher of this host."""
from typing import Any, Callable, Mapping

from .. import __version__
from ..output.checks import FAIL, OK, SKIP, WARN
from .patient import Examination, Patient, Result

RESTART = "systemctl restart xenvif-tagger"


def running(patient: Patient) -> Result:
    """Whether the watcher runs, answers, and has the version of this command."""
    watch = patient.watch
    if watch.is_denied:
        return SKIP, "%s can't be read: run as root" % watch.path, None
    if watch.pid is None and patient.host.flavour is None:
        return SKIP, "no watcher runs here, and this is not a dom0", None
    if watch.lost:
        return WARN, "whether the watcher runs is not known: there is no %s, the directory of " \
            "its pidfile" % watch.lost, "systemctl status openvswitch xenvif-tagger"
    if watch.pid is None:
        return FAIL, ("the watcher does not run, so an agent's changes are not mirrored (no "
                      "process has locked %s)" % watch.path), "systemctl enable --now xenvif-tagger"
    if not watch.stats:
        return WARN, "a watcher runs, pid %d, but %s" % (watch.pid, watch.silence), RESTART
    if watch.stats.get("version") != __version__:
        return WARN, "the watcher, pid %d, is of version %s; this command is of version %s" % (
            watch.pid, watch.stats.get("version"), __version__), RESTART
    return OK, "the watcher runs, pid %d, with %s VIFs" % (
        watch.pid, watch.stats.get("vifs")), None


def with_stats(check: Callable[[Mapping[str, Any]], Result]) -> Examination:
    """Turn a function of the watcher's stats into a check, which is SKIP if there are no stats."""
    def checked(patient: Patient) -> Result:
        if not patient.watch.stats:
            denied = "the watcher's pidfile can't be read: run as root"
            return SKIP, denied if patient.watch.is_denied else patient.watch.silence, None
        return check(patient.watch.stats)
    return checked


@with_stats
def lock(stats: Mapping[str, Any]) -> Result:
    """Whether the watcher has the lock that lets it write."""
    state = stats.get("lock")
    if state == "held":
        return OK, "the watcher has the lock, so it writes", None
    if state == "waiting":
        return WARN, "another watcher has the lock: this one stands by", (
            "ovs-appctl -t xenvif-tagger stats")
    if state == "refused":
        return FAIL, "the watcher's ovsdb-server is a read-only backup: the watcher writes " \
            "nothing until that server is active", (
                "ovs-appctl -t ovsdb-server ovsdb-server/sync-status")
    return FAIL, "the watcher has no lock, so it writes nothing%s" % (
        "" if stats.get("connected") else ": it is not connected to its database"), RESTART


@with_stats
def last_error(stats: Mapping[str, Any]) -> Result:
    """The last error of the watcher, if it had one."""
    if not stats.get("last_error"):
        return OK, "no error since the watcher's start", None
    return WARN, str(stats["last_error"]), "journalctl -t xenvif-tagger"


@with_stats
def last_mirrored(stats: Mapping[str, Any]) -> Result:
    """When the watcher mirrored last."""
    seconds = stats.get("last_mirrored_seconds")
    if seconds is None:
        return OK, "nothing mirrored since the watcher's start", None
    return OK, "%d s ago, the last of %s VIFs since the watcher's start" % (
        seconds, stats.get("mirrored")), None
