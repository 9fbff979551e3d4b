"""How a consumer is asked for pages."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.bus.pages import FETCH_S, PAGE_COUNT, Pull, pages_from
from tests.waiting import TurnedLoop, passed

NO_MORE = SimpleNamespace(headers={"Status": "404"})


class Server:
    """A consumer with so many messages, which delivers as soon as it is asked, and so many at most."""

    def __init__(self, count: int, *, gone: int = 0, silent: bool = False) -> None:
        self.left = list(range(count))
        self.asked: list[tuple[str, int]] = []
        self._gone_count = gone
        """So many of the last are deleted before they are read."""
        self._silent = silent
        self._deliver: Callable[[Any], Awaitable[None]]

    async def pull(self) -> Pull:
        everything: Any = self
        pull = Pull(everything, "S", "c")
        await pull.begin()
        return pull

    # --- what is asked of nats-py

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, inbox: str, *, cb: Callable[[Any], Awaitable[None]]) -> Any:
        del inbox
        self._deliver = cb
        return self

    async def publish(self, subject: str, payload: bytes, *, reply: str) -> None:
        assert reply == "inbox"
        asked = msgspec.json.decode(payload)
        assert asked["no_wait"], "who waits for more than there is waits in vain"
        self.asked.append((subject, asked["batch"]))
        if not self._silent:
            await self._answer(asked["batch"])

    async def _answer(self, count: int) -> None:
        for _ in range(min(count, len(self.left) - self._gone_count)):
            number = self.left.pop(0)
            metadata = SimpleNamespace(num_pending=len(self.left))
            await self._deliver(SimpleNamespace(headers={"Nats-TTL": "1s"}, data=number, metadata=metadata))
            count -= 1
        if count:
            await self._deliver(NO_MORE)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        pytest.param(0, [], id="nothing is there"),
        pytest.param(3, [3], id="less than a page"),
        pytest.param(PAGE_COUNT, [PAGE_COUNT], id="just a page"),
        pytest.param(2 * PAGE_COUNT + 1, [PAGE_COUNT, PAGE_COUNT, 1], id="several"),
    ],
)
async def test_all_that_is_there_is_read_a_page_at_a_time(count: int, sizes: list[int]):
    server = Server(count)
    pages = [page async for page in pages_from(await server.pull(), count)]
    assert [len(page) for page in pages] == sizes
    assert [message.data for page in pages for message in page] == list(range(count))
    assert server.asked == [("$JS.API.CONSUMER.MSG.NEXT.S.c", PAGE_COUNT)] * len(sizes)


async def test_the_next_page_is_asked_for_before_one_is_read_and_no_other():
    server = Server(4 * PAGE_COUNT)
    pages = pages_from(await server.pull(), 4 * PAGE_COUNT)
    await anext(pages)
    assert len(server.asked) == 2
    await pages.aclose()


async def test_what_is_deleted_while_it_is_read_is_not_waited_for():
    server = Server(PAGE_COUNT + 5, gone=5)
    pages = [page async for page in pages_from(await server.pull(), PAGE_COUNT + 5)]
    assert [len(page) for page in pages] == [PAGE_COUNT]


async def test_a_page_costs_no_task_for_each_message():
    server, before = Server(PAGE_COUNT), asyncio.all_tasks()
    pull = await server.pull()
    await pull.ask(PAGE_COUNT)
    assert asyncio.all_tasks() == before
    assert len(await pull.page()) == PAGE_COUNT


def test_a_server_that_says_nothing_is_waited_for_no_longer_than_that():
    async def waits() -> None:
        pull = await Server(1, silent=True).pull()
        await pull.ask(1)
        async with asyncio.TaskGroup() as both:
            page = both.create_task(refused(pull))
            await passed(FETCH_S - 1)
            assert not page.done()
            await passed(2)
            assert page.done()

    async def refused(pull: Pull) -> None:
        with pytest.raises(TimeoutError):
            await pull.page()

    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(waits())
