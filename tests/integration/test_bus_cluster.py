"""Three nats-servers with replicated records: a client that knows nothing of replicas joins, and one server may go."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import nats
import pytest
import structlog
import structlog.testing

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.retrying import retry
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import CONSOLES, NODES, OBSERVATIONS
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import LastKnown, Observation, StatusCode
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.ports import Bucket, Change, Reset, Step
from clusterodm.libs.common.process.loops import background
from clusterodm.services.proxy.peers.adapters import shared_secret
from tests.forked import REPOSITORY, Process, started
from tests.integration.test_scheduler_leadership import answers_again
from tests.nats import LEAVES_UNCLOSED, NatsServer
from tests.nats_cluster import NatsCluster, listening, nats_cluster
from tests.waiting import until

pytestmark = [pytest.mark.slow, LEAVES_UNCLOSED]

NOTICED_S = 15.0
"""Two pings without an answer, one a moment before; then the one that hangs may be tried again, and others; on a busy computer."""
SEEN = Observation(node_task_id=NodeTaskId("t"), running_at_ms=1, known=LastKnown(code=StatusCode.RUNNING))
LEADS_S = 20.0
"""A server that hangs or is gone is noticed, the others agree on leaders, a lease expires; on a busy computer."""
NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[NatsCluster]:
    with nats_cluster(tmp_path) as servers:
        yield servers


async def test_a_client_without_replicas_takes_the_streams_as_they_are(
    servers: NatsCluster,
):
    async with connect(servers.url, "service", wait_s=40, replicas_count=3) as service:
        await (await service.bucket(NODES)).put(NODE.id, NODE)
        await (await service.objects(CONSOLES, 3600)).put("one", b"console")
        first = DemandChanged(at_ms=1)
        await retry(lambda: service.publish_snapshot(DEMAND_CHANGED, first), "a new stream has elected its leader", 20)
        async with connect(servers.url, "short-lived", wait_s=20) as client:
            entry = await (await client.bucket(NODES)).get(NODE.id)
            assert entry is not None
            assert entry.value == NODE
            await client.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=2))
            assert await (await client.objects(CONSOLES, 3600)).get("one") == b"console"
            async with asyncio.timeout(40), client.lead("scheduler", "short-lived") as term:
                assert term.valid
        info = await service._js.stream_info("KV_nodes")
        assert info.config.num_replicas == 3
        await asyncio.to_thread(servers.kill, 0)
        async with connect(servers.url, "after a loss", wait_s=40) as client:

            async def written() -> bool:
                try:
                    return bool(await (await client.bucket(NODES)).put(NODE.id, NODE))
                except BusFailed:
                    return False

            await until(written, timeout_s=40, step_s=0.5, what="two servers to take a write")


async def test_streams_that_exist_get_as_many_replicas_as_the_setting_says(servers: NatsCluster):
    async with connect(servers.url, "before", wait_s=40) as before:
        await (await before.bucket(NODES)).put(NODE.id, NODE)
        await (await before.objects(CONSOLES, 3600)).put("one", b"console")
        await retry(lambda: before.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1)), "it is written", 20)
        async with before.lead("scheduler", "somebody"):
            pass
        assert set((await replicas(before.url)).values()) == {1}
    async with connect(servers.url, "after", wait_s=40, replicas_count=3) as after:
        nodes = await after.bucket(NODES)
        consoles = await after.objects(CONSOLES, 7200)
        async with (
            after.lead("scheduler", "somebody"),
        ):
            second = DemandChanged(at_ms=2)
            await retry(lambda: after.publish_snapshot(DEMAND_CHANGED, second), "three have elected a leader", 20)
            await until(lambda: all_have(after.url, 3), timeout_s=20, what="three replicas of all")
        assert await nodes.get(NODE.id) is not None
        assert await consoles.get("one") == b"console"
        async with connect(servers.url, "later", wait_s=40) as later:
            await later.bucket(NODES)
            assert set((await replicas(later.url)).values()) == {3}, "somebody with another setting takes none away"


async def replicas(url: str) -> dict[str, int]:
    """Say how many replicas each stream has."""
    client = await nats.connect(url.split(","))
    found = await client.jetstream().streams_info()
    await client.close()
    return {each.config.name or "": each.config.num_replicas or 1 for each in found}


async def all_have(url: str, count: int) -> bool:
    return set((await replicas(url)).values()) == {count}


async def test_all_of_a_single_server_is_carried_into_a_cluster_of_three(servers: NatsCluster, tmp_path: Path):
    one = NatsServer(tmp_path / "one")
    one.start()
    try:
        async with connect(one.url, "before") as before:
            nodes = await before.bucket(NODES)
            for number in range(200):
                await nodes.put(f"a-{number}", NODE)
            revision = await nodes.put(NODE.id, NODE)
            await (await before.objects(CONSOLES, 3600)).put("one", b"console" * 100_000)
            await before.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=7))
        async with connect(servers.url, "until they have elected", wait_s=40):
            pass
        flags = [f"--nats-from={one.url}", f"--nats-url={servers.url}", "--nats-replicas-count=3"]
        refused = await asyncio.to_thread(clusterodm, "copy-nats", *flags)
        assert "EVENTS already: it must be empty" in refused.stderr
        client = await nats.connect(servers.url.split(","))
        await client.jetstream().delete_stream("EVENTS")
        await client.close()
        copied = await asyncio.to_thread(clusterodm, "copy-nats", *flags)
        assert (copied.returncode, "KV_nodes: 201" in copied.stdout) == (0, True), copied.stderr
    finally:
        one.stop()
    async with connect(servers.url, "after", wait_s=40, replicas_count=3) as after:
        assert await all_have(after.url, 3)
        entry = await (await after.bucket(NODES)).get(NODE.id)
        assert entry is not None
        assert entry.revision == revision
        assert len(await (await after.bucket(NODES)).load()) == 201
        assert await (await after.objects(CONSOLES, 3600)).get("one") == b"console" * 100_000
        seen: list[int] = []

        async def see(told: DemandChanged) -> None:
            seen.append(told.at_ms)

        async with after.watch_snapshot(DEMAND_CHANGED, "test", handler=see):
            await until(lambda: seen == [7])


async def test_servers_that_listen_and_have_not_elected_anybody_are_waited_for(tmp_path: Path):
    one, three = NatsServer(tmp_path / "one"), NatsCluster(tmp_path / "three")
    one.start()
    three.start(0)
    listening(int(three.url_of(0).rpartition(":")[2]))
    try:
        async with connect(one.url, "before") as before:
            await (await before.bucket(NODES)).put(NODE.id, NODE)
        flags = [f"--nats-from={one.url}", f"--nats-url={three.url_of(0)}", "--nats-replicas-count=3"]
        alone = await asyncio.to_thread(clusterodm, "copy-nats", *flags, "--nats-wait-s=1")
        assert (alone.returncode, "not copied" in alone.stderr) == (1, True), alone.stderr
        async with asyncio.TaskGroup() as group:
            copying = group.create_task(asyncio.to_thread(clusterodm, "copy-nats", *flags, "--nats-wait-s=60"))
            await asyncio.to_thread(three.start_all)
        copied = copying.result()
        assert (copied.returncode, "KV_nodes: 1" in copied.stdout) == (0, True), copied.stderr
    finally:
        one.stop()
        three.end()


def clusterodm(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run the program."""
    return subprocess.run(
        [sys.executable, "-m", "clusterodm.deploy.cli", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_single_server_keeps_one_replica_of_each_and_says_so_in_one_line(tmp_path: Path):
    server = NatsServer(tmp_path / "one")
    server.start()
    try:
        async with connect(server.url, "before") as before:
            await (await before.bucket(NODES)).put(NODE.id, NODE)
        with structlog.testing.capture_logs() as lines:
            async with connect(server.url, "after", replicas_count=3) as after:
                assert await (await after.bucket(NODES)).get(NODE.id) is not None
                await (await after.bucket(OBSERVATIONS)).put("new", SEEN)
                await (await after.objects(CONSOLES, 3600)).put("new", b"console")
                await after.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=1))
                async with after.lead("scheduler", "somebody"):
                    assert set((await replicas(server.url)).values()) == {1}
    finally:
        server.stop()
    said = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in said] == ["streams.under_replicated"]
    assert said[0]["streams"] == "DEMAND EVENTS KV_leases KV_nodes KV_observations OBJ_consoles"
    assert (said[0]["replicas"], said[0]["setting"]) == (1, 3)
    assert "form one cluster" in said[0]["do"]


async def test_what_may_be_lost_is_made_anew_when_it_cannot_get_more_replicas(servers: NatsCluster):
    async with (
        connect(servers.url, "before", wait_s=40) as before,
        asyncio.TaskGroup() as group,
    ):
        await (await before.bucket(OBSERVATIONS)).put("old", SEEN)
        steps: list[Step[Observation]] = []
        following = group.create_task(gather(await before.bucket(OBSERVATIONS), steps))
        await until(lambda: any(isinstance(step, Change) and step.key == "old" for step in steps))
        async with connect(servers.url, "after", wait_s=40, replicas_count=3) as after:
            seen = await after.bucket(OBSERVATIONS)
            assert (await replicas(servers.url))["KV_observations"] == 3
            await retry(lambda: seen.put("new", SEEN), "it is written", 20)
            await until(lambda: any(isinstance(step, Change) and step.key == "new" for step in steps), timeout_s=20)
            assert [step for step in steps if isinstance(step, Reset)]
            await until(
                lambda: any(isinstance(step, Change) and step.value is None for step in steps), what="old is gone"
            )
        following.cancel()


async def gather(bucket: Bucket[Observation], steps: list[Step[Observation]]) -> None:
    async with bucket.watch() as changes:
        async for step in changes:
            steps.append(step)  # noqa: PERF401 it never ends


async def test_what_may_be_lost_is_made_anew_when_its_only_server_is_gone(servers: NatsCluster):
    async with connect(servers.url, "careful", wait_s=40, replicas_count=3) as bus:
        async with connect(servers.url, "careless", wait_s=40) as careless:
            await (await careless.bucket(OBSERVATIONS)).put("old", SEEN)
            where = (await careless._js.stream_info("KV_observations")).cluster
        assert where is not None
        assert where.leader is not None
        await asyncio.to_thread(servers.kill, int(where.leader[1:]))
        seen = await bus.bucket(OBSERVATIONS)
        await retry(lambda: seen.put("new", SEEN), "it is written", 30)
        assert set(await seen.load()) == {"new"}
        async with connect(servers.url, "later", wait_s=40) as later:
            assert await (await later.bucket(OBSERVATIONS)).get("new") is not None


async def test_opening_waits_while_there_is_no_majority(servers: NatsCluster):
    async with connect(servers.url_of(0), "starting", wait_s=40, replicas_count=3) as bus:
        for number in (1, 2):
            servers.send(number, signal.SIGSTOP)
        found: list[str] = []

        async def open_it() -> None:
            found.append(await shared_secret(bus, wait_s=40))

        with structlog.testing.capture_logs() as lines:
            async with asyncio.timeout(40), asyncio.TaskGroup() as group:
                group.create_task(open_it())
                await until(lambda: [line for line in lines if line["event"] == "nats.awaited"], timeout_s=30)
                assert not found
                for number in (1, 2):
                    servers.send(number, signal.SIGCONT)
        assert len(found[0]) == 64


@pytest.mark.parametrize("talkative", [False, True], ids=["little was written", "more was written than it takes"])
async def test_a_server_that_hangs_is_noticed_within_seconds(servers: NatsCluster, talkative: bool):
    async with (
        connect(servers.url, "test", wait_s=40, replicas_count=3) as bus,
        background(lambda: talk(bus), name="talk") if talkative else nullcontext(),
    ):
        assert bus.servers_count == 3
        hanging = bus.url
        began_s = time.monotonic()
        servers.send(servers.number_of(hanging), signal.SIGSTOP)
        await until(lambda: bus.url not in {"", hanging}, timeout_s=30, what="another server")
        took_s = time.monotonic() - began_s
        sys.stdout.write(f"\na client of a server that hangs has another after {took_s:.1f} s\n")
        assert took_s < NOTICED_S


async def talk(bus: NatsBus) -> None:
    """Write more than the kernel keeps for somebody who takes nothing."""
    while True:
        with suppress(nats.errors.Error):
            await bus._client.publish("nobody.listens", bytes(500_000))
        await asyncio.sleep(0.001)


async def test_a_scheduler_takes_over_while_nats_elects_its_leaders(servers: NatsCluster, tmp_path: Path):
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(servers.url, "test", wait_s=40, replicas_count=3))
        logs = [tmp_path / "first.log", tmp_path / "second.log"]
        first, second = [stack.enter_context(scheduler(servers.url, log)) for log in logs]
        await answers_again(bus, time.monotonic())
        await until(lambda: all("leadership.awaited" in log.read_text() for log in logs), what="both to have started")
        await until(lambda: any("scheduler.started" in log.read_text() for log in logs), what="the line of who leads")
        leading = first if "scheduler.started" in logs[0].read_text() else second
        stream = await bus._js.stream_info("KV_leases")
        assert stream.cluster is not None
        assert stream.cluster.leader is not None
        began_s = time.monotonic()
        leading.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(servers.kill, int(stream.cluster.leader[1:]))
        took_s = await answers_again(bus, began_s)
        sys.stdout.write(f"\nthe other scheduler answers {took_s:.1f} s after a leader of each kind is gone\n")
        assert took_s < LEADS_S
        leading.send_signal(signal.SIGCONT)
        await until(
            lambda: sum(log.read_text().count("leadership.awaited") for log in logs) == 3, what="the old leader"
        )
        await until(lambda: sum(log.read_text().count("scheduler.started") for log in logs) == 2)


async def test_somebody_leads_again_within_seconds_when_a_server_hangs(servers: NatsCluster, tmp_path: Path):
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(servers.url, "test", wait_s=40, replicas_count=3))
        logs = [tmp_path / "first.log", tmp_path / "second.log"]
        for log in logs:
            stack.enter_context(scheduler(servers.url, log))
        await answers_again(bus, time.monotonic())
        await until(lambda: all("leadership.awaited" in log.read_text() for log in logs), what="both to have started")
        stream = await bus._js.stream_info("KV_leases")
        assert stream.cluster is not None
        hanging = stream.cluster.leader
        assert hanging is not None
        began_s = time.monotonic()
        servers.send(int(hanging[1:]), signal.SIGSTOP)
        await until(lambda: leads_another(bus, "KV_leases", hanging), timeout_s=40, what="another leader")
        took_s = await answers_again(bus, began_s)
        sys.stdout.write(f"\na scheduler answers {took_s:.1f} s after a server hangs\n")
        assert took_s < LEADS_S


async def leads_another(bus: NatsBus, stream: str, before: str) -> bool:
    """Whether the servers have agreed on another leader of a stream."""
    try:
        found = (await bus._js.stream_info(stream)).cluster
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
        return False
    return found is not None and found.leader not in {None, "", before}


@contextmanager
def scheduler(url: str, log: Path) -> Iterator[Process]:
    """Run a scheduler beside others."""
    flags = [f"--nats-url={url}", "--nats-replicas-count=3", "--nats-wait-s=60"]
    with log.open("ab") as written:
        process = started(["scheduler", *flags], os.environ, written)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)
