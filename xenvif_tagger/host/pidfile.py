"""The pidfile, by which ``ovs-appctl -t xenvif-tagger`` and ``status`` find the watcher."""
import errno
import fcntl
import os
from typing import Optional, TextIO


class Pidfile(object):
    """A file with our pid, which we keep locked: ovs-appctl takes a pidfile without a lock for that
    of a dead daemon (openvswitch/ovs lib/daemon-unix.c, read_pidfile)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: Optional[TextIO] = None

    def take(self) -> bool:
        """Lock the file and write our pid into it, unless a living process has it locked.

        :returns: whether this process has the pidfile
        :raises OSError: the file can't be written
        """
        if self._file is not None:
            if _is_same(self._file, self.path):
                return True
            self._file.close()  # somebody has removed the file
            self._file = None
        stream = open(self.path, "a+")
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        # Another watcher may have removed the file between our open() and our lock.
        if not _is_same(stream, self.path):
            stream.close()
            return self.take()
        self._sweep(stream)
        stream.truncate(0)
        stream.write("%d\n" % os.getpid())
        stream.flush()
        self._file = stream
        return True

    def _sweep(self, stream: TextIO) -> None:
        """Remove the control socket of a watcher that was killed: the pidfile still has the pid of
        that watcher, which is part of the socket's name."""
        stream.seek(0)
        pid = stream.read(32).strip()
        if pid.isdigit():
            try:
                os.unlink("%s.%s.ctl" % (self.path[:-len(".pid")], pid))
            except OSError:
                pass

    def drop(self) -> None:
        """Remove the pidfile, if this process has it."""
        if self._file is not None:
            if _is_same(self._file, self.path):
                os.unlink(self.path)
            self._file.close()
            self._file = None


def _is_same(stream: TextIO, path: str) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def running(path: str) -> Optional[int]:
    """The pid of the living process that has locked the pidfile at ``path``; or None."""
    try:
        with open(path, "r+") as stream:
            try:
                fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(stream.read(32))
    except (OSError, ValueError):
        pass
    return None


def lost_directory(path: str) -> Optional[str]:
    """The directory of the pidfile at ``path``, if that directory does not exist; else None.
    Without the directory nobody can know whether a watcher runs."""
    directory = os.path.dirname(path)
    return None if os.path.isdir(directory) else directory
