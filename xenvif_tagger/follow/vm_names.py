"""The names of the VMs that ``status --follow`` shows, asked of XAPI in a thread of their own, so
that the table waits for no answer."""
import threading
import time
from typing import Callable, Dict, Iterable, Optional, Set, Tuple, Union

import click

from ..core.decision import Outcome
from ..output.console import Unavailable
from ..output.report import Uuid, Vms
from ..xapi import vms

# Seconds from an answer to the next question: when a host starts its VMs, their VIFs come one by
# one, and are asked for together.
PAUSE = 2

# (the uuids of VIFs in the question; the VMs of these VIFs, by XAPI; the problem). A problem is
# the text of a line on the screen, or an error that ends the command, or None.
Answer = Tuple[Set[Uuid], Vms, Union[str, click.ClickException, None]]


class Names(object):
    """The names of the VMs whose VIFs are wanted, as far as XAPI has answered.

    known (dict): the VMs in XAPI's answers, as report.Vms. problem (str or None): why names are
    missing, in one line.

    :param access: how to reach XAPI
    :param wake: called, in another thread, when an answer has come
    """

    def __init__(self, access: vms.Access, wake: Callable[[], None]) -> None:
        self.known: Dict[Uuid, Tuple[Uuid, str]] = {}
        self.problem: Optional[str] = None
        self._access = access
        self._wake = wake
        # Three sets of VIFs' uuids: the next question has those in _wanted and in _unanswered, for
        # which XAPI gave no answer; want() does not ask again for those in _asked.
        self._wanted: Set[Uuid] = set()
        self._unanswered: Set[Uuid] = set()
        self._asked: Set[Uuid] = set()
        self._thread: Optional[threading.Thread] = None
        self._answer: Optional[Answer] = None
        self._next = 0.0  # when the next question may be asked: seconds of time.monotonic()

    def want(self, outcomes: Iterable[Outcome]) -> None:
        """Let run() ask XAPI for the VMs of these outcomes' VIFs, except for VIFs that were in an
        earlier question."""
        if not self._access.absent():
            self._wanted |= vms.vif_uuids(outcomes) - self._asked

    def run(self) -> bool:
        """Take an answer if one has come, and ask the next question if there is one.

        :returns: whether an answer has come. An answer without a name counts, too: the first table
            may have waited for that answer.
        :raises click.ClickException: XAPI can't be asked with the options that were given
        """
        answer = self._answer
        if answer is not None:
            self._take(answer)
        if self._wanted and self._thread is None and time.monotonic() >= self._next:
            uuids = self._wanted | self._unanswered
            self._asked |= uuids
            self._wanted, self._unanswered = set(), set()
            self._thread = threading.Thread(target=self._ask, args=(uuids,))
            self._thread.start()
        return answer is not None

    def _ask(self, uuids: Set[Uuid]) -> None:
        """Ask XAPI, which may take as long as vms.NAMES_WITHIN: runs in a thread of its own."""
        answer: Answer = (uuids, {}, "interrupted")
        try:
            names = vms.ask_xapi(
                self._access, vms.NAMES_WITHIN, lambda session: session.names(uuids))
            answer = uuids, names, None
        except Unavailable as error:
            answer = uuids, {}, error.message
        except click.ClickException as error:
            answer = uuids, {}, error
        finally:
            self._answer = answer
            self._wake()

    def _take(self, answer: Answer) -> None:
        self.close()  # the thread is ending: the answer is the last that it gives
        self._thread = self._answer = None
        self._next = time.monotonic() + PAUSE
        uuids, names, problem = answer
        if isinstance(problem, click.ClickException):
            raise problem
        self.problem = problem
        if problem:
            self._unanswered |= uuids
        self.known.update(names)

    @property
    def is_asking(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._wanted) or self._thread is not None

    def next_alarm(self) -> Optional[float]:
        """When run() is to be called even if nothing else happens: seconds of time.monotonic(), or
        None."""
        return self._next if self._wanted and self._thread is None else None

    def close(self) -> None:
        """Wait for the answer to the question under way, so that its thread logs out of XAPI. The
        wait is short, because the thread waits for XAPI only for a limited time."""
        if self._thread is not None:
            self._thread.join()
