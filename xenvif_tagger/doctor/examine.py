"""`doctor`: is this dom0 set up right, and if not, which command mends it (docs/design.md 6).

Each check is a small function: of files and processes in hook.py and stock.py, of the database in
ports.py, of watcher, XAPI and Python in watcher.py, xapi.py and libraries.py. A check works without
root, without a dom0, and whatever the other checks have found: where it can't know, its result is
SKIP, with the reason. No check writes anything.
"""
from typing import Iterable, List, Tuple

from ..output.checks import FAIL, WARN, Check
from ..output.console import BadUsage
from . import hook, libraries, ports, stock, watcher, xapi
from .patient import Examination, Patient

# In the order in which they are printed: a fault comes before the faults that follow from it.
CHECKS: Tuple[Tuple[str, Examination], ...] = (
    ("config", hook.config_file),
    ("ovsdb", ports.reachable),
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
    ("hold-bridges", ports.hold_bridges),
    ("held", ports.held),
    ("unbound", ports.unbound),
    ("dead-vlan", ports.dead_vlan),
    ("bridges", ports.bridges),
    ("unpaired", ports.unpaired),
    ("orphans", ports.orphans),
    ("unmarked", ports.unmarked),
    ("xapi-vifs", xapi.xapi_vifs),
    ("python", libraries.python),
    ("python-ovs", libraries.python_ovs),
    ("python-click", libraries.python_click),
    ("python-XenAPI", libraries.python_xenapi),
)


def examine(patient: Patient,
            checks: Iterable[Tuple[str, Examination]] = CHECKS) -> List[Check]:
    """Make the checks.

    :raises BadUsage: XAPI can't be asked with the options that were given
    """
    results = []
    for name, check in checks:
        try:
            state, words, cure = check(patient)
        except BadUsage:
            raise
        except Exception as error:  # a defect of one check must not cost the others
            state, words, cure = WARN, "this check itself failed: %s: %s" % (
                type(error).__name__, error), None
        results.append(Check(name, state, words, cure))
    return results


def is_well(checks: Iterable[Check]) -> bool:
    """Whether none of the checks has failed."""
    return all(check.state != FAIL for check in checks)
