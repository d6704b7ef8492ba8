"""The command `doctor`."""
import sys

import click

from ..host.paths import default_remote
from ..output.console import NOT_ALIKE, emit
from ..output.text import is_terminal, width
from .options import Options, absolute


@click.command("doctor")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context: click.Context, json: bool) -> None:
    """Check whether this host is set up right.

    Each check that finds a problem names the command that mends the problem; doctor itself changes
    nothing. A check that can't be done without root, or outside of a dom0, says so. Exit status:
    1 if any check has failed.
    """
    # Imported here, because no other command needs these modules.
    from ..doctor.database import Database
    from ..doctor.examine import examine, is_well
    from ..doctor.host import Host
    from ..doctor.patient import Patient
    from ..output import checks

    options: Options = context.obj
    root_options = context.find_root().params
    host = Host(root_options["config_path"])
    # The check `ovsdb` reports a malformed remote: this command does not end with an error.
    remote = absolute(root_options["db"] or host.values["ovsdb", "remote"] or default_remote())
    database = Database(remote, host.values,
                        root_options["timeout"] or host.values["ovsdb", "timeout"])
    results = examine(Patient(host, database, options.xapi))
    if json:
        emit(checks.as_json(results))
    else:
        options.say(checks.table(results, width(), is_terminal()))
        options.say([checks.summary(results)])
    if not is_well(results):
        sys.exit(NOT_ALIKE)
