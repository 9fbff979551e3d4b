"""Loops, task limiters and the end of a process."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusDenied, BusFailed, Refused
from clusterodm.libs.common.process.lifecycle import TaskLimiter, cancel_and_wait, cancellable, run, threaded
from clusterodm.libs.common.process.loop import LoopFailed

REPOSITORY = Path(__file__).parents[4]


@pytest.mark.parametrize("answered", [{"result": 1}, {"exception": TimeoutError()}], ids=["answer", "error"])
async def test_a_cancellation_in_the_moment_of_an_answer_is_not_missed(answered: dict[str, Any]):
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    asking = asyncio.get_running_loop().create_task(cancellable(asyncio.wait_for(answer, 10)))
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
            return await cancellable(asyncio.sleep(0, 7))
        return 0

    cleaning = asyncio.get_running_loop().create_task(clean_up())
    await asyncio.sleep(0)
    cleaning.cancel()
    assert await cleaning == 7


async def test_a_loop_that_misses_a_cancellation_is_cancelled_again():
    missed: list[int] = []

    async def deaf_once() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                missed.append(1)
                if len(missed) > 1:
                    raise

    loop = asyncio.get_running_loop().create_task(deaf_once())
    await asyncio.sleep(0)
    await cancel_and_wait(loop)
    assert len(missed) == 2
    async with TaskLimiter(1) as limiter:
        await limiter.start(deaf_once(), "deaf once")
        await asyncio.sleep(0)
        missed.clear()
    assert len(missed) == 2


async def test_how_a_loop_has_ended_is_nothing_to_who_waits_for_its_end():
    async def fail() -> None:
        raise ValueError("no")

    async def finish() -> int:
        return 1

    await cancel_and_wait(*(asyncio.get_running_loop().create_task(loop) for loop in (fail(), finish())))
    await cancel_and_wait()


async def test_what_blocks_gives_its_result_or_raises_where_it_is_awaited():
    assert await threaded(lambda: threading.current_thread().name, "blocks") == "blocks"
    with pytest.raises(ZeroDivisionError):
        await threaded(lambda: 1 / 0, "blocks")


async def test_what_blocks_is_left_behind_by_a_cancellation():
    go_on, gone_on = threading.Event(), threading.Event()

    def block() -> None:
        go_on.wait(20)
        gone_on.set()

    waiting = asyncio.get_running_loop().create_task(threaded(block, "blocks"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await asyncio.to_thread(gone_on.wait, 20)


async def test_a_task_limiter_works_on_a_bounded_number_at_once():
    at_once: list[int] = []
    limiter = TaskLimiter(2, grace_s=5)

    async def work() -> None:
        at_once.append(len(limiter))
        await asyncio.sleep(0.001)

    async with limiter:
        for _ in range(10):
            await limiter.start(work(), "work")
    assert max(at_once) == 2
    assert len(at_once) == 10


async def test_a_task_limiter_goes_on_when_one_fails():
    done: list[int] = []

    async def fail() -> None:
        raise ValueError("no")

    async def work() -> None:
        done.append(1)

    async with TaskLimiter(1, grace_s=1) as limiter:
        await limiter.start(fail(), "fail")
        await limiter.start(work(), "work")
    assert done == [1]


async def test_leaving_a_task_limiter_cancels_what_takes_too_long():
    canceled: list[int] = []

    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            canceled.append(1)
            raise

    async with TaskLimiter(1, grace_s=0.01) as limiter:
        await limiter.start(sleep(), "sleep")
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


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(BusFailed("no NATS"), 1, "no NATS", id="NATS is away"),
        pytest.param(
            BusDenied("no NATS: it refuses the password"), 78, "no NATS: it refuses the password", id="password"
        ),
        pytest.param(Refused("cannot listen on :3000: Address already in use"), 1, "cannot listen on", id="port taken"),
        pytest.param(OSError(98, "Address already in use"), 1, "Address already in use\n", id="port taken late"),
        pytest.param(
            OSError(28, "No space left on device", "/data/spool"),
            1,
            "/data/spool: No space left on device\n",
            id="disk full",
        ),
        pytest.param(
            PermissionError(13, "Permission denied", "/etc/key"), 1, "/etc/key: Permission denied\n", id="rights"
        ),
        pytest.param(
            LoopFailed("the loop 'x' has failed 5 times: y"), 1, "the loop 'x' has failed 5 times: y", id="loop"
        ),
        pytest.param(OSError("no strerror"), 1, "no strerror", id="plain"),
    ],
)
def test_expected_trouble_is_a_line_and_an_exit_code(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
):
    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            raise error

    assert run(serve(), "test") == code
    said = capsys.readouterr().err
    assert said.startswith(f"test: {line}")
    assert said.count("\n") == 1


def test_what_is_refused_at_the_start_may_have_a_code_of_its_own():
    async def serve() -> None:
        raise Refused("no such bucket")

    assert run(serve(), "test") == 1
    assert run(serve(), "test", refused_code=78) == 78


def test_a_bug_keeps_its_trace():
    async def serve() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(serve(), "test")


SERVICE = """
import asyncio, os, signal, sys, time
from clusterodm.libs.common.process.lifecycle import run, threaded
async def serve():
    {body}
raise SystemExit(run(serve(), "test", {limits}))
"""

TOO_LATE_S = 60
"""For a service to end that is told to, whatever blocks."""


def ran(body: str, limits: str = "") -> subprocess.CompletedProcess[str]:
    """A service in a process of its own, which tells itself to stop."""
    text = SERVICE.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ").strip(), limits=limits)
    command = [sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=TOO_LATE_S, check=False, cwd=REPOSITORY)


def test_a_call_that_blocks_does_not_hold_up_the_end_of_a_process():
    found = ran("""
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await threaded(lambda: time.sleep(100), "blocks")
    """)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_loop_that_cannot_be_closed_does_not_hold_up_the_end_of_a_process():
    found = ran(
        """
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 100)
        """,
        "stop_within_s=90",
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_a_process_that_does_not_stop_in_time_says_where_it_is_and_ends():
    found = ran(
        """
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        """,
        "stop_within_s=0.5",
    )
    assert found.returncode == 1
    assert "Timeout (0:00:00.500000)" in found.stderr
    assert "in serve" in found.stderr or "in run" in found.stderr
