"""Runs the commands that ask all hosts of a pool, and takes their output apart."""
import json

from support.command import run
from support.plugin import host_env

LOGIN, LOGOUT, CALL = "session.login_with_password", "session.logout", "host.call_plugin"
SOON = 3  # seconds: the timeout of commands that ask a hanging host


class Pool:
    """A pool of hosts with plugins, on an XapiServer, and runs of the command against that
    server."""

    def __init__(self, server, plugins):
        self.server = server
        self.server.tables["host"].clear()
        self.plugins = plugins

    def add(self, name, ovs, **how):
        """Add a host with this database (a PrivateOvs); returns the host's ref."""
        return self.server.add_host(name, **dict(
            {"plugins": self.plugins, "env": host_env(ovs)}, **how))

    def uuid(self, ref):
        return self.server.tables["host"][ref]["uuid"]

    def argv(self, *args):
        return ("--xapi", self.server.remote, "pool") + args

    def run(self, *args, **how):
        return run(*self.argv(*args), **how)


def told(result, code, *lines):
    """The hosts of a JSON answer, by name. lines: the beginnings of the lines on standard error."""
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
        if "-> " not in line:  # the table never wraps a command
            assert len(line) <= size, result
