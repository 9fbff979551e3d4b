"""What a request and its answer need of their connection, and the socket that it lends."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from clusterodm.libs.http1.lines import Header

if TYPE_CHECKING:
    from clusterodm.libs.common.http_io.cycle import RequestCycle


@dataclass
class LentSocket:
    """A client's socket, lent to who takes the rest of a body straight from it."""

    descriptor: int
    left_bytes: int
    """What is still to come; whoever takes some of it says so here."""
    slow: bool = False
    """Whoever took some found that the client is too slow to be waited for in a thread."""


class CycleConnection(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport

    @property
    def lines(self) -> Sequence[Header]:
        """The lines of every head."""

    @property
    def full(self) -> bool:
        """Whether the client is behind with reading."""

    @property
    def socket_number(self) -> int | None:
        """The descriptor of a connection without TLS."""

    def over(self, cycle: "RequestCycle", *, keeps: bool) -> None:
        """Hear that an answer is complete."""

    def wanted(self) -> None:
        """Hear that more of the body is wanted."""

    def lend_body(self, cycle: "RequestCycle") -> LentSocket | None:
        """Stop reading, when the rest of this request's body is what the socket holds next."""

    def skip_body(self, count_bytes: int) -> None:
        """Go on reading where somebody else has stopped."""

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Read nothing while the context is open."""

    async def drained(self) -> None:
        """Wait until the client has caught up with reading, or has gone."""
