"""What has changed at a VIF between two looks, in words: ``vif12.0 tag 5 -> 6``."""
from ..core import mark
from ..output import report
from ..output.text import clean


def lines(before, after):
    """What has changed, in the order of the ports; nothing where only our own marks have.

    :param before: decision.Outcome; None: the VIF had no port
    :param after: likewise
    :returns: list of str, for a terminal
    """
    old, new = _ports(before), _ports(after)
    found = []
    for name in list(new) + [name for name in old if name not in new]:
        if name not in new:
            found.append("%s gone" % name)
        elif name not in old:
            found.append("%s new on %s, tag %s" % (
                name, new[name].bridge, report.vlan(new[name].unit)))
        else:
            found += ["%s %s" % (name, what) for what in _port(old[name], new[name])]
    was = before.state if before else None
    if after and was != after.state and (was or report.is_news(after)):
        state = "%s -> %s" % (was, after.state) if was else after.state
        found.append("%s state %s" % (list(new)[0], state))
    return [clean(line) for line in found]


def _ports(outcome):
    return {port.name: port for port in outcome.decision.ports()} if outcome else {}


def _port(old, new):
    """What is different about a port (port.Port): list of str."""
    if old.uuid != new.uuid:
        yield "made anew"
    if old.bridge != new.bridge:
        yield "bridge %s -> %s" % (old.bridge, new.bridge)
    if old.unit != new.unit:
        yield "tag %s -> %s" % (report.vlan(old.unit), report.vlan(new.unit))
    if old.gone != new.gone:
        yield "device gone" if new.gone else "device back"
    for table in "Interface", "Port":
        was, now = old.ids[table], new.ids[table]
        for key in sorted(set(was) | set(now)):
            if was.get(key) != now.get(key) and key != mark.KEY:
                yield "%s %s -> %s" % (
                    key, report.value(was.get(key)), report.value(now.get(key)))
