"""The hosts of a pool asked side by side, by the plugin of XAPI that each has (docs/pool.md)."""
import queue
import threading
import time
from collections import Counter, namedtuple

from ..xapi.session import TimedOut, XapiError
from . import answers

PLUGIN = "xenvif-tagger"
# Of a host's time this much is the command's there: who ends it in time can still say so.
SHARE = 0.9
# Seconds after its time in which a thread is to tell of it: the look-up of a name knows no time.
GRACE = 0.5
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

    :param session: a session.Xapi
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

    :param session: a session.Xapi, logged in until this has ended
    :param asked: list of Host
    :param str function: "status", "check", "doctor" or "version"
    :param float within: seconds that each host has
    """
    coming = queue.Queue()
    waiting = {host.ref: host for host in asked}

    def one(host):
        coming.put(_ask(session, host, function, within))

    for host in asked:
        if not host.live:
            coming.put(unanswered(host, "down, as far as XAPI knows: it was not asked"))
            continue
        try:
            # A daemon: the process ends without it.
            threading.Thread(target=one, args=(host,), daemon=True).start()
        except RuntimeError as error:
            coming.put(unanswered(host, "not asked: %s" % error))
    until = time.monotonic() + within + GRACE
    while waiting:
        try:
            answer = coming.get(timeout=max(0, until - time.monotonic()))
        except queue.Empty:
            break
        del waiting[answer.host.ref]
        yield answer
    for host in waiting.values():
        yield unanswered(host, _late(within))


def _ask(session, host, function, within):
    arguments = {"timeout": "%g" % (within * SHARE)}
    if function in answers.OF_PAIRS:
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
        return Answer(host, *answers.parse(text, function), problem=None)
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
