"""Classes that keep the rows of the library's Idl in little memory, nearly as the server sent them.

The library's own classes make an object of each string of each map, checked by the schema, and give
each row three dicts for writes that may come. With 10,000 ports these objects take two thirds of
the watcher's start-up time and memory. And we need the values as JSON, for decisions and guards. So
``use`` gives the Idl the classes of this module instead. They have all methods that the Idl calls
(ovs/db/idl.py; the same in 2.17 to 4.0) but those that write: our writes are operations of our own.
"""
import sys
from typing import Any, Dict, List
from uuid import UUID

import ovs.db.idl

LONG = 64  # characters: a longer string is seldom the same twice, so it is not interned


class Map(dict):  # type: ignore[type-arg]
    """A map that ``shrink`` has turned into a dict while the message was decoded."""

    __slots__ = ()


def shrink(json: Dict[str, Any]) -> Dict[str, Any]:
    """Turn the maps in a JSON object into Maps, in place.

    As object_hook of json.JSONDecoder this function shrinks a large message piece by piece, while
    the message is decoded, so that memory never holds the whole message unshrunk.
    """
    for key, value in json.items():
        if type(value) is list and len(value) == 2 and value[0] == "map":
            json[key] = Map((_atom(key), _atom(value)) for key, value in value[1])
    return json


class Datum(object):
    """A column's value. No code changes a Datum after it was made.

    type (ovs.db.types.Type); values: a dict for a map, a list for a set of none or several, else
    the atom itself: str, int, float, bool, or ("uuid", str).
    """

    __slots__ = ("type", "values")

    def __init__(self, type_: Any, values: Any) -> None:
        self.type = type_
        self.values = values

    @staticmethod
    def from_json(type_: Any, json: Any, _symtab: Any = None) -> "Datum":
        """The Datum of a value in the notation of RFC 7047, 5.1, its maps as ``shrink`` made them.
        """
        if type(json) is list and json[0] == "set":
            return Datum(type_, _set([_atom(atom) for atom in json[1]]))
        if type(json) is list and json[0] == "map":
            return Datum(type_, {_atom(key): _atom(value) for key, value in json[1]})
        return Datum(type_, json if type(json) is Map else _atom(json))

    @staticmethod
    def default(type_: Any) -> "Datum":
        """The default value of a column of this type."""
        if type_.n_min == 0:
            return Datum(type_, {} if type_.is_map() else [])
        atom = type_.key.type.default
        return Datum(type_, ("uuid", str(atom)) if isinstance(atom, UUID) else atom)

    def copy(self) -> "Datum":
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Datum):
            return bool(self.values == other.values)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def diff(self, other: "Datum") -> "Datum":
        """This value after a difference, ``other``: ovsdb-server(7), 4.1.14, <row-update2>."""
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

    def atoms(self) -> List[Any]:
        """The atoms of a column that is no map."""
        return self.values if isinstance(self.values, list) else [self.values]

    def to_json(self) -> Any:
        """The value in the notation of RFC 7047, 5.1."""
        if isinstance(self.values, dict):
            return ["map", sorted(list(pair) for pair in self.values.items())]
        if isinstance(self.values, list):
            return ["set", self.values]
        return self.values


def _atom(json: Any) -> Any:
    if isinstance(json, str):
        # Thousands of rows have the same few strings.
        return sys.intern(json) if len(json) < LONG else json
    return tuple(json) if isinstance(json, list) else json


def _set(atoms: List[Any]) -> Any:
    return atoms[0] if len(atoms) == 1 else atoms


class Columns(ovs.db.idl.ColumnDefaultDict):
    """A row's columns: dict name -> Datum. A column that is not in the dict has its default."""

    __slots__ = ()

    def __missing__(self, column: str) -> Datum:
        return defaults(self._table)[column]


def defaults(table: Any) -> Dict[str, Datum]:
    """The default of each column of an ovs.db.idl.IdlTable; the table keeps these defaults."""
    kept: Dict[str, Datum] = table.__dict__.get("defaults")
    if kept is None:
        kept = table.__dict__["defaults"] = {
            name: Datum.default(column.type) for name, column in table.columns.items()}
    return kept


class Row(object):
    """A row that can be read, and not written to."""

    __slots__ = ("uuid", "_table", "_data")

    def __init__(self, _idl: Any, table: Any, uuid: UUID, data: Any,
                 _persist_uuid: bool = False) -> None:
        self.uuid = uuid
        self._table = table
        self._data = data

    @classmethod
    def from_json(cls, idl: Any, table: Any, uuid: UUID, json: Dict[str, Any]) -> "Row":
        """A row of the old values in an update, for Idl.notify()."""
        return cls(idl, table, uuid, {
            name: Datum.from_json(table.columns[name].type, value)
            for name, value in json.items() if name in table.columns})

    def __getattr__(self, column: str) -> Any:
        # The library reads its own table of databases, _Server, by these attributes.
        if column.startswith("_") or column not in self._table.columns:
            raise AttributeError(column)
        datum = self._data[column]
        scalar = datum.type.is_map() or datum.type.n_min == datum.type.n_max == 1
        return datum.values if scalar else datum.atoms()


def as_json(row: Row) -> Dict[str, Any]:
    """A row in the server's notation (RFC 7047, 5.1)."""
    columns = {column: row._data[column].to_json() for column in row._table.columns}
    columns["_uuid"] = ["uuid", str(row.uuid)]
    return columns


class _Module(object):
    """Stands in for ovs.db.data, the library's module of values, in ovs.db.idl."""

    Datum = Datum


def use() -> None:
    """Let the library's Idl keep its rows by these classes, in the whole process."""
    ovs.db.idl.data = _Module
    ovs.db.idl.ColumnDefaultDict = Columns
    ovs.db.idl.Row = Row
