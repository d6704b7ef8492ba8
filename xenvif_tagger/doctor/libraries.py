"""`doctor`: checks of Python and the libraries: their versions, and where they are installed."""
import importlib
import os
import sys
import warnings
from types import ModuleType
from typing import Any, Optional, Tuple

from .. import __version__
from ..host.paths import INSTALL, PACKAGE
from ..output.checks import FAIL, OK, WARN
from .host import run
from .patient import Patient, Result


def python(_patient: Patient) -> Result:
    """Whether this Python is new enough."""
    words = "%d.%d.%d, %s; xenvif-tagger %s in %s" % (
        sys.version_info[:3] + (sys.executable, __version__, PACKAGE))
    if sys.version_info < (3, 6):
        return FAIL, words + ": Python 3.6 is the oldest that will do", INSTALL
    return OK, words, None


def python_ovs(_patient: Patient) -> Result:
    """Whether Open vSwitch's Python library is there."""
    directory, version = _library("ovs", "ovs.version")
    if directory is None:
        return FAIL, "the library is not there, so the watcher can't run (%s)" % version, INSTALL
    return OK, "%s, %s, JSON parser in %s" % (
        version, directory, "C" if sys.modules["ovs.json"].PARSER == "C" else "Python"), None


def python_click(_patient: Patient) -> Result:
    """Which click is used. (There is a click, or this command would not run.)"""
    directory, version = _library("click")
    return OK, "%s, %s" % (version, directory), None


def python_xenapi(_patient: Patient) -> Result:
    """Whether XAPI's Python library is there."""
    directory, version = _library("XenAPI")
    if directory is None:
        return WARN, "the library is not there, so VMs' names are not known (%s)" % version, INSTALL
    return OK, "%s, %s" % (version, directory), None


def _library(name: str, version_module: Optional[str] = None) -> Tuple[Optional[str], str]:
    """Import a library.

    :param version_module: the library's module that has VERSION, if there is one
    :returns: ``(the library's directory, its version)``, or ``(None, why the import fails)``
    """
    try:
        module = importlib.import_module(name)
        if name == "ovs":
            importlib.import_module("ovs.json")
        version = None
        if version_module:
            version = getattr(importlib.import_module(version_module), "VERSION", None)
    except Exception as error:  # the import of a broken library may raise anything
        return None, "%s: %s" % (type(error).__name__, error)
    return os.path.dirname(module.__file__ or ""), version or _version(module, name)


def _version(module: ModuleType, name: str) -> str:
    """The version of a library by its module, its distribution or its RPM, in words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # to read click.__version__ warns since click 8.2
            version: Optional[str] = getattr(module, "__version__", None)
        version = version or _of_distribution(module, name)
    except Exception:  # __version__ of newer click looks for the distribution, which may be absent
        version = None
    if not version:  # as in a dom0: XenAPI has no __version__ and no distribution
        output, problem = run(["rpm", "-qf", "--qf", "%{VERSION}", module.__file__ or ""])
        version = None if problem else output.strip()
    return version or "of unknown version"


def _of_distribution(module: ModuleType, name: str) -> Optional[str]:
    """The version of the installed distribution of a name. None if the module does not belong to
    that distribution: there may be two copies of a library, of which pip has installed one."""
    if sys.version_info >= (3, 8):
        metadata: Any = importlib.import_module("importlib.metadata")
        distribution = metadata.distribution(name)
        root = str(distribution.locate_file(""))
    else:
        distribution = importlib.import_module("pkg_resources").get_distribution(name)
        root = distribution.location
    # A library is a file, or a directory with an __init__.py: its parent is one or two levels up.
    folder = os.path.dirname(module.__file__ or "")
    places = [os.path.realpath(place) for place in (folder, os.path.dirname(folder))]
    return str(distribution.version) if os.path.realpath(root) in places else None
