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


def server(host: str, port: int, backlog: int) -> socket.socket:
    """Open a listening socket. Raises OSError."""
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=backlog,
        dualstack_ipv6=host == BOTH_FAMILIES and socket.has_dualstack_ipv6(),
    )


def listen(host: str, port: int, flag: str) -> socket.socket:
    """Open a listening socket (port 0: any free one). Raises Refused with one clear line."""
    try:
        return server(host, port, 128)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)  # none: a name that cannot be encoded; negative: one that nobody knows
        said = os.strerror(number) if number and number > 0 else "no such address"
        raise Refused(f"{flag} {port}: cannot listen on {shown(host, port)}: {said}") from None


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
