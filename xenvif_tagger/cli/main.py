"""The command line: options, commands and exit codes. Scripts depend on all three as on a contract
(docs/design.md 6)."""
import gc
import os
import signal
import sys
from typing import NoReturn, Optional

import click

from .. import __version__
from ..host import config
from ..host.paths import NAME, run_dir
from ..output.console import UNREACHABLE, USAGE, BadUsage, fail, fail_unwritten
from ..ovsdb.client import BadRemote, OvsdbError
from ..xapi import vms
from .doctor import doctor
from .mirror import mirror
from .options import Options, Seconds, no_library
from .pool import pool
from .status import check, status

# The environment variable by which a shell asks for completions, named as click names it.
COMPLETE = "_XENVIF_TAGGER_COMPLETE"


@click.group(no_args_is_help=False,
             context_settings={"help_option_names": ["-h", "--help"],
                               "auto_envvar_prefix": "XENVIF_TAGGER"})
@click.option("--db", metavar="REMOTE",
              help="The database, as for ovs-vsctl: unix:PATH or tcp:HOST:PORT.")
@click.option("--config", "config_path", metavar="FILE", envvar="XENVIF_TAGGER_CONFIG",
              type=click.Path(), help="Config file, instead of %s." % config.DEFAULT_PATH)
@click.option("--timeout", type=Seconds(0.01), metavar="SECONDS",
              help="Seconds within which the database and XAPI must answer. Without this option "
                   "the database has the config file's timeout (5 if none is set), and XAPI has 10 "
                   "seconds, or 2 for the names in a table.")
@click.option("--xapi", metavar="REMOTE",
              help="The XAPI that knows the VMs' names: https://HOST or unix:PATH; this host's own "
                   "if not given. With the word none, XAPI is not asked.")
@click.option("--user", default="root", metavar="NAME",
              help="User of XAPI on another host; root if not given.")
@click.option("--password-file", metavar="FILE", type=click.Path(),
              help="File whose first line is the password of XAPI's user.")
@click.option("--no-verify", is_flag=True, help="Accept any TLS certificate from XAPI.")
@click.option("-v", "--verbose", is_flag=True, help="Print each change.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.version_option(__version__, prog_name=NAME, allow_from_autoenv=False)
@click.pass_context
def cli(context: click.Context, db: Optional[str], config_path: Optional[str],
        timeout: Optional[float], verbose: bool, quiet: bool, xapi: Optional[str], user: str,
        password_file: Optional[str], no_verify: bool) -> None:
    """Keep the two Open vSwitch ports of a Xen guest's NIC, vif and tap, configured alike.

    Exit status: 0 done, or nothing to do; 1 check found drift or conflict, a port that has still to
    be closed or repaired, or ports that can't be paired, or the port, domain or VM named to mirror
    was refused, in conflict or not ready in time, or a check of doctor has failed; 2 wrong usage,
    or unknown domain, port, VM or host; 3 the database can't be reached, or XAPI can't be reached
    and the command needs XAPI; 130 interrupted by Ctrl-C.
    """
    if verbose and quiet:
        raise BadUsage("-v and -q contradict each other: choose one")
    context.obj = Options(db, config_path, timeout, verbose - quiet, vms.Access(
        xapi, user, password_file, not no_verify, timeout))


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
def watch(options: Options, unixctl: Optional[str], private_key: Optional[str],
          certificate: Optional[str], ca_cert: Optional[str]) -> None:
    """Keep all ports alike from now on, in the foreground.

    systemd runs this command as xenvif-tagger.service.
    """
    address, values = options.remote()
    try:
        from ..replica import remote
        from ..watch import daemon
    except ImportError as error:
        raise no_library("the watcher", error)
    remote.prepare(address, {"private_key": private_key, "certificate": certificate,
                             "ca_cert": ca_cert})
    gc.enable()
    daemon.Daemon(address, values, run_dir(), unixctl and os.path.abspath(unixctl)).run()


for command in (mirror, status, check, doctor, pool):
    cli.add_command(command)


def prepare() -> None:
    """Set up this process: Ctrl-C, the standard streams, the garbage collector and the environment.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as __main__ leaves it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Some service managers start us without standard output or error. Nobody reads the output then,
    # and the exit status is the answer.
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    # The rows of the database form no reference cycles. With 10,000 ports the garbage collector's
    # search for cycles would take a fifth of the command's time.
    gc.disable()
    for name in list(os.environ):
        if name.startswith("XENVIF_TAGGER_") and name.endswith("_HELP"):
            del os.environ[name]  # click would read this variable as the option --help


def complete(instruction: str) -> NoReturn:
    """Answer a shell that completes a word, and exit.

    :param instruction: ``bash_complete`` or ``zsh_complete`` (hotplug/completion.*)
    """
    try:
        from click.shell_completion import shell_complete
    except ImportError:  # a host's own click 7
        sys.exit(1)
    try:
        code = shell_complete(cli, {}, NAME, COMPLETE, instruction)
    except (KeyError, ValueError, RuntimeError) as error:
        # No shell's completion script has set the variables that click reads.
        fail("%s=%s: can't be answered: %r: leave this variable to the shell's completion" % (
            COMPLETE, instruction, error), USAGE)
    sys.exit(code)


def main() -> None:
    """Run the command line."""
    try:
        prepare()
        if os.environ.get(COMPLETE):
            complete(os.environ[COMPLETE])
        # Not cli(): with click 8.0 on Python 3.6, cli() refuses to work in a locale without UTF-8.
        # And if the reader of our output has gone, cli() exits with 1, our code for NOT_ALIKE.
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
        # click's own messages name no cure, so we name the help of the command that click was
        # parsing. (Our own errors, in the next clause, name their cures themselves.)
        command_path = error.ctx.command_path if error.ctx else NAME
        fail("%s: see '%s --help'" % (error.format_message().rstrip("."), command_path),
             error.exit_code)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone. By now all changes are in the database: end as any
        # filter does, by SIGPIPE.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    except OSError as error:
        if error.filename is None:  # click's text for --help or --version
            fail_unwritten(error)
        fail(str(error), UNREACHABLE)
