"""Requests that are sent again: one answer counts, and no failure is left lying about."""

import asyncio
import gc
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.micro.request import Request as MicroRequest

from clusterodm.libs.common.bus.endpoints import endpoint
from clusterodm.libs.common.bus.requests import Requests
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import LIST_NODES, ListNodes, NodeList
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from clusterodm.libs.common.process.lifecycle import TaskLimiter
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
            group.create_task(requests.ask(LIST_TASKS, ListTasks(), timeout_s=60))
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


async def test_who_names_no_reply_subject_is_not_answered(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[ListNodes] = []

    async def handler(asked: ListNodes) -> NodeList:
        done.append(asked)
        return NodeList(nodes=())

    async with TaskLimiter(1, grace_s=1.0) as limiter:
        silent: Any = None
        answer = endpoint(limiter, LIST_NODES, handler, None)
        await answer(MicroRequest(Msg(_client=silent, subject=LIST_NODES.subject, data=b"{}")))

    assert done
    assert "Traceback" not in capsys.readouterr().out
