"""The commands ``status`` and ``check``."""
import os
import sys

import click

from . import oneshot, pidfile, report, vms
from .console import NAME, NOT_ALIKE, BadUsage, Domid, emit, unknown
from .decide import CONFLICT, DRIFT


@click.command()
@click.argument("domid", type=Domid(), required=False)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(options, domid, json):
    """Show each VIF's ports, their VLANs, and whether they are alike; and the watcher."""
    show(options, domid, json)


@click.command()
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
    named = vms.names_for(outcomes, options.xapi) if json or options.verbosity >= 0 else {}
    pid = pidfile.running(os.path.join(oneshot.run_dir(), NAME + ".pid"))
    if json:
        emit(report.as_json(outcomes, {"watcher": pid and {"pid": pid}}, named))
    else:
        options.say(report.table(outcomes, report.width(), report.is_terminal(), named)
                    if outcomes else ["no VIF has a port here"])
        options.say(["watcher: " + ("running, pid %d" % pid if pid else "not running")])
    return outcomes
