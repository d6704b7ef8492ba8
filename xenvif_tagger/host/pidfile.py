"""The pidfile, by which ``ovs-appctl -t xenvif-tagger`` and ``status`` find the watcher."""
import errno
import fcntl
import os


class Pidfile(object):
    """A file with our pid, locked as ovs-appctl wants it (openvswitch/ovs lib/daemon-unix.c,
    read_pidfile: a file that nobody has locked is a dead daemon's)."""

    def __init__(self, path):
        self.path = path
        self._file = None

    def take(self):
        """Make it ours, unless a living process has it or the directory is not ours to write.

        :returns: whether we have it
        :raises OSError: it can't be written
        """
        if self._file is not None:
            return True
        stream = open(self.path, "a+")
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            stream.close()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        # Who had it may have removed it between our open() and our lock.
        if not _is_same(stream, self.path):
            stream.close()
            return self.take()
        self._sweep(stream)
        stream.truncate(0)
        stream.write("%d\n" % os.getpid())
        stream.flush()
        self._file = stream
        return True

    def _sweep(self, stream):
        """Remove the control socket of a watcher that was killed."""
        stream.seek(0)
        pid = stream.read(32).strip()
        if pid.isdigit():
            try:
                os.unlink("%s.%s.ctl" % (self.path[:-len(".pid")], pid))
            except OSError:
                pass

    def drop(self):
        """Remove it, if it is ours."""
        if self._file is not None:
            if _is_same(self._file, self.path):
                os.unlink(self.path)
            self._file.close()
            self._file = None


def _is_same(stream, path):
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def running(path):
    """The pid of the living process whose pidfile this is (int), or None."""
    try:
        with open(path, "r+") as stream:
            try:
                fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(stream.read(32))
    except (OSError, ValueError):
        pass
    return None
