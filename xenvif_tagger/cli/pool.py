"""The commands ``pool status|check|doctor|version``."""
import sys
from typing import TYPE_CHECKING, List, Tuple

import click

from ..output.console import NOT_ALIKE, BadUsage, Unavailable, emit, warn
from ..output.text import is_terminal, width
from ..xapi import vms
from .options import Options, Seconds

if TYPE_CHECKING:
    from ..pool.hosts import Answer
    from ..xapi.session import Xapi


@click.group(no_args_is_help=False)
def pool() -> None:
    """Ask all hosts of a pool at once, by a plugin of XAPI.

    A line on standard error names each host that does not answer. Exit status: 0 if the command's
    exit status is 0 on all hosts that answer, else 1; 3 if no host answers, or XAPI can't be
    reached.
    """


def pool_command(name: str, help_text: str) -> None:
    """Add the command ``pool NAME`` with its help."""
    @pool.command(name, help=help_text)
    @click.option("--json", is_flag=True, help="Print JSON.")
    @click.option("--host", "wanted", multiple=True, metavar="NAME-OR-UUID",
                  help="Ask only this host; may be given several times.")
    @click.option("--timeout", "within", type=Seconds(0.1), metavar="SECONDS", default=30,
                  help="How long each host may take; 30 if not given.")
    @click.pass_obj
    def command(options: Options, json: bool, wanted: Tuple[str, ...], within: float) -> None:
        run_pool(options, name, json, wanted, within)


pool_command("status", "Show each VIF's ports on each host, and whether they are alike.")
pool_command("check", "Print the table of status; exit with 1 on drift or conflict, if a port has "
                      "still to be closed or repaired, or if ports can't be paired.")
pool_command("doctor", "Run doctor on each host.\n\nFor each host the number of checks in each "
                       "state is shown, and each check that says WARN or FAIL. Exit status: 1 if "
                       "any check says FAIL.")
pool_command("version", "Show each host's version, and whether the versions differ.")


def run_pool(options: Options, function: str, json: bool, wanted: Tuple[str, ...],
             within: float) -> None:
    """Call a function of the plugin on the hosts, and print their answers.

    :param function: "status", "check", "doctor" or "version"
    :param wanted: names or uuids of hosts; empty for all hosts
    :param within: seconds for each host
    """
    is_shown = json or options.verbosity >= 0
    answers = vms.ask_xapi(options.xapi, vms.VM_WITHIN, lambda session: collect(
        options, session, function, wanted, within, is_shown))
    # Imported here, because no other command needs this module.
    from ..pool import report
    if json:
        emit(report.as_json(answers, function))
    else:
        options.say(report.lines(answers, function, width(), is_terminal(), options.verbosity > 0))
    for answer in answers:
        for line in [answer.problem] if answer.problem else answer.stderr or []:
            warn("%s: %s" % (answer.host.label, line))
    if all(answer.problem for answer in answers):
        raise Unavailable("no host has answered, of %d: see the line about each host" % (
            len(answers)))
    if any(answer.code for answer in answers):
        sys.exit(NOT_ALIKE)


def collect(options: Options, session: "Xapi", function: str, wanted: Tuple[str, ...],
            within: float, with_names: bool) -> "List[Answer]":
    """The answers of the pool's hosts, in the order of the hosts.

    :param session: logged in to XAPI
    :param with_names: whether the answers are to have the VMs' names
    """
    from ..pool import hosts
    from ..pool.answers import OF_PAIRS, name_vms
    from ..xapi.session import XapiError
    try:
        asked = hosts.hosts(session, wanted)
    except hosts.UnknownHost as error:
        raise BadUsage(str(error))
    arriving = hosts.ask(session, asked, function, within)
    if options.verbosity >= 0 and sys.stderr.isatty():
        with click.progressbar(arriving, length=len(asked), show_pos=True, file=sys.stderr,
                               label="hosts") as bar:
            answers = list(bar)
    else:
        answers = list(arriving)
    answers.sort(key=lambda answer: asked.index(answer.host))
    if with_names and function in OF_PAIRS:
        try:
            name_vms([answer.output for answer in answers if answer.problem is None],
                     session.names)
        except XapiError as error:
            warn("no VM names: %s" % error)
    return answers
