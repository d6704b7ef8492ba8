"""The hosts of a pool asked side by side, by the plugin of XAPI that each has (docs/pool.md)."""
import json
import math
import queue
import threading
import time
from collections import Counter, namedtuple

from ..core.port import UNIT
from ..output import report
from ..output.checks import Check
from ..xapi.session import TimedOut, XapiError
from ..xapi.vms import VIF_KEY

PLUGIN = "xenvif-tagger"
# Of a host's time this much is the command's there: who ends it in time can still say so.
SHARE = 0.9
# Seconds after its time in which a thread is to tell of it: the look-up of a name knows no time.
GRACE = 0.5
_SHORT = 40  # characters: of a value that is of no use
_LONG = 300  # characters: of what XAPI says of a plugin that it can't run, a whole log is part

# live: whether XAPI thinks so; label: the name, or where that does not tell it, with its uuid
Host = namedtuple("Host", "ref uuid name live label")
# code: the exit status of the command on that host; output: what it printed, from JSON; stderr:
# list of lines. All None, and problem a line that names the cure, where there is no answer.
Answer = namedtuple("Answer", "host code output stderr problem")


def unanswered(host, problem):
    """The Answer of a host that has none."""
    return Answer(host, None, None, None, " ".join(problem.split())[:_LONG])


class UnknownHost(Exception):
    """A host that was named is not one; str() is one line that names the cure."""


def hosts(session, wanted=()):
    """The hosts (list of Host, by name) of a pool, or those of it with some names or uuids.

    :param session: an xapi.Xapi
    :raises UnknownHost: XAPI knows none of that name, or several
    """
    told = session.hosts()
    names = Counter(name for _, _, name, _ in told)
    known = [Host(ref, uuid, name, live, name if name.strip() and names[name] == 1 else
                  "%s (%s)" % (name, uuid[:8])) for ref, uuid, name, live in told]
    chosen = set()
    for word in wanted:
        found = [host for host in known if word.lower() == host.uuid] or [
            host for host in known if word == host.name]
        if not found:
            raise UnknownHost("%s: the pool has no host of this name or uuid: see 'xe host-list'"
                              % word)
        if len(found) > 1:
            raise UnknownHost("%s: %d hosts have this name: choose by uuid: %s" % (
                word, len(found), ", ".join(host.uuid for host in found)))
        chosen.update(found)
    return [host for host in known if host in chosen] if wanted else known


def ask(session, asked, function, within):
    """Call a function of the plugin on some hosts; gives their Answers, as they come.

    A thread that hangs keeps nobody: when the time is over its host has not answered.

    :param session: an xapi.Xapi, logged in until this has ended
    :param asked: list of Host
    :param str function: "status", "check", "doctor" or "version"
    :param float within: seconds that each host has
    """
    answers = queue.Queue()
    waiting = {host.ref: host for host in asked}

    def one(host):
        answers.put(_ask(session, host, function, within))

    for host in asked:
        if not host.live:
            answers.put(unanswered(host, "down, as far as XAPI knows: it was not asked"))
            continue
        try:
            # A daemon: the process ends without it.
            threading.Thread(target=one, args=(host,), daemon=True).start()
        except RuntimeError as error:
            answers.put(unanswered(host, "not asked: %s" % error))
    until = time.monotonic() + within + GRACE
    while waiting:
        try:
            answer = answers.get(timeout=max(0, until - time.monotonic()))
        except queue.Empty:
            break
        del waiting[answer.host.ref]
        yield answer
    for host in waiting.values():
        yield unanswered(host, _late(within))


def _ask(session, host, function, within):
    arguments = {"timeout": "%g" % (within * SHARE)}
    if function in OF_PAIRS:
        # Who asks them all has the names from the master by two calls, not by two of each.
        arguments["names"] = "false"
    try:
        with session.beside(within) as beside:
            text = beside.call("host.call_plugin", host.ref, PLUGIN, function, arguments)
    except XapiError as error:
        return unanswered(host, _problem(error, within))
    except Exception as error:  # a defect of ours is not to cost the other hosts' answers
        return unanswered(host, "can't be asked: %s: %s" % (type(error).__name__, error))
    try:
        told = json.loads(text, parse_float=_finite, parse_constant=_finite)
        for reader in _READERS[function]:
            reader(told["output"])
        return Answer(host, int(told["exit"]), told["output"], _texts(told["stderr"]), None)
    except Exception as error:  # whatever another version of the plugin may say
        return unanswered(host, "its answer can't be understood (%s: %s): is xenvif-tagger there "
                          "of this version?" % (type(error).__name__, error))


def _late(within):
    return "no answer within %g s: does it hang? Try again, or with a longer --timeout" % within


def _problem(error, within):
    """What to say of a host, where XAPI says this (an XapiError)."""
    code = error.details[0] if error.details else ""
    if isinstance(error, TimedOut):
        return _late(within)
    if code == "XENAPI_MISSING_PLUGIN":
        return "it has no plugin %s: run dom0-install.sh on that host" % PLUGIN
    if code in ("HOST_OFFLINE", "CANNOT_CONTACT_HOST"):
        return "down: XAPI can't reach it (%s)" % code
    if code.startswith("XENVIF_TAGGER_"):
        return " ".join(error.details[1:]) or code
    return str(error)


# ---- what the answers hold ----------------------------------------------------------------------


def cells(pair):
    """A pair (dict) of a status or check as a row of its table: as report.table has it."""
    ports = [pair["vif"], pair["tap"]]
    row = [report.vm_cell(pair["vm"] and pair["vm"]["name"], [
        port["external_ids"] for port in ports if port], pair["domid"]), pair["bridge"]]
    for port in ports:
        unit = port and {column: port[column] for column in UNIT if port[column] not in (None, [])}
        row += [port["port"] if port else "-", report.vlan(unit)]
    return row + [pair["state"]]


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


def pairs(output):
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


def checks(output):
    """The checks of a doctor: list of doctor_check.Check."""
    found = [Check(**check) for check in output["checks"]]
    for check in found:
        _texts([check.name, check.state, check.found] + ([check.cure] if check.cure else []))
    return found


def version(output):
    """The version (str)."""
    return str(output["version"])


OF_PAIRS = ("status", "check")
# What reads the answer to each function: one fails where the answer is not of that shape.
_READERS = {"status": (pairs, is_watched), "check": (pairs, is_watched), "doctor": (checks,),
            "version": (version,)}


def name_vms(answers, find):
    """Put the VMs' names into the pairs of a status or check.

    :param answers: list of Answer, problems not among them
    :param find: a function of the VIFs' uuids, as xapi.Xapi.names
    """
    found = [(pair, _vif_uuid(pair)) for answer in answers for pair in answer.output["pairs"]]
    uuids = {uuid for _, uuid in found if uuid}
    names = find(uuids) if uuids else {}
    for pair, uuid in found:
        if uuid in names:
            pair["vm"] = dict(zip(("uuid", "name"), names[uuid]))
