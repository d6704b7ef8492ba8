"""Runs xenvif-tagger as a user does: as a process, with its output and exit code."""
import json
import os
import re
import subprocess
import sys

from support.constants import LONG, PATIENT_CONFIG
from support.fork_server import ForkServer, at_start


def environment(**more):
    """This process's environment without the variables that the command or its libraries read, and
    with `more`; a value of None removes the variable."""
    env = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("XENVIF_TAGGER_", "OVS_", "LC_", "PYTHON"))
    }
    env.update(
        LC_ALL="C.UTF-8", COLUMNS="80",
        # (This host may have a config file in /etc.)
        XENVIF_TAGGER_CONFIG=PATIENT_CONFIG,
    )
    env.update(more)
    return {name: value for name, value in env.items() if value is not None}


def command(*args, db=None):
    """The argv of the command. db: an object with .remote, such as a PrivateOvs or Proxy; the text
    of a remote; or None."""
    remote = [] if db is None else ["--db", getattr(db, "remote", db)]
    return [sys.executable, "-m", "xenvif_tagger"] + remote + [str(arg) for arg in args]


_servers = {}  # the ForkServers of this process, by the directory and environment of their start
MAIN = "from xenvif_tagger.cli.main import main; main()"


def fork_server(env):
    """A ForkServer for runs with this environment in the current directory."""
    key = json.dumps([os.getcwd(), at_start(env)], sort_keys=True)
    if key not in _servers:
        _servers[key] = ForkServer(env, LONG)
    return _servers[key]


def stop_fork_servers():
    while _servers:
        _servers.popitem()[1].stop()


class Result:
    """What a command has printed (out, err), its argv, and its exit code."""

    def __repr__(self):
        return "%s\nexit %s\n-- stdout\n%s-- stderr\n%s" % (
            " ".join(self.argv[1:]), self.code, self.out, self.err)

    @property
    def pairs(self):
        return json.loads(self.out)["pairs"]

    @property
    def pair(self):
        (pair,) = self.pairs
        return pair


class Run(Result):
    """A command that runs in the background. The end of the context kills the command, if need
    be."""

    def __init__(self, *args, db=None, env=None, cwd=None, argv=None):
        self.argv = argv or command(*args, db=db)
        self.code = self.out = self.err = None
        self.process = subprocess.Popen(
            self.argv, env=environment(**(env or {})), cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def end(self):
        """Wait until the command has ended by itself."""
        out, err = self.process.communicate(timeout=LONG)
        self.code = self.process.returncode
        self.out, self.err = out.decode(), err.decode()
        return self


class Done(Result):
    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out.decode(), err.decode()


def run(*args, db=None, env=None, **how):
    """Run a command to its end; arguments as for Run. A ForkServer forks the command's process,
    unless the test chooses something that only a fresh process reads."""
    whole = environment(**(env or {}))
    if not how and at_start(whole) == at_start(environment()):
        argv = command(*args, db=db)
        return Done(argv, *fork_server(whole).run(MAIN, argv[2:], whole))
    with Run(*args, db=db, env=env, **how) as started:
        return started.end()


def assert_done(result, code=0):
    assert (result.code, result.err) == (code, ""), result
    return result


def assert_error(result, code, *words):
    """The command has ended with this code, one line on stderr that has all of the words, and
    nothing on stdout."""
    assert result.code == code, result
    assert "Traceback" not in result.err, result
    assert re.match(r"xenvif-tagger: [^\n]+\n\Z", result.err), result
    assert result.out == "", result
    for word in words:
        assert word in result.err, result
    return result
