"""The order of the package's rooms (docs/architecture.md): a module imports only modules of lower
floors or of its own room, and no modules import each other in a circle."""
import ast
import os

import pytest

from support.constants import ROOT

PACKAGE = "xenvif_tagger"

# The floors, the highest first.
FLOORS = (("__main__",), ("cli",), ("watch", "doctor", "follow", "pool"),
          ("replica", "plug", "xapi"), ("ovsdb", "output"), ("core", "host"))
# The rooms whose __init__.py is empty, because each plug would pay for its imports.
EMPTY = ("core", "host", "ovsdb", "plug")
# A driver reads the database, decides and writes: driver -> all modules that import the driver.
DRIVERS = {"ovsdb.oneshot": {"cli.options", "doctor.database", "plug.hook"},
           # doctor.probe runs the hook and the stock script as a dry run.
           "plug.hook": {"plug.libxl", "plug.stock", "doctor.probe"},
           "plug.stock": {"doctor.probe"}, "plug.libxl": set(),
           "watch.watcher": {"watch.daemon", "watch.control"},
           "watch.daemon": {"cli.main"}}


def sources():
    """The package's modules: name -> (the sub-package of the module, the module's text). A name is
    like "core.port"; the package itself has the name ""."""
    found, top = {}, os.path.join(ROOT, PACKAGE)
    for folder, _, files in os.walk(top):
        room = os.path.relpath(folder, os.path.dirname(top)).replace(os.sep, ".")
        for file in (file for file in files if file.endswith(".py")):
            name = room if file == "__init__.py" else room + "." + file[:-len(".py")]
            with open(os.path.join(folder, file), encoding="utf-8") as stream:
                found[name.partition(".")[2]] = room, stream.read()
    return found


def imports(package, text, names):
    """The set of the modules among `names` that a module's text imports, at any place in the
    text."""
    told = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            told |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[:1] if node.level else []
            base = ".".join(above + [node.module] * bool(node.module))
            told |= {base + "." + alias.name for alias in node.names}
    ours = {each.partition(".")[2] for each in told if each.split(".")[0] == PACKAGE}
    # A name that is not in `names` is a name within a module.
    return {each if each in names else each.rpartition(".")[0] for each in ours} - {""}


def problems(imported):
    """The wrong imports: a list of texts. imported: module (str) -> the modules that it imports
    (set)."""
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    found = []
    for name in sorted(imported):
        room = name.split(".")[0]
        if name and room not in floors:
            found.append("%s is in no room" % name)
            continue
        for other in sorted(imported[name]):
            if other.split(".")[0] != room and floors[other.split(".")[0]] <= floors.get(room, -1):
                found.append("%s imports %s, which is not below it" % (name, other))
            if name not in DRIVERS.get(other, {name}):
                found.append("%s imports %s, a driver" % (name, other))
    return found + ["%s is in a circle" % name for name in circle(imported)]


def circle(imported):
    """The modules that import each other in a circle: sorted list."""
    left = set(imported)
    while True:
        wanted = {other for name in left for other in imported[name]}
        free = {name for name in left if name not in wanted or not imported[name] & left}
        if not free:
            return sorted(left)
        left -= free


@pytest.fixture(scope="module")
def package():
    """The package's modules: name -> the names of the modules that it imports."""
    found = sources()
    return {name: imports(room, text, found) for name, (room, text) in found.items()}


def test_imports_run_downwards(package):
    assert problems(package) == []


def test_each_room_and_driver_is_there(package):
    assert {room for rooms in FLOORS for room in rooms} == {
        name.split(".")[0] for name in package if name}
    for driver, importers in DRIVERS.items():
        assert {name for name in package if driver in package[name]} == importers


@pytest.mark.parametrize("name, text, problem", [
    ("core.port", "from ..ovsdb import rows", "imports ovsdb.rows, which is not below it"),
    ("core.port", "from ..host.paths import NAME", "imports host.paths, which is not below it"),
    ("output.text", "def size():\n    import xenvif_tagger.cli.main",
     "imports cli.main, which is not below it"),
    ("doctor.xapi", "from .. import watch", "imports watch, which is not below it"),
    ("core.mark", "from .port import Port", "is in a circle"),
    ("follow.view", "from ..ovsdb.oneshot import OneShot", "imports ovsdb.oneshot, a driver"),
    ("doctor.ports", "from ..plug import hook", "imports plug.hook, a driver")])
def test_a_wrong_import_is_found(package, name, text, problem):
    room = PACKAGE + "." + name.split(".")[0]
    found = problems(dict(package, **{name: package[name] | imports(room, text, package)}))
    assert "%s %s" % (name, problem) in found


@pytest.mark.parametrize("room", EMPTY)
def test_the_init_file_of_a_room_of_the_plug_path_is_empty(room):
    assert sources()[room][1] == ""
