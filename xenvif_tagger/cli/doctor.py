"""The command `doctor`."""
import sys

import click

from ..host import config
from ..output import report
from ..ovsdb import oneshot
from .options import NOT_ALIKE, absolute, emit


@click.command("doctor")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context, json):
    """Is this host set up right, and if not, which command mends it?

    Nothing is changed. What needs root or a dom0, and has not got it, is left out, and said so.
    Exit status: 1 if any check has failed.
    """
    # Here, since the other commands need none of it.
    from ..doctor.examine import Patient, examine, is_well
    from ..doctor.host import Host
    from ..doctor.ovs import Database
    from ..output import checks as doctor_check

    given = context.find_root().params
    host = Host(given["config_path"] or config.DEFAULT_PATH,
                must_have_config=bool(given["config_path"]))
    remote = given["db"] or host.values["ovsdb", "remote"] or oneshot.default_remote()
    # Not our own error: a remote that can't be understood is a finding.
    database = Database(absolute(remote), host.values,
                        given["timeout"] or host.values["ovsdb", "timeout"])
    checks = examine(Patient(host, database, context.obj.xapi))
    if json:
        emit(doctor_check.as_json(checks))
    else:
        context.obj.say(doctor_check.table(checks, report.width(), report.is_terminal()))
        context.obj.say([doctor_check.summary(checks)])
    if not is_well(checks):
        sys.exit(NOT_ALIKE)
