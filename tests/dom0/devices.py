"""Network devices whose guest side is the test, as QEMU is the guest side of a tap."""

import fcntl
import os
import select
import struct

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h


class Device(object):
    """A tap device of any name, which exists until close(). Make the device inside the
    namespace."""

    def __init__(self, name):
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        try:
            request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(self.fd, TUNSETIFF, request)
        except BaseException:
            self.close()
            raise

    def fileno(self):
        return self.fd

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def send(self, frame):
        """Send a frame as the guest does. The device must be up."""
        os.write(self.fd, frame)

    def receive(self, timeout=0):
        """The frames that have reached the guest since the last call (list of bytes, with their
        802.1Q tags). Waits up to `timeout` seconds for the first frame."""
        frames = []
        while select.select([self.fd], [], [], 0 if frames else timeout)[0]:
            frames.append(os.read(self.fd, 1 << 16))
        return frames
