"""The processes that bench/watch.py measures. Each mirrors tags, in its own way, until stopped."""
import json
import os
import select
import signal
import socket
import subprocess
import time

from agent import PATIENCE

POLL = 0.1  # seconds between two questions to a watcher: each takes some of the watcher's time
# Columns of a line of /proc/PID/status, all in kB or numbers.
RESIDENT, PEAK, SWITCHES = "VmRSS", "VmHWM", "voluntary_ctxt_switches"


class Resident:
    """One such process; a context manager.

    :param command: its words; the process prints "ready" to its standard output if `says_ready`
    :param control: the path of the control socket, if the process is a watcher
    """

    def __init__(self, host, command, says_ready=False, control=None):
        self._control = control
        self._errors = os.path.join(host.ovs.dir, "resident.log")
        self._command = command
        self._says_ready = says_ready
        self._begun = time.perf_counter()
        with open(self._errors, "wb") as errors:
            # The process gets a session of its own, so that a whole pipeline can be stopped.
            self._process = subprocess.Popen(
                command, env=host.ovs.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()

    def await_synced(self):
        """Wait until the process has read the database. Returns the seconds since its start; 0 for
        a process that does not say when it has read the database."""
        if self._says_ready:
            if not select.select([self._process.stdout], [], [], PATIENCE)[0] or (
                    self._process.stdout.readline() != b"ready\n"):
                raise self._error("it is not ready")
        elif self._control:
            self.await_stats(lambda stats: stats["synced"])
        else:
            return 0
        return time.perf_counter() - self._begun

    def await_stats(self, condition):
        """Wait until a watcher's figures are as wanted. Returns the seconds since its start."""
        until = time.perf_counter() + PATIENCE
        while True:
            try:
                if condition(self.stats()):
                    return time.perf_counter() - self._begun
            except (FileNotFoundError, ConnectionError):
                pass  # the watcher has no control socket yet
            self.check_alive()
            if time.perf_counter() > until:
                raise self._error("it does not get ready")
            time.sleep(POLL)

    def check_alive(self):
        if self._process.poll() is not None:
            raise self._error("it ended with %s" % self._process.returncode)

    def _error(self, what):
        with open(self._errors, errors="replace") as stream:
            return RuntimeError("%s: %s\n%s" % (
                " ".join(self._command), what, stream.read()[-4000:]))

    def stats(self):
        """The figures of `ovs-appctl stats --json`, asked by this process itself."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self._control)
            connection.sendall(json.dumps(
                {"method": "stats", "params": ["--json"], "id": 0}).encode())
            reply = b""
            while True:
                part = connection.recv(1 << 16)
                if not part:
                    raise ConnectionError("it closed its control socket")
                reply += part
                try:
                    return json.loads(json.loads(reply.decode())["result"])
                except ValueError:
                    pass  # the answer is not complete yet

    def status(self, name):
        """A number in /proc/PID/status."""
        with open("/proc/%d/status" % self._process.pid) as stream:
            for line in stream:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
        raise KeyError(name)

    def memory(self):
        """Dict of figures: resident and peak, in MB."""
        return {"resident, MB": self.status(RESIDENT) / 1024, "peak, MB": self.status(PEAK) / 1024}

    def rest(self, seconds, act):
        """Leave the process alone for a time, but call `act` each second. Returns a dict of figures
        of that time: how often the process was woken, how many turns its main loop made (of a
        watcher), and its CPU seconds."""
        turns = []
        for _ in range(2):  # the answer itself takes turns of the main loop
            turns.append(self._turns())
            time.sleep(0.2)
        before = self.status(SWITCHES), self.cpu()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            act()
            time.sleep(min(1, max(0, until - time.monotonic())))
        after = self.status(SWITCHES), self.cpu()
        turns.append(self._turns())
        return {"woken": after[0] - before[0], "cpu": after[1] - before[1],
                "turns": (turns[2] - turns[1]) - (turns[1] - turns[0])}

    def _turns(self):
        return self.stats()["wakeups"] if self._control else 0

    def cpu(self):
        """The CPU seconds that the process has used so far."""
        # schedstat counts in nanoseconds, /proc/PID/stat in steps of 10 ms. Source: Linux,
        # Documentation/scheduler/sched-stats.rst: "time spent on the cpu".
        with open("/proc/%d/schedstat" % self._process.pid) as stream:
            return int(stream.read().split()[0]) / 1e9
