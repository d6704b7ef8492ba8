"""A process that has imported the command, and that forks for each run of the command.

To start Python and to import click and our package takes several times as long as most commands do.
ForkServer is for the tests; run as a script, this file is the server, which ends with the process
of its ForkServer.

Python reads the variables of at_start() and the working directory only at its start: a run has
those of the server's start. All runs of one server have the same seed of hash().
"""
import array
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys

AT_START = ("LANG", "LC_", "LD_", "PYTHON", "TZ")  # the variables that Python reads
SIZE = 1 << 17  # bytes; no request is longer


def at_start(env):
    return {name: value for name, value in env.items() if name.startswith(AT_START)}


class ForkServer(object):
    """limit: the seconds after which a forked process is killed."""

    def __init__(self, env, limit):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # (stdout and stderr are pipes, as those of the forked processes are: Python looks
            # at its start whether they are terminals.)
            self._process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), str(theirs.fileno()),
                 str(limit)], env=env, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def stop(self):
        self._socket.close()
        self._process.communicate()

    def run(self, code, argv, env):
        """Execute code (str) with this sys.argv and environment in a forked process; returns (exit
        code, stdout, stderr), as subprocess has them."""
        pipes = [os.pipe() for _ in range(3)]
        self._socket.sendmsg([json.dumps([code, argv, env]).encode()],
                             [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                               array.array("i", [writer for _, writer in pipes]))])
        for _, writer in pipes:
            os.close(writer)
        out, err, answer = read_all([reader for reader, _ in pipes])
        status = int(answer)
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return code, out, err


def read_all(readers):
    """Read these pipes to their ends, and close them; returns the bytes of each."""
    texts = dict.fromkeys(readers, b"")
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                part = os.read(key.fd, 1 << 16)
                texts[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [texts[reader] for reader in readers]


def serve(connection, limit):
    """Fork for each request. Returns in the forked process the request: [code, argv, env]."""
    while True:
        request, ancillary, _, _ = connection.recvmsg(SIZE, socket.CMSG_SPACE(12))
        with contextlib.suppress(ChildProcessError):  # the server has no child
            while os.waitpid(-1, os.WNOHANG if request else 0)[0]:
                pass
        if not request:
            os._exit(0)
        out, err, answer = array.array("i", ancillary[0][2])
        if os.fork() == 0:
            pid = os.fork()
            if pid == 0:
                os.dup2(out, 1)
                os.dup2(err, 2)
            os.close(out)
            os.close(err)
            connection.close()
            if pid == 0:
                os.close(answer)
                return json.loads(request.decode())
            signal.signal(signal.SIGALRM, lambda *_, pid=pid: os.kill(pid, signal.SIGKILL))
            signal.alarm(limit)
            os.write(answer, b"%d" % os.waitpid(pid, 0)[1])
            os._exit(0)
        for each in out, err, answer:
            os.close(each)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as with python -m
    import xenvif_tagger.cli.main  # noqa: F401
    # The end of a forked process looks for cycles among its own objects only. (3.6 lacks freeze.)
    getattr(gc, "freeze", gc.collect)()
    CODE, sys.argv, ENV = serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    os.environ.clear()
    os.environ.update(ENV)
    exec(CODE, {"__name__": "__main__"})
