"""A made-up dom0, on which dom0-install.sh is run for real: as root, on "the running system".

Host makes the dom0: a mount namespace with an overlay over this machine's own root, in which the
script runs by chroot. The overlay's upper layer holds every change, so the dom0 is "byte for byte
as before" if that layer is empty. Open vSwitch is real; systemctl, xenopsd, xenstore, xenops-cli
and xe are stand-ins. The stand-in of xenopsd reads its config as the real one does, and refuses to
start where the real one does.
"""
import os
import shutil
import signal
import stat
import subprocess
import sys

import click

from support.constants import ROOT
from support.install_stand_ins import (
    HOLD,
    STOCK_TEXT,
    SYSTEMCTL,
    TASK_DONE,
    TASK_FAILED,
    TASKS,
    XENOPSD,
    XENSTORE,
)
from support.private_ovs import PrivateOvs

SCRIPT = os.path.join(ROOT, "dom0-install.sh")
SCRIPTS = os.path.join(ROOT, "dom0-install.d")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOCK = "/usr/libexec/xenopsd/setup-vif-rules"
OLD_STOCK = "/opt/xensource/libexec/setup-vif-rules"
HOOK = "/opt/xenvif-tagger/hotplug/setup-vif-rules"
CONFIG = "/etc/xenvif-tagger.conf"
SETTING = "/etc/xenopsd.conf.d/zz-xenvif-tagger.conf"
LIBXL = "/etc/xen/scripts/vif-openvswitch"
BUGTOOL = "/etc/xensource/bugtool/xenvif-tagger"
# The links that other programs read, and our file to which each link leads, without the link
# /usr/bin/xenvif-tagger.
LINKS = {
    "/usr/share/man/man8/xenvif-tagger.8": "xenvif-tagger.8",
    "/usr/share/bash-completion/completions/xenvif-tagger": "completion.bash",
    "/usr/share/zsh/site-functions/_xenvif-tagger": "completion.zsh",
    "/usr/share/zsh/vendor-completions/_xenvif-tagger": "completion.zsh",
    BUGTOOL: "bugtool", BUGTOOL + ".xml": "bugtool.xml",
    "/etc/xapi.d/plugins/xenvif-tagger": "xapi-plugin"}
SERVICE = "/etc/systemd/system/xenvif-tagger.service"
SERVICE_LINK = "/etc/systemd/system/multi-user.target.wants/xenvif-tagger.service"
UNIT = "/usr/lib/systemd/system/xenopsd-xc.service"
EXEC = "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf --config-dir /etc/xenopsd.conf.d $OPTIONS"
PLUGGED = "/xapi/vm-%s/private/vif/%d/setup-vif-rules"
DONE, FAILED, REFUSED, LOCKED, RESTART_LATER, MARKS_LEFT = range(6)
KILLED = -signal.SIGKILL


class Result(object):
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return "exit %s\n%s\n--\n%s" % (self.code, self.out, self.err)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as stream:
        stream.write(text)
    os.chmod(path, mode)


def make_bundle(path):
    """Make the bundle to install: our own files, with stand-ins for files that the checkout
    lacks."""
    for part in ("hotplug", "xenvif_tagger"):
        shutil.copytree(os.path.join(ROOT, part), os.path.join(path, part),
                        ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(SCRIPT, path)
    shutil.copytree(SCRIPTS, os.path.join(path, "dom0-install.d"))
    write(os.path.join(path, "hotplug/xenvif-tagger.8"), subprocess.check_output(
        [sys.executable, os.path.join(ROOT, "packaging", "manual")], universal_newlines=True))
    for name in ("setup-vif-rules", "vif-openvswitch-tagger", "xapi-plugin"):
        if not os.path.exists(os.path.join(path, "hotplug", name)):
            write(os.path.join(path, "hotplug", name), "#!/usr/bin/python3\n", 0o755)
    write(os.path.join(path, "vendor", "vendored", "__init__.py"), "")
    write(os.path.join(path, "vendor", "vendored", "not_for_this_python.py"), "print 'hello'\n")


def make_dom0(path):
    """Make those files of a dom0 that the installer reads. Returns a function that gives their
    paths."""
    python = os.path.realpath(sys.executable)

    def at(name):
        return path + name

    def tool(name, text):
        write(at(name), text.replace("/usr/bin/python3", python, 1), 0o755)

    write(at("/etc/xensource/network.conf"), "openvswitch\n")
    write(at("/etc/xenopsd.conf"), "search-path=/usr/libexec/xen/bin:/usr/libexec/xenopsd\n"
                                   "# setup-vif-rules=/nowhere\nvif-script=vif\n")
    write(at("/etc/xenopsd.conf.d/hvmloader.conf"), "xen-platform-pci-bar-uc=false\n")
    write(at("/etc/sysconfig/xenopsd"), '# options\nOPTIONS=""\n')
    write(at(UNIT), "[Service]\nEnvironment=LD_PRELOAD=x MALLOC_CONF=y:1\n"
                    "EnvironmentFile=-/etc/sysconfig/xenopsd\nExecStart=%s\n" % EXEC)
    write(at(STOCK), STOCK_TEXT, 0o755)
    tool("/usr/sbin/xenopsd-xc", XENOPSD)
    tool("/usr/bin/systemctl", SYSTEMCTL)
    tool("/usr/sbin/xenops-cli", TASKS)
    tool("/usr/bin/xe", TASKS)
    for name in ("ls", "read", "write"):
        tool("/usr/bin/xenstore-" + name, XENSTORE)
    # dom0's Python is the one that runs these tests, with the libraries. (They come compiled: the
    # bundle of these tests has only a part of them.)
    os.symlink(python, at("/usr/bin/python3"))
    os.makedirs(at("/usr/share/openvswitch/python"))
    # A copy, because a checkout below /tmp can't be seen in the dom0.
    shutil.copytree(os.path.dirname(click.__file__), at("/usr/share/openvswitch/python/click"))
    for name in ["/opt/xensource/libexec", "/lab", "/bundle"] + sorted(
            {os.path.dirname(path) for path in LINKS}):
        os.makedirs(at(name))
    return at


def remove_xenopsd(at):
    os.unlink(at(UNIT))
    shutil.rmtree(at("/etc/xensource"))
    shutil.rmtree(at("/usr/libexec"))


class Host(object):
    """A made-up dom0, as the module describes. A test that wants other files in the dom0 changes
    them (host.at) before start()."""

    def __init__(self, base, bundle):
        self.base = str(base)
        for name in ("mem", "lab"):
            os.makedirs(os.path.join(self.base, name))
        shutil.copytree(bundle, self.bundle())
        self.at = make_dom0(os.path.join(self.base, "dom0"))
        self.unit(MainPID=1000, ActiveState="active", NEXT=1001, FILES="EnvironmentFiles", RUNS="",
                  ExecMainStartTimestampMonotonic=5)
        self.keys = {PLUGGED % ("a", 0): STOCK, PLUGGED % ("a", 1): STOCK,
                     PLUGGED % ("b", 0): "/third/party", "/xapi/vm-a/private/vif/0/MTU": "1500",
                     "/xapi/vm-a/private/other/setup-vif-rules": STOCK}
        self.store(self.keys)
        self.tasks("xenops-cli", TASK_DONE + TASK_FAILED)
        self.ovs = PrivateOvs()
        self._holder = None

    # -- life

    def start(self, kept=None):
        """Start the dom0. kept: a directory to which keep() has copied another dom0; this dom0 then
        has the same changes, and a watcher of its own."""
        if kept:
            shutil.rmtree(self.lab(""))
            subprocess.check_call(["cp", "-a", os.path.join(kept, "lab"), self.base])
        self.ovs.start()
        self.ovs.add_bridge("br0")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", HOLD, "hold",
             self.base, self.ovs.dir, os.path.join(kept, "upper") if kept else ""],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ, PATH=PATH))
        assert self._holder.stdout.readline() == b"ready\n"
        if kept:
            assert self.run("systemctl", "restart", os.path.basename(SERVICE)).code == 0
            shutil.copy(os.path.join(kept, "lab", "calls"), self.lab("calls"))
        return self

    def keep(self, directory):
        """Copy the changes in this dom0 to a new directory, for start() of other dom0s. A watcher
        must run in this dom0."""
        os.mkdir(directory)
        subprocess.check_call(["cp", "-a", self._upper(), self.lab(""), directory])
        os.unlink(os.path.join(directory, "lab", "watcher"))

    def stop(self):
        if self.watcher():
            os.kill(self.watcher(), signal.SIGKILL)
        if self._holder:
            self._holder.stdin.close()
            self._holder.wait()
            self._holder.stdout.close()
        self.ovs.stop()

    # -- places

    def bundle(self, name=""):
        return os.path.join(self.base, "bundle", name).rstrip("/")

    def path(self, name):
        """The path, for this process, of a file of the dom0 as it is now. Don't follow links
        there."""
        return "/proc/%d/root%s/mem/root%s" % (self._holder.pid, self.base, name)

    def _upper(self):
        return "/proc/%d/root%s/mem/upper" % (self._holder.pid, self.base)

    def text(self, name):
        return self.run("cat", name).out

    def exists(self, name):
        return self.run("test", "-e", name).code == 0

    def write(self, name, text):
        write(self.path(name), text)

    # -- the state that the stand-ins read

    def lab(self, name):
        return os.path.join(self.base, "lab", name)

    def unit(self, **changed):
        """Set these properties of xenopsd's unit, if any; returns all that systemd shows of the
        unit."""
        values = {}
        if os.path.exists(self.lab("unit")):
            with open(self.lab("unit")) as stream:
                values = dict(line.rstrip("\n").split("=", 1) for line in stream)
        values.update(changed)
        write(self.lab("unit"), "".join("%s=%s\n" % item for item in sorted(values.items())))
        return values

    def store(self, keys=None):
        """Set the keys of xenstore, if given; returns all of them."""
        if keys is not None:
            write(self.lab("xenstore"), "".join("%s %s\n" % item for item in keys.items()))
        with open(self.lab("xenstore")) as stream:
            return dict(line.rstrip("\n").split(" ", 1) for line in stream)

    def plug(self, name, script):
        """Note in xenstore one more VIF, as plugged by this script."""
        self.store(dict(self.store(), **{PLUGGED % (name, 0): script}))

    def tasks(self, command, *answers):
        """Set the outputs of xenops-cli or xe, one for each call; with no outputs the command
        fails."""
        shutil.rmtree(self.lab(command), ignore_errors=True)
        for number, answer in enumerate(answers):
            write(self.lab("%s/%d" % (command, number)), answer)

    # -- acts

    def popen(self, *command, **environment):
        return subprocess.Popen(
            ["nsenter", "--mount=/proc/%d/ns/mnt" % self._holder.pid, "chroot",
             os.path.join(self.base, "mem", "root")] + list(command),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict({"PATH": PATH, "HOME": "/root", "XENVIF_TAGGER_INSTALL_SETTLE": "0",
                      "XENVIF_TAGGER_INSTALL_POLL": "0.01"}, **environment))

    def run(self, *command, **environment):
        process = self.popen(*command, **environment)
        out, err = process.communicate(timeout=180)
        return Result(process.returncode, out.decode(), err.decode())

    def install(self, *options, **environment):
        return self.run("/bundle/dom0-install.sh", *options, **environment)

    def until(self, point, *options):
        result = self.install(*options, XENVIF_TAGGER_INSTALL_STOP_AFTER=point)
        assert result.code == KILLED, "%s is not reached: %r" % (point, result)

    # -- looks

    def runs(self):
        """The setup-vif-rules that the running xenopsd has read from its config."""
        return self.unit()["RUNS"].strip("'")

    def watcher(self):
        """The pid of the watcher, which systemd runs by our unit; or None."""
        if not os.path.exists(self.lab("watcher")):
            return None
        with open(self.lab("watcher")) as stream:
            return int(stream.read())

    def restarts(self):
        return self.calls().count("systemctl restart xenopsd-xc\n")

    def calls(self):
        if not os.path.exists(self.lab("calls")):
            return ""
        with open(self.lab("calls")) as stream:
            return stream.read()

    def xenopsd_would_run(self):
        """Check that xenopsd would start now; returns the script that it would run."""
        result = self.run("systemctl", "try", "xenopsd-xc")
        assert result.code == 0, result
        return result.out.strip()

    def assert_works(self):
        """Every setup-vif-rules that xenopsd or a key of xenstore names can be executed."""
        assert self.xenopsd_would_run() in (STOCK, HOOK)
        for path, value in self.store().items():
            if path.endswith("/setup-vif-rules") and value != "/third/party":
                assert self.run("test", "-x", value).code == 0, value
        named = self.runs()
        assert not named or self.run("test", "-x", named).code == 0

    def changes(self):
        """The files that differ from before start(), of those in the overlay's upper layer:
        path -> look(path)."""
        top = self._upper()
        found = {}
        for where, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(where, name)
                inside = path[len(top):]
                before = [base + inside for base in (os.path.join(self.base, "dom0"), "")
                          if os.path.lexists(base + inside)]
                if not before or look(path) != look(before[0]):
                    found[inside] = look(path)
        return found

    def assert_as_before(self):
        assert self.changes() == {}
        assert self.store() == self.keys
        assert self.xenopsd_would_run() == STOCK
        assert self.watcher() is None and not os.path.exists(self.lab("loaded"))

    def assert_installed(self):
        result = self.install("--check")
        assert result.code == DONE, result
        assert self.xenopsd_would_run() == self.runs() == HOOK
        self.assert_watches()
        wanted = {path: HOOK if value == STOCK and "/vif/" in path else value
                  for path, value in self.keys.items()}
        assert self.store() == wanted

    def assert_watches(self):
        """The watcher runs from the release in use, and systemd will start it at the next boot."""
        current = os.readlink(self.path("/opt/xenvif-tagger/current"))
        assert os.readlink("/proc/%d/cwd" % self.watcher()).endswith(
            "/opt/xenvif-tagger/" + current)
        assert os.readlink(self.path(SERVICE_LINK)) == SERVICE
        with open(self.lab("loaded")) as stream:
            assert stream.read() == self.text(SERVICE) == self.text(
                "/opt/xenvif-tagger/hotplug/xenvif-tagger.service")


def look(path):
    """A path's kind, mode and owner, and a file's content, a link's target or a device's number."""
    status = os.lstat(path)
    kind = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
    if stat.S_ISLNK(status.st_mode):
        return kind + [os.readlink(path)]
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            return kind + [stream.read()]
    return kind + [status.st_rdev]


def bridge(host):
    write(host.at("/etc/xensource/network.conf"), "bridge\n")


def set_unit(host, line):
    write(host.at(UNIT), "[Service]\nEnvironment=OPTIONS=\nEnvironmentFile=-/etc/sysconfig/xenopsd"
                         "\nExecStart=%s\n" % line)


def default_directory(host):
    """Make the dom0 as XenServer's: xenopsd's unit names no config directory, and there is none."""
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf $OPTIONS")
    return "/etc/xenopsd-xc.conf.d"


def stripped(changes):
    """The installed files, without those parts that differ from one installation to the next."""
    return {path: value if "__pycache__" not in path else None
            for path, value in changes.items() if not path.endswith("/unread")}


LIBXL_KEYS = {"/local/domain/0/backend/vif/3/0/script": LIBXL + "-tagger",
              "/libxl/3/device/vif/0/script": LIBXL + "-tagger",
              "/local/domain/0/backend/vif/4/0/script": LIBXL,
              "/local/domain/0/backend/vbd/4/0/script": LIBXL + "-tagger"}
