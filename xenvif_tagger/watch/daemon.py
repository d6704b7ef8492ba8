"""The watcher as a process: its loop, its signals, its pidfile, its messages to systemd."""
import contextlib
import gc
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, List, Optional

import ovs.poller

from ..core.decision import settings_of
from ..host.paths import NAME, boot_id
from ..host.pidfile import Pidfile
from ..host.signals import end_watching, watch_directory
from ..replica.replica import Replica
from . import control, journal, systemd
from .stats import Stats
from .watcher import LOCK, Watcher

if TYPE_CHECKING:
    from ..host.config import Values

PATIENCE = 1  # seconds after the start in which a missing connection is not logged
# Seconds from a change in the directory of pidfile and control socket until the watcher makes the
# files that are missing: a process that removes the directory needs this time, and would fail if it
# found new files there.
SETTLE = 1


class Daemon(object):
    """The resident watcher.

    :param str remote: the database, any remote that Open vSwitch's Python library takes
    :param dict values: the config file's values (see config.py)
    :param str run_dir: the directory of pidfile and control socket
    :param str unixctl: the path of the control socket; None: the usual one in run_dir
    """

    def __init__(self, remote: str, values: "Values", run_dir: str,
                 unixctl: Optional[str] = None) -> None:
        self.journal = journal.open_log(NAME)
        self.stats = Stats()
        self.replica = Replica(remote, values["mirror", "policing"])
        self.replica.set_lock(LOCK)
        self.watcher = Watcher(self.replica, settings_of(values, boot_id()),
                               values["hold", "orphan_grace"], self.journal, self.stats)
        self.pidfile = Pidfile(os.path.join(run_dir, NAME + ".pid"))
        self.control = control.Control(self.watcher, unixctl or os.path.join(
            run_dir, "%s.%d.ctl" % (NAME, os.getpid())), self.end)
        self._ending = False
        self._synced_connection = 0  # the number of the connection whose rows the replica has
        self._status: Optional[str] = None  # the last status line for systemd and the log
        self._watchdog = systemd.watchdog_seconds()
        self._next_keep_alive = 0.0  # monotonic seconds
        self._begun = time.monotonic()
        self._directories: List[int] = []  # descriptors of directories that watch_directory watches
        # When to call _keep_places, in monotonic seconds; None: only after SIGIO has come.
        self._places_due: Optional[float] = self._begun
        self._pidfile_problem: Optional[str] = None  # why the pidfile can't be made, as last logged

    def run(self) -> None:
        """Watch until a signal or the control command ``exit`` ends this process."""
        # When a signal comes, the interpreter writes to the second socket, which wakes the loop.
        woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, self.end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGIO, self._touch_places)
        self._keep_places()
        systemd.notify("READY=1")
        self.journal.say("started: %s" % self.replica.session_name())
        # Search for garbage seldom: the rows of the first sync are many objects, and no garbage.
        gc.set_threshold(50000, 20, 100)
        try:
            while not self._ending:
                self.turn()
                self._block(woken)
        finally:
            systemd.notify("STOPPING=1")
            self.journal.say("ended")
            end_watching(self._directories)
            self.control.close()
            self.pidfile.drop()
            self.replica.close()

    def end(self, *_: Any) -> None:
        """Let run() return after this turn of the loop. (Also the handler of signals.)"""
        self._ending = True

    def turn(self) -> None:
        """One turn of the loop: do all that can be done without waiting."""
        self.stats.wakeups += 1
        self.replica.run()
        self.watcher.turn()
        self.control.run()
        self.journal.flush()
        if self.replica.is_current and self._synced_connection != self.replica.connections:
            self._synced_connection = self.replica.connections
            self._freeze_rows()
        if self._places_due is not None and time.monotonic() >= self._places_due:
            self._keep_places()
        self._report_connection()
        self._keep_alive()

    def _freeze_rows(self) -> None:
        """Keep the rows of a sync, which stay for long, out of the garbage collector's searches."""
        freeze, unfreeze = getattr(gc, "freeze", None), getattr(gc, "unfreeze", None)
        if freeze and unfreeze:  # Python 3.7 and newer
            unfreeze()
            gc.collect()
            freeze()

    def _report_connection(self) -> None:
        """Tell systemd and the log when our connection or our lock has changed."""
        lock = self.replica.lock_state()
        if lock == "none" and time.monotonic() - self._begun < PATIENCE:
            return
        status = "%s; %s" % (self.replica.session_name(), {
            "held": "watching", "waiting": "another watcher has the lock: standing by",
            "refused": "the server is read-only (a backup): standing by until it is active",
            "none": "not connected"}[lock])
        if status != self._status:
            self.journal.say(status)
            self._status = status
            systemd.notify("STATUS=" + status)
            if lock == "none":
                self.stats.last_error = status
            if lock == "held":
                self._take_pidfile()

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if self._watchdog and now >= self._next_keep_alive:
            self._next_keep_alive = now + self._watchdog
            systemd.notify("WATCHDOG=1")

    def _touch_places(self, *_: Any) -> None:
        self._places_due = self._places_due or time.monotonic() + SETTLE

    def _keep_places(self) -> None:
        """Make pidfile and control socket unless they are there: somebody may have removed their
        directory, or may make that directory only after the watcher's start. SIGIO tells when to
        look again."""
        self._places_due = None
        for directory in self._directories:
            os.close(directory)
        watched = self._nearest()
        self._directories = [directory for directory in map(watch_directory, watched)
                             if directory is not None]
        self._take_pidfile()
        self.control.keep()
        if self._nearest() != watched:  # a directory came before it was watched
            self._touch_places()

    def _nearest(self) -> List[str]:
        """The directories of pidfile and control socket. For a directory that does not exist: the
        nearest directory above it that exists."""
        nearest = set()
        for path in self.pidfile.path, self.control.path:
            path = os.path.dirname(path)
            while not os.path.isdir(path):
                path = os.path.dirname(path)
            nearest.add(path)
        return sorted(nearest)

    def _take_pidfile(self) -> None:
        problem = None
        try:
            self.pidfile.take()
        except OSError as error:
            problem = error.strerror
        if problem and problem != self._pidfile_problem:
            self.journal.warn("%s: %s: ovs-appctl can't find the watcher by its name" % (
                self.pidfile.path, problem))
        self._pidfile_problem = problem

    def _block(self, woken: socket.socket) -> None:
        """Wait for the database, ovs-appctl, a signal or an alarm, whichever is first."""
        poller = ovs.poller.Poller()
        poller.fd_wait(woken, ovs.poller.POLLIN)
        self.replica.wait(poller)
        self.control.wait(poller)
        if self.watcher.is_busy or self._ending:
            poller.immediate_wake()
        alarms = [alarm for alarm in (
            self.watcher.next_alarm(), self.journal.next_alarm(), self._places_due,
            self._next_keep_alive if self._watchdog else None) if alarm is not None]
        if alarms:
            left = min(alarms) - time.monotonic()
            poller.timer_wait(max(0, int(left * 1000) + 1))
        poller.block()
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)
