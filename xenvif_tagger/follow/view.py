"""``status --follow``: the table kept up to date, woken by the database instead of by a clock.

The rows come through a replica, as in the watcher: of 10,000 ports only those that change are
decided about anew.
"""
import collections
import gc
import time
from typing import TYPE_CHECKING, Deque, List, Optional

import click
import ovs.poller

from ..core.decision import settings_of
from ..host import pidfile
from ..host.paths import boot_id, pidfile_path
from ..host.signals import Ended, end_by
from ..output import report
from ..output.console import BadUsage, unknown, warn
from ..output.text import clean, is_terminal, width
from ..ovsdb.client import Client, Unreachable
from ..ovsdb.vswitch import Vswitch
from ..replica import remote
from ..replica.replica import Replica
from ..xapi.vms import Access
from . import layout, screen
from .signals import Signals
from .vifs import Followed
from .vm_names import Names

if TYPE_CHECKING:
    from ..host.config import Values

# Seconds from a change until it is shown, so that an agent's writes and the watcher's writes that
# follow are shown together.
SETTLE = 0.05
EVERY = 0.25  # seconds at least from one drawing to the next: a person reads no faster
LONGEST = 500  # changes that are kept: more than any terminal has lines


def follow(address: str, values: "Values", timeout: float, access: Access,
           domid: Optional[int]) -> None:
    """Show the table, and keep it up to date until q is pressed, a signal comes, or the reader of
    the output goes.

    :param address: the database's remote
    :param values: of the config file (host.config.parse)
    :param timeout: seconds to wait for the database at the start
    :param access: how to reach XAPI
    :param domid: the domain whose VIFs are shown; None for all VIFs
    :raises OvsdbError: at the start: the database can't be reached
    :raises BadUsage: the domain has no port
    """
    # The replica would try to connect again and again. This client fails at once, and says why, as
    # the client of `status` does.
    with Client(address, timeout) as client:
        remote.prepare(address)
        client.get_schema()
        if domid is not None and not Vswitch(client).vifs(domid):
            raise BadUsage(unknown("domain %d" % domid))
    replica = Replica(address, values["mirror", "policing"])
    view = Follow(replica, Followed(replica, settings_of(values, boot_id()), domid), access,
                  timeout)
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
    """The loop of ``status --follow``, which shows the table and the changes.

    :param replica: the copy of the database
    :param followed: the VIFs of the replica that are shown
    :param access: how to reach XAPI
    :param timeout: seconds within which ovsdb-server must send something before the first table
    """

    def __init__(self, replica: Replica, followed: Followed, access: Access,
                 timeout: float) -> None:
        self._replica = replica
        self._followed = followed
        self._timeout = timeout
        self._out = screen.Screen() if screen.is_terminal() else screen.Lines()
        self._signals = Signals(self._out if isinstance(self._out, screen.Screen) else None)
        self._names = Names(access, self._signals.wake)
        self._changes: Deque[str] = collections.deque(maxlen=LONGEST)
        # Without a screen the table is printed once, and then each change.
        self._is_table_printed = False
        self._unprinted: List[str] = []
        self._was_current = False  # whether the replica was current at the last look
        self._lost: Optional[str] = None  # the time of day when the connection was lost
        self._since = time.strftime("%H:%M:%S")
        self._pid = pidfile.running(pidfile_path())  # the watcher's pid
        # Seconds of time.monotonic():
        self._due: Optional[float] = None  # when to show the changes that have come, if any
        self._shown = -EVERY  # when something was shown last

    # -- the loop

    def run(self) -> None:
        """Show the table until q is pressed.

        :raises Ended: a signal has come
        :raises screen.Gone: the terminal or the reader has gone
        :raises Unreachable: before the first table: the database can't be read
        :raises click.ClickException: XAPI can't be asked with the options that were given
        """
        with self._signals.caught(), self._out:
            try:
                while not self._out.is_ended():
                    self._turn()
                    self._block()
            finally:
                self._signals.ignore_ends()  # until the terminal is set as it was before

    def close(self) -> None:
        """Close the connections to the database and XAPI; a second call does nothing."""
        self._replica.close()
        self._names.close()

    def _turn(self) -> None:
        self._signals.stop_if_suspended()
        self._replica.run()
        if self._names.run() or self._may_differ():
            self._due = self._due or max(time.monotonic() + SETTLE, self._shown + EVERY)
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._look()
            if self._followed.is_synced:
                self._show()
                self._shown = time.monotonic()

    def _may_differ(self) -> bool:
        """Whether anything shown, except the VMs' names, may have changed since the last look."""
        is_current = self._replica.is_current
        return (is_current != self._was_current or is_current and bool(self._replica.changed)
                or self._signals.is_pidfile_touched or self._out.is_stale)

    def _block(self) -> None:
        """Wait until the database, a signal, a key, an answer of XAPI or a time wakes the loop."""
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
            self._check_start(begun)

    def _check_start(self, begun: float) -> None:
        """Fail if the first table can't come: the replica has met a problem (the server has no such
        database, say), or nothing has woken us for the whole time-out. Once the table is there, the
        screen shows such a problem, and we go on.

        :param begun: when the last wait began: seconds of time.monotonic()
        """
        name = self._replica.session_name()
        if self._replica.problem:
            raise Unreachable("%s: %s" % (name, self._replica.problem))
        if time.monotonic() - begun >= self._timeout:
            raise Unreachable("%s: no complete answer within %g s: is ovsdb-server hung or "
                              "overloaded?" % (name, self._timeout))

    # -- what is shown

    def _look(self) -> None:
        """Note the changes in the database since the last look, and whether the watcher has come or
        gone since then."""
        is_current, is_first = self._replica.is_current, not self._followed.is_synced
        lines = []
        if is_current and not self._was_current and not is_first:
            lines.append("database: connected again")
            self._lost = None
        elif self._was_current and not is_current:
            lines.append("database: connection lost")
            self._lost = time.strftime("%H:%M:%S")
        self._was_current = is_current
        if is_current:
            changes, new = self._followed.look()
            lines += changes
            self._names.want(new)
            self._names.run()
            if is_first:
                self._collect_garbage()
        if self._signals.take_pidfile_touch():
            old, self._pid = self._pid, pidfile.running(pidfile_path())
            if self._pid != old:
                lines.append(self._watcher())
        now = time.strftime("%H:%M:%S")
        lines = ["%s %s" % (now, line) for line in lines]
        self._changes.extend(lines)
        if isinstance(self._out, screen.Lines):
            self._unprinted += lines

    def _collect_garbage(self) -> None:
        """From now on let Python look for garbage, but seldom, as in the watcher: the rows of the
        first sync are no garbage, and a search through all of them takes long."""
        gc.set_threshold(50000, 20, 100)
        gc.enable()

    def _show(self) -> None:
        if isinstance(self._out, screen.Screen):
            self._out.draw(layout.lay_out(
                self._followed.outcomes(), self._out.size(), is_terminal(),
                self._names.known, self._notes(), self._since, list(self._changes)))
            return
        if not self._is_table_printed:
            if self._names.is_asking:
                return  # names can't be added to a printed table, so wait (two seconds at most)
            if self._names.problem:
                warn("no VM names: " + self._names.problem)
            self._out.print(report.table(
                self._followed.outcomes(), width(), False, self._names.known))
            self._out.print([self._watcher()])
            self._is_table_printed = True
        self._out.print(self._unprinted)
        self._unprinted = []

    def _watcher(self) -> str:
        return report.watcher(self._pid, pidfile.lost_directory(pidfile_path()))

    def _notes(self) -> List[str]:
        """The lines that even a small terminal must show."""
        def style(text: str, colour: str) -> str:
            text = clean(text)
            return click.style(text, fg=colour) if is_terminal() else text

        notes = []
        if self._lost:
            problem = self._replica.problem or self._replica.session_name()
            notes.append(style("no database since %s, trying again; these are the last rows: %s" % (
                self._lost, problem), "red"))
        notes.append(self._watcher())
        if self._names.problem:
            notes.append(style("no VM names: " + self._names.problem, "yellow"))
        return notes
