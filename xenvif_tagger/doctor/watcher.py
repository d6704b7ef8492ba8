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
        return SKIP, "none runs here, and this is not a dom0", None
    if watch.lost:
        return WARN, "whether it runs is not known: there is no %s, by which it is found" % (
            watch.lost), "systemctl status openvswitch xenvif-tagger"
    if watch.pid is None:
        return FAIL, ("it does not run: what an agent changes is not mirrored (no process has %s)"
                      % watch.path), "systemctl enable --now xenvif-tagger"
    if not watch.stats:
        return WARN, "it runs, pid %d, but %s" % (watch.pid, watch.why), RESTART
    if watch.stats.get("version") != __version__:
        return WARN, "it runs, pid %d, and is of version %s; the command is %s" % (
            watch.pid, watch.stats.get("version"), __version__), RESTART
    return OK, "it runs, pid %d, with %s VIFs" % (watch.pid, watch.stats.get("vifs")), None


def with_stats(check: Callable[[Mapping[str, Any]], Result]) -> Examination:
    """Make a check of the watcher's stats: SKIP where there are none."""
    def checked(patient: Patient) -> Result:
        if not patient.watch.stats:
            return SKIP, "run as root" if patient.watch.is_denied else patient.watch.why, None
        return check(patient.watch.stats)
    return checked


@with_stats
def lock(stats: Mapping[str, Any]) -> Result:
    """Whether the watcher has the lock that lets it write."""
    state = stats.get("lock")
    if state == "held":
        return OK, "the watcher has it, so it writes", None
    if state == "waiting":
        return WARN, "another watcher has it: this one stands by", (
            "ovs-appctl -t xenvif-tagger stats")
    if state == "refused":
        return FAIL, "the watcher's database is a read-only backup: it writes nothing until that " \
            "server is active", "ovs-appctl -t ovsdb-server ovsdb-server/sync-status"
    return FAIL, "the watcher has no lock, so it writes nothing%s" % (
        "" if stats.get("connected") else ": it is not connected to its database"), RESTART


@with_stats
def last_error(stats: Mapping[str, Any]) -> Result:
    """The last error of the watcher, if it had one."""
    if not stats.get("last_error"):
        return OK, "none since its start", None
    return WARN, str(stats["last_error"]), "journalctl -t xenvif-tagger"


@with_stats
def last_mirrored(stats: Mapping[str, Any]) -> Result:
    """When the watcher mirrored last."""
    seconds = stats.get("last_mirrored_seconds")
    if seconds is None:
        return OK, "nothing mirrored since the watcher's start", None
    return OK, "%d s ago, of %s VIFs since the watcher's start" % (
        seconds, stats.get("mirrored")), None
