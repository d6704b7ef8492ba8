"""What of the command line is about VMs: their names, and ``mirror vm``; XAPI knows both.

The client of XAPI is imported where it is used: most commands have no use for it.
"""
import os
import sys

import click

from . import report

# Seconds: who wants a table waits no longer for the names in it.
NAMES_WITHIN = 2
VM_WITHIN = 10
VIF_KEY = "xs-vif-uuid"
LOCAL_SOCKET = "/var/lib/xcp/xapi"


class Failed(click.ClickException):
    """An error with an exit code; the message names the cure."""

    def __init__(self, message, exit_code):
        click.ClickException.__init__(self, message)
        self.exit_code = exit_code


class Access(object):
    """How to get at XAPI, by the options before the command.

    :param remote: ``unix:PATH`` or ``https://HOST``; None for this host's own
    """

    def __init__(self, remote, user, password_file, verify, timeout):
        self._remote = remote
        self._user = user
        self._password_file = password_file
        self._verify = verify
        self._timeout = timeout

    def is_absent(self):
        """Whether nothing was said of XAPI, and this host has none: with libxl, for example."""
        return self._remote is None and not os.path.exists(LOCAL_SOCKET)

    def open(self, within):
        """An xapi.Xapi that may be waited for for so many seconds, unless --timeout says another.

        :raises Failed: wrong usage
        """
        from . import xapi, xapi_http
        remote = xapi.LOCAL if self._remote is None else self._remote
        try:
            session = xapi.Xapi(remote, self._user, timeout=self._timeout or within,
                                verify=self._verify)
        except xapi.BadRemote as error:
            raise Failed(str(error), 2)
        if not xapi_http.is_local(remote):
            session.password = self._password()
        return session

    def _password(self):
        path = self._password_file
        if path is None:
            raise Failed("%s: XAPI elsewhere wants a password: give --password-file FILE"
                         % self._remote, 2)
        try:
            with open(path, encoding="utf-8") as stream:
                lines = stream.read().splitlines()
        except OSError as error:
            raise Failed("%s: can't read the password: %s" % (path, error.strerror), 2)
        except ValueError:
            raise Failed("%s: no password: it is not text in UTF-8" % path, 2)
        if not lines:
            raise Failed("%s: no password: it is empty" % path, 2)
        return lines[0]


def guarded(access, within, ask):
    """What ask(xapi.Xapi) gives; (result, None) or (None, what is wrong in one line)."""
    try:
        from . import xapi
    except ImportError as error:
        return None, "XAPI is asked by its own Python library (%s): pip install XenAPI" % error
    try:
        with access.open(within) as session:
            return ask(session), None
    except xapi.XapiError as error:
        return None, str(error)


def names_for(outcomes, access):
    """The VMs of the VIFs in some outcomes (list of oneshot.Outcome), as report.py takes them.

    Without XAPI there are none: a line on standard error says why.
    """
    uuids = {port.ids["Interface"][VIF_KEY] for outcome in outcomes
             for port in outcome.decision.ports() if VIF_KEY in port.ids["Interface"]}
    if not uuids or access.is_absent():
        return {}
    names, problem = guarded(access, NAMES_WITHIN, lambda session: session.names(uuids))
    if problem:
        sys.stderr.write("xenvif-tagger: no VM names: %s\n" % report.clean(
            " ".join(problem.split())))
    return names or {}


def find_vm(wanted, access):
    """The one VM that a name or uuid means: (uuid, name, list of VIF uuids).

    :raises Failed: none, or several, or XAPI does not say
    """
    found, problem = guarded(access, VM_WITHIN, lambda session: session.find_vms(wanted))
    if problem:
        raise Failed(problem, 3)
    if not found:
        raise Failed("%s: XAPI knows no VM of this name or uuid: see 'xe vm-list'" % wanted, 2)
    if len(found) > 1:
        raise Failed("%s: %d VMs have this name: choose by uuid: %s" % (
            wanted, len(found), ", ".join(vm[0] for vm in found)), 2)
    return found[0]


def add_to(mirror, mirror_options, run_mirror):
    """Add the command ``vm`` to the click group ``mirror``."""
    @mirror.command("vm")
    @click.argument("wanted", metavar="NAME-OR-UUID")
    @mirror_options
    def mirror_vm(options, wanted, **how):
        """The ports of the VM NAME-OR-UUID, which XAPI knows."""
        uuid, name, vifs = find_vm(wanted, options.xapi)

        def find(shot):
            return sorted(vif for vif, ports in shot.vswitch.read_all().items() if any(
                port.ids["Interface"].get(VIF_KEY) in vifs for port in ports))

        run_mirror(options, "VM %s" % wanted, find, vms=dict.fromkeys(vifs, (uuid, name)),
                   cure="none of its VIFs has a port here: is it running, and on this host?", **how)
