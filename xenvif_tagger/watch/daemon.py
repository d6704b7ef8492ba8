"""The watcher as a process: its loop, its signals, its pidfile, its messages to systemd."""
import gc
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Optional

import ovs.poller

from ..core.decision import settings_of
from ..host.paths import NAME, boot_id
from ..host.pidfile import Pidfile
from ..replica.replica import Replica
from . import control, journal, systemd
from .stats import Stats
from .watcher import LOCK, Watcher

if TYPE_CHECKING:
    from ..host.config import Values

PATIENCE = 1  # seconds after the start in which a missing connection is not logged


class Daemon(object):
    """The resident watcher.

    :param str remote: the database, any remote that Open vSwitch's Python library takes
    :param dict values: the config file's values (see config.py)
    :param str run_dir: the directory of pidfile and control socket
    :param str unixctl: the path of the control socket; None: the usual one in run_dir
    """

    def __init__(self, remote: str, values: "Values", run_dir: str,
                 unixctl: Optional[str] = None) -> None:
        journal.open_log(NAME)
        self.journal = journal.Journal()
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

    def run(self) -> None:
        """Watch until a signal or the control command ``exit`` ends this process."""
        # When a signal comes, the interpreter writes to the second socket, which wakes the loop.
        woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, self.end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.control.open()
        self._take_pidfile()
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

    def _take_pidfile(self) -> None:
        try:
            self.pidfile.take()
        except OSError as error:
            self.journal.warn("%s: %s: ovs-appctl can't find the watcher by its name" % (
                self.pidfile.path, error.strerror))

    def _block(self, woken: socket.socket) -> None:
        """Wait for the database, ovs-appctl, a signal or an alarm, whichever is first."""
        poller = ovs.poller.Poller()
        poller.fd_wait(woken, ovs.poller.POLLIN)
        self.replica.wait(poller)
        self.control.wait(poller)
        if self.watcher.is_busy or self._ending:
            poller.immediate_wake()
        alarms = [alarm for alarm in (
            self.watcher.next_alarm(), self.journal.next_alarm(),
            self._next_keep_alive if self._watchdog else None) if alarm is not None]
        if alarms:
            left = min(alarms) - time.monotonic()
            poller.timer_wait(max(0, int(left * 1000) + 1))
        poller.block()
