"""XAPI for the command line: the names of the VMs whose VIFs are shown, and the VM of a given name.

The client of XAPI is imported inside the functions that use it, because most commands never do.
"""
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, List, Optional, Set, Tuple, TypeVar

from ..core.decision import Outcome
from ..host import signals
from ..output.console import BadUsage, Unavailable, warn
from ..output.report import Uuid, Vms

if TYPE_CHECKING:
    from .session import Xapi

Answer = TypeVar("Answer")

NAMES_WITHIN = 2  # seconds for XAPI where a table can be shown without the VMs' names
VM_WITHIN = 10  # seconds for XAPI where a command can't do without XAPI
VIF_KEY = "xs-vif-uuid"  # the key in external_ids under which XAPI's scripts write a VIF's uuid
LOCAL_SOCKET = "/var/lib/xcp/xapi"
NOBODY = "none"  # the value of --xapi with which XAPI is not asked


class Access(object):
    """How to reach XAPI, by the options before the command.

    :param remote: ``unix:PATH`` or ``https://HOST``; None for this host's own XAPI; ``none`` if
        XAPI is not to be asked
    :param user: for XAPI on another host
    :param password_file: path of the file whose first line is the user's password
    :param verify: whether the certificate of an https remote is verified
    :param timeout: --timeout: the seconds for each question; None: each question has its own limit
    """

    def __init__(self, remote: Optional[str], user: str, password_file: Optional[str],
                 verify: bool, timeout: Optional[float]) -> None:
        self._remote = remote
        self._user = user
        self._password_file = password_file
        self._verify = verify
        self._timeout = timeout

    def absent(self) -> Optional[str]:
        """Why XAPI is not asked: the user has said so; or the user has named no remote, and this
        host has no XAPI (as with libxl). None if XAPI can be asked."""
        if self._remote == NOBODY:
            return "XAPI is not to be asked: --xapi %s" % NOBODY
        if self._remote is None and not os.path.exists(LOCAL_SOCKET):
            return "XAPI has no socket here: %s" % LOCAL_SOCKET
        return None

    def is_local(self) -> bool:
        """Whether XAPI is asked over a unix socket, which takes no user and no password."""
        from .transport import is_local
        return self._remote is None or is_local(self._remote)

    def open(self, within: float) -> "Xapi":
        """A session of XAPI, not yet logged in.

        :param within: seconds to wait for XAPI at most, if --timeout is not given
        :raises BadUsage: XAPI can't be asked with the options that were given
        """
        from .session import LOCAL, BadRemote, Xapi
        if self._remote == NOBODY:
            raise BadUsage("--xapi %s: this command has to ask XAPI: leave the option out" % NOBODY)
        try:
            return Xapi(LOCAL if self._remote is None else self._remote, self._user,
                        self._password, timeout=self._timeout or within, verify=self._verify)
        except BadRemote as error:
            raise BadUsage(str(error))

    def _password(self) -> str:
        path = self._password_file
        if path is None:
            raise BadUsage("%s: XAPI on another host takes a password: give --password-file "
                           "FILE" % self._remote)
        try:
            with open(path, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
        except OSError as error:
            raise BadUsage("%s: can't read the password: %s" % (path, error.strerror))
        except ValueError:
            raise BadUsage("%s: no password: the file is not text in UTF-8" % path)
        if not lines:
            raise BadUsage("%s: no password: the file is empty" % path)
        return lines[0]


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """Within this context SIGTERM and SIGHUP end us as Ctrl-C does, after the session is logged
    out: XAPI would keep an abandoned session for a day. timeout(1) sends SIGTERM, a terminal that
    is closed SIGHUP.

    Only the main thread can set a handler. In another thread this context does nothing: whoever
    starts the thread handles the signals. A signal that is ignored (nohup) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP)
               if signal.getsignal(number) == signal.SIG_DFL]

    signals.catch(numbers)  # logging out takes a second at most
    try:
        yield
    except signals.Ended as ended:
        signals.end_by(ended)
    finally:
        signals.handle(numbers, signal.SIG_DFL)


def ask_xapi(access: Access, within: float, question: "Callable[[Xapi], Answer]") -> Answer:
    """Log in to XAPI, ask a question, log out.

    :param within: seconds to wait for XAPI at most, if --timeout is not given
    :param question: takes a session that is logged in, and returns the answer
    :returns: the answer
    :raises BadUsage: XAPI can't be asked with the options that were given
    :raises Unavailable: XAPI gives no answer
    """
    try:
        from .session import XapiError
    except ImportError as error:
        raise Unavailable(
            "XAPI can't be asked without its Python library (%s): run 'pip install XenAPI'" % error)
    try:
        with _orderly_end(), access.open(within) as session:
            return question(session)
    except XapiError as error:
        raise Unavailable(str(error))


def vif_uuids(outcomes: Iterable[Outcome]) -> Set[Uuid]:
    """The uuids by which XAPI knows the VIFs of these outcomes."""
    return {port.ids["Interface"][VIF_KEY] for outcome in outcomes
            for port in outcome.decision.ports() if VIF_KEY in port.ids["Interface"]}


def names_for(outcomes: Iterable[Outcome], access: Access) -> Vms:
    """The VMs that have the VIFs of these outcomes. If XAPI gives no answer, the result is empty,
    and a line on standard error says why."""
    uuids = vif_uuids(outcomes)
    if not uuids or access.absent():
        return {}
    try:
        return ask_xapi(access, NAMES_WITHIN, lambda session: session.names(uuids))
    except Unavailable as error:
        warn("no VM names: " + error.message)
        return {}


def find_vm(wanted: str, access: Access) -> Tuple[Uuid, str, List[Uuid]]:
    """The one VM that has a name or uuid.

    :returns: ``(uuid, name, uuids of its VIFs)``
    :raises BadUsage: there is no such VM, or there are several
    :raises Unavailable: XAPI gives no answer
    """
    vms = ask_xapi(access, VM_WITHIN, lambda session: session.find_vms(wanted))
    if not vms:
        raise BadUsage("%s: XAPI knows no VM of this name or uuid: see 'xe vm-list'" % wanted)
    if len(vms) > 1:
        raise BadUsage("%s: %d VMs have this name: choose by uuid: %s" % (
            wanted, len(vms), ", ".join(uuid for uuid, _, _ in vms)))
    return vms[0]
