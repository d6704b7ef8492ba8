"""The host that `doctor` examines. Its files, /proc included, are stand-ins below a directory, and
xenstore-ls is a stand-in too. The database and the watcher are real."""
import json
import os
import subprocess
import sys
import time

from support.command import fork_server
from support.constants import LONG, ROOT
from support.xapi_server import XapiServer

SCRIPTS = os.path.join(ROOT, "tests", "dom0", "scripts")
STOCK = "/usr/libexec/xenopsd/setup-vif-rules"
COMMON = "/usr/libexec/xenopsd/common.py"
HOOK = "/opt/xenvif-tagger/hotplug/setup-vif-rules"
SETTING = "/etc/xenopsd.conf.d/zz-xenvif-tagger.conf"
CONFIG = "/etc/xenvif-tagger.conf"
KEY = '/xapi/vm-%s/private/vif/0/setup-vif-rules = "%s"\n'
BOOT = "0b6d1c9e-boot"
PID, XAPI_SYNC_PID = 1000, 2000
# A program that runs the command on the stand-in host. Its argv: the directory of the host's files,
# code to run first, and the command's own arguments.
RUNNER = r"""
import functools, sys
root, patch = sys.argv[1:3]
del sys.argv[1:3]
exec(patch)
from xenvif_tagger.cli.main import main
from xenvif_tagger.doctor import host
host.Host = functools.partial(host.Host, root=root)
main()
"""
# The checks that are not OK on a host that is set up right: name -> state.
USUAL = {"xapi-vifs": "SKIP"}
NO_WATCHER = {"watcher-lock": "SKIP", "watcher-error": "SKIP", "last-mirrored": "SKIP"}
NO_DATABASE = dict.fromkeys((
    "iface-id", "drift", "conflict", "refused", "hold-bridges", "held", "unbound", "dead-vlan",
    "bridges", "unpaired", "orphans", "unmarked"), "SKIP")


class Host(object):
    """A dom0 that is set up right until a test changes it."""

    def __init__(self, base, run_dir):
        self.root = str(base / "root")
        self.bin = str(base / "bin")
        self.run_dir = run_dir
        self.patch = ""
        self.options = []  # xenvif-tagger's options before the command's name
        self.write("/etc/xensource/network.conf", "openvswitch\n")
        os.makedirs(self.at("/sys/module/openvswitch"))
        self.write("/etc/xenopsd.conf", "# setup-vif-rules=/nowhere\nvif-script=vif\n")
        self.write(SETTING, "setup-vif-rules=%s\n" % HOOK)
        self.write(CONFIG, "[mirror]\niface_id = one\n")
        self.write(HOOK, "#!/usr/bin/python3\n", 0o755)
        for name in ("setup-vif-rules", "common.py"):
            with open(os.path.join(SCRIPTS, name)) as stream:
                self.write("/usr/libexec/xenopsd/" + name, stream.read(), 0o755)
        self.write("/proc/sys/kernel/random/boot_id", BOOT + "\n")
        self.write("/proc/uptime", "1000.00 1.00\n")
        self.process(1, "/usr/lib/systemd/systemd")
        # xenopsd started 100 s ago; its setting was written 200 s ago, so xenopsd has read it.
        self.process(PID, "/usr/sbin/xenopsd-xc", "--config", "/etc/xenopsd.conf", "--config-dir",
                     "/etc/xenopsd.conf.d", began=900)
        self.age(SETTING, 200)
        self.xenstore(KEY % ("a", HOOK) + '/xapi/vm-a/private/vif/0/MTU = "1500"\n')

    def at(self, name):
        return self.root + name

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "w") as stream:
            stream.write(text)
        os.chmod(self.at(name), mode)

    def age(self, name, seconds):
        when = time.time() - seconds
        os.utime(self.at(name), (when, when))

    def process(self, pid, *argv, **options):
        ticks = options.get("began", 1) * os.sysconf("SC_CLK_TCK")
        self.write("/proc/%d/cmdline" % pid, "".join(word + "\0" for word in argv))
        self.write("/proc/%d/stat" % pid, "%d (a (b) c) S %s %d 0\n" % (
            pid, " ".join(["1"] * 18), ticks))

    def program(self, name, script):
        """Write a stand-in for one of the host's commands."""
        os.makedirs(self.bin, exist_ok=True)
        path = os.path.join(self.bin, name)
        with open(path, "w") as stream:
            stream.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)

    def xenstore(self, listed, code=0, problem="", tree="/xapi"):
        self.program("xenstore-ls", "[ \"$*\" = '-f %s' ] || exit 9\ncat <<'END'\n%sEND\n"
                     "printf '%%s' '%s' >&2\nexit %d\n" % (tree, listed, problem, code))

    def command(self, db, *args):
        return [sys.executable, "-c", RUNNER, self.root, self.patch, "--db", db.remote,
                "--config", self.at(CONFIG)] + self.options + list(args)

    def env(self, **more):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith(("XENVIF_TAGGER_", "OVS_", "LC_", "PYTHON"))}
        env.update(PATH=self.bin + ":" + env["PATH"], LC_ALL="C.UTF-8", COLUMNS="80",
                   PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE="1", OVS_RUNDIR=self.run_dir)
        env.update(more)
        return env

    def run(self, db, *args, **env):
        env = self.env(**env)
        if not self.patch:  # self.patch is code that must run before the package is imported
            argv = ["-c"] + self.command(db, *args)[3:]
            code, out, err = fork_server(env).run(RUNNER, argv, env)
            return code, out.decode("utf-8"), err.decode("utf-8")
        done = subprocess.run(self.command(db, *args), env=env, timeout=LONG,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")

    def doctor(self, db):
        """Run doctor, and check the form of its answer; returns the checks: name -> check."""
        code, out, err = self.run(db, "doctor", "--json")
        assert err == ""
        checks = json.loads(out)["checks"]
        for check in checks:
            assert set(check) == {"name", "state", "found", "cure"}
            assert check["state"] in ("OK", "WARN", "FAIL", "SKIP") and check["found"]
            assert check["cure"] is None or check["state"] in ("WARN", "FAIL")
        assert code == any(check["state"] == "FAIL" for check in checks)
        return {check["name"]: check for check in checks}

    def is_ill(self, db, name, state, *words, **others):
        """Assert that the check `name` has this state, that each of `others` (name -> state) has
        its state, and that all other checks are as usual. Returns the check `name`."""
        checks = self.doctor(db)
        wanted = dict(USUAL, **others)
        wanted[name] = state
        assert {check["name"]: check["state"] for check in checks.values()
                if check["state"] != "OK"} == wanted, checks
        for word in words:
            assert word in checks[name]["found"]
        assert checks[name]["cure"] or state == "SKIP"
        return checks[name]


def reach(watcher, run_dir):
    """Give the watcher's control socket the name that it would have without --unixctl."""
    os.symlink(watcher.socket, os.path.join(run_dir, "xenvif-tagger.%d.ctl" % watcher.pid))


def prepared(ovs):
    ovs.vsctl("set", "Open_vSwitch", ".", "ovs-version=3.1.0")
    ovs.add_bridge("br0")
    return ovs


HERE = "0e7c0cbb-5d8b-4a0e-9a63-5f0f3c7b0d11"  # this host's uuid


class Xapi(XapiServer):
    """An XapiServer with an actor that acts between two calls.

    before (dict): method -> function, called once, before the server's first answer to the method.
    """

    def __init__(self, **how):
        XapiServer.__init__(self, **how)
        self.before = {}
        self.tables["host"][self.pool_master]["uuid"] = HERE

    def answer(self, method, params):
        self.before.pop(method, lambda: None)()
        return XapiServer.answer(self, method, params)


def ids(number, **more):
    found = {"xs-vif-uuid": "uuid-%d" % number, "attached-mac": "02:00:00:00:00:%02d" % number}
    found.update((key.replace("_", "-"), value) for key, value in more.items())
    return found


def plug(host, ovs, vif=(), tap=(), number=1, seen=True):
    """Add a pair of ports. vif, tap: add_port's arguments for that side, where they are not the
    usual ones. seen: run `mirror all` afterwards, so that the rows have our marks."""
    for side, columns in (("vif", vif), ("tap", tap)):
        columns = dict(columns)
        ovs.add_port(columns.pop("bridge", "br0"), "%s%d.0" % (side, number),
                     columns.pop("external_ids", ids(number)), **columns)
    if seen:
        host.run(ovs, "-q", "mirror", "all")
