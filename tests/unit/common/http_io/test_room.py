"""http_io/room.py: what is put together in memory by many at once stays within one room, and somebody always comes to an end."""

import asyncio
from contextlib import suppress

import pytest

from clusterodm.libs.common.http_io.room import LINE_BYTES, USUAL_BYTES, MemoryRoom, NoRoom, size_of

KB = 1024


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def left(room: MemoryRoom) -> int:
    return int(repr(room).partition("left=")[2].split(" ", 1)[0])


async def test_what_is_usual_is_everybodys_right() -> None:
    room = MemoryRoom(0)
    async with room.share() as one, room.share() as other:
        for share in (one, other):
            await share.add(USUAL_BYTES)
        assert left(room) == 0


async def test_what_is_kept_is_given_back_at_the_end_whatever_it_was() -> None:
    room = MemoryRoom(100 * KB)
    with suppress(ZeroDivisionError):
        async with room.share() as share:
            await share.add(USUAL_BYTES)
            await share.add(60 * KB)
            assert left(room) == 40 * KB
            assert not 1 / 0
    assert left(room) == 100 * KB


async def test_one_may_go_beyond_the_room_and_the_next_waits_until_it_has_ended() -> None:
    room, ended = MemoryRoom(100 * KB), list[str]()

    async def read(name: str, pieces_count: int, goes_on: asyncio.Event) -> None:
        async with room.share() as share:
            await share.add(USUAL_BYTES)
            for _ in range(pieces_count):
                await share.add(50 * KB)
            await goes_on.wait()
            ended.append(name)

    events = [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for number, (count, event) in enumerate(zip((2, 10, 10), events, strict=True)):
            group.create_task(read(str(number), count, event))
            await turns()
        assert (left(room), "waiting=1" in repr(room)) == (-500 * KB, True), "the second is all there, the third waits"
        events[2].set()
        await turns()
        assert ended == []
        events[1].set()
        await turns(50)
        assert ended == ["1", "2"], "it went beyond the room, too, once the other had ended"
        events[0].set()
    assert left(room) == 100 * KB


async def test_who_finds_no_room_in_time_is_told_and_keeps_nothing_more() -> None:
    room = MemoryRoom(10 * KB)
    async with room.share() as beyond, room.share() as late:
        await beyond.add(USUAL_BYTES + 100 * KB)
        await late.add(USUAL_BYTES)
        with pytest.raises(NoRoom, match="no room in memory"):
            await late.add(KB, wait_s=0.01)
        assert left(room) == -90 * KB
        beyond.end()
        await late.add(KB)
    assert repr(room) == f"MemoryRoom(left={10 * KB} waiting=0)"


async def test_who_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    room = MemoryRoom(10 * KB)
    async with room.share() as beyond, room.share() as waits:
        await beyond.add(USUAL_BYTES + 100 * KB)
        waiting = asyncio.get_running_loop().create_task(waits.add(USUAL_BYTES + KB))
        await turns()
        waiting.cancel()
        await turns()
        assert (waiting.cancelled(), "waiting=0" in repr(room)) == (True, True)
    assert left(room) == 10 * KB


def test_lines_take_more_than_their_letters() -> None:
    assert size_of(("abc", "")) == 3 + 2 * LINE_BYTES
