"""The man page, as man shows the page, has the whole text of --help."""
import os
import re
import subprocess
import sys

import pytest

from support.command import environment, run
from support.constants import ROOT
from xenvif_tagger import __version__
from xenvif_tagger.host import config

MANUAL = os.path.join(ROOT, "packaging", "manual")


def said(*command, **variables):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment(**variables))
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode()


@pytest.fixture(scope="module")
def source():
    return said(sys.executable, MANUAL, SOURCE_DATE_EPOCH="1700000000")


@pytest.fixture(scope="module")
def page(source, tmp_path_factory):
    """The man page as a person reads it, with one line for each paragraph."""
    path = tmp_path_factory.mktemp("man") / "xenvif-tagger.8"
    path.write_text(source)
    shown = said("man", "--warnings", "--local-file", str(path), MANWIDTH="1000", MANOPT="",
                 MAN_KEEP_FORMATTING=None)
    return re.sub(r"\n\n+", "\n", shown)


def helps(*words):
    """Yields (words, the output of --help) for the command of these words and each command below
    it."""
    text = run(*(words + ("--help",))).out
    yield words, text
    listed = re.search(r"(?ms)^Commands:\n(.*)", text)
    for name in re.findall(r"(?m)^  (\S+)", listed.group(1)) if listed else ():
        for found in helps(*(words + (name,))):
            yield found


def test_man_prints_no_warning(source, tmp_path):
    path = tmp_path / "xenvif-tagger.8"
    path.write_text(source)
    assert said("groff", "-man", "-Tutf8", "-ww", "-z", str(path)) == ""
    assert said("mandoc", "-T", "lint", str(path)) == ""
    assert said("man", "--warnings", "--local-file", "-Tutf8", "-Z", str(path))


def test_each_command_and_option_of_help_is_in_the_page(page):
    names = []
    for words, text in helps():
        start = re.search(r"(?m)^ +%s \[.*$" % " ".join(words) if words else r"(?m)^OPTIONS$", page)
        assert start, words
        section = re.split(r"(?m)^(?:[A-Z]| {3}\S)", page[start.end():])[0]
        for option in re.findall(r"(?m)^  (-.*?)(?:  |$)", text):
            if words and "--help" in option:
                continue
            assert re.search(r"(?m)^ +%s( |$)" % re.escape(option), section), (words, option)
        names.append(" ".join(words))
    assert {"mirror vm", "status", "check", "watch", "doctor"} <= set(names)


def test_the_whole_text_of_help_is_in_the_page(page):
    flat = " ".join(page.split())
    for _, text in helps():
        options = re.split(r"(?m)^  (?=-)", text.split("\nCommands:")[0].split("Options:")[1])[1:]
        for option in options:
            told = re.split(r"  +|\n +", option.strip(), maxsplit=1)[1]
            assert " ".join(told.split()) in flat


def test_sections(page):
    titles = re.findall(r"(?m)^[A-Z][A-Z ]+$", page)
    assert titles == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS",
                      "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
    codes = page[page.index("EXIT STATUS"):page.index("ENVIRONMENT")]
    assert re.findall(r"(?m)^ +(\d) +\S", codes) == ["0", "1", "2", "3"]
    assert "xenvif-tagger %s" % __version__ in page and "2023-11-14" in page
    assert config.DEFAULT_PATH in page


def test_the_pages_variables_are_those_that_the_command_reads(page):
    named = re.findall(r"\bXENVIF_TAGGER_\w+", page)
    options = set(re.findall(r"--([a-z-]+)", run("--help").out.split("Commands:")[0]))
    assert sorted(named) == sorted("XENVIF_TAGGER_" + name.upper().replace("-", "_")
                                   for name in options - {"help", "version"})
    # click reads these variables.
    result = run("status", env={"XENVIF_TAGGER_TIMEOUT": "soon"})
    assert result.code == 2 and "'soon' is not a number" in result.err, result


def test_examples_are_right(page):
    shown = page[page.index("EXAMPLES"):page.index("SEE ALSO")]
    examples = re.findall(r"(?m)^ +xenvif-tagger (.*)$", shown)
    assert len(examples) > 4
    for example in examples:  # wrong usage would end with 2, before the command asks the database
        result = run(*example.split(), env={"XENVIF_TAGGER_DB": "unix:/nowhere"})
        assert result.code == (1 if example == "doctor" else 3), (example, result)


def test_the_page_has_a_command_that_is_added_later(tmp_path):
    """The page has a new group, an option without help, and characters that have a meaning in roff;
    the page has no hidden command."""
    (tmp_path / "new.py").write_text(r'''
import importlib.machinery, importlib.util, sys
import click
loader = importlib.machinery.SourceFileLoader("manual", sys.argv.pop(1))
manual = importlib.util.module_from_spec(importlib.util.spec_from_loader("manual", loader))
loader.exec_module(manual)

@manual.cli.cli.group()
def pool():
    """All hosts."""

@pool.command()
@click.option("--odd", metavar="A\\B")
def look():
    """.begins with a dot, and 'a quote'

    \b
    shown as
      it is
    """

@manual.cli.cli.command(hidden=True)
def secret():
    """Not for people."""

sys.stdout.write(manual.page())
''')
    source = said(sys.executable, str(tmp_path / "new.py"), MANUAL)
    path = tmp_path / "xenvif-tagger.8"
    path.write_text(source)
    assert said("mandoc", "-T", "lint", str(path)) == ""
    page = said("man", "--warnings", "--local-file", str(path), MANWIDTH="100")
    assert re.search(r"(?m)^ +pool look \[OPTIONS\]\n +\.begins with a dot, and 'a quote'$", page)
    assert "--odd A\\B" in page and "All hosts." in page and "secret" not in page
    assert re.search(r"(?m)^ +shown as\n +it is$", page)
