"""VMs for the command line: the names of those whose VIFs are shown, and the one that a name means.

The client of XAPI is imported where it is used: most commands have no use for it.
"""
import contextlib
import os
import signal
import threading

from ..host import signals
from ..output.console import BadUsage, Unavailable, warn

# Seconds: who wants a table waits no longer for the names in it.
NAMES_WITHIN = 2
VM_WITHIN = 10
VIF_KEY = "xs-vif-uuid"
LOCAL_SOCKET = "/var/lib/xcp/xapi"
NOBODY = "none"


class Access(object):
    """How to get at XAPI, by the options before the command.

    :param remote: ``unix:PATH`` or ``https://HOST``; None for this host's own; ``none``: nobody is
        to be asked
    """

    def __init__(self, remote, user, password_file, verify, timeout):
        self._remote = remote
        self._user = user
        self._password_file = password_file
        self._verify = verify
        self._timeout = timeout

    def absent(self):
        """Why nobody is to be asked (str): nothing was said of XAPI, and this host has none, with
        libxl for example; or that was said. None: somebody is."""
        if self._remote == NOBODY:
            return "XAPI is not to be asked: --xapi %s" % NOBODY
        if self._remote is None and not os.path.exists(LOCAL_SOCKET):
            return "XAPI has no socket here: %s" % LOCAL_SOCKET
        return None

    def is_local(self):
        """Whether it is asked over a unix socket: without user and password."""
        from .transport import is_local
        return self._remote is None or is_local(self._remote)

    def open(self, within):
        """A session.Xapi that may be waited for for so many seconds, unless --timeout says another.

        :raises BadUsage: it can't be used like this
        """
        from .session import LOCAL, BadRemote, Xapi
        remote = LOCAL if self._remote is None else self._remote
        try:
            session = Xapi(remote, self._user, timeout=self._timeout or within,
                           verify=self._verify)
        except BadRemote as error:
            raise BadUsage(str(error))
        if not self.is_local():
            session.password = self._password()
        return session

    def _password(self):
        path = self._password_file
        if path is None:
            raise BadUsage("%s: XAPI elsewhere wants a password: give --password-file FILE"
                         % self._remote)
        try:
            with open(path, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
        except OSError as error:
            raise BadUsage("%s: can't read the password: %s" % (path, error.strerror))
        except ValueError:
            raise BadUsage("%s: no password: it is not text in UTF-8" % path)
        if not lines:
            raise BadUsage("%s: no password: it is empty" % path)
        return lines[0]


@contextlib.contextmanager
def _orderly_end():
    """SIGTERM and SIGHUP end us when the session is logged out, as Ctrl-C does: timeout(1) sends
    one, a terminal that is closed the other, and XAPI keeps what is left for a day.

    Not in a thread, where no handler can be set: then who started it has to see to that. And what
    is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP)
               if signal.getsignal(number) == signal.SIG_DFL]

    signals.catch(numbers)  # the good-bye takes a second at most
    try:
        yield
    except signals.Ended as ended:
        signals.end_by(ended)
    finally:
        signals.handle(numbers, signal.SIG_DFL)


def guarded(access, within, ask):
    """What ask(session.Xapi) gives; (result, None) or (None, what is wrong in one line)."""
    try:
        from .session import XapiError
    except ImportError as error:
        return None, "XAPI is asked by its own Python library (%s): pip install XenAPI" % error
    try:
        with _orderly_end(), access.open(within) as session:
            return ask(session), None
    except XapiError as error:
        return None, str(error)


def vif_uuids(outcomes):
    """The uuids by which XAPI knows the VIFs in some outcomes (list of decision.Outcome): set."""
    return {port.ids["Interface"][VIF_KEY] for outcome in outcomes
            for port in outcome.decision.ports() if VIF_KEY in port.ids["Interface"]}


def names_for(outcomes, access):
    """The VMs of the VIFs in some outcomes (list of decision.Outcome), as report.py takes them.

    Without XAPI there are none: a line on standard error says why.
    """
    uuids = vif_uuids(outcomes)
    if not uuids or access.absent():
        return {}
    names, problem = guarded(access, NAMES_WITHIN, lambda session: session.names(uuids))
    if problem:
        warn("no VM names: " + problem)
    return names or {}


def find_vm(wanted, access):
    """The one VM that a name or uuid means: (uuid, name, list of VIF uuids).

    :raises BadUsage: none, or several
    :raises Unavailable: XAPI does not say
    """
    found, problem = guarded(access, VM_WITHIN, lambda session: session.find_vms(wanted))
    if problem:
        raise Unavailable(problem)
    if not found:
        raise BadUsage("%s: XAPI knows no VM of this name or uuid: see 'xe vm-list'" % wanted)
    if len(found) > 1:
        raise BadUsage("%s: %d VMs have this name: choose by uuid: %s" % (
            wanted, len(found), ", ".join(vm[0] for vm in found)))
    return found[0]
