"""The plug driver: our part in a command of the stock script (docs/design.md 4.7).

Nothing that goes wrong here may touch the plug: whatever it is, the stock command is run as it
was, and one line in the syslog says why. Standard library only, and few of its modules: each plug
pays for every import.
"""
import os
import signal
import time

from ..core import birth, names
from ..host import config
from ..host.paths import default_remote
from ..ovsdb.client import Client
from ..ovsdb.oneshot import OneShot
from ..ovsdb.vswitch import Unwritten
from .vsctl import ids_in, unit_in, words


def log(message):
    """One line in the syslog, with the ident that the stock script's own lines have."""
    import syslog  # by then the stock script has imported it, or all is lost anyway

    # syslog() raises for a NUL, and for what is no UTF-8; and a datagram holds only so much.
    message = "".join(c if c.isprintable() else " " for c in message[:4000])
    syslog.syslog(syslog.LOG_WARNING, "xenvif-tagger: " + " ".join(message.split())[:2000])


def read_config(path=None):
    """The config's values; what is wrong in it is logged, and has its default."""
    path = path or os.environ.get("XENVIF_TAGGER_CONFIG") or config.DEFAULT_PATH
    problems = []
    try:
        values, problems = config.read(path)
    except FileNotFoundError:
        values = config.parse("")[0]
    except OSError as error:
        values = config.parse("")[0]
        problems = [error.strerror or str(error)]
    if problems:
        log("%s: ignored: %s" % (path, "; ".join(problems)))
    return values


class Plug(object):
    """One call of the stock script: for which device, and to do what with it.

    device (str): tap12.0; action (str): ``filter`` plugs it anew, ``clear`` unplugs it.
    """

    def __init__(self, device, action, values):
        self.device = device
        self.action = action
        self.values = values
        parsed = names.parse(device)
        self.vif = parsed and parsed[:2]
        self.shot = None  # connected by the first command that needs it
        self.failed = False
        self.added = False  # the add-port command has come by
        self.sibling = None  # port.Port: nothing is left to be done for as long as it is so

    def attempt(self, what, step, *args):
        """Do a step of ours; if it fails, log it and do no further one."""
        if self.vif is None or self.failed:
            return None
        try:
            return step(*args)
        except Exception as error:
            self.failed = True
            log("%s: %s: %s: as stock does it" % (
                self.device, what, str(error) or type(error).__name__))
            return None

    def connect(self):
        """The one-shot driver, its one deadline running from the first call of this on."""
        if self.shot is None:
            remote = self.values["ovsdb", "remote"] or default_remote()
            self.shot = OneShot(Client(remote, self.values["plug", "timeout"]), self.values,
                                patient=False)
        return self.shot

    def around(self, doexec):
        """The stock script's doexec(args) -> (rc, stdout, stderr), with our part in it."""
        def run(args, *more, **named):
            before = list(args) if isinstance(args, (list, tuple)) else []
            if "add-port" in before and self.device in before:
                return self.add_port(doexec, before, more, named)
            if "del-port" in before and self.device in before and self.action == "clear":
                self.attempt("before del-port", self.before_del_port)
            return doexec(args, *more, **named)
        return run

    def add_port(self, doexec, args, more, named):
        """Run the add-port command with what the port is to be born with, then look once more."""
        self.added = True
        # With all of it; with the VLAN, where the rest is too much for it; as it was.
        tries = list(self.attempt("before add-port", self.additions, args) or ()) + [[]]
        begun = time.monotonic()
        for extra in tries:
            try:
                result = doexec(args + extra, *more, **named)
            except OSError as error:  # E2BIG, execve(2): more than a command line can carry
                if not extra:
                    raise
                problem = str(error)
                continue
            code = _exit_code(result)
            # Its --timeout: then it was the database, and would be again.
            if code in (0, None, -signal.SIGALRM) or not extra:
                break
            problem = "it exited with %s" % code
        if extra != tries[0]:
            self.sibling = None
        if extra != tries[0] and code == 0:
            log("%s: ovs-vsctl did not take its sibling's settings (%s): plugged with %s" % (
                self.device, problem, " ".join(extra) or "none"))
        if code is None:
            log("%s: doexec gave %r for add-port: not looked at again" % (self.device, result))
        elif code == 0:
            self.attempt("after add-port", self.look_again, time.monotonic() - begun)
        return result

    def additions(self, args):
        """The words that make add-port create the port with its sibling's settings: a list of
        them all, and of those for its VLAN."""
        at = args.index("add-port")
        bridge = args[at + 1]
        shot = self.connect()
        ports, fake, cvlans = shot.vswitch.read_beside(bridge, self.vif)
        unit, ids, decision = birth.born(
            self.device, bridge, ids_in(args), ports, shot.settings, fake, unit_in(args[at + 3:]),
            cvlans)
        if len(decision.ports()) > 1 or unit:
            log("%s is plugged: %s" % (self.device, decision.reason))
        self.sibling = _settled(self.device, decision)
        every = (words("port", self.device, unit, ids["Port"])
                 + words("interface", self.device, {}, ids["Interface"]))
        return [every, words("port", self.device, unit, {})]

    def look_again(self, elapsed):
        """What has changed while ovs-vsctl ran, and what it can't write: the sibling's mark.

        :param float elapsed: seconds since the database was last asked: not its own
        """
        if self.shot is not None:
            self.shot.client.extend_deadline(elapsed)
        if self.sibling is not None and self.connect().vswitch.is_unchanged(self.sibling):
            return
        for outcome in self.connect().mirror([self.vif]):
            if outcome.problem and not outcome.written:
                log("%s: %s" % (self.device, outcome.problem))

    def look_if_unseen(self):
        """If the port was added by a command that did not come by here: mirror it now."""
        if self.vif is None or self.added or self.action != "filter":
            return
        try:
            ports = [name for outcome in self.connect().look([self.vif]) for name in outcome.ports]
        except Exception:
            return  # no Open vSwitch: a host with Linux bridges
        if self.device in ports:
            log("%s: its add-port was run out of our sight: mirrored after it" % self.device)
            self.attempt("after add-port", self.look_again, 0)

    def before_del_port(self):
        """Take iface-id and attached-mac off the dying row, if its sibling stays with them."""
        vswitch = self.connect().vswitch
        for _ in range(3):
            decision = birth.dying(self.device, vswitch.read([self.vif]).get(self.vif, []))
            if decision is None:
                return
            try:
                vswitch.write([decision])
            except Unwritten as error:
                problem = error.reason  # most likely ovs-vswitchd, which notes that it is gone
                continue
            log("%s: iface-id taken off: %s" % (self.device, decision.reason))
            return
        log("%s: iface-id not taken off: %s" % (self.device, problem))


def _settled(device, decision):
    """The sibling, if a device that is born as a Decision has it needs nothing to be done on it."""
    others = [port for port in decision.ports() if port.name != device]
    written = any(change.row != device for change in decision.changes)
    return others[0] if others and not written else None


def _exit_code(result):
    """The exit code in what the stock script's doexec returned; None if there is none."""
    try:
        return result[0]
    except (TypeError, LookupError):
        return None


COMPLETE = True  # a file that was cut short does not get here, and can't be imported by stock.py
