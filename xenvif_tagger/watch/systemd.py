"""A service's messages to the systemd that has started it: sd_notify(3), by the standard library.

If no systemd has started the service, NOTIFY_SOCKET is not set, and no message is sent.
"""
import os
import socket
from typing import Optional


def notify(text: str) -> bool:
    """Send a message to systemd; returns whether it was sent, and never raises.

    text: lines VARIABLE=VALUE, as "READY=1" or "STATUS=synced\\nWATCHDOG=1".
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):  # not set, or vsock:, which systemd gives to VMs only
        return False
    if path[0] == "@":
        path = "\0" + path[1:]  # the name of an abstract socket, not a file (unix(7))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A systemd that does not read must not block us: if its queue is full, send() raises.
            sender.setblocking(False)
            sender.connect(path)
            sender.send(text.encode("utf-8", "backslashreplace"))
    except (OSError, ValueError):  # ValueError: a NUL in the path, on some versions
        return False
    return True


def watchdog_seconds() -> Optional[float]:
    """The seconds between two WATCHDOG=1: half of the time after which systemd takes this process
    for hung; None if systemd does not watch this process (sd_watchdog_enabled(3): WATCHDOG_PID
    names the process that systemd watches).
    """
    try:
        if int(os.environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return None
        limit = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return limit / 2e6 if limit > 0 else None
