"""Descriptors of sockets, and what the kernel says of them."""

import asyncio
import os
import socket
from array import array
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ


def duplicated(descriptor: int) -> socket.socket:
    """Make a socket of a second descriptor of one; none is left behind where it is no socket. Raises OSError."""
    second = os.dup(descriptor)
    try:
        return socket.socket(fileno=second)
    except OSError:
        os.close(second)
        raise


def untaken_bytes(transport: asyncio.WriteTransport) -> int:
    """Say how much of what was written the other side has not taken: what the transport keeps, and the kernel, where that says so (tcp(7), SIOCOUTQ).

    The kernel asks for more only when a good part of its room is free, a megabyte perhaps: by the transport alone a slow reader stands still for minutes.
    """
    kept = array("i", [0])
    opened = None if transport.is_closing() else transport.get_extra_info("socket")
    if opened is not None:
        with suppress(OSError):
            ioctl(opened.fileno(), TIOCOUTQ, kept)
    return transport.get_write_buffer_size() + kept[0]
