"""VMs' names by XAPI for what is kept on show: asked for beside it, so that it waits for nothing.
"""
import threading
import time

import click

from ..xapi import vms

# Seconds from an answer to the next question: when a host starts its VMs, VIFs come one by one.
PAUSE = 2


class Names(object):
    """The VMs of the VIFs that were asked for, as far as they are known.

    known (dict): as report.py takes them; problem (str or None): why there are no more, a line.

    :param vms.Access access: how to get at XAPI
    :param wake: function that is called, in another thread, when an answer has come
    """

    def __init__(self, access, wake):
        self.known = {}
        self.problem = None
        self._access = access
        self._wake = wake
        self._asked = set()  # never asked for again, but together with others if XAPI was down
        self._unanswered = set()
        self._wanted = set()
        self._thread = None
        self._answer = None
        self._next = 0

    def want(self, outcomes):
        """Ask for what is not known of some outcomes (list of decision.Outcome), soon."""
        if not self._access.absent():
            self._wanted |= vms.vif_uuids(outcomes) - self._asked

    def run(self):
        """Take an answer, ask a question. Whether an answer has come: with no name in it, too, for
        somebody may have waited for it.

        :raises click.ClickException: XAPI can't be asked like this
        """
        came = self._answer is not None
        if came:
            self._thread.join()
            self._take(*self._answer)
        if self._wanted and self._thread is None and time.monotonic() >= self._next:
            uuids = self._wanted | self._unanswered
            self._asked |= uuids
            self._wanted, self._unanswered = set(), set()
            self._thread = threading.Thread(target=self._ask, args=(uuids,))
            self._thread.start()
        return came

    def _ask(self, uuids):
        """In a thread of its own: XAPI may take as long as vms.NAMES_WITHIN."""
        names, problem = None, "interrupted"
        try:
            names, problem = vms.guarded(
                self._access, vms.NAMES_WITHIN, lambda session: session.names(uuids))
        except click.ClickException as error:
            problem = error
        finally:
            self._answer = uuids, names, problem
            self._wake()

    def _take(self, uuids, names, problem):
        self._thread = self._answer = None
        self._next = time.monotonic() + PAUSE
        if isinstance(problem, click.ClickException):
            raise problem
        self.problem = problem
        if problem:
            self._unanswered |= uuids
        self.known.update(names or {})

    @property
    def is_asking(self):
        """Whether an answer is still to come."""
        return bool(self._wanted) or self._thread is not None

    def next_alarm(self):
        """When to call run() though nothing happens: seconds of time.monotonic(), or None."""
        return self._next if self._wanted and self._thread is None else None

    def close(self):
        """Let what is under way end, so that it logs out: XAPI's time for it is limited."""
        if self._thread is not None:
            self._thread.join()
