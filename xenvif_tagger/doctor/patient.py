"""`doctor`: the host, database and watcher as the checks see them, read once, so that all checks
speak of the same moment."""
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

    path (str): the path of the pidfile. pid (int or None): the watcher's pid; None if no watcher
    runs. is_denied (bool): the pidfile can't be read, so nothing is known about the watcher.
    lost (str or None): the pidfile's directory, if that directory does not exist, so that nothing
    is known about the watcher; else None.
    stats (dict): the watcher's answer to ``stats``; {} if there is no answer. silence (str): why
    there is no answer; else "".
    """

    def __init__(self) -> None:
        self.path = pidfile_path()
        self.stats: Dict[str, Any] = {}
        self.silence = ""
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
            self.silence = ("there is no %s" % self.lost if self.lost
                            else "the watcher does not run")
            return
        socket = "unix:%s.%d.ctl" % (self.path[:-len(".pid")], self.pid)
        try:
            with Client(socket, TIMEOUT) as client:
                self.stats = json.loads(client.call("stats", ["--json"]))
        except (OvsdbError, TypeError, ValueError) as error:
            self.silence = "the watcher can't be asked: %s" % error


class Patient(object):
    """A host that is examined: its files and processes, its database, XAPI and its watcher."""

    def __init__(self, host: Host, database: Database, xapi: Access) -> None:
        self.host = host
        self.database = database
        self.xapi = xapi
        self.watch = Watch()


# (state, result in words, the command that mends the fault, or None), as in output.checks.Check.
Result = Tuple[str, str, Optional[str]]
# A check. If a check can't know the answer, its result is SKIP, and says why.
Examination = Callable[[Patient], Result]
