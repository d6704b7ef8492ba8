"""The stock scripts of a dom0: our stand-ins, or real ones.

XEN_SCRIPTS names one directory with all real scripts, under the names that they have in dom0 or in
their source trees (`vif.in`). If one of the two families, xapi's or libxl's, is missing there, our
stand-ins take its place.
"""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
LIBEXEC = "/usr/libexec/xenopsd"
XEN_SCRIPTS = "/etc/xen/scripts"
RULES = "/etc/udev/rules.d"
XAPI = ("vif", "vif-real", "setup-vif-rules", "common.py", "xen-backend.rules")
NEEDED = {"xapi": "vif-real", "libxl": "vif-openvswitch"}
SUBSTITUTES = {
    "LIBEXEC": LIBEXEC,
    "XEN_SCRIPT_DIR": XEN_SCRIPTS,
    "XEN_LOG_DIR": "/var/log/xen",
}


def files(directory=None):
    """The stock scripts as a dict: path in dom0 -> contents."""
    stand_ins = _read(os.path.join(HERE, "scripts"))
    directory = directory or os.environ.get("XEN_SCRIPTS")
    real = _read(directory) if directory else {}
    found = {}
    for family, needed in NEEDED.items():
        source = real if _place(needed) in real else stand_ins
        found.update((path, text) for path, text in source.items() if _family(path) == family)
    return found


def _read(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as stream:
            text = stream.read()
        if name.endswith(".in"):
            name = name[: -len(".in")]
            text = re.sub(
                rb"@(\w+)@", lambda match: SUBSTITUTES[match.group(1).decode()].encode(), text
            )
        found[_place(name)] = text
    return found


def _place(name):
    if name.endswith(".rules"):
        return RULES + "/" + name
    return (LIBEXEC if name in XAPI else XEN_SCRIPTS) + "/" + name


def _family(path):
    return "libxl" if path.startswith(XEN_SCRIPTS) else "xapi"
