"""Requests that are sent again: one answer counts, and no failure is left lying about."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from clusterodm.libs.common.bus.connection import close, open_client
from clusterodm.libs.common.bus.endpoints import AnsweringClient
from clusterodm.libs.common.bus.requests import Requests
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import LIST_NODES, REMOVE_NODE, UNLOCK_NODE, NodeRef
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from clusterodm.libs.common.model.values import NodeId
from tests.waiting import until


class SlowServer:
    """A client of NATS whose requests are answered, or fail, when the test says so."""

    is_connected = True

    def __init__(self) -> None:
        self.sent: list[asyncio.Future[Msg]] = []

    async def request(self, subject: str, payload: bytes, **options: Any) -> Msg:
        """Wait for the test."""
        del subject, payload, options
        self.sent.append(asyncio.get_running_loop().create_future())
        return await self.sent[-1]


async def fails(server: SlowServer) -> str:
    """Ask, let a leader come meanwhile, so that it is asked again, and let both attempts fail. What is said of it."""
    requests, said = Requests(cast("Client", server)), ""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(requests.request(LIST_TASKS, ListTasks(), timeout_s=60))
            await until(lambda: len(server.sent) == 1)
            requests.leader_answers(LIST_TASKS.owner)
            await until(lambda: len(server.sent) == 2)
            for each in server.sent:
                each.set_exception(NatsTimeoutError())
    except* BusFailed as failed:
        said = str(failed.exceptions)
    return said


async def test_of_several_failures_one_is_told_and_none_is_complained_about():
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    assert "no answer to scheduler.list_tasks" in await fails(SlowServer())
    for _ in range(3):  # what the loop still holds is let go
        await asyncio.sleep(0)
        gc.collect()
    assert complaints == []


@pytest.mark.parametrize("answered", [0, 1])
async def test_an_answer_counts_also_when_another_attempt_has_just_failed(answered: int):
    """As in a process that was held up: what came meanwhile, and whose time was up, is found at once."""
    for _ in range(10):
        server, reply = SlowServer(), Msg(_client=cast("Client", None), data=b'{"tasks":[],"more":false}')
        requests = Requests(cast("Client", server))
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(requests.request(LIST_TASKS, ListTasks(), timeout_s=60))
            await until(lambda: len(server.sent) == 1)  # noqa: B023 it is waited for at once
            requests.leader_answers(LIST_TASKS.owner)
            await until(lambda: len(server.sent) == 2)  # noqa: B023 same
            server.sent[1 - answered].set_exception(NatsTimeoutError())
            server.sent[answered].set_result(reply)
        assert asked.result().tasks == ()


class Listening:
    """A connection on which somebody listens."""

    def __init__(self) -> None:
        self.heard: Any = None

    async def subscribe(self, subject: str, queue: str, cb: Any) -> None:
        del subject, queue
        self.heard = cb


@pytest.mark.parametrize(
    ("reply", "is_heard"),
    [
        pytest.param("_INBOX.integration.a.b", True, id="an inbox"),
        pytest.param("", False, id="nowhere"),
        pytest.param("$JS.API.STREAM.PURGE.KV_nodes", False, id="an order to NATS"),
        pytest.param("clusterodm.event.task.finished", False, id="an event"),
        pytest.param("_INBOX", False, id="no inbox"),
    ],
)
async def test_a_request_is_heard_when_its_answer_goes_to_an_inbox(reply: str, is_heard: bool) -> None:
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    client: Any = Listening()
    await AnsweringClient(client).subscribe(LIST_NODES.subject, cb=hear)
    await client.heard(Msg(_client=client, subject=LIST_NODES.subject, reply=reply, data=b"{}"))
    assert bool(heard) is is_heard


class Nats:
    """A server of NATS that may go and come: it greets, and keeps what it is sent."""

    def __init__(self) -> None:
        self.port = 0
        self.heard: list[str] = []
        """The subjects of what was published."""
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []

    async def comes(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def goes(self) -> None:
        """Listen no more, and close what is open."""
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.close()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        writer.write(b'INFO {"server_id":"a","version":"2.15.1","proto":1,"headers":true,"max_payload":1048576}\r\n')
        while line := await reader.readline():
            verb, *words = line.split()
            if verb == b"PING":
                writer.write(b"PONG\r\n")
            elif verb == b"HPUB":
                await reader.readexactly(int(words[-1]) + 2)
                self.heard.append(words[0].decode())


@pytest.fixture
async def flaky() -> AsyncIterator[tuple[Nats, Requests]]:
    server, made = Nats(), list[Requests]()
    await server.comes()

    async def back() -> None:
        made[0].reconnected()

    client = await open_client(f"nats://127.0.0.1:{server.port}", "test", 30, back=back)
    made.append(Requests(client))
    await server.goes()
    await until(lambda: not client.is_connected)
    yield server, made[0]
    await server.goes()
    await close(client, 5)


async def test_what_was_asked_in_vain_while_nats_was_away_is_not_done_when_it_is_back(flaky: tuple[Nats, Requests]):
    """An operator was told that nobody answers, and has gone another way since."""
    server, requests = flaky
    with pytest.raises(BusFailed, match=r"no answer to scheduler\.remove_node"):
        await requests.request(REMOVE_NODE, NodeRef(node=NodeId("a")), timeout_s=0.1)
    await server.comes()
    asked = asyncio.get_running_loop().create_task(requests.request(UNLOCK_NODE, NodeRef(node=NodeId("b")), 60))
    await until(lambda: UNLOCK_NODE.subject in server.heard)
    asked.cancel()
    await asyncio.wait([asked])
    assert REMOVE_NODE.subject not in server.heard


async def test_what_waits_for_nats_is_sent_once_when_it_is_back(flaky: tuple[Nats, Requests]):
    server, requests = flaky
    asked = asyncio.get_running_loop().create_task(requests.request(REMOVE_NODE, NodeRef(node=NodeId("a")), 60))
    await server.comes()
    await until(lambda: bool(server.heard))
    asked.cancel()
    await asyncio.wait([asked])
    assert server.heard == [REMOVE_NODE.subject]
