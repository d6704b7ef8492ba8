"""What a host of a pool has answered: read so that no answer, whatever it holds, can fail later."""
import json
import math

from ..core.unit import UNIT
from ..output import report
from ..output.checks import Check
from ..xapi.vms import VIF_KEY

_SHORT = 40  # characters: of a value that is of no use


def cells(pair):
    """A pair (dict) of a status or check as a row of its table: as report.table has it."""
    ports = [pair["vif"], pair["tap"]]
    vm = report.vm_cell(pair["vm"] and pair["vm"]["name"], [
        port["external_ids"] for port in ports if port], pair["domid"])
    return report.row(vm, pair["bridge"], [port and (port["port"], {
        column: port[column] for column in UNIT if port[column] not in (None, [])})
        for port in ports], pair["state"])


def _finite(text):
    """A number in JSON text as a float; ValueError for what no JSON can hold, and Python prints."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("%s is no number of JSON" % text)
    return number


def _texts(values):
    """A list of str as it is; TypeError for any other. A reader that let something else through
    would have the table fail on it, and with it the answers of all other hosts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("text expected, not %s" % json.dumps(values)[:_SHORT])
    return values


def pairs_of(output):
    """The pairs of a status or check: list of (its row, the reason, its VIF's uuid or None)."""
    found = []
    for pair in output["pairs"]:
        row, reason, uuid = cells(pair), pair["reason"], _vif_uuid(pair)
        _texts(row + [reason] + ([] if uuid is None else [uuid]))
        found.append((row, reason, uuid))
    return found


def _vif_uuid(pair):
    found = [port["external_ids"].get(VIF_KEY) for port in (pair["vif"], pair["tap"]) if port]
    return next(filter(None, found), None)


def is_watched(output):
    """Whether the watcher runs, by a status or check."""
    return output["watcher"] is not None


def checks_of(output):
    """The checks of a doctor: list of checks.Check."""
    found = [Check(**check) for check in output["checks"]]
    for check in found:
        _texts([check.name, check.state, check.found] + ([check.cure] if check.cure else []))
    return found


def version_of(output):
    """The version (str)."""
    return str(output["version"])


OF_PAIRS = ("status", "check")
# What reads the answer to each function: one fails where the answer is not of that shape.
_READERS = {"status": (pairs_of, is_watched), "check": (pairs_of, is_watched),
            "doctor": (checks_of,), "version": (version_of,)}


def parse(text, function):
    """The JSON text that the plugin gives for a function: (exit status, output, lines of stderr).

    :raises Exception: it is of another shape; whatever another version of the plugin may say
    """
    told = json.loads(text, parse_float=_finite, parse_constant=_finite)
    for reader in _READERS[function]:
        reader(told["output"])
    return int(told["exit"]), told["output"], _texts(told["stderr"])


def name_vms(answers, find):
    """Put the VMs' names into the pairs of a status or check.

    :param answers: list of Answer, problems not among them
    :param find: a function of the VIFs' uuids, as session.Xapi.names
    """
    found = [(pair, _vif_uuid(pair)) for answer in answers for pair in answer.output["pairs"]]
    uuids = {uuid for _, uuid in found if uuid}
    names = find(uuids) if uuids else {}
    for pair, uuid in found:
        if uuid in names:
            pair["vm"] = dict(zip(("uuid", "name"), names[uuid]))
