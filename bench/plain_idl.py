"""Mirrors tags, and no other column, by a loop on ovs.db.idl as its documentation has it.
bench/watch.py measures this script.

    plain_idl.py DB-SOCKET SCHEMA-FILE

This script checks no identity, keeps no history and guards no write.
"""
import sys

import ovs.db.idl
import ovs.poller
from bare import sibling


class Follower(ovs.db.idl.Idl):
    """Has the rows by name, and the names of those whose tag has changed."""

    def __init__(self, remote, schema):
        self.by_name, self.changed = {}, []
        super(Follower, self).__init__(remote, schema)

    def notify(self, event, row, updates=None):
        if event == ovs.db.idl.ROW_CREATE:
            self.by_name[row.name] = row
        elif event == ovs.db.idl.ROW_UPDATE and hasattr(updates, "tag"):
            self.changed.append(row)


def main(path, schema_file):
    schema = ovs.db.idl.SchemaHelper(schema_file)
    schema.register_columns("Port", ["name", "tag"])
    idl = Follower("unix:" + path, schema)
    ready = False
    while True:
        idl.run()
        if idl.has_ever_connected() and not ready:
            ready = True
            print("ready", flush=True)
        if idl.changed:
            changed, idl.changed = idl.changed, []
            transaction = ovs.db.idl.Transaction(idl)
            for row in changed:
                other = idl.by_name.get(sibling(row.name))
                if other is not None and other.tag != row.tag:
                    other.tag = row.tag
            transaction.commit_block()
        else:
            poller = ovs.poller.Poller()
            idl.wait(poller)
            poller.block()


if __name__ == "__main__":
    main(*sys.argv[1:])
