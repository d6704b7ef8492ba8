"""`doctor`: the VIFs' ports in Open vSwitch's database, read once for all checks."""
from typing import TYPE_CHECKING, List, Optional, Tuple

from ..core.decision import Decision, Outcome
from ..core.port import Port
from ..ovsdb.client import DATABASE, Client, OvsdbError
from ..ovsdb.oneshot import OneShot
from ..ovsdb.vswitch import Vswitch

if TYPE_CHECKING:
    from ..host.config import Values


class Database(object):
    """Open vSwitch's database, as read when this object was made.

    remote (str). error (OvsdbError or None): why the database can't be read. If there is an error,
    the attributes below say nothing.
    unpaired (list of lists of str): as core.identity.unpaired returns.
    outcomes (list of Outcome): of all VIFs. settings (Settings): the operator's settings.
    version (str or None): Open vSwitch's version, if the database has it. schema (str): the version
    of the schema. has_cvlans (bool): whether the schema has Port.cvlans. bridges (set of str): the
    names of the Bridge rows.

    :param values: the config file's values
    :param timeout: seconds to wait for the database at most
    """

    def __init__(self, remote: str, values: "Values", timeout: float) -> None:
        self.remote = remote
        self._values = values
        self._timeout = timeout
        self.error: Optional[OvsdbError] = None
        self.outcomes: List[Outcome] = []
        self.unpaired: List[List[str]] = []
        self.version: Optional[str] = None
        try:
            client = Client(remote, timeout)
            driver = OneShot(client, values)
            self.settings = driver.settings
            schema = client.call("get_schema", [DATABASE])
            self.schema = str(schema["version"])
            self.has_cvlans = "cvlans" in schema["tables"]["Port"]["columns"]
            switches, bridges = client.transact([
                {"op": "select", "table": table, "where": [], "columns": [column]}
                for table, column in (("Open_vSwitch", "ovs_version"), ("Bridge", "name"))])
            row = switches["rows"][0]
            self.bridges = {bridge["name"] for bridge in bridges["rows"]}
            self.version = row["ovs_version"] if isinstance(row["ovs_version"], str) else None
            self.outcomes = driver.look()
            self.unpaired = driver.vswitch.unpaired
        except OvsdbError as error:
            self.error = error
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            self.error = OvsdbError("%s: not Open vSwitch's own database (%s: %s)" % (
                remote, type(error).__name__, error))

    def ports(self) -> List[Port]:
        """All ports of VIFs."""
        return [port for outcome in self.outcomes for port in outcome.decision.ports()]

    def ports_now(self) -> List[Port]:
        """All ports of VIFs, read anew, by a connection of their own (see look_again).

        :raises OvsdbError: the database can't be read any more
        """
        with Client(self.remote, self._timeout) as client:
            ports = Vswitch(client).read_all()
        return [port for vif in sorted(ports) for port in ports[vif]]

    def look_again(self, vifs: List[Tuple[int, int]]) -> List[Outcome]:
        """The outcomes of some VIFs, read anew.

        This uses a connection of its own: ovsdb-server drops a client that answers none of its
        probes, and while other checks take their time nobody reads the first connection.

        :raises OvsdbError: the database can't be read any more
        """
        with Client(self.remote, self._timeout) as client:
            return OneShot(client, self._values).look(vifs)

    def pairs(self) -> List[Decision]:
        """The decisions about VIFs that have two ports."""
        return [outcome.decision for outcome in self.outcomes
                if len(outcome.decision.ports()) == 2]

    def in_state(self, state: str) -> List[Decision]:
        """The decisions that have a state."""
        return [outcome.decision for outcome in self.outcomes if outcome.state == state]
