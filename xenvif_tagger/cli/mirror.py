"""The commands ``mirror dom|port|vm|all``."""
import sys

import click

from ..core import names
from ..core.decision import STATES
from ..output import report
from ..output.console import NOT_ALIKE, BadUsage, emit, fail, unknown
from ..output.text import width
from ..ovsdb.client import OvsdbError
from ..xapi import vms
from .options import Domid, Port, Seconds


@click.group(no_args_is_help=False)
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
@click.argument("name", type=Port())
@mirror_options
def mirror_port(options, name, **how):
    """The port NAME and its sibling."""
    found = names.parse(name)
    if found is None:
        raise BadUsage(
            "%s: not the name of a VIF's port: those are vifD.N, tapD.N, vifD.N-emu" % name)
    run_mirror(options, name, lambda shot: [found[:2]], **how)


@mirror.command("vm")
@click.argument("wanted", metavar="NAME-OR-UUID")
@mirror_options
def mirror_vm(options, wanted, **how):
    """The ports of the VM NAME-OR-UUID, which XAPI knows."""
    uuid, name, vifs = vms.find_vm(wanted, options.xapi)
    run_mirror(options, "VM %s" % wanted, lambda shot: shot.vswitch.vifs_with(vms.VIF_KEY, vifs),
               named=dict.fromkeys(vifs, (uuid, name)),
               cure="none of its VIFs has a port here: is it running, and on this host?", **how)


@mirror.command("all")
@mirror_options
def mirror_all(options, **how):
    """The ports of all domains."""
    run_mirror(options, None, lambda shot: None, **how)


def run_mirror(options, target, find, dry_run, json, wait, named=None, cure=None, **how):
    """Mirror the VIFs that find(shot) gives (as oneshot takes them).

    :param target: what the user named, None for all: a named target that is not there, is refused
        or in conflict is an error
    :param named: the VMs' names, as report.as_json takes them
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
        emit(report.as_json(outcomes, vms=named))
    else:
        details = dry_run or options.verbosity > 0
        told = outcomes if target or details else [
            outcome for outcome in outcomes if report.is_news(outcome)]
        options.say(line for outcome in told for line in report.lines(
            outcome, width(), details))
        if not target:
            options.say([report.summary(outcomes)])
    failed = [outcome for outcome in outcomes if outcome.problem and not outcome.written]
    if failed:
        raise OvsdbError("%s: not written: %s" % (
            failed[0].decision.ports()[0].name, failed[0].problem))
    if not ready:
        fail("%s: can't be mirrored within %g s: %s" % (target or "all", wait, ", ".join(
            "%s is %s" % (outcome.decision.ports()[0].name, outcome.state)
            for outcome in outcomes) or "it has no port"), NOT_ALIKE)
    wrong = [outcome for outcome in outcomes if STATES[outcome.state].fails_target]
    if target and wrong:
        if options.verbosity < 0:
            fail("%s: %s: %s" % (wrong[0].ports[0], wrong[0].state,
                                 wrong[0].decision.reason), NOT_ALIKE)
        sys.exit(NOT_ALIKE)
