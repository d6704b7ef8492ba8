"""`doctor`: what the checks look at, gathered once, so that all checks speak of the same moment."""
import json
import os
from typing import Any, Callable, Dict, Optional, Tuple

from ..host import pidfile
from ..host.paths import pidfile_path
from ..ovsdb.client import Client, OvsdbError
from ..xapi.vms import Access
from .database import Database
from .host import Host

TIMEOUT = 5  # seconds within which the watcher must answer


class Watch(object):
    """The watcher of this host, by its pidfile and its control socket.

    path (str): of the pidfile. pid (int or None): of the watcher; None if none runs.
    is_denied (bool): the pidfile can't be read, so nothing is known.
    lost (str or None): the pidfile's directory, if it is not there: so nothing is known.
    stats (dict): the watcher's answer; {} if it gave none. why (str): why it gave none; else "".
    """

    def __init__(self) -> None:
        self.path = pidfile_path()
        self.stats: Dict[str, Any] = {}
        self.why = ""
        self.is_denied = False
        try:
            os.stat(self.path)
            self.is_denied = not os.access(self.path, os.R_OK | os.W_OK)
        except PermissionError:
            self.is_denied = True
        except OSError:
            pass  # there is no pidfile
        self.pid = pidfile.running(self.path)
        self.lost = pidfile.lost_directory(self.path)
        if self.pid is None:
            self.why = "there is no %s" % self.lost if self.lost else "the watcher does not run"
            return
        socket = "unix:%s.%d.ctl" % (self.path[:-len(".pid")], self.pid)
        try:
            with Client(socket, TIMEOUT) as client:
                self.stats = json.loads(client.call("stats", ["--json"]))
        except (OvsdbError, TypeError, ValueError) as error:
            self.why = "the watcher can't be asked: %s" % error


class Patient(object):
    """A host that is examined: its files and processes, its database, XAPI and its watcher."""

    def __init__(self, host: Host, database: Database, xapi: Access) -> None:
        self.host = host
        self.database = database
        self.xapi = xapi
        self.watch = Watch()


# (state, result in words, the command that mends the fault, or None), as in output.checks.Check.
Result = Tuple[str, str, Optional[str]]
# A check. What can't be known is SKIP, and the result says why.
Examination = Callable[[Patient], Result]
