"""The answer of a host of a pool, checked when it arrives, so that no later step fails on an answer
of another shape."""
import json
import math
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from ..core.unit import UNIT
from ..output import report
from ..output.checks import Check
from ..xapi.vms import VIF_KEY

_SHORT = 40  # an error repeats so many characters of a value that has the wrong type

# A pair in the output of a command: its row in the table, its reason, and the VIF's uuid or None.
Pair = NamedTuple("Pair", [("row", List[str]), ("reason", str), ("vif_uuid", Optional[str])])


def cells(pair: Dict[str, Any]) -> List[str]:
    """The row of a pair in the table, as report.table makes it on a host.

    :param pair: from the JSON of ``status`` or ``check``
    """
    ports = [pair["vif"], pair["tap"]]
    vm = report.vm_cell(pair["vm"] and pair["vm"]["name"], [
        port["external_ids"] for port in ports if port], pair["domid"])
    return report.row(vm, pair["bridge"], [(port["port"], report.port_cell({
        column: port[column] for column in UNIT if port.get(column) not in (None, [])},
        port.get("gone", False))) if port else None for port in ports], pair["state"])


def _finite(text: str) -> float:
    """A number in JSON text; ValueError for NaN and Infinity, which Python's json reads and prints,
    and which JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("%s is not a number in JSON" % text)
    return number


def _texts(values: Any) -> List[str]:
    """The values, if they are a list of str. TypeError if not: the table would fail on another
    type, and the answers of all other hosts would be lost, too."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("text expected, not %s" % json.dumps(values)[:_SHORT])
    return values


def pairs_of(output: Any) -> List[Pair]:
    """The pairs in the output of ``status`` or ``check``."""
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
    """Whether the watcher runs on the host, by the output of ``status`` or ``check``."""
    return output["watcher"] is not None


def unpaired_of(output: Any) -> List[List[str]]:
    """The ports that can't be paired, in the output of ``status`` or ``check``, as
    core.identity.unpaired returns. (A host's older version has no such key.)"""
    groups = output.get("unpaired", [])
    if not isinstance(groups, list):
        raise TypeError("a list expected, not %s" % json.dumps(groups)[:_SHORT])
    return [_texts(group) for group in groups]


def checks_of(output: Any) -> List[Check]:
    """The checks in the output of ``doctor``."""
    checks = [Check(**item) for item in output["checks"]]
    for check in checks:
        _texts([check.name, check.state, check.found] + ([check.cure] if check.cure else []))
    return checks


def version_of(output: Any) -> str:
    """The version in the output of ``version``."""
    return str(output["version"])


OF_PAIRS = ("status", "check")
# The readers of each function's output. A reader raises if the output has another shape.
_READERS: Dict[str, Tuple[Callable[[Any], Any], ...]] = {
    "status": (pairs_of, unpaired_of, is_watched), "check": (pairs_of, unpaired_of, is_watched),
    "doctor": (checks_of,), "version": (version_of,)}


def parse(text: str, function: str) -> Tuple[int, Any, List[str]]:
    """Read the JSON text that the plugin gives for a function.

    :returns: ``(exit status, output, lines of standard error)`` of the command
    :raises Exception: of any class: the text has another shape, as from a plugin of another version
    """
    answer = json.loads(text, parse_float=_finite, parse_constant=_finite)
    for reader in _READERS[function]:
        reader(answer["output"])
    return int(answer["exit"]), answer["output"], _texts(answer["stderr"])


def name_vms(outputs: Iterable[Any], find: Callable[[Set[str]], report.Vms]) -> None:
    """Write the VMs' names into the pairs of some outputs of ``status`` or ``check``.

    :param find: takes the uuids of VIFs, and returns the VMs of these VIFs (session.Xapi.names)
    """
    pairs = [(pair, _vif_uuid(pair)) for output in outputs for pair in output["pairs"]]
    uuids = {uuid for _, uuid in pairs if uuid}
    vms = find(uuids) if uuids else {}
    for pair, uuid in pairs:
        if uuid is not None and uuid in vms:
            pair["vm"] = dict(zip(("uuid", "name"), vms[uuid]))
