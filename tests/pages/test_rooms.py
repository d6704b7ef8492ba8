"""The layout of the tests: rooms, and support/ for the code that several rooms need."""
import ast
import os

from support.constants import ROOT


def python_files():
    for directory, _, names in os.walk(os.path.join(ROOT, "tests")):
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(directory, name)


def imports(path):
    """The last part of each name that a file imports."""
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
    """The rooms are no packages, so pytest imports each test file by its base name."""
    names = [os.path.basename(path) for path in python_files()
             if os.path.basename(path).startswith("test_")]
    assert sorted(names) == sorted(set(names))
