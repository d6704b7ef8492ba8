"""Ctrl-C while the command is still being loaded."""
import os
import shutil
import signal
import subprocess
import sys

import pytest

from support.constants import LONG, ROOT

SLOW = "import time\nprint('loading', flush=True)\ntime.sleep(%d)\n" % LONG


@pytest.mark.parametrize("words", [
    [sys.executable, "-I", "hotplug/xenvif-tagger"], [sys.executable, "-m", "xenvif_tagger"],
    [sys.executable, "-c", "import sys; sys.path.insert(0, ''); from xenvif_tagger.__main__ "
     "import run; run()"]], ids=["installed", "module", "console script"])
def test_ctrl_c_while_the_command_is_loaded(tmp_path, words):
    """No traceback, and not exit status 1, by which check says that ports are not alike (Python 3.6
    exits with 1 after an uncaught KeyboardInterrupt)."""
    for part in "hotplug", "xenvif_tagger":
        shutil.copytree(os.path.join(ROOT, part), str(tmp_path / part))
    (tmp_path / "click.py").write_text(SLOW)
    with subprocess.Popen(words + ["check"], cwd=str(tmp_path), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"loading\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LONG)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_is_ignored_where_our_parent_has_it_ignored(tmp_path):
    """As by nohup or a shell's "&"."""
    done = subprocess.run(
        [sys.executable, "-c", "import signal, xenvif_tagger.__main__ as entry\n"
         "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
         "try:\n    entry.run()\n"
         "finally:\n    print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)", "--version"],
        cwd=ROOT, stdout=subprocess.PIPE)
    assert done.stdout.endswith(b"True\n")
