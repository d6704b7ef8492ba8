#!/usr/bin/env python3
"""Measures how fast `xenvif-tagger watch` reacts, and the CPU time and memory that it needs, beside
three other programs that mirror tags: the least one (on a bare socket), a plain `ovs.db.idl` loop,
and `ovsdb-client monitor` piped to ovs-vsctl.

The programs run one at a time, by turns, on private Open vSwitches of several sizes. This script
fails for no measured time. README.md explains the tables.
"""
import argparse
import contextlib
import gc
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, ROOT, os.path.join(ROOT, "tests")]

from agent import Agent  # noqa: E402
from resident import Resident  # noqa: E402
from table import digits, measure  # noqa: E402

from host import Host, install, python  # noqa: E402
from support.private_ovs import find_schema  # noqa: E402

PARTS = ("reaction", "burst", "start", "idle", "networks")
BARE, WATCH, IDL, SHELL = ("bare socket", "`xenvif-tagger watch`", "plain `ovs.db.idl`",
                           "`ovsdb-client monitor` and `ovs-vsctl`")
RESTED, P95, PRESSED = "5 ms apart", "5 ms apart, p95", "one right after the other"
BURSTS = (("one", "in one transaction"), ("each", "each in its own, all sent at once"),
          ("turns", "each in its own, sent after the reply to the one before"))


class Full:
    """The numbers of ports, rounds and so on of a full measurement."""
    sizes, rounds, reactions, shell_reactions = (10, 1000, 10000), 3, 200, 5
    burst_size, burst_rounds, start_rounds, rest = 1000, 3, 3, 10
    networks, few = 1000, 40


class Quick:
    sizes, rounds, reactions, shell_reactions = (10, 200), 1, 5, 1
    burst_size, burst_rounds, start_rounds, rest = 100, 1, 1, 1
    networks, few = 50, 5


class Bench:
    """The programs that mirror, and the measurements: functions that take a host and return
    figures."""

    def __init__(self, stack, scale, interpreter):
        self.scale, self._stack = scale, stack
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        self._tagger = install(directory, ("click", "ovs", "sortedcontainers"), interpreter)
        self._python = python(interpreter)
        self.hosts = [Host(stack, ports) for ports in scale.sizes]
        for host in self.hosts:
            self._prepare(host)
        self.big = self.hosts[-1]

    def _prepare(self, host):
        host.agent = self._stack.enter_context(Agent(host.ovs.socket_path))
        # The same pairs each time, and from all over the table, so that no cache has them all.
        sample = random.Random(0).sample(list(host.domids), min(100, len(host.domids)))
        host.turns = itertools.cycle(sample)

    def host_with_networks(self):
        """A host as the big one, with VLAN networks beside."""
        host = Host(self._stack, self.big.ports)
        host.add_networks(self.scale.networks)
        self._prepare(host)
        return host

    # The processes.

    def bare(self, host):
        return Resident(host, [self._python, os.path.join(HERE, "bare.py"),
                               host.ovs.socket_path], says_ready=True)

    def idl(self, host):
        return Resident(host, [self._python, os.path.join(HERE, "plain_idl.py"),
                               host.ovs.socket_path, find_schema()], says_ready=True)

    def watch(self, host):
        control = os.path.join(host.ovs.dir, "watch.ctl")
        return Resident(host, self._tagger + ["--db", host.ovs.remote, "watch",
                                              "--unixctl", control], control=control)

    def shell(self, host):
        return Resident(host, [os.path.join(HERE, "monitor.sh")])

    # What is measured.

    def reaction(self, resident, reactions):
        def way(host):
            with resident(host) as process:
                self._await_first(host, process)
                rested = sorted(self._react(host)["reaction"] for _ in range(reactions))
                pressed = [self._react(host, 0) for _ in range(reactions)]
            return {RESTED: statistics.median(rested), P95: rested[int(0.95 * reactions)],
                    PRESSED: statistics.median(result["reaction"] for result in pressed),
                    "commit": statistics.median(result["commit"] for result in pressed)}
        return way

    def burst(self, resident, counted):
        """Measure single reactions and then bursts, all of the same process."""
        def way(host):
            with resident(host) as process:
                self._await_first(host, process)
                single = statistics.median(
                    self._react(host)["reaction"] for _ in range(self.scale.reactions // 4))
                figures = {"single": single}
                for how, _ in BURSTS:
                    before = process.stats()["transactions"] if counted else 0
                    domids = host.domids[:self.scale.burst_size]
                    taken = host.agent.set_tag(domids, how)
                    if not taken:
                        raise RuntimeError("the tags were not all mirrored")
                    taken = taken["all"]
                    time.sleep(0.2)  # the watcher receives the reply to its last transaction
                    after = process.stats()["transactions"] if counted else 0
                    figures[how] = (taken, taken / single, after - before)
            return figures
        return way

    def start(self, resident):
        def way(host):
            with resident(host) as process:
                taken = process.await_synced()
                return dict(process.memory(), wall=taken, cpu=process.cpu())
        return way

    def first_start(self, host):
        """The start of a watcher in a database without marks: until all pairs have one."""
        host.forget_marks()
        with self.watch(host) as process:
            taken = process.await_stats(
                lambda stats: stats["marked"] + stats["mirrored"] >= len(host.domids))
            figures = dict(process.memory(), wall=taken, cpu=process.cpu())
        host.check_marks()
        return figures

    def rest(self, resident, busy):
        numbers = iter(range(1, 1000))

        def way(host):
            def update_statistics():
                if busy:
                    host.agent.transact({
                        "op": "update", "table": "Interface", "where": [],
                        "row": {"statistics": ["map", [["rx_packets", next(numbers)]]]}})

            with resident(host) as process:
                self._await_first(host, process)
                time.sleep(0.5)
                return process.rest(self.scale.rest, update_statistics)
        return way

    def few(self, host):
        """The start of the watcher, and a few VLAN changes at once."""
        with self.watch(host) as process:
            wall = process.await_synced()
            self._await_first(host, process)
            taken = host.agent.set_tag(host.domids[:self.scale.few], "each")
            if not taken:
                raise RuntimeError("the tags were not all mirrored")
            return {"start": wall, "changes": taken["all"]}

    def _await_first(self, host, process):
        """Wait until the process mirrors, and then until it has mirrored the first few tags."""
        process.await_synced()
        while not host.agent.set_tag([next(host.turns)], patience=2):
            process.check_alive()  # (the shell script does not say when it is ready)
        for _ in range(3):
            self._react(host)

    def _react(self, host, rest=0.005):
        result = host.agent.set_tag([next(host.turns)])
        if not result:
            raise RuntimeError("a tag was not mirrored")
        if rest:  # long enough for the process to read the updates about its own writes
            time.sleep(max(rest, 2 * result["all"]))
        return result


def print_reaction(bench):
    scale = bench.scale
    taken = measure("from commit to commit", bench.hosts, [
        (BARE, bench.reaction(bench.bare, scale.reactions)),
        (WATCH, bench.reaction(bench.watch, scale.reactions)),
        (IDL, bench.reaction(bench.idl, scale.reactions)),
        (SHELL, bench.reaction(bench.shell, scale.shell_reactions))],
        scale.rounds, (RESTED, P95, PRESSED))
    print("The commit to which the programs react took %s.\n" % ", ".join(
        "%s at %s ports" % (
            digits(1000 * statistics.median(
                figures["commit"] for (_, at), results in taken.items() if at is host
                for figures in results), 3), "{:,}".format(host.ports))
        for host in bench.hosts))
    small, big = bench.hosts[0], bench.big
    print("| at {:,} ports, times that at {:,} | {} | {} |\n|---|---|---|".format(
        big.ports, small.ports, RESTED, PRESSED))
    for label in (BARE, WATCH, IDL, SHELL):
        print("| %s | %s |" % (label, " | ".join(
            digits(statistics.median(
                there[figure] / here[figure]
                for here, there in zip(taken[label, small], taken[label, big])), 3)
            for figure in (RESTED, PRESSED))))
    print(flush=True)


def print_burst(bench):
    ways = [(BARE, bench.burst(bench.bare, False)), (WATCH, bench.burst(bench.watch, True)),
            (IDL, bench.burst(bench.idl, False))]
    taken = {label: [] for label, _ in ways}
    for _ in range(bench.scale.burst_rounds):
        for label, way in ways:
            taken[label].append(way(bench.big))
    print("| {:,} tags set, {:,} ports; rounds: {} | all mirrored | in single reactions | our "
          "transactions |\n|---|---|---|---|".format(
              len(bench.big.domids[:bench.scale.burst_size]), bench.big.ports,
              bench.scale.burst_rounds))
    for how, words in BURSTS:
        for label, _ in ways:
            columns = list(zip(*[figures[how] for figures in taken[label]]))
            print("| %s: %s | %s (%s) | %s | %s |" % (
                words, label, digits(1000 * statistics.median(columns[0]), 3),
                digits(1000 * min(columns[0]), 3), digits(statistics.median(columns[1]), 3),
                digits(statistics.median(columns[2]), 1) if label == WATCH else ""))
    print(flush=True)


def print_start(bench):
    measure("from its start until it is synced", [bench.big], [
        (BARE, bench.start(bench.bare)),
        (IDL, bench.start(bench.idl)),
        # The start without marks comes first, because it leaves a mark on every pair.
        (WATCH + ", no marks yet: until all are marked", bench.first_start),
        (WATCH, bench.start(bench.watch))],
        bench.scale.start_rounds, ("wall", "cpu", "resident, MB", "peak, MB"),
        ("resident, MB", "peak, MB"))


def print_rest(bench):
    print("| {} s, {:,} ports | woken | turns of its main loop | CPU, ms |\n"
          "|---|---|---|---|".format(bench.scale.rest, bench.big.ports))
    for words, busy in (("nothing happens", False),
                        ("all Interfaces' statistics updated each second", True)):
        for label, resident in ((BARE, bench.bare), (WATCH, bench.watch), (IDL, bench.idl)):
            figures = bench.rest(resident, busy)(bench.big)
            print("| %s: %s | %d | %s | %s |" % (
                words, label, figures["woken"], figures["turns"] if label == WATCH else "",
                digits(1000 * figures["cpu"], 3)))
    print(flush=True)


def print_networks(bench):
    """VLAN networks ("fake" bridges) play no part in the decisions: their number costs nothing but
    their rows."""
    crowded = bench.host_with_networks()
    measure("until it is synced, and until %d VLAN changes are mirrored" % bench.scale.few,
            [bench.big], [
                ("no VLAN network", bench.few),
                ("{:,} VLAN networks".format(bench.scale.networks), lambda _: bench.few(crowded))],
            bench.scale.start_rounds, ("start", "changes"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="few ports and rounds: shows only that the benchmark works")
    parser.add_argument("--python", default=sys.executable, metavar="INTERPRETER",
                        help="the Python that runs the measured programs, with the ovs that this "
                             "Python finds; default: the Python that runs this script")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help="what to measure, of %s; default: all" % ", ".join(PARTS))
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in PARTS:
            parser.error("no part %s" % part)
    what = ("import platform, ovs.version, ovs.json; print('Python %s, ovs %s, %s JSON parser' % ("
            "platform.python_version(), ovs.version.VERSION, "
            "'C' if ovs.json.PARSER == ovs.json.PARSER_C else 'no C'))")
    with contextlib.ExitStack() as stack:
        version = subprocess.check_output(["ovs-vsctl", "--version"]).split()[3].decode()
        asked = subprocess.check_output([chosen.python, "-c", what]).decode().strip()
        bench = Bench(stack, Quick if chosen.quick else Full, chosen.python)
        print("%d cores, load %.1f, Open vSwitch %s, %s. Unless a table names another unit, "
              "its cells have\nmilliseconds: the median, (the least), and **the ratio to the first "
              "line**.\n" % (
                  os.cpu_count(), os.getloadavg()[0], version, asked))
        gc.disable()  # no garbage collection in the times that this process takes
        for part, show in zip(PARTS, (
                print_reaction, print_burst, print_start, print_rest, print_networks)):
            if part in (chosen.parts or PARTS):
                show(bench)
        print("Load at the end: %.1f." % os.getloadavg()[0])


if __name__ == "__main__":
    try:
        main()
    except (subprocess.CalledProcessError, RuntimeError) as error:
        sys.exit("bench: %s" % error)
    except KeyboardInterrupt:
        sys.exit(130)
