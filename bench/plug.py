#!/usr/bin/env python3
"""Measures how long a whole plug takes (`vif add type_if=tap`): with the stock script, with our
hook, and with the stock script followed by the script that an admin would write.

The ways are measured by turns, in stand-in dom0s of several sizes (tests/dom0). No time makes this
script fail. README.md explains the tables. With XEN_SCRIPTS=dir the real scripts are measured.
"""
import argparse
import contextlib
import os
import resource
import shutil
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, ROOT, os.path.join(ROOT, "tests")]

from table import measure  # noqa: E402

from dom0.dom0 import Dom0  # noqa: E402
from dom0.xapi import SETUP_VIF_RULES  # noqa: E402

SIZES, ROUNDS = (2, 1000, 10000), 25
QUICK_SIZES, QUICK_ROUNDS = (2, 50), 1
INSTALLED = "/opt/xenvif-tagger"
HOOK = INSTALLED + "/hotplug/setup-vif-rules"
ADMIN = "/opt/admin.sh"
FLOOR = "/opt/floor"
FIGURES = ("wall", "cpu", "processes")


class Host(object):
    """A dom0 with so many ports, and with one guest whose vif is tagged."""

    def __init__(self, stack, ports):
        self.ports = ports
        self.dom0 = stack.enter_context(Dom0())
        self.dom0.add_bridge("xenbr0")
        # These ports are in the database only. They are on a bridge of a kind that ovs-vswitchd
        # can't make, so that ovs-vswitchd does not open them: its work is not measured here.
        self.dom0.ovs.vsctl("--no-wait", "add-br", "others", "--", "set", "Bridge", "others",
                            "datapath_type=none")
        self.dom0.ovs.add_many_ports("others", [
            {"name": "tap%d.0" % domid} for domid in range(1000, 1000 + ports - 2)])
        for package in ("xenvif_tagger", "hotplug"):
            shutil.copytree(os.path.join(ROOT, package),
                            os.path.join(self.dom0.path(INSTALLED), package),
                            ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(os.path.join(HERE, "admin.sh"), self.dom0.path(ADMIN))
        shutil.copy(os.path.join(HERE, "floor.py"), self.dom0.path(FLOOR))
        self.dom0.run("/usr/bin/python3", "-m", "compileall", "-q", INSTALLED, check=True)
        self.vif = self.dom0.add_vif(1, 0, bridge="xenbr0")
        self.dom0.plug_vif(1, 0)
        self.dom0.ovs.vsctl("set", "Port", "vif1.0", "tag=5", "--", "set", "Interface", "vif1.0",
                            "external_ids:iface-id=i", "external_ids:vm-id=v")
        self.last = None

    def plug(self, script, *then):
        """Plug the tap with this setup-vif-rules, and run a command after it."""
        self.dom0.xenstore.write(self.vif.private + "/setup-vif-rules", script)
        self.dom0.create_device("tap1.0")
        before = self._spent()
        begun = time.perf_counter()
        done = self.dom0.plug_tap(1, 0)
        if then:
            self.dom0.run(*then, check=True)
        taken = time.perf_counter() - begun
        after = self._spent()
        assert done.returncode == 0, done
        assert script == SETUP_VIF_RULES and not then or (
            self.dom0.ovs.port("tap1.0")["tag"] == [5])
        self.dom0.unplug_tap(1, 0)
        return {"wall": taken, "cpu": after[0] - before[0], "processes": after[1] - before[1] - 1}

    def _spent(self):
        """CPU seconds of our child processes, and the last process number that dom0 has used."""
        number = int(self.dom0.run("sh", "-c", "echo $$").stdout)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime, number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="few ports and rounds: shows only that the benchmark works")
    parser.add_argument("--rounds", type=int, help="how often each way is measured")
    chosen = parser.parse_args()
    sizes, rounds = (QUICK_SIZES, QUICK_ROUNDS) if chosen.quick else (SIZES, ROUNDS)
    rounds = chosen.rounds or rounds
    ways = [
        ("stock", lambda host: host.plug(SETUP_VIF_RULES)),
        ("ours", lambda host: host.plug(HOOK)),
        ("`floor`: a hook that only reads", lambda host: host.plug(FLOOR)),
        ("stock, then `admin.sh`", lambda host: host.plug(SETUP_VIF_RULES, ADMIN, "vif1.0",
                                                           "tap1.0"))]
    with contextlib.ExitStack() as stack:
        hosts = [Host(stack, ports) for ports in sizes]
        print("%d cores, Python %d.%d. Median (least), **ratio to the first line**.\n" % (
            (os.cpu_count(),) + sys.version_info[:2]))
        measure("a plug", hosts, ways, rounds, FIGURES)


if __name__ == "__main__":
    main()
