"""The library's replica made small: rows and values kept much as they came.

The library turns each string of each map into an object that is checked by the schema, and gives
each row three dicts for what might be written to it. With 10,000 ports that is two thirds of the
start-up and of the memory; and we want the JSON, to decide and to guard by. So the Idl is given
these classes in the place of its own: they have what it calls (ovs/db/idl.py; the same in 2.17 to
4.0) but for writing, which we do with operations of our own.
"""
import sys
from uuid import UUID

import ovs.db.idl

LONG = 64  # characters; a longer string is somebody's text: seldom the same twice


class Map(dict):
    """A map among JSON that is made small already."""

    __slots__ = ()


def thin(json):
    """A JSON object (dict) with its maps made small: for json.JSONDecoder's object_hook, so that
    a large message is never there in full size."""
    for key, value in json.items():
        if type(value) is list and len(value) == 2 and value[0] == "map":
            json[key] = Map((_atom(key), _atom(value)) for key, value in value[1])
    return json


class Datum(object):
    """A column's value.

    type (ovs.db.types.Type); values: a dict for a map, a list for a set of none or several, else
    the atom itself: str, int, float, bool, or ("uuid", str).
    """

    __slots__ = ("type", "values")

    def __init__(self, type_, values):
        self.type = type_
        self.values = values

    @staticmethod
    def from_json(type_, json, _symtab=None):
        if type(json) is list and json[0] == "set":
            return Datum(type_, _set([_atom(atom) for atom in json[1]]))
        if type(json) is list and json[0] == "map":
            return Datum(type_, {_atom(key): _atom(value) for key, value in json[1]})
        return Datum(type_, json if type(json) is Map else _atom(json))

    @staticmethod
    def default(type_):
        if type_.n_min == 0:
            return Datum(type_, {} if type_.is_map() else [])
        atom = type_.key.type.default
        return Datum(type_, ("uuid", str(atom)) if isinstance(atom, UUID) else atom)

    def copy(self):
        return self  # none is ever changed

    def __eq__(self, other):
        if isinstance(other, Datum):
            return self.values == other.values
        return NotImplemented

    __hash__ = None

    def diff(self, other):
        """This value with a difference made to it: ovsdb-server(7), 4.1.14, <row-update2>."""
        if isinstance(self.values, dict):
            values = dict(self.values)
            for key, value in other.values.items():
                if key in values and values[key] == value:
                    del values[key]
                else:
                    values[key] = value
            return Datum(self.type, values)
        if self.type.n_max == 1:
            return other
        toggled = dict.fromkeys(self.atoms())
        for atom in other.atoms():
            if atom in toggled:
                del toggled[atom]
            else:
                toggled[atom] = None
        return Datum(self.type, _set(list(toggled)))

    def atoms(self):
        """The atoms of what is no map: list."""
        return self.values if isinstance(self.values, list) else [self.values]

    def to_json(self):
        if isinstance(self.values, dict):
            return ["map", sorted(list(pair) for pair in self.values.items())]
        if isinstance(self.values, list):
            return ["set", self.values]
        return self.values


def _atom(json):
    if isinstance(json, str):
        # The same few strings stand in thousands of rows.
        return sys.intern(json) if len(json) < LONG else json
    return tuple(json) if isinstance(json, list) else json


def _set(atoms):
    return atoms[0] if len(atoms) == 1 else atoms


class Columns(ovs.db.idl.ColumnDefaultDict):
    """A row's columns; those that have their default are not kept."""

    __slots__ = ()

    def __missing__(self, column):
        return defaults(self._table)[column]


def defaults(table):
    """What columns have that are not kept: dict name -> Datum."""
    found = table.__dict__.get("defaults")
    if found is None:
        found = table.__dict__["defaults"] = {
            name: Datum.default(column.type) for name, column in table.columns.items()}
    return found


class Row(object):
    """A row, to be read."""

    __slots__ = ("uuid", "_table", "_data")

    def __init__(self, _idl, table, uuid, data, _persist_uuid=False):
        self.uuid = uuid
        self._table = table
        self._data = data

    @classmethod
    def from_json(cls, idl, table, uuid, json):
        """The old values in an update."""
        return cls(idl, table, uuid, {
            name: Datum.from_json(table.columns[name].type, value)
            for name, value in json.items() if name in table.columns})

    def __getattr__(self, column):
        # The library reads its own table of databases so.
        if column.startswith("_") or column not in self._table.columns:
            raise AttributeError(column)
        datum = self._data[column]
        scalar = datum.type.is_map() or datum.type.n_min == datum.type.n_max == 1
        return datum.values if scalar else datum.atoms()


class _Module(object):
    """Stands where the Idl has the library's module of values."""

    Datum = Datum


def use():
    """Let the library's Idl keep its rows in this way from now on."""
    ovs.db.idl.data = _Module
    ovs.db.idl.ColumnDefaultDict = Columns
    ovs.db.idl.Row = Row
