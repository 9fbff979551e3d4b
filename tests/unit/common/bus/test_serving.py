"""What is offered over a connection that does not answer fails as the bus does, and what programs may ask holds up nobody else."""

import asyncio
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from clusterodm.libs.common.bus.serving import SERVICES, ProgramsConnection, Room, served
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import LIST_NODES
from tests.waiting import until


class Subscribed:
    """What a subscription is stopped by."""

    async def unsubscribe(self, limit: int = 0) -> None:
        """Stop listening."""

    async def drain(self) -> None:
        """Stop listening."""


class Connection(Client):
    """A connection that listens, and may not hear whether NATS knows."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.silent = silent
        self.subjects: list[str] = []

    async def subscribe(self, subject: str, *_: Any, **__: Any) -> Any:
        """Listen."""
        self.subjects.append(subject)
        return Subscribed()

    async def flush(self, *_: Any, **__: Any) -> None:
        """Wait for NATS."""
        if self.silent:
            raise nats.errors.FlushTimeoutError


class Programs(ProgramsConnection):
    """A connection of programs that waits no longer than a test wants to; None: it never opens."""

    def __init__(self, connection: Connection | None) -> None:
        super().__init__("nats://nowhere", "scheduler", 1.0, Room(at_once_count=1, start_s=0.01))
        self._connection = connection

    async def opened(self) -> Client:
        """Open it."""
        if self._connection is None:
            await asyncio.Event().wait()
        assert self._connection is not None
        return self._connection


async def listed(_: object) -> Any:
    return None


def offered(connection: Connection) -> bool:
    return LIST_NODES.subject in connection.subjects


async def test_what_cannot_be_offered_is_a_failure_of_the_bus() -> None:
    with pytest.raises(BusFailed, match="requests to scheduler cannot be taken"):
        async with served(Connection(silent=True), "scheduler", {LIST_NODES: listed}, None, SERVICES):
            pytest.fail("it is served")


async def test_programs_are_answered_once_their_connection_works_and_nobody_waits_for_that_long() -> None:
    connection = Connection(silent=True)
    async with Programs(connection).served("scheduler", {LIST_NODES: listed}, None):
        assert not offered(connection)
        connection.silent = False
        await until(lambda: offered(connection), timeout_s=10)


async def test_programs_are_answered_at_once_where_their_connection_works() -> None:
    connection = Connection(silent=False)
    async with Programs(connection).served("scheduler", {LIST_NODES: listed}, None):
        assert offered(connection)


async def test_a_connection_that_does_not_open_holds_up_nobody() -> None:
    async with asyncio.timeout(5), Programs(None).served("scheduler", {LIST_NODES: listed}, None):
        pass
