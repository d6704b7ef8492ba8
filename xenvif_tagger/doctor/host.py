"""`doctor`: the host, as its files, processes and commands show it."""
import os
import re
import subprocess
import time
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ..host import config
from ..host.paths import HOOK, STOCK, USUAL

LIBXL_STOCK = "/etc/xen/scripts/vif-openvswitch"
XENOPSD = ("xenopsd-xc", "xenopsd")
PATIENCE = 20  # seconds for which we wait for a command of the host

# argv: the words of the process's command line, at least one.
Process = NamedTuple("Process", [("pid", int), ("argv", List[str])])


class Host(object):
    """A host's files and processes.

    config_path (str): the path of our config file. must_have_config (bool): the user has named that
    file. values (dict): the config file's values. problems (list of str): the config file's
    mistakes; None if there is no config file.
    processes (list of Process): the visible processes that have a command line, by pid.
    xenopsd (Process or None): None if xenopsd does not run.
    flavour (str or None): the toolstack, "xenopsd" or "libxl"; None if this is no dom0.

    :param named_config: the path of our config file, if the user has named one
    :param root: the directory below which the host's files are, /proc included; "" is this host
    """

    def __init__(self, named_config: Optional[str], root: str = "") -> None:
        self.root = root
        self.config_path = named_config or config.DEFAULT_PATH
        self.must_have_config = bool(named_config)
        self.values, _ = config.parse("")
        self.problems: Optional[List[str]] = None
        try:
            self.values, self.problems = config.read(self.config_path)
        except FileNotFoundError:
            pass
        except OSError as error:
            self.problems = ["can't be read: %s" % error.strerror]
        self.processes = self._processes()
        self.xenopsd = next((process for process in self.processes
                             if os.path.basename(process.argv[0]) in XENOPSD), None)
        units = ("/%s/systemd/system/%s.service" % (place, name) for name in XENOPSD
                 for place in ("etc", "usr/lib", "lib"))
        if self.xenopsd or any(os.path.exists(self.path(unit)) for unit in units):
            self.flavour: Optional[str] = "xenopsd"
        else:
            self.flavour = "libxl" if os.path.exists(self.path(LIBXL_STOCK)) else None

    def path(self, name: str) -> str:
        """Where this process finds the file that has the path ``name`` on the host."""
        return self.root + name

    def read(self, name: str) -> Optional[str]:
        """The text of a file; None if it can't be read."""
        try:
            with open(self.path(name), "rb") as stream:
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return None

    def is_program(self, name: str) -> bool:
        """Whether a file is there and may be run."""
        path = self.path(name)
        return os.path.isfile(path) and os.access(path, os.X_OK)

    def _processes(self) -> List[Process]:
        try:
            pids = sorted(int(name) for name in os.listdir(self.path("/proc")) if name.isdigit())
        except OSError:
            pids = []
        processes = []
        for pid in pids:
            argv = (self.read("/proc/%d/cmdline" % pid) or "").rstrip("\0").split("\0")
            if argv[0]:
                processes.append(Process(pid, argv))
        return processes

    def hidden(self) -> Optional[str]:
        """Why other users' processes are not visible (proc(5), hidepid); None if they are visible.
        """
        if os.path.exists(self.path("/proc/1/cmdline")) or not self.processes:
            return None
        return "other users' processes are hidden here: run as root"

    def started(self, pid: int) -> Optional[float]:
        """When a process was started, in seconds as of time(); None if the start is not known."""
        try:
            # The start is the 22nd field (proc(5)). The 2nd field is a name in parentheses, which
            # may have spaces, so the fields are counted from the last parenthesis on.
            fields = (self.read("/proc/%d/stat" % pid) or "").rpartition(")")[2].split()
            ticks = float(fields[19])
            uptime = float((self.read("/proc/uptime") or "").split()[0])
        except (IndexError, ValueError):
            return None
        return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")

    def setting(self, argv: Sequence[str]) -> Tuple[Optional[str], str]:
        """The setting ``setup-vif-rules`` that a xenopsd reads when it starts: of several, the last
        one counts. (dom0-install.sh, find_stock, reads the same.)

        :param argv: the words of xenopsd's command line
        :returns: ``(value, place)``: the value, None if the setting is made nowhere; and the path
            of the file that makes the setting, or "xenopsd's command line"
        """
        service = os.path.basename(argv[0])
        conf = _option(argv, "config") or "/etc/%s.conf" % service
        folder = _option(argv, "config-dir") or "/etc/%s.conf.d" % service
        folder = (self._values(conf, "config-dir") or [folder])[-1].rstrip("/")
        setting = _option(argv, "setup-vif-rules"), "xenopsd's command line"
        try:
            names = sorted(os.listdir(os.fsencode(self.path(folder))))
        except OSError:
            names = []
        for file in [conf] + ["%s/%s" % (folder, os.fsdecode(name)) for name in names]:
            for value in self._values(file, "setup-vif-rules"):
                setting = value, file
        return setting[0] or None, setting[1]

    def _values(self, name: str, key: str) -> List[str]:
        """The values that a config file of xenopsd gives a key, by xenopsd's own rules."""
        values = []
        for line in (self.read(name) or "").splitlines():
            match = re.search(r"([^=\\ \t]+)[\\ \t]*=[\\ \t]*(.*)", line.split("#")[0].rstrip())
            if match and match.group(1) == key:
                value = match.group(2)
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
                values.append(value[1:-1] if quoted else value)
        return values

    def stock(self) -> Optional[str]:
        """The path of the stock script that our hook runs (plug.stock.find_stock); None if there is
        none."""
        places = [os.path.join(place, STOCK) for place in USUAL]
        if self.flavour == "libxl":
            places = [LIBXL_STOCK]
        elif self.values["plug", "stock_script"]:
            places.insert(0, self.values["plug", "stock_script"])
        return next((place for place in places if self.is_program(place) and os.path.realpath(
            self.path(place)) != os.path.realpath(self.path(HOOK))), None)


def _option(argv: Sequence[str], name: str) -> Optional[str]:
    """The value of an option of a command line; None if the command line has no such option."""
    value = None
    for number, word in enumerate(argv):
        option, equals, text = word.partition("=")
        if option in ("--" + name, "-" + name):
            value = text if equals else "".join(argv[number + 1:number + 2])
    return value


def run(words: List[str]) -> Tuple[str, Optional[str]]:
    """Run a command.

    :returns: ``(output, problem)``: the command's standard output; and None, or why the command
        did not end well
    """
    try:
        process = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, timeout=PATIENCE)
    except FileNotFoundError:
        return "", "there is no %s here" % words[0]
    except OSError as error:
        return "", "%s: %s" % (words[0], error.strerror)
    except subprocess.TimeoutExpired:
        return "", "%s gave no answer within %d s" % (os.path.basename(words[0]), PATIENCE)
    last_line = process.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
    code = process.returncode
    problem = (last_line or "exit status %d" % code) if code else None
    return process.stdout.decode("utf-8", "replace"), problem
