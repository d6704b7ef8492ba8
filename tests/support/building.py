"""Functions that build the bundle and the RPM from a copy of the checkout."""
import os
import shutil
import subprocess
import sys

from support.constants import ROOT

DOWNLOADS = os.path.join(ROOT, "build", "vendor")
DATE = 1700000000
PARTS = ("packaging", "dom0-install.sh", "dom0-install.d", "hotplug", "xenvif_tagger", "docs",
         "README.md", "CHANGELOG.md", "LICENSE")


def run(*command, **options):
    """Run a command; returns ``(exit status, stdout, stderr)``."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, universal_newlines=True, **options)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, output, errors


def must(*command, **options):
    status, output, errors = run(*command, **options)
    assert status == 0, "%r: %s%s" % (command, output, errors)
    return output


def environment(**variables):
    return dict({"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent",
                 "GIT_AUTHOR_DATE": "%d +0000" % DATE, "GIT_COMMITTER_DATE": "%d +0000" % DATE},
                **variables)


def commit_copy(directory, **written):
    """Make a repository in a directory, with one commit of DATE.

    The commit has PARTS of the checkout, and the files of `written` (dict: path -> content).
    """
    files = must("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "--",
                 *PARTS).splitlines()
    for name in files:
        source, target = os.path.join(ROOT, name), os.path.join(directory, name)
        if os.path.isfile(source):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(source, target)
            os.chmod(target, 0o700 if os.stat(source).st_mode & 0o100 else 0o600)
    for name, content in written.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
            stream.write(content)
    for command in (["init", "-q"], ["add", "-A"],
                    ["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "t"]):
        must("git", *command, cwd=directory, env=environment())
    return directory


def clone(repository, directory):
    """Clone the repository as a user with other settings than ours would."""
    must("sh", "-c", 'umask 077 && git clone -q "$1" "$2"', "sh", repository, directory,
         env=environment())
    return directory


def bundle(root, output, *options, **variables):
    """Build the bundle of the repository in root; returns the bundle's path."""
    env = dict(os.environ)
    env.pop("SOURCE_DATE_EPOCH", None)
    env.update(variables)
    return must(sys.executable, os.path.join(root, "packaging", "bundle"), "--output", output,
                "--downloads", DOWNLOADS, *options, env=env, cwd="/").strip()


def rpm(root, output):
    """Build the RPM of the repository in root; returns the RPM's path."""
    return must(os.path.join(root, "packaging", "rpm"), "--output", output, "--downloads",
                DOWNLOADS, env=dict(os.environ, PYTHON=sys.executable)).strip()
