"""Standard error as an outlet of the watcher's log."""
import os
import select
import subprocess
import sys

from support.constants import ROOT

WRITER = """
import logging, os, sys
from xenvif_tagger.watch.outlets import Stderr
outlet = Stderr()
for line in sys.stdin:
    outlet.emit(logging.LogRecord("", logging.INFO, "", 0, line.rstrip(), (), None))
    print(outlet.dropped, flush=True)
"""


def test_the_line_after_a_cut_off_line_begins_anew():
    """The pipe has room only for the beginning of a line: the next line does not continue that
    beginning."""
    reader, writer = os.pipe()
    filled = 0
    os.set_blocking(writer, False)
    try:
        while True:
            filled += os.write(writer, b"x" * select.PIPE_BUF)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    assert len(os.read(reader, select.PIPE_BUF)) == select.PIPE_BUF
    with subprocess.Popen([sys.executable, "-c", WRITER], stdin=subprocess.PIPE, cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)

        def log(line):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        assert log(b"a" * 2 * select.PIPE_BUF) == 1
        left = filled
        while left:
            left -= len(os.read(reader, left))
        assert log(b"next") == 1
        process.stdin.close()
        rest = b""
        while True:
            more = os.read(reader, 65536)
            if not more:
                break
            rest += more
    os.close(reader)
    told, line = rest.split(b"\n")[1:3]
    assert rest.startswith(b"\n") and told.endswith(b"1 lines were dropped here: nobody took them")
    assert line == b"next"
