"""``status --follow``: the table kept up to date, woken by the database and by nothing else.

The rows come by the watcher's replica: of 10,000 ports only those that change are looked at again.
"""
import collections
import gc
import time

import click
import ovs.poller

from ..host import pidfile
from ..host.paths import pidfile_path
from ..host.signals import Ended, end_by
from ..output import report
from ..output.console import BadUsage, unknown, warn
from ..output.text import clean, is_terminal, width
from ..ovsdb.client import Unreachable
from ..replica import remote
from ..replica.replica import Replica
from . import layout, screen
from .signals import Signals
from .vifs import Followed
from .vm_names import Names

# Seconds from a change until it is shown: what belongs together, as an agent's writes and what the
# watcher makes of them, comes together. And from one time to the next: four a second are enough.
SETTLE = 0.05
EVERY = 0.25
LONGEST = 500  # changes that are kept: more than any terminal has lines


def follow(options, domid):
    """Show it until a key, a signal or the reader's end says that it is enough.

    :param options.Options options: what the options before the command say
    :param domid: a domain (int), or None for all
    :raises OvsdbError: at the start: the database can't be reached
    """
    address, values = options.remote()
    # The replica would try again and again. This says what is wrong, as status does.
    shot = options.connect()
    with shot.client as client:
        remote.prepare(address)
        client.get_schema()
        if domid is not None and not shot.vswitch.vifs(domid):
            raise BadUsage(unknown("domain %d" % domid))
    replica = Replica(address, values["mirror", "policing"])
    view = Follow(replica, Followed(replica, shot.settings, domid), options.xapi,
                  options.patience(values))
    try:
        view.run()
    except Ended as ended:
        view.close()
        end_by(ended)
    except screen.Gone:
        raise BrokenPipeError
    finally:
        view.close()


class Follow(object):
    """The loop, and what is to be shown.

    :param replica.Replica replica: the database
    :param vifs.Followed followed: the VIFs in it
    :param vms.Access access: how to get at XAPI
    :param float timeout: seconds in which the server must have sent something, at the start
    """

    def __init__(self, replica, followed, access, timeout):
        self._replica = replica
        self._followed = followed
        self._timeout = timeout
        self._is_screen = screen.is_terminal()
        self._out = screen.Screen() if self._is_screen else screen.Lines()
        self._signals = Signals(self._out if self._is_screen else None)
        self._names = Names(access, self._signals.wake)
        self._changes = collections.deque(maxlen=LONGEST)
        self._unsaid = []  # changes, where there is no screen
        self._is_said = False  # the table, where there is no screen
        self._was_current = False
        self._lost = None  # since when there is no database: time of day
        self._since = time.strftime("%H:%M:%S")
        self._pid = pidfile.running(pidfile_path())  # the watcher's
        self._due = None  # when to show what has changed: seconds of time.monotonic()
        self._shown = -EVERY

    # -- the loop

    def run(self):
        """Until it is enough.

        :raises Ended, screen.Gone, Unreachable, click.ClickException:
        """
        with self._signals.caught(), self._out:
            try:
                while not self._out.ends():
                    self._turn()
                    self._block()
            finally:
                self._signals.ignore_ends()  # until the terminal is as it was

    def close(self):
        """Give back what there is; a second time does nothing."""
        self._replica.close()
        self._names.close()

    def _turn(self):
        self._signals.stop_if_suspended()
        self._replica.run()
        if self._names.run() or self._is_news():
            self._due = self._due or max(time.monotonic() + SETTLE, self._shown + EVERY)
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._look()
            if self._followed.is_synced:
                self._show()
                self._shown = time.monotonic()

    def _is_news(self):
        current = self._replica.is_current
        return (current != self._was_current or current and bool(self._replica.changed)
                or self._signals.is_noticed or self._out.is_stale)

    def _block(self):
        """Wait for whatever comes first."""
        poller = ovs.poller.Poller()
        self._signals.wait(poller)
        self._replica.wait(poller)
        self._out.wait(poller)
        begun = time.monotonic()
        alarms = [alarm for alarm in (self._due, self._names.next_alarm()) if alarm is not None]
        if not self._followed.is_synced:
            alarms.append(begun + self._timeout)
        if alarms:
            poller.timer_wait(max(0, int((min(alarms) - begun) * 1000) + 1))
        poller.block()
        self._signals.drain()
        if not self._followed.is_synced:
            self._check(begun)

    def _check(self, begun):
        """Before the first table it is an error what later is but shown: nothing came from the
        database since we began to wait, or it is another."""
        name = self._replica.session_name()
        if self._replica.problem:
            raise Unreachable("%s: %s" % (name, self._replica.problem))
        if time.monotonic() - begun >= self._timeout:
            raise Unreachable("%s: no complete answer within %g s: is ovsdb-server hung or "
                              "overloaded?" % (name, self._timeout))

    # -- what there is to show

    def _look(self):
        """Take in what has changed."""
        current, first = self._replica.is_current, not self._followed.is_synced
        lines = []
        if current and not self._was_current and not first:
            lines.append("database: connected again")
            self._lost = None
        elif self._was_current and not current:
            lines.append("database: connection lost")
            self._lost = time.strftime("%H:%M:%S")
        self._was_current = current
        if current:
            changed, came = self._followed.look()
            lines += changed
            self._names.want(came)
            self._names.run()
            if first:
                self._tidy()
        if self._signals.is_noticed:
            self._signals.is_noticed = False
            before, self._pid = self._pid, pidfile.running(pidfile_path())
            if self._pid != before:
                lines.append(report.watcher(self._pid))
        now = time.strftime("%H:%M:%S")
        lines = ["%s %s" % (now, line) for line in lines]
        self._changes.extend(lines)
        if not self._is_screen:
            self._unsaid += lines

    def _tidy(self):
        """As the watcher: what came at the start is no garbage, and there is much of it."""
        gc.set_threshold(50000, 20, 100)
        gc.enable()

    def _show(self):
        if self._is_screen:
            self._out.draw(layout.lay_out(
                self._followed.outcomes(), self._out.size(), is_terminal(),
                self._names.known, self._notes(), self._since, list(self._changes)))
        elif self._is_said:
            self._out.say(self._unsaid)
            self._unsaid = []
        elif not self._names.is_asking:  # that takes two seconds at most, as with status
            if self._names.problem:
                warn("no VM names: " + self._names.problem)
            self._out.say(report.table(
                self._followed.outcomes(), width(), False, self._names.known))
            self._out.say([report.watcher(self._pid)])
            self._is_said = True
            self._show()

    def _notes(self):
        """What is to be seen whatever there is no room for: list of lines."""
        def style(text, colour):
            text = clean(text)
            return click.style(text, fg=colour) if is_terminal() else text

        notes = []
        if self._lost:
            notes.append(style("no database since %s, trying again; this is how it was: %s" % (
                self._lost, self._replica.problem or self._replica.session_name()), "red"))
        notes.append(report.watcher(self._pid))
        if self._names.problem:
            notes.append(style("no VM names: " + self._names.problem, "yellow"))
        return notes
