"""`doctor`: checks of the stock script, of our additions to its add-port, and of the VIFs that were
plugged without our hook."""
import json
import os
import re
import sys

from ..host.paths import HOOK, INSTALL, PACKAGE, STOCK, USUAL
from ..output.checks import FAIL, OK, SKIP, WARN, first_few
from .hook import LIBXL_LINK, NO_DOM0
from .host import Host, run
from .patient import Patient, Result

# A line of xenstore-ls on a host of libxl: the domain, the number of its device, and the script of
# the VIF (xen docs/misc/xenstore-paths.pandoc).
BACKENDS = "/local/domain/0/backend/vif"
BACKEND_LINE = re.compile(r'^%s/([0-9]+)/([0-9]+)/script = "(.*)"$' % BACKENDS)
# Such a line on a host of xenopsd, with the VM in place of the domain.
SCRIPT_LINE = re.compile(r'^/xapi/([^/ ]+)/private/vif/([0-9]+)/setup-vif-rules = "(.*)"$')


def stock_script(patient: Patient) -> Result:
    """Whether our hook finds a stock script that it can run in its own process."""
    host = patient.host
    if host.flavour is None:
        return NO_DOM0
    place = host.stock()
    chosen = host.values["plug", "stock_script"]
    if place is None:
        return (FAIL, "there is no stock script at %s" % " or ".join(
            [chosen] * bool(chosen) + [os.path.join(folder, STOCK) for folder in USUAL]),
                "grep -rs setup-vif-rules /etc/xenopsd*; then set stock_script in %s" % (
                    host.config_path))
    if host.flavour == "xenopsd" and chosen and place != chosen:
        return (WARN, "stock_script is %s, which can't be run: the hook runs %s" % (
            chosen, place), "ls -l %s; vi %s" % (chosen, host.config_path))
    if host.flavour == "xenopsd" and not _is_python3(host, place):
        return (FAIL, "%s is not for Python 3 (%s): the hook runs it as a process of its own, and "
                "mirrors only afterwards" % (place, _first_line(host, place)[:60]),
                "upgrade this host to XCP-ng 8.3, XenServer 8, or newer")
    return OK, place, None


def _first_line(host: Host, place: str) -> str:
    return (host.read(place) or "").split("\n")[0]


def _is_python3(host: Host, place: str) -> bool:
    first_line = _first_line(host, place)
    return first_line.startswith("#!") and "python3" in first_line


def stock_add_port(patient: Patient) -> Result:
    """Whether our hook can add to the stock script's add-port, by a dry run (probe.py)."""
    host = patient.host
    if host.flavour is None:
        return NO_DOM0
    place = host.stock()
    if place is None or host.flavour == "xenopsd" and not _is_python3(host, place):
        return SKIP, "there is no stock script to run", None
    if host.flavour == "libxl":
        if "add-port" in (host.read(place) or ""):
            return OK, "%s names add-port (a shell script, so there was no dry run)" % place, None
        return FAIL, "%s does not name add-port: nothing can be added to it" % place, (
            "dpkg -V xen-utils-common" if os.path.exists(host.path("/var/lib/dpkg/status"))
            else "rpm -V xen")
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); " \
        "from xenvif_tagger.doctor.probe import main; main()"
    output, problem = run([sys.executable, "-IB", "-c", code, os.path.dirname(PACKAGE),
                           host.path(place)])
    try:
        report = json.loads(output)
    except ValueError:
        return FAIL, "the dry run gave no answer (%s)" % (problem or output[:60]), INSTALL
    if report["proved"]:
        return OK, "dry run, %d commands noted and none run: the script's add-port would be " \
            "given the sibling's settings" % report["commands"], None
    cure = "journalctl -t setup-vif-rules -t xenvif-tagger; and report it as a bug"
    if report["doexec"] and report["add_port"]:
        return (WARN, "not proved: the dry run ended before add-port (%s). But the script has "
                "add-port, and its common.py has doexec" % (report["problem"] or "with no error"),
                cure)
    return (FAIL, "the script's add-port does not go through common.doexec (%s): ports are "
            "mirrored only after they were created" % (report["problem"] or "dry run"), cure)


def plugged_before(patient: Patient) -> Result:
    """Whether all VIFs that are plugged have our hook as their script in xenstore."""
    host = patient.host
    if host.flavour is None:
        return NO_DOM0
    is_libxl = host.flavour == "libxl"
    tree, pattern, hook = (BACKENDS, BACKEND_LINE, LIBXL_LINK) if is_libxl else (
        "/xapi", SCRIPT_LINE, HOOK)
    listed, problem = run(["xenstore-ls", "-f", tree])
    # xenstore-ls says the same of a socket of xenstored that is not there ("connecting to socket").
    if problem and not ("xs_directory" in problem and "No such file" in problem):
        return SKIP, "xenstore can't be read: %s" % problem, None
    unhooked, broken = [], []
    for line in listed.splitlines():
        match = pattern.match(line)
        if match and match.group(3) != hook:
            owner, device, script = match.groups()
            unhooked.append("VIF %s of %s %s: %s" % (
                device, "domain" if is_libxl else "VM", owner, script))
            if not host.is_program(script):
                broken.append(unhooked[-1])
    if is_libxl and unhooked:
        # xl reads a guest's saved config, not xenstore, when the guest reboots.
        return (FAIL if broken else WARN, "%d VIFs are not plugged by our hook: %s. Put "
                "script=vif-openvswitch-tagger into the vif line of each guest's config file CFG; "
                "the line counts from the guest's next start" % (
                    len(unhooked), first_few(broken or unhooked)),
                "xl config-update DOMID CFG && xl reboot DOMID")
    if broken:
        return (FAIL, "%d VIFs can't be plugged or unplugged: their script can't be run: %s" % (
            len(broken), first_few(broken)), INSTALL)
    if unhooked:
        return (WARN, "%d VIFs were plugged before the hook was installed, and would be re-plugged "
                "without the hook: %s" % (len(unhooked), first_few(unhooked)), INSTALL)
    return OK, "xenstore names our hook for all VIFs that are plugged", None
