"""`doctor`: is this dom0 set up right, and if not, which command mends it (DESIGN 6).

Each check is a small function: of files and processes in doctor_hook.py and doctor_stock.py, of
database, watcher and XAPI in doctor_ovs.py, doctor_watcher.py and doctor_xapi.py, or in
doctor_python.py. None needs root, a dom0, or that another one was right: what can't be known is
SKIP, with the reason. Nothing is written.
"""
from ..cli.options import BadUsage
from ..output.checks import FAIL, WARN, Check
from . import hook as doctor_hook
from . import libraries as doctor_python
from . import ovs as doctor_ovs
from . import stock as doctor_stock
from . import watcher as doctor_watcher
from . import xapi as doctor_xapi

# In the order in which they are told: from what all else stands on to what follows from it.
CHECKS = (
    ("config", doctor_hook.config_file),
    ("ovsdb", doctor_ovs.reachable),
    ("network", doctor_hook.network),
    ("xenopsd", doctor_hook.xenopsd),
    ("hook-setting", doctor_hook.hook_setting),
    ("hook-file", doctor_hook.hook_file),
    ("hook-read", doctor_hook.hook_read),
    ("stock-script", doctor_stock.stock_script),
    ("stock-add-port", doctor_stock.stock_add_port),
    ("plugged-before", doctor_stock.plugged_before),
    ("watcher", doctor_watcher.running),
    ("watcher-lock", doctor_watcher.lock),
    ("watcher-error", doctor_watcher.last_error),
    ("last-mirrored", doctor_watcher.last_mirrored),
    ("ovs-xapi-sync", doctor_ovs.xapi_sync),
    ("iface-id", doctor_ovs.iface_id),
    ("drift", doctor_ovs.drift),
    ("conflict", doctor_ovs.conflict),
    ("refused", doctor_ovs.refused),
    ("held", doctor_ovs.held),
    ("dead-vlan", doctor_ovs.dead_vlan),
    ("bridges", doctor_ovs.bridges),
    ("orphans", doctor_ovs.orphans),
    ("unmarked", doctor_ovs.unmarked),
    ("xapi-vifs", doctor_xapi.xapi_vifs),
    ("python", doctor_python.python),
    ("python-ovs", doctor_python.python_ovs),
    ("python-click", doctor_python.python_click),
    ("python-XenAPI", doctor_python.python_xenapi),
)


class Patient(object):
    """What is looked at: host (doctor_host.Host), database (doctor_ovs.Database), xapi
    (vms.Access) and watch (doctor_watcher.Watch)."""

    def __init__(self, host, database, xapi):
        self.host = host
        self.database = database
        self.xapi = xapi
        self.watch = doctor_watcher.Watch()


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
