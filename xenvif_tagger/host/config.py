"""The one reader of the config file: for the commands, the watcher, the hooks and the installer.

The file has ``[section]``, ``key = value``, and comments on lines that begin with ``#`` or ``;``;
nothing else. Lines end with a newline; the blanks round a word are spaces, tabs and carriage
returns. This module does not use configparser: the import of configparser alone takes longer than
we may delay a plug, and configparser does not tell the line number of an unknown key.

Two scripts must find ``[plug] stock_script`` without this module: the hook hotplug/setup-vif-rules
when the package can't be loaded, and hotplug/vif-openvswitch-tagger, which is bash, before Python
starts. The second one also needs ``timeout`` of that section. Each has a few lines for these keys;
tests/install/test_config_readers.py compares their answers with those of this module. (The rules of
the file are so plain that bash can follow them.)
"""
import os

from .paths import parse_remote

MYPY = False
if MYPY:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

    Values = Mapping[Tuple[str, str], Any]  # (section, key): the value, of its type in KEYS

DEFAULT_PATH = "/etc/xenvif-tagger.conf"
BLANK = " \t\r"


class BadValue(ValueError):
    """A value that its key can't have. str() says what the value must be: ``must be ...``."""


def _words(text: str) -> "Tuple[str, ...]":
    return tuple(text.replace(",", " ").split())


def _choice(*words: str) -> "Callable[[str], str]":
    def convert(text: str) -> str:
        if text not in words:
            raise BadValue("must be %s" % " or ".join(words))
        return text
    return convert


def _switch(text: str) -> bool:
    return {"yes": True, "no": False}[_choice("yes", "no")(text)]


def _seconds(text: str) -> float:
    try:
        # (float() also takes "1e0" and ".5", which libxl's hook, in bash, does not.)
        is_plain = set(text) <= set("0123456789.") and text[:1] != "."
        seconds = float(text) if is_plain else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86400:
        raise BadValue("must be a number of seconds, such as 0.5, above 0 and at most 86400")
    return seconds


def _path(text: str) -> str:
    # The hook runs in whichever directory udev chooses, so a relative path could name any file.
    if not os.path.isabs(text):
        raise BadValue("must be an absolute path")
    return text


def _remotes(text: str) -> str:
    try:
        for remote in text.split(","):  # the watcher takes several remotes
            parse_remote(remote)
    except ValueError:
        raise BadValue("must be unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT")
    return text


# (section, key): (the function that turns the text into the value, the default value)
KEYS: "Dict[Tuple[str, str], Tuple[Callable[[str], Any], Any]]" = {
    ("mirror", "iface_id"): (_choice("one", "both"), "one"),
    ("mirror", "exclude"): (_words, ()),
    ("mirror", "policing"): (_switch, False),
    ("hold", "bridges"): (_words, ()),
    ("hold", "orphan_grace"): (_seconds, 30.0),
    ("plug", "stock_script"): (_path, None),
    ("plug", "timeout"): (_seconds, 1.0),
    ("ovsdb", "remote"): (_remotes, None),
    ("ovsdb", "timeout"): (_seconds, 5.0),
}


def parse(text: str) -> "Tuple[Values, List[str]]":
    """Read the text of a config file.

    :returns: ``(values, problems)``: dict (section, key) -> value, and a list of strings, each
        ``line N: the mistake``. A key that is not set, or set to a bad value, has its default.
    """
    values = {key: default for key, (_, default) in KEYS.items()}
    problems: "List[str]" = []
    section: "Optional[str]" = None
    seen: "Set[Tuple[str, str]]" = set()
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(BLANK)
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip(BLANK)
            if not any(known == section for known, _ in KEYS):
                problems.append("line %d: unknown section [%s]" % (number, section))
            continue
        key, equals, value = (part.strip(BLANK) for part in line.partition("="))
        if not equals:
            problems.append("line %d: neither [section] nor key = value: %s" % (number, line))
        elif section is None or (section, key) not in KEYS:
            where = "before any [section]" if section is None else "in [%s]" % section
            problems.append("line %d: unknown key %s %s" % (number, key, where))
        elif (section, key) in seen:
            problems.append("line %d: %s was set above already" % (number, key))
        elif not value:
            pass  # an empty value sets nothing: the file as shipped names every key
        else:
            seen.add((section, key))
            try:
                values[section, key] = KEYS[section, key][0](value)
            except BadValue as error:
                problems.append("line %d: %s = %s: the value %s" % (number, key, value, error))
    return values, problems


def read(path: str) -> "Tuple[Values, List[str]]":
    """Read the config file at ``path``; returns the same as ``parse``.

    :raises OSError: the file can't be read
    """
    with open(path, "rb") as stream:
        return parse(stream.read().decode("utf-8-sig", "replace"))
