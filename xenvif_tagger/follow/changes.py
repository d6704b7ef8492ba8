"""The changes of a VIF from one look to the next, in words: ``vif12.0 tag 5 -> 6``."""
from typing import Dict, Iterator, List, Optional

from ..core import mark
from ..core.decision import Outcome
from ..core.port import Port
from ..output import report
from ..output.text import clean


def lines(before: Optional[Outcome], after: Optional[Outcome]) -> List[str]:
    """The changes of a VIF, in the order of its ports; changes of our own marks are left out.

    :param before: the outcome of the previous look; None if the VIF had no port then
    :param after: the outcome of this look; None if the VIF has no port now
    :returns: lines for a terminal
    """
    old, new = _ports(before), _ports(after)
    changes = []
    for name in list(new) + [name for name in old if name not in new]:
        if name not in new:
            changes.append("%s gone" % name)
        elif name not in old:
            changes.append("%s new on %s, tag %s" % (
                name, new[name].bridge, report.vlan(new[name].unit)))
        else:
            changes += ["%s %s" % (name, change) for change in _port_changes(old[name], new[name])]
    if after:
        old_state = before.state if before else None
        if old_state is None and report.is_remarkable(after):
            changes.append("%s state %s" % (list(new)[0], after.state))
        elif old_state is not None and old_state != after.state:
            changes.append("%s state %s -> %s" % (list(new)[0], old_state, after.state))
    return [clean(line) for line in changes]


def _ports(outcome: Optional[Outcome]) -> Dict[str, Port]:
    return {port.name: port for port in outcome.decision.ports()} if outcome else {}


def _port_changes(old: Port, new: Port) -> Iterator[str]:
    if old.uuid != new.uuid:
        yield "made anew"
    if old.bridge != new.bridge:
        yield "bridge %s -> %s" % (old.bridge, new.bridge)
    if old.unit != new.unit:
        yield "tag %s -> %s" % (report.vlan(old.unit), report.vlan(new.unit))
    if old.gone != new.gone:
        yield "device gone" if new.gone else "device back"
    for table in "Interface", "Port":
        old_ids, new_ids = old.ids[table], new.ids[table]
        for key in sorted(set(old_ids) | set(new_ids)):
            if old_ids.get(key) != new_ids.get(key) and key != mark.KEY:
                yield "%s %s -> %s" % (
                    key, report.value(old_ids.get(key)), report.value(new_ids.get(key)))
