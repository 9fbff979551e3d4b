"""Two scheduler processes over a real nats-server: one leads, one stands by; what happens when the leader goes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.nodes import LIST_NODES, ListNodes
from clusterodm.libs.common.messages.placement import REPORT_FORWARDED, ReportForwarded
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.forked import Process, started
from tests.integration.test_scheduler import BRISK, UPLOAD_OWNER, a_stage
from tests.nats import NatsServer
from tests.waiting import until

pytestmark = pytest.mark.slow

TAKE_OVER_S = 20.0
"""A frozen leader: about six at best."""


class Second:
    """Another scheduler beside the stage's."""

    def __init__(self, url: str, log: Path) -> None:
        self._url = url
        self._log = log
        self.process: Process

    def start(self) -> None:
        flags = [f"--{name}={value}" for name, value in {"nats-url": self._url, **BRISK}.items()]
        with self._log.open("ab") as log:
            self.process = started(["scheduler", *flags], os.environ, log)

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(timeout=20)


@asynccontextmanager
async def standing_by(server: NatsServer, folder: Path) -> AsyncIterator[Second]:
    """Start a second scheduler and wait until it stands by."""
    second = Second(server.url, folder / "second.log")
    await asyncio.to_thread(second.start)
    try:
        await until(lambda: "leadership.awaited" in second.log(), timeout_s=20, what="the second to stand by")
        yield second
    finally:
        await asyncio.to_thread(second.end)


async def answers_again(bus: NatsBus, began_s: float) -> float:
    """Ask until there is an answer; how long that took."""

    async def answered() -> bool:
        try:
            await bus.request(LIST_NODES, ListNodes(), timeout_s=0.5)
        except BusFailed:
            return False
        return True

    await until(answered, timeout_s=30, what="a scheduler to answer")
    return time.monotonic() - began_s


async def epoch_of(bus: NatsBus, task: TaskId) -> int:
    """Read in which term a task was placed."""
    entry = await (await bus.bucket(TASKS)).get(task)
    assert entry is not None
    return entry.value.attempts[-1].epoch


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="told to stop"),
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="frozen"),
    ],
)
async def test_the_other_takes_over(number: signal.Signals, nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(NodeSimProcess(task_time_s=6, parallel_tasks=3))
        stage = await stack.enter_async_context(a_stage(nats_bus, nats_server, tmp_path))
        second = await stack.enter_async_context(standing_by(nats_server, tmp_path))
        await stage.add(node)
        running, sending, waiting = [await stage.commit() for _ in range(3)]
        await stage.forward(running)
        placed = await stage.place(sending)
        assert "scheduler.started" not in second.log()
        began_s = time.monotonic()
        stage.send_signal(number)
        took_s = await answers_again(nats_bus, began_s)
        sys.stdout.write(f"\nthe other scheduler answers {took_s:.1f} s after {number.name}\n")
        assert took_s < (5.0 if number is signal.SIGTERM else TAKE_OVER_S)
        # one that was told to stop still answers what had come before
        await until(lambda: "scheduler.started" in second.log(), timeout_s=TAKE_OVER_S)
        again = await stage.place(sending)
        assert (again.node_task_id, again.attempt) == (placed.node_task_id, placed.attempt)
        assert again.epoch > placed.epoch
        await stage.send(again)
        await nats_bus.request(
            REPORT_FORWARDED, ReportForwarded(task=sending, attempt=1, upload_owner=UPLOAD_OWNER, epoch=again.epoch)
        )
        await stage.forward(waiting)
        assert await epoch_of(nats_bus, waiting) == again.epoch
        for task in (running, sending, waiting):
            done = await stage.until_state(task, TaskState.COMPLETED, timeout_s=30)
            assert len(done.attempts) == 1
        if number is signal.SIGTERM:
            assert await stage.ended() == 0


async def test_a_leader_that_thaws_stands_by_and_touches_nothing(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(NodeSimProcess(task_time_s=2, parallel_tasks=8))
        stage = await stack.enter_async_context(a_stage(nats_bus, nats_server, tmp_path))
        second = await stack.enter_async_context(standing_by(nats_server, tmp_path))
        await stage.add(node)
        tasks = [await stage.commit() for _ in range(4)]
        stage.send_signal(signal.SIGSTOP)
        # These reach the frozen leader only, and lie in its socket until it thaws.
        buried = await asyncio.gather(*map(stage.ask_place, tasks), return_exceptions=True)
        assert all(isinstance(answer, BusFailed) for answer in buried)
        await answers_again(nats_bus, time.monotonic())
        placed = {task: await stage.forward(task) for task in tasks[:2]}
        stage.send_signal(signal.SIGCONT)
        await until(
            lambda: stage.log().count("leadership.awaited") == 2, timeout_s=15, what="the old leader to stand by"
        )
        placed |= {task: await stage.forward(task) for task in tasks[2:]}
        for task in tasks:
            done = await stage.until_state(task, TaskState.COMPLETED, timeout_s=20)
            assert [attempt.node_task_id for attempt in done.attempts] == [placed[task].node_task_id]
        assert "record.conflicted" not in second.log()
        began_s = time.monotonic()
        await asyncio.to_thread(second.end)
        took_s = await answers_again(nats_bus, began_s)
        sys.stdout.write(f"\nthe thawed scheduler leads again {took_s:.1f} s after the other was killed\n")
        assert took_s < TAKE_OVER_S
        assert (await stage.task(tasks[0])).state is TaskState.COMPLETED


async def test_a_scheduler_without_nats_stands_by_and_leads_again(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with NodeSimProcess(task_time_s=1) as node, a_stage(nats_bus, nats_server, tmp_path) as stage:
        await stage.add(node)
        task = await stage.commit()
        placed = await stage.forward(task)
        await asyncio.to_thread(nats_server.stop, signal.SIGKILL)
        await until(lambda: stage.log().count("leadership.awaited") == 2, timeout_s=25, what="the term to end")
        await asyncio.to_thread(nats_server.start)
        took_s = await answers_again(nats_bus, time.monotonic())
        sys.stdout.write(f"\nthe scheduler leads again {took_s:.1f} s after NATS came back\n")
        assert took_s < TAKE_OVER_S
        done = await stage.until_state(task, TaskState.COMPLETED)
        assert [attempt.node_task_id for attempt in done.attempts] == [placed.node_task_id]
        assert stage.running


async def test_a_killed_leader_that_is_started_again_leads_at_once(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with a_stage(nats_bus, nats_server, tmp_path) as stage:
        await stage.end(signal.SIGKILL)
        began_s = time.monotonic()
        await stage.start()
        took_s = time.monotonic() - began_s
        sys.stdout.write(f"\na killed scheduler leads {took_s:.1f} s after it was started again\n")
        assert took_s < TAKE_OVER_S / 2
