"""How all commands take their options (docs/design.md 6)."""
import math
import os

import click

from ..core import names
from ..host import config
from ..host.paths import default_remote
from ..output.console import BadUsage, emit
from ..ovsdb import oneshot
from ..ovsdb.client import Client, OvsdbError

TAB = 1  # second that somebody who has pressed it waits for the database, at most


class Options(object):
    """What the options before the command say; connects on demand."""

    def __init__(self, db, config_path, timeout, verbosity, xapi):
        self.verbosity = verbosity
        self.xapi = xapi  # vms.Access
        self._db = db
        self._config_path = config_path
        self._timeout = timeout

    def connect(self):
        """A oneshot.OneShot on the database."""
        remote, values = self.remote()
        return oneshot.OneShot(Client(remote, self.patience(values)), values)

    def patience(self, values):
        """Seconds that the database may take to answer, by the config file's values too."""
        return self._timeout or values["ovsdb", "timeout"]

    def remote(self):
        """The database's remote (str), and the config file's values."""
        values = read_config(self._config_path)
        return absolute(self._db or values["ovsdb", "remote"] or default_remote()), values

    def say(self, lines):
        """Print for people, unless -q."""
        if self.verbosity >= 0:
            for line in lines:
                emit(line)


class Seconds(click.ParamType):
    """A number of seconds (float), from a least one to a day."""

    name = "seconds"

    def __init__(self, least):
        self.least = least

    def convert(self, value, param, ctx):
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= 86400:
            self.fail("%r is not a number of seconds from %g to 86400" % (value, self.least),
                      param, ctx)
        return seconds


class Domid(click.ParamType):
    """A domain id (int), written as Xen does: int() would take +12 and 1_2, too."""

    name = "domid"

    def convert(self, value, param, ctx):
        found = names.parse("vif%s.0" % value)
        if found is None:
            self.fail("%r is not a domain id, a plain number" % value, param, ctx)
        return found[0]

    def shell_complete(self, ctx, param, incomplete):
        return completions(ctx, incomplete, lambda vswitch: {
            str(domid) for domid, _ in vswitch.vifs()})


class Port(click.ParamType):
    """A port's name (str), as it is given."""

    name = "port"

    def shell_complete(self, ctx, param, incomplete):
        return completions(ctx, incomplete, lambda vswitch: {
            port.name for ports in vswitch.read_all().values() for port in ports})


def completions(context, incomplete, find):
    """What a shell may complete the word to, of what find(vswitch) gives; nothing if that fails."""
    from click.shell_completion import CompletionItem  # not in click 7, which does not ask, either

    given = context.find_root().params
    try:
        shot = Options(given["db"], given["config_path"], TAB, 0, None).connect()
        return [CompletionItem(word) for word in sorted(find(shot.vswitch))
                if word.startswith(incomplete)]
    except (OvsdbError, click.ClickException):
        return []


def absolute(remote):
    """The remote with the path of a unix socket made absolute."""
    kind, colon, path = remote.partition(":")
    try:
        return kind + colon + os.path.abspath(path) if kind == "unix" and path else remote
    except FileNotFoundError:
        raise OvsdbError("%s: the working directory is gone: give an absolute path" % remote)


def read_config(path):
    """The values of the config file (see config.py); a default path may be absent."""
    try:
        values, problems = config.read(path or config.DEFAULT_PATH)
    except FileNotFoundError:
        if path:
            raise BadUsage("%s: no such config file" % path)
        values, problems = config.parse("")
    except OSError as error:
        raise BadUsage("%s: can't read the config file: %s" % (
            path or config.DEFAULT_PATH, error.strerror))
    if problems:
        raise BadUsage("%s: %s" % (path or config.DEFAULT_PATH, "; ".join(problems)))
    return values


def no_library(what, error):
    """The BadUsage of what needs the library that import (ImportError) has not found."""
    return BadUsage("%s needs Open vSwitch's Python library (%s): pip install ovs, or the one in "
                    "/usr/share/openvswitch/python" % (what, error))
