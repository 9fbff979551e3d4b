"""The stream of events: what a listener is told that begins, comes back, or listens while NATS is away or its stream begins anew."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import NODE_ADDED, NodeEvent
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.ports import StoredEvents
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.live import MOST_COUNT, event_stream, last_of
from tests.waiting import TurnedLoop, passed


class World:
    """A bus whose events may be away, and what a listener hears."""

    def __init__(self) -> None:
        self.bus = FailingBus()
        self.watched = Watched(self.bus)
        self.heard = ""

    async def happens(self, *names: str) -> None:
        for name in names:
            await self.bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId(name)))

    async def listens(self, last: int | None = None) -> None:
        async for piece in event_stream(self.watched, last):
            self.heard += piece

    @property
    def nodes(self) -> list[str]:
        return re.findall(r'"node":"([^"]*)"', self.heard)


class FailingBus(MemoryBus):
    """Gives no events while NATS is away."""

    is_away = False

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        if self.is_away:
            raise BusFailed("NATS is away")
        after = 0 if after > len(self.published) else after  # the stream began anew
        return await super().stored_events(after, most_count)


def played(story: Callable[[World, asyncio.TaskGroup], Awaitable[None]]) -> None:
    """Play a story with a clock that is turned; its listeners end with it."""

    async def play() -> None:
        async with asyncio.timeout(3600):
            try:
                async with asyncio.TaskGroup() as group:
                    await story(World(), group)
                    group.create_task(ended())
            except* StoryOver:
                pass

    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(play())


class StoryOver(Exception):
    """Ends the listeners of a story."""


async def ended() -> None:
    raise StoryOver


def test_who_begins_to_listen_is_told_what_happens_from_then_on() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.happens("before")
        group.create_task(world.listens())
        await passed(0.5, step_s=0.1)
        await world.happens("after")
        await passed(2, step_s=0.1)
        assert world.nodes == ["after"]
        assert "id: 2\nevent: event\n" in world.heard
        assert "event: nodes\n" in world.heard

    played(story)


def test_who_comes_back_is_told_what_it_has_missed() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.happens("a", "b", "c")
        group.create_task(world.listens(last=1))
        await passed(1.5, step_s=0.1)
        assert world.nodes == ["b", "c"]
        assert world.heard.count("event: nodes\n") == 1

    played(story)


def test_who_has_missed_too_much_is_told_the_last_of_it() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.happens(*map(str, range(MOST_COUNT + 50)))
        group.create_task(world.listens(last=0))
        await passed(1.5, step_s=0.1)
        assert world.nodes == [str(number) for number in range(50, MOST_COUNT + 50)]

    played(story)


def test_what_was_there_before_nats_went_is_no_news_when_it_comes_back() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.happens("before")
        world.bus.is_away = True
        group.create_task(world.listens())
        await passed(2.5, step_s=0.1)
        assert "event: away\n" in world.heard
        world.bus.is_away = False
        await passed(1.5, step_s=0.1)
        await world.happens("after")
        await passed(2, step_s=0.1)
        assert world.nodes == ["after"]

    played(story)


def test_what_happens_while_nats_is_away_is_told_when_it_comes_back() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.watched.events.read()
        await world.happens("a")
        await world.watched.events.read()
        world.bus.is_away = True
        group.create_task(world.listens())
        await passed(1.5, step_s=0.1)
        await world.happens("b")
        world.bus.is_away = False
        await passed(1.5, step_s=0.1)
        assert world.nodes == ["b"]

    played(story)


def test_however_much_happens_pages_are_told_to_look_again() -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        group.create_task(world.listens())
        for number in range(7):
            await world.happens(str(number))
            await passed(1, step_s=0.1)
        assert len(world.nodes) >= 6
        assert world.heard.count("event: tick\n") >= 2

    played(story)


@pytest.mark.parametrize("last", [None, 7])
def test_a_stream_that_begins_anew_is_told_from_its_beginning(last: int | None) -> None:
    async def story(world: World, group: asyncio.TaskGroup) -> None:
        await world.happens(*"abcdefg")
        group.create_task(world.listens(last))
        await passed(1.5, step_s=0.1)
        world.bus.published.clear()
        await world.happens("new")
        await passed(1.5, step_s=0.1)
        assert world.nodes == ["new"]
        await world.happens("newer")
        await passed(1.5, step_s=0.1)
        assert world.nodes == ["new", "newer"]

    played(story)


@pytest.mark.parametrize(
    ("header", "last"),
    [("", None), ("7", 7), ("-7", None), ("7 ", None), ("\u0667", None), ("9" * 40, None), ("x", None)],
)
def test_which_event_was_last_is_a_number_or_not_said(header: str, last: int | None) -> None:
    assert last_of(header) == last
