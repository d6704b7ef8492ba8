"""The parser of the config file: a text gives values and problems."""
import pytest

from xenvif_tagger.host import config

DEFAULTS = {
    ("mirror", "iface_id"): "one", ("mirror", "exclude"): (), ("mirror", "policing"): False,
    ("hold", "bridges"): (), ("hold", "orphan_grace"): 30.0,
    ("plug", "stock_script"): None, ("plug", "timeout"): 1.0,
    ("ovsdb", "remote"): None, ("ovsdb", "timeout"): 5.0}


@pytest.mark.parametrize("text", [
    "", "\n\n", "# all is a comment\n; this too\n  # and this\n", "[mirror]\n[hold]\n",
    "[mirror]\niface_id =\nexclude=\npolicing = \n[hold]\nbridges =\n"])
def test_a_config_that_sets_nothing_has_the_defaults(text):
    assert config.parse(text) == (DEFAULTS, [])


@pytest.mark.parametrize("section,line,value", [
    ("mirror", "iface_id = both", "both"), ("mirror", "iface_id=one", "one"),
    ("mirror", "exclude = a b", ("a", "b")), ("mirror", "exclude = a,b*, c", ("a", "b*", "c")),
    ("mirror", "exclude = x=y", ("x=y",)),
    ("mirror", "policing = yes", True), ("mirror", "  policing =   no  ", False),
    ("hold", "bridges = xenbr0 xenbr1", ("xenbr0", "xenbr1")),
    ("hold", "orphan_grace = 0.5", 0.5), ("hold", "orphan_grace = 86400", 86400.0),
    ("plug", "stock_script = /usr/libexec/xenopsd/setup-vif-rules",
     "/usr/libexec/xenopsd/setup-vif-rules"),
    ("plug", "timeout = 2", 2.0), ("ovsdb", "timeout = 10", 10.0),
    ("ovsdb", "remote = tcp:[::1]:6640", "tcp:[::1]:6640")])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_value(section, line, value, end):
    key = line.partition("=")[0].strip()
    values, problems = config.parse("[%s]%s%s%s" % (section, end or "\n", line, end))
    assert problems == []
    assert values == dict(list(DEFAULTS.items()) + [((section, key), value)])


@pytest.mark.parametrize("text,number,said", [
    ("[miror]\n", 1, "unknown section [miror]"),
    ("[DEFAULT]\n", 1, "unknown section [DEFAULT]"),
    ("\n[mirror]\nifaceid = one\n", 3, "unknown key ifaceid in [mirror]"),
    ("[mirror]\nbridges = xenbr0\n", 2, "unknown key bridges in [mirror]"),
    ("[mirror]\nPolicing = yes\n", 2, "unknown key Policing in [mirror]"),
    ("policing = yes\n", 1, "unknown key policing before any [section]"),
    ("[mirror]\npolicing\n", 2, "neither [section] nor key = value"),
    ("[mirror\n", 1, "neither [section] nor key = value"),
    ("[mirror]\npolicing = yes\npolicing = yes\n", 3, "set above already"),
    ("[mirror]\npolicing = yes\n[hold]\n[mirror]\npolicing = no\n", 5, "set above already"),
    ("[mirror]\niface_id = all\n", 2, "must be one or both"),
    ("[mirror]\npolicing = true\n", 2, "must be yes or no"),
    ("[hold]\norphan_grace = 0\n", 2, "above 0"), ("[hold]\norphan_grace = -1\n", 2, "above 0"),
    ("[hold]\norphan_grace = soon\n", 2, "number of seconds"),
    ("[hold]\norphan_grace = nan\n", 2, "number of seconds"),
    ("[hold]\norphan_grace = inf\n", 2, "number of seconds"),
    ("[plug]\ntimeout = 86401\n", 2, "at most 86400"),
    ("[ovsdb]\nremote = /run/db.sock\n", 2, "unix:PATH"),
    ("[ovsdb]\nremote = tcp:127.0.0.1:99999\n", 2, "tcp:HOST:PORT"),
    ("[ovsdb]\nremote = unix:/run/db.sock,tcp:::1:6640\n", 2, "tcp:HOST:PORT"),
    ("[plug]\nstock_script = setup-vif-rules\n", 2, "must be an absolute path")])
def test_a_wrong_value_is_a_problem_with_its_line_and_leaves_the_default(text, number, said):
    values, problems = config.parse(text)
    assert len(problems) == 1
    assert problems[0].startswith("line %d: " % number) and said in problems[0]
    if "set above" in said:  # of two values for one key, the first counts
        assert values.pop(("mirror", "policing")) is True
        values["mirror", "policing"] = False
    assert values == DEFAULTS


def test_every_problem_is_found_and_the_right_values_are_used():
    values, problems = config.parse("[x]\ny = 1\n[mirror]\npolicing = yes\nz = 1\nexclude = a\n")
    assert [problem.split(":")[0] for problem in problems] == ["line 1", "line 2", "line 5"]
    assert values["mirror", "policing"] is True and values["mirror", "exclude"] == ("a",)


def test_a_file(tmp_path):
    path = tmp_path / "conf"
    path.write_bytes(b"[hold]\n# caf\xe9\nbridges = xenbr0\n")
    values, problems = config.read(str(path))
    assert problems == [] and values["hold", "bridges"] == ("xenbr0",)
    with pytest.raises(FileNotFoundError):
        config.read(str(tmp_path / "none"))
