"""What a process counts, in Prometheus' text format.

Metrics are declared where they are counted, with prometheus-client; this module only serves them on a port of their own
(never on the public one), on loopback unless told otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol, Self

from prometheus_client import Counter


class Count(Protocol):
    """A number that only grows, one for each value of its label."""

    def labels(self, *values: str) -> Self:
        """Choose one of them."""
        ...

    def inc(self, amount: float = 1) -> None:
        """Count."""
        ...


def counter(name: str, said: str, label: str) -> Count:
    """Declare what is counted, once for a process."""
    return Counter(name, said, [label])


def exposition() -> tuple[bytes, bytes]:
    """Write all that is counted in this process: content type, text."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return CONTENT_TYPE_LATEST.encode(), generate_latest()


@cache
def unreadable() -> Count:
    """Count what came over the bus or lay in a store and could not be decoded, by where that was."""
    return counter("clusterodm_unreadable_values", "Values that this version could not decode, and skipped.", "where")


@contextmanager
def served(port: int, bind: str = "127.0.0.1") -> Iterator[None]:
    """Serve `/metrics` while the context is open; port 0: not at all. Raises OSError when the port is taken."""
    if not port:
        yield
        return
    from prometheus_client import start_http_server

    server, thread = start_http_server(port, bind)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
