"""Mount, network and process namespaces for one stand-in dom0, and calls that run inside them.

The process that makes the namespaces stays outside and holds the write end of a pipe. When that end
is closed, in whatever way the process ended, the first process inside ends, and the kernel ends all
other processes inside and removes the namespaces.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
COVERED = ("/usr", "/etc", "/opt", "/var", "/run")  # setup.sh mounts a layer over each
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class Dom0Error(Exception):
    """The stand-in dom0 can't be made, or a command in it failed that had to succeed."""


class Namespaces(object):
    """See the module. start() returns at once; ready() waits until setup.sh has done its mounts."""

    def __init__(self):
        self._process = self._netns = self.pid = None

    # -- life

    def start(self):
        kept = [os.path.realpath(tempfile.gettempdir())]
        kept = [path for path in kept if path.startswith(tuple(top + "/" for top in COVERED))]
        command = [_tool("unshare"), "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._process = subprocess.Popen(
            command + ["/bin/sh", os.path.join(HERE, "setup.sh")] + kept,
            env={"PATH": PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach the tests only: the tests end this process
        )

    def ready(self):
        self.pid = int(self._answer())
        self._netns = os.open("/proc/%d/ns/net" % self.pid, os.O_RDONLY)

    def bind_ovs(self, directory):
        """Make a directory of the host the run directory of Open vSwitch inside."""
        self._process.stdin.write(directory.encode() + b"\n")
        self._process.stdin.flush()
        self._answer()

    def stop(self):
        """End all processes inside. Their mounts and files go with them."""
        if self._netns is not None:
            os.close(self._netns)
            self._netns = None
        if self._process is not None:
            process, self._process = self._process, None
            process.stdin.close()
            process.wait()  # unshare ends after the first process, which ends after all others
            process.stdout.close()
            process.stderr.close()
            self.pid = None

    def _answer(self):
        line = self._process.stdout.readline().decode().strip()
        if not line:
            said = self._process.stderr.read().decode(errors="replace").strip()
            raise Dom0Error("no namespaces for a dom0 (that takes root): %s" % said)
        return line

    # -- acts

    def enter(self, *kinds):
        """The words to put before a command so that it runs inside. Without "pid" among the kinds,
        the command runs in the very process that was started."""
        return [_tool("nsenter"), "--target", str(self.pid)] + ["--" + kind for kind in kinds]

    def popen(self, args, env=None, **popen):
        """Start a command inside, with exactly this environment and / as working directory."""
        env = {"PATH": PATH, "HOME": "/root"} if env is None else env
        command = self.enter("mount", "net", "pid")
        # These variables must not reach nsenter itself.
        if any(name.startswith("LD_") for name in env):
            command += ["/usr/bin/env", "-i"] + ["%s=%s" % pair for pair in sorted(env.items())]
            env = {}
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("start_new_session", True)
        # The words go as bytes: Python 3.6 can't pass text outside ASCII in the C locale.
        return subprocess.Popen(
            [part.encode() for part in command + [str(part) for part in args]],
            env={name.encode(): value.encode() for name, value in env.items()},
            **popen
        )

    def run(self, args, env=None, check=False, timeout=60, input=None, **popen):
        """Run a command inside and return a subprocess.CompletedProcess with the output as text."""
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        if input is not None:
            popen["stdin"] = subprocess.PIPE
        with self.popen(args, env, encoding="utf-8", errors="surrogateescape", **popen) as process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except BaseException:
                self.kill(process)
                raise
        if check and process.returncode:
            raise Dom0Error("%s exited with %d: %s" % (args[0], process.returncode, err or out))
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    @staticmethod
    def kill(process):
        """End a command that popen() started, and every process of its session."""
        if process.poll() is not None:
            return
        # Kill the command first, so that nsenter, its parent, reaps it. If nsenter died first, the
        # host's init would have to reap the command, and stop() would wait until init does.
        with open("/proc/{0}/task/{0}/children".format(process.pid)) as stream:
            commands = stream.read().split()
        for command in commands:
            os.kill(int(command), signal.SIGKILL)
        if commands:
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def in_netns(self, function):
        """Call function() in the network namespace; returns its result.

        A thread enters the namespace and calls the function. A socket or tap that the function
        opens stays in that namespace, whichever thread uses it afterwards.
        """
        result = []

        def work():
            try:
                if _LIBC.setns(self._netns, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
                result.extend((function(), None))
            except BaseException as error:
                result.extend((None, error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if result[1] is not None:
            raise result[1]
        return result[0]

    def path(self, inside):
        """The path outside of the file that has this path inside."""
        root = "/proc/%d/root" % self.pid
        done, left = [], inside.split("/")
        while left:
            part = left.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                del done[-1:]
                continue
            here = "/".join([root] + done + [part])
            # An absolute link would lead to the file of that name outside, so follow links by hand.
            # The last part is not followed, so that a caller can look at the link itself.
            if any(left) and os.path.islink(here):
                target = os.readlink(here)
                left = target.split("/") + left
                done = [] if target.startswith("/") else done
            else:
                done.append(part)
        return "/".join([root] + done)


def _tool(name):
    found = shutil.which(name, path=PATH)
    if not found:
        raise Dom0Error("there is no `%s` here" % name)
    return found
