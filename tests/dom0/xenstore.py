"""Access for tests to the store behind bin/xenstore, without a process for each key."""

import os
import shutil

TREE = "/run/xenstore"


class Xenstore(object):
    """read(), write(), rm() and list() do as xenstore's commands, but give None for a failure."""

    def __init__(self, namespaces):
        self._namespaces = namespaces

    def read(self, path):
        node = self._node(path)
        if not os.path.isdir(node):
            return None
        try:
            with open(os.path.join(node, ".value"), encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def write(self, path, value):
        os.makedirs(self._node(path), exist_ok=True)
        with open(os.path.join(self._node(path), ".value"), "w", encoding="utf-8") as stream:
            stream.write(str(value))

    def rm(self, path):
        shutil.rmtree(self._node(path), ignore_errors=True)

    def list(self, path):
        if not os.path.isdir(self._node(path)):
            return None
        return sorted(name for name in os.listdir(self._node(path)) if name != ".value")

    def _node(self, path):
        path = path if path.startswith("/") else "/local/domain/0/" + path
        return self._namespaces.path(TREE) + path.rstrip("/")
