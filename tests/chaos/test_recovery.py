"""What docs/recovery.md promises, line by line: which store may be lost, and what that costs. Real processes, clients that poll all the time.

A poll never lies meanwhile, no photo is deleted that nobody has decided about, and no task runs twice.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyodm.types import TaskStatus

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tasks import CANCEL_TASK, GET_TASK, TaskRef
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from clusterodm.services.proxy.spool.adapters.disk import HISTORY
from tests.chaos.clients import Dataset, Raw
from tests.cluster import Cluster, answers
from tests.datasets import make_images, processed
from tests.ports import free_port
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POLL_S = 0.2
GONE_H = 0.004
SECOND = "proxy#2"
RUNNING = 20
TOO_LONG_S = 600.0
GRACE_S = 30
REPORTS_IN_GRACE = 4
"""They come every five seconds: so many take half of the grace, and not all of it."""
GRACE_TERMS = 4
RUNS_S = 20.0
"""How long the first task runs: a cluster is stopped and started in less."""


class Scene:
    """A cluster with one node of one slot; a task that runs, and one that waits behind it."""

    def __init__(self, cluster: Cluster, node: NodeSimProcess, folder: Path) -> None:
        self.cluster, self.node, self.folder = cluster, node, folder
        self.running = Dataset(make_images(folder / "one", 3, seed=1))
        self.waiting = Dataset(make_images(folder / "two", 2, seed=2))
        self.tasks: list[Dataset] = []

    async def commits(self, *tasks: Dataset) -> None:
        """Commit, one after the other."""
        async with self.client() as http:
            for task in tasks:
                await Raw(self.cluster.url).commit(http, task)
                self.tasks.append(task)

    async def opens(self) -> Dataset:
        """Begin an upload, and do not commit it."""
        task = Dataset(self.waiting.images)
        async with self.client() as http:
            await Raw(self.cluster.url).upload(http, task)
        return task

    async def runs(self, task: Dataset) -> None:
        """Wait until the node works on a task."""
        await until(lambda: self.node.events("task_started", task=task.task), timeout_s=60, what="it runs on the node")
        self.node.set(task_time_s=0.5)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Poll every task all the time; no answer may be a lie, or say less than one before."""
        async with asyncio.TaskGroup() as group:
            polling = [group.create_task(self.polls(task)) for task in self.tasks]
            try:
                yield
            finally:
                for each in polling:
                    each.cancel()

    async def polls(self, task: Dataset) -> None:
        """Poll one task for ever."""
        async with self.client() as http:
            codes = [RUNNING] if task is self.running else []
            while True:
                if (code := await Raw(self.cluster.url).poll(http, task)) is not None:
                    codes.append(code)
                before = set(codes) if task is self.running else set(dropwhile(lambda each: each == RUNNING, codes))
                if code is not None and before and code < max(before):
                    task.lies.append(f"{max(before)}, then {code}")
                await asyncio.sleep(POLL_S)

    async def complete(self) -> None:
        """Wait until every task is completed, each having run once, with all of its photos."""
        await until(lambda: all(task.completed for task in self.tasks), timeout_s=90, what="all tasks are completed")
        async with self.client() as http:
            for task in self.tasks:
                assert task.lies == []
                result = self.folder / f"{task.task}.zip"
                result.write_bytes((await http.get(f"/task/{task.task}/download/all.zip")).content)
                assert processed(result) == task.digests
        assert len(self.node.events("task_finished")) == len(self.tasks)
        await until(lambda: not list(self.cluster.spool.glob("*-*")), what="the spool is empty")

    def client(self) -> httpx.AsyncClient:
        """Speak to the cluster."""
        return httpx.AsyncClient(base_url=self.cluster.url, trust_env=False, timeout=10)

    # --- losses ------------------------------------------------------------------------------------------------------

    def store_is_lost(self) -> None:
        """Delete what NATS has kept."""
        shutil.rmtree(self.cluster.nats.store / "js")

    async def starts_again(self, *also: str, register: bool = True) -> None:
        """Start NATS, the services, and register the node."""
        await asyncio.to_thread(self.cluster.nats.start)
        for service in also:
            self.cluster.start(service)
        self.cluster.start_all()
        await self.cluster.ready()
        if register:
            await until(self._registered, timeout_s=60, what="the node is registered")

    async def _registered(self) -> bool:
        try:
            if not await self.cluster.nodes():
                await self.registers()
        except BusFailed:  # nobody leads yet
            return False
        return True

    async def registers(self) -> None:
        """Register the node."""
        await self.cluster.add_node(self.node)

    def second_proxy(self) -> str:
        """Start another proxy with a spool of its own; where it answers."""
        port = free_port()
        self.cluster.overrides[SECOND] = {
            "CLUSTERODM_PORT": str(port),
            "CLUSTERODM_SPOOL_DIR": str(self.second_spool),
            "CLUSTERODM_PROXY_URL": f"http://127.0.0.1:{port}",
        }
        self.cluster.start(SECOND)
        return f"http://127.0.0.1:{port}"

    @property
    def second_spool(self) -> Path:
        """Where the second proxy keeps received files."""
        return self.folder / "spool2"

    async def commits_at(self, url: str, task: Dataset) -> None:
        """Commit with another proxy."""
        await until(lambda: asyncio.to_thread(answers, f"{url}/healthz"), timeout_s=60, what=f"{url} to answer")
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as http:
            await Raw(url).commit(http, task)

    async def console(self, task: Dataset) -> list[str]:
        """Read the console of a task."""
        async with self.client() as http:
            lines: list[str] = (await http.get(f"/task/{task.task}/output")).json()
            return lines

    async def is_told(self, url: str, task: Dataset, codes: set[int], times: int = 1) -> None:
        """Poll at another proxy, as soon as it is there, until it has told so often how the task stands: nothing but this."""
        told_count, deadline_s = 0, asyncio.get_running_loop().time() + 90
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
            while told_count < times:
                assert asyncio.get_running_loop().time() < deadline_s, f"told {told_count} times: {task}"
                if (code := await Raw(url).poll(http, task)) is not None:
                    told_count += 1
                    assert code in codes, f"{code} after {told_count - 1} answers"
                await asyncio.sleep(POLL_S)

    async def starts_and_doubts(self, service: str, task: Dataset) -> None:
        """Start a proxy, and wait until it has compared a record that somebody polls, and found that it may be older."""
        before_count = len(self.cluster.log(service))
        self.cluster.start(service)

        def doubts() -> bool:
            lines = self.cluster.log(service)[before_count:].splitlines()
            return any("record.compared" in line and task.task in line for line in lines)

        await until(doubts, timeout_s=60, what=f"a doubt of {service}")

    async def cancels(self, task: Dataset) -> None:
        """Cancel a task, and wait until its proxy has noted that."""
        async with self.client() as http:
            assert (await http.post("/task/cancel", data={"uuid": task.task})).json() == {"success": True}
        await self.notes(task, '"canceled"')

    async def notes(self, task: Dataset, words: str) -> None:
        """Wait until its proxy has noted something of a task."""
        note = self.cluster.spool / task.task / HISTORY
        await until(lambda: words in note.read_text(), what=f"the proxy has noted {words}")

    async def is_backed_up(self) -> None:
        """Copy what NATS has kept, and start again."""
        await asyncio.to_thread(self.cluster.kill_all)
        await asyncio.to_thread(shutil.copytree, self.cluster.nats.store / "js", self.folder / "backup")
        await self.starts_again()

    async def backup_is_restored(self) -> None:
        """Put back what was copied."""
        await asyncio.to_thread(shutil.copytree, self.folder / "backup", self.cluster.nats.store / "js")

    def reports_count(self) -> int:
        """Count how often the proxy has reported that it has not the photos of a task, and was told that a node may still come."""
        return self.cluster.log("proxy").count("inputs.loss_not_taken")

    async def removes(self, task: Dataset) -> None:
        """Remove a task."""
        async with self.client() as http:
            assert (await http.post("/task/remove", data={"uuid": task.task})).json() == {"success": True}

    async def first_code(self, task: Dataset) -> int:
        """Say how a task stands as soon as there is an answer."""
        return int((await self.first_answer(task))["status"]["code"])

    async def first_answer(self, task: Dataset) -> dict[str, Any]:
        """Ask how a task stands until there is an answer."""

        async def answer() -> dict[str, Any] | None:
            async with self.client() as http:
                try:
                    told: dict[str, Any] = (await http.get(f"/task/{task.task}/info")).json()
                except httpx.TransportError:
                    return None
            return told

        return await until(answer, timeout_s=60, step_s=0.2, what="an answer")

    async def fails(self, task: Dataset) -> str:
        """Wait until a task has failed; what it says."""

        async def failed() -> str:
            async with self.client() as http:
                told: dict[str, Any] = (await http.get(f"/task/{task.task}/info")).json()
            assert told["status"]["code"] in (10, 30), told
            return str(told["status"].get("errorMessage", ""))

        return await until(failed, timeout_s=60, step_s=0.2, what="the task has failed")


@pytest.fixture
async def scene(unregistered: Scene) -> Scene:
    await unregistered.registers()
    return unregistered


@pytest.fixture
async def unregistered(tmp_path: Path) -> AsyncIterator[Scene]:
    async with (
        Cluster(tmp_path, services=("scheduler", "proxy"), holder_gone_h=GONE_H) as cluster,
        NodeSimProcess(task_time_s=RUNS_S) as node,
    ):
        yield Scene(cluster, node, tmp_path)


async def test_a_lost_store_of_nats_costs_no_task_of_a_spool(scene: Scene):
    await scene.commits(scene.running, scene.waiting)
    await scene.runs(scene.running)
    async with scene.watched():
        await asyncio.to_thread(scene.cluster.kill_all)
        scene.store_is_lost()
        await scene.starts_again()
        await scene.complete()


async def test_a_store_of_nats_that_is_lost_while_the_services_run_costs_no_task_of_a_spool(scene: Scene):
    await scene.commits(scene.running, scene.waiting)
    await scene.runs(scene.running)
    async with scene.watched():
        await asyncio.to_thread(scene.cluster.nats.stop)
        scene.store_is_lost()
        await scene.starts_again()
        await scene.complete()


async def test_an_older_backup_of_nats_takes_nothing_back_that_was_done(unregistered: Scene):
    scene, backup = unregistered, unregistered.folder / "backup"
    canceled = Dataset(make_images(scene.folder / "three", 1, seed=3))
    await scene.commits(scene.running, canceled)
    scene.tasks.remove(canceled)
    await asyncio.to_thread(scene.cluster.kill_all)
    await asyncio.to_thread(shutil.copytree, scene.cluster.nats.store / "js", backup)
    await scene.starts_again()
    await scene.runs(scene.running)
    await scene.cancels(canceled)
    await scene.commits(scene.waiting)
    async with scene.watched():
        await asyncio.to_thread(scene.cluster.kill_all)
        scene.store_is_lost()
        await asyncio.to_thread(shutil.copytree, backup, scene.cluster.nats.store / "js")
        await scene.starts_again()
        assert await scene.first_code(canceled) == TaskStatus.CANCELED.value
        await scene.removes(canceled)
        await scene.complete()


async def canceled(scene: Scene, task: Dataset) -> None:
    """Cancel it at the proxy that holds it, and let its proxy know."""
    await scene.cancels(task)


async def canceled_elsewhere(scene: Scene, task: Dataset) -> None:
    """Cancel it at a proxy that does not hold it, and let the one know that does."""
    url = scene.second_proxy()
    await until(lambda: asyncio.to_thread(answers, f"{url}/healthz"), timeout_s=60, what=f"{url} to answer")
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
        assert (await http.post("/task/cancel", data={"uuid": task.task})).json() == {"success": True}
    await scene.notes(task, '"canceled"')


async def canceled_by_an_operator(scene: Scene, task: Dataset) -> None:
    """Cancel it as consoles and the command line do, and let its proxy know."""
    await scene.cluster.bus.request(CANCEL_TASK, TaskRef(task=TaskId(task.task)), timeout_s=20)
    await scene.notes(task, '"canceled"')


async def removed(scene: Scene, task: Dataset) -> None:
    """Remove it, and let its proxy know."""
    await scene.removes(task)
    await scene.notes(task, '"removed":true')


@pytest.mark.parametrize(
    ("ends", "backup"),
    [
        (canceled, False),
        (canceled_elsewhere, False),
        (canceled_by_an_operator, False),
        (removed, False),
        (canceled, True),
        (removed, True),
    ],
    ids=lambda each: each.__name__ if callable(each) else "older backup restored" if each else "store lost",
)
async def test_a_node_is_told_of_what_was_ended_before_it_had_been_told_and_the_store_was_lost(
    scene: Scene, ends: Callable[[Scene, Dataset], Awaitable[None]], *, backup: bool
):
    scene.node.set(task_time_s=TOO_LONG_S)
    await scene.commits(scene.running)
    await until(lambda: scene.node.events("task_started", task=scene.running.task), timeout_s=60, what="it runs")
    if backup:
        await scene.is_backed_up()
    await asyncio.to_thread(scene.node.stop)
    await ends(scene, scene.running)
    await scene.commits(scene.waiting)
    await asyncio.to_thread(scene.cluster.kill_all)
    scene.store_is_lost()
    if backup:
        await scene.backup_is_restored()
    await asyncio.to_thread(scene.node.start)
    await until(lambda: len(scene.node.events("task_started")) == 2, what="it goes on, for its node does not know")
    scene.node.set(task_time_s=0.5)
    await scene.starts_again()
    await until(lambda: scene.node.events("task_canceled", task=scene.running.task), what="its node is told")
    await until(lambda: len(scene.node.events("task_started")) == 3, timeout_s=60, what="the other has the slot")
    told = [each["event"] for each in scene.node.events("task_started", "task_canceled")]
    assert told == ["task_started", "task_started", "task_canceled", "task_started"]
    told_now = await scene.first_answer(scene.running)
    if ends is removed:
        assert "no task table entry" in told_now["error"]
    else:
        assert told_now["status"]["code"] == TaskStatus.CANCELED.value


async def completed(scene: Scene, task: Dataset) -> None:
    """Run it, on a node that joins now, and let nothing be left of it at its proxy."""
    scene.node.set(task_time_s=0.5)
    await scene.registers()
    await until(lambda: not (scene.cluster.spool / task.task).exists(), timeout_s=60, what="its photos are gone")


@pytest.mark.parametrize(
    ("ends", "code"),
    [(canceled, TaskStatus.CANCELED.value), (completed, TaskStatus.COMPLETED.value)],
    ids=["canceled, restored as queued", "completed, restored as queued"],
)
async def test_no_poll_goes_back_at_a_proxy_that_does_not_hold_the_task_when_an_older_backup_is_restored(
    unregistered: Scene, ends: Callable[[Scene, Dataset], Awaitable[None]], code: int
):
    scene, backup, task = unregistered, unregistered.folder / "backup", unregistered.waiting
    url = scene.second_proxy()
    await scene.commits(task)
    await scene.is_told(url, task, {10, RUNNING})
    await asyncio.to_thread(scene.cluster.kill_all)
    await asyncio.to_thread(shutil.copytree, scene.cluster.nats.store / "js", backup)
    await scene.starts_again(SECOND, register=False)
    await ends(scene, task)
    await scene.is_told(url, task, {code})
    await asyncio.to_thread(scene.cluster.kill_all)
    scene.store_is_lost()
    await asyncio.to_thread(shutil.copytree, backup, scene.cluster.nats.store / "js")
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.is_told(url, task, {code}, times=25))
        await scene.starts_again(SECOND)
    assert not [line for line in task.lies if "error" in line]


async def test_a_task_that_ran_in_an_older_backup_and_is_completed_is_told_as_completed_from_the_first_poll_on(
    scene: Scene,
):
    backup, task, urls = scene.folder / "backup", scene.running, [scene.cluster.url, scene.second_proxy()]
    await scene.commits(task)
    await scene.runs(task)
    for url in urls:
        await scene.is_told(url, task, {RUNNING})
    await asyncio.to_thread(scene.cluster.kill_all)
    await asyncio.to_thread(shutil.copytree, scene.cluster.nats.store / "js", backup)
    await scene.starts_again(SECOND, register=False)
    await until(lambda: not (scene.cluster.spool / task.task).exists(), timeout_s=60, what="it is completed")
    for url in urls:
        await scene.is_told(url, task, {TaskStatus.COMPLETED.value})
    await asyncio.to_thread(scene.cluster.kill_all)
    scene.store_is_lost()
    await asyncio.to_thread(shutil.copytree, backup, scene.cluster.nats.store / "js")
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(scene.is_told(url, task, {TaskStatus.COMPLETED.value}, times=25))
        await asyncio.to_thread(scene.cluster.nats.start)
        for service in ("proxy", SECOND):
            await scene.starts_and_doubts(service, task)
        scene.cluster.start("scheduler")  # the records are what they were until now
    assert task.lies == []


async def test_a_task_removed_after_the_backup_holds_no_slot_and_fails_whoever_leads(unregistered: Scene):
    scene, backup, removed = unregistered, unregistered.folder / "backup", unregistered.waiting
    await scene.commits(removed)
    await asyncio.to_thread(scene.cluster.kill_all)
    await asyncio.to_thread(shutil.copytree, scene.cluster.nats.store / "js", backup)
    await scene.starts_again(register=False)
    await scene.removes(removed)
    await until(lambda: not (scene.cluster.spool / removed.task).exists(), what="its photos are gone")
    await asyncio.to_thread(scene.cluster.kill_all)
    scene.store_is_lost()
    await asyncio.to_thread(shutil.copytree, backup, scene.cluster.nats.store / "js")
    scene.cluster.overrides["scheduler"] = {"CLUSTERODM_NODE_GRACE_S": str(GRACE_S)}
    await scene.starts_again()
    await scene.commits(scene.running)
    await scene.runs(scene.running)  # on the only slot, though the other one is before it in the queue

    async def told() -> str:
        """Read what operators see: its polls and its console are held until it is decided."""
        record = await scene.cluster.bus.request(GET_TASK, TaskRef(task=TaskId(removed.task)), timeout_s=30)
        return "\n".join(moment.text for moment in record.task.timeline)

    async def is_told() -> bool:
        return "does not have its photos" in await told()

    await until(is_told, timeout_s=60, step_s=0.2, what="it is said what is missing")
    for _ in range(GRACE_TERMS):
        await asyncio.to_thread(scene.cluster.kill, "scheduler")
        scene.cluster.start("scheduler")
        reports_count = scene.reports_count() + REPORTS_IN_GRACE

        async def is_over(until_count: int = reports_count) -> bool:
            return "Failed: " in await told() or scene.reports_count() >= until_count

        await until(is_over, timeout_s=60, step_s=0.5, what="a term to be over")
    assert "after the backup" in await scene.fails(removed)
    assert "does not answer" not in await told()


async def killed_before(scene: Scene) -> None:
    """Lose the spool of a proxy that does not run."""
    await asyncio.to_thread(scene.cluster.kill, "proxy")
    shutil.rmtree(scene.cluster.spool)


def is_removed(folder: Path) -> bool:
    """Remove a directory into which somebody may be writing."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


async def removed_under_it(scene: Scene) -> None:
    """Lose the spool of a proxy that runs: it ends by itself, with a sentence."""
    await until(lambda: is_removed(scene.cluster.spool), what="the directory to be gone")
    assert await until(lambda: scene.cluster.ended("proxy"), timeout_s=45, what="the proxy to end") == 1
    assert f"the spool {scene.cluster.spool} was removed while this proxy was running" in scene.cluster.log("proxy")


@pytest.mark.parametrize("lost", [killed_before, removed_under_it])
async def test_a_lost_spool_is_named_and_its_tasks_fail_with_a_reason_in_the_end(
    scene: Scene, lost: Callable[[Scene], Awaitable[None]]
):
    await scene.commits(scene.running, scene.waiting)
    await scene.runs(scene.running)
    opened = await scene.opens()
    await lost(scene)
    scene.cluster.start("proxy")
    await scene.cluster.ready()
    async with scene.client() as http:
        answer = await http.post(f"/task/new/commit/{opened.task}")
    assert "no longer exists" in answer.json()["error"], answer.text

    async def named() -> bool:
        lines = await scene.console(scene.waiting)
        missing = f"they lie in {scene.cluster.spool.resolve()} on "
        return any(missing in line and "the proxy that runs there now does not have them" in line for line in lines)

    await until(named, timeout_s=60, step_s=0.2, what="the console names the directory")
    assert str(scene.cluster.spool.resolve()) in await scene.fails(scene.waiting)
    scene.tasks.remove(scene.waiting)
    async with scene.watched():
        await scene.complete()


async def test_two_proxies_of_which_one_lost_its_disk(scene: Scene):
    url = scene.second_proxy()
    await scene.commits(scene.running)
    await scene.runs(scene.running)
    await scene.commits_at(url, scene.waiting)
    await asyncio.to_thread(scene.cluster.kill, SECOND)
    shutil.rmtree(scene.second_spool)
    scene.cluster.start(SECOND)
    async with scene.watched():
        assert str(scene.second_spool.resolve()) in await scene.fails(scene.waiting)
        await scene.complete()


async def test_everything_but_one_spool_lost(scene: Scene):
    url = scene.second_proxy()
    await scene.commits(scene.running)
    await scene.runs(scene.running)
    await scene.commits_at(url, scene.waiting)
    async with scene.watched():
        await asyncio.to_thread(scene.cluster.kill_all)
        scene.store_is_lost()
        shutil.rmtree(scene.second_spool)
        await scene.starts_again()
        await scene.complete()
