"""Text on a terminal: what may be shown of it, how wide it is, and how wide the terminal is."""
import os
import shutil
import sys
import textwrap
import unicodedata


def clean(text):
    """The text without what would steer a terminal: names and values may be anybody's."""
    return "".join(c if c.isprintable() else "?" for c in text)


def size(text):
    """The columns that a text takes on a terminal."""
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
               for c in text)


def cut(text, columns):
    """As much of the beginning of a text as fits into so many columns."""
    for at, char in enumerate(text):
        columns -= size(char)
        if columns < 0:
            return text[:at]
    return text


def fit(text, columns):
    """The text in just so many columns: filled up with spaces, or cut and marked with ``..``."""
    if size(text) > columns:
        text = cut(text, columns - 2) + ".."
    return text + " " * (columns - size(text))


def indented(text, width):
    """The text in lines below what it is about."""
    return textwrap.wrap(clean(text), max(width, 40), initial_indent="    ",
                         subsequent_indent="    ")


def width():
    """Columns of the terminal, or COLUMNS; 80 where there is neither."""
    return shutil.get_terminal_size((80, 24)).columns


def is_terminal():
    """Whether a person looks on, who wants colours (see no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
