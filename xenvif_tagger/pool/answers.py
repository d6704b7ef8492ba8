"""The answer of a host of a pool, checked when it arrives: whatever an answer holds, no later step
fails on it."""
import json
import math
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ..core.unit import UNIT
from ..output import report
from ..output.checks import Check
from ..xapi.vms import VIF_KEY

_SHORT = 40  # characters of an odd value that an error repeats

# A pair of a status or check: its row in the table, the reason, and its VIF's uuid, if it has one.
Pair = NamedTuple("Pair", [("row", List[str]), ("reason", str), ("vif_uuid", Optional[str])])


def cells(pair: Dict[str, Any]) -> List[str]:
    """The row of a pair in the table, as report.table makes it on a host.

    :param pair: from the JSON of a status or check
    """
    ports = [pair["vif"], pair["tap"]]
    vm = report.vm_cell(pair["vm"] and pair["vm"]["name"], [
        port["external_ids"] for port in ports if port], pair["domid"])
    return report.row(vm, pair["bridge"], [(port["port"], report.port_cell({
        column: port[column] for column in UNIT if port[column] not in (None, [])},
        port.get("gone", False))) if port else None for port in ports], pair["state"])


def _finite(text: str) -> float:
    """A number in JSON text; ValueError for those that Python reads and prints, but JSON has not:
    NaN, Infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("%s is no number of JSON" % text)
    return number


def _texts(values: Any) -> List[str]:
    """A list of str as it is; TypeError for anything else, on which the table would fail, and
    with it the answers of all other hosts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("text expected, not %s" % json.dumps(values)[:_SHORT])
    return values


def pairs_of(output: Any) -> List[Pair]:
    """The pairs in the output of a status or check."""
    pairs = []
    for item in output["pairs"]:
        pair = Pair(cells(item), item["reason"], _vif_uuid(item))
        _texts(pair.row + [pair.reason] + ([] if pair.vif_uuid is None else [pair.vif_uuid]))
        pairs.append(pair)
    return pairs


def _vif_uuid(pair: Dict[str, Any]) -> Optional[str]:
    uuids = [port["external_ids"].get(VIF_KEY) for port in (pair["vif"], pair["tap"]) if port]
    return next(filter(None, uuids), None)


def is_watched(output: Any) -> bool:
    """Whether the watcher runs on the host, by the output of a status or check."""
    return output["watcher"] is not None


def checks_of(output: Any) -> List[Check]:
    """The checks in the output of a doctor."""
    checks = [Check(**item) for item in output["checks"]]
    for check in checks:
        _texts([check.name, check.state, check.found] + ([check.cure] if check.cure else []))
    return checks


def version_of(output: Any) -> str:
    """The version in the output of a version."""
    return str(output["version"])


OF_PAIRS = ("status", "check")
# What reads the output of each function. A reader fails where the output has another shape.
_READERS: Dict[str, Tuple[Callable[[Any], Any], ...]] = {
    "status": (pairs_of, is_watched), "check": (pairs_of, is_watched), "doctor": (checks_of,),
    "version": (version_of,)}


def parse(text: str, function: str) -> Tuple[int, Any, List[str]]:
    """Read the JSON text that the plugin gives for a function.

    :returns: ``(exit status, output, lines of standard error)`` of the command
    :raises Exception: any: the text has another shape; a plugin of another version may give such
    """
    answer = json.loads(text, parse_float=_finite, parse_constant=_finite)
    for reader in _READERS[function]:
        reader(answer["output"])
    return int(answer["exit"]), answer["output"], _texts(answer["stderr"])


def name_vms(outputs: Iterable[Any], find: Callable[[Set[str]], report.Vms]) -> None:
    """Write the VMs' names into the pairs of some outputs of a status or check.

    :param find: gives what XAPI knows of the VMs that have these VIFs (session.Xapi.names)
    """
    pairs = [(pair, _vif_uuid(pair)) for output in outputs for pair in output["pairs"]]
    uuids = {uuid for _, uuid in pairs if uuid}
    vms = find(uuids) if uuids else {}
    for pair, uuid in pairs:
        if uuid is not None and uuid in vms:
            pair["vm"] = dict(zip(("uuid", "name"), vms[uuid]))
