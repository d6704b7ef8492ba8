"""`xenvif-tagger watch` as a process of a test's own, on a PrivateOvs.

    with Watching(ovs) as watcher:
        ovs.vsctl("set", "Port", "vif1.0", "tag=5")
        watcher.settle()
        assert ovs.port("tap1.0")["tag"] == [5]
"""
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from support.constants import ROOT

PATIENCE = 600  # seconds: far more than a busy machine needs, so a test that waits so long fails


class WatchError(Exception):
    """The watcher did not do its part in time, or ended; the text has its log."""


class Watching:
    """A watcher that has read the whole database when the context is entered.

    wait: with False, the context is entered when the watcher has told systemd READY=1, even if the
        watcher has not read the whole database yet.
    config (str): the text of the watcher's config file.
    options: more words after ``watch``.
    stderr (int): a file descriptor in place of the log that log() reads.
    """

    def __init__(self, ovs, config=None, options=(), env=None, python=sys.executable, wait=True,
                 remote=None, stderr=None):
        self.ovs = ovs
        self._stderr = stderr
        self._wait = wait
        self._dir = tempfile.mkdtemp(prefix="watch-")
        self._log = os.path.join(self._dir, "log")
        self.socket = os.path.join(self._dir, "ctl")
        self._notify_path = os.path.join(self._dir, "notify")
        self._command = [python, "-m", "xenvif_tagger", "--db", remote or ovs.remote]
        if config is not None:
            path = os.path.join(self._dir, "conf")
            with open(path, "w") as stream:
                stream.write(config)
            self._command += ["--config", path]
        self._command += ["watch", "--unixctl", self.socket] + list(options)
        self._env = dict(ovs.env, NOTIFY_SOCKET=self._notify_path, PYTHONPATH=ROOT,
                         LC_ALL="C.UTF-8")
        self._env.update(env or {})
        self._env.pop("JOURNAL_STREAM", None)
        self.process = None
        self.notes = []  # the lines that the watcher has sent to systemd

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self._end()
            raise

    def __exit__(self, failed, *_):
        try:
            if self.process.poll() is None and not failed:
                self.stop()
        finally:
            self._end()

    def start(self):
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._notify_path)
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._env, stderr=self._stderr or log,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.await_note("READY=1")
        if self._wait:
            self.until(lambda: self.stats()["synced"])
        return self

    @property
    def pid(self):
        return self.process.pid

    def await_note(self, wanted):
        """Wait until the watcher has sent this line to systemd."""
        until = time.monotonic() + PATIENCE
        while not any(wanted in note.split("\n") for note in self.notes):
            self._check_alive()
            if time.monotonic() > until:
                raise self._error("it did not say %s" % wanted)
            if select.select([self._notify], [], [], 0.05)[0]:
                self.notes.append(self._notify.recv(4096).decode())

    def until(self, condition):
        """Wait until condition() is true; returns its value."""
        until = time.monotonic() + PATIENCE
        while True:
            found = condition()
            if found:
                return found
            self._check_alive()
            if time.monotonic() > until:
                raise self._error("never came true")
            time.sleep(0.005)

    def _check_alive(self):
        if self.process.poll() is not None:
            raise self._error("it ended with %s" % self.process.returncode)

    def _error(self, what):
        return WatchError("%s:\n%s" % (what, "\n".join(self.log()[-30:])))

    def appctl(self, *args):
        """Send a control command; returns the answer (str)."""
        done = subprocess.run(["ovs-appctl", "-t", self.socket] + list(args), env=self._env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=PATIENCE)
        if done.returncode:
            raise self._error("ovs-appctl %s: %s" % (args, done.stderr.decode()))
        return done.stdout.decode()

    def stats(self):
        return json.loads(self.appctl("stats", "--json"))

    def status(self):
        return json.loads(self.appctl("status", "--json"))

    def settle(self):
        """Wait until the watcher has handled all commits of the server so far."""
        answer = self.appctl("resync")
        if not answer.startswith("done"):
            raise self._error("resync: " + answer)

    def log(self):
        with open(self._log, errors="replace") as stream:
            return stream.read().splitlines()

    def ready(self):
        return self.process.poll() is None and self.stats()["synced"]

    def kill(self):
        """End the watcher by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End the watcher as systemd does, by SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._error("it does not end")
        if code:
            raise self._error("it ended with %s" % code)

    def _end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        if hasattr(self, "_notify"):
            self._notify.close()
        shutil.rmtree(self._dir, ignore_errors=True)
