"""Opening a port, with an error that says which setting to change."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import shown

BOTH_FAMILIES: Final = "::"
"""IPv4 clients are let in here, too, wherever the system can do so."""


def listen(host: str, port: int, flag: str = "", *, backlog: int = 128, shared: bool = False) -> socket.socket:
    """Open a listening socket (port 0: any free one). Raises Refused with one clear line, which names the flag.

    `shared`: other processes may have the port, too; it is only taken, and listens when somebody is there to answer.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == BOTH_FAMILIES and socket.has_dualstack_ipv6()
    try:
        if shared:
            return bound(family, host, port, both=both)
        return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
    except (OSError, OverflowError, UnicodeError) as error:
        setting = f"{flag} {port}: " if flag else ""
        raise Refused(f"{setting}cannot listen on {shown(host, port)}: {reason_of(error)}") from None


def bound(family: socket.AddressFamily, host: str, port: int, *, both: bool) -> socket.socket:
    """Take a port that other processes may have too (SO_REUSEPORT), without listening. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)  # as create_server does
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def reason_of(error: Exception) -> str:
    """Say why a port cannot be had."""
    if isinstance(error, OverflowError):
        return str(error)
    number = getattr(error, "errno", None)  # none: a name that cannot be encoded; negative: one that nobody knows
    return os.strerror(number) if number and number > 0 else "no such address"


@contextmanager
def optional_listener(host: str, port: int, flag: str) -> Iterator[socket.socket | None]:
    """Have a port open while the context is; None for port 0: there is none. Raises Refused with one clear line."""
    if not port:
        yield None
        return
    with listen(host, port, flag) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    """Say which port a socket has got."""
    return int(listener.getsockname()[1])
