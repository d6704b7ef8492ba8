"""The output of the commands about VIFs: tables and lines for people, JSON for scripts
(docs/design.md 6)."""
import json
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import click

from ..core.decision import STATES, Outcome
from ..core.port import Change, Port, after, cell_of
from ..core.unit import UNIT, vlan_of
from .text import clean, fit, indented, size

Uuid = str
# The VMs of some VIFs, by XAPI: xs-vif-uuid of a VIF -> (uuid, name) of the VIF's VM.
Vms = Mapping[Uuid, Tuple[Uuid, str]]

NOTHING = "no VIF has a port here"  # printed in place of an empty table
HEADER = ("VM", "BRIDGE", "VIF", "TAG", "TAP", "TAG", "STATE")
# The numbers of the table's columns that may be cut -> the greatest width of the column. VM and
# BRIDGE have no such limit (None). Both TAG columns have one: a long list of trunks would drive the
# other columns apart. (JSON has the whole list.)
CUT: Dict[int, Optional[int]] = {0: None, 1: None, 3: 24, 5: 24}


def _port_json(port: Optional[Port], changes: Iterable[Change]) -> Optional[Dict[str, Any]]:
    if port is None:
        return None
    unit, ids = after(port, changes)
    columns = {column: unit.get(column, [] if kind is list else None)
               for column, kind in UNIT.items()}
    return dict(columns, port=port.name, external_ids=ids["Interface"], gone=port.gone)


def as_json(outcomes: Iterable[Outcome], more: Optional[Mapping[str, Any]] = None,
            vms: Optional[Vms] = None) -> str:
    """The outcomes as JSON text, of the form that the README documents.

    :param more: further keys and values of the JSON object, beside ``pairs``
    :param vms: the VMs of the VIFs, by XAPI; None if XAPI was not asked
    """
    pairs = []
    for outcome in outcomes:
        decision = outcome.decision
        written = decision.changes if outcome.written else ()
        pairs.append({
            "domid": outcome.domid, "devid": outcome.devid,
            "bridge": decision.ports()[0].bridge, "vm": _vm_json(outcome, vms or {}),
            "vif": _port_json(decision.vif, written), "tap": _port_json(decision.tap, written),
            "state": outcome.state, "reason": outcome.problem or decision.reason,
            "source": decision.source, "target": decision.target,
            "changes": [{name: getattr(change, name) for name in change.__slots__}
                        for change in decision.changes]})
    return json.dumps(dict(more or {}, pairs=pairs), indent=2, sort_keys=True)


def vlan(unit: Dict[str, Any]) -> str:
    """A VLAN unit in a few letters: ``5``, ``trunk:5,6``; ``trunk`` for a unit without a VLAN,
    which is a trunk of every VLAN."""
    unit = vlan_of(unit)
    if not unit:
        return "trunk"
    words = [str(unit["tag"])] if "tag" in unit else []
    if set(unit) - {"tag"}:
        mode = unit.get("vlan_mode", "access" if "tag" in unit else "trunk")
        words.append(mode if "trunks" not in unit else "%s:%s" % (
            mode, ",".join(str(trunk) for trunk in unit["trunks"])))
    return " ".join(words)


def port_cell(unit: Dict[str, Any], gone: bool) -> str:
    """The table's cell for a port: the VLAN unit, and ``gone`` if the port's device is gone."""
    return vlan(unit) + (" gone" if gone else "")


def _owner(outcome: Outcome, vms: Vms) -> Optional[Tuple[Optional[Uuid], str]]:
    """The VM that has the VIF, by XAPI (vms) or by the external_ids of libxl: (uuid or None, name).
    None if neither names a VM."""
    for port in outcome.decision.ports():
        ids = port.ids["Interface"]
        if ids.get("xs-vif-uuid") in vms:
            return vms[ids["xs-vif-uuid"]]
        if ids.get("xen-vm-name"):
            return ids.get("xen-vm-uuid"), ids["xen-vm-name"]
    return None


def _vm_json(outcome: Outcome, vms: Vms) -> Optional[Dict[str, Optional[str]]]:
    owner = _owner(outcome, vms)
    return owner and {"uuid": owner[0], "name": owner[1]}


def vm_of(outcome: Outcome, vms: Vms) -> str:
    """The table's cell for the VM that has the VIF."""
    owner = _owner(outcome, vms)
    return vm_cell(owner and owner[1], [
        port.ids["Interface"] for port in outcome.decision.ports()], outcome.domid)


def vm_cell(name: Optional[str], port_ids: Iterable[Mapping[str, str]], domid: int) -> str:
    """The table's cell for a VM: the VM's name; if the name is not known, the start of the VM's
    uuid; if neither is known, the domain.

    :param port_ids: for each port of the VM's VIF, the external_ids of its Interface
    """
    if name:
        return name
    for ids in port_ids:
        uuid = ids.get("xs-vm-uuid") or ids.get("xen-vm-uuid")
        if uuid:
            return uuid[:8]
    return "dom %d" % domid


def _sizes(rows: Sequence[Sequence[str]], width: int,
           cut: Mapping[int, Optional[int]]) -> List[int]:
    """The width of each column: that of its widest cell. If the rows would be wider than ``width``,
    the columns that may be cut become narrower, down to 5."""
    sizes = [max(size(row[column]) for row in rows) for column in range(len(rows[0]))]
    for column, most in cut.items():
        sizes[column] = min(sizes[column], most or sizes[column])
    while sum(sizes) + 2 * (len(sizes) - 1) > width:
        widest = max(cut, key=lambda column: sizes[column])
        if sizes[widest] <= 5:
            break
        sizes[widest] -= 1
    return sizes


def grid(rows: Iterable[Sequence[str]], width: int, cut: Mapping[int, Optional[int]],
         colour: bool) -> List[str]:
    """The lines of a table.

    :param rows: the cells of each line; the first row is the header
    :param width: columns of the terminal
    :param cut: the number of each column that may be cut -> how wide it may be at most, or None
    :param colour: whether to colour the last column, where its cell is a state
    """
    clean_rows = [tuple(clean(cell) for cell in row) for row in rows]
    sizes = _sizes(clean_rows, width, cut)
    lines: List[str] = []
    for row in clean_rows:
        last = row[-1]
        if colour and lines:
            last = click.style(last, fg=STATES[last].colour if last in STATES else None)
        line = "  ".join([fit(cell, columns) for cell, columns in zip(row[:-1], sizes)] + [last])
        lines.append(line if lines or not colour else click.style(line, bold=True))
    return lines


def row(vm: str, bridge: str, ports: Iterable[Optional[Tuple[str, str]]],
        state: str) -> List[str]:
    """The cells of a VIF in the table.

    :param ports: the vif, then the tap, each as (name, VLAN in words); None for a missing port
    """
    cells = [vm, bridge]
    for port in ports:
        cells += list(port) if port else ["-", "-"]
    return cells + [state]


def blocks(outcomes: Sequence[Outcome], width: int, colour: bool,
           vms: Optional[Vms] = None) -> List[List[str]]:
    """The table in pieces, each a list of lines: first the header, then a piece for each VIF. The
    piece has the VIF's row and, if the outcome is remarkable, the reason below the row.

    :param width: columns to fill
    :param colour: whether to colour the states
    :param vms: the VMs of the VIFs, by XAPI; None if XAPI was not asked
    """
    rows: List[Sequence[str]] = [HEADER]
    for outcome in outcomes:
        decision = outcome.decision
        rows.append(row(vm_of(outcome, vms or {}), decision.ports()[0].bridge, [
            (port.name, port_cell(port.unit, port.gone)) if port else None
            for port in (decision.vif, decision.tap)], outcome.state))
    pieces = [[line] for line in grid(rows, width, CUT, colour)]
    for piece, outcome in zip(pieces[1:], outcomes):
        if is_remarkable(outcome):
            piece += reason_lines(outcome, width)
    return pieces


def table(outcomes: Sequence[Outcome], width: int, colour: bool,
          vms: Optional[Vms] = None) -> List[str]:
    """The lines of ``blocks``, which describes the parameters; if there is no VIF, one line that
    says so."""
    if not outcomes:
        return [NOTHING]
    return [line for block in blocks(outcomes, width, colour, vms) for line in block]


def watcher(pid: Optional[int], lost: Optional[str] = None) -> str:
    """The line about this host's watcher.

    :param pid: the watcher's pid; None if no watcher is found
    :param lost: the pidfile's directory, if it does not exist, as host.pidfile.lost_directory
        returns
    """
    if lost:
        return "watcher: not known, there is no %s" % clean(lost)
    return "watcher: " + ("running, pid %d" % pid if pid else "not running")


def unpaired(groups: Iterable[Sequence[str]]) -> List[str]:
    """A line for each group of ports that core.identity.unpaired returns."""
    return [clean("not paired: %s: they have the MAC of one NIC, but not the names of a pair" % (
        " and ".join(group))) for group in groups]


def reason_lines(outcome: Outcome, width: int) -> List[str]:
    """The reason for an outcome, as indented lines."""
    return indented(outcome.problem or outcome.decision.reason, width)


def is_remarkable(outcome: Outcome) -> bool:
    """Whether people want to read the reason: a port was changed or is not as it should be, or the
    two ports keep different values of an external_id."""
    decision = outcome.decision
    return (STATES[outcome.state].shows_reason or bool(decision.split)
            or outcome.problem is not None)


def summary(outcomes: Sequence[Outcome]) -> str:
    """``3 VIFs: 1 mirrored, 2 in-sync``."""
    counts: Dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.state] = counts.get(outcome.state, 0) + 1
    return "%d VIF%s: %s" % (len(outcomes), "" if len(outcomes) == 1 else "s", ", ".join(
        "%d %s" % (counts[state], state) for state in sorted(counts)) or "none")


def value(cell: Any) -> str:
    """The value of a cell of the database, in words."""
    if cell is None:
        return "(none)"
    return json.dumps(cell, ensure_ascii=False)


def lines(outcome: Outcome, width: int, details: bool) -> List[str]:
    """The lines about one VIF: the names of its ports, its state and the reason.

    :param details: whether a line for each changed cell of the database follows
    """
    decision = outcome.decision
    if decision.target:
        names = "%s -> %s" % (decision.source, decision.target)
    else:
        names = " and ".join(port.name for port in decision.ports())
    text = ["%s: %s" % (names, outcome.state)] + reason_lines(outcome, width)
    if details:
        for change in decision.changes:
            text.append(clean("    %s %s %s: %s -> %s" % (
                change.table, change.row, cell_of(change), value(change.old), value(change.new))))
    return text
