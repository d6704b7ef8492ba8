"""The commands ``mirror dom|port|vm|all``."""
import sys
from typing import Any, Callable, List, Optional, Tuple

import click

from ..core import names
from ..core.decision import STATES, Outcome
from ..output import report
from ..output.console import NOT_ALIKE, BadUsage, emit, fail, unknown
from ..output.text import width
from ..ovsdb.client import OvsdbError
from ..ovsdb.vswitch import Vswitch
from ..xapi import vms
from .options import Domid, Options, Port, Seconds


@click.group(no_args_is_help=False)
def mirror() -> None:
    """Copy the VLAN and external_ids of the right port to its sibling.

    If nothing says which of two siblings is right, neither is written.
    """


def mirror_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all mirror commands have."""
    decorators: Tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
        click.pass_obj,
        click.option("--wait", type=Seconds(0), metavar="SECONDS",
                     help="Wait up to SECONDS until both ports are there and have a VLAN."),
        click.option("--json", is_flag=True, help="Print JSON."),
        click.option("--dry-run", is_flag=True,
                     help="Print what would be changed, and write nothing."),
        click.option("--from", "from", type=click.Choice(names.SIDES),
                     help="Take this side's port as the right one, whatever the history says."),
    )
    for decorator in decorators:
        command = decorator(command)
    return command


@mirror.command("dom")
@click.argument("domid", type=Domid())
@mirror_options
def mirror_dom(options: Options, domid: int, **choices: Any) -> None:
    """Mirror the ports of domain DOMID."""
    run_mirror(options, "domain %d" % domid, lambda vswitch: vswitch.vifs(domid), **choices)


@mirror.command("port")
@click.argument("name", type=Port())
@mirror_options
def mirror_port(options: Options, name: str, **choices: Any) -> None:
    """Mirror the port NAME and its sibling."""
    parts = names.parse(name)
    if parts is None:
        raise BadUsage(
            "%s: not the name of a VIF's port: those are vifD.N, tapD.N, vifD.N-emu" % name)
    vif = parts[:2]
    run_mirror(options, name, lambda vswitch: [vif], **choices)


@mirror.command("vm")
@click.argument("name_or_uuid", metavar="NAME-OR-UUID")
@mirror_options
def mirror_vm(options: Options, name_or_uuid: str, **choices: Any) -> None:
    """Mirror the ports of the VM that XAPI knows by NAME-OR-UUID."""
    uuid, name, vifs = vms.find_vm(name_or_uuid, options.xapi)
    run_mirror(options, "VM %s" % name_or_uuid,
               lambda vswitch: vswitch.vifs_with(vms.VIF_KEY, vifs),
               vm_names=dict.fromkeys(vifs, (uuid, name)),
               cure="none of the VM's VIFs has a port here: does the VM run, and on this host?",
               **choices)


@mirror.command("all")
@mirror_options
def mirror_all(options: Options, **choices: Any) -> None:
    """Mirror the ports of all domains."""
    run_mirror(options, None, lambda vswitch: None, **choices)


def run_mirror(options: Options, target: Optional[str],
               find: Callable[[Vswitch], Optional[List[Tuple[int, int]]]], dry_run: bool,
               json: bool, wait: Optional[float], vm_names: Optional[report.Vms] = None,
               cure: Optional[str] = None, **side: Optional[str]) -> None:
    """Mirror some VIFs, or all, and print the outcomes.

    :param target: the port, domain or VM that the user has named; None for all VIFs. It is an error
        if a named target has no port, is refused or is in conflict
    :param find: gives the VIFs, each as (domid, devid); or None for all VIFs
    :param wait: seconds to wait at most until the VIFs are ready (OneShot.wait); None: do not wait
    :param vm_names: the VMs' names, if XAPI was asked for them
    :param cure: the end of the error where the target has no port
    :param side: has the one key ``from``, which no parameter can be named, since it is a keyword of
        Python: the side that is right, or None
    """
    if dry_run and wait is not None:
        raise BadUsage("--dry-run and --wait contradict each other: choose one")
    prefer = side["from"]
    driver = options.connect()
    is_ready = True
    port = target if names.parse(target or "") else None
    if wait is not None:
        is_ready, outcomes = driver.wait(lambda: find(driver.vswitch), wait, prefer, port)
    else:
        outcomes = (driver.look if dry_run else driver.mirror)(find(driver.vswitch), prefer)
    if port:
        outcomes = [outcome for outcome in outcomes if port in outcome.ports]
    if not outcomes and target and wait is None:
        raise BadUsage("%s: %s" % (target, cure) if cure else unknown(target))
    if json:
        emit(report.as_json(outcomes, vms=vm_names))
    else:
        show(options, outcomes, bool(target), dry_run or options.verbosity > 0)
    failed = [outcome for outcome in outcomes if outcome.problem and not outcome.written]
    if failed:
        raise OvsdbError("%s: not written: %s" % (
            failed[0].decision.ports()[0].name, failed[0].problem))
    if wait is not None and not is_ready:
        fail("%s: can't be mirrored within %g s: %s" % (target or "all", wait, ", ".join(
            "%s is %s" % (outcome.decision.ports()[0].name, outcome.state)
            for outcome in outcomes) or "there is no port"), NOT_ALIKE)
    wrong = [outcome for outcome in outcomes if STATES[outcome.state].fails_target]
    if target and wrong:
        if options.verbosity < 0:
            fail("%s: %s: %s" % (wrong[0].ports[0], wrong[0].state,
                                 wrong[0].decision.reason), NOT_ALIKE)
        sys.exit(NOT_ALIKE)


def show(options: Options, outcomes: List[Outcome], is_named: bool, details: bool) -> None:
    """Print the outcomes for people: each if the user has named a target or wants details, else
    the remarkable ones and a summary."""
    for outcome in outcomes:
        if is_named or details or report.is_remarkable(outcome):
            options.say(report.lines(outcome, width(), details))
    if not is_named:
        options.say([report.summary(outcomes)])
