"""The classes for a decision: State, Settings, the Draft of a row, the Decision itself, and the
Outcome of writing the Decision's changes."""
from .port import is_bookkeeping

MYPY = False
if MYPY:  # mypy takes MYPY for True; at run time no plug pays for the import of typing
    from typing import Any, Iterable, List, Mapping, Optional, Tuple

    from .port import Change, Ids, Port
    from .unit import Unit


class State(object):
    """How tables, log and exit codes treat a VIF that is in one of the states.

    shows_reason (bool): a table prints the reason below the VIF's row.
    logged (bool): the watcher logs one line when a VIF comes into the state.
    colour (str or None): the colour of the state's name on a terminal, as click.style() names it.
    fails_check (bool): ``check`` exits with 1.
    fails_target (bool): ``mirror`` exits with 1 if its command line named the VIF.
    """

    __slots__ = ("shows_reason", "logged", "colour", "fails_check", "fails_target")

    def __init__(self, shows_reason: bool, logged: bool, colour: "Optional[str]",
                 fails_check: bool, fails_target: bool) -> None:
        self.shows_reason = shows_reason
        self.logged = logged
        self.colour = colour
        self.fails_check = fails_check
        self.fails_target = fails_target


IN_SYNC = "in-sync"  # both ports are alike
DRIFT = "drift"  # the ports are not as they should be, and how they should be is known
MIRRORED = "mirrored"  # the ports differed until this command made them alike
CONFLICT = "conflict"  # the ports differ, and nothing says which one is right
REFUSED = "refused"  # the ports must not be treated as siblings
HELD = "held"  # a port is closed until an agent sets a real tag
SINGLE = "single"  # the port has no sibling, and has followed none
ORPHAN = "orphan"  # the port followed a sibling that was deleted
FAILED = "failed"  # the database did not accept the changes

# The treatment of each state is in this table only. docs/operating.md explains the states in words.
STATES = {
    #               shows_reason, logged, colour, fails_check, fails_target
    IN_SYNC: State(False, False, "green", False, False),
    DRIFT: State(True, False, "yellow", True, False),
    MIRRORED: State(True, False, "green", False, False),
    CONFLICT: State(True, True, "red", True, True),
    REFUSED: State(True, True, "red", False, True),
    HELD: State(True, False, "yellow", False, False),
    SINGLE: State(False, False, None, False, False),
    ORPHAN: State(True, True, "yellow", False, False),
    FAILED: State(True, False, None, False, False),
}


class Settings(object):
    """The operator's settings, and the one fact of the host that decisions need: the boot.

    iface_id (str): how many of the two siblings may have iface-id: ``one`` or ``both``.
    exclude (tuple of str): further external_ids keys that are never mirrored; a ``*`` at the end
        of a key stands for any rest.
    policing (bool): the Interface columns of port.POLICING are mirrored, too.
    hold_bridges (frozenset of str): the bridges on which ports are held (docs/design.md 4.6).
    boot (str): the id of the host's present boot (host.paths.boot_id).
    """

    __slots__ = ("iface_id", "exclude", "policing", "hold_bridges", "boot")

    def __init__(self, iface_id: str = "one", exclude: "Iterable[str]" = (),
                 policing: bool = False, hold_bridges: "Iterable[str]" = (),
                 boot: str = "") -> None:
        self.iface_id = iface_id
        self.exclude = tuple(exclude)
        self.policing = policing
        self.hold_bridges = frozenset(hold_bridges)
        self.boot = boot

    def excludes(self, key: str) -> bool:
        """Whether the operator's ``exclude`` names an external_ids key."""
        for pattern in self.exclude:
            if key == pattern or (pattern.endswith("*") and key.startswith(pattern[:-1])):
                return True
        return False


def settings_of(values: "Mapping[Tuple[str, str], Any]", boot: str) -> Settings:
    """The Settings for the values of a config file (host.config.parse) and the host's boot id."""
    return Settings(
        iface_id=values["mirror", "iface_id"], exclude=values["mirror", "exclude"],
        policing=values["mirror", "policing"], hold_bridges=values["hold", "bridges"], boot=boot)


class Draft(object):
    """A row as the decision wants the row to be: at first a copy of the Port, then changed in place
    by the rules.

    port (Port): the row as read.
    unit, ids, policing, mark: as those of Port.
    notes (list of str): sentences for the reason, one for each repair of the row that does not
        depend on the row's sibling.
    closes (bool): the port is to be closed, whatever its bridge.
    """

    __slots__ = ("port", "unit", "ids", "policing", "mark", "notes", "closes")

    def __init__(self, port: "Port") -> None:
        self.port = port
        self.unit: "Unit" = dict(port.unit)
        self.ids: "Ids" = {table: dict(ids) for table, ids in port.ids.items()}
        self.policing = dict(port.policing)
        self.mark = dict(port.mark)
        self.notes: "List[str]" = []
        self.closes = False

    def note(self, repair: "Optional[str]") -> None:
        """Add a repair of this row to the notes.

        :param repair: the words that follow the port's name in a sentence (str); None for no repair
        """
        if repair:
            self.notes.append("%s %s" % (self.port.name, repair))

    def is_written(self) -> bool:
        """Whether anything beside our mark differs from the row as read."""
        port = self.port
        return self.unit != port.unit or self.ids != port.ids or self.policing != port.policing


class Decision(object):
    """The changes to a VIF's ports, and why. No code changes a Decision after it is made.

    vif, tap (Port or None): the rows that the decision was based on.
    third (Port or None): a second row of the tap side, where the VIF has both a tap and an -emu; or
        the row that stays, where a port is deleted that has the same iface-id (birth.dying).
    state (str): one of STATES.
    reason (str): why, for people.
    source, target (str or None): the name of the port that lends, and of the port that takes.
    unit (dict): the VLAN unit that both ports have once the changes are written; {} also where a
        port is held, or the ports will differ.
    split (list of str): external_ids keys that stay different.
    changes (list of port.Change): the cells to write; empty if none.
    orphans (list of Port): the rows that have followed a sibling that was deleted.
    """

    __slots__ = ("vif", "tap", "third", "state", "reason", "source", "target", "unit", "split",
                 "changes", "orphans")

    def __init__(self, vif: "Optional[Port]", tap: "Optional[Port]", state: str, reason: str,
                 source: "Optional[str]" = None, target: "Optional[str]" = None,
                 unit: "Optional[Unit]" = None, split: "Iterable[str]" = (),
                 changes: "Iterable[Change]" = (), orphans: "Iterable[Port]" = (),
                 third: "Optional[Port]" = None) -> None:
        self.vif = vif
        self.tap = tap
        self.third = third
        self.state = state
        self.reason = reason
        self.source = source
        self.target = target
        self.unit = dict(unit or {})
        self.split = list(split)
        self.changes = list(changes)
        self.orphans = list(orphans)

    def ports(self) -> "List[Port]":
        """The rows that the decision was based on, the vif first: one to three."""
        return [port for port in (self.vif, self.tap, self.third) if port is not None]

    def who(self) -> str:
        """The ports that the decision is about, in words: ``vif12.0 -> tap12.0`` where the first
        lends to the second, else ``vif12.0, tap12.0``."""
        if self.target:
            return "%s -> %s" % (self.source, self.target)
        return ", ".join(port.name for port in self.ports())

    def is_substantial(self) -> bool:
        """Whether at least one change is to more than our own marks."""
        return any(not is_bookkeeping(change) for change in self.changes)


class Outcome(object):
    """A Decision about a VIF, and whether the Decision's changes were written.

    domid, devid (int): the VIF's number.
    ports (list of str): the names of all ports with that number.
    decision (Decision): the decision about those ports.
    written (bool): the decision's changes are in the database.
    problem (str or None): why the database did not accept the changes.
    """

    __slots__ = ("domid", "devid", "ports", "decision", "written", "problem")

    def __init__(self, vif: "Tuple[int, int]", ports: "Iterable[Port]",
                 decision: Decision) -> None:
        self.domid, self.devid = vif
        self.ports = [port.name for port in ports]
        self.decision = decision
        self.written = False
        self.problem: "Optional[str]" = None

    @property
    def vif(self) -> "Tuple[int, int]":
        """The VIF's number: (domid, devid)."""
        return self.domid, self.devid

    @property
    def state(self) -> str:
        """The VIF's state: ``mirrored`` for a drift that was written, ``failed`` where the database
        did not accept the changes, ``drift`` where a port is not yet closed or opened as the
        decision wants it, else the decision's state."""
        state, is_substantial = self.decision.state, self.decision.is_substantial()
        if self.written:
            return MIRRORED if state == DRIFT and is_substantial else state
        if self.problem:
            return FAILED
        return DRIFT if is_substantial and state in (HELD, SINGLE, ORPHAN) else state

    @property
    def is_alike(self) -> bool:
        """Whether both ports have the same VLAN unit, and the unit is not the empty one, which is a
        trunk of every VLAN."""
        return self.state in (MIRRORED, IN_SYNC) and bool(self.decision.unit)
