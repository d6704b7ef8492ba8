"""What a service says to systemd that has started it: sd_notify(3), with the standard library.

Without a systemd (NOTIFY_SOCKET is not set) nothing is said, and nothing is wrong.
"""
import os
import socket


def notify(text):
    """Say it; never raises. True if systemd was told.

    text (str): lines VARIABLE=VALUE, as "READY=1" or "STATUS=synced\\nWATCHDOG=1".
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):  # not there, or AF_VSOCK of newer ones, which only VMs are given
        return False
    if path[0] == "@":
        path = "\0" + path[1:]  # a name, not a file
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A systemd that does not read must not stop us: what does not fit is not said.
            sender.setblocking(False)
            sender.connect(path)
            sender.send(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError):  # ValueError: a NUL in the path, on some versions
        return False
    return True


def watchdog_seconds():
    """How often to say WATCHDOG=1: half of the time after which we count as hung (float), or None
    if nobody is waiting for it. As sd_watchdog_enabled(3): WATCHDOG_PID says whom it is meant for.
    """
    try:
        if int(os.environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
        limit = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return limit / 2e6 if limit > 0 else None
