"""Options that come from variables and from the config file, and which source wins."""
import os

import pytest

from support.command import assert_done, assert_error, run
from support.constants import ROOT
from support.printed import printed_changes
from support.zoo import (
    add_pair,
    read_log,
    tag,
)


def test_the_database_by_the_environment(host):
    add_pair(host, 12)
    for env in ({"XENVIF_TAGGER_DB": host.remote}, {"OVS_RUNDIR": host.dir}):
        assert "vif12.0" in assert_done(run("status", env=env)).out


@pytest.mark.parametrize("kind", ["dom", "port", "all"])
@pytest.mark.parametrize("yes", ["1", "true", "yes"])
def test_dry_run_by_the_environment(host, kind, yes):
    add_pair(host, 12)
    before = read_log(host)
    args = ["mirror", kind] + {"dom": ["12"], "port": ["vif12.0"], "all": []}[kind]
    result = assert_done(run(*args, db=host, env={
        "XENVIF_TAGGER_MIRROR_%s_DRY_RUN" % kind.upper(): yes}))
    assert printed_changes(result.out)
    assert read_log(host) == before


def test_a_dry_run_variable_that_is_neither_yes_nor_no(host):
    add_pair(host, 12)
    before = read_log(host)
    result = run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_DRY_RUN": "maybe"})
    assert_error(result, 2, "maybe")
    assert read_log(host) == before


@pytest.mark.parametrize("args, name", [
    (["status"], "STATUS"), (["check"], "CHECK"), (["mirror", "dom", "12"], "MIRROR_DOM"),
    (["mirror", "port", "vif12.0"], "MIRROR_PORT"), (["mirror", "all"], "MIRROR_ALL"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_json_by_the_environment(host, args, name):
    add_pair(host, 12, tap={"tag": 5})
    result = assert_done(run(*args, db=host, env={"XENVIF_TAGGER_%s_JSON" % name: "1"}))
    assert result.pair["domid"] == 12


def test_from_and_wait_by_the_environment(host):
    add_pair(host, 12, tap={"tag": 6})
    assert_done(run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_FROM": "tap"}))
    assert tag(host, "vif12.0") == 6
    result = run("mirror", "dom", 99, db=host, env={"XENVIF_TAGGER_MIRROR_DOM_WAIT": "0"})
    assert_error(result, 1, "domain 99")


def test_quiet_and_verbose_by_the_environment(host):
    add_pair(host, 12)
    result = assert_done(run("status", db=host, env={"XENVIF_TAGGER_QUIET": "1"}))
    assert result.out == ""
    result = assert_done(run("mirror", "dom", 12, db=host, env={"XENVIF_TAGGER_VERBOSE": "1"}))
    assert printed_changes(result.out)


@pytest.mark.parametrize("name, value", [("VERSION", "0.1.0"), ("VERSION", "1"), ("HELP", "1")])
def test_version_and_help_are_no_variables(host, name, value):
    """An installer may well set XENVIF_TAGGER_VERSION for itself."""
    result = assert_done(run("status", "--json", db=host, env={"XENVIF_TAGGER_" + name: value}))
    assert result.pairs == []


@pytest.fixture
def config(tmp_path):
    def write(text, name="conf"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return str(path)

    return write


def test_precedence_of_the_database(config, tmp_path):
    """The order is: option, variable, config file, OVS_RUNDIR, default. No database is there, so
    the error names the database that the command has asked."""
    env = {"OVS_RUNDIR": str(tmp_path / "rundir")}
    assert_error(run("status", env=env), 3, "unix:%s/rundir/db.sock: " % tmp_path)
    env["XENVIF_TAGGER_CONFIG"] = config("[ovsdb]\nremote = unix:/by/config\n")
    assert_error(run("status", env=env), 3, "unix:/by/config: ")
    env["XENVIF_TAGGER_DB"] = "unix:/by/variable"
    assert_error(run("status", env=env), 3, "unix:/by/variable: ")
    assert_error(run("--db", "unix:/by/option", "status", env=env), 3, "unix:/by/option: ")
    other = config("[ovsdb]\nremote = unix:/by/other\n", "other")
    del env["XENVIF_TAGGER_DB"]
    assert_error(run("--config", other, "status", env=env), 3, "unix:/by/other: ")


def test_precedence_of_the_timeout(host, config):
    host.pause()
    env = {"XENVIF_TAGGER_CONFIG": config("[ovsdb]\ntimeout = 0.11\n")}
    assert_error(run("status", db=host, env=env), 3, "0.11 s")
    env["XENVIF_TAGGER_TIMEOUT"] = "0.12"
    assert_error(run("status", db=host, env=env), 3, "0.12 s")
    assert_error(run("--timeout", "0.13", "status", db=host, env=env), 3, "0.13 s")


@pytest.mark.parametrize("how", ["--db", "variable", "config", "OVS_RUNDIR"])
def test_a_relative_remote_begins_at_the_working_directory(host, config, how):
    add_pair(host, 12)
    parent, name = os.path.split(host.dir)
    remote = "unix:%s/db.sock" % name
    args, env = [], {}
    if how == "--db":
        args = ["--db", remote]
    elif how == "variable":
        env = {"XENVIF_TAGGER_DB": remote}
    elif how == "config":
        args = ["--config", config("[ovsdb]\nremote = %s\n" % remote)]
    else:
        env = {"OVS_RUNDIR": name}
    env["PYTHONPATH"] = ROOT
    assert "vif12.0" in assert_done(run(*args + ["status"], cwd=parent, env=env)).out


def test_a_relative_config_file(host, config):
    path = config("[mirror]\nexclude = note\n")
    add_pair(host, 12, vif={"tag": 5, "ids": {"note": "x"}})
    directory, name = os.path.split(path)
    env = {"PYTHONPATH": ROOT}
    assert_done(run("--config", name, "mirror", "all", db=host, cwd=directory, env=env))
    assert tag(host, "tap12.0") == 5 and "note" not in host.interface("tap12.0")["external_ids"]


def test_the_option_beats_the_variable_for_the_config(host, config):
    good = config("# nothing\n", "good")
    assert_done(run("--config", good, "status", db=host, env={
        "XENVIF_TAGGER_CONFIG": "/nonexistent"}))
    assert_error(run("status", db=host, env={"XENVIF_TAGGER_CONFIG": "/nonexistent"}), 2,
                 "/nonexistent")


@pytest.mark.parametrize("text", [
    "", "# only a comment\n\n; and another\n", "[mirror]\n", "[mirror]\r\niface_id = both\r\n",
    "[mirror]\niface_id=one\nexclude = a, b* c\npolicing = yes\n[hold]\nbridges = x y\n"
    "orphan_grace = 1.5\n[plug]\nstock_script = /a\ntimeout = 1\n[ovsdb]\ntimeout = 3\n",
    "[plug]\nstock_script =\n[ovsdb]\nremote =\n", "\ufeff[mirror]\niface_id = both\n",
], ids=["empty", "comments", "section", "CRLF", "all", "no values", "byte order mark"])
def test_good_config_files(host, config, text):
    add_pair(host, 12)
    assert_done(run("--config", config(text), "status", db=host))


@pytest.mark.parametrize("text, line, word", [
    ("[mirror]\n\n# a comment\nifaceid = one\n", 4, "ifaceid"),
    ("[miror]\n", 1, "miror"),
    ("\niface_id = one\n", 2, "iface_id"),
    ("[mirror]\niface_id = two\n", 2, "two"),
    ("[mirror]\npolicing = maybe\n", 2, "maybe"),
    ("[hold]\norphan_grace = -1\n", 2, "-1"),
    ("[hold]\norphan_grace = nan\n", 2, "nan"),
    ("[plug]\ntimeout = soon\n", 2, "soon"),
    ("[plug]\nstock_script = relative\n", 2, "relative"),
    ("[ovsdb]\n\n\ntimeout = 0\n", 4, "0"),
    ("[ovsdb]\ntimeout = 1\ntimeout = 2\n", 3, "timeout"),
    ("[mirror]\njust words\n", 2, "just words"),
    ("[mirror\n", 1, "[mirror"),
    (b"[mirror]\niface_id = \xff\xfe\n", 2, "iface_id"),
    (b"\x7fELF\x02\x01\x01\x00\x00", 1, ""),
    ("[ovsdb]\nremote = nonsense\n", 2, "nonsense"),
])
def test_bad_config_files(host, config, text, line, word):
    add_pair(host, 12)
    before = read_log(host)
    path = config(text)
    for args in (["status"], ["mirror", "all"]):
        result = run(*args, env={"XENVIF_TAGGER_CONFIG": path, "OVS_RUNDIR": host.dir})
        assert_error(result, 2, path, "line %d" % line, word)
    assert read_log(host) == before


def test_a_config_file_with_several_faults_is_one_line(host, config):
    path = config("[mirror]\na = 1\nb = 2\n")
    assert_error(run("--config", path, "status", db=host), 2, "line 2", "line 3")


def test_config_files_that_cannot_be_read(host, tmp_path):
    """No case is a file without read permission, because root can read such a file."""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (str(tmp_path), str(loop), str(tmp_path / "absent"), "/proc/self/mem"):
        assert_error(run("--config", path, "status", db=host), 2, path)


def test_the_default_config_file_may_be_absent(host):
    """On a machine that has the default config file the command reads that file; its remote does
    not matter, because the test gives --db."""
    assert_done(run("status", db=host, env={"XENVIF_TAGGER_CONFIG": None}))
