"""Text for a terminal: which characters are shown, how many columns a text takes, and how many
columns the terminal has."""
import os
import shutil
import sys
import textwrap
import unicodedata
from typing import List


def clean(text: str) -> str:
    """The text without characters that would steer the terminal: a guest or an agent may have
    chosen the names and values in the text."""
    return "".join(char if char.isprintable() else "?" for char in text)


def size(text: str) -> int:
    """The columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(char)
               else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def cut(text: str, columns: int) -> str:
    """As much of the beginning of a text as fits into so many columns."""
    for at, char in enumerate(text):
        columns -= size(char)
        if columns < 0:
            return text[:at]
    return text


def fit(text: str, columns: int) -> str:
    """The text in exactly so many columns: padded with spaces, or cut and ended with ``..``."""
    if size(text) > columns:
        text = cut(text, columns - 2) + ".."
    return text + " " * (columns - size(text))


def indented(text: str, width: int) -> List[str]:
    """The text as indented lines, each of at most ``width`` columns (or 40, if that is more)."""
    return textwrap.wrap(clean(text), max(width, 40), initial_indent="    ",
                         subsequent_indent="    ")


def width() -> int:
    """The columns that an output may fill: by the variable COLUMNS, or else the terminal's columns,
    or else 80."""
    return shutil.get_terminal_size((80, 24)).columns


def is_terminal() -> bool:
    """Whether standard output is a terminal whose user wants colours (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
