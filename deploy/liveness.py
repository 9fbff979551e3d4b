"""Signs of life: what the services say by systemd's notify protocol (sd_notify(3)), and what is asked of processes that do not speak it.

One socket hears all, with an abstract name that the kernel chooses (unix(7)): nothing is left on the disk, whatever kills whom. The
kernel also says which process has sent something, so nobody else can speak for a service. Linux only: elsewhere a process that
hangs is not noticed. The others have a port of loopback, which is asked again and again without waiting.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import LOOPBACK

FIRST_EVERY_S: Final = 0.01
"""How often somebody who is starting is asked."""
EVERY_S: Final = 5.0
TIMEOUT_S: Final = 2.0
CHUNK_BYTES: Final = 1 << 16
MOST_BYTES: Final = 1 << 20
OK: Final = b" 200 "

MESSAGE_BYTES: Final = 4096
CREDENTIALS: Final = struct.Struct("3i")
"""Process, user, group: `struct ucred` of unix(7)."""

Answered = Callable[["ProbeAnswer"], None]


@dataclass(frozen=True)
class ProbeAnswer:
    """What was said, whatever it was."""

    content: bytes

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return OK in self.content.partition(b"\r\n")[0] + b" "


class Probe:
    """Asks one port. Whoever accepts connections and says nothing has not answered."""

    def __init__(self, selector: BaseSelector, port: int, path: str, answered: Answered) -> None:
        self._selector = selector
        self._address = (LOOPBACK, port)
        self._request = f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode()
        self._answered = answered
        self._asking: socket.socket | None = None
        self._content = b""
        self._next_at: Instant | None = None
        self._settled = False

    def tick(self, now: Instant) -> None:
        """Ask when it is time; leave a question that has got no answer in time."""
        if self._next_at is not None and now < self._next_at:
            return
        self.leave()
        self._next_at = now + (TIMEOUT_S if self._ask() else FIRST_EVERY_S)

    @property
    def next_at(self) -> Instant | None:
        """When it wants to be called again; None: at once."""
        return self._next_at

    def leave(self) -> None:
        """Ask no more."""
        if self._asking:
            self._selector.unregister(self._asking)
            self._asking.close()
            self._asking = None

    def begin_anew(self) -> None:
        """Ask somebody who has just been started."""
        self.leave()
        self._next_at, self._settled = None, False

    def _ask(self) -> bool:
        asking = socket.socket()
        asking.setblocking(False)
        try:
            asking.connect(self._address)
        except BlockingIOError:
            pass
        except OSError:
            asking.close()
            return False
        self._asking, self._content = asking, b""
        self._selector.register(asking, EVENT_WRITE, self._send)
        return True

    def _send(self, now: Instant) -> None:
        if self._asking:
            try:
                self._asking.send(self._request)
            except OSError:
                self._end(now)
            else:
                self._selector.modify(self._asking, EVENT_READ, self._receive)

    def _receive(self, now: Instant) -> None:
        if not self._asking:
            return
        try:
            chunk = self._asking.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._content += chunk
        if not chunk or len(self._content) > MOST_BYTES:
            self._end(now)

    def _end(self, now: Instant) -> None:
        self.leave()
        answer = ProbeAnswer(self._content)
        self._settled = self._settled or answer.ok
        self._next_at = now + (EVERY_S if self._settled else FIRST_EVERY_S)
        if answer.content:
            self._answered(answer)


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
