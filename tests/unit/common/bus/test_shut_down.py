"""Shutting down our connections to an address: the right ones, and no descriptor is left behind."""

import os
import socket

import pytest

from clusterodm.libs.common.bus.connection import shut_down


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 names alone


def test_only_connections_to_the_address_are_shut_down_and_nothing_else_is_held() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(server.getsockname()) as one,
        socket.create_connection(other.getsockname()) as two,
    ):
        reads, writes = os.pipe()
        before = descriptors()

        shut_down({server.getsockname()[:2]})

        assert descriptors() == before
        os.close(writes)
        assert os.read(reads, 1) == b""  # nobody else holds its other end
        os.close(reads)
        assert one.recv(1) == b""
        two.sendall(b"x")
        with pytest.raises(BrokenPipeError):
            one.sendall(b"x")
