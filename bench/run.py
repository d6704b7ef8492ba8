#!/usr/bin/env python3
"""Measures how long xenvif-tagger takes, beside the ovs-vsctl script that an admin would write.

The ways are measured by turns, on private Open vSwitches of several sizes at once: if the machine
slows down, all ways are slower alike. This script fails for no measured time. README.md explains
the tables.
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

from table import measure  # noqa: E402

from host import FIRST, Host, install, python, shot  # noqa: E402

SIZES, ROUNDS, ALL_ROUNDS = (10, 1000, 10000), 15, 3
QUICK_SIZES, QUICK_ROUNDS, QUICK_ALL_ROUNDS = (10, 200), 1, 1
SCRIPT = os.path.join(HERE, "admin.sh")
SAMPLE = 20  # pairs for which the script is run, beside a command that mirrors all pairs


# Each way takes a host and returns seconds.


def timed(action, *args):
    start = time.perf_counter()
    action(*args)
    return time.perf_counter() - start


def command(*words):
    """The way to run any command."""
    return lambda host: timed(host.run, *words)


def mirror(*words):
    """The way to run a command that mirrors the domain FIRST."""
    def way(host):
        host.tag_vifs([FIRST])
        taken = timed(host.run, *words)
        host.check([FIRST])
        return taken
    return way


def call(host):
    """The way to mirror the domain FIRST in this process, without a command."""
    def connect_and_mirror():
        with host.client() as client:
            shot(client).mirror([(FIRST, 0)])

    host.tag_vifs([FIRST])
    taken = timed(connect_and_mirror)
    host.check([FIRST])
    return taken


def connected_call(host):
    host.tag_vifs([FIRST])
    with host.client() as client:
        taken = timed(shot(client).mirror, [(FIRST, 0)])
    host.check([FIRST])
    return taken


def mirror_all(*words):
    """The way to run a command that mirrors all domains."""
    def way(host):
        host.tag_vifs(host.domids)
        taken = timed(host.run, *words)
        host.check(host.domids)
        return taken
    return way


def script_for_all(host):
    sample = host.domids[:SAMPLE]
    host.tag_vifs(sample)
    taken = sum(timed(host.run, SCRIPT, "vif%d.0" % domid, "tap%d.0" % domid) for domid in sample)
    host.check(sample)
    return taken * len(host.domids) / len(sample)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="few ports and rounds: shows only that the benchmark works")
    quick = parser.parse_args().quick
    sizes, rounds, all_rounds = ((QUICK_SIZES, QUICK_ROUNDS, QUICK_ALL_ROUNDS) if quick else
                                 (SIZES, ROUNDS, ALL_ROUNDS))
    if not shutil.which("ovs-vsctl"):
        sys.exit("bench: no ovs-vsctl here: apt-get install openvswitch-switch")
    with contextlib.ExitStack() as stack:
        tagger = install(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        hosts = [Host(stack, ports) for ports in sizes]
        version = subprocess.check_output(["ovs-vsctl", "--version"]).split()[3].decode()
        print("%d cores, Open vSwitch %s, Python %d.%d. Milliseconds: median (fastest), "
              "**ratio to the first line**.\n" % (
                  (os.cpu_count(), version) + sys.version_info[:2]))
        measure("one pair, its vif retagged", hosts, [
            ("`admin.sh`, 7 times `ovs-vsctl`", mirror(SCRIPT, "vif12.0", "tap12.0")),
            ("`xenvif-tagger mirror dom 12`", mirror(*tagger + ["mirror", "dom", "12"])),
            ("`xenvif-tagger mirror port vif12.0`",
             mirror(*tagger + ["mirror", "port", "vif12.0"])),
            ("the function called, connecting included", call),
            ("the function called, connected", connected_call)], rounds)
        measure("all alike", hosts, [
            ("`ovs-vsctl show`", command("ovs-vsctl", "show")),
            ("`xenvif-tagger status`", command(*tagger + ["status"])),
            ("`python3 -c pass`", command(python(), "-c", "pass"))], rounds)
        measure("all pairs, each vif retagged", hosts[1:], [
            ("`admin.sh` for each: %d timed, scaled up" % SAMPLE, script_for_all),
            ("`xenvif-tagger mirror all`", mirror_all(*tagger + ["mirror", "all"]))], all_rounds)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit("bench: this failed, see above: %s" % " ".join(error.cmd))
    except KeyboardInterrupt:
        sys.exit(130)
