"""A session of XAPI, the toolstack of XenServer and XCP-ng, by XAPI's own package, XenAPI.

Only commands that need XAPI import this module. The plug path and the watcher must not wait for
XAPI; and to import XenAPI takes longer than most of a command's own work.
"""
import contextlib
import copy
import http.client
import re
import socket
import ssl
import xmlrpc.client
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Set, Tuple
from xml.parsers.expat import ExpatError

import XenAPI

from .transport import Transport, is_local

Record = Dict[str, Any]  # an object of XAPI: field -> value

LOCAL = "unix:/var/lib/xcp/xapi"  # XenAPI.xapi_local()
# XAPI limits the sessions of each originator: under our own originator we use up no other's limit.
ORIGINATOR = "xenvif-tagger"
LOGOUT = 1  # seconds for the logout, after the last answer
# A query names at most so many objects, because XAPI compares each row with each name. For more
# objects we get the whole table: that is less work for both sides.
MANY = 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
# Characters that XML can't carry (XML 1.0, 2.2), but xmlrpc.client sends: control characters, and
# the surrogates by which Python represents bytes of the command line that are no text.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A query without templates and snapshots (which are templates, too): they have the longest records,
# and no VIF on a host.
_NO_TEMPLATE = 'field "is_a_template" = "false"'
# The exceptions that XenAPI and xmlrpc.client raise, also for a malformed answer. Any other
# exception is a defect of ours.
_PROBLEMS = (XenAPI.Failure, OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError,
             ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)
_NOT_LET_IN = "XAPI takes no such user or password: see --user and --password-file"


def _text(record: Mapping[str, Any], field: str) -> str:
    """A field of a record; TypeError if the field is no text. (Checked here, because a table or
    JSON would fail later on another type.)"""
    value = record[field]
    if not isinstance(value, str):
        raise TypeError("%s is no text" % field)
    return value


class XapiError(Exception):
    """XAPI does not answer as it should. str() is one line: the remote, what happened, the cure.

    details (tuple of str): XAPI's own error code and its parameters; () if it gave none.
    """

    def __init__(self, message: str, details: Iterable[str] = ()) -> None:
        Exception.__init__(self, message)
        self.details = tuple(details)


class TimedOut(XapiError):
    """XAPI, or another host that XAPI asked, has not answered in time."""


class BadRemote(XapiError):
    """This module does not understand the remote. No connection was tried."""


class Xapi(object):
    """A session, as a context manager: it logs in on entry, and always logs out on exit.

    :param remote: ``unix:PATH`` or ``https://HOST[:PORT]``
    :param password: gives the password; called by the constructor, unless the remote is malformed
        or a unix socket
    :param timeout: seconds to wait for XAPI at most, login and all calls together. The C library's
        look-up of a host name has no limit.
    :param verify: whether the certificate of an https remote is verified
    :raises BadRemote: the remote has neither form
    :raises XapiError: on entry, and by each method
    """

    def __init__(self, remote: str = LOCAL, user: str = "root",
                 password: Callable[[], str] = lambda: "", timeout: float = 10,
                 verify: bool = True) -> None:
        self.remote = remote
        self._user = user
        self._timeout = timeout
        try:
            self._transport = Transport(remote, verify, timeout)
        except (ValueError, OSError) as error:  # OSError: the working directory is gone
            raise BadRemote(str(error))
        self._password = "" if is_local(remote) else password()
        self._session = self._new_session()

    def _new_session(self) -> Any:
        # The transport connects to our remote, whatever the address says; XenAPI only writes the
        # address's host name into the request.
        address = "http://localhost" if is_local(self.remote) else self.remote
        return XenAPI.Session(address, transport=self._transport)

    def __enter__(self) -> "Xapi":
        if _NO_XML.search(self._user + self._password):
            raise XapiError("%s: %s" % (self.remote, _NOT_LET_IN))
        try:
            with self.understood():
                self._session.xenapi.login_with_password(
                    self._user, self._password, "1.0", ORIGINATOR)
        except BaseException:
            # XenAPI of xapi 24 and older makes further calls after the login itself: a session may
            # be open although login_with_password() has failed.
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.patience = min(LOGOUT, self._timeout)
        try:
            # If XAPI has gone or hangs the logout fails; XAPI forgets the session by itself.
            with contextlib.suppress(*_PROBLEMS):
                self._session.xenapi.session.logout()
        finally:
            self._transport.close()

    @contextlib.contextmanager
    def beside(self, timeout: float) -> "Iterator[Xapi]":
        """The same session over a connection of its own, for a call in another thread.

        The copy does not log in or out; when the session ends, the copy's calls fail too.

        :param timeout: seconds to wait for XAPI at most, all calls together
        """
        other = copy.copy(self)
        other._timeout = timeout
        other._transport = self._transport.beside(timeout)
        other._session = other._new_session()
        other._session._session = self._session._session  # as XAPI's own XenAPIPlugin.py does
        try:
            yield other
        finally:
            other._transport.close()

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Within this context each of _PROBLEMS becomes an XapiError."""
        try:
            yield
        except _PROBLEMS as error:
            details = [str(detail) for detail in getattr(error, "details", None) or ()]
            kind = TimedOut if isinstance(error, socket.timeout) else XapiError
            raise kind("%s: %s" % (self.remote, self._problem(error, details)), details)

    def _problem(self, error: Exception, details: List[str]) -> str:
        """What has happened, and the cure, in words."""
        if details[:1] == ["HOST_IS_SLAVE"]:
            return "a member of the pool whose master is %s: ask the master: --xapi https://%s" % (
                (details[1:] or ["another host"])[0], (details[1:] or ["MASTER"])[0])
        if details[:1] == ["SESSION_AUTHENTICATION_FAILED"]:
            return _NOT_LET_IN
        if details:
            return "XAPI says %s" % " ".join(details)
        if isinstance(error, socket.timeout) or getattr(error, "faultCode", None) == 504:
            return "XAPI has not answered within %g s: is XAPI, or the pool's master, hung? " \
                "Try again, or with a longer --timeout" % self._timeout
        if isinstance(error, (ssl.SSLError, ssl.CertificateError)):
            return "no TLS certificate that we trust (%s): name the file of the certificate's CA " \
                "in SSL_CERT_FILE, or give --no-verify" % error
        if isinstance(error, FileNotFoundError):
            return "no such socket: is this the dom0 of a host with XAPI, and does XAPI run?"
        if isinstance(error, PermissionError):
            return "permission denied: run as root"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens there: is XAPI running, and is this XAPI's address?"
        if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
            return "XAPI has dropped the connection: is XAPI being restarted? Try again"
        if isinstance(error, OSError):
            return "can't connect: %s" % (error.strerror or error)
        # XenAPI raises 401 where it would log in anew and has no password, as in beside().
        if getattr(error, "faultCode", None) == 401:
            return "XAPI has ended the session (SESSION_INVALID): is XAPI being restarted? " \
                "Try again"
        if "valid session" in str(error) or "SESSION_INVALID" in str(error):
            return "XAPI ends each session at once (SESSION_INVALID): is XAPI being restarted? " \
                "Try again"
        return "the server is not XAPI, by its answer (%s: %s): is this XAPI's address?" % (
            type(error).__name__, error)

    def call(self, method: str, *params: Any) -> Any:
        """Call a method of XAPI (``host.call_plugin``) in this session.

        :returns: the value that XAPI gives
        """
        with self.understood():
            return self._session.xenapi_request(method, params)

    def records(self, kind: str, **fields: Iterable[str]) -> Dict[str, Record]:
        """The objects of a class (``VIF``) that have a wanted value in one of some fields, by one
        call.

        :param fields: field, as XAPI's database names it -> the wanted values: refs or uuids. They
            become part of the query's text, so a malformed uuid is left out.
        :returns: ref -> record
        """
        wanted: Dict[str, Set[str]] = {
            field: {value for value in values if field != "uuid" or _UUID.match(value)}
            for field, values in fields.items()}
        number = sum(map(len, wanted.values()))
        if not number:
            return {}
        if number <= MANY:
            records = self.call(kind + ".get_all_records_where", " or ".join(
                '(field "%s" = "%s")' % (field, value)
                for field, values in sorted(wanted.items()) for value in sorted(values)))
        elif kind == "VM":
            records = self.call("VM.get_all_records_where", _NO_TEMPLATE)
        else:
            records = self.call(kind + ".get_all_records")
        return {ref: record for ref, record in records.items() if any(
            (ref if field == "_ref" else record[field]) in values
            for field, values in wanted.items())}

    def names(self, vif_uuids: Iterable[str]) -> Dict[str, Tuple[str, str]]:
        """The VMs that have these VIFs, by two calls at most: the records of the VIFs, then those
        of their VMs.

        :param vif_uuids: as in external_ids:xs-vif-uuid
        :returns: VIF uuid -> (VM uuid, VM name); a VIF that XAPI does not know is left out
        """
        with self.understood():
            vifs = self.records("VIF", uuid=set(vif_uuids)).values()
            vms = self.records("VM", _ref={vif["VM"] for vif in vifs})
            return {vif["uuid"]: _uuid_and_name(vms[vif["VM"]])
                    for vif in vifs if vif["VM"] in vms}

    def hosts(self) -> List[Tuple[str, str, str, bool]]:
        """The pool's hosts by name: (ref, uuid, name, whether XAPI thinks that it is live).

        A host without metrics counts as live: if the host is down, the call to it will fail.
        """
        with self.understood():
            metrics = self.call("host_metrics.get_all_records")
            hosts = [(ref,) + _uuid_and_name(host) + (
                bool(metrics.get(host["metrics"], {"live": True})["live"]),)
                for ref, host in self.call("host.get_all_records").items()]
            return sorted(hosts, key=lambda host: (host[2], host[1]))

    def find_vms(self, wanted: str) -> List[Tuple[str, str, List[str]]]:
        """The VMs that have a uuid or a name, without templates, snapshots and dom0.

        :returns: (uuid, name, uuids of its VIFs) of each, in the order of the VMs' uuids
        """
        if _NO_XML.search(wanted):
            return []  # no VM can have such a name, because XAPI could not have been told of it
        with self.understood():
            # A name may have any character, so a name can't stand in a query.
            records = self.records("VM", uuid={wanted.lower()}) or self.records(
                "VM", _ref=set(self.call("VM.get_by_name_label", wanted)))
            vms = {ref: vm for ref, vm in records.items()
                   if not vm["is_a_template"] and not vm["is_control_domain"]}
            vifs: Dict[str, List[str]] = {ref: [] for ref in vms}
            for vif in self.records("VIF", VM=set(vms)).values():
                vifs[vif["VM"]].append(_text(vif, "uuid"))
            return sorted(_uuid_and_name(vm) + (sorted(vifs[ref]),) for ref, vm in vms.items())


def _uuid_and_name(record: Mapping[str, Any]) -> Tuple[str, str]:
    return _text(record, "uuid"), _text(record, "name_label")
