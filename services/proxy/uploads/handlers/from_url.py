"""Tasks that come over the bus with the address of their images: nobody has their files, so any proxy can look after them.

Each proxy sees such a task in its mirror, and claims it from the scheduler if its disk has room; one is first. From then on it is like any other of
this proxy's: a draft without files in the spool, made of the record. That is why the record is enough to begin again, whenever this
proxy went away in between.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, Refused
from clusterodm.libs.common.messages.from_url import CLAIM_TASK, ClaimTask
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.loops import background, beat
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.spool.core.upload import Draft
from clusterodm.services.proxy.spool.ports import Spool
from clusterodm.services.proxy.uploads.ports import Forwarding

RETRY_S: Final = 5.0
"""After so long those are tried again that could not be taken up: the disk was full, or nobody answered."""

log = structlog.get_logger()


class TasksFromUrls:
    """Takes up what nobody holds yet, and what this proxy had claimed."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool, forwarding: Forwarding) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self._forwarding = forwarding
        self._wanted: dict[TaskId, None] = {}
        self._changed = asyncio.Event()

    def watch(self) -> None:
        """Look at each record, those that are there and each one that changes."""
        self._cluster.on_task(self._on_change)
        for task in self._cluster.tasks():
            self._consider(task)

    def _on_change(self, task: TaskId) -> None:
        record = self._cluster.task(task)
        if record is not None and record.task.from_url:
            self._consider(record.task)

    def _consider(self, task: Task) -> None:
        if is_to_be_taken_up(task, self._spool.instance) and not self._is_here(task.id):
            self._wanted[task.id] = None
            self._changed.set()

    def _is_here(self, task: TaskId) -> bool:
        held = self._spool.find(task)
        return held is not None and held.committed

    async def run(self) -> None:
        """Take up what comes, for ever."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), RETRY_S if self._wanted else None)
            self._changed.clear()
            await self.take_all()
            beat()

    async def take_all(self) -> None:
        """Take up all that there are; those that cannot be taken up now stay. Raises BusFailed."""
        for task in list(self._wanted):
            if not self._spool.has_room():
                return
            if self._is_in_the_way(task):
                continue
            try:
                await self._take_up(task)
            except BusFailed:
                raise
            except ClusterError as error:
                log.warning("task.claim_failed", task=task, reason=error.message)
            else:
                self._wanted.pop(task, None)

    def _is_in_the_way(self, task: TaskId) -> bool:
        """Whether a client has an upload of its own open under this id: it is left to it until it is over."""
        held, record = self._spool.find(task), self._cluster.task(task)
        return (
            held is not None and record is not None and not held.committed and held.draft.zip_url != record.task.zip_url
        )

    async def _take_up(self, task: TaskId) -> None:
        """Claim it, make it one of ours, and have it sent; nothing when another was first."""
        claim = ClaimTask(task=task, upload_owner=self._spool.instance)
        try:
            record = await self._bus.request(CLAIM_TASK, claim)
        except (NotFound, Refused) as error:
            log.debug("task.not_claimed", task=task, reason=error.message)
            return
        self._cluster.learn(record)
        if is_to_be_taken_up(record.task, self._spool.instance) and not self._is_here(task):
            await self._spool.create(draft_of_record(record.task))
            await self._spool.commit(task, record.task.committed_at_ms)
        await self._forwarding.adopt(task)
        log.info("task.claimed", task=task)


def is_to_be_taken_up(task: Task, instance: InstanceId) -> bool:
    """Whether a task needs a proxy, and it may be, or was to be, this one."""
    if not task.from_url or task.removed or task.state.ended or not task.inputs_kept:
        return False
    return task.upload_owner == instance or (not task.upload_owner and task.state is TaskState.WAITING)


def draft_of_record(task: Task) -> Draft:
    """Make of a record what `init` would have made."""
    return Draft(
        task=task.id,
        name=task.name,
        options=task.options,
        outputs=task.outputs,
        skip_post_processing=task.skip_post_processing,
        zip_url=task.zip_url,
        owner=task.owner,
        created_at_ms=task.created_at_ms,
        received_at_ms=task.created_at_ms,
        trace=task.trace,
    )


@asynccontextmanager
async def taking_up(bus: Bus, cluster: Cluster, spool: Spool, forwarding: Forwarding) -> AsyncIterator[None]:
    """Take up tasks from addresses while the context is open."""
    tasks = TasksFromUrls(bus, cluster, spool, forwarding)
    tasks.watch()
    async with background(tasks.run, "take up tasks from URLs"):
        yield
