"""A storm over a cluster: processes are killed, stopped, frozen and cut off, at random, from a plan that a seed repeats.

`Town` is the cluster with a relay before every node and a relay to NATS for every service, so that anything can be cut off
by itself. `Storm` plans and carries out incidents in lanes: one for the services, one for NATS, some for the nodes. An incident
ends by putting right what it did. Each prints a line.

    short outages of a node end well within the grace: its task goes on there
    long ones last longer than the grace: its task is taken for lost, and goes on elsewhere
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.node_logs import Outage
from tests.chaos.relay import Relay
from tests.chaos.saying import say
from tests.cluster import SERVICES, Cluster

GRACE_S = 8.0
SHORT_S = (0.3, 3.5)
LONG_S = (GRACE_S + 3, GRACE_S + 5)
PAUSE_BETWEEN_S = 4.0
"""A node is left alone for so long between two outages, so that two short ones do not make a long one."""
QUICK: dict[str, Any] = {
    "node_grace_s": GRACE_S,
    "probe_timeout_s": 2,
    "poll_timeout_s": 3,
    "retry_first_s": 0.2,
    "retry_longest_s": 2,
    "max_attempts": 50,
    "commit_settle_s": 2,
    "forward_silence_s": 10,
    "clean_every_s": 0.5,
    "holder_silence_s": 5,
    "lease_s": 3,
    "nats_wait_s": 60,
    "keep_failed_inputs_h": 0,
    "send_ahead_from_mb": 0,
}
"""As an operator would set it whose machines fail every few seconds; uploads of any size go ahead of their commit."""


def now_ms() -> int:
    """The clock that the nodes' logs use."""
    return time.time_ns() // 1_000_000


ALWAYS_THERE = {"instance", "lock", "incarnations.json", "room"}
"""In a spool that holds nothing."""


def spooled(cluster: Cluster) -> list[str]:
    """What lies in the spool beside what is always there."""
    return sorted(path.name for path in cluster.spool.iterdir() if path.name not in ALWAYS_THERE)


@dataclass
class Town:
    """A cluster, its nodes, and the relays between all of them."""

    cluster: Cluster
    nodes: list[NodeSimProcess]
    to_nodes: list[Relay]
    to_nats: dict[str, Relay]
    outages: list[Outage] = field(default_factory=list)


@asynccontextmanager
async def town(folder: Path, nodes: int, services: tuple[str, ...] = SERVICES, **knobs: Any) -> AsyncIterator[Town]:
    """Build it; everything ends with the block."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(folder, services=services, **QUICK)
        to_nats = {service: await stack.enter_async_context(Relay(cluster.nats.port)) for service in services}
        for service, relay in to_nats.items():
            cluster.overrides.setdefault(service, {})["CLUSTERODM_NATS_URL"] = f"nats://127.0.0.1:{relay.port}"
        running = [await stack.enter_async_context(NodeSimProcess(**knobs)) for _ in range(nodes)]
        to_nodes = [await stack.enter_async_context(Relay(node.port)) for node in running]
        await stack.enter_async_context(cluster)
        for node, relay in zip(running, to_nodes, strict=True):
            await cluster.add_node(node, port=relay.port)
        yield Town(cluster, running, to_nodes, to_nats)


class Storm:
    """Incidents by chance."""

    def __init__(self, place: Town, chance: random.Random) -> None:
        self._town = place
        self._cluster = place.cluster
        self._chance = chance
        self._began_s = time.monotonic()
        self.count = 0

    def say(self, what: str) -> None:
        """Print what happens."""
        say(f"{time.monotonic() - self._began_s:6.1f} s  {what}")

    async def blow(self, for_s: float) -> None:
        """Let all lanes go on for a while; everything is put right at the end."""
        until_s = time.monotonic() + for_s
        lanes = [self._on_a_service, self._on_nats, self._on_a_node, self._on_a_node]
        free = list(range(len(self._town.nodes)))
        async with asyncio.TaskGroup() as group:
            for number, lane in enumerate(lanes):
                chance = random.Random(self._chance.random())
                group.create_task(self._lane(lane, chance, until_s, free), name=f"lane {number}")

    async def all_at_once(self, *, nodes: bool) -> None:
        """Kill everything in one moment, and start it again."""
        self.say(f"everything{' and every node' if nodes else ''}: SIGKILL")
        self.count += 1
        at_ms = now_ms()
        await asyncio.to_thread(self._cluster.kill_all)
        if nodes:
            await asyncio.gather(*(asyncio.to_thread(node.kill) for node in self._town.nodes))
        await asyncio.to_thread(self._cluster.nats.start)
        self._cluster.start_all()
        if nodes:
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in self._town.nodes))
            for node in self._town.nodes:
                self._town.outages.append(Outage(node.port, at_ms, now_ms(), killed=True))
        await self._cluster.ready()
        self.say("everything runs again")

    async def _lane(
        self,
        act: Callable[[random.Random, list[int]], Awaitable[str]],
        chance: random.Random,
        until_s: float,
        free: list[int],
    ) -> None:
        await asyncio.sleep(chance.uniform(0, 1.5))
        while time.monotonic() < until_s:
            self.say(await act(chance, free))
            self.count += 1
            await asyncio.sleep(chance.uniform(0.3, 2.5))

    # --- services ----------------------------------------------------------------------------------------------------

    async def _on_a_service(self, chance: random.Random, _free: list[int]) -> str:
        names = list(self._town.to_nats)
        weights = [3 if name.startswith(("proxy", "scheduler")) else 1 for name in names]
        name = chance.choices(names, weights)[0]
        how = chance.choice(("kill", "kill", "stop", "freeze", "network", "network"))
        for_s = chance.uniform(0.1, 3.0)
        match how:
            case "kill" | "stop":
                await asyncio.to_thread(getattr(self._cluster, how), name)
                await asyncio.sleep(for_s)
                self._cluster.start(name)
            case "freeze":
                self._cluster.send(name, signal.SIGSTOP)
                await asyncio.sleep(for_s)
                self._cluster.send(name, signal.SIGCONT)
            case "network":
                how = f"{await self._town.to_nats[name].suffer(chance, for_s)} to NATS"
        return f"{name}: {how}, {for_s:.1f} s"

    async def _on_nats(self, chance: random.Random, _free: list[int]) -> str:
        how = chance.choice(("kill", "stop", "freeze"))
        for_s = chance.uniform(0.1, 3.0)
        if how == "freeze":
            self._cluster.nats.send(signal.SIGSTOP)
            await asyncio.sleep(for_s)
            self._cluster.nats.send(signal.SIGCONT)
        else:
            number = signal.SIGKILL if how == "kill" else signal.SIGTERM
            await asyncio.to_thread(self._cluster.nats.stop, number)
            await asyncio.sleep(for_s)
            await asyncio.to_thread(self._cluster.nats.start)
        await asyncio.sleep(chance.uniform(1, 4))
        return f"nats-server: {how}, {for_s:.1f} s"

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def _on_a_node(self, chance: random.Random, free: list[int]) -> str:
        number = free.pop(chance.randrange(len(free)))
        how = chance.choice(("kill", "stop", "freeze", "freeze long", "network", "network", "network", "cut long"))
        for_s = chance.uniform(*(LONG_S if how.endswith("long") else SHORT_S))
        node, relay = self._town.nodes[number], self._town.to_nodes[number]
        began_ms = now_ms()
        try:
            match how:
                case "kill" | "stop":
                    await asyncio.to_thread(getattr(node, how))
                    await asyncio.sleep(for_s)
                    await asyncio.to_thread(node.start)
                case "freeze" | "freeze long":
                    node.freeze()
                    await asyncio.sleep(for_s)
                    node.thaw()
                case "cut long":
                    relay.cut()
                    await asyncio.sleep(for_s)
                    relay.mend()
                case "network":
                    how = await relay.suffer(chance, for_s)
        finally:
            self._town.outages.append(Outage(node.port, began_ms, now_ms(), killed=how == "kill"))
        await asyncio.sleep(PAUSE_BETWEEN_S)
        free.append(number)
        return f"node {number}: {how}, {for_s:.1f} s"
