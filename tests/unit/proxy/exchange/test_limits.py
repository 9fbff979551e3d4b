"""What is read as a whole costs little, however it is made, and all of it together is bounded."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from random import Random
from typing import ClassVar, Self

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.model.nodes import NodeOption
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.exchange.forms import read_form
from clusterodm.services.proxy.exchange.limits import SHORT_BYTES, BodyLimits, LongBodies, UploadLimiter
from clusterodm.services.proxy.exchange.part_heads import read_head
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.options.check import check_options
from tests.crowds import come_and_go

MEGABYTE = 1 << 20
HEAD_BYTES = 16_000
KNOWN = [NodeOption(f"option-{number}", "int", "0", "", "") for number in range(80)]
IN_TIME_S = 0.4
"""Of the processor; each of these took two to five times as long once, for what one client sends in a moment."""


def attempt(read: Callable[[], object]) -> float:
    """Let something be read or refused, three times; how long the processor worked at least.

    What else a process full of tests does in that time (it collects the garbage of them all) is no part of it.
    """
    took_s: list[float] = []
    for _ in range(3):
        began_s = time.thread_time()
        with contextlib.suppress(Refused):
            read()
        took_s.append(time.thread_time() - began_s)
    return min(took_s)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"a:" + b" " * HEAD_BYTES + b"\x01", id="a line of spaces that is none"),
        pytest.param(
            b'Content-Type: image/jpeg\r\nContent-Disposition: form-data; name="images"; filename="'
            + b"%41" * (HEAD_BYTES // 3)
            + b'!"',
            id="a name that is encoded almost to its end",
        ),
    ],
)
def test_the_head_of_a_part_is_read_in_no_time(head: bytes) -> None:
    assert attempt(lambda: read_head(head)) < IN_TIME_S


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("[" + "{}," * (MEGABYTE // 12) + "{}]", id="many that are none"),
        pytest.param("[" + "1," * (MEGABYTE // 4) + "x]", id="no JSON in the end"),
        pytest.param("[" + "[" * (MEGABYTE // 4), id="no JSON at all"),
    ],
)
def test_options_are_read_in_no_time(options: str) -> None:
    assert attempt(lambda: check_options(options, KNOWN)) < IN_TIME_S


def test_a_fault_far_behind_is_named_near_its_place() -> None:
    text = "[" + "1," * 50_000 + "x]"
    with pytest.raises(Refused, match=f"Unexpected token x in JSON at position {text.index('x')}"):
        check_options(text, KNOWN)


def test_long_bodies_have_so_much_room_together_and_short_ones_always() -> None:
    bodies = LongBodies(room_bytes=3 * SHORT_BYTES)
    bodies.grown(0, 2 * SHORT_BYTES)
    bodies.grown(0, 3 * SHORT_BYTES)
    with pytest.raises(ServerBusy):
        bodies.grown(0, 2 * SHORT_BYTES)
    bodies.grown(0, SHORT_BYTES)

    bodies.gone(3 * SHORT_BYTES)
    bodies.grown(SHORT_BYTES, 2 * SHORT_BYTES)
    bodies.gone(2 * SHORT_BYTES)
    bodies.gone(2 * SHORT_BYTES)
    bodies.grown(0, 4 * SHORT_BYTES)


async def turns() -> None:
    """Let tasks go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_place_among_the_uploads_is_taken_at_once_or_waited_for() -> None:
    limiter, order = UploadLimiter(2, wait_s=10), []

    async def upload(name: str) -> None:
        async with limiter:
            order.append(name)

    assert [limiter.enter() for _ in range(3)] == [True, True, False]
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(upload(name))
        await turns()
        assert (order, limiter.waiting_count) == ([], 3)
        limiter.leave()
        assert not limiter.enter(), "the place is that of the first who waits"
    assert (order, limiter.taken_count, limiter.waiting_count) == (["a", "b", "c"], 1, 0)
    limiter.leave()
    assert limiter.taken_count == 0


async def test_who_has_waited_for_too_long_is_told_to_come_again() -> None:
    limiter = UploadLimiter(1, wait_s=0.01)
    assert limiter.enter()
    with pytest.raises(ServerBusy):
        await limiter.__aenter__()
    assert limiter.waiting_count == 0, "nothing is kept of who has gone, though nobody leaves"
    limiter.leave()
    assert limiter.enter()
    assert (limiter.taken_count, limiter.waiting_count) == (1, 0)


@pytest.mark.parametrize("leaves_first", [True, False], ids=["at the same moment", "before its turn"])
async def test_the_place_of_who_waits_and_is_cut_off_is_the_next_ones(leaves_first: bool) -> None:
    limiter = UploadLimiter(1, wait_s=10)
    assert limiter.enter()
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(limiter.__aenter__()) for _ in range(2))
        await turns()
        if leaves_first:
            limiter.leave()
            first.cancel()
        else:
            first.cancel()
            await turns()
            limiter.leave()
    assert (first.cancelled(), second.cancelled()) == (True, False)
    assert (limiter.taken_count, limiter.waiting_count) == (1, 0)


async def test_others_are_answered_between_two_long_bodies() -> None:
    bodies, order = LongBodies(), []

    async def long() -> None:
        await bodies.turn(2 * SHORT_BYTES)
        order.append("long")

    async def other() -> None:
        for _ in range(12):
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(*(long() for _ in range(4)), other())

    assert "long long" not in " ".join(order)


class Piece(bytes):
    """A piece of a body that counts those that there are."""

    present: ClassVar[list[None]] = []

    def __new__(cls, count_bytes: int) -> Self:
        """Be there."""
        cls.present.append(None)
        return super().__new__(cls, count_bytes)

    def __del__(self) -> None:
        """Be gone."""
        self.present.pop()


class ReadyCycle:
    """A client that has sent everything."""

    ready = True
    low_water_bytes = 0


async def test_nothing_is_kept_of_a_refused_body_while_the_rest_is_read_on() -> None:
    read_count, left_count = 0, -1

    async def receive() -> dict[str, object]:
        nonlocal read_count, left_count
        read_count += 1
        if read_count > 3:
            for _ in range(3):  # the loop ends what was left unfinished
                await asyncio.sleep(0)
            left_count = len(Piece.present)
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": Piece(SHORT_BYTES), "more_body": True}

    async def send(message: object) -> None:
        raise AssertionError(message)

    limits = BodyLimits(together=LongBodies(room_bytes=SHORT_BYTES))
    scope = {"method": "POST", "path": "/", "headers": [], "extensions": {REQUEST_CYCLE: ReadyCycle()}}
    exchange = RequestContext(scope, receive, send, limits)
    try:
        await exchange.body(1 << 20, 1.0)
    except ServerBusy as error:
        await exchange.drain_after(error)
    assert (read_count, left_count) == (4, 0)
    limits.together.grown(0, 2 * SHORT_BYTES)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(b"application/x-www-form-urlencoded", b"&".join(b"%x=" % n for n in range(800)), id="urlencoded"),
        pytest.param(b"application/json", b'{"%s":""}' % b'":"","'.join(b"%x" % n for n in range(400)), id="JSON"),
        pytest.param(
            b"multipart/form-data; boundary=b",
            b"".join(b'--b\r\nContent-Disposition: form-data; name="%x"\r\n\r\n\r\n' % n for n in range(400))
            + b"--b--",
            id="multipart",
        ),
    ],
)
async def test_fields_count_as_what_they_take_however_short_their_body_is(kind: bytes, body: bytes) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: object) -> None:
        raise AssertionError(message)

    def exchange(room_bytes: int) -> RequestContext:
        limits = BodyLimits(together=LongBodies(room_bytes))
        headers = [(b"content-type", kind)]
        scope = {"method": "POST", "path": "/", "headers": headers, "extensions": {REQUEST_CYCLE: ReadyCycle()}}
        return RequestContext(scope, receive, send, limits)

    assert len(await read_form(exchange(1 << 20), 1.0)) >= 400
    with pytest.raises(ServerBusy):
        await read_form(exchange(32 << 10), 1.0)


async def test_uploads_that_need_more_room_than_there_is_all_come_to_their_ends() -> None:
    bodies, ended = LongBodies(room_bytes=4 * SHORT_BYTES, wait_s=10), []

    async def upload(name: str) -> None:
        kept_bytes, is_beyond = 0, False
        for now_bytes in range(SHORT_BYTES, 7 * SHORT_BYTES, SHORT_BYTES):
            is_beyond = is_beyond or await bodies.wait_for_room(kept_bytes, now_bytes)
            bodies.grown(kept_bytes, now_bytes, is_beyond=is_beyond)
            kept_bytes = now_bytes
            await asyncio.sleep(0)
        bodies.gone(kept_bytes, is_beyond=is_beyond)
        ended.append(name)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(upload(name))
    assert sorted(ended) == ["a", "b", "c"]
    bodies.grown(0, 5 * SHORT_BYTES)  # nothing is kept any more
    with pytest.raises(ServerBusy):
        bodies.grown(0, 2 * SHORT_BYTES)


async def test_one_body_at_a_time_goes_beyond_the_room_and_others_wait_for_so_long() -> None:
    bodies = LongBodies(room_bytes=SHORT_BYTES, wait_s=0.01)
    assert await bodies.wait_for_room(0, 4 * SHORT_BYTES)
    bodies.grown(0, 4 * SHORT_BYTES, is_beyond=True)
    with pytest.raises(ServerBusy):
        await bodies.wait_for_room(0, 2 * SHORT_BYTES)
    bodies.grown(0, SHORT_BYTES)  # a short one is everybody's right
    bodies.gone(4 * SHORT_BYTES, is_beyond=True)
    assert not await bodies.wait_for_room(0, 2 * SHORT_BYTES)
    assert await bodies.wait_for_room(0, 3 * SHORT_BYTES), "and now it is another's turn"


class WatchedBodies(LongBodies):
    """Counts how often somebody looks whether there is room."""

    looks_count = 0

    def _has_room(self, before_bytes: int, now_bytes: int) -> bool:
        self.looks_count += 1
        return super()._has_room(before_bytes, now_bytes)


async def test_who_waits_for_room_is_woken_by_nobody_who_gives_none_back() -> None:
    bodies = WatchedBodies(room_bytes=SHORT_BYTES, wait_s=10)
    assert await bodies.wait_for_room(0, 4 * SHORT_BYTES)
    bodies.grown(0, 4 * SHORT_BYTES, is_beyond=True)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(bodies.wait_for_room(0, 2 * SHORT_BYTES)) for _ in range(3)]
        await turns()
        before_count = bodies.looks_count
        for _ in range(100):
            bodies.gone(0)
            bodies.gone(SHORT_BYTES)
            await turns()
        assert bodies.looks_count == before_count
        bodies.gone(4 * SHORT_BYTES, is_beyond=True)
    assert [each.result() for each in waiting] == [False] * 3


async def test_who_keeps_less_than_before_gives_room_to_who_waits() -> None:
    bodies = LongBodies(room_bytes=SHORT_BYTES, wait_s=10)
    assert await bodies.wait_for_room(0, 4 * SHORT_BYTES)
    bodies.grown(0, 4 * SHORT_BYTES, is_beyond=True)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(bodies.wait_for_room(0, 2 * SHORT_BYTES))
        await turns()
        bodies.grown(4 * SHORT_BYTES, SHORT_BYTES, is_beyond=True)
        await turns()
        assert waiting.done()
    assert not waiting.result()


class Uploading:
    """Uploads that take places and room, and how they have ended."""

    def __init__(self, seed: int) -> None:
        self.by_chance = Random(seed)
        self.limiter = UploadLimiter(8, wait_s=0.001)
        self.bodies = LongBodies(room_bytes=8 * SHORT_BYTES, wait_s=0.001)
        self.ended = dict.fromkeys(("well", "put off", "cut off"), 0)

    async def upload(self) -> None:
        kept_bytes, is_beyond = 0, False
        async with self.limiter:
            try:
                for _ in range(self.by_chance.randrange(6)):
                    now_bytes = self.by_chance.randrange(6 * SHORT_BYTES)
                    is_beyond = is_beyond or await self.bodies.wait_for_room(kept_bytes, now_bytes)
                    self.bodies.grown(kept_bytes, now_bytes, is_beyond=is_beyond)
                    kept_bytes = now_bytes
                    await asyncio.sleep(self.by_chance.choice((0, 0, 0.001)))
                await self.bodies.turn(kept_bytes)
            finally:
                self.bodies.gone(kept_bytes, is_beyond=is_beyond)

    async def counted(self) -> None:
        try:
            await self.upload()
        except ServerBusy:
            self.ended["put off"] += 1
        except asyncio.CancelledError:
            self.ended["cut off"] += 1
        else:
            self.ended["well"] += 1


@pytest.mark.parametrize("seed", range(5))
async def test_however_uploads_end_their_places_and_all_of_the_room_are_free_again(seed: int) -> None:
    uploads = Uploading(seed)
    await come_and_go(uploads.counted, uploads.by_chance, 30, cut_share=0.1)
    left = repr(uploads.limiter), repr(uploads.bodies)
    assert left == ("UploadLimiter(0 of 8, 0 wait)", f"LongBodies(left={8 * SHORT_BYTES})")
    assert min(uploads.ended.values()) > 0
