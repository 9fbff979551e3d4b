"""What a process counts, in Prometheus' text format.

Metrics are declared where they are counted; this module only serves them on a port of their own (never on the public one), on
loopback unless told otherwise. prometheus-client keeps them. It is imported when somebody counts or asks: every start would wait for
its web server otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from prometheus_client import Counter


class Number(Protocol):
    """A number that only grows."""

    def inc(self, amount: float = 1) -> None:
        """Count."""
        ...


class Count:
    """A number for each value of a label."""

    def __init__(self, name: str, said: str, label: str) -> None:
        self._name = name
        self._said = said
        self._label = label

    def __repr__(self) -> str:
        """Show what is counted."""
        return f"Count({self._name})"

    def labels(self, value: str) -> Number:
        """Choose one of them."""
        return self.kept.labels(value)

    @cached_property
    def kept(self) -> "Counter":
        """The library's own."""
        from prometheus_client import Counter

        return Counter(self._name, self._said, [self._label])


DECLARED: Final[list[Count]] = []
"""All that this process may count."""


def counter(name: str, said: str, label: str) -> Count:
    """Declare what is counted, once for a process."""
    DECLARED.append(Count(name, said, label))
    return DECLARED[-1]


def exposition() -> tuple[bytes, bytes]:
    """Write all that is counted in this process: content type, text."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    keep_all()
    return CONTENT_TYPE_LATEST.encode(), generate_latest()


def keep_all() -> None:
    """Have what was never counted shown, too."""
    for count in DECLARED:
        _ = count.kept


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

    keep_all()
    server, thread = start_http_server(port, bind)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
