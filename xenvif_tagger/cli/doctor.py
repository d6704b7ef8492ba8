"""The command `doctor`."""
import sys

import click

from ..host import config
from ..host.paths import default_remote
from ..output.console import NOT_ALIKE, emit
from ..output.text import is_terminal, width
from .options import absolute


@click.command("doctor")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context, json):
    """Is this host set up right, and if not, which command mends it?

    Nothing is changed. What needs root or a dom0, and has not got it, is left out, and said so.
    Exit status: 1 if any check has failed.
    """
    # Here, since the other commands need none of it.
    from ..doctor.database import Database
    from ..doctor.examine import Patient, examine, is_well
    from ..doctor.host import Host
    from ..output import checks

    given = context.find_root().params
    host = Host(given["config_path"] or config.DEFAULT_PATH,
                must_have_config=bool(given["config_path"]))
    remote = given["db"] or host.values["ovsdb", "remote"] or default_remote()
    # Not our own error: a remote that can't be understood is a finding.
    database = Database(absolute(remote), host.values,
                        given["timeout"] or host.values["ovsdb", "timeout"])
    found = examine(Patient(host, database, context.obj.xapi))
    if json:
        emit(checks.as_json(found))
    else:
        context.obj.say(checks.table(found, width(), is_terminal()))
        context.obj.say([checks.summary(found)])
    if not is_well(found):
        sys.exit(NOT_ALIKE)
