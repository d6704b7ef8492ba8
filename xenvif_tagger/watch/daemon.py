"""The watcher as a process: its loop, its signals, and what it tells systemd and ovs-appctl."""
import gc
import os
import signal
import socket
import time

import ovs.poller

from ..core.decision import settings_of
from ..host.paths import NAME, boot_id
from ..host.pidfile import Pidfile
from ..replica import compact, ovsjson
from ..replica.replica import Replica
from . import control, journal, systemd
from .stats import Stats
from .watcher import LOCK, Watcher

PATIENCE = 1  # seconds until it is worth a line that there is no database


class Daemon(object):
    """The resident watcher.

    :param str remote: the database, any remote that the library takes
    :param dict values: the config file's values (see config.py)
    :param str run_dir: the directory of pidfile and control socket
    :param str unixctl: the path of the control socket; None: the usual one in run_dir
    """

    def __init__(self, remote, values, run_dir, unixctl=None):
        journal.open_log(NAME)
        ovsjson.use()
        compact.use()
        self.journal = journal.Journal()
        self.stats = Stats()
        self.replica = Replica(remote, values["mirror", "policing"])
        self.replica.set_lock(LOCK)
        self.watcher = Watcher(self.replica, settings_of(values, boot_id()),
                               values["hold", "orphan_grace"], self.journal, self.stats)
        self.pidfile = Pidfile(os.path.join(run_dir, NAME + ".pid"))
        self.control = control.Control(self, unixctl or os.path.join(
            run_dir, "%s.%d.ctl" % (NAME, os.getpid())))
        self.ending = False
        self._synced = 0  # the connection whose data we have
        self._said = None  # to systemd
        self._watchdog = systemd.watchdog_seconds()
        self._next_note = 0
        self._begun = time.monotonic()

    def run(self):
        """Until a signal or the control command ``exit``."""
        woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, self._end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.control.open()
        self._take_pidfile()
        systemd.notify("READY=1")
        self.journal.say("started: %s" % self.replica.session_name())
        # What comes in at the start is no garbage, and there is much of it.
        gc.set_threshold(50000, 20, 100)
        try:
            while not self.ending:
                self.turn()
                self._block(woken)
        finally:
            systemd.notify("STOPPING=1")
            self.journal.say("ended")
            self.control.close()
            self.pidfile.drop()
            self.replica.close()

    def _end(self, *_):
        self.ending = True

    def turn(self):
        """One turn of the loop: all that can be done without waiting."""
        self.stats.wakeups += 1
        self.replica.run()
        self.watcher.turn()
        self.control.run()
        self.journal.flush()
        if self.replica.is_current and self._synced != self.replica.connections:
            self._synced = self.replica.connections
            self._tidy()
        self._tell()
        self._keep_alive()

    def _tidy(self):
        """After a sync: what stays is not to be looked through for garbage again and again."""
        freeze, unfreeze = getattr(gc, "freeze", None), getattr(gc, "unfreeze", None)
        if freeze:  # Python 3.7
            unfreeze()
            gc.collect()
            freeze()

    def _tell(self):
        """Say to systemd and in the log what has changed with our connection."""
        lock = self.lock_state()
        if lock == "none" and time.monotonic() - self._begun < PATIENCE:
            return
        said = ("%s; %s" % (self.replica.session_name(), {
            "held": "watching", "waiting": "another watcher has the lock: standing by",
            "none": "not connected"}[lock]))
        if said != self._said:
            self.journal.say(said)
            self._said = said
            systemd.notify("STATUS=" + said)
            if lock == "none":
                self.stats.last_error = said
            if lock == "held":
                self._take_pidfile()

    def _keep_alive(self):
        now = time.monotonic()
        if self._watchdog and now >= self._next_note:
            self._next_note = now + self._watchdog
            systemd.notify("WATCHDOG=1")

    def lock_state(self):
        """"held", "waiting" (another has it) or "none" (no database, or not known yet)."""
        if not self.replica.is_current:
            return "none"
        if self.replica.has_lock:
            return "held"
        return "waiting" if self.replica.is_lock_contended else "none"

    def _take_pidfile(self):
        try:
            self.pidfile.take()
        except OSError as error:
            self.journal.warn("%s: %s: ovs-appctl won't find us by name" % (
                self.pidfile.path, error.strerror))

    def _block(self, woken):
        """Wait for whatever comes first."""
        poller = ovs.poller.Poller()
        poller.fd_wait(woken, ovs.poller.POLLIN)
        self.replica.wait(poller)
        self.control.wait(poller)
        if self.watcher.is_busy or self.ending:
            poller.immediate_wake()
        alarms = [self.watcher.next_alarm(), self.journal.next_alarm(),
                  self._next_note if self._watchdog else None]
        alarms = [alarm for alarm in alarms if alarm is not None]
        if alarms:
            left = min(alarms) - time.monotonic()
            poller.timer_wait(max(0, int(left * 1000) + 1))
        poller.block()
