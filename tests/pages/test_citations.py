"""Every section of docs/design.md that a file cites is there, in code, tests and pages.

A citation of a section has the form `docs/design.md 4.5`; of a rule in a section,
`docs/design.md 4.5, 8` (or "rule 8"); of a promise, `docs/design.md 3, P3`.
"""
import io
import os
import re

import pytest


def _root():
    place = os.path.dirname(os.path.abspath(__file__))
    while not os.path.exists(os.path.join(place, "setup.py")):
        place = os.path.dirname(place)
    return place


ROOT = _root()
DESIGN = "docs/design.md"
# files() also skips folders whose names begin with a dot or end in .egg-info.
NOT_OURS = ("build", "dist", "__pycache__")

_SECTION = r"\d+(?:\.\d+)*"
# After the page's name come sections, and then rules of the last section, or promises.
CITATION = re.compile(
    r"docs/design\.md (?P<sections>%s(?:(?:,| to| and) \d+\.\d+)*)"
    r"(?P<rules>(?:(?:,|, rules?| to| and) \d+\b(?!\.\d))*)"
    r"(?P<promises>(?:[,:] P\d+)*)" % _SECTION)


def files():
    """The paths of the project's files but this one: a sorted list, relative to ROOT."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS
                      and not name.startswith(".") and not name.endswith(".egg-info")]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return sorted(set(found) - {os.path.relpath(os.path.abspath(__file__), ROOT)})


def text_of(name):
    """A file's text; '' if the file is not text in UTF-8, or can't be read."""
    try:
        with io.open(os.path.join(ROOT, name), encoding="utf-8") as stream:
            return stream.read()
    except (UnicodeDecodeError, OSError):
        return ""


def places(page):
    """The sections, rules and promises of a page: a set of texts like "4.5", "4.5, 8" and "P3"."""
    found, section = set(), None
    for line in page.split("\n"):
        heading = re.match(r"#+ (%s) " % _SECTION, line)
        rule = re.match(r"(\d+)\. ", line)
        promise = re.match(r"\| (P\d+) \|", line)
        if heading:
            section = heading.group(1)
            found.add(section)
        elif rule and section:
            found.add("%s, %s" % (section, rule.group(1)))
        elif promise:
            found.add(promise.group(1))
    return found


def cited(text):
    """The citations in a text: a list, in the form of places(). A citation may go over the end of
    a line."""
    found = []
    for match in CITATION.finditer(re.sub(r"\s*\n\s*(?:# )?", " ", text)):
        sections = re.findall(_SECTION, match.group("sections"))
        found += sections
        found += ["%s, %s" % (sections[-1], rule)
                  for rule in re.findall(r"\d+", match.group("rules"))]
        found += re.findall(r"P\d+", match.group("promises"))
    return found


@pytest.mark.parametrize("text, found", [
    ("(docs/design.md 4.5).", ["4.5"]),
    ("see docs/design.md 4: all", ["4"]),
    ("(docs/design.md 4.5, 8)", ["4.5", "4.5, 8"]),
    ("(docs/design.md 4.6, 4.7)", ["4.6", "4.7"]),
    ("(docs/design.md 4.4 and 4.5, rule 6)", ["4.4", "4.5", "4.5, 6"]),
    ("docs/design.md 4.5, rules 1 to 5 and 7", ["4.5", "4.5, 1", "4.5, 5", "4.5, 7"]),
    ("(docs/design.md 3: P1, P2)", ["3", "P1", "P2"]),
    ("as\n    # docs/design.md\n    # 4.99 says", ["4.99"]),
    ("[docs/design.md](docs/design.md)", []),
])
def test_the_form_of_a_citation(text, found):
    assert cited(text) == found


def test_each_cited_section_is_in_the_page():
    there = places(text_of(DESIGN))
    missing = ["%s: %s" % (name, place) for name in files() for place in cited(text_of(name))
               if place not in there]
    assert not missing


@pytest.mark.parametrize("section", [
    "1", "2", "2.1", "2.2", "2.3", "2.4", "3", "4", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7",
    "4.8", "4.9", "4.10", "5", "6", "7"])
def test_the_sections_keep_their_numbers(section):
    assert section in places(text_of(DESIGN))


def test_no_removed_page_is_cited():
    old = re.compile(r"\bDESIGN\b|\bdecisions\.md\b")
    left = ["%s:%d" % (name, number) for name in files()
            for number, line in enumerate(text_of(name).split("\n"), 1) if old.search(line)]
    assert not left
