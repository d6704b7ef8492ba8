"""Functions that take the command's output apart."""
import re
import unicodedata

from support.zoo import (
    STATES,
)


def printed_changes(text):
    return [line for line in text.splitlines() if re.match("    (Port|Interface) ", line)]


def columns_of(text):
    """The number of a terminal's columns that the text takes."""
    return sum(0 if unicodedata.combining(char) else
               2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def check_table(text, width=80):
    """Check that each row's cells begin where the header's do; returns the rows as lists of
    cells."""
    lines = [line for line in text.splitlines() if not line.startswith("watcher: ")]
    assert lines[0].split() == ["VM", "BRIDGE", "VIF", "TAG", "TAP", "TAG", "STATE"]
    starts = [found.start() for found in re.finditer(r"\S+", lines[0])]
    rows = []
    for line in lines:
        assert columns_of(line) <= width, line
        assert line == line.rstrip()
        if line.startswith("    "):
            continue
        # A wide character takes two columns of a terminal.
        cells = "".join("" if unicodedata.combining(char) else
                        char + (columns_of(char) - 1) * "\0" for char in line)
        assert all(cells[start - 2:start] == "  " and cells[start] != " "
                   for start in starts[1:]), text
        rows.append([cells[start:end].strip().replace("\0", "")
                     for start, end in zip(starts, starts[1:] + [None])])
    return rows[1:]


PAIR_KEYS = {
    "domid", "devid", "bridge", "vm", "vif", "tap", "state", "reason", "source", "target",
    "changes",
}
# The keys of a port in the JSON. cvlans and the two keys of other_config are VLAN columns, too.
PORT_KEYS = {
    "port", "tag", "vlan_mode", "trunks", "cvlans", "other_config:qinq-ethtype",
    "other_config:priority-tags", "external_ids", "gone",
}
CHANGE_KEYS = {"table", "row", "column", "key", "old", "new"}


def check_shape(pairs):
    for pair in pairs:
        assert set(pair) == PAIR_KEYS
        assert isinstance(pair["domid"], int) and isinstance(pair["devid"], int)
        assert isinstance(pair["bridge"], str)
        assert pair["state"] in STATES
        assert isinstance(pair["reason"], str) and pair["reason"].strip()
        names = []
        for side in ("vif", "tap"):
            port = pair[side]
            if port is None:
                continue
            assert set(port) == PORT_KEYS
            names.append(port["port"])
            assert isinstance(port["gone"], bool)
            assert port["tag"] is None or isinstance(port["tag"], int)
            assert port["vlan_mode"] is None or isinstance(port["vlan_mode"], str)
            assert all(isinstance(vlan, int) for vlan in port["trunks"] + port["cvlans"])
            assert all(isinstance(text, str) for item in port["external_ids"].items()
                       for text in item)
        assert names
        assert {pair["source"], pair["target"]} <= {None} | set(names)
        for change in pair["changes"]:
            assert set(change) == CHANGE_KEYS
            assert change["table"] in ("Port", "Interface") and change["row"] in names
            assert change["old"] != change["new"]
