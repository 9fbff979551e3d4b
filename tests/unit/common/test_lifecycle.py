"""Loops, crews and the end of a process."""

import asyncio
import os
import signal
from typing import Any

import pytest

from libs.common.errors import BusFailed
from libs.common.lifecycle import Crew, background, every, heeding, run


async def test_a_loop_survives_what_it_raises():
    calls: list[int] = []

    async def act() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")
        if len(calls) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await every(0.001, act, "test")
    assert len(calls) == 3


@pytest.mark.parametrize("answered", [{"result": 1}, {"exception": TimeoutError()}], ids=["answer", "error"])
async def test_a_cancellation_in_the_moment_of_an_answer_is_not_missed(answered: dict[str, Any]):
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asking = asyncio.get_running_loop().create_task(heeding(asyncio.wait_for(answer, 10)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for what, value in answered.items():
        getattr(answer, f"set_{what}")(value)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_an_answer_after_a_cancellation_that_was_heard_is_an_answer():
    async def clean_up() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await heeding(asyncio.sleep(0, 7))
        return 0

    cleaning = asyncio.get_running_loop().create_task(clean_up())
    await asyncio.sleep(0)
    cleaning.cancel()
    assert await cleaning == 7


async def test_a_background_loop_ends_with_its_context():
    ended = asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with background(loop(), "test"):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_crew_works_on_a_bounded_number_at_once():
    at_once: list[int] = []
    crew = Crew(2, grace_s=5)

    async def work() -> None:
        at_once.append(len(crew))
        await asyncio.sleep(0.001)

    async with crew:
        for _ in range(10):
            await crew.start(work(), "work")
    assert max(at_once) == 2
    assert len(at_once) == 10


async def test_a_crew_goes_on_when_one_fails():
    done: list[int] = []

    async def fail() -> None:
        raise ValueError("no")

    async def work() -> None:
        done.append(1)

    async with Crew(1, grace_s=1) as crew:
        await crew.start(fail(), "fail")
        await crew.start(work(), "work")
    assert done == [1]


async def test_leaving_a_crew_cancels_what_takes_too_long():
    canceled: list[int] = []

    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            canceled.append(1)
            raise

    async with Crew(1, grace_s=0.01) as crew:
        await crew.start(sleep(), "sleep")
        await asyncio.sleep(0)
    assert canceled == [1]


def test_a_service_that_ends_by_itself_exits_with_0():
    async def serve() -> None:
        await asyncio.sleep(0)

    assert run(serve(), "test") == 0


def test_sigterm_ends_a_service_with_0():
    closed: list[int] = []

    async def serve() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(60)
        finally:
            closed.append(1)

    assert run(serve(), "test") == 0
    assert closed == [1]


@pytest.mark.parametrize("error", [BusFailed("no NATS"), OSError(98, "address in use")])
def test_expected_trouble_is_a_line_and_exit_code_1(error: Exception, capsys: pytest.CaptureFixture[str]):
    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            raise error

    assert run(serve(), "test") == 1
    assert capsys.readouterr().err == f"test: {error}\n"


def test_a_bug_keeps_its_trace():
    async def serve() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(serve(), "test")
