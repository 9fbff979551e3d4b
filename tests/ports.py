"""Ports for servers under test. No two tests are ever given the same one, also when several run side by side.

They lie below those that the kernel gives to outgoing connections, so one that is free stays free. Who was given which is held by a
lock on one byte of a file for each port, until the process of the tests ends, whatever ends it.
"""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

BELOW_EPHEMERAL = range(20_000, 32_000)
_given: set[int] = set()


@cache
def _locks() -> int:
    """Open the file of locks, once for a process: closing any descriptor of it would give them all up."""
    return os.open(Path(tempfile.gettempdir()) / f"clusterodm-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def free_port(*, above: int = 0) -> int:
    """Give out a port that is free and has been given to nobody; with `above`: the one so far above it is free, too."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)
        wanted = {port, port + above}
        if all(each in BELOW_EPHEMERAL and is_free(each) for each in wanted) and all(take(each) for each in wanted):
            return port


def ports_in_a_row(count: int) -> int:
    """Give out so many ports, one after the other; the first."""
    while True:
        first = random.choice(BELOW_EPHEMERAL)
        wanted = range(first, first + count)
        if all(each in BELOW_EPHEMERAL and is_free(each) for each in wanted) and all(take(each) for each in wanted):
            return first


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def take(port: int) -> bool:
    """Note that a port is given out; False when it has been already, here or in another process."""
    if port in _given:
        return False
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True
