"""The commands that ask all hosts of a pool, and what they print."""
import json

from support.command import run
from support.plugin import host_env

LOGIN, LOGOUT, CALL = "session.login_with_password", "session.logout", "host.call_plugin"
SOON = 3  # seconds: the time of what is made to hang


class Pool:
    """A pool of hosts with plugins: the server, and the command at it."""

    def __init__(self, server, plugins):
        self.server = server
        self.server.tables["host"].clear()
        self.plugins = plugins

    def add(self, name, ovs, **how):
        """A host's ref; ovs: its database."""
        return self.server.add_host(name, **dict(
            {"plugins": self.plugins, "env": host_env(ovs)}, **how))

    def uuid(self, ref):
        return self.server.tables["host"][ref]["uuid"]

    def argv(self, *args):
        return ("--xapi", self.server.remote, "pool") + args

    def run(self, *args, **how):
        return run(*self.argv(*args), **how)


def told(result, code, *lines):
    """The hosts of a JSON answer, by name. lines: how those on standard error begin."""
    assert result.code == code, result
    assert_lines(result, *lines)
    hosts = json.loads(result.out)["hosts"]
    return {host["host"]["name"]: host for host in hosts}


def assert_lines(result, *lines):
    found = result.err.splitlines()
    assert "Traceback" not in result.err and len(found) == len(lines), result
    for line, begins in zip(found, lines):
        assert line.startswith("xenvif-tagger: " + begins), result


def assert_narrow(result, size=80):
    for line in result.out.splitlines():
        if "-> " not in line:  # a command is never wrapped
            assert len(line) <= size, result
