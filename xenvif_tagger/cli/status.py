"""The commands ``status`` and ``check``."""
import sys
from typing import List, Optional, Tuple

import click

from ..core.decision import STATES, Outcome
from ..host import pidfile
from ..host.paths import pidfile_path
from ..output import report
from ..output.console import NOT_ALIKE, BadUsage, emit, unknown
from ..output.text import is_terminal, width
from ..xapi import vms
from .options import Domid, Options, no_library


@click.command()
@click.argument("domid", type=Domid(), required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option("--follow", is_flag=True, help="Keep the table up to date, with the last changes "
                                             "below it, until q or Ctrl-C.")
@click.pass_obj
def status(options: Options, domid: Optional[int], json: bool, follow: bool) -> None:
    """Show each VIF's ports and whether they are alike.

    The table has the VLANs of both ports and the state of each VIF. The last line says whether the
    watcher runs.
    """
    if follow:
        keep_up(options, domid, json)
    else:
        show(options, domid, json)


@click.command()
@click.argument("domid", type=Domid(), required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(options: Options, domid: Optional[int], json: bool) -> None:
    """Print the table of status; exit with 1 on drift or conflict, if a port has still to be closed
    or repaired, or if ports can't be paired."""
    outcomes, unpaired = show(options, domid, json)
    if unpaired or any(STATES[outcome.state].fails_check or outcome.decision.is_substantial()
                       for outcome in outcomes):
        sys.exit(NOT_ALIKE)


def keep_up(options: Options, domid: Optional[int], json: bool) -> None:
    """Run ``status --follow``."""
    if json:
        raise BadUsage("--follow is for people: for JSON, call 'status --json' again and again")
    if options.verbosity < 0:
        raise BadUsage("--follow prints each change, and -q prints nothing: choose one")
    try:
        from ..follow.view import follow
    except ImportError as error:
        raise no_library("--follow", error)
    address, values = options.remote()
    follow(address, values, options.patience(values), options.xapi, domid)


def show(options: Options, domid: Optional[int],
         json: bool) -> Tuple[List[Outcome], List[List[str]]]:
    """Print the outcomes for a domain, or for all domains, and this host's watcher.

    :returns: ``(outcomes, unpaired)``; unpaired: as core.identity.unpaired returns, but [] if only
        one domain is asked for
    """
    driver = options.connect()
    outcomes = driver.look(None if domid is None else driver.vswitch.vifs(domid))
    if domid is not None and not outcomes:
        raise BadUsage(unknown("domain %d" % domid))
    unpaired = driver.vswitch.unpaired if domid is None else []
    # With -q nothing is printed (check then has its exit status only), so XAPI need not be asked.
    vm_names = vms.names_for(outcomes, options.xapi) if json or options.verbosity >= 0 else {}
    pid = pidfile.running(pidfile_path())
    if json:
        emit(report.as_json(outcomes, {
            "watcher": pid and {"pid": pid}, "unpaired": unpaired}, vm_names))
    else:
        options.say(report.table(outcomes, width(), is_terminal(), vm_names))
        options.say(report.unpaired(unpaired))
        options.say([report.watcher(pid, pidfile.lost_directory(pidfile_path()))])
    return outcomes, unpaired
