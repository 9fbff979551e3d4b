"""A small cluster for tests of who may do what: one node, three tasks and a file of tokens, behind a bus that keeps what is asked for and told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from clusterodm.libs.common.messages.kinds import Event, Payload, Reply, Request
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.tenants.adapters import TokensFileStore
from clusterodm.services.admin.tenants.core.commands import CreateToken
from clusterodm.services.admin.tenants.core.file import carried_out
from tests.fake_autoscaler import FakeAutoscaler
from tests.fake_scheduler import FakeScheduler, node, task

TASK, ENDED, WAITING = (f"6f9619f{number}-8b86-4011-b42d-00c04fc964ff" for number in range(3))
NODE, MACHINE = "127.0.0.1-4001", "clusterodm-abc123-10-xyz"
FILE = "the file of tokens"


class RecordingBus(MemoryBus):
    """Keeps what is asked for and told, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def request(
        self, request: Request[Payload, Reply], message: Payload, timeout_s: float | None = None
    ) -> Reply:
        self.asked.append(request.name)
        return await super().request(request, message, timeout_s)

    async def publish(self, event: Event[Payload], message: Payload) -> None:
        self.asked.append(event.name)
        await super().publish(event, message)


class SmallCluster:
    """What there is of it."""

    def __init__(self, folder: Path) -> None:
        self.bus = RecordingBus()
        self.path = folder / "tokens.json"
        self.store = TokensFileStore(self.path)
        self.token = ""
        """The id of the one token of the tenant `survey`."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let its services answer while the context is open."""
        scheduler, autoscaler = FakeScheduler(), FakeAutoscaler()
        scheduler.nodes = [node(1)]
        scheduler.tasks = [
            task(TASK, on=scheduler.nodes[0]),
            task(ENDED, TaskState.FAILED),
            task(WAITING, TaskState.WAITING),
        ]
        made = await self.store.change(partial(carried_out, CreateToken("survey"), now_ms()))
        assert made is not None
        self.token = made.issued.id
        async with (
            self.bus.serve("scheduler", scheduler.handlers()),
            self.bus.serve("autoscaler", autoscaler.handlers()),
        ):
            yield
