"""Mirrors tags, and no other column, by the least code: on a bare socket. bench/watch.py measures
this script.

    bare.py DB-SOCKET

Standard library only. This script checks no identity, keeps no history and guards no write.
"""
import json
import socket
import sys


def messages(connection):
    """Yield each JSON value that the database sends."""
    decode, text = json.JSONDecoder().raw_decode, ""
    while True:
        part = connection.recv(1 << 16)
        if not part:
            return
        text += part.decode()
        while text.endswith("}"):  # without this brace the value is not complete
            try:
                message, end = decode(text)
            except ValueError:
                break
            text = text[end:]
            yield message


def sibling(name):
    return {"vif": "tap", "tap": "vif"}.get(name[:3], "") + name[3:]


def main(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(path)

    def call(method, *params):
        connection.sendall(json.dumps({"method": method, "params": params, "id": 1}).encode())

    names, uuids, tags = {}, {}, {}
    call("monitor", "Open_vSwitch", None, {"Port": [{"columns": ["name", "tag"]}]})
    received = messages(connection)
    for uuid, row in next(received)["result"]["Port"].items():
        names[uuid], uuids[row["new"]["name"]], tags[uuid] = (
            row["new"]["name"], uuid, row["new"]["tag"])
    print("ready", flush=True)
    for message in received:
        if message.get("method") != "update":
            continue
        operations, rows = [], message["params"][1]["Port"]
        for uuid, row in rows.items():
            tags[uuid] = row["new"]["tag"]
        for uuid in rows:
            other = uuids.get(sibling(names[uuid]))
            if other and tags[other] != tags[uuid]:
                operations.append({"op": "update", "table": "Port",
                                   "where": [["_uuid", "==", ["uuid", other]]],
                                   "row": {"tag": tags[uuid]}})
        if operations:
            call("transact", "Open_vSwitch", *operations)


if __name__ == "__main__":
    main(sys.argv[1])
