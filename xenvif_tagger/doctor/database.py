"""`doctor`: Open vSwitch's database: whether it answers, and what all its checks are made on.

A check takes an examine.Patient and returns (state, what was found, cure).
"""
import os

from ..output.checks import FAIL, OK, SKIP, WARN
from ..ovsdb.client import DATABASE, BadRemote, Client, OvsdbError
from ..ovsdb.oneshot import OneShot
from ..ovsdb.vswitch import Vswitch


class Database(object):
    """Open vSwitch's database, as it was when this was made.

    remote (str); error (OvsdbError or None): why it can't be read; shot (oneshot.OneShot);
    outcomes: list of decision.Outcome, of all VIFs; version, schema (str or None); has_cvlans:
    whether the schema has Port.cvlans.
    """

    def __init__(self, remote, values, timeout):
        self.remote = remote
        self._timeout = timeout
        self.error = None
        self.outcomes = []
        self.version = self.schema = None
        try:
            client = Client(remote, timeout)
            self.shot = OneShot(client, values)
            schema = client.call("get_schema", [DATABASE])
            self.schema = schema["version"]
            self.has_cvlans = "cvlans" in schema["tables"]["Port"]["columns"]
            row = client.transact([{"op": "select", "table": "Open_vSwitch", "where": [],
                                    "columns": ["ovs_version"]}])[0]["rows"][0]
            self.version = row["ovs_version"] if isinstance(row["ovs_version"], str) else None
            self.outcomes = self.shot.look()
        except OvsdbError as error:
            self.error = error
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            self.error = OvsdbError("%s: not Open vSwitch's own database (%s: %s)" % (
                remote, type(error).__name__, error))

    def ports(self):
        """All ports (port.Port) of VIFs."""
        return [port for outcome in self.outcomes for port in outcome.decision.ports()]

    def ports_now(self):
        """The same, read anew. By a connection of its own: the server may have ended the first,
        which nobody has listened to since."""
        with Client(self.remote, self._timeout) as client:
            found = Vswitch(client).read_all()
        return [port for vif in sorted(found) for port in found[vif]]

    def pairs(self, *states):
        """The decisions in one of these states; without any, all that are about two ports."""
        return [outcome.decision for outcome in self.outcomes if (
            outcome.decision.state in states if states else len(outcome.decision.ports()) == 2)]


def of_database(check):
    """A check that there is nothing to tell of where the database could not be read."""
    def checked(patient):
        if patient.database.error:
            return SKIP, "the database can't be read", None
        return check(patient.database)
    return checked


def reachable(patient):
    database = patient.database
    error = database.error
    if error is None:
        found = "Open vSwitch %s, schema %s, %s" % (
            database.version or "of unknown version", database.schema, database.remote)
        if not database.version:  # ovs-ctl writes it
            return WARN, found + ": not started by ovs-ctl", "systemctl start openvswitch"
        if not database.has_cvlans and database.shot.settings.hold_bridges:
            return (WARN, found + ": without Port.cvlans a hold closes a port only as an access "
                    "port of VLAN 4095", "upgrade Open vSwitch to 2.8 or newer")
        return OK, found, None
    if os.geteuid() and "permission denied" in str(error):
        return SKIP, str(error), None
    if isinstance(error, BadRemote) and database.remote.startswith("ssl:"):
        return SKIP, "%s: doctor speaks unix: and tcp: only" % database.remote, None
    if not database.remote.startswith("unix:"):
        return FAIL, str(error), "ovs-vsctl --db=%s show" % database.remote
    return FAIL, str(error), "systemctl %s openvswitch" % (
        "restart" if "answer" in str(error) else "start")
