"""What can be said of a VIF's two ports: the states, a decision about them, what became of it."""
from .port import is_bookkeeping

MYPY = False
if MYPY:  # mypy takes it for True; at run time no plug pays for the import of typing
    from typing import Any, Iterable, List, Mapping, Optional, Tuple

    from .port import Change, Ids, Port
    from .unit import Unit


class State(object):
    """What follows from a state, for all who show, count or report one.

    shows_reason (bool): a table has the reason below the row.
    logged (bool): the watcher writes one line about it when a pair comes into it.
    colour (str or None): of the word on a terminal, as click.style() names colours.
    fails_check (bool): ``check`` exits with 1.
    fails_target (bool): ``mirror`` of a target that was named exits with 1.
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
DRIFT = "drift"  # they differ, and which one is right is known
MIRRORED = "mirrored"  # a drift that this command has just written
CONFLICT = "conflict"  # they differ, and nothing says which one is right
REFUSED = "refused"  # they are not, or not surely, one VIF's
HELD = "held"  # closed until an agent sets a real tag
SINGLE = "single"  # a port without a sibling
ORPHAN = "orphan"  # a port whose sibling, which it had followed, is gone
FAILED = "failed"  # the database did not take what was to be written

# The one place that says what each state means to whom (docs/operating.md has it in words).
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
    """What an operator has set, and the one fact of the host that decisions need.

    iface_id (str): ``one`` or ``both``: on how many of the siblings iface-id may stand.
    exclude (tuple of str): further external_ids keys that are never mirrored; a ``*`` at the end
        of one stands for any rest.
    policing (bool): mirror the Interface columns ingress_policing_rate and _burst too.
    hold_bridges (frozenset of str): the bridges on which ports are held (docs/design.md 4.6).
    boot (str): this boot of the host (host.paths.boot_id).
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
    """The Settings that the values of a config file (host.config.parse) mean."""
    return Settings(
        iface_id=values["mirror", "iface_id"], exclude=values["mirror", "exclude"],
        policing=values["mirror", "policing"], hold_bridges=values["hold", "bridges"], boot=boot)


class Draft(object):
    """A row as it is to become: begins as the Port was read, and is changed in place.

    port (Port): the row as read; unit, ids, policing, mark: as of Port; notes (list of str): what
    was done to this row by itself, for the reason.
    """

    __slots__ = ("port", "unit", "ids", "policing", "mark", "notes")

    def __init__(self, port: "Port") -> None:
        self.port = port
        self.unit: "Unit" = dict(port.unit)
        self.ids: "Ids" = {table: dict(ids) for table, ids in port.ids.items()}
        self.policing = dict(port.policing)
        self.mark = dict(port.mark)
        self.notes: "List[str]" = []

    def note(self, what: "Optional[str]") -> None:
        """Add to the reason what was done to this row by itself, if anything (None)."""
        if what:
            self.notes.append("%s: %s" % (self.port.name, what))

    def is_written(self) -> bool:
        """Whether anything beside our mark differs from the row as read."""
        port = self.port
        return self.unit != port.unit or self.ids != port.ids or self.policing != port.policing


class Decision(object):
    """What is to happen to a VIF's ports, and why. Nobody changes one after it is made.

    vif, tap (Port or None): the rows that it was based on.
    state (str), reason (str): for people and scripts, see STATES.
    source, target (str or None): names of the ports from which and to which something goes.
    unit (dict): the VLAN unit that both have when the changes are made; {} also where they
        will not be alike.
    split (list of str): external_ids keys that stay different.
    changes (list of port.Change): what is to be written; empty if nothing.
    """

    __slots__ = ("vif", "tap", "state", "reason", "source", "target", "unit", "split", "changes")

    def __init__(self, vif: "Optional[Port]", tap: "Optional[Port]", state: str, reason: str,
                 source: "Optional[str]" = None, target: "Optional[str]" = None,
                 unit: "Optional[Unit]" = None, split: "Iterable[str]" = (),
                 changes: "Iterable[Change]" = ()) -> None:
        self.vif = vif
        self.tap = tap
        self.state = state
        self.reason = reason
        self.source = source
        self.target = target
        self.unit = dict(unit or {})
        self.split = list(split)
        self.changes = list(changes)

    def ports(self) -> "List[Port]":
        """The rows that there are, the vif first."""
        return [port for port in (self.vif, self.tap) if port is not None]

    def who(self) -> str:
        """Which ports the decision is about: ``vif12.0 -> tap12.0`` where something goes from one
        to the other, else ``vif12.0, tap12.0``."""
        if self.target:
            return "%s -> %s" % (self.source, self.target)
        return ", ".join(port.name for port in self.ports())

    def is_substantial(self) -> bool:
        """Whether more than our own marks is to be written."""
        return any(not is_bookkeeping(change) for change in self.changes)


class Outcome(object):
    """What became of a VIF.

    domid, devid (int); ports (list of str): the names of all ports that bear its number;
    decision (Decision); written (bool): its changes are made; problem (str or None): why the
    database did not take them.
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
        """(domid, devid)."""
        return self.domid, self.devid

    @property
    def state(self) -> str:
        """The decision's, or what became of it: ``mirrored``, ``failed``."""
        if self.written:
            mirrored = self.decision.state == DRIFT and self.decision.is_substantial()
            return MIRRORED if mirrored else self.decision.state
        return FAILED if self.problem else self.decision.state

    @property
    def is_alike(self) -> bool:
        """Whether both ports have the same VLAN, and that is not "every VLAN"."""
        return self.state in (MIRRORED, IN_SYNC) and bool(self.decision.unit)
