"""`doctor`: the host, as its files, processes and commands show it."""
import os
import re
import subprocess
import time

from ..host import config
from ..host.paths import HOOK, STOCK, USUAL

LIBXL_STOCK = "/etc/xen/scripts/vif-openvswitch"
XENOPSD = ("xenopsd-xc", "xenopsd")
PATIENCE = 20  # seconds for a command of the host's


class Host(object):
    """This host; with root (str), one whose files, /proc included, are below that directory.

    config_path (str): of our config file; must_have_config (bool): it was named by the user.
    values: the config's; problems (list of str): what is wrong in it; None: there is no such file.
    """

    def __init__(self, config_path, must_have_config=False, root=""):
        self.root = root
        self.config_path = config_path
        self.must_have_config = must_have_config
        self.values, self.problems = config.parse("")
        try:
            self.values, self.problems = config.read(config_path)
        except FileNotFoundError:
            self.problems = None
        except OSError as error:
            self.problems = ["can't be read: %s" % error.strerror]
        self.processes = self._processes()
        self.xenopsd = next((process for process in self.processes.items()
                             if os.path.basename(process[1][0]) in XENOPSD), None)
        units = ("/%s/systemd/system/%s.service" % (place, name) for name in XENOPSD
                 for place in ("etc", "usr/lib", "lib"))
        if self.xenopsd or any(os.path.exists(self.path(unit)) for unit in units):
            self.flavour = "xenopsd"
        else:
            self.flavour = "libxl" if os.path.exists(self.path(LIBXL_STOCK)) else None

    def path(self, name):
        return self.root + name

    def read(self, name):
        """A file's text, or None if it can't be read."""
        try:
            with open(self.path(name), "rb") as stream:
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return None

    def is_program(self, name):
        path = self.path(name)
        return os.path.isfile(path) and os.access(path, os.X_OK)

    def _processes(self):
        """pid -> the words of its command line, of those that have one and are visible."""
        try:
            pids = sorted(int(name) for name in os.listdir(self.path("/proc")) if name.isdigit())
        except OSError:
            pids = []
        found = {}
        for pid in pids:
            words = (self.read("/proc/%d/cmdline" % pid) or "").rstrip("\0").split("\0")
            if words[0]:
                found[pid] = words
        return found

    def hidden(self):
        """Why processes of others are not seen (mount option hidepid), or None."""
        if os.path.exists(self.path("/proc/1/cmdline")) or not self.processes:
            return None
        return "other users' processes are hidden here: run as root"

    def started(self, pid):
        """When a process was started: seconds as of time(); None if that can't be told."""
        try:
            # proc(5): the 22nd field; the 2nd is a name that may have spaces.
            ticks = float(self.read("/proc/%d/stat" % pid).rpartition(")")[2].split()[19])
            up = float(self.read("/proc/uptime").split()[0])
        except (AttributeError, IndexError, ValueError):
            return None
        return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")

    def setting(self):
        """What the xenopsd that runs has, or would have, for setup-vif-rules: (value, file). The
        last one counts; without any, (None, None). As dom0-install.sh, find_stock."""
        argv = self.xenopsd[1]
        service = os.path.basename(argv[0])
        conf = _option(argv, "config") or "/etc/%s.conf" % service
        folder = _option(argv, "config-dir") or "/etc/%s.conf.d" % service
        folder = (self._values(conf, "config-dir") or [folder])[-1].rstrip("/")
        found = _option(argv, "setup-vif-rules"), "its command line"
        try:
            names = sorted(os.listdir(os.fsencode(self.path(folder))))
        except OSError:
            names = []
        for file in [conf] + ["%s/%s" % (folder, os.fsdecode(name)) for name in names]:
            for value in self._values(file, "setup-vif-rules"):
                found = value, file
        return found if found[0] else (None, None)

    def _values(self, name, wanted):
        """What a file sets a key to, as xenopsd reads it."""
        found = []
        for line in (self.read(name) or "").splitlines():
            match = re.search(r"([^=\\ \t]+)[\\ \t]*=[\\ \t]*(.*)", line.split("#")[0].rstrip())
            if match and match.group(1) == wanted:
                value = match.group(2)
                quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
                found.append(value[1:-1] if quoted else value)
        return found

    def stock(self):
        """The stock script that the hook takes, as stock.find_stock: path or None."""
        places = [os.path.join(place, STOCK) for place in USUAL]
        if self.flavour == "libxl":
            places = [LIBXL_STOCK]
        elif self.values["plug", "stock_script"]:
            places.insert(0, self.values["plug", "stock_script"])
        return next((place for place in places if self.is_program(place) and os.path.realpath(
            self.path(place)) != os.path.realpath(self.path(HOOK))), None)


def _option(argv, name):
    value = None
    for number, word in enumerate(argv):
        option, equals, given = word.partition("=")
        if option in ("--" + name, "-" + name):
            value = given if equals else "".join(argv[number + 1:number + 2])
    return value


def run(words):
    """(output, None), or (output, what is wrong) of a command."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE)
    except FileNotFoundError:
        return "", "there is no %s here" % words[0]
    except OSError as error:
        return "", "%s: %s" % (words[0], error.strerror)
    except subprocess.TimeoutExpired:
        return "", "%s gave no answer within %d s" % (os.path.basename(words[0]), PATIENCE)
    said = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
    return done.stdout.decode("utf-8", "replace"), (
        said or "exit status %d" % done.returncode) if done.returncode else None
