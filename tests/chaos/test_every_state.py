"""Everything is killed at once in each state of a task's life, then started: it goes on from there and ends right.

Each case is a generator in two halves: the first brings a task into a state and yields it; then the services and nats-server
get SIGKILL (and the node too, in the cases that say so), the record is read from the fresh nats-server to see that it really
was that state; everything starts, and the second half says how it must go on. After every case the spool is empty, no
notice about an upload is left; after the last one no two attempts of any task ran at the same time.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.nodes import LOCK_NODE, UNLOCK_NODE, LockNode
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.node_logs import Outage, files_received, overlaps, runs_by_task, runs_of
from tests.chaos.relay import Relay
from tests.chaos.saying import say
from tests.chaos.storm import GRACE_S, QUICK, now_ms, spooled
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.ports import free_port
from tests.recorded import recorded_task, recorded_tasks
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

SETTINGS = QUICK | {"commit_settle_s": 1, "holder_silence_s": 3, "lease_s": 2, "webhook_allow": "127.0.0.1"}
Where = tuple[TaskState | None, AttemptState | None]
ON_THE_WAY_S = 1.5
"""What is on its way for so long is still there when the cluster is killed, also on a busy computer."""
LONG_ENOUGH_S = 4.0
"""So long a task runs where something must happen while it does."""


@dataclass
class Scene:
    """One cluster with one node behind a relay, and one task."""

    cluster: Cluster
    node: NodeSimProcess
    relay: Relay
    http: httpx.AsyncClient
    data: Dataset
    told: list[bytes] = field(default_factory=list)

    @property
    def raw(self) -> Raw:
        """A client."""
        return Raw(self.cluster.url)

    @property
    def node_id(self) -> NodeId:
        """How the scheduler calls the node."""
        return NodeId(f"127.0.0.1-{self.relay.port}")

    async def record(self) -> Task | None:
        """What KV says of the task."""
        return await recorded_task(self.cluster.bus, self.data.task)

    async def until_state(self, *wanted: TaskState) -> Task:
        """Wait until KV says so."""

        async def reached() -> Task | None:
            record = await self.record()
            return record if record and record.state in wanted else None

        return await until(reached, timeout_s=30, what=f"the task to be {wanted}")

    async def upload(self) -> None:
        """Init and send all images."""
        await self.raw.upload(self.http, self.data)

    async def commit(self) -> None:
        """Init, send all images, commit."""
        await self.raw.commit(self.http, self.data)

    async def post(self, path: str, **form: str) -> Any:
        """One request that must succeed."""
        answer = await self.http.post(path, data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def lock(self, *, locked: bool) -> None:
        """Send no tasks to the node, or again."""
        await self.cluster.bus.request(LOCK_NODE if locked else UNLOCK_NODE, LockNode(node=self.node_id))

    async def on_node(self, *events: str, count: int = 1) -> None:
        """Wait until the node says that this happened to the task, under whatever id."""
        await until(lambda: len(self.said(*events)) >= count, timeout_s=30, what=f"{events} on the node")

    def logged(self, service: str, what: str) -> bool:
        """Whether a service has logged this about the task."""
        return any(what in line and self.data.task in line for line in self.cluster.log(service).splitlines())

    def said(self, *events: str) -> list[dict[str, Any]]:
        """What the node said since this scene began."""
        return self.node.events(*events)[self._before(events) :]

    def _before(self, events: tuple[str, ...]) -> int:
        return sum(event["at_ms"] < self.began_ms for event in self.node.events(*events))

    began_ms: int = field(default_factory=now_ms)

    async def completes(self, *, attempts: int | None = None) -> None:
        """It ends completed, its client never saw anything else, and the node has each file exactly once."""

        async def completed() -> bool:
            return await self.raw.poll(self.http, self.data) == 40

        await until(completed, timeout_s=45, step_s=0.1, what="the task to be completed")
        assert self.data.lies == []
        record = await self.until_state(TaskState.COMPLETED)
        received = files_received(self.node, record.attempts[-1].node_task_id)
        assert received == Counter((name, digest, True) for name, digest in self.data.digests.items())
        if attempts is not None:
            assert len(record.attempts) == attempts, record.attempts


Half = AsyncGenerator[Where, None]


# --- before it is committed ------------------------------------------------------------------------------------------


async def open_upload(scene: Scene) -> Half:
    """Some files are there, one is half-way."""
    images, scene.data.images = scene.data.images, scene.data.images[:1]
    await scene.upload()
    _, writer = await asyncio.open_connection("127.0.0.1", scene.cluster.port)
    head = f"POST /task/new/upload/{scene.data.task} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n"
    part = '\r\n--b\r\nContent-Disposition: form-data; name="images"; filename="half.JPG"\r\n\r\n'
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=b\r\n{part}".encode() + b"x" * 100_000)
    await writer.drain()
    parts = scene.cluster.spool / scene.data.task / "parts"
    await until(lambda: any(parts.iterdir()), what="half a file")
    yield None, None
    writer.transport.abort()
    scene.data.images = images
    await scene.commit()
    await scene.completes(attempts=1)


async def closed_but_not_submitted(scene: Scene) -> Half:
    """The client's commit has closed the upload; the scheduler has not answered."""
    await scene.upload()
    scene.cluster.send("scheduler", signal.SIGSTOP)
    async with asyncio.TaskGroup() as group:
        group.create_task(suppressed(scene.http.post(f"/task/new/commit/{scene.data.task}")), name="commit")
        await until((scene.cluster.spool / scene.data.task / "manifest.json").exists, what="the upload to be closed")
        yield None, None
    assert await scene.post(f"/task/new/commit/{scene.data.task}") == {"uuid": scene.data.task}
    await scene.completes(attempts=1)


async def suppressed(request: Any) -> None:
    """A request that will break."""
    with contextlib.suppress(httpx.TransportError):
        await request


# --- waiting ---------------------------------------------------------------------------------------------------------


async def waiting(scene: Scene) -> Half:
    """It waits for a node."""
    await scene.lock(locked=True)
    await scene.commit()
    yield TaskState.WAITING, None
    assert await scene.raw.poll(scene.http, scene.data) == 10
    await scene.lock(locked=False)
    await scene.completes(attempts=1)


async def placed_and_not_heard(scene: Scene) -> Half:
    """Its upload owner was given a slot in answer to its open question, and has not heard the answer."""
    await scene.lock(locked=True)
    await scene.commit()
    assert await scene.raw.poll(scene.http, scene.data) == 10
    scene.cluster.send("proxy", signal.SIGSTOP)
    await scene.lock(locked=False)
    await scene.until_state(TaskState.FORWARDING)
    yield TaskState.FORWARDING, AttemptState.FORWARDING
    await scene.completes()


async def waiting_for_another_attempt(scene: Scene) -> Half:
    """Its node has forgotten it."""
    scene.node.set(task_time_s=LONG_ENOUGH_S)
    await scene.commit()
    await scene.on_node("task_started")
    await scene.until_state(TaskState.RUNNING)
    await scene.lock(locked=True)
    scene.node.forget()
    await scene.until_state(TaskState.WAITING)
    yield TaskState.WAITING, AttemptState.ENDED
    await scene.lock(locked=False)
    await scene.completes(attempts=2)


# --- forwarding ------------------------------------------------------------------------------------------------------


async def forwarding_before_the_first_file(scene: Scene) -> Half:
    """Not even the node's init has been answered."""
    scene.relay.freeze()
    await scene.commit()
    await scene.until_state(TaskState.FORWARDING)
    yield TaskState.FORWARDING, AttemptState.FORWARDING
    await scene.completes()


async def forwarding_in_the_middle_of_a_file(scene: Scene) -> Half:
    """Half a file is on the node."""
    scene.relay.rate_bytes_per_s = 60_000
    passed_bytes = scene.relay.passed_bytes
    await scene.commit()
    await scene.until_state(TaskState.FORWARDING)
    await until(lambda: scene.relay.passed_bytes > passed_bytes + 60_000, what="half a file")
    yield TaskState.FORWARDING, AttemptState.FORWARDING
    await scene.completes()


async def forwarding_before_the_commit(scene: Scene) -> Half:
    """All files are on the node; the scheduler does not say any more whether the attempt counts."""
    scene.relay.rate_bytes_per_s = 100_000
    await scene.commit()
    await scene.on_node("task_initialised")  # before the commit, too: files go ahead
    await scene.until_state(TaskState.FORWARDING)
    scene.cluster.send("scheduler", signal.SIGSTOP)
    await scene.on_node("file_stored", count=len(scene.data.images))
    yield TaskState.FORWARDING, AttemptState.FORWARDING
    await scene.completes()


async def forwarding_after_the_commit(scene: Scene) -> Half:
    """The node has the task; its answer is still on the way."""
    scene.relay.delay_s = ON_THE_WAY_S
    await scene.commit()
    await scene.on_node("task_committed")
    yield TaskState.FORWARDING, AttemptState.FORWARDING
    await scene.completes()


async def uncertain_and_the_node_has_it(scene: Scene) -> Half:
    """The commit came through, its answer was lost; the node has not been asked yet."""
    scene.node.set(drop_commit_next_count=1, drop_how="reset-after")
    scene.relay.delay_s = ON_THE_WAY_S
    await scene.commit()
    await until_uncertain(scene)
    yield TaskState.FORWARDING, AttemptState.UNCERTAIN
    await scene.completes(attempts=1)


async def uncertain_and_the_node_does_not_have_it(scene: Scene) -> Half:
    """The commit was lost on the way."""
    scene.node.set(drop_commit_next_count=1, drop_how="reset-before")
    scene.relay.delay_s = ON_THE_WAY_S
    await scene.commit()
    await until_uncertain(scene)
    yield TaskState.FORWARDING, AttemptState.UNCERTAIN
    await scene.completes(attempts=2)


async def until_uncertain(scene: Scene) -> None:
    """Wait until the scheduler knows that nobody knows."""

    async def uncertain() -> bool:
        record = await scene.record()
        return bool(record and record.attempt and record.attempt.state is AttemptState.UNCERTAIN)

    await until(uncertain, timeout_s=30, what="the attempt to be uncertain")


# --- running ---------------------------------------------------------------------------------------------------------


async def running(scene: Scene) -> Half:
    """The node works on it."""
    scene.node.set(task_time_s=LONG_ENOUGH_S)
    await scene.commit()
    await scene.on_node("task_started")
    await scene.until_state(TaskState.RUNNING)
    yield TaskState.RUNNING, AttemptState.RUNNING
    await scene.completes()


async def running_and_ends_meanwhile(scene: Scene) -> Half:
    """The node finishes while nobody else is there."""
    scene.node.set(task_time_s=LONG_ENOUGH_S)
    await scene.commit()
    await scene.on_node("task_started")
    await scene.until_state(TaskState.RUNNING)
    for service in scene.cluster.services:
        scene.cluster.send(service, signal.SIGSTOP)
    await scene.on_node("task_finished")
    yield TaskState.RUNNING, AttemptState.RUNNING
    await scene.completes(attempts=1)


async def running_again_after_a_restart(scene: Scene) -> Half:
    """It had completed and was restarted."""
    await scene.commit()
    await scene.completes(attempts=1)
    scene.data.completed = False
    scene.node.set(task_time_s=LONG_ENOUGH_S)
    assert await scene.post("/task/restart", uuid=scene.data.task) == {"success": True}
    await scene.on_node("task_started", count=2)
    yield TaskState.RUNNING, AttemptState.RUNNING
    await scene.completes(attempts=1)


# --- ended -----------------------------------------------------------------------------------------------------------


async def completed_before_the_webhook(scene: Scene) -> Half:
    """Its client has not been told yet: nobody listens there."""
    port = free_port()
    scene.data.webhook = f"http://127.0.0.1:{port}/told"
    await scene.commit()
    await scene.until_state(TaskState.COMPLETED)
    await until(lambda: scene.logged("proxy", "webhook.failed"), what="the webhook to fail")
    yield TaskState.COMPLETED, AttemptState.ENDED
    async with await asyncio.start_server(hear(scene), "127.0.0.1", port):
        await until(lambda: scene.told, timeout_s=45, what="the webhook")
    assert scene.data.task.encode() in scene.told[0]


def hear(scene: Scene) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Be a client's webhook."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        scene.told.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    return answer


async def completed_before_the_inputs_went(scene: Scene) -> Half:
    """The proxy does not know yet."""
    scene.node.set(task_time_s=LONG_ENOUGH_S)
    await scene.commit()
    await scene.on_node("task_started")
    await scene.until_state(TaskState.RUNNING)
    scene.cluster.send("proxy", signal.SIGSTOP)
    await scene.until_state(TaskState.COMPLETED)
    assert (scene.cluster.spool / scene.data.task).exists()
    yield TaskState.COMPLETED, AttemptState.ENDED
    await scene.completes(attempts=1)


async def failed(scene: Scene) -> Half:
    """The node says that it cannot be done."""
    scene.node.set(fail_next_count=1)
    await scene.commit()
    await scene.until_state(TaskState.FAILED)
    yield TaskState.FAILED, AttemptState.ENDED
    told = (await scene.http.get(f"/task/{scene.data.task}/info")).json()
    assert told["status"] == {"code": 30, "errorMessage": "Cannot process dataset"}


async def canceled_before_the_node_was_told(scene: Scene) -> Half:
    """The node cannot be reached; that it has still to be told is written down."""
    await running_out_of_reach(scene)
    assert await scene.post("/task/cancel", uuid=scene.data.task) == {"success": True}
    yield TaskState.CANCELED, AttemptState.ENDED
    await scene.on_node("task_canceled")
    assert (await scene.http.get(f"/task/{scene.data.task}/info")).json()["status"]["code"] == 50


async def removed_before_the_node_was_told(scene: Scene) -> Half:
    """The same, and the client wants to see it no more."""
    await running_out_of_reach(scene)
    assert await scene.post("/task/remove", uuid=scene.data.task) == {"success": True}
    yield TaskState.CANCELED, AttemptState.ENDED
    await scene.on_node("task_removed")

    async def forgotten() -> bool:
        return await scene.record() is None

    await until(forgotten, what="the record to go")
    assert "error" in (await scene.http.get(f"/task/{scene.data.task}/info")).json()


async def running_out_of_reach(scene: Scene) -> None:
    """It runs for long on a node that cannot be reached any more."""
    scene.node.set(task_time_s=30)
    await scene.commit()
    await scene.on_node("task_started")
    await scene.until_state(TaskState.RUNNING)
    scene.relay.cut()


# --- the walk --------------------------------------------------------------------------------------------------------

HELD = (
    open_upload,
    closed_but_not_submitted,
    waiting,
    placed_and_not_heard,
    waiting_for_another_attempt,
    forwarding_before_the_first_file,
    forwarding_in_the_middle_of_a_file,
    forwarding_before_the_commit,
    forwarding_after_the_commit,
    uncertain_and_the_node_has_it,
    uncertain_and_the_node_does_not_have_it,
    running,
    running_and_ends_meanwhile,
    running_again_after_a_restart,
    completed_before_the_webhook,
    completed_before_the_inputs_went,
    failed,
    canceled_before_the_node_was_told,
    removed_before_the_node_was_told,
)
WITH_THE_NODE = (forwarding_in_the_middle_of_a_file, forwarding_after_the_commit, running)
walked: list[Where] = []
outages: list[Outage] = []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Cluster, NodeSimProcess, Relay]]:
    """A cluster with one node behind a relay, for all cases."""
    async with (
        NodeSimProcess(task_time_s=1.0, parallel_tasks=2) as node,
        Relay(node.port) as relay,
        Cluster(tmp_path_factory.mktemp("cluster"), services=("scheduler", "proxy"), **SETTINGS) as cluster,
    ):
        await cluster.add_node(node, port=relay.port)
        yield cluster, node, relay


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stage: tuple[Cluster, NodeSimProcess, Relay], tmp_path: Path) -> AsyncIterator[Scene]:
    cluster, node, relay = stage
    data = Dataset(make_images(tmp_path / "images", 3, size_bytes=60_000))
    before_count = len(walked)
    async with httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=10) as http:
        yield Scene(cluster, node, relay, http, data)
    relay.well()
    node.set(task_time_s=1.0, fail_next_count=0, drop_commit_next_count=0)
    if (
        len(walked) == before_count
    ):  # it failed, and what it has killed or frozen stays so: the next case is not to blame
        await cluster.revive()


@pytest.mark.parametrize(
    ("case", "with_node"),
    [
        *(pytest.param(case, False, id=case.__name__) for case in HELD),
        *(pytest.param(case, True, id=f"{case.__name__}, the node too") for case in WITH_THE_NODE),
    ],
)
async def test_a_task_goes_on_when_everything_was_killed(scene: Scene, case: Callable[[Scene], Half], with_node: bool):
    halves = case(scene)
    expected = await anext(halves)
    await kill_and_start(scene, expected, with_node=with_node)
    with contextlib.suppress(StopAsyncIteration):
        await anext(halves)
        pytest.fail("a case has two halves")
    await nothing_is_left(scene)
    walked.append(expected)


async def kill_and_start(scene: Scene, expected: Where, *, with_node: bool) -> None:
    """Kill, look at what is on disk, start."""
    cluster = scene.cluster
    at_ms = now_ms()
    await asyncio.to_thread(cluster.kill_all)
    if with_node:
        await asyncio.to_thread(scene.node.kill)
    await asyncio.to_thread(cluster.nats.start)
    await until(lambda: cluster.bus.connected, what="nats-server")
    record = await until_read(scene)
    found = (record.state, record.attempt.state if record.attempt else None) if record else (None, None)
    say(f"killed while {record!r}")
    assert found == expected
    scene.relay.well()
    if with_node:
        await asyncio.to_thread(scene.node.start)
        outages.append(Outage(scene.node.port, at_ms, now_ms(), killed=True))
    cluster.start_all()
    await cluster.ready()


async def until_read(scene: Scene) -> Task | None:
    """Read the record as soon as JetStream answers."""
    for _ in range(100):
        try:
            return await scene.record()
        except Exception:  # noqa: BLE001 whatever a server that has just started says
            await asyncio.sleep(0.05)
    raise AssertionError("JetStream does not answer")


async def nothing_is_left(scene: Scene) -> None:
    """No file, no notice."""
    uploads = await scene.cluster.bus.bucket(UPLOADS)
    await until(lambda: spooled(scene.cluster) == [], timeout_s=45, what="the spool to be empty")

    async def no_notice() -> bool:
        return await uploads.get(scene.data.task) is None

    await until(no_notice, timeout_s=45, what="the notice to be taken down")


async def test_every_state_of_the_life_was_walked_and_nothing_is_left_to_tell_nodes(scene: Scene):
    if len(walked) < len(HELD) + len(WITH_THE_NODE):
        pytest.skip("only some cases were chosen, or not all went well")
    assert {state for state, _ in walked} == {None, *TaskState}
    assert {attempt for _, attempt in walked} == {None, *AttemptState}
    tasks = await until(lambda: settled_tasks(scene), timeout_s=45, step_s=0.2, what="all nodes to have been told")
    say(f"{len(walked)} states, {len(tasks)} tasks, {sum(len(task.attempts) for task in tasks)} attempts")
    runs = runs_of(scene.node, outages)
    assert [pair for own in runs_by_task(runs, tasks).values() for pair in overlaps(own, outages, GRACE_S)] == []


async def settled_tasks(scene: Scene) -> list[Task]:
    """All records, when nothing is left to be told; else none."""
    tasks = list((await recorded_tasks(scene.cluster.bus)).values())
    waits = any(attempt.cleanup is not Cleanup.NONE for task in tasks for attempt in task.attempts)
    return [] if waits else tasks
