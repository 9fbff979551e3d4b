"""What lies on a node and was not committed: how an upload gets there before its commit, and how what is given up is removed.

One upload's way to one node before its commit, under one id there: what is complete is sent, until an attempt goes on or not.

A transfer ends once. *Confirmed*, the files under way are sent to their end and nothing else is begun: an attempt goes on from
there. *Given up*, everything stops at once. Whatever else ends it is a failure, so an attempt only ever goes on with a transfer of
which every file is known to be on the node in full, or never to have been sent.

Removes from nodes what was sent there and will never be committed: half uploads take room for days otherwise.

The attempt of a canceled task, or one that failed, is over before its files are gone; so they go in the background, and a node that is
away costs nobody time. What cannot be removed is removed by the scheduler (which remembers the attempt), or by the node itself.

Never called for a commit that may be on its way: NodeODM would delete files that it is just taking over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import structlog

from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter, leaves, monotonic_s
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.libs.common.retry import RetryPolicy
from clusterodm.services.proxy.forwarding.core.stage_in import PendingFiles
from clusterodm.services.proxy.forwarding.handlers.delivery import Delivery, StepFailed, chance
from clusterodm.services.proxy.forwarding.ports import Sender

log = structlog.get_logger()

Check = Callable[[], Awaitable[str]]
"""Says why the transfer should end; empty: it goes on."""

AT_ONCE_COUNT: Final = 16
DISCARD_S: Final = 10.0
"""One try."""
STOP_S: Final = 1.0
"""What is left when the proxy stops has so long."""


class GivenUp(Exception):
    """The transfer ends without an attempt."""


class StageInTransfer:
    """One way of one upload. `run` it once."""

    def __init__(self, delivery: Delivery, ahead: StagedFiles, pending: PendingFiles) -> None:
        self.delivery = delivery
        self.ahead = ahead
        self.failure: str | None = "it was interrupted"
        """Why it came to nothing, once it is over."""
        self.over = asyncio.Event()
        """Nothing of it is under way any more."""
        self._pending = pending
        self._more = asyncio.Event()
        self._stopped = asyncio.Event()
        self._dropped = asyncio.Event()
        self._confirmed = False
        self._given_up = ""

    @property
    def may_be_confirmed(self) -> bool:
        """Whether an attempt could go on with it."""
        return not (self._given_up or self.over.is_set())

    def confirm(self) -> None:
        """End with the files that are under way."""
        self._confirmed = True
        self._more.set()
        self._stopped.set()

    def give_up(self, reason: str) -> None:
        """End at once."""
        self._given_up = self._given_up or reason
        self._stopped.set()
        self._dropped.set()

    def resume(self) -> None:
        """Take note that there may be something to send."""
        self._more.set()

    async def run(self, check: Check, check_every_s: float, parallel_count: int, gives_way: Callable[[], bool]) -> None:
        """Go, to the end. `gives_way` says whether to begin no other file now."""
        try:
            self.failure = await self._run(check, check_every_s, parallel_count, gives_way) or self._given_up or None
        finally:
            self.over.set()

    async def _run(self, check: Check, check_every_s: float, parallel_count: int, gives_way: Callable[[], bool]) -> str:
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(check, check_every_s), name="watch transfer")
                await self.delivery.begin()
                async with asyncio.TaskGroup() as hands:
                    for number in range(parallel_count):
                        hands.create_task(self._carry(gives_way), name=f"carry {number}")
                watching.cancel()
        except* (GivenUp, StepFailed, OSError, ClusterError) as group_of_failures:
            failures = leaves(group_of_failures)
        return str(failures[0]) if failures else ""

    async def _carry(self, gives_way: Callable[[], bool]) -> None:
        """Send one file after the other until the transfer is confirmed."""
        while not self._confirmed:
            name = None if gives_way() else self._pending.take()
            if name is None:
                self._more.clear()
                await self._more.wait()
            else:
                await self.delivery.send(name, self._pending.sizes[name])

    async def _watch(self, check: Check, check_every_s: float) -> None:
        """Look again and again whether it should go on. Raises GivenUp."""
        while True:
            if await wait_for_event(self._stopped, check_every_s):
                break
            if (why := await check()) and not self._stopped.is_set():
                raise GivenUp(why)
        await self._dropped.wait()
        raise GivenUp(self._given_up)


class Leftovers:
    """Discards uploads on nodes. Open it with `running()` for what goes in the background."""

    def __init__(self, sender: Sender, policy: RetryPolicy) -> None:
        self._sender = sender
        self._policy = policy
        self._limiter = TaskLimiter(AT_ONCE_COUNT, STOP_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while the context is open."""
        async with self._limiter:
            yield

    async def remove_later(self, task: TaskId, node: Node, node_task_id: NodeTaskId) -> None:
        """Begin to remove an upload."""
        await self._limiter.start(self.remove(task, node, node_task_id), name=f"discard {node_task_id}")

    async def remove(self, task: TaskId, node: Node, node_task_id: NodeTaskId) -> None:
        """Remove an upload, as far as its node can be reached."""
        began_s = monotonic_s()
        for tries_count in count(1):
            try:
                async with asyncio.timeout(DISCARD_S):
                    await self._sender.discard(node, node_task_id)
            except (ClusterError, TimeoutError) as error:
                pause_s = self._policy.pause_s(tries_count, monotonic_s() - began_s, chance())
                if pause_s is None:
                    log.info("upload.left_on_node", task=task, node=node.name, reason=str(error))
                    return
                await asyncio.sleep(pause_s)
            else:
                return
