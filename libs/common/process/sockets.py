"""Descriptors of sockets."""

import os
import socket


def duplicated(descriptor: int) -> socket.socket:
    """Make a socket of a second descriptor of one; none is left behind where it is no socket. Raises OSError."""
    second = os.dup(descriptor)
    try:
        return socket.socket(fileno=second)
    except OSError:
        os.close(second)
        raise
