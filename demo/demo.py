#!/usr/bin/env python3
"""Show what xenvif-tagger is for, on a private Open vSwitch: the bug, then the cure. `make demo`.

Exit status 0: the bug and the cure were seen as announced; 1: one of the two was not; 2: the demo
could not show them. The demo leaves no process, network device, namespace or file, however it ends
(except by kill -9).
"""

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, "tests")]

import labs  # noqa: E402

from support.private_ovs import OvsError, PrivateOvs  # noqa: E402

PINGS, FRAMES = 5, 20
FAILED, CANNOT, NO_NAMESPACES = 1, 2, 3

BRIDGE = "xapi0"
IDENTITY = [  # the ids that XenServer sets on both ports of a VIF
    "xs-vm-uuid=8a7f5c3e-0c51-4c1b-9d2e-6f1f4f0a9b12",
    "xs-vif-uuid=3d1c8b7a-52e4-4b0c-8c9f-2f6f0b7d1e12",
    "xs-network-uuid=f0e4a2c6-9b1d-47a8-a3c5-5d2e7b9c0a05",
    "attached-mac=" + labs.MAC["vif12.0"],
]
AGENT_IDS = [  # the ids that ovs-xapi-sync adds on the vif; an agent finds the port by iface-id
    "iface-id=3d1c8b7a-52e4-4b0c-8c9f-2f6f0b7d1e12",
    "vm-id=8a7f5c3e-0c51-4c1b-9d2e-6f1f4f0a9b12",
    "iface-status=active",
]
AGENT_MARKS = [  # Neutron's agent writes these, and reads them at its own next start
    "net_uuid=c4b1f6d0-2a3e-4f58-8e7d-90a1b2c3d405",
    "network_type=vlan",
    "physical_network=physnet1",
    "segmentation_id=1005",
    "tag=5",
]


# ---- telling ----------------------------------------------------------------------------------


def say(text="", colour=None):
    if colour and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        text = "\033[%sm%s\033[0m" % (colour, text)
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def step(number, text):
    say()
    say("%d. %s" % (number, text), "1")


def explain(text):
    if text:
        say(textwrap.fill(text, 77, initial_indent="   ", subsequent_indent="   "))


def typed(where, *command):
    """Show a command as a person in the guest or in dom0 would type it."""
    text = " ".join(shlex.quote(part) if part != "--" else part for part in command)
    lines = textwrap.wrap(text, 68, break_long_words=False, break_on_hyphens=False)
    say("   %s# %s" % (where, " \\\n           ".join(lines)), "36")


def seen(text, good):
    say("   => " + text, "32" if good else "31")


# ---- the story --------------------------------------------------------------------------------


class Story:
    def __init__(self, lab, ovs):
        self.lab = lab
        self.ovs = ovs
        self.wrong = []  # texts of the observations that were not as announced

    def tell(self):
        self.build()
        before = self.look(3, "before", 0, FRAMES)
        self.cure()
        after = self.look(6, "after", PINGS, 0)
        step(8, "What xenvif-tagger says of this domain now")
        self.tagger("status", "12")
        say()
        say("   %-34s%-10s%s" % ("", "before", "after"), "1")
        rows = ("pings answered, of %d" % PINGS, "VLAN 6 frames that passed, of %d" % FRAMES)
        for row, first, second in zip(rows + ("VLAN 6 frames at the guest",), before, after):
            say("   %-34s%-10d%d" % (row, first, second))
        say()
        for text in self.wrong:
            say("FAILED: " + text, "31")
        if not self.wrong:
            say("OK: the guest's two ports are alike.", "32")
        return FAILED if self.wrong else 0

    def build(self):
        say("One guest, one NIC, two ports, and an agent that knows one of them", "1")
        explain("A private Open vSwitch, %s." % self.lab.what)
        say(
            """
                              +------------+
   guest 12 --+-- tap12.0 ----|            |---- peer5   VLAN 5
              |   (emulated)  |   bridge   |
              +-- vif12.0 ----|   %s    |---- peer6   VLAN 6, another tenant
                  (PV)        |            |---- other6  VLAN 6, another tenant
                              +------------+"""
            % BRIDGE
        )
        step(1, "XenServer plugs the guest's NIC: as two ports")
        explain(
            "The guest has no PV driver yet, so it uses the NIC that QEMU emulates, behind "
            "tap12.0. vif12.0 waits for the driver. The neighbours are there already."
        )
        self.ovs.add_bridge(BRIDGE)
        self.plug("vif12.0", IDENTITY + AGENT_IDS)
        self.plug("tap12.0", IDENTITY)
        for port in ("peer5", "peer6", "other6"):
            self.plug(port, [], "tag=" + port[-1])
        step(2, "The SDN agent binds the port that it knows to VLAN 5")
        self.vsctl("set", "Port", "vif12.0", "tag=5")
        marks = ["other_config:" + mark for mark in AGENT_MARKS]
        self.vsctl("set", "Port", "vif12.0", *marks)
        explain("tap12.0 has no tag. To Open vSwitch that is a trunk of every VLAN.")

    def plug(self, port, ids, *settings):
        shown = ["add-port", BRIDGE, port] + list(settings)
        if ids:
            shown += ["--", "set", "Interface", port] + ["external_ids:" + i for i in ids]
        typed("dom0", "ovs-vsctl", *shown)
        options = self.lab.port_options(port)  # needed by dummy devices only, so not shown
        self.ovs.vsctl(*shown + (["--", "set", "Interface", port] + options if options else []))
        row = self.ovs.interface(port)
        if row["error"] or row["ofport"] == [-1]:
            raise labs.LabError("ovs-vswitchd can't use %s: %s" % (port, row["error"]))

    def vsctl(self, *command):
        typed("dom0", "ovs-vsctl", *command)
        self.ovs.vsctl(*command)

    def look(self, number, when, want_answered, want_foreign):
        """Ping, and count foreign frames. Returns how many pings were answered, how many frames of
        VLAN 6 passed the switch, and how many of these reached the guest."""
        step(number, "Does the guest reach its neighbour in VLAN 5?")
        typed("guest", "ping", "-c", str(PINGS), labs.ADDRESS["peer5"])
        explain(self.lab.ping_note)
        answered = self.lab.ping(PINGS)
        text = "%d of %d pings answered" % (answered, PINGS)
        self.check(when, text, answered == want_answered)

        step(number + 1, "Another tenant, in VLAN 6, sends %d broadcasts" % FRAMES)
        explain(self.lab.listen_note)
        passed, vlans = labs.broadcasts(self.lab, FRAMES)
        tags = sorted({"no tag" if vlan is None else "802.1Q VLAN %d" % vlan for vlan in vlans})
        explain("%d of %d came to other6, which is in VLAN 6 too." % (passed, FRAMES))
        text = "%d of %d came to the guest" % (len(vlans), FRAMES)
        text += " (%s)" % ", ".join(tags) if tags else ""
        self.check(when, text, passed == FRAMES and len(vlans) == want_foreign)
        return answered, passed, len(vlans)

    def check(self, when, text, as_told):
        """Print an observation: in green only after the cure, because before the cure the demo
        announces the bug."""
        seen(text, as_told and when == "after")
        if not as_told:
            self.wrong.append("%s: %s" % (when, text))

    def cure(self):
        step(5, "The cure")
        self.tagger("mirror", "dom", "12")
        # The new settings apply to a frame once ovs-vswitchd has read them and has revalidated the
        # flows in its cache.
        self.ovs.sync()
        self.ovs.appctl("ovs-vswitchd", "revalidator/wait")

    def tagger(self, *command):
        typed("dom0", "xenvif-tagger", *command)
        # The command must not see this machine's own settings. COLUMNS: 80 less the indent of 3.
        env = {k: v for k, v in self.ovs.env.items() if not k.startswith("XENVIF_TAGGER_")}
        env.update(XENVIF_TAGGER_CONFIG=os.devnull, COLUMNS="77", PYTHONIOENCODING="utf-8")
        result = subprocess.run(
            [sys.executable, "-m", "xenvif_tagger", "--db", self.ovs.remote] + list(command),
            env=env,
            cwd=ROOT,  # where the package is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for line in result.stdout.decode("utf-8", "replace").splitlines():
            say("   " + line)
        if result.returncode:
            command = " ".join(command)
            self.wrong.append("xenvif-tagger %s exited with %d" % (command, result.returncode))


def on_real_devices():
    try:
        lab = labs.RealLab()
    except labs.NotPermitted as error:
        say("No %s; OVS's dummy devices instead." % error)
        return NO_NAMESPACES
    with PrivateOvs(vswitchd=lab.vswitchd) as ovs:
        return Story(lab, ovs).tell()


def on_dummy_devices():
    with PrivateOvs(vswitchd=labs.DummyLab.vswitchd) as ovs:
        return Story(labs.DummyLab(ovs), ovs).tell()


# ---- leaving nothing behind -------------------------------------------------------------------
# A child process shows the story. This process only waits, for the end of the child or for a
# signal, and has these signals blocked: so no signal can interrupt this process between two steps.
# As the "subreaper" this process inherits all processes that the child leaves, and ends them.

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None)


def child(work, mask, parent):
    status = CANNOT
    try:
        os.setsid()  # so that Ctrl-C reaches the parent only
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = work()
    except BrokenPipeError:  # make demo | head
        status = 128 + signal.SIGPIPE
    except (OvsError, labs.LabError, OSError) as error:
        sys.stderr.write("demo: %s\n" % error)
        sys.stderr.flush()
    except BaseException:  # a bug of ours; os._exit would swallow it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def end_children():
    """End all our child processes, and all processes that these have left."""
    while True:
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % entry, "rb") as stream:
                    parent = int(stream.read().rpartition(b")")[2].split()[1])
            except OSError:  # the process has just ended
                continue
            if parent == os.getpid():
                os.kill(int(entry), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def run(work, stop, mask):
    """Do `work` in a child process.

    Returns (the child's exit status, None), or (None, the signal at which the child was ended).
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        child(work, mask, parent)
    try:
        while True:
            got = signal.sigwait(stop | {signal.SIGCHLD})
            if got in stop:
                return None, got
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and os.WIFSIGNALED(status):
                sys.stderr.write("demo: killed by signal %d\n" % os.WTERMSIG(status))
                return CANNOT, None
            if ended:
                return os.WEXITSTATUS(status), None
    finally:
        end_children()


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A signal that was ignored when we were started (nohup) stays ignored.
    stop = {
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, stop | {signal.SIGCHLD})
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    base = tempfile.gettempdir()  # a unix socket's path has 107 characters at most
    directory = tempfile.mkdtemp(prefix="xenvif-demo-", dir=base if len(base) < 25 else "/tmp")
    try:
        tempfile.tempdir = directory  # where PrivateOvs makes its directory
        status, stopped = run(on_real_devices, stop, mask)
        if status == NO_NAMESPACES:
            status, stopped = run(on_dummy_devices, stop, mask)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if stopped:  # end by the same signal, so that the exit status names that signal
        sys.stderr.write("demo: stopped; nothing of it is left\n")
        sys.stderr.flush()
        signal.signal(stopped, signal.SIG_DFL)
        os.kill(os.getpid(), stopped)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return status


if __name__ == "__main__":
    sys.exit(main())
