"""The plug driver: our part in a command of the stock script (docs/design.md 4.7).

No failure here may change the plug: after any exception the hook runs the stock command as it was,
and writes one line to the syslog that says why. This module imports few modules, all of them ours
or the standard library's: each plug pays for every import.
"""
import os
import signal
import time

from ..core import birth, names
from ..core.iface_id import IFACE_ID
from ..host import config
from ..host.paths import default_remote
from ..ovsdb.client import Client
from ..ovsdb.oneshot import OneShot
from ..ovsdb.vswitch import Unwritten
from .vsctl import ids_in, unit_in, words

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

    from ..core.decision import Decision
    from ..core.port import Port
    from ..host.config import Values
    from ..ovsdb.rows import Vif

    DoExec = Callable[..., Any]  # the stock script's doexec(args) -> (rc, stdout, stderr)
    Words = List[str]  # of a command line
    Done = TypeVar("Done")


def log(message: str) -> None:
    """Write one line to the syslog, with the ident that the stock script's own lines have."""
    import syslog  # costs nothing: xenopsd's common.py has imported syslog before

    # syslog() raises for a NUL and for a lone surrogate, and a datagram holds only so much.
    message = "".join(c if c.isprintable() else " " for c in message[:4000])
    syslog.syslog(syslog.LOG_WARNING, "xenvif-tagger: " + " ".join(message.split())[:2000])


def read_config(path: "Optional[str]" = None) -> "Values":
    """The config file's values. A wrong line is logged, and its key has the default."""
    path = path or os.environ.get("XENVIF_TAGGER_CONFIG") or config.DEFAULT_PATH
    problems: "List[str]" = []
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
    """One call of the stock script, which plugs or unplugs one device.

    device (str): tap12.0, for example; action (str): ``filter`` plugs it, ``clear`` unplugs it;
    values (dict): the config file's values; vif: the device's (domid, devid), None if the device is
    no VIF's.
    """

    def __init__(self, device: str, action: str, values: "Values") -> None:
        self.device = device
        self.action = action
        self.values = values
        parsed = names.parse(device)
        self.vif: "Optional[Vif]" = parsed[:2] if parsed else None
        self.shot: "Optional[OneShot]" = None  # connect() makes it
        self.failed = False  # whether a step has failed: no further step is done after that
        self.added = False  # whether the add-port command went through add_port()
        self.before: "Optional[Port]" = None  # the device's port before this call deleted it
        self.rested: "Optional[float]" = None  # when the last step ended; None during a step

    def attempt(self, when: str, step: "Callable[..., Done]", *args: "Any") -> "Optional[Done]":
        """Do a step of ours, ``step(vif, *args)``.

        :returns: the step's result; None if the step fails (the failure is logged), if an earlier
            step has failed, or if the device is no VIF's
        """
        if self.vif is None or self.failed:
            return None
        self.failed = True  # until the step is done, since Ctrl-C ends a step, too
        try:
            result = step(self.vif, *args)
            self.failed = False
            return result
        except Exception as error:
            log("%s: %s: %s: the stock script goes on alone" % (
                self.device, when, str(error) or type(error).__name__))
            return None
        finally:
            self.rested = time.monotonic()

    def connect(self) -> OneShot:
        """The one-shot driver. All steps together have the one timeout of the driver; the time
        that the stock script takes between two steps does not count."""
        if self.shot is not None and self.rested is not None:
            self.shot.client.extend_deadline(time.monotonic() - self.rested)
        self.rested = None
        if self.shot is None:
            remote = self.values["ovsdb", "remote"] or default_remote()
            self.shot = OneShot(Client(remote, self.values["plug", "timeout"]), self.values,
                                patient=False)
        return self.shot

    def around(self, doexec: "DoExec") -> "DoExec":
        """The stock script's doexec with our part in it."""
        def run(args: "Any", *more: "Any", **named: "Any") -> "Any":
            command = list(args) if isinstance(args, (list, tuple)) else []
            if "add-port" in command and self.device in command:
                return self.add_port(doexec, command, more, named)
            if "del-port" in command and self.device in command:
                self.attempt("before del-port", self.before_del_port if self.action == "clear"
                             else self.before_replug)
            return doexec(args, *more, **named)
        return run

    def add_port(self, doexec: "DoExec", args: "Words", more: "Tuple[Any, ...]",
                 named: "Dict[str, Any]") -> "Any":
        """Run the add-port command with the words of ``additions``, then read the sibling again.

        :param args: the words of the stock command
        :param more, named: the further arguments with which the stock script calls doexec
        :returns: doexec's result
        """
        self.added = True
        additions, settled = self.attempt("before add-port", self.additions, args) or ([], None)
        # The last try is the stock command as it was.
        tries: "List[Words]" = additions + [[]]
        for extra in tries:
            try:
                result = doexec(args + extra, *more, **named)
            except OSError as error:  # E2BIG, execve(2): the words are too long for a command line
                if not extra:
                    raise
                problem = str(error)
                continue
            code = _exit_code(result)
            # SIGALRM is ovs-vsctl's own --timeout: the database is too slow for a second try, too.
            if code in (0, None, -signal.SIGALRM) or not extra:
                break
            problem = "exit code %s" % code
        if extra != tries[0] and code == 0:
            log("%s: ovs-vsctl did not take the sibling's settings (%s): plugged with %s" % (
                self.device, problem, " ".join(extra) or "none of these"))
        if code is None:
            log("%s: doexec returned %r for add-port: the sibling is not read again" % (
                self.device, result))
        elif code == 0:
            self.attempt("after add-port", self.look_again,
                         settled if extra == tries[0] else None)
        return result

    def additions(self, vif: "Vif", args: "Words") -> "Tuple[List[Words], Optional[Port]]":
        """The words that make add-port create the port with its sibling's settings.

        :returns: ``(tries, settled)``. tries: a list with all the words, and a list with the words
            for the VLAN alone. settled: the sibling, if the two ports need no further write as
            long as nobody changes the sibling; else None
        """
        index = args.index("add-port")
        shot = self.connect()
        ports, bridge, bridge_unit, cvlans = shot.vswitch.read_beside(args[index + 1], vif)
        # (libxl deletes the port and adds the port again by one command, so before_replug() has not
        # run there.)
        before = self.before or next((port for port in ports if port.name == self.device), None)
        unit, ids, decision = birth.born(
            self.device, bridge, ids_in(args), ports, shot.settings,
            unit_in(args, self.device) or bridge_unit, cvlans, before)
        if len(decision.ports()) > 1 or unit:
            log("%s is plugged: %s" % (self.device, decision.reason))
        all_words = (words("port", self.device, unit, ids["Port"])
                     + words("interface", self.device, {}, ids["Interface"]))
        # A sibling's mark that names the deleted row has to name the new row: that takes a write.
        settled = None if before else _settled(self.device, decision)
        return [all_words, words("port", self.device, unit, {})], settled

    def look_again(self, vif: "Vif", settled: "Optional[Port]" = None) -> None:
        """Mirror the VIF unless the two ports are settled: the sibling may have been changed while
        ovs-vsctl ran, which can't guard a write; or the sibling may have to be written, too.

        :param settled: the sibling, if nothing is to be mirrored as long as its rows are unchanged
        """
        shot = self.connect()
        if settled is not None and shot.vswitch.is_unchanged(settled):
            return
        for outcome in shot.mirror([vif]):
            if outcome.problem and not outcome.written:
                log("%s: %s" % (self.device, outcome.problem))

    def look_if_unseen(self) -> None:
        """Mirror the VIF now if the stock script has added the port without our add_port()."""
        if self.vif is None or self.added or self.failed or self.action != "filter":
            return
        try:
            ports = [name for outcome in self.connect().look([self.vif]) for name in outcome.ports]
        except Exception:
            return  # no Open vSwitch: a host with Linux bridges
        if self.device in ports:
            log("%s: the hook did not see the add-port command: mirrored afterwards" % self.device)
            self.attempt("after add-port", self.look_again)

    def before_replug(self, vif: "Vif") -> None:
        """Note the port that the stock script is about to delete and to add again."""
        self.before = self.connect().vswitch.read_port(self.device)

    def before_del_port(self, vif: "Vif") -> None:
        """Take iface-id and attached-mac off the dying row, and the port off its bridge, where
        another row is to stay, or become, the agent's.

        The two transactions go back to back: ovs-xapi-sync writes the ids back as soon as the ids
        are gone, and would do so before ovs-vsctl could delete the port. The stock del-port
        (--if-exists) then finds no port.
        """
        vswitch = self.connect().vswitch
        for _ in range(3):
            decision = birth.dying(self.device, vswitch.read_sharing(self.device, IFACE_ID))
            if decision is None:
                return
            try:
                vswitch.write_and_remove(decision, self.device)
            except Unwritten as error:
                # Most likely ovs-vswitchd has just noted the loss of the device in the row.
                problem = error.reason
                continue
            log("%s: iface-id taken off: %s" % (self.device, decision.reason))
            return
        log("%s: iface-id not taken off: %s" % (self.device, problem))


def _settled(device: str, decision: "Decision") -> "Optional[Port]":
    """The sibling of a device that is created as a Decision says; None if the Decision still has
    changes for that sibling, or if there is no sibling."""
    siblings = [port for port in decision.ports() if port.name != device]
    written = any(change.row != device for change in decision.changes)
    return siblings[0] if siblings and not written else None


def _exit_code(result: "Any") -> "Any":
    """The exit code in the result of the stock script's doexec; None if the result has none."""
    try:
        return result[0]
    except (TypeError, LookupError):
        return None


COMPLETE = True  # stock.py imports this name, and fails if this file was cut short
