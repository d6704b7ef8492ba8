"""The paths of files on this host: our own, the stock script's, and Open vSwitch's."""
import os

MYPY = False
if MYPY:
    from typing import Optional, Tuple

NAME = "xenvif-tagger"  # the name of command, service and pidfile; the ident of our log lines

BASE = "/opt/xenvif-tagger"  # where dom0-install.sh installs us
INSTALL = BASE + "/dom0-install.sh"
STOCK = "setup-vif-rules"  # the file name of the stock script, and of our hook in its place
HOOK = BASE + "/hotplug/" + STOCK
# The directory of the package that runs.
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USUAL = ("/usr/libexec/xenopsd", "/opt/xensource/libexec")  # where the stock script may be


def boot_id() -> str:
    """This boot of the host (str). Source: random(4), /proc/sys/kernel/random/boot_id."""
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


def run_dir() -> str:
    """Open vSwitch's directory for sockets: absolute path (str). Source: ovs-vswitchd(8)."""
    return os.path.abspath(os.environ.get("OVS_RUNDIR") or "/var/run/openvswitch")


def default_remote() -> str:
    """The remote of ovsdb-server on this host (str)."""
    return "unix:%s/db.sock" % run_dir()


def pidfile_path() -> str:
    """The path of the pidfile of this host's watcher."""
    return os.path.join(run_dir(), NAME + ".pid")


def parse_remote(remote: str) -> "Tuple[str, str, Optional[int]]":
    """The parts of one remote of a database, written as for ovs-vsctl(8), --db.

    :param str remote: ``unix:PATH``, ``tcp:HOST[:PORT]``, ``ssl:HOST[:PORT]``; HOST may be [IPV6]
    :returns: ``(kind, where, port)``: "unix", "tcp" or "ssl"; the path, or the host without its
        brackets, str; the port, int, None where there is none
    :raises ValueError: the text is no remote
    """
    kind, _, where = remote.partition(":")
    port: "Optional[int]" = None
    if kind in ("tcp", "ssl"):
        if ":" in where and not where.endswith("]"):
            where, _, text = where.rpartition(":")
            port = int(text) if text.isdecimal() else -1
        if where.startswith("[") and where.endswith("]"):
            where = where[1:-1]
        elif ":" in where:
            where = ""  # an IPv6 address without brackets: its end looks like a port
    if kind not in ("unix", "tcp", "ssl") or not where or (
            port is not None and not 0 < port < 65536):
        raise ValueError("not a database remote: %r" % remote)
    return kind, where, port
