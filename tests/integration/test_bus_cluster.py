"""Three nats-servers with replicated records: a client that knows nothing of replicas joins, and one server may go."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from libs.common.bus import connect
from libs.common.errors import BusFailed
from libs.common.messages import CONSOLES, DEMAND_CHANGED, NODES, DemandChanged
from libs.common.model import Node, NodeId
from tests.nats import NATS_SERVER, free_port
from tests.waiting import until

pytestmark = pytest.mark.slow

NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)


def config(folder: Path, name: str, port: int, route: int, routes: list[int]) -> str:
    others = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes)
    return (
        f'server_name: {name}\nlisten: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
        f'cluster {{ name: c, listen: "127.0.0.1:{route}", routes: [{others}] }}\n'
    )


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[str, "list[subprocess.Popen[bytes]]"]]:
    ports, routes = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        for number, port in enumerate(ports):
            folder = tmp_path / f"n{number}"
            folder.mkdir()
            (folder / "nats.conf").write_text(config(folder, f"n{number}", port, routes[number], routes))
            log = stack.enter_context((folder / "nats.log").open("wb"))
            processes.append(subprocess.Popen([NATS_SERVER, "-c", folder / "nats.conf"], stdout=log, stderr=log))
        try:
            for port in ports:
                listening(port)
            yield ",".join(f"nats://127.0.0.1:{port}" for port in ports), processes
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=10)


def listening(port: int) -> None:
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")


async def test_a_client_without_replicas_takes_the_streams_as_they_are(
    servers: tuple[str, "list[subprocess.Popen[bytes]]"],
):
    url, processes = servers
    async with connect(url, "service", wait_s=40, replicas_count=3) as service:
        await (await service.bucket(NODES)).put(NODE.id, NODE)
        await (await service.objects(CONSOLES, 3600)).put("one", b"console")
        await service.set_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1))
        async with connect(url, "short-lived", wait_s=20) as client:
            entry = await (await client.bucket(NODES)).get(NODE.id)
            assert entry is not None
            assert entry.value == NODE
            await client.set_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=2))
            assert await (await client.objects(CONSOLES, 3600)).get("one") == b"console"
            async with asyncio.timeout(15), client.lead("scheduler", "short-lived") as term:
                assert term.valid
        info = await service._js.stream_info("KV_nodes")
        assert info.config.num_replicas == 3
        await asyncio.to_thread(ended, processes[0])
        async with connect(url, "after a loss", wait_s=40) as client:

            async def written() -> bool:
                try:
                    return bool(await (await client.bucket(NODES)).put(NODE.id, NODE))
                except BusFailed:
                    return False

            await until(written, timeout_s=40, step_s=0.5, what="two servers to take a write")


def ended(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(timeout=10)
