"""The scheduler as a real process, over a real nats-server, with simulated nodes; the test plays the proxy."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY, OPTIONS, SUMMARY, SUMMARY_KEY, TASKS
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.messages.nodes import ADD_NODE, LIST_NODES, REMOVE_NODE, AddNode, ListNodes, NodeRef
from clusterodm.libs.common.messages.placement import (
    FINISH_REPORTED,
    PLACE_TASK,
    PLACEMENT_POSSIBLE,
    RENEW_ATTEMPT,
    REPORT_FORWARDED,
    FinishReported,
    Placed,
    PlacementPossible,
    PlaceTask,
    RenewAttempt,
    ReportForwarded,
    Waiting,
)
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    GET_TASK,
    IMPORT_ROUTE,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SUBMIT_TASK,
    ImportRoute,
    ReadConsole,
    RestartTask,
    SubmitTask,
    TaskRef,
)
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.forked import REPOSITORY, Process, started
from tests.nats import NatsServer
from tests.waiting import PATIENT_S, until

pytestmark = pytest.mark.slow

BRISK = {
    "probe-every-s": 0.2,
    "poll-first-s": 0.1,
    "poll-slow-s": 0.5,
    "clean-every-s": 0.2,
    "tell-every-s": 0.1,
    "retry-first-s": 0.1,
    "commit-settle-s": 0.5,
}
UPLOAD_OWNER = InstanceId("the test")


class Stage:
    """A scheduler process, the bus to speak to it, and a client for the nodes."""

    def __init__(self, bus: NatsBus, url: str, http: httpx.AsyncClient, log: Path, **flags: Any) -> None:
        self.bus = bus
        self.http = http
        self._log = log
        self._flags = {"nats-url": url, **BRISK, **{name.replace("_", "-"): value for name, value in flags.items()}}
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the scheduler and wait until it answers."""
        self._spawn()
        await self.bus.request(LIST_NODES, ListNodes(), timeout_s=20)

    def _spawn(self) -> None:
        flags = [f"--{name}={value}" for name, value in self._flags.items()]
        with self._log.open("ab") as log:
            self._process = started(["scheduler", *flags], os.environ, log)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the scheduler; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return await asyncio.to_thread(self._process.wait, 20)

    def send_signal(self, number: signal.Signals) -> None:
        """Send the scheduler a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, 20)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """Everything that it has logged."""
        return self._log.read_text()

    async def add(self, node: NodeSimProcess, **more: Any) -> str:
        """Register a node and wait until it is online."""
        view = await self.bus.request(ADD_NODE, AddNode(hostname=node.hostname, port=node.port, **more))

        async def online() -> bool:
            nodes = (await self.bus.request(LIST_NODES, ListNodes())).nodes
            return any(known.online for known in nodes if known.id == view.id)

        await until(online, what="the node to be online")
        return view.id

    async def commit(self, images: int = 2) -> TaskId:
        """Commit a task."""
        task = TaskId(str(uuid.uuid4()))
        asked = SubmitTask(task=task, name="test", upload_owner=UPLOAD_OWNER, created_at_ms=1, images_count=images)
        await self.bus.request(SUBMIT_TASK, asked)
        return task

    async def ask_place(self, task: TaskId) -> Any:
        """Ask where it goes."""
        return await self.bus.request(PLACE_TASK, PlaceTask(task=task, upload_owner=UPLOAD_OWNER))

    async def place(self, task: TaskId) -> Placed:
        """Ask until it goes somewhere."""

        async def answer() -> Placed | None:
            found = await self.ask_place(task)
            return found if isinstance(found, Placed) else None

        return await until(answer, what="a place")

    async def send(self, placed: Placed, images_count: int = 2) -> None:
        """Do what a proxy does to get a task onto its node."""
        url, node_task = placed.node.url, placed.node_task_id
        await self.http.post(f"{url}/task/new/init", headers={"set-uuid": node_task}, data={"name": "test"})
        images = [("images", (f"{number}.jpg", b"x" * number)) for number in range(1, images_count + 1)]
        await self.http.post(f"{url}/task/new/upload/{node_task}", files=images)
        answer = await self.http.post(f"{url}/task/new/commit/{node_task}")
        assert answer.json() == {"uuid": node_task}

    async def forward(self, task: TaskId, images: int = 2) -> Placed:
        """Bring a waiting task onto its node, and report that."""
        placed = await self.place(task)
        await self.send(placed, images)
        await self.bus.request(
            REPORT_FORWARDED, ReportForwarded(task=task, attempt=placed.attempt, upload_owner=UPLOAD_OWNER)
        )
        return placed

    async def task(self, task: TaskId) -> Task:
        """Read a task."""
        return (await self.bus.request(GET_TASK, TaskRef(task=task))).task

    async def until_state(self, task: TaskId, state: TaskState, timeout_s: float = PATIENT_S) -> Task:
        """Wait until a task is in a state."""

        async def there() -> Task | None:
            found = await self.task(task)
            return found if found.state is state else None

        return await until(there, timeout_s=timeout_s, what=f"{task} to be {state}")


@asynccontextmanager
async def a_stage(bus: NatsBus, server: NatsServer, folder: Path, **flags: Any) -> AsyncIterator[Stage]:
    """Set the stage and clear it."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        stage = Stage(bus, server.url, http, folder / "scheduler.log", **flags)
        await stage.start()
        try:
            yield stage
        finally:
            if stage._process and stage._process.poll() is None:
                await stage.end(signal.SIGKILL)


async def test_a_task_goes_from_commit_to_its_end(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    hints: list[TaskId] = []
    demands: list[DemandChanged] = []

    async def hinted(told: PlacementPossible) -> None:
        hints.extend(told.tasks)

    async def demanded(told: DemandChanged) -> None:
        demands.append(told)

    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(a_stage(nats_bus, nats_server, tmp_path))
        await stack.enter_async_context(nats_bus.subscribe(PLACEMENT_POSSIBLE, hinted))
        await stack.enter_async_context(nats_bus.watch_snapshot(DEMAND_CHANGED, "test", demanded))
        task = await stage.commit()
        assert await stage.ask_place(task) == Waiting(position=1, reason="no node is registered")
        await until(lambda: demands and demands[-1].waiting_count == 1, what="demand")
        node = await stack.enter_async_context(NodeSimProcess(task_time_s=0.5))
        await stage.add(node)
        await until(lambda: task in hints, what="the hint")
        placed = await stage.forward(task)
        assert placed.node_task_id == task
        done = await stage.until_state(task, TaskState.COMPLETED)
        assert done.known is not None
        assert done.known.progress == 100
        console = (await nats_bus.request(READ_CONSOLE, ReadConsole(task=task))).lines
        assert console[0] == "Waiting for a node: no node is registered"
        assert len(console) == len(done.timeline) + done.known.console_count
        await until(lambda: demands[-1].waiting_count == demands[-1].running_count == 0, what="demand to end")
        summary = await (await nats_bus.bucket(SUMMARY)).get(SUMMARY_KEY)
        options = await (await nats_bus.bucket(OPTIONS)).get(SUMMARY_KEY)
        assert summary is not None
        assert (summary.value.online_count, summary.value.max_parallel_tasks) == (1, 1)
        assert options is not None
        assert "dsm" in {option.name for option in options.value.options}
        assert await stage.end() == 0


async def test_a_scheduler_leads_though_it_cannot_read_the_incarnation_and_says_what_to_do(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    await nats_bus.bucket(CLUSTER)
    client = await nats.connect(nats_server.url)
    payload = b'{"id":{"of":"a later version"},"made_at_ms":1}'
    key = f"$KV.{CLUSTER.name}.{INCARNATION_KEY}"
    await client.jetstream().publish(key, payload, headers={"Clusterodm-Fields": "999"})
    async with a_stage(nats_bus, nats_server, tmp_path) as stage:
        assert (await stage.task(await stage.commit())).state is TaskState.WAITING
        assert "nats kv del cluster incarnation" in stage.log()
    assert (await client.jetstream().get_last_msg(f"KV_{CLUSTER.name}", key)).data == payload
    await client.close()


async def test_client_actions_reach_the_node(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with NodeSimProcess(task_time_s=30) as node, a_stage(nats_bus, nats_server, tmp_path) as stage:
        await stage.add(node)
        task = await stage.commit()
        placed = await stage.forward(task)
        with pytest.raises(Refused, match="Task cannot be restarted"):
            await nats_bus.request(RESTART_TASK, RestartTask(task=task))
        canceled = await nats_bus.request(CANCEL_TASK, TaskRef(task=task))
        assert canceled.task.state is TaskState.CANCELED
        info = (await stage.http.get(f"{node.url}/task/{placed.node_task_id}/info")).json()
        assert info["status"]["code"] == 50
        node.set(task_time_s=0.2)
        assert (await nats_bus.request(RESTART_TASK, RestartTask(task=task))).task.state is TaskState.RUNNING
        await stage.until_state(task, TaskState.COMPLETED)
        await nats_bus.request(REMOVE_TASK, TaskRef(task=task))
        assert (await stage.http.get(f"{node.url}/task/list")).json() == []
        with pytest.raises(NotFound, match=f"{task} was removed"):
            await stage.task(task)
        assert await (await nats_bus.bucket(TASKS)).load() == {}


async def test_a_killed_scheduler_goes_on_with_tasks_in_every_state(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with (
        NodeSimProcess(task_time_s=0.3, parallel_tasks=4) as node,
        a_stage(nats_bus, nats_server, tmp_path, forward_silence_s=8, holder_silence_s=1) as stage,
    ):
        await stage.add(node)
        done, failed, canceled = [await stage.commit() for _ in range(3)]
        node.set(fail_next_count=1)
        await stage.forward(failed)
        await stage.until_state(failed, TaskState.FAILED)
        await stage.forward(done)
        await stage.until_state(done, TaskState.COMPLETED)
        await nats_bus.request(CANCEL_TASK, TaskRef(task=canceled))
        node.set(task_time_s=10)  # so long what runs and what is sent do so: past the kill and all that is read
        running, kept, orphaned, sent = [await stage.commit() for _ in range(4)]
        await stage.forward(running)
        kept_place = await stage.place(kept)
        await stage.place(orphaned)
        await stage.send(await stage.place(sent))
        waiting = await stage.commit()
        assert isinstance(await stage.ask_place(waiting), Waiting)
        everything = (done, failed, canceled, running, kept, orphaned, sent, waiting)
        before = {task: await stage.task(task) for task in everything}
        await stage.end(signal.SIGKILL)
        await stage.start()
        after = {task: await stage.task(task) for task in everything}
        node.set(task_time_s=1)
        assert {task: after[task].state for task in everything} == {task: before[task].state for task in everything}
        again = await stage.place(kept)
        assert (again.node, again.attempt, again.node_task_id) == (kept_place.node, 1, kept)
        assert again.epoch > kept_place.epoch
        # The upload owner speaks for `kept` alone: the node is asked about the other two, and has one of them.
        await until(lambda: renewed(stage, kept, orphaned), timeout_s=45, step_s=0.2, what="the orphan to wait again")
        await stage.send(kept_place)
        await nats_bus.request(REPORT_FORWARDED, ReportForwarded(task=kept, attempt=1, upload_owner=UPLOAD_OWNER))
        assert (await stage.forward(waiting)).attempt == 1
        assert (await stage.forward(orphaned)).node_task_id != orphaned
        for task in (running, kept, sent, waiting, orphaned):
            await stage.until_state(task, TaskState.COMPLETED, timeout_s=30)
        assert len((await stage.task(sent)).attempts) == 1
        assert [event["task"] for event in node.events("task_finished")].count(sent) == 1


async def renewed(stage: Stage, kept: TaskId, watched: TaskId) -> bool:
    await stage.bus.request(RENEW_ATTEMPT, RenewAttempt(task=kept, attempt=1, upload_owner=UPLOAD_OWNER))
    return (await stage.task(watched)).state is TaskState.WAITING


async def test_a_crashed_node_costs_an_attempt_and_not_the_task(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with NodeSimProcess(task_time_s=30) as node, a_stage(nats_bus, nats_server, tmp_path) as stage:
        await stage.add(node)
        task = await stage.commit()
        await stage.forward(task)
        node.kill()
        node.start()
        await stage.until_state(task, TaskState.WAITING)
        node.set(task_time_s=0.2)
        second = await stage.forward(task)
        assert second.attempt == 2
        await stage.until_state(task, TaskState.COMPLETED)


async def test_a_frozen_node_delays_only_its_own_tasks_and_loses_them_after_its_grace(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with (
        NodeSimProcess(task_time_s=600) as frozen,  # no task of its ends before it is frozen
        NodeSimProcess(task_time_s=0.5) as healthy,
        a_stage(nats_bus, nats_server, tmp_path, probe_timeout_s=0.5, poll_timeout_s=0.5, node_grace_s=3) as stage,
    ):
        frozen_id = await stage.add(frozen)
        lost = await stage.commit()
        assert (await stage.forward(lost)).node.id == frozen_id
        frozen.freeze()
        await stage.add(healthy)
        for _ in range(2):
            other = await stage.commit()
            await stage.forward(other)
            await stage.until_state(other, TaskState.COMPLETED)
        await stage.until_state(lost, TaskState.WAITING)
        second = await stage.forward(lost)
        assert second.node.id != frozen_id
        await stage.until_state(lost, TaskState.COMPLETED)
        frozen.thaw()

        async def forgotten() -> bool:
            return (await stage.http.get(f"{frozen.url}/task/list")).json() == []

        await until(forgotten, what="the old node to be cleaned up")


async def test_a_hint_brings_the_end_of_a_task_at_once(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with (
        NodeSimProcess(task_time_s=600) as node,
        a_stage(nats_bus, nats_server, tmp_path, poll_first_s=600, poll_slow_s=600) as stage,
    ):
        await stage.add(node)
        task = await stage.commit()
        placed = await stage.forward(task)
        await stage.http.post(f"{node.url}/task/cancel", json={"uuid": placed.node_task_id})
        await until(lambda: node.events("task_canceled"), what="the node to end it")
        await nats_bus.publish(FINISH_REPORTED, FinishReported(node_task_id=placed.node_task_id))
        await stage.until_state(task, TaskState.CANCELED)


async def test_nats_may_be_restarted_while_tasks_run(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with NodeSimProcess(task_time_s=3) as node, a_stage(nats_bus, nats_server, tmp_path) as stage:
        await stage.add(node)
        first, second = await stage.commit(), await stage.commit()
        await stage.forward(first)
        await asyncio.to_thread(nats_server.stop, signal.SIGKILL)
        await until(lambda: node.events("task_finished"), what="the node to finish meanwhile")
        await asyncio.to_thread(nats_server.start)
        await until(lambda: nats_bus.connected, what="nats")
        await stage.until_state(first, TaskState.COMPLETED)
        node.set(task_time_s=0.1)
        await stage.forward(second)
        await stage.until_state(second, TaskState.COMPLETED)


async def test_a_route_of_the_original_is_taken_over(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with NodeSimProcess(task_time_s=1) as node, a_stage(nats_bus, nats_server, tmp_path) as stage:
        node_id = await stage.add(node)
        answer = await stage.http.post(
            f"{node.url}/task/new", files=[("images", ("a.jpg", b"a"))], data={"name": "old"}
        )
        task = TaskId(answer.json()["uuid"])
        record = await nats_bus.request(IMPORT_ROUTE, ImportRoute(task=task, node=node_id))
        assert (record.task.name, record.task.state) == ("old", TaskState.RUNNING)
        await stage.until_state(task, TaskState.COMPLETED)
        await nats_bus.request(REMOVE_NODE, NodeRef(node=node_id))
        assert (await nats_bus.request(LIST_NODES, ListNodes())).nodes == ()


async def test_a_wrong_setting_is_one_clear_line_and_exit_code_2():
    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "clusterodm.deploy.cli", "scheduler", "--max-attempts=0"]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False)

    ended = await asyncio.to_thread(run)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "clusterodm scheduler: --max-attempts: input should be greater than 0 (got '0')"
    ]


async def test_the_console_outlives_the_node(nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path):
    async with a_stage(nats_bus, nats_server, tmp_path) as stage:
        async with NodeSimProcess(task_time_s=1, console_lines_per_s=2000) as node:
            await stage.add(node)
            task = await stage.commit(images=200)
            placed = await stage.forward(task, images=200)
            done = await stage.until_state(task, TaskState.COMPLETED)
            output = (await stage.http.get(f"{node.url}/task/{placed.node_task_id}/output?line=0")).json()
        assert done.known is not None
        assert len(output) > len(done.known.console_tail)
        lines = (await nats_bus.request(READ_CONSOLE, ReadConsole(task=task))).lines
        first = lines.index(output[0])
        assert list(lines[first : first + len(output)]) == output
        last = (await nats_bus.request(READ_CONSOLE, ReadConsole(task=task, from_line=len(lines) - 1))).lines
        assert last == lines[-1:]
        await nats_bus.request(REMOVE_TASK, TaskRef(task=task))
        with pytest.raises(NotFound):
            await nats_bus.request(READ_CONSOLE, ReadConsole(task=task))


async def test_a_node_that_comes_back_after_a_restart_of_the_scheduler_is_told_what_was_given_up(
    nats_bus: NatsBus, nats_server: NatsServer, tmp_path: Path
):
    async with (
        NodeSimProcess(task_time_s=60) as cut_off,
        NodeSimProcess(task_time_s=0.3) as healthy,
        a_stage(nats_bus, nats_server, tmp_path, probe_timeout_s=0.5, poll_timeout_s=0.5, node_grace=2) as stage,
    ):
        cut_off_id = await stage.add(cut_off)
        task = await stage.commit()
        first = await stage.forward(task)
        assert first.node.id == cut_off_id
        cut_off.freeze()
        await stage.add(healthy)
        await stage.until_state(task, TaskState.WAITING)
        await stage.end(signal.SIGKILL)
        await stage.start()
        await stage.forward(task)
        done = await stage.until_state(task, TaskState.COMPLETED)
        lines = [moment.text for moment in done.timeline]
        lost = f"attempt 1 on node {cut_off.hostname}:{cut_off.port} was lost: the node has been silent"
        assert len([line for line in lines if line.startswith(lost)]) == 1, lines
        assert f"Attempt 2: starting again on node {healthy.hostname}:{healthy.port}" in lines
        cut_off.thaw()

        async def told() -> bool:
            return (await stage.http.get(f"{cut_off.url}/task/list")).json() == []

        await until(told, timeout_s=45, what="the node to forget the task")
        assert (await stage.task(task)).state is TaskState.COMPLETED
