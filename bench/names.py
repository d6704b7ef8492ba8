#!/usr/bin/env python3
"""Measures how much longer `xenvif-tagger status` takes with VMs' names, and how many calls of XAPI
it makes, beside a script that asks XAPI for each VIF by itself.

The ways are measured by turns, on private Open vSwitches of several sizes and the tests' own XAPI.
No time makes this script fail. README.md explains the tables.
"""
import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, ROOT, os.path.join(ROOT, "tests")]

from table import digits, measure  # noqa: E402

from host import Host, install, python, vif_uuid  # noqa: E402
from support.xapi_server import XapiServer  # noqa: E402

SIZES, ROUNDS, SAMPLE = (10, 1000, 10000), 9, 200
QUICK_SIZES, QUICK_ROUNDS, QUICK_SAMPLE = (10, 200), 1, 20
PLAIN, NAMED, SCRIPT = ("`status`, no names", "`status`, with names",
                        "`status`, then each VIF asked for")


class Named:
    """A host whose VMs XAPI knows, and the ways to name them: functions that return seconds."""

    def __init__(self, stack, ports, tagger, directory, sample):
        self.host = Host(stack, ports)
        self.ports = ports
        self.calls = {}
        self._sample = min(sample, len(self.host.domids))
        self._xapi = stack.enter_context(XapiServer())
        for domid in self.host.domids:
            self._xapi.add_vm("guest-%d" % domid, [vif_uuid(domid)])
        # XenAPI's transport takes an underscore for a slash.
        link = os.path.join(directory, "xapi%d" % ports)
        os.symlink(self._xapi.path, link)
        self._script = [python(), os.path.join(HERE, "one_by_one.py"),
                        "http://" + link.replace("/", "_")]
        self._tagger = tagger

    def plain(self):
        # This host is one with libxl: no option names XAPI's socket, and XAPI's usual socket is not
        # there. So the command shows no names.
        return self._timed(*self._tagger + ["status"], names=0)

    def named(self):
        self._xapi.calls.clear()
        taken = self._timed(*self._tagger + ["--xapi", self._xapi.remote, "--timeout", "600",
                                             "status"], names=len(self.host.domids))
        self.calls[NAMED] = sum(self._xapi.calls.values())
        return taken

    def script(self):
        """The time for all VIFs, by a sample: the time for none, and the rest scaled up."""
        base = self.plain() + self._timed(*self._script + ["0"], names=0)
        self._xapi.calls.clear()
        taken = self._timed(*self._script + [str(self._sample)], names=self._sample)
        calls, scale = sum(self._xapi.calls.values()), len(self.host.domids) / self._sample
        self.calls[SCRIPT] = round((calls - 2) * scale) + 2  # 2: login and logout, not scaled up
        without = self._timed(*self._script + ["0"], names=0)
        return base + max(0, taken - without) * scale

    def _timed(self, *command, names):
        start = time.perf_counter()
        done = subprocess.run(command, env=self.host.ovs.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, check=True)
        taken = time.perf_counter() - start
        found = done.stdout.count(b"guest-")
        if found != names:
            sys.exit("bench: %d names instead of %d" % (found, names))
        return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="few ports and rounds: shows only that the benchmark works")
    quick = parser.parse_args().quick
    sizes, rounds, sample = ((QUICK_SIZES, QUICK_ROUNDS, QUICK_SAMPLE) if quick else
                             (SIZES, ROUNDS, SAMPLE))
    if not shutil.which("ovs-vsctl"):
        sys.exit("bench: no ovs-vsctl here: apt-get install openvswitch-switch")
    with contextlib.ExitStack() as stack:
        # The directory's name has no underscore: Named says why.
        directory = os.path.join("/tmp", "bench-%d" % os.getpid())
        os.mkdir(directory, 0o700)
        stack.callback(shutil.rmtree, directory)
        tagger = install(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")),
                         ("click", "XenAPI"))
        hosts = [Named(stack, ports, tagger, directory, sample) for ports in sizes]
        version = subprocess.check_output(["ovs-vsctl", "--version"]).split()[3].decode()
        print("%d cores, load %.1f, Open vSwitch %s, Python %d.%d. Milliseconds: median (fastest), "
              "**ratio to the first line**.\n" % (
                  (os.cpu_count(), os.getloadavg()[0], version) + sys.version_info[:2]))
        measure("names of all VMs", hosts, [
            (PLAIN, Named.plain), (NAMED, Named.named), (SCRIPT, Named.script)], rounds)
        print("| calls of XAPI | %s |" % " | ".join("{:,} ports".format(size) for size in sizes))
        print("|---|%s" % ("---|" * len(sizes)))
        for label in NAMED, SCRIPT:
            print("| %s | %s |" % (label, " | ".join(
                digits(host.calls[label], 1) for host in hosts)))
        print("\nLoad at the end: %.1f." % os.getloadavg()[0])


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit("bench: this failed, see above: %s" % " ".join(error.cmd))
    except KeyboardInterrupt:
        sys.exit(130)
