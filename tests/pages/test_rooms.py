"""How the tests are laid out: by rooms, and what several of them need is in support/."""
import ast
import os

from support.constants import ROOT


def python_files():
    for directory, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(directory, name)


def imports(path):
    """The last parts of the names of what a file imports."""
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "").rpartition(".")[2]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.name.rpartition(".")[2]


def test_no_test_file_imports_another():
    files = list(python_files())
    tests = {os.path.basename(path)[:-len(".py")] for path in files
             if os.path.basename(path).startswith("test_")} | {"conftest"}
    assert len(tests) > 20
    taken = [(os.path.relpath(path, ROOT), name) for path in files for name in imports(path)
             if name in tests]
    assert taken == []


def test_no_two_test_files_have_one_name():
    """Rooms are no packages, so pytest imports each file by its own name alone."""
    names = [os.path.basename(path) for path in python_files()
             if os.path.basename(path).startswith("test_")]
    assert sorted(names) == sorted(set(names))
