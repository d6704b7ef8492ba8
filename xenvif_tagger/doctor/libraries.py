"""`doctor`: the versions of Python and the libraries, and where they are from.

A check takes an examine.Patient and returns (state, what was found, cure).
"""
import importlib
import os
import sys
import warnings

from .. import __version__
from ..host.paths import INSTALL, PACKAGE
from ..output.checks import FAIL, OK, WARN
from .host import run


def python(_patient):
    found = "%d.%d.%d, %s; xenvif-tagger %s in %s" % (
        sys.version_info[:3] + (sys.executable, __version__, PACKAGE))
    if sys.version_info < (3, 6):
        return FAIL, found + ": 3.6 is the oldest that will do", INSTALL
    return OK, found, None


def python_ovs(_patient):
    found, version = _library("ovs", "ovs.version")
    if found is None:
        return FAIL, "not there, so the watcher can't run (%s)" % version, INSTALL
    return OK, "%s, %s, JSON parser in %s" % (
        version, found, "C" if sys.modules["ovs.json"].PARSER == "C" else "Python"), None


def python_click(_patient):
    found, version = _library("click")
    return OK, "%s, %s" % (version, found), None  # without it nobody would have got here


def python_xenapi(_patient):
    found, version = _library("XenAPI")
    if found is None:
        return WARN, "not there, so VMs can't be named (%s)" % version, INSTALL
    return OK, "%s, %s" % (version, found), None


def _library(name, where=None):
    """(its directory, its version), or (None, why it can't be imported)."""
    try:
        module = importlib.import_module(name)
        if name == "ovs":
            importlib.import_module("ovs.json")
        version = getattr(importlib.import_module(where), "VERSION", None) if where else None
    except Exception as error:  # a broken one may raise anything
        return None, "%s: %s" % (type(error).__name__, error)
    return os.path.dirname(module.__file__), version or _version(module, name)


def _version(module, name):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # click's own is deprecated since 8.2
            found = getattr(module, "__version__", None)
        found = found or _of_distribution(module, name)
    except Exception:  # newer click's looks it up, too
        found = None
    if not found:  # dom0's XenAPI does not say
        output, problem = run(["rpm", "-qf", "--qf", "%{VERSION}", module.__file__])
        found = None if problem else output.strip()
    return found or "of unknown version"


def _of_distribution(module, name):
    """The version of the distribution of this name, if the module is from that one."""
    if sys.version_info >= (3, 8):
        distribution = importlib.import_module("importlib.metadata").distribution(name)
        root = str(distribution.locate_file(""))
    else:
        distribution = importlib.import_module("pkg_resources").get_distribution(name)
        root = distribution.location
    # A package, or a single file.
    places = [os.path.dirname(module.__file__), os.path.dirname(os.path.dirname(module.__file__))]
    return distribution.version if os.path.realpath(root) in map(os.path.realpath, places) else None
