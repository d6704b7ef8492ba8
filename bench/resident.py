"""The processes that bench/watch.py measures: each mirrors tags, its own way, until stopped."""
import json
import os
import select
import signal
import socket
import subprocess
import time

from agent import PATIENCE

POLL = 0.1  # seconds: how often a watcher is asked whether it is synced; each answer costs it time
# Columns of a line of /proc/PID/status, all in kB or numbers.
RESIDENT, PEAK, SWITCHES = "VmRSS", "VmHWM", "voluntary_ctxt_switches"


class Resident:
    """One of them; a context manager.

    :param command: what it is; it says "ready" on its standard output if `says_ready`
    :param control: the path of the watcher's control socket, if it is one
    """

    def __init__(self, host, command, says_ready=False, control=None):
        self._control = control
        self._errors = os.path.join(host.ovs.dir, "resident.log")
        self._command = command
        self._says_ready = says_ready
        self._begun = time.perf_counter()
        with open(self._errors, "wb") as errors:
            # In a session of its own: a pipeline is stopped as a whole.
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
        """Wait until it knows the database. Returns the seconds since it was started; 0 if that
        can't be known of it."""
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
        """Wait until its figures are so. Returns the seconds since it was started."""
        until = time.perf_counter() + PATIENCE
        while True:
            try:
                if condition(self.stats()):
                    return time.perf_counter() - self._begun
            except (FileNotFoundError, ConnectionError):
                pass  # it has no control socket yet
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
        """The figures of `ovs-appctl stats --json`, without a process for it."""
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
                    pass  # not yet whole

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
        """Let it be, and call `act` each second. Returns a dict of figures of that time: how often
        it was woken, turns of its main loop if it is a watcher, and CPU seconds."""
        turns = []
        for _ in range(2):  # an answer takes turns, too
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
        """Seconds of CPU so far."""
        # Finer than the 10 ms of /proc/PID/stat. Source: Linux, Documentation/scheduler/
        # sched-stats.rst: "time spent on the cpu", in nanoseconds.
        with open("/proc/%d/schedstat" % self._process.pid) as stream:
            return int(stream.read().split()[0]) / 1e9
