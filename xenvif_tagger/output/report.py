"""What the commands print: tables and lines for people, JSON for scripts (docs/design.md 6)."""
import json

import click

from ..core.decision import STATES
from ..core.port import after
from ..core.unit import UNIT
from .text import clean, fit, indented, size

NOTHING = "no VIF has a port here"  # in the place of the table
HEADER = ("VM", "BRIDGE", "VIF", "TAG", "TAP", "TAG", "STATE")
# The table's columns that may be cut, and how wide they are at most: VM, BRIDGE and both TAGs. A
# list of trunks as wide as it will go drives the other columns apart: JSON has all of it.
CUT = {0: None, 1: None, 3: 24, 5: 24}


def _port_json(port, changes):
    if port is None:
        return None
    unit, ids = after(port, changes)
    found = {column: unit.get(column, [] if kind is list else None)
             for column, kind in UNIT.items()}
    return dict(found, port=port.name, external_ids=ids["Interface"])


def as_json(outcomes, more=None, vms=None):
    """The outcomes (list of decision.Outcome) as the JSON text of the README, and more (dict).

    :param vms: what XAPI knows: dict xs-vif-uuid -> (uuid, name) of the VM; None: not asked
    """
    pairs = []
    for outcome in outcomes:
        decision = outcome.decision
        made = decision.changes if outcome.written else ()
        pairs.append({
            "domid": outcome.domid, "devid": outcome.devid,
            "bridge": decision.ports()[0].bridge, "vm": _vm_json(outcome, vms or {}),
            "vif": _port_json(decision.vif, made), "tap": _port_json(decision.tap, made),
            "state": outcome.state, "reason": outcome.problem or decision.reason,
            "source": decision.source, "target": decision.target,
            "changes": [dict(change._asdict()) for change in decision.changes]})
    return json.dumps(dict(more or {}, pairs=pairs), indent=2, sort_keys=True)


def vlan(unit):
    """A VLAN unit in a few letters: ``5``, ``trunk:5,6``; ``trunk``, of every VLAN, for an empty
    one."""
    if not unit:
        return "trunk"
    words = [str(unit["tag"])] if "tag" in unit else []
    if set(unit) - {"tag"}:
        mode = unit.get("vlan_mode", "access" if "tag" in unit else "trunk")
        words.append(mode if "trunks" not in unit else "%s:%s" % (
            mode, ",".join(str(vlan) for vlan in unit["trunks"])))
    return " ".join(words)


def _owner(outcome, vms):
    """Whose VIF it is, by XAPI (see as_json) or by libxl: (uuid or None, name); else None."""
    for port in outcome.decision.ports():
        ids = port.ids["Interface"]
        if ids.get("xs-vif-uuid") in vms:
            return vms[ids["xs-vif-uuid"]]
        if ids.get("xen-vm-name"):
            return ids.get("xen-vm-uuid"), ids["xen-vm-name"]
    return None


def _vm_json(outcome, vms):
    owner = _owner(outcome, vms)
    return owner and {"uuid": owner[0], "name": owner[1]}


def vm_of(outcome, vms):
    """What is known of whose VIF it is: the VM's name, or else the start of its uuid."""
    owner = _owner(outcome, vms)
    return vm_cell(owner and owner[1], [
        port.ids["Interface"] for port in outcome.decision.ports()], outcome.domid)


def vm_cell(name, ids, domid):
    """A VM by its name (or None), or else by what the external_ids (dict) of its ports have."""
    for each in () if name else ids:
        uuid = each.get("xs-vm-uuid") or each.get("xen-vm-uuid")
        if uuid:
            return uuid[:8]
    return name or "dom %d" % domid


def _sizes(rows, width, cut):
    """How wide each column is: as wide as its cells, but the row not wider than width, if some of
    those that may be cut are cut for it."""
    sizes = [max(size(row[column]) for row in rows) for column in range(len(rows[0]))]
    for column, most in cut.items():
        sizes[column] = min(sizes[column], most or sizes[column])
    while sum(sizes) + 2 * (len(sizes) - 1) > width:
        widest = max(cut, key=lambda column: sizes[column])
        if sizes[widest] <= 5:
            break
        sizes[widest] -= 1
    return sizes


def grid(rows, width, cut, colour):
    """Rows of cells (str), of which the first is the header, as lines of so many columns.

    :param int width: columns of the terminal
    :param cut: the columns (int) that may be cut for it -> how wide they are at most, or None
    :param bool colour: whether to colour the last column, where that is a state
    """
    rows = [tuple(clean(cell) for cell in row) for row in rows]
    sizes = _sizes(rows, width, cut)
    lines = []
    for row in rows:
        last = row[-1]
        if colour and lines:
            known = STATES.get(last)
            last = click.style(last, fg=known and known.colour)
        line = "  ".join([fit(cell, columns) for cell, columns in zip(row[:-1], sizes)] + [last])
        lines.append(line if lines or not colour else click.style(line, bold=True))
    return lines


def row(vm, bridge, ports, state):
    """The cells of a VIF in the table.

    :param ports: of its vif and its tap: (name, VLAN unit), or None where there is none
    """
    cells = [vm, bridge]
    for port in ports:
        cells += [port[0], vlan(port[1])] if port else ["-", "-"]
    return cells + [state]


def blocks(outcomes, width, colour, vms=None):
    """The table in pieces: its header, and for each VIF its row, and below it the reason where
    something is not as it should be.

    :param outcomes: list of decision.Outcome
    :param int width: columns to fill
    :param bool colour: whether to colour the states
    :param vms: as as_json takes them
    :returns: list of lists of lines
    """
    rows = [HEADER]
    for outcome in outcomes:
        decision = outcome.decision
        rows.append(row(vm_of(outcome, vms or {}), decision.ports()[0].bridge, [
            port and (port.name, port.unit) for port in (decision.vif, decision.tap)],
            outcome.state))
    found = [[line] for line in grid(rows, width, CUT, colour)]
    for block, outcome in zip(found[1:], outcomes):
        if is_news(outcome):
            block += reason_lines(outcome, width)
    return found


def table(outcomes, width, colour, vms=None):
    """The lines of ``blocks``, which see; one that says so where there is no VIF."""
    if not outcomes:
        return [NOTHING]
    return [line for block in blocks(outcomes, width, colour, vms) for line in block]


def watcher(pid):
    """The line about this host's watcher, by its pid (int or None)."""
    return "watcher: " + ("running, pid %d" % pid if pid else "not running")


def reason_lines(outcome, width):
    """The reason, indented and wrapped."""
    return indented(outcome.problem or outcome.decision.reason, width)


def is_news(outcome):
    """Whether there is something to tell: it was done, or is not as it should be."""
    decision = outcome.decision
    return (STATES[outcome.state].shows_reason or bool(decision.split)
            or outcome.problem is not None)


def summary(outcomes):
    """``3 VIFs: 1 mirrored, 2 in-sync``."""
    count = {}
    for outcome in outcomes:
        count[outcome.state] = count.get(outcome.state, 0) + 1
    return "%d VIF%s: %s" % (len(outcomes), "" if len(outcomes) == 1 else "s", ", ".join(
        "%d %s" % (count[state], state) for state in sorted(count)) or "none")


def value(value):
    """What a cell of the database has, in words."""
    if value is None:
        return "(none)"
    return json.dumps(value, ensure_ascii=False)


def lines(outcome, width, details):
    """What happened to one VIF, in lines: who, state, why; and with details (bool) each change."""
    decision = outcome.decision
    who = " -> ".join([decision.source, decision.target]) if decision.target else " and ".join(
        port.name for port in decision.ports())
    said = ["%s: %s" % (who, outcome.state)] + reason_lines(outcome, width)
    if details:
        for change in decision.changes:
            what = change.column if change.key is None else "%s:%s" % (change.column, change.key)
            said.append(clean("    %s %s %s: %s -> %s" % (
                change.table, change.row, what, value(change.old), value(change.new))))
    return said
