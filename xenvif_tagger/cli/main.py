"""The command line (docs/design.md 6): a contract that scripts depend on. Its commands, and its
ends.
"""
import gc
import os
import signal
import sys

import click

from .. import __version__
from ..host import config
from ..host.paths import NAME, run_dir
from ..output.console import UNREACHABLE, USAGE, BadUsage, fail
from ..ovsdb.client import BadRemote, OvsdbError
from ..xapi import vms
from .doctor import doctor
from .mirror import mirror
from .options import Options, Seconds, no_library
from .pool import pool
from .status import check, status

COMPLETE = "_XENVIF_TAGGER_COMPLETE"  # what a shell asks, as click names it


@click.group(no_args_is_help=False,
             context_settings={"help_option_names": ["-h", "--help"],
                               "auto_envvar_prefix": "XENVIF_TAGGER"})
@click.option("--db", metavar="REMOTE", help="OVSDB, as for ovs-vsctl: unix:PATH or tcp:HOST:PORT.")
@click.option("--config", "config_path", metavar="FILE", envvar="XENVIF_TAGGER_CONFIG",
              type=click.Path(), help="Config file, instead of %s." % config.DEFAULT_PATH)
@click.option("--timeout", type=Seconds(0.01), metavar="SECONDS",
              help="How long the database may take to answer: 5, if not said here or there. "
                   "XAPI: 10, and 2 for the names in a table.")
@click.option("--xapi", metavar="REMOTE",
              help="XAPI, for VMs' names: https://HOST, or unix:PATH; this host's own, if not "
                   "given; none, for a table without names.")
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
def watch(options, unixctl, **pem):
    """Keep all ports alike from now on, in the foreground: systemd runs this."""
    address, values = options.remote()
    try:
        from ..replica import remote
        from ..watch import daemon
    except ImportError as error:
        raise no_library("the watcher", error)
    remote.prepare(address, pem)
    gc.enable()
    daemon.Daemon(address, values, run_dir(), unixctl and os.path.abspath(unixctl)).run()


for command in (mirror, status, check, doctor, pool):
    cli.add_command(command)


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


def complete(instruction):
    """Answer the shell: ``bash_complete`` or ``zsh_complete`` (hotplug/completion.*); exits."""
    try:
        from click.shell_completion import shell_complete
    except ImportError:  # a host's own click 7
        sys.exit(1)
    try:
        code = shell_complete(cli, {}, NAME, COMPLETE, instruction)
    except (KeyError, ValueError, RuntimeError) as error:  # no shell has asked so
        fail("%s=%s: can't be answered: %r" % (COMPLETE, instruction, error), USAGE)
    sys.exit(code)


def main():
    """The console script."""
    prepare()
    try:
        if os.environ.get(COMPLETE):
            complete(os.environ[COMPLETE])
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
