"""A program with the user `integration` that asks without end: who leads goes on to lead, and services are answered meanwhile."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client

from clusterodm.deploy.nats_users import INTEGRATIONS
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.bus.layout import KEEPER
from clusterodm.libs.common.messages.catalogue import catalogue
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.tasks import LIST_TASK_IDS, LIST_TASKS, ListTaskIds, ListTasks, TaskIds, TaskList
from tests.nats_users import connected
from tests.waiting import until

pytestmark = pytest.mark.slow

LEASE_S = 10
WORK_S = 0.0003
MANY_COUNT = 300_000
"""What stands in front of the renewal of the lease, where both come over one connection, takes many times as long as the lease lasts."""
IN_TIME_S = 20.0
"""For the answer to a request of a service, while other tests run beside it."""


@asynccontextmanager
async def flooded(url: str, size_bytes: int, count: int) -> AsyncIterator[None]:
    """Have a program ask while the context is open, until it has asked so often."""
    words = ("-m", "tests.nats_flood", url, LIST_TASKS.subject, str(size_bytes), str(count))
    flooding = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        yield
        await flooding.wait()
    finally:
        if flooding.returncode is None:
            flooding.kill()
            await flooding.wait()


@asynccontextmanager
async def led(url: str) -> AsyncIterator[None]:
    """Lead and answer as a scheduler with many tasks does: a list takes the processor a moment. The term must last."""

    async def list_tasks(asked: ListTasks) -> TaskList:
        until_s = time.monotonic() + WORK_S
        while time.monotonic() < until_s:
            pass
        return TaskList(tasks=())

    async def list_ids(asked: ListTaskIds) -> TaskIds:
        return TaskIds(tasks=())

    async with connect(url, KEEPER) as bus:
        await bus.lay_out()
        async with bus.lead(KEEPER, "test", ttl_s=LEASE_S) as term:
            handlers = {LIST_TASKS: list_tasks, LIST_TASK_IDS: list_ids}
            async with bus.serve(KEEPER, handlers, term=term):
                yield
                assert term.valid


@pytest.mark.parametrize(
    ("size_bytes", "count"), [pytest.param(2, MANY_COUNT, id="many"), pytest.param(7_000_000, 40, id="large")]
)
async def test_who_asks_without_end_costs_nobody_the_lease_and_no_service_its_answers(
    urls: dict[str, str], size_bytes: int, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        led(urls[KEEPER]),
        connect(urls["proxy"], "proxy") as proxy,
        connected(urls["integration"]) as (program, _),
    ):
        waited_s = []
        async with flooded(urls["integration"], size_bytes, count):
            for _ in range(20):
                began_s = time.monotonic()
                await proxy.request(LIST_TASK_IDS, ListTaskIds(owner=""), timeout_s=30)
                waited_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.5)
        assert max(waited_s) < IN_TIME_S
        assert "nats.disconnected" not in capsys.readouterr().out
        await until(lambda: answered(program), timeout_s=30, what="programs are answered again")


async def answered(program: Client) -> bool:
    """Whether a program hears an answer at this moment."""
    with suppress(nats.errors.Error):
        said = await program.request(LIST_TASKS.subject, b"{}", timeout=1)
        return said.data == msgspec.json.encode(TaskList(tasks=()))
    return False


def test_what_programs_may_ask_is_marked_so() -> None:
    marked = {each.name for each in catalogue().values() if isinstance(each, Request) and each.for_programs}

    assert marked == {each.name for each in INTEGRATIONS.requests}
