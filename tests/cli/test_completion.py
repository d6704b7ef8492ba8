"""Completion in real shells: each shell runs on a terminal, and the test types TAB."""
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from support.command import environment, run
from support.constants import LONG, ROOT

HOTPLUG = os.path.join(ROOT, "hotplug")
PROMPT = "ready> "
# At the first TAB, bash-completion sources the file that has the command's name, with its output
# thrown away, and then has bash complete the line again. This script does the same.
LOADER = '''PS1='%s'
_load() { [ -f "$DIR/$1" ] && . "$DIR/$1" >/dev/null 2>&1 && return 124; }
complete -D -F _load
bind 'set bell-style none'
bind 'set show-all-if-ambiguous on'
bind 'set enable-bracketed-paste off'
''' % PROMPT
ZSHRC = '''PROMPT='%s'
unsetopt zle_bracketed_paste prompt_cr prompt_sp
fpath=("$DIR" $fpath)
autoload -U compinit
compinit -u -D
setopt no_beep no_always_last_prompt
''' % PROMPT


class Shell(object):
    """An interactive shell on a terminal; until() waits for the shell's output."""

    def __init__(self, argv, env, cwd):
        self.terminal, slave = pty.openpty()
        self.process = subprocess.Popen(["setsid", "--ctty"] + argv, env=env, cwd=cwd,
                                        stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.shown = ""

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def until(self, pattern):
        """Wait until the pattern is in the output that follows the last match; returns the
        match."""
        end = time.monotonic() + LONG
        while True:
            found = re.search(pattern, self.shown, re.S)
            if found:
                self.shown = self.shown[found.end():]
                return found
            ready = select.select([self.terminal], [], [], max(end - time.monotonic(), 0))[0]
            assert ready, "no %r in %r" % (pattern, self.shown)
            self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\x07\r]", "", os.read(
                self.terminal, 1 << 16).decode(errors="replace"))

    def line(self, typed, wanted):
        """Check that the shell completes the typed text to the wanted text; then clear the
        line."""
        self.type(typed)
        self.until(wanted)
        self.type("\x15\n")
        self.until(PROMPT)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def home(tmp_path):
    """A directory with the command, with the completions under the names that the shells look for,
    and with one file whose name the shells can complete."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/xenvif-tagger").write_text(
        '#!/bin/sh\nexec "%s" -m xenvif_tagger "$@"\n' % sys.executable)
    (tmp_path / "bin/xenvif-tagger").chmod(0o755)
    (tmp_path / "dir").mkdir()
    for name, kind in (("xenvif-tagger", "bash"), ("_xenvif-tagger", "zsh")):
        (tmp_path / "dir" / name).symlink_to(os.path.join(HOTPLUG, "completion." + kind))
    (tmp_path / "some-file.conf").write_text("")
    (tmp_path / "bashrc").write_text(LOADER)
    (tmp_path / ".zshrc").write_text(ZSHRC)
    return tmp_path


@pytest.fixture(params=["bash", "zsh"])
def shell(request, home):
    argv = {"bash": ["bash", "--noprofile", "--rcfile", str(home / "bashrc"), "-i"],
            "zsh": ["zsh", "-o", "NO_GLOBAL_RCS", "-i"]}[request.param]
    made = Shell(argv, environment(
        PATH="%s:%s" % (home / "bin", os.environ["PATH"]), DIR=str(home / "dir"), TERM="xterm",
        ZDOTDIR=str(home), HOME=str(home)), str(home))
    try:
        made.until(PROMPT)
        yield made
    finally:
        made.close()


def test_commands_options_and_values_are_completed(shell):
    # At the first TAB, the shell also loads the file of the completion.
    shell.line("xenvif-tagger mirr\t", "mirror $")
    shell.line("xenvif-tagger mirror po\t", "mirror port $")
    shell.line("xenvif-tagger mirror all --dr\t", "--dry-run $")
    shell.line("xenvif-tagger mirror all --from v\t", "--from vif $")
    shell.line("xenvif-tagger --db unix:/nowhere check --js\t", "check --json $")


def test_the_choices_of_an_option_are_shown(shell):
    shell.type("xenvif-tagger mirror \t")
    found = shell.until("mirror .*all.*dom.*port.*vm").group()
    assert "Traceback" not in found


def test_domains_and_ports_of_the_database_are_completed(shell, ovs):
    ovs.add_bridge("br0")
    for name in ("vif12.0", "tap12.0", "vif7.0", "eth0"):
        ovs.add_port("br0", name, {})
    start = "xenvif-tagger --db %s " % ovs.remote
    shell.line(start + "mirror port tap\t", r"port tap12\.0 $")
    shell.line(start + "mirror dom 1\t", "dom 12 $")
    shell.line(start + "status 7\t", "status 7 $")
    shell.type(start + "mirror port \t")
    shell.until(r"mirror port .*tap12\.0\s+vif12\.0\s+vif7\.0\s")


@pytest.mark.parametrize("remote", ["unix:/nowhere", "nonsense", "unix:"])
@pytest.mark.parametrize("words", ["mirror port v", "mirror dom 1", "status 1"])
def test_no_database_no_completion(remote, words):
    words = "xenvif-tagger --db %s %s" % (remote, words)
    result = run(env={"_XENVIF_TAGGER_COMPLETE": "bash_complete", "COMP_WORDS": words,
                      "COMP_CWORD": str(len(words.split()) - 1)})
    assert (result.code, result.out.strip(), result.err) == (0, "", "")


def test_names_of_files_are_completed(shell):
    shell.line("xenvif-tagger --config some-\t", r"some-file\.conf $")


def test_a_command_that_fails_prints_nothing_at_a_completion(shell, home):
    (home / "bin/xenvif-tagger").write_text("#!/bin/sh\necho oops >&2\nexit 1\n")
    shell.type("xenvif-tagger mirr\t")
    shell.type("X\n")  # the shell reads this key only after the completion
    shown = shell.until("xenvif-tagger mirrX(.*?)%s" % PROMPT).group(1)
    assert shown.strip() == "oops"  # from the run of the command, and not from the completion


def test_bash_of_dom0(home):
    """bash can source the script without output, and the script uses only features of bash 4.2,
    the bash of dom0."""
    path = str(home / "dir/xenvif-tagger")
    done = subprocess.run(["bash", "--norc", "-uec", '. "$1"; complete -p xenvif-tagger', "bash",
                           path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, b"complete -F _xenvif_tagger xenvif-tagger\n")


@pytest.mark.parametrize("instruction, words, answer", [
    ("bash_complete", "xenvif-tagger mirror p", "plain,port\n"),
    ("zsh_complete", "xenvif-tagger mirror p",
     "plain\nport\nMirror the port NAME and its sibling.\n")])
def test_the_protocol(instruction, words, answer):
    """The installed click, of whatever version, answers in the form that the two scripts read."""
    result = run(env={"_XENVIF_TAGGER_COMPLETE": instruction, "COMP_WORDS": words,
                      "COMP_CWORD": "2"})
    assert (result.code, result.out, result.err) == (0, answer, "")


@pytest.mark.parametrize("variables", [{}, {"COMP_WORDS": "xenvif-tagger", "COMP_CWORD": "x"}])
def test_the_completion_without_a_shells_variables(variables):
    result = run(env=dict(variables, _XENVIF_TAGGER_COMPLETE="bash_complete"))
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert "_XENVIF_TAGGER_COMPLETE=bash_complete: can't be answered" in result.err


def test_an_older_click_has_no_completion(tmp_path):
    (tmp_path / "click_7.py").write_text('''
import sys
sys.modules["click.shell_completion"] = None
from xenvif_tagger.cli.main import main
main()
''')
    done = subprocess.run(
        [sys.executable, str(tmp_path / "click_7.py")], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=environment(_XENVIF_TAGGER_COMPLETE="bash_complete"))
    assert (done.returncode, done.stdout) == (1, b"")
