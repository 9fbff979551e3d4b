"""Requests that are sent again: one answer counts, and no failure is left lying about."""

import asyncio
import gc
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from clusterodm.libs.common.bus.endpoints import AnsweringClient
from clusterodm.libs.common.bus.requests import Requests
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import LIST_NODES
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from tests.waiting import until


class SlowServer:
    """A client of NATS whose requests are answered, or fail, when the test says so."""

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
