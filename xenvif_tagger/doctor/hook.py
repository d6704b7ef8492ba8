"""`doctor`: checks of the config file, the network backend, xenopsd, and our hook in xenopsd's
config."""
import os

from ..host.paths import BASE, HOOK, INSTALL
from ..output.checks import FAIL, OK, SKIP, first_few
from .patient import Patient, Result

LIBXL_LINK = "/etc/xen/scripts/vif-openvswitch-tagger"
SETTING_NAME = "zz-xenvif-tagger.conf"
# The file in which dom0-install.sh notes the boot id, and the pid of the xenopsd that has not read
# the setting yet.
UNREAD = BASE + "/unread"
NO_DOM0 = SKIP, "not a dom0: neither xenopsd nor libxl's scripts are here", None
NOT_RUNNING = SKIP, "xenopsd does not run, so its command line is not known", None


def config_file(patient: Patient) -> Result:
    """Whether the config file can be read and has no mistakes."""
    host = patient.host
    if host.problems is None:
        if host.must_have_config:
            return FAIL, "%s: no such file" % host.config_path, "ls -l %s" % host.config_path
        return OK, "%s is not there: every setting has its default" % host.config_path, None
    if host.problems:
        return (FAIL, "%s: %s" % (host.config_path, first_few(host.problems)),
                "vi %s; systemctl restart xenvif-tagger" % host.config_path)
    return OK, "%s has no mistakes" % host.config_path, None


def network(patient: Patient) -> Result:
    """Whether the host uses Open vSwitch, not Linux bridges (dom0-install.sh, refuse_if_unfit, asks
    the same)."""
    host = patient.host
    if host.flavour is None:
        return NO_DOM0
    chosen = "".join((host.read("/etc/xensource/network.conf") or "").split())
    loaded = os.path.exists(host.path("/sys/module/openvswitch"))
    cure = "xe-switch-network-backend openvswitch, then reboot the host"
    if chosen == "bridge":
        return FAIL, ("/etc/xensource/network.conf says Linux bridge: the ports of a Linux bridge "
                      "have no tags"), cure
    if not loaded:
        return (FAIL, "the module openvswitch is not loaded: plugs go to the Linux bridge",
                "modprobe openvswitch" if chosen or host.flavour == "libxl" else cure)
    return OK, "plugs go to Open vSwitch" + (
        ", as /etc/xensource/network.conf says" if chosen else ""), None


def xenopsd(patient: Patient) -> Result:
    """Whether xenopsd runs."""
    host = patient.host
    if host.flavour == "libxl":
        return SKIP, "libxl plugs here: there is no xenopsd", None
    if host.flavour is None:
        return NO_DOM0
    if host.xenopsd is None:
        hidden = host.hidden()
        return (SKIP, hidden, None) if hidden else (
            FAIL, "xenopsd does not run: no VM can be started or stopped",
            "systemctl start xenopsd-xc")
    return OK, "%s runs, pid %d" % (os.path.basename(host.xenopsd.argv[0]), host.xenopsd.pid), None


def hook_setting(patient: Patient) -> Result:
    """Whether the config of xenopsd names our hook."""
    host = patient.host
    if host.flavour == "libxl":
        return SKIP, "with libxl each guest's config names the hook: script=%s" % (
            os.path.basename(LIBXL_LINK)), None
    if host.xenopsd is None:
        return NOT_RUNNING if host.flavour else NO_DOM0
    value, file = host.setting(host.xenopsd.argv)
    if value == HOOK:
        return OK, "setup-vif-rules is our hook, by %s" % file, None
    if value is None:
        return FAIL, "no config file of xenopsd names our hook: VIFs are plugged by the stock " \
            "script", INSTALL
    text = "setup-vif-rules is %s, by %s, which xenopsd reads last" % (value, file)
    folder, name = os.path.split(file)
    if name <= SETTING_NAME or not os.path.exists(host.path(os.path.join(folder, SETTING_NAME))):
        return FAIL, text, INSTALL
    # The later file wins, so the user's file must sort before the installer's. The installer then
    # finds the script in the user's file, and takes that script for the stock script.
    return FAIL, text, "mv %s %s/0-%s && %s" % (file, folder, name, INSTALL)


def hook_file(patient: Patient) -> Result:
    """Whether our hook is there and can be run."""
    host = patient.host
    if host.flavour is None:
        return NO_DOM0
    hook = HOOK if host.flavour == "xenopsd" else LIBXL_LINK
    if host.is_program(hook):
        return OK, "%s is there, and can be run" % hook, None
    if not os.path.exists(host.path(hook)):
        is_set = host.xenopsd and host.setting(host.xenopsd.argv)[0] == hook
        return FAIL, "%s is missing%s" % (
            hook, ": xenopsd would not start again, and no VIF can be plugged" if is_set
            else ""), INSTALL
    return FAIL, "%s can't be run" % hook, "chmod 755 %s" % hook


def hook_read(patient: Patient) -> Result:
    """Whether the running xenopsd was started after the setting was made, and so has read it."""
    host = patient.host
    if host.flavour == "libxl":
        return SKIP, "libxl has no daemon that must read a setting", None
    if host.xenopsd is None:
        return NOT_RUNNING if host.flavour else NO_DOM0
    value, file = host.setting(host.xenopsd.argv)
    if value != HOOK:
        return SKIP, "there is no setting that xenopsd could have read", None
    pid = host.xenopsd.pid
    unread = (host.read(UNREAD) or "").split()
    boot = (host.read("/proc/sys/kernel/random/boot_id") or "?").strip()
    if unread[:2] == [boot, str(pid)]:
        return FAIL, "xenopsd, pid %d, was started before the setting was made" % pid, INSTALL
    started = host.started(pid)
    if not file.startswith("/"):
        return OK, "the setting is on xenopsd's command line", None
    if started is None:
        return SKIP, "it is not known when xenopsd was started", None
    # One second of difference may come from the kernel's clock ticks and the file system's times.
    seconds_later = os.stat(host.path(file)).st_mtime - started
    if seconds_later > 1:
        return (FAIL, "%s was written %d s after xenopsd, pid %d, was started" % (
            file, seconds_later, pid), "xe-toolstack-restart")
    return OK, "xenopsd, pid %d, was started after the setting was made" % pid, None
