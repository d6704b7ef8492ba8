"""The benchmarks run, and print their tables. No test judges the figures."""
import os
import re
import subprocess
import sys

from support.constants import ROOT


def test_the_benchmark_of_the_commands_runs():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "run.py"), "--quick"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    tables = re.findall(r"^\|---", done.stdout.decode(), re.M)
    assert len(tables) == 3


def test_the_benchmark_of_the_plug_runs():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "plug.py"), "--quick"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert re.search(r"^\| a plug, processes; .*\n.*\n.*\n\| ours \| .*\*\*1\.00\*\*",
                     done.stdout.decode(), re.M)


def test_the_benchmark_of_the_watcher_runs():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "watch.py"), "--quick"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    tables = re.findall(r"^\|---", done.stdout.decode(), re.M)
    assert len(tables) == 12


def test_the_benchmark_of_the_names_runs():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "names.py"), "--quick"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert re.search(r"^\| `status`, with names \| 4 \| 4 \|\n"
                     r"\| `status`, then each VIF asked for \| 17 \| 302 \|$",
                     done.stdout.decode(), re.M)
