"""XAPI, the toolstack of XenServer and XCP-ng, asked whose a VIF is: by its own package, XenAPI.

For commands only that need it, and imported by those alone: neither the plug path nor the watcher
may wait for it, and to import it takes longer than most of what a command does.
"""
import contextlib
import copy
import http.client
import re
import socket
import ssl
import xmlrpc.client
from xml.parsers.expat import ExpatError

import XenAPI

from .transport import Transport, is_local

LOCAL = "unix:/var/lib/xcp/xapi"  # XenAPI.xapi_local()
ORIGINATOR = "xenvif-tagger"  # XAPI counts sessions by it, so that we use up nobody else's
# Seconds that the good-bye may take: what was asked for is known by then, or given up.
GOODBYE = 1
# Up to so many objects are asked for by name; XAPI then compares each row with each name. From
# here on a whole table is less work for both.
MANY = 100
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
# What XML can't carry (XML 1.0, 2.2), and xmlrpc.client sends for all that: control characters, and
# bytes of the command line that are no text.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A snapshot is a template, too. Their records are the longest of all, and nobody's VIF is theirs.
_NO_TEMPLATE = 'field "is_a_template" = "false"'
# Whatever may come of asking a server: what is not in here is our own fault.
_PROBLEMS = (XenAPI.Failure, OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError,
             ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)


def _texts(record, *fields):
    """Fields of a record that are text, as a tuple; TypeError where one is not: what is shown to
    people or printed as JSON later on is not found to be nonsense there."""
    values = tuple(record[field] for field in fields)
    for field, value in zip(fields, values):
        if not isinstance(value, str):
            raise TypeError("%s is no text" % field)
    return values


_NOT_LET_IN = "XAPI takes no such user or password: see --user and --password-file"


class XapiError(Exception):
    """XAPI does not answer as it should. str() is one line: the remote, what happened, the cure.

    details (tuple of str): XAPI's own error code and its parameters, if it gave one.
    """

    def __init__(self, message, details=()):
        Exception.__init__(self, message)
        self.details = tuple(details)


class TimedOut(XapiError):
    """XAPI, or whom it asked in turn, has not answered in time."""


class BadRemote(XapiError):
    """Not a remote that is understood here. Nothing was tried."""


class Xapi(object):
    """A session, as a context manager: logged in on entry, logged out whatever happens.

    :param str remote: ``unix:PATH`` or ``https://HOST[:PORT]``
    :param str password: may be set later, as an attribute
    :param float timeout: seconds for which XAPI may be waited for, logging in and all calls
        together; ``restart_deadline`` begins anew. A look-up of a host name is outside of it.
    :param bool verify: whether the certificate of an https remote must be a good one
    :raises XapiError: on entry, and by each method
    """

    def __init__(self, remote=LOCAL, user="root", password="", timeout=10, verify=True):
        self.remote = remote
        self._user = user
        self.password = password
        self._timeout = timeout
        try:
            self._transport = Transport(remote, verify, timeout)
        except (ValueError, OSError) as error:  # OSError: a relative path, the directory gone
            raise BadRemote(str(error))
        self._session = self._new_session()

    def _new_session(self):
        # The transport knows where to; of this address the name goes into the request.
        address = "http://localhost" if is_local(self.remote) else self.remote
        return XenAPI.Session(address, transport=self._transport)

    def __enter__(self):
        if _NO_XML.search(self._user + self.password):
            raise XapiError("%s: %s" % (self.remote, _NOT_LET_IN))
        try:
            with self.understood():
                self._session.xenapi.login_with_password(
                    self._user, self.password, "1.0", ORIGINATOR)
        except BaseException:
            # XenAPI of xapi 24 and older goes on after the login itself: there may be a session.
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._transport.patience = min(GOODBYE, self._timeout)
        try:
            # What can't be logged out (XAPI has gone, or hangs) is XAPI's to forget.
            with contextlib.suppress(*_PROBLEMS):
                self._session.xenapi.session.logout()
        finally:
            self._transport.close()

    @contextlib.contextmanager
    def beside(self, timeout):
        """The same session over a connection of its own: for a thread, and what takes its time.

        It does not log in or out; what ends the session ends it here, too.

        :param float timeout: seconds, as of the whole
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

    def restart_deadline(self):
        """XAPI has all of the time again."""
        self._transport.patience = self._timeout

    @contextlib.contextmanager
    def understood(self):
        """Turns whatever may come of asking into an XapiError."""
        try:
            yield
        except _PROBLEMS as error:
            details = [str(each) for each in getattr(error, "details", None) or ()]
            kind = TimedOut if isinstance(error, socket.timeout) else XapiError
            raise kind("%s: %s" % (self.remote, self._problem(error, details)), details)

    def _problem(self, error, details):
        """What has happened, and what to do, in words."""
        if details[:1] == ["HOST_IS_SLAVE"]:
            return "a member of the pool whose master is %s: ask that one: --xapi https://%s" % (
                (details[1:] or ["another host"])[0], (details[1:] or ["MASTER"])[0])
        if details[:1] == ["SESSION_AUTHENTICATION_FAILED"]:
            return _NOT_LET_IN
        if details:
            return "XAPI says %s" % " ".join(details)
        if isinstance(error, socket.timeout) or getattr(error, "faultCode", None) == 504:
            return "XAPI has not answered within %g s: is it, or the pool's master, hung? " \
                "Try again, or with a longer --timeout" % self._timeout
        if isinstance(error, (ssl.SSLError, ssl.CertificateError)):
            return "no TLS that can be trusted (%s): name its CA's file in SSL_CERT_FILE, or say " \
                "--no-verify" % error
        if isinstance(error, FileNotFoundError):
            return "no such socket: is this the dom0 of a host with XAPI, and does that run?"
        if isinstance(error, PermissionError):
            return "permission denied: run as root"
        if isinstance(error, ConnectionRefusedError):
            return "nothing listens there: is XAPI running, and is this its address?"
        if isinstance(error, (ConnectionError, http.client.IncompleteRead)):
            return "XAPI has dropped the connection: is it being restarted? Try again"
        if isinstance(error, OSError):
            return "can't connect: %s" % (error.strerror or error)
        if getattr(error, "faultCode", None) == 401:  # XenAPI's: beside() has nothing to log in by
            return "XAPI has ended the session (SESSION_INVALID): is it being restarted? Try again"
        if "valid session" in str(error) or "SESSION_INVALID" in str(error):
            return "XAPI ends each session at once (SESSION_INVALID): is it being restarted? " \
                "Try again"
        return "not XAPI, by its answer (%s: %s): is this its address?" % (
            type(error).__name__, error)

    def call(self, method, *params):
        """Call a method of XAPI (``host.call_plugin``) in this session; its value."""
        with self.understood():
            return self._session.xenapi_request(method, params)

    def records(self, kind, **fields):
        """The records of a class of which a field is one of some values: one call at most.

        :param fields: field, as XAPI's database has it -> set of values, refs or uuids: they go
            into a query. What is not formed like a uuid is none.
        :returns: dict of ref -> record
        """
        fields = {field: {value for value in values if field != "uuid" or _UUID.match(value)}
                  for field, values in fields.items()}
        number = sum(map(len, fields.values()))
        if not number:
            return {}
        if number <= MANY:
            found = self.call(kind + ".get_all_records_where", " or ".join(
                '(field "%s" = "%s")' % (field, value)
                for field, values in sorted(fields.items()) for value in sorted(values)))
        elif kind == "VM":
            found = self.call("VM.get_all_records_where", _NO_TEMPLATE)
        else:
            found = self.call(kind + ".get_all_records")
        return {ref: record for ref, record in found.items() if any(
            (ref if field == "_ref" else record[field]) in values
            for field, values in fields.items())}

    def names(self, vif_uuids):
        """Whose VIFs these are, by two calls at most: the VIFs', and their VMs', records.

        :param vif_uuids: as in external_ids:xs-vif-uuid; what is no uuid is nobody's
        :returns: dict of VIF uuid -> (VM uuid, VM name); a VIF that XAPI has not got is left out
        """
        with self.understood():
            vifs = self.records("VIF", uuid=set(vif_uuids)).values()
            vms = self.records("VM", _ref={vif["VM"] for vif in vifs})
            return {vif["uuid"]: _texts(vms[vif["VM"]], "uuid", "name_label")
                    for vif in vifs if vif["VM"] in vms}

    def hosts(self):
        """The pool's hosts: list of (ref, uuid, name, whether XAPI thinks that it lives), by name.

        What XAPI has no opinion on lives: whoever calls it will hear.
        """
        with self.understood():
            lives = self.call("host_metrics.get_all_records")
            return sorted(((ref,) + _texts(host, "uuid", "name_label") + (
                bool(lives.get(host["metrics"], {"live": True})["live"]),)
                           for ref, host in self.call("host.get_all_records").items()),
                          key=lambda host: (host[2], host[1]))

    def find_vms(self, wanted):
        """The VMs that a uuid or a name (str) means: no templates, no snapshots, no dom0.

        :returns: list of (uuid, name, list of VIF uuids), in the order of the uuids
        """
        if _NO_XML.search(wanted):
            return []  # nobody can have been given such a name
        with self.understood():
            # A name may be any text, which a query may not hold.
            found = self.records("VM", uuid={wanted.lower()}) or self.records(
                "VM", _ref=set(self.call("VM.get_by_name_label", wanted)))
            found = {ref: vm for ref, vm in found.items()
                     if not vm["is_a_template"] and not vm["is_control_domain"]}
            vifs = {ref: [] for ref in found}
            for vif in self.records("VIF", VM=set(found)).values():
                vifs[vif["VM"]] += _texts(vif, "uuid")
            return sorted(_texts(vm, "uuid", "name_label") + (sorted(vifs[ref]),)
                          for ref, vm in found.items())
