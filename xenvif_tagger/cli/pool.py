"""The commands ``pool status|check|doctor|version``."""
import sys

import click

from ..output.console import NOT_ALIKE, BadUsage, Unavailable, emit, warn
from ..output.text import is_terminal, width
from ..xapi import vms
from .options import Seconds


@click.group(no_args_is_help=False)
def pool():
    """Ask all hosts of a pool at once, each by its plugin of XAPI.

    A host that does not answer is told of in one line, and the exit status is that of the others'
    answers. It is 3 if there is none, or XAPI can't be reached.
    """


def pool_command(name, text):
    """Make the command of a name; text: its help."""
    @pool.command(name, help=text)
    @click.option("--json", is_flag=True, help="Print JSON.")
    @click.option("--host", "wanted", multiple=True, metavar="NAME-OR-UUID",
                  help="Only this host; several times, for several.")
    @click.option("--timeout", "within", type=Seconds(0.1), metavar="SECONDS", default=30,
                  help="How long each host may take: 30, if not given.")
    @click.pass_obj
    def command(options, json, wanted, within):
        run_pool(options, name, json, wanted, within)


pool_command("status", "Show each VIF's ports on each host, and whether they are alike.")
pool_command("check", "As status, and exit with 1 if any pair is in drift or conflict.")
pool_command("doctor", "Count what is right on each host, and show what is not; exit with 1 on a "
                       "FAIL.")
pool_command("version", "Show the version on each host, and whether they differ.")


def run_pool(options, function, json, wanted, within):
    """Ask the hosts for a function of their plugin, and tell what they answer."""
    shown = json or options.verbosity >= 0
    answers, problem = vms.guarded(options.xapi, vms.VM_WITHIN, lambda session: collect(
        options, session, function, wanted, within, shown))
    if problem:
        raise Unavailable(problem)
    # Here, since the other commands need none of it.
    from ..pool import report
    if json:
        emit(report.as_json(answers, function))
    else:
        options.say(report.lines(answers, function, width(), is_terminal(), options.verbosity > 0))
    for answer in answers:
        for line in [answer.problem] if answer.problem else answer.stderr:
            warn("%s: %s" % (answer.host.label, line))
    if all(answer.problem for answer in answers):
        raise Unavailable("no host has answered, of %d: see what is said of each" % len(answers))
    if any(answer.code for answer in answers):
        sys.exit(NOT_ALIKE)


def collect(options, session, function, wanted, within, named):
    """The answers (list of hosts.Answer) of the pool's hosts, in their order.

    :param session: a session.Xapi
    :param bool named: whether to look up the VMs' names
    """
    from ..pool import hosts
    from ..pool.answers import OF_PAIRS, name_vms
    from ..xapi.session import XapiError
    try:
        asked = hosts.hosts(session, wanted)
    except hosts.UnknownHost as error:
        raise BadUsage(str(error))
    coming = hosts.ask(session, asked, function, within)
    if options.verbosity >= 0 and sys.stderr.isatty():
        with click.progressbar(coming, length=len(asked), show_pos=True, file=sys.stderr,
                               label="hosts") as shown:
            answers = list(shown)
    else:
        answers = list(coming)
    answers.sort(key=lambda answer: asked.index(answer.host))
    if named and function in OF_PAIRS:
        try:
            name_vms([each for each in answers if each.problem is None], session.names)
        except XapiError as error:
            warn("no VM names: %s" % error)
    return answers
