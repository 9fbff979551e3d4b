"""The operators' words against the real scheduler, with real tasks on simulated nodes: all three roads say the same."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyodm
import pytest

from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.forked import REPOSITORY
from tests.waiting import until

pytestmark = pytest.mark.slow


@dataclass
class World:
    """A cluster with two nodes, and the three roads to it."""

    cluster: Cluster
    nodes: tuple[NodeSimProcess, NodeSimProcess]

    async def telnet(self, line: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.cluster.telnet_port)
        writer.write(f"{line}\r\nQUIT\r\n".encode())
        async with asyncio.timeout(30):
            said = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        return said.split("#> ", 2)[1]

    async def program(self, *words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "clusterodm.deploy.cli", *words]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=REPOSITORY,
            env=self.cluster.environment,
            capture_output=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    async def web(self, path: str) -> Any:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.cluster.web_port}", timeout=30) as client:
            return (await client.get(path)).json()

    async def start_task(self, folder: Path, name: str) -> str:
        images = [str(path) for path in make_images(folder, 2)]
        node = pyodm.Node("127.0.0.1", self.cluster.port)
        created = await asyncio.to_thread(node.create_task, images, name=name)
        return str(created.uuid)

    async def state(self, task: str) -> str:
        return str(json.loads(await self.telnet(f"TASK INFO {task}"))["state"])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        NodeSimProcess(task_time_s=60, parallel_tasks=1) as first,
        NodeSimProcess(task_time_s=60, parallel_tasks=1, token="nodetoken") as second,
        Cluster(tmp_path) as cluster,
    ):
        world = World(cluster, (first, second))
        await until(lambda: answers(world), timeout_s=45, what="admin to answer")
        yield world


async def test_an_operator_runs_a_cluster_by_words_alone(world: World, tmp_path: Path):
    first, second = world.nodes
    assert await world.telnet(f"NODE ADD 127.0.0.1 {first.port}") == "OK\r\n"
    assert await world.telnet(f"NODE ADD 127.0.0.1 {first.port}") == "FAIL\r\n"
    (tmp_path / "token").write_text("nodetoken")
    added = await world.program("node", "add", "127.0.0.1", str(second.port), "--token-file", str(tmp_path / "token"))
    assert added == (0, "OK\n", "")
    assert await world.telnet("NODE UPDATE") == "OK\r\n"
    lines = (await world.telnet("NODE LIST")).splitlines()
    assert lines[0].startswith(f"1) 127.0.0.1:{first.port} [online] [0/1] <engine: odm ")
    assert lines[1].startswith(f"2) 127.0.0.1:{second.port} [online] [0/1]")
    assert [each["isOnline"] for each in await world.web("/r/node/list")] == [True, True]
    detail = await world.telnet("NODE INFO 2")
    assert (json.loads(detail)["token"], "nodetoken" in detail) == ("***", False)
    assert await world.telnet("NODE LOCK 2") == "OK\r\n"
    assert (await world.telnet("NODE BEST 5")).startswith(f"1) 127.0.0.1:{first.port} ")

    running = await world.start_task(tmp_path / "a", "first")
    await until(lambda: is_state(world, running, "running"), what="the first task to run")
    waiting = await world.start_task(tmp_path / "b", "second")
    await until(lambda: is_state(world, waiting, "waiting"), what="the second task to wait")

    tasks = json.loads(await world.telnet("TASK LIST"))
    assert {each["uuid"]: each["status"]["code"] for each in tasks} == {running: 20, waiting: 10}
    assert [each["uuid"] for each in json.loads(await world.telnet("TASK LIST 1"))] == [running]
    assert json.loads(await world.telnet("TASK LIST 2")) == []
    routes = json.loads(await world.telnet("ROUTE LIST"))
    assert {task: route["node"]["port"] for task, route in routes.items()} == {running: str(first.port)}
    assert json.loads(await world.telnet(f"ROUTE INFO {running}"))["node"]["hostname"] == "127.0.0.1"
    assert await world.telnet(f"ROUTE INFO {waiting}") == "INVALID\r\n"
    assert await world.telnet("ASR VIEWCMD 10") == "INVALID\r\n"
    assert await world.telnet(f"TASK OUTPUT {running}") != "INVALID\r\n"
    code, table, _ = await world.program("task", "list")
    assert code == 0
    assert waiting in table
    assert "waiting (1)" in table
    page = {each["uuid"]: each for each in await world.web("/r/task/list?last=10")}
    assert (page[waiting]["state"], page[running]["node"]) == ("waiting", f"127.0.0.1:{first.port}")

    assert json.loads(await world.telnet(f"TASK CANCEL {running}")) == {"success": True}
    await until(lambda: is_state(world, waiting, "running"), timeout_s=45, what="the second task to take its place")
    assert (await world.program("task", "remove", running))[0] == 0
    assert await world.telnet(f"TASK INFO {running}") == "INVALID\r\n"
    assert (await world.program("task", "info", running))[0] == 1
    assert await world.telnet("NODE DEL 2") == "OK\r\n"
    assert await world.telnet("NODE DEL 2") == "FAIL\r\n"
    assert "nodetoken" not in world.cluster.log("admin") + world.cluster.log("scheduler")


async def is_state(world: World, task: str, state: str) -> bool:
    return await world.state(task) == state


async def test_an_existing_installation_is_imported_and_its_task_is_found(world: World, tmp_path: Path):
    first, second = world.nodes
    images = [str(path) for path in make_images(tmp_path / "images", 2)]
    alone = pyodm.Node("127.0.0.1", second.port, "nodetoken")
    task = TaskId(str((await asyncio.to_thread(alone.create_task, images, name="from before")).uuid))
    old = {"hostname": "127.0.0.1", "port": str(second.port), "token": "nodetoken"}
    nodes = [{"hostname": "127.0.0.1", "port": first.port, "token": "", "locked": True}, old]
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    routes = {task: {"node": old, "token": "client", "accessed": 4_000_000_000_000}}
    (tmp_path / "routes.json").write_text(json.dumps(routes))

    words = ("import", str(tmp_path / "nodes.json"), str(tmp_path / "routes.json"))
    code, said, _ = await world.program(*words)
    assert (code, said.splitlines()[-1]) == (
        0,
        "nodes: 2 imported, 0 skipped, 0 failed; tasks: 1 imported, 0 skipped, 0 failed",
    )
    assert (await world.telnet("NODE LIST")).splitlines()[0].endswith("[L]")
    await until(lambda: is_state(world, task, "running"), what="the task of before to be followed")
    record = await world.cluster.bus.request(GET_TASK, TaskRef(task=task))
    assert record.task.owner == owner_of("client")
    assert json.loads(await world.telnet(f"ROUTE INFO {task}"))["token"] == "***"

    code, said, _ = await world.program(*words)
    assert (code, said.splitlines()[-1]) == (
        0,
        "nodes: 0 imported, 2 skipped, 0 failed; tasks: 0 imported, 1 skipped, 0 failed",
    )


async def test_a_port_that_is_taken_is_one_clear_line_and_exit_code_1(world: World):
    code, out, err = await world.program("admin")
    taken = world.cluster.telnet_port
    assert (code, out) == (1, "")
    assert (
        err.strip()
        .splitlines()[-1]
        .startswith(
            f"clusterodm admin: --admin-cli-port {taken}: cannot listen on 127.0.0.1:{taken}: Address already in use"
        )
    )


async def test_the_service_stops_at_once_when_told_though_sessions_are_open(world: World):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.cluster.telnet_port)
    await reader.readuntil(b"#> ")
    assert await asyncio.to_thread(world.cluster.stop, "admin") == os.EX_OK
    world.cluster.start("admin")
    writer.close()
    async with asyncio.timeout(60):
        await until(lambda: answers(world), timeout_s=45, what="admin to be back")


async def answers(world: World) -> bool:
    try:
        return bool((await world.web("/healthz"))["nats"])
    except httpx.TransportError:
        return False
