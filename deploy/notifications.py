"""Hears what the services say by systemd's notify protocol (sd_notify(3)): that they are ready, that they are alive.

One socket for all, with an abstract name that the kernel chooses (unix(7)): nothing is left on the disk, whatever kills whom. The
kernel also says which process has sent something, so nobody else can speak for a service. Linux only: elsewhere a process that
hangs is not noticed.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MESSAGE_BYTES: Final = 4096
CREDENTIALS: Final = struct.Struct("3i")
"""Process, user, group: `struct ucred` of unix(7)."""


@dataclass(frozen=True)
class Notification:
    """What one process has said."""

    pid: int
    ready: bool


class Notifications:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if self.heard:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")

    @property
    def heard(self) -> bool:
        """Whether this system can do it."""
        return sys.platform == "linux"

    @property
    def address(self) -> str:
        """What goes into NOTIFY_SOCKET."""
        name = self._socket.getsockname()
        return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)

    def fileno(self) -> int:
        """Name the descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def read(self) -> Iterator[Notification]:
        """Take everything that has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                said, about, _, _ = self._socket.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(CREDENTIALS.size))
                for level, kind, data in about:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                        yield Notification(CREDENTIALS.unpack(data)[0], ready=b"READY=1" in said.split(b"\n"))
