"""`doctor`: is this dom0 set up right, and if not, which command mends it (docs/design.md 6).

Each check is a small function: of files and processes in hook.py and stock.py, of the
database in database.py and ports.py, of watcher, XAPI and Python in watcher.py, xapi.py and
libraries.py. None needs root, a dom0, or that another one was right: what can't be known is SKIP,
with the reason. Nothing is written.
"""
from ..output.checks import FAIL, WARN, Check
from ..output.console import BadUsage
from . import database, hook, libraries, ports, stock, watcher, xapi

# In the order in which they are told: from what all else stands on to what follows from it.
CHECKS = (
    ("config", hook.config_file),
    ("ovsdb", database.reachable),
    ("network", hook.network),
    ("xenopsd", hook.xenopsd),
    ("hook-setting", hook.hook_setting),
    ("hook-file", hook.hook_file),
    ("hook-read", hook.hook_read),
    ("stock-script", stock.stock_script),
    ("stock-add-port", stock.stock_add_port),
    ("plugged-before", stock.plugged_before),
    ("watcher", watcher.running),
    ("watcher-lock", watcher.lock),
    ("watcher-error", watcher.last_error),
    ("last-mirrored", watcher.last_mirrored),
    ("ovs-xapi-sync", ports.xapi_sync),
    ("iface-id", ports.iface_id),
    ("drift", ports.drift),
    ("conflict", ports.conflict),
    ("refused", ports.refused),
    ("held", ports.held),
    ("dead-vlan", ports.dead_vlan),
    ("bridges", ports.bridges),
    ("orphans", ports.orphans),
    ("unmarked", ports.unmarked),
    ("xapi-vifs", xapi.xapi_vifs),
    ("python", libraries.python),
    ("python-ovs", libraries.python_ovs),
    ("python-click", libraries.python_click),
    ("python-XenAPI", libraries.python_xenapi),
)


class Patient(object):
    """What is looked at: host (host.Host), database (database.Database), xapi (vms.Access)
    and watch (watcher.Watch)."""

    def __init__(self, host, database, xapi):
        self.host = host
        self.database = database
        self.xapi = xapi
        self.watch = watcher.Watch()


def examine(patient, checks=CHECKS):
    """Make all checks: list of Check.

    :raises BadUsage: XAPI can't be asked with the options that were given
    """
    found = []
    for name, check in checks:
        try:
            state, what, cure = check(patient)
        except BadUsage:
            raise
        except Exception as error:  # a defect of one check is not to cost the others
            state, what, cure = WARN, "this check itself failed: %s: %s" % (
                type(error).__name__, error), None
        found.append(Check(name, state, what, cure))
    return found


def is_well(checks):
    """Whether none failed."""
    return all(check.state != FAIL for check in checks)
