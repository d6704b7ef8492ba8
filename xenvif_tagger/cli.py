"""The command line (DESIGN 6): a contract that scripts depend on."""
import gc
import math
import os
import signal
import sys

import click

from . import __version__, cli_doctor, cli_vm, config, names, oneshot, pidfile, report
from .decide import CONFLICT, DRIFT, REFUSED
from .ovsdb import BadRemote, Client, OvsdbError

NAME = "xenvif-tagger"

# Exit codes.
DONE = 0
NOT_ALIKE = 1
USAGE = 2
UNREACHABLE = 3


class BadUsage(click.ClickException):
    """Wrong usage that click itself does not find; the message names the cure."""

    exit_code = USAGE


class Options(object):
    """What the options before the command say; connects on demand."""

    def __init__(self, db, config_path, timeout, verbosity, xapi):
        self.verbosity = verbosity
        self.xapi = xapi  # cli_vm.Access
        self._db = db
        self._config_path = config_path
        self._timeout = timeout

    def connect(self):
        """A oneshot.OneShot on the database."""
        remote, values = self.remote()
        return oneshot.OneShot(Client(remote, self._timeout or values["ovsdb", "timeout"]), values)

    def remote(self):
        """The database's remote (str), and the config file's values."""
        values = read_config(self._config_path)
        return absolute(self._db or values["ovsdb", "remote"] or oneshot.default_remote()), values

    def say(self, lines):
        """Print for people, unless -q."""
        if self.verbosity >= 0:
            for line in lines:
                emit(line)


class Seconds(click.ParamType):
    """A number of seconds (float), from a least one to a day."""

    name = "seconds"

    def __init__(self, least):
        self.least = least

    def convert(self, value, param, ctx):
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= 86400:
            self.fail("%r is not a number of seconds from %g to 86400" % (value, self.least),
                      param, ctx)
        return seconds


class Domid(click.ParamType):
    """A domain id (int), written as Xen does: int() would take +12 and 1_2, too."""

    name = "domid"

    def convert(self, value, param, ctx):
        found = names.parse("vif%s.0" % value)
        if found is None:
            self.fail("%r is not a domain id, a plain number" % value, param, ctx)
        return found[0]


def absolute(remote):
    """The remote with the path of a unix socket made absolute."""
    kind, colon, path = remote.partition(":")
    try:
        return kind + colon + os.path.abspath(path) if kind == "unix" and path else remote
    except FileNotFoundError:
        raise OvsdbError("%s: the working directory is gone: give an absolute path" % remote)


def read_config(path):
    """The values of the config file (see config.py); a default path may be absent."""
    try:
        values, problems = config.read(path or config.DEFAULT_PATH)
    except FileNotFoundError:
        if path:
            raise BadUsage("%s: no such config file" % path)
        values, problems = config.parse("")
    except OSError as error:
        raise BadUsage("%s: can't read the config file: %s" % (
            path or config.DEFAULT_PATH, error.strerror))
    if problems:
        raise BadUsage("%s: %s" % (path or config.DEFAULT_PATH, "; ".join(problems)))
    return values


@click.group(no_args_is_help=False,
             context_settings={"help_option_names": ["-h", "--help"],
                               "auto_envvar_prefix": "XENVIF_TAGGER"})
@click.option("--db", metavar="REMOTE", help="OVSDB, as for ovs-vsctl: unix:PATH or tcp:HOST:PORT.")
@click.option("--config", "config_path", metavar="FILE", envvar="XENVIF_TAGGER_CONFIG",
              help="Config file, instead of %s." % config.DEFAULT_PATH)
@click.option("--timeout", type=Seconds(0.01), metavar="SECONDS",
              help="How long the database may take to answer: 5, if not said here or there. "
                   "XAPI: 10, and 2 for the names in a table.")
@click.option("--xapi", metavar="REMOTE",
              help="XAPI, for VMs' names: https://HOST, or unix:PATH; this host's own, if not "
                   "given.")
@click.option("--user", default="root", metavar="NAME", help="For XAPI elsewhere: root, if not "
                                                             "given.")
@click.option("--password-file", metavar="FILE", type=click.Path(),
              help="For XAPI elsewhere: the password is its first line.")
@click.option("--no-verify", is_flag=True, help="Take any TLS certificate of XAPI's.")
@click.option("-v", "--verbose", is_flag=True, help="Say each change.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.version_option(__version__, prog_name=NAME, allow_from_autoenv=False)
@click.pass_context
def cli(context, db, config_path, timeout, verbose, quiet, xapi, user, password_file, no_verify):
    """Keep the two Open vSwitch ports of a Xen guest's NIC, vif and tap, configured alike.

    Exit status: 0 done, or nothing to do; 1 check found a difference, or what was named was
    refused or in conflict; 2 wrong usage, unknown domain, port or VM; 3 the database, or XAPI
    where it is needed, can't be reached.
    """
    if verbose and quiet:
        raise BadUsage("-v and -q contradict each other: choose one")
    context.obj = Options(db, config_path, timeout, verbose - quiet, cli_vm.Access(
        xapi, user, password_file, not no_verify, timeout))


@cli.group(no_args_is_help=False)
def mirror():
    """Give each port what its sibling has, where that is clear."""


def mirror_options(command):
    """The options that all kinds of mirror have."""
    for option in (
            click.pass_obj,
            click.option("--wait", type=Seconds(0), metavar="SECONDS",
                         help="Wait until there is something to mirror."),
            click.option("--json", is_flag=True, help="Print JSON."),
            click.option("--dry-run", is_flag=True,
                         help="Say what would be changed, and write nothing."),
            click.option("--from", "from", type=click.Choice(names.SIDES),
                         help="This side is right, whatever the history says.")):
        command = option(command)
    return command


@mirror.command("dom")
@click.argument("domid", type=Domid())
@mirror_options
def mirror_dom(options, domid, **how):
    """The ports of domain DOMID."""
    run_mirror(options, "domain %d" % domid, lambda shot: shot.vswitch.vifs(domid), **how)


@mirror.command("port")
@click.argument("name")
@mirror_options
def mirror_port(options, name, **how):
    """The port NAME and its sibling."""
    found = names.parse(name)
    if found is None:
        raise BadUsage(
            "%s: not the name of a VIF's port: those are vifD.N, tapD.N, vifD.N-emu" % name)
    run_mirror(options, name, lambda shot: [found[:2]], **how)


@mirror.command("all")
@mirror_options
def mirror_all(options, **how):
    """The ports of all domains."""
    run_mirror(options, None, lambda shot: None, **how)


def run_mirror(options, target, find, dry_run, json, wait, vms=None, cure=None, **how):
    """Mirror the VIFs that find(shot) gives (as oneshot takes them).

    :param target: what the user named, None for all: a named target that is not there, is refused
        or in conflict is an error
    :param vms: as report.as_json takes them
    :param cure: what to say where the target is not there
    """
    if dry_run and wait is not None:
        raise BadUsage("--dry-run and --wait contradict each other: choose one")
    prefer = how["from"]  # a keyword: no parameter can have that name
    shot = options.connect()
    ready = True
    port = target if names.parse(target or "") else None
    if wait is not None:
        ready, outcomes = shot.wait(lambda: find(shot), wait, prefer, port)
    else:
        outcomes = (shot.look if dry_run else shot.mirror)(find(shot), prefer)
    if port:
        outcomes = [outcome for outcome in outcomes if port in outcome.ports]
    if not outcomes and target and wait is None:
        raise BadUsage("%s: %s" % (target, cure) if cure else unknown(target))
    if json:
        emit(report.as_json(outcomes, vms=vms))
    else:
        details = dry_run or options.verbosity > 0
        told = outcomes if target or details else [
            outcome for outcome in outcomes if report.is_news(outcome)]
        options.say(line for outcome in told for line in report.lines(
            outcome, report.width(), details))
        if not target:
            options.say([report.summary(outcomes)])
    failed = [outcome for outcome in outcomes if outcome.problem and not outcome.written]
    if failed:
        raise OvsdbError("%s: not written: %s" % (
            failed[0].decision.ports()[0].name, failed[0].problem))
    if not ready:
        fail("%s: can't be mirrored within %g s: %s" % (target or "all", wait, ", ".join(
            "%s is %s" % (outcome.decision.ports()[0].name, outcome.decision.state)
            for outcome in outcomes) or "it has no port"), NOT_ALIKE)
    wrong = [outcome for outcome in outcomes if outcome.decision.state in (REFUSED, CONFLICT)]
    if target and wrong:
        if options.verbosity < 0:
            fail("%s: %s: %s" % (wrong[0].ports[0], wrong[0].decision.state,
                                 wrong[0].decision.reason), NOT_ALIKE)
        sys.exit(NOT_ALIKE)


cli_vm.add_to(mirror, mirror_options, run_mirror)
cli.add_command(cli_doctor.doctor)


def unknown(target):
    """What to say of a port or domain that the database has not got."""
    return "%s: no such port on any bridge: see '%s status'" % (target, NAME)


@cli.command()
@click.argument("domid", type=Domid(), required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(options, domid, json):
    """Show each VIF's ports, their VLANs, and whether they are alike; and the watcher."""
    show(options, domid, json)


@cli.command()
@click.argument("domid", type=Domid(), required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(options, domid, json):
    """As status, and exit with 1 if any pair is in drift or conflict."""
    outcomes = show(options, domid, json)
    if any(outcome.decision.state in (DRIFT, CONFLICT) for outcome in outcomes):
        sys.exit(NOT_ALIKE)


def show(options, domid, json):
    """Print the outcomes for a domain, or all, and this host's watcher; returns the outcomes."""
    shot = options.connect()
    outcomes = shot.look(None if domid is None else shot.vswitch.vifs(domid))
    if domid is not None and not outcomes:
        raise BadUsage(unknown("domain %d" % domid))
    # -q: of check the exit status is what is wanted, and that needs no names.
    vms = cli_vm.names_for(outcomes, options.xapi) if json or options.verbosity >= 0 else {}
    pid = pidfile.running(os.path.join(oneshot.run_dir(), NAME + ".pid"))
    if json:
        emit(report.as_json(outcomes, {"watcher": pid and {"pid": pid}}, vms))
    else:
        options.say(report.table(outcomes, report.width(), report.is_terminal(), vms)
                    if outcomes else ["no VIF has a port here"])
        options.say(["watcher: " + ("running, pid %d" % pid if pid else "not running")])
    return outcomes


@cli.command()
@click.option("--unixctl", metavar="SOCKET", type=click.Path(),
              help="Control socket, instead of xenvif-tagger.PID.ctl in Open vSwitch's run "
                   "directory.")
@click.option("-p", "--private-key", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="For ssl: remotes, as with ovs-vsctl.")
@click.option("-c", "--certificate", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="For ssl: remotes.")
@click.option("-C", "--ca-cert", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="For ssl: remotes.")
@click.pass_obj
def watch(options, unixctl, **pem):
    """Keep all ports alike from now on, in the foreground: systemd runs this."""
    remote, values = options.remote()
    try:
        from . import daemon
    except ImportError as error:
        raise BadUsage("the watcher needs Open vSwitch's Python library (%s): pip install ovs, or "
                       "the one in /usr/share/openvswitch/python" % error)
    remote = daemon.checked(remote, pem)
    gc.enable()
    daemon.Daemon(remote, values, oneshot.run_dir(), unixctl and os.path.abspath(unixctl)).run()


def emit(text):
    """Print for whoever reads standard output."""
    # A locale without UTF-8 (Python 3.6 in a systemd unit) must not cost the answer.
    encoding = sys.stdout.encoding or "ascii"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What stands in the buffer would be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        fail("can't write the output: %s" % error.strerror, UNREACHABLE)


def fail(message, code):
    """Say what is wrong in one line, and exit."""
    sys.stderr.write("%s: %s\n" % (NAME, report.clean(" ".join(message.split()))))
    sys.exit(code)


def prepare():
    """Make up for what the process may lack, and spare what it need not have."""
    # As some service managers start things: nobody hears it, and the exit status is what counts.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    # Rows are trees: to look for cycles among those of 10,000 ports is a fifth of the whole time.
    gc.disable()
    for name in list(os.environ):
        if name.startswith("XENVIF_TAGGER_") and name.endswith("_HELP"):
            del os.environ[name]  # click would take it for --help


def main():
    """The console script."""
    prepare()
    try:
        # Not cli(): that refuses to work in a locale without UTF-8 (click 8.0, Python 3.6), and
        # exits with 1, which says something else here, when the reader of its output has gone.
        with cli.make_context(NAME, sys.argv[1:]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted", 128 + signal.SIGINT)
    except BadRemote as error:
        fail(str(error), USAGE)
    except OvsdbError as error:
        fail(str(error), UNREACHABLE)
    except click.UsageError as error:
        # Those that click finds have a context; ours name the cure themselves.
        path = error.ctx.command_path if error.ctx else NAME
        fail("%s: see '%s --help'" % (error.format_message().rstrip("."), path), error.exit_code)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone. Everything is written to the database by then: end as
        # any filter does.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    except OSError as error:
        fail(str(error), UNREACHABLE)
