"""OVSDB's notation of sets, maps and UUIDs in JSON, and back (RFC 7047, 5.1).

Atoms (str, int, float, bool, and ["uuid", "..."]) are left as they are.
"""


def from_set(value):
    """The atoms of a set: list. A set of one may be written as its bare atom."""
    if isinstance(value, list) and value[:1] == ["set"]:
        return list(value[1])
    return [value]


def to_set(atoms):
    """The notation of a set of these atoms (any iterable), in the order given."""
    return ["set", list(atoms)]


def from_map(value):
    """The dict that a map's notation stands for. Raises ValueError if it is none."""
    if not isinstance(value, list) or value[:1] != ["map"]:
        raise ValueError("not an OVSDB map: %r" % (value,))
    return dict(value[1])


def to_map(values):
    """The notation of a dict (its keys of one type), sorted: equal dicts are written alike."""
    return ["map", [[key, values[key]] for key in sorted(values)]]


def uuid(text):
    """The notation of a UUID given as str."""
    return ["uuid", text]


def from_uuid(value):
    """The UUID as str. Raises ValueError if the value is none."""
    if not isinstance(value, list) or value[:1] != ["uuid"]:
        raise ValueError("not an OVSDB UUID: %r" % (value,))
    return value[1]
