"""The options before the command, and the types of options and arguments (docs/design.md 6)."""
import math
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, List, Optional, Set, Tuple

import click

from ..core import names
from ..host import config
from ..host.paths import default_remote
from ..output.console import BadUsage, emit
from ..ovsdb.client import Client, OvsdbError
from ..ovsdb.oneshot import OneShot
from ..ovsdb.vswitch import Vswitch
from ..xapi.vms import Access

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem  # click 7 has none

    from ..host.config import Values

TAB_TIMEOUT = 1  # seconds that a user who has pressed the Tab key waits for the database at most


class Options(object):
    """The options before the command.

    verbosity (int): 1 with -v, -1 with -q, else 0. xapi (Access): how to reach XAPI.

    :param db: --db
    :param config_path: --config
    :param timeout: --timeout, seconds
    """

    def __init__(self, db: Optional[str], config_path: Optional[str], timeout: Optional[float],
                 verbosity: int, xapi: Access) -> None:
        self.verbosity = verbosity
        self.xapi = xapi
        self._db = db
        self._config_path = config_path
        self._timeout = timeout

    def connect(self) -> OneShot:
        """The one-shot driver, connected to the database."""
        address, values = self.remote()
        return OneShot(Client(address, self.patience(values)), values)

    def patience(self, values: "Values") -> float:
        """Seconds to wait for the database at most: --timeout, or else the config's timeout."""
        return float(self._timeout or values["ovsdb", "timeout"])

    def remote(self) -> "Tuple[str, Values]":
        """The database's remote, and the values of the config file."""
        return database(self._db, self._config_path)

    def say(self, lines: Iterable[str]) -> None:
        """Print lines for people, unless -q is given."""
        if self.verbosity >= 0:
            for line in lines:
                emit(line)


# The next classes ignore mypy's type-arg: newer click has type arguments for ParamType, and the
# click of a dom0 fails on them.

class Seconds(click.ParamType):  # type: ignore[type-arg]
    """A number of seconds (float) from ``least`` (float) to 86400, a day."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        self.least = least

    def convert(self, value: Any, param: Optional[click.Parameter],
                ctx: Optional[click.Context]) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self.least <= seconds <= 86400:
            self.fail("%r is not a number of seconds from %g to 86400" % (value, self.least),
                      param, ctx)
        return seconds


class Domid(click.ParamType):  # type: ignore[type-arg]
    """A domain id (int), written as Xen writes one: int() would also accept +12 and 1_2."""

    name = "domid"

    def convert(self, value: Any, param: Optional[click.Parameter],
                ctx: Optional[click.Context]) -> int:
        parts = names.parse("vif%s.0" % value)
        if parts is None:
            self.fail("%r is not a domain id, a plain number" % value, param, ctx)
        return parts[0]

    def shell_complete(self, ctx: click.Context, param: click.Parameter,
                       incomplete: str) -> "List[CompletionItem]":
        return completions(ctx, incomplete, lambda vswitch: {
            str(domid) for domid, _ in vswitch.vifs()})


class Port(click.ParamType):  # type: ignore[type-arg]
    """The name of a port (str), not checked."""

    name = "port"

    def shell_complete(self, ctx: click.Context, param: click.Parameter,
                       incomplete: str) -> "List[CompletionItem]":
        return completions(ctx, incomplete, lambda vswitch: {
            port.name for ports in vswitch.read_all().values() for port in ports})


def completions(context: click.Context, incomplete: str,
                words_in: Callable[[Vswitch], Set[str]]) -> "List[CompletionItem]":
    """The words in the database by which a shell may complete a word; none if the database can't be
    read.

    :param incomplete: the beginning of the word
    :param words_in: gives all words that may be meant, read by a connected Vswitch
    """
    # click 7 has no such module, and never asks a type for completions.
    from click.shell_completion import CompletionItem

    root_options = context.find_root().params
    try:
        address, _ = database(root_options["db"], root_options["config_path"])
        words = words_in(Vswitch(Client(address, TAB_TIMEOUT)))
    except (OvsdbError, click.ClickException):
        return []
    return [CompletionItem(word) for word in sorted(words) if word.startswith(incomplete)]


def database(db: Optional[str], config_path: Optional[str]) -> "Tuple[str, Values]":
    """The database's remote, and the values of the config file.

    :param db: --db, or None if it is not given
    :param config_path: --config, or None if it is not given
    """
    values = read_config(config_path)
    return absolute(db or values["ovsdb", "remote"] or default_remote()), values


def absolute(remote: str) -> str:
    """The remote with the path of a unix socket made absolute."""
    kind, colon, path = remote.partition(":")
    try:
        return kind + colon + os.path.abspath(path) if kind == "unix" and path else remote
    except FileNotFoundError:
        raise OvsdbError("%s: the working directory is gone: give an absolute path" % remote)


def read_config(path: Optional[str]) -> "Values":
    """The values of the config file at ``path``; if ``path`` is None, those of the default config
    file, which may be absent."""
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


def no_library(part: str, error: ImportError) -> BadUsage:
    """The error for a part of the command that needs Open vSwitch's Python library, if that library
    can't be imported (error)."""
    return BadUsage("%s needs Open vSwitch's Python library (%s): run 'pip install ovs', or add "
                    "/usr/share/openvswitch/python to PYTHONPATH" % (part, error))
