"""The plug driver: runs the stock setup-vif-rules in this process, and sees to it that the port is
created with what its sibling has (DESIGN 2.1, 4.7).

Nothing that goes wrong here may touch the plug: whatever it is, the stock command is run as it
was, and one line in the syslog says why. Standard library only, and few of its modules: each plug
pays for every import.
"""
import builtins
import json
import os
import signal
import sys
import time
import types

from . import birth, config, names
from .oneshot import OneShot, default_remote
from .ovsdb import Client
from .vswitch import Unwritten

STOCK = "setup-vif-rules"
USUAL = ("/usr/libexec/xenopsd", "/opt/xensource/libexec")  # Fedora's and CentOS's; older


class NotInProcess(Exception):
    """The stock script can't be run in this process; str() says why. Nothing of it was done."""


def log(message):
    """One line in the syslog, with the ident that the stock script's own lines have."""
    import syslog  # by then the stock script has imported it, or all is lost anyway

    # syslog() raises for a NUL, and for what is no UTF-8; and a datagram holds only so much.
    message = "".join(c if c.isprintable() else " " for c in message[:4000])
    syslog.syslog(syslog.LOG_WARNING, "xenvif-tagger: " + " ".join(message.split())[:2000])


def find_stock(values, hook):
    """The path of the stock script: by the config, else where it usually is.

    :param str hook: our own script: whoever names that one as the stock script would never end
    :raises LookupError: there is none
    """
    chosen = values["plug", "stock_script"]
    places = ([chosen] if chosen else []) + [os.path.join(place, STOCK) for place in USUAL]
    for place in places:
        if _is_usable(place, hook):
            return place
        if place == chosen:
            log("stock_script %s: not a script that can be run: ignored" % chosen)
    raise LookupError("no stock script at %s" % " or ".join(places))


def _is_usable(place, hook):
    try:
        return (os.path.isfile(place) and os.access(place, os.X_OK)
                and not os.path.samefile(place, hook))
    except (OSError, ValueError):  # ValueError: a NUL in it
        return False


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
        # Asked for first: it is the same for any port, and the sibling is read as late as can be.
        fake = shot.vswitch.is_fake(bridge)
        ports = shot.vswitch.read([self.vif]).get(self.vif, [])
        shot.settings.cvlans = shot.vswitch.has_cvlans
        unit, ids, decision = birth.born(
            self.device, bridge, ids_in(args), ports, shot.settings, fake, unit_in(args[at + 3:]))
        if len(decision.ports()) > 1 or unit:
            log("%s is plugged: %s" % (self.device, decision.reason))
        every = (words("port", self.device, unit, ids["Port"])
                 + words("interface", self.device, {}, ids["Interface"]))
        vlan = words("port", self.device, unit, {})
        return [extra for extra in (every, vlan) if extra]

    def look_again(self, elapsed):
        """What has changed while ovs-vsctl ran, and what it can't write: the sibling's mark.

        :param float elapsed: seconds since the database was last asked: not its own
        """
        if self.shot is not None:
            self.shot.client.extend_deadline(elapsed)
        for outcome in self.connect().mirror([self.vif]):
            if outcome.problem and not outcome.written:
                log("%s: %s" % (self.device, outcome.problem))

    def look_if_unseen(self):
        """If the port was added by a command that did not come by here: mirror it now."""
        if self.vif is None or self.failed or self.added or self.action != "filter":
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


def _exit_code(result):
    """The exit code in what the stock script's doexec returned; None if there is none."""
    try:
        return result[0]
    except (TypeError, LookupError):
        return None


def ids_in(args):
    """The Interface external_ids that a command line of the stock script sets.

    It writes each as ``external-ids:"key"="value"`` (make_vswitch_external_ids in setup-vif-rules).
    """
    found = {}
    for word in args:
        if word.startswith('external-ids:"') and word.endswith('"'):
            key, equals, value = word[len('external-ids:"'):-1].partition('"="')
            if equals:
                found[key] = value
    return found


def unit_in(args):
    """The VLAN unit in the words that follow ``add-port BRIDGE DEVICE``: what a person named.

    Xen's vif-openvswitch has ``tag=5`` and ``trunk=6,7`` there from a bridge= string with VLANs.
    """
    unit = {}
    for word in args[:args.index("--") if "--" in args else None]:
        column, _, value = word.partition("=")
        if column == "tag":
            unit["tag"] = int(value)
        elif column in ("trunk", "trunks"):
            unit["trunks"] = sorted({int(vlan) for vlan in value.split(",")})
    return unit


def words(table, name, unit, ids):
    """The part of an ovs-vsctl command line that sets a row's columns and external_ids.

    Strings are written as JSON strings: ovs-vsctl takes those to the letter (ovs-vsctl(8),
    Database Values).
    """
    values = []
    for column, value in sorted(unit.items()):
        values.append("%s=%s" % (column, json.dumps(value)))
    for key, value in sorted(ids.items()):
        values.append("external_ids:%s=%s" % (json.dumps(key), json.dumps(value)))
    return ["--", "set", table, name] + values if values else []


def run_stock(stock, plug):
    """Run the stock script as the main program of this process.

    :raises NotInProcess: it can't be, and nothing was done
    """
    try:
        with open(stock, "rb") as stream:
            source = stream.read()
        first = source.split(b"\n", 1)[0]
        if b"python" in first and b"python3" not in first:
            raise NotInProcess("it is for Python 2")
        code = compile(source, stock, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise NotInProcess(str(error))
    # As the interpreter would have it. common.py takes its PATH from argv[0] when it is imported.
    sys.argv[0] = stock
    sys.path.insert(0, os.path.dirname(stock))
    try:
        import common

        common.doexec = plug.around(common.doexec)
    except Exception as error:
        raise NotInProcess("its common.py: %s: %s" % (type(error).__name__, error))
    # Functions of the stock script read globals that its __main__ block sets.
    module = types.ModuleType("__main__")
    module.__file__ = stock
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)
    except (Exception, KeyboardInterrupt) as error:
        if sys.excepthook is not sys.__excepthook__:
            raise  # it says itself how it wants to end
        _print_traceback(error)
        if isinstance(error, KeyboardInterrupt) and sys.version_info >= (3, 8):
            # As the interpreter has ended since then.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        sys.exit(1)
    finally:
        plug.look_if_unseen()


def _print_traceback(error):
    """As the interpreter would print it, had it been given the stock script: without our part."""
    import traceback

    told = traceback.TracebackException(type(error), error, error.__traceback__)
    ours = os.path.dirname(os.path.abspath(__file__))
    chain, seen = [told], []
    while chain:
        each = chain.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        each.stack[:] = [frame for frame in each.stack
                         if os.path.dirname(os.path.abspath(frame.filename)) != ours]
        chain += [each.__cause__, each.__context__]
    if sys.stderr is not None:
        sys.stderr.write("".join(told.format()))


def run_beside(stock, plug, arguments):
    """Run the stock script as a process of its own, and mirror at once; exits as it does."""
    import subprocess

    if plug.action == "clear":
        plug.attempt("before unplugging", plug.before_del_port)
    code = subprocess.call([stock] + arguments)
    if plug.action == "filter" and code == 0:
        plug.attempt("after plugging", plug.look_again, 0)
    if code < 0:
        try:
            signal.signal(-code, signal.SIG_DFL)
        except OSError:
            pass  # SIGKILL: nothing to be reset
        os.kill(os.getpid(), -code)
    sys.exit(code)


def prepare(arguments, hook):
    """What has to be known before the stock script is run.

    :param arguments: the stock script's, without its name
    :param str hook: the path of our own script
    :returns: ``(stock, plug)`` for run
    :raises Exception: it can't be known; nothing was done
    """
    values = read_config()
    device, action = (arguments[1], arguments[4]) if len(arguments) == 5 else ("", "")
    return find_stock(values, hook), Plug(device, action, values)


def run(stock, plug, arguments):
    """Run the stock script, with our part in it; exits as it does."""
    try:
        run_stock(stock, plug)
    except NotInProcess as error:
        log("%s: %s is run as a process of its own: %s" % (
            plug.device or "no device", stock, error))
        run_beside(stock, plug, arguments)
