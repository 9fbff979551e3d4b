"""What nobody plans for, done to a cluster that `clusterodm up` keeps.

Processes and their keeper are killed, services frozen, loops cancelled from inside and made to raise exceptions, the wall clock set by
hours, the store of NATS lost; where NATS has three servers, one of them frozen as well.
Nodes and their links stay whole, so whatever runs twice was sent twice by the cluster. Each incident prints a line; a seed repeats them.
"""

import asyncio
import os
import random
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import GIVE_UP_S, Dataset, GaveUp, Raw
from tests.chaos.clock import ShiftedClock
from tests.chaos.explaining import explained, record_of
from tests.chaos.node_logs import Run, runs_of
from tests.chaos.saying import say
from tests.e2e.up import Up, command_line
from tests.nats_cluster import SERVERS_COUNT, NatsCluster
from tests.waiting import until, until_sync

INSIDE = Path(__file__).with_name("inside")
DRAW = "draw"
"""A file beside the data directory: which of its loops a service is to cancel."""
SERVICES = ("proxy", "proxy-2", "scheduler", "scheduler-2", "autoscaler", "admin")
QUICK = {
    "WATCHDOG_S": "6",
    "LEASE_S": "3",
    "COMMIT_SETTLE_S": "1",
    "FORWARD_SILENCE_S": "8",
    "RETRY_FIRST_S": "0.2",
    "MAX_ATTEMPTS": "50",
    "POLL_FIRST_S": "0.3",
    "NATS_WAIT_S": "60",
}


def kept(folder: Path, nodes: Sequence[NodeSimProcess], clock: ShiftedClock, servers: NatsCluster | None = None) -> Up:
    """Make the cluster, not yet started. `servers`: of NATS, instead of one of its own."""
    flags = [f"--node=127.0.0.1:{node.port}" for node in nodes]
    environment = {f"CLUSTERODM_{name}": value for name, value in QUICK.items()}
    environment |= {**clock.environment, "PYTHONPATH": str(INSIDE), "CHAOS_LOOPS": str(folder / DRAW)}
    if servers:
        flags += [f"--nats-url={servers.url}", f"--nats-replicas-count={SERVERS_COUNT}"]
    return Up(folder / "data", "--proxies=2", "--schedulers=2", *flags, environment=environment)


class Client(Raw):
    """A client that knows of one thing more: with the store of NATS goes what had ended before."""

    def __init__(self, url: str, losses: "Losses", datasets: Sequence[Dataset], give_up_s: float = GIVE_UP_S) -> None:
        super().__init__(url, give_up_s=give_up_s)
        self._losses = losses
        self._datasets = datasets

    async def run(self, data: Dataset) -> None:
        """See a task through; one that does not end is explained, while everything still runs."""
        try:
            await super().run(data)
        except GaveUp as error:
            told = await self._losses.explained(data, self._datasets)
            say(told)
            raise GaveUp(f"{error}\n\n{told}") from None

    async def poll(self, http: httpx.AsyncClient, data: Dataset) -> int | None:
        """Ask once; a completed task that went with the store is completed all the same."""
        lies_count = len(data.lies)
        code = await super().poll(http, data)
        if len(data.lies) > lies_count and self._losses.lost_at_ms and self._losses.had_ended(data):
            data.lies.pop()
            data.completed = True
        return code


class Losses:
    """Incidents by chance, one after the other."""

    def __init__(self, up: Up, nodes: Sequence[NodeSimProcess], clock: ShiftedClock, chance: random.Random) -> None:
        self._up = up
        self._nodes = nodes
        self._clock = clock
        self._chance = chance
        self._began_s = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.lost_at_ms = 0
        """When the store of NATS was lost; 0: it was not."""

    async def go_on(self, for_s: float) -> None:
        """Cause one incident after the other; at the end every process runs again."""
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            await self._do(self._chance.choice(self._acts()))
            await asyncio.sleep(self._chance.uniform(0.5, 2.5))
        self._clock.step_to(0)

    async def begin(self) -> None:
        """Let everything run at first."""

    async def kill_the_keeper(self) -> None:
        """Kill `up` itself, and start it again at once."""
        await self._do(self._kill_up)

    async def lose_the_store(self) -> None:
        """Kill everything, and start it again with an empty NATS."""
        await self._do(self._lose_store)

    async def explained(self, data: Dataset, datasets: Sequence[Dataset]) -> str:
        """Gather all that is known of a task."""
        return await explained(self._up, self._nodes, data, datasets)

    async def attempts_counts(self, datasets: Sequence[Dataset]) -> dict[str, int]:
        """How often each task was sent, of those whose records are there. Servers of NATS need seconds to agree who leads after the last loss."""
        found: dict[str, Task | None] = {}
        for data in datasets:
            await until(lambda of=data: self._found(of, found), timeout_s=60, step_s=0.5, what=f"a record of {data}")
        return {name: len(task.attempts) for name, task in found.items() if task}

    async def _found(self, data: Dataset, found: dict[str, Task | None]) -> bool:
        """Ask for a record, whether it is there or not; False when nobody tells."""
        with suppress(BusFailed):
            found[data.task] = await record_of(self._up, data)
        return data.task in found

    def had_ended(self, data: Dataset) -> bool:
        """Whether a node had completed a task before the store was lost."""
        return any(run.ended_ms < self.lost_at_ms for run in self.runs([data])[data.task])

    def runs(self, datasets: Sequence[Dataset]) -> dict[str, list[Run]]:
        """What the nodes have processed, by the task whose files they were."""
        of_digest = {digest: data.task for data in datasets for digest in data.digests.values()}
        of_node_task = {
            event["task"]: of_digest[event["sha256"]]
            for node in self._nodes
            for event in node.events("file_stored")
            if event["sha256"] in of_digest
        }
        found: defaultdict[str, list[Run]] = defaultdict(list)
        for run in (run for node in self._nodes for run in runs_of(node, ())):
            if run.task in of_node_task:
                found[of_node_task[run.task]].append(run)
        return found

    def _acts(self) -> list[Callable[[], Awaitable[str]]]:
        return [self._kill, self._freeze, self._kill_nats, self._step, self._cancel, self._break]

    async def _do(self, act: Callable[[], Awaitable[str]]) -> None:
        what = await act()
        self.counts[act.__name__] += 1
        say(f"{time.monotonic() - self._began_s:6.1f} s  {what}")

    async def _kill(self) -> str:
        name = self._chance.choice(SERVICES)
        return f"{name}: SIGKILL{self._send(name, signal.SIGKILL)}"

    async def _freeze(self) -> str:
        name = self._chance.choice(SERVICES)
        return f"{name}: SIGSTOP for good{self._send(name, signal.SIGSTOP)}"

    async def _cancel(self) -> str:
        name = self._chance.choice(SERVICES)
        self._up.data_dir.with_name(DRAW).write_text(str(self._chance.random()))
        return f"{name}: a loop is cancelled{self._send(name, signal.SIGUSR2)}"

    async def _break(self) -> str:
        name = self._chance.choice(SERVICES)
        return f"{name}: a loop raises an exception{self._send(name, signal.SIGUSR1)}"

    async def _kill_nats(self) -> str:
        killed = await until(self._nats, timeout_s=30, what="nats-server to run")
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(killed[0], signal.SIGKILL)
        await until(lambda: self._nats() not in ([], killed), timeout_s=30, what="nats-server to be started again")
        return "nats-server: SIGKILL"

    def _nats(self) -> list[int]:
        return [process for process in self._up.processes() if "nats-server\0-c\0" in command_line(process)]

    async def _step(self) -> str:
        hours = self._chance.choice((-2, 0, 2))
        self._clock.step_to(hours * 3600)
        return f"the wall clock: {hours:+d} h"

    async def _kill_up(self) -> str:
        await asyncio.to_thread(self._up.stop, signal.SIGKILL)
        await self._start_again()
        return "clusterodm up: SIGKILL, and started again"

    async def _lose_store(self) -> str:
        await asyncio.to_thread(self._up.stop, signal.SIGKILL)
        await asyncio.to_thread(until_sync, lambda: not self._up.processes(), 40.0, 0.05, "all processes to be gone")
        self.lost_at_ms = time.time_ns() // 1_000_000
        await asyncio.to_thread(self._empty_nats)
        await self._start_again()
        return "the store of NATS: lost"

    def _empty_nats(self) -> None:
        shutil.rmtree(self._up.data_dir / "nats")

    async def _start_again(self) -> None:
        await asyncio.to_thread(self._up.start)
        await asyncio.to_thread(self._up.ready)

    def _send(self, name: str, number: signal.Signals) -> str:
        """Send a service a signal, if it runs at this moment."""
        for process in self._up.processes_of(name):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process, number)
                return ""
        return " (it does not run)"


class ReplicaLosses(Losses):
    """The same where NATS has three servers: one is frozen at times, and the store is lost when all three have lost theirs."""

    def __init__(
        self,
        up: Up,
        nodes: Sequence[NodeSimProcess],
        clock: ShiftedClock,
        chance: random.Random,
        servers: NatsCluster,
    ) -> None:
        super().__init__(up, nodes, clock, chance)
        self._servers = servers
        self._frozen: int | None = None
        self._thaws_after_count = 0
        """Incidents."""

    async def go_on(self, for_s: float) -> None:
        """Cause one incident after the other; at the end no server is frozen either."""
        await super().go_on(for_s)
        self._thaw()

    def _acts(self) -> list[Callable[[], Awaitable[str]]]:
        return super()._acts() if self._frozen is not None else [*super()._acts(), self._freeze_replica]

    async def _do(self, act: Callable[[], Awaitable[str]]) -> None:
        if self._frozen is not None and self._thaws_after_count == 0:
            self._thaw()
        self._thaws_after_count -= 1
        await super()._do(act)

    async def _freeze_replica(self) -> str:
        self._frozen, self._thaws_after_count = self._chance.randrange(SERVERS_COUNT), self._chance.randint(1, 4)
        self._servers.send(self._frozen, signal.SIGSTOP)
        return f"n{self._frozen} of NATS: SIGSTOP until {self._thaws_after_count} more have come"

    def _thaw(self) -> None:
        if self._frozen is not None:
            self._servers.send(self._frozen, signal.SIGCONT)
            say(f"{time.monotonic() - self._began_s:6.1f} s  n{self._frozen} of NATS: SIGCONT")
            self._frozen = None

    async def _kill_nats(self) -> str:
        number = self._chance.randrange(SERVERS_COUNT)
        if number == self._frozen:
            self._frozen = None
        await asyncio.to_thread(self._servers.kill, number)
        self._servers.start(number)
        return f"n{number} of NATS: SIGKILL, and started again"

    def _empty_nats(self) -> None:
        self._frozen = None
        self._servers.lose()
        self._servers.start_all()


async def committed_and_completed(client: Client, datasets: Sequence[Dataset], at_once_count: int) -> None:
    """Let so many clients at a time see their tasks through."""
    left = iter(datasets)

    async def worker() -> None:
        for data in left:
            await client.run(data)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once_count):
            group.create_task(worker())
