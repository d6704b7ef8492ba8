"""All readers of the config file find the same stock script, however odd the file is.

The watcher, the commands and the installer read the file with host/config.py. The hook when its
package is gone, and libxl's hook in bash, have parsers of their own.
"""
import os
import re
import shutil
import subprocess
import sys

import pytest

from xenvif_tagger.host import config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOTPLUG = os.path.join(ROOT, "hotplug")
BOM = b"\xef\xbb\xbf"

# (the file's text, the stock script that the file names: one of the two scripts A and B, or None)
FILES = [
    (b"", None), (b"\n\r\n \t\n", None), (b"nonsense\n[plug\nstock_script\n= A\n", None),
    (b"[plug]\nstock_script = A\n", b"A"), (b"[plug]\nstock_script=A", b"A"),
    (b"[plug]\r\nstock_script = A\r\n", b"A"), (b"\r\n[plug]\r\nstock_script=A\r", b"A"),
    (b"\t[ plug\t] \n \tstock_script\t = \t A \t\n", b"A"),
    (b" [plug] \r\n stock_script = A \r\n", b"A"),
    (BOM + b"[plug]\nstock_script = A\n", b"A"), (BOM + b"\r\n[plug]\r\nstock_script = A", b"A"),
    # comments, and texts that only look like comments
    (b"[plug]\n# stock_script = A\n;stock_script = A\n  #stock_script = A\n", None),
    (b"[plug]\n#stock_script = B\nstock_script = A\n", b"A"),
    (b"#[plug]\nstock_script = A\n", None),
    (b"[plug] # here\nstock_script = A\n", None), (b"[plug]\nstock_script = A # here\n", None),
    # sections
    (b"stock_script = A\n", None), (b"[mirror]\nstock_script = A\n", None),
    (b"[PLUG]\nstock_script = A\n", None), (b"[plugs]\nstock_script = A\n", None),
    (b"[ovsdb]\nstock_script = B\n[plug]\nstock_script = A\n[hold]\nstock_script = B\n", b"A"),
    (b"[plug]\n[mirror]\nstock_script = A\n", None), (b"[plug]\n[]\nstock_script = A\n", None),
    (b"[plug]\n[mirror\nstock_script = A\n", b"A"),
    (b"[mirror]\n[plug]x\nstock_script = A\n", None),
    (b"[mirror]\n[plug]\n[mirror]\n[plug]\nstock_script = A\n", b"A"),
    (b"[plug]\n[x]=[y]\nstock_script = A\n", None), (b"[mirror]\n[[plug]]\nstock_script=A\n", None),
    # keys
    (b"[plug]\nstock_scripts = A\nstock_scrip = A\nmy stock_script = A\n", None),
    (b"[plug]\nStock_script = A\n", None), (b"[plug]\nstock_script A\n", None),
    (b"[plug]\nstock_script: A\n", None), (b"[plug]\nx = stock_script = A\n", None),
    # a key that is set twice: the first value that is not empty counts
    (b"[plug]\nstock_script = A\nstock_script = B\n", b"A"),
    (b"[plug]\nstock_script =\nstock_script = \t\r\nstock_script = A\n", b"A"),
    (b"[plug]\nstock_script = A\nstock_script =\n", b"A"),
    (b"[plug]\nstock_script = relative\nstock_script = A\n", None),
    (b"[plug]\nstock_script = A\n[plug]\nstock_script = B\n", b"A"),
    # values
    (b"[plug]\nstock_script = relative\n", None), (b"[plug]\nstock_script = \"A\"\n", None),
    (b"[plug]\nstock_script == A\n", None), (b"[plug]\nstock_script = A B\n", None),
    (b"[plug]\nstock_script = $A\n", None), (b"[plug]\nstock_script = \\A\n", None),
    # bytes that are no blanks here, and bytes that are no UTF-8
    (b"[plug]\nstock_script\xc2\xa0= A\n", None), (b"[plug]\nstock_script =\xc2\xa0A\n", None),
    (b"[plug]\nstock_script = A\x0b\n", None), (b"[plug]\n\x0cstock_script = A\n", None),
    (b"[plug]\rstock_script = A\n", None), (b"# \x85\n[plug]\n# x\x85stock_script = B\n", None),
    (b"# \xff \xe9\n[plug]\n# caf\xe9\nstock_script = A\n", b"A"),
    (b"[hold]\nbridges = \xff\xfe\n[plug]\nstock_script = A\n", b"A")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with two stock scripts, and each hook without the package beside it."""
    place = tmp_path_factory.mktemp("readers")
    for name in "stock script", "other":
        script = place / name
        script.write_text("#!/bin/sh\necho \"$0\"\n")
        script.chmod(0o755)
    for name in "setup-vif-rules", "vif-openvswitch-tagger":
        (place / name).mkdir()
        shutil.copy(os.path.join(HOTPLUG, name), str(place / name / name))
    return place


def run(words, **env):
    done = subprocess.run(words, env=dict(os.environ, **env), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    return done.returncode, done.stdout, done.stderr


def by_the_package(path):
    return config.read(path)[0]["plug", "stock_script"]


def by_the_installer(path):
    code, out, err = run(["bash", "-u", "-c", """
        here=$1 path=$2 python=$3
        for file in files config; do . "$here/dom0-install.d/$file.sh"; done
        PYTHON=$python HERE=$here CONFIG=$path
        config_value plug stock_script""", "bash", ROOT, path, sys.executable], ROOT="", LC_ALL="C")
    assert (code, err) == (0, "")
    return out or None


def by_a_hook(*words):
    """A reader: runs a hook, and returns the stock script that the hook runs; None if the hook
    finds none in the config file."""
    def read(path):
        code, out, err = run(list(words), XENVIF_TAGGER_CONFIG=path)
        assert code == 0 or "no stock script" in err, err
        return out.rstrip("\n") or None
    return read


def readers(place):
    return {
        "host/config.py": by_the_package, "config.sh": by_the_installer,
        "setup-vif-rules": by_a_hook(sys.executable, "-I",
                                     str(place / "setup-vif-rules/setup-vif-rules")),
        "vif-openvswitch-tagger": by_a_hook("bash", str(
            place / "vif-openvswitch-tagger/vif-openvswitch-tagger"))}


def test_all_readers_find_the_same_stock_script(place):
    scripts = {b"A": str(place / "stock script"), b"B": str(place / "other")}
    path, wrong = place / "conf", []
    for text, wanted in FILES:
        path.write_bytes(re.sub(b"[AB]", lambda match: scripts[match.group()].encode(), text))
        for name, read in sorted(readers(place).items()):
            # A reader may return a path that is neither A nor B: such a path counts as None.
            found = [letter for letter, script in scripts.items() if script == read(str(path))]
            if found != ([wanted] if wanted else []):
                wrong.append((name, text, found))
    assert wrong == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_file_as_shipped(place, end):
    with open(os.path.join(HOTPLUG, "xenvif-tagger.conf")) as stream:
        text = stream.read()
    script = str(place / "stock script")
    path = place / "conf"
    for name, wanted in ("#stock_script =", None), ("stock_script = " + script, script):
        path.write_bytes(text.replace("#stock_script =", name).replace("\n", end).encode())
        assert config.read(str(path))[1] == []
        for read in readers(place).values():
            assert read(str(path)) == wanted


@pytest.mark.parametrize("text, seconds", [
    ("", "0.900"), ("[plug]\ntimeout = 5\n", "4.500"), ("[plug]\r\ntimeout=0.5\r\n", "0.450"),
    ("[plug]\ntimeout = 2.\nstock_script = /nowhere\ntimeout = 7\n", "1.800"),
    ("[ovsdb]\ntimeout = 9\n", "0.900"), ("[plug]\n#timeout = 9\n", "0.900"),
    ("[plug]\ntimeout = soon\n", "0.900"), ("[plug]\ntimeout = -1\n", "0.900"),
    ("[plug]\ntimeout = .5\n", "0.900"), ("[plug]\ntimeout = 1e0\n", "0.900"),
    ("[plug]\ntimeout = 99999\n", "0.900"), ("[plug]\ntimeout = 86400.5\n", "0.900"),
    ("[plug]\ntimeout = 86400\n", "77760.000"), ("[plug]\ntimeout = 0000008.50\n", "7.650"),
    ("[plug]\ntimeout = 0.0\n", "0.900"), ("[plug]\ntimeout = nan\n", "0.900"),
    ("[plug]\ntimeout = 0.08\n", "0.072"), ("[plug]\nmy timeout = 9\n", "0.900")])
def test_how_long_the_hook_of_libxl_waits(place, text, seconds):
    """The hook waits nine tenths of the time that the package reads from the config."""
    path, stock = place / "conf", place / "vif-openvswitch-tagger" / "vif-openvswitch"
    path.write_text(text)
    stock.write_text("#!/bin/sh\necho $XENVIF_TAGGER_WAIT\n")
    stock.chmod(0o755)
    assert config.read(str(path))[0]["plug", "timeout"] * 0.9 == pytest.approx(float(seconds))
    assert by_a_hook("bash", str(place / "vif-openvswitch-tagger/vif-openvswitch-tagger"))(
        str(path)) == seconds
    stock.unlink()
