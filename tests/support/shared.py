"""Files that all workers of one pytest session use, and that only one worker makes."""
import fcntl
import os


def made_once(tmp_path_factory, name, make):
    """The path `name` in the session's temporary directory. The first worker to ask for the path
    calls make(path); the others wait, and must change nothing there."""
    top = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # top is the worker's; its parent is the session's
        top = top.parent
    path = str(top / name)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path + ".made"):
            make(path)
            open(path + ".made", "w").close()
    return path
