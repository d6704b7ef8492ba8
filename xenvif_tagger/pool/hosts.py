"""The hosts of a pool, asked side by side: each host has our plugin of XAPI (docs/pool.md)."""
import queue
import threading
import time
from collections import Counter
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Set

from ..xapi.session import TimedOut, Xapi, XapiError
from . import answers

PLUGIN = "xenvif-tagger"
# The command on a host gets this part of the host's time. If the command takes longer, the plugin
# ends the command, and still has time to say so.
SHARE = 0.9
# Seconds, after a host's time is over, in which its thread may still report the time-out. (A thread
# that looks up a host name has no time-out, and may never report anything.)
GRACE = 0.5
_LONG = 300  # characters of a problem that are kept: XAPI may send a plugin's whole log

Host = NamedTuple("Host", [
    ("ref", str),
    ("uuid", str),
    ("name", str),
    ("live", bool),  # as XAPI thinks
    ("label", str),  # the name; with the start of the uuid where the name is empty or not unique
])

# If a host has given no answer, ``problem`` is a line that names the cure, and ``code``, ``output``
# and ``stderr`` are None.
Answer = NamedTuple("Answer", [
    ("host", Host),
    ("code", Optional[int]),  # the exit status of the command on that host
    ("output", Any),  # the JSON that the command printed
    ("stderr", Optional[List[str]]),  # the lines that the command printed on standard error
    ("problem", Optional[str]),
])


def unanswered(host: Host, problem: str) -> Answer:
    """The Answer that stands for a host which has given no answer."""
    return Answer(host, None, None, None, " ".join(problem.split())[:_LONG])


class UnknownHost(Exception):
    """The pool has no host of a wanted name, or several. str() is one line that names the cure."""


def hosts(session: Xapi, wanted: Iterable[str] = ()) -> List[Host]:
    """The hosts of a pool, by name.

    :param session: logged in to the pool's master
    :param wanted: names or uuids of the hosts to be returned; empty for all hosts
    :raises UnknownHost: XAPI knows no host of a wanted name, or several
    """
    records = session.hosts()
    count = Counter(name for _, _, name, _ in records)
    known = [Host(ref, uuid, name, live, name if name.strip() and count[name] == 1 else
                  "%s (%s)" % (name, uuid[:8])) for ref, uuid, name, live in records]
    chosen: Set[Host] = set()
    for wanted_host in wanted:
        matches = [host for host in known if wanted_host.lower() == host.uuid] or [
            host for host in known if wanted_host == host.name]
        if not matches:
            raise UnknownHost("%s: the pool has no host of this name or uuid: see 'xe host-list'"
                              % wanted_host)
        if len(matches) > 1:
            raise UnknownHost("%s: %d hosts have this name: choose by uuid: %s" % (
                wanted_host, len(matches), ", ".join(host.uuid for host in matches)))
        chosen.update(matches)
    return [host for host in known if host in chosen] if chosen else known


def ask(session: Xapi, asked: List[Host], function: str, within: float) -> Iterator[Answer]:
    """Call a function of the plugin on some hosts.

    A thread that hangs delays no other host's answer: when the time is over, nobody waits for the
    thread any more.

    :param session: logged in to the pool's master until this generator has ended
    :param function: "status", "check", "doctor" or "version"
    :param within: seconds for each host
    :returns: the answers, as they come
    """
    arriving: queue.Queue[Answer] = queue.Queue()
    waiting = {host.ref: host for host in asked}

    def ask_one(host: Host) -> None:
        arriving.put(_ask(session, host, function, within))

    for host in asked:
        if not host.live:
            arriving.put(unanswered(host, "down, says XAPI, so this host was not asked"))
            continue
        try:
            # A daemon thread: the process ends without waiting for it.
            threading.Thread(target=ask_one, args=(host,), daemon=True).start()
        except RuntimeError as error:
            arriving.put(unanswered(host, "this host was not asked: %s" % error))
    until = time.monotonic() + within + GRACE
    while waiting:
        try:
            answer = arriving.get(timeout=max(0, until - time.monotonic()))
        except queue.Empty:
            break
        del waiting[answer.host.ref]
        yield answer
    for host in waiting.values():
        yield unanswered(host, _late(within))


def _ask(session: Xapi, host: Host, function: str, within: float) -> Answer:
    arguments = {"timeout": "%g" % (within * SHARE)}
    if function in answers.OF_PAIRS:
        # We look up the VMs' names of all hosts by two calls to the master; each host would need
        # two calls of its own.
        arguments["names"] = "false"
    try:
        with session.beside(within) as host_session:
            text = host_session.call("host.call_plugin", host.ref, PLUGIN, function, arguments)
    except XapiError as error:
        return unanswered(host, _problem(error, within))
    except Exception as error:  # a defect of ours must not cost the other hosts' answers
        return unanswered(host, "can't be asked: %s: %s" % (type(error).__name__, error))
    try:
        code, output, stderr = answers.parse(text, function)
    except Exception as error:  # the plugin may be of a version that answers in another way
        return unanswered(host, "its answer can't be understood (%s: %s): has this host "
                          "another version of xenvif-tagger?" % (type(error).__name__, error))
    return Answer(host, code, output, stderr, None)


def _late(within: float) -> str:
    return "no answer within %g s: does this host hang? Try again, or with a longer --timeout" % (
        within)


def _problem(error: XapiError, within: float) -> str:
    """The line about a host whose plugin could not be called."""
    code = error.details[0] if error.details else ""
    if isinstance(error, TimedOut):
        return _late(within)
    if code == "XENAPI_MISSING_PLUGIN":
        return "this host has no plugin %s: run dom0-install.sh there" % PLUGIN
    if code in ("HOST_OFFLINE", "CANNOT_CONTACT_HOST"):
        return "down: XAPI can't reach this host (%s)" % code
    if code.startswith("XENVIF_TAGGER_"):
        return " ".join(error.details[1:]) or code
    return str(error)
