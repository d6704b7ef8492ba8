"""Odd surroundings of the command: locales, closed or full streams, a directory that is gone."""
import os
import re
import signal

import pytest

from support.command import assert_done, assert_error, command, run
from support.zoo import (
    add_pair,
    add_zoo,
    identity,
    tag,
)

LOCALES = {
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": "POSIX"},
    # udev and cron set no locale. The two PYTHON variables make newer Pythons keep the C locale.
    "none": {"LC_ALL": None, "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C, ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "absent": {"LC_ALL": "xx_YY.UTF-8"},
}


@pytest.mark.parametrize("name", sorted(LOCALES))
def test_any_locale(host, name):
    """In the C locale, in which a service may well run, Python 3.6 may encode output as ASCII."""
    value = "naïve – ü 虚 🐧"
    add_pair(host, 12, vif={"tag": 5, "ids": {"xen-vm-name": value, "note": value}})
    add_pair(host, 13, tap={"ids": {"xen-vm-uuid": value}}, vif={"ids": {"xen-vm-uuid": "x"}})
    env = LOCALES[name]
    pairs = assert_done(run("status", "--json", db=host, env=env)).pairs
    assert pairs[0]["vif"]["external_ids"]["note"] == value
    assert_done(run("status", db=host, env=env))
    assert_done(run("mirror", "dom", 13, db=host, env=env), 1)  # the reason has the value's letters
    assert_done(run("mirror", "all", "--dry-run", db=host, env=env))
    assert_done(run("-v", "mirror", "all", db=host, env=env))
    assert host.interface("tap12.0")["external_ids"]["note"] == value
    assert_done(run("--help", env=env))
    argv = [os.fsencode(arg) for arg in command("mirror", "port", db=host)] + ["ü".encode()]
    assert_error(run(argv=argv, env=env), 2)


def by_shell(script, **variables):
    return run(argv=["/bin/bash", "-c", script, "sh"] + variables.pop("args"), env=variables)


def test_a_reader_that_goes_away(host):
    """The output is more than a pipe holds, so the command is still writing when head has ended."""
    host.add_many_ports("xenbr0", [
        {"name": "%s%d.0" % (side, domid), "external_ids": identity(domid),
         "tag": 5 if side == "vif" else None} for domid in range(1, 301) for side in ("vif", "tap")
    ])
    for args in (["status", "--json"], ["status"], ["mirror", "all", "--dry-run"],
                 ["-v", "mirror", "all"]):
        result = by_shell('"$@" | head -n 1', args=command(*args, db=host))
        assert (result.code, result.err, result.out.count("\n")) == (0, "", 1), result
    # The command wrote the tags to the database all the same.
    assert tag(host, "tap1.0") == tag(host, "tap300.0") == 5


@pytest.mark.parametrize("args", [
    ["status"], ["status", "--json"], ["check"], ["mirror", "dom", "14"], ["--help"],
    ["mirror", "--help"], ["--version"]], ids=" ".join)
def test_a_closed_pipe_as_stdout(host, args):
    """The command ends as any filter does, by SIGPIPE, and not with 1, which for check would mean
    that a pair is not as it should be."""
    add_zoo(host, 14)
    script = 'exec 3> >(true); wait $!; "$@" >&3'
    result = by_shell(script, args=command(*args, db=host))
    assert result.err == ""
    assert result.code == 128 + signal.SIGPIPE


@pytest.mark.parametrize("args, code", [
    (["status"], 0), (["status", "--json"], 0), (["check"], 1), (["mirror", "dom", "12"], 0),
    (["mirror", "all", "--json"], 0), (["--help"], 0), (["--version"], 0),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_closed_stdout(host, args, code):
    """Some service managers start a command with stdout closed: the command then prints nothing,
    and its exit code is the same."""
    add_zoo(host, 12)
    result = by_shell('"$@" >&-', args=command(*args, db=host))
    assert (result.err, result.code) == ("", code)
    if args[0] == "mirror":
        assert tag(host, "tap12.0") == 5


@pytest.mark.parametrize("args, code", [
    (["status", "99"], 2), (["bogus"], 2), (["--db", "unix:/nonexistent", "status"], 3)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_closed_stderr(host, args, code):
    assert by_shell('"$@" 2>&-', args=command(*args, db=host)).code == code


@pytest.mark.parametrize("args", [
    ["status", "99"], ["bogus"], ["--db", "unix:/nonexistent", "status"]], ids=" ".join)
def test_a_closed_pipe_as_stderr(host, args):
    """The exit code is neither 0 nor 1, because these codes tell the state of the pairs."""
    result = by_shell('exec 3> >(true); wait $!; "$@" 2>&3', args=command(*args, db=host))
    assert result.code not in (0, 1)


def test_a_working_directory_that_is_gone(host, tmp_path):
    """With an absolute path to the database, the command does not need the working directory. With
    a relative path, the error is about the path of the database, and not about the output."""
    add_zoo(host, 14)
    script = 'cd "$0" && rmdir "$0" && "$@"'
    for remote, code in ((host.remote, 0), ("unix:relative", 3)):
        directory = tmp_path / str(code)
        directory.mkdir()
        argv = ["/bin/bash", "-c", script, str(directory)] + command("status", db=remote)
        result = run(argv=argv)
        if code:
            assert_error(result, code, "relative")
        else:
            assert_done(result)


@pytest.mark.parametrize("args", [["status"], ["status", "--json"], ["mirror", "dom", "12"],
                                  ["--help"], ["--version"]], ids=" ".join)
def test_a_full_disk(host, args):
    add_zoo(host, 12)
    result = by_shell('"$@" >/dev/full', args=command(*args, db=host))
    assert result.code not in (0, 1)
    assert re.match(r"xenvif-tagger: can't write the output: No space left[^\n]*\n\Z",
                    result.err), result


@pytest.mark.parametrize("how", ["2>/dev/full", ">/dev/full 2>&1", "2> >(exec true)", "2>&-"])
def test_the_exit_code_of_an_error_that_can_not_be_printed(host, how):
    """Only the exit code can tell the kind of error."""
    def ended(*args):
        return by_shell('"$@" %s; exit $?' % how, args=list(args)).code

    assert ended(*command("mirror", "dom", 99, db=host)) == 2
    assert ended(*command("status", db="unix:/nowhere")) == 3
    add_pair(host, 12, vif={"tag": 5}, tap={"tag": 6})
    assert ended(*command("-q", "mirror", "dom", 12, db=host)) == 1
