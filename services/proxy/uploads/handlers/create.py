"""How a task comes to be: init, upload, commit; or all of it in one request.

init     check everything that can be known now, then make a place in the spool. Works with zero nodes: options are
         held against the list that the cluster last saw; when it never saw one, the node checks them later.
upload   goes into a receipt of the spool: its files appear together at the end, or not at all.
commit   the spool closes the upload for ever, then the scheduler writes it down, and only then it is answered. Both steps
         do nothing the second time, so a commit that is sent again gets the same answer.

A commit waits for a scheduler for a while (a restart, another leader), because most clients commit once only. When the bus
fails all the same the client is told so and may commit again: the upload is kept. Whether the
scheduler has written the task down all the same is found out by `settle`, which is called again and again: if so, the task
is forwarded like any other.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import GET_TASK, SUBMIT_TASK, SubmitTask, TaskRecord, TaskRef
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.tenancy import shown
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.nodeodm_api import Caller
from clusterodm.services.proxy.options.check import check_seed
from clusterodm.services.proxy.spool.core.history import is_removed
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft, Manifest, submission_of
from clusterodm.services.proxy.spool.ports import Receipt, Spool
from clusterodm.services.proxy.tenants.core import check_task_size
from clusterodm.services.proxy.tenants.handlers import TenantLimits
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.core import check_flood, draft_of, task_id
from clusterodm.services.proxy.uploads.ports import Forwarding

Done = TypeVar("Done")
Taken = TypeVar("Taken")
Check = Callable[[int, int], None]
"""Hears how many files of a request have come, and how many bytes of its body. Raises Refused for too many."""
Read = Callable[[Receipt, Check], Awaitable[Taken]]
"""Reads a request into a receipt, and has it checked as it comes."""

AGAIN_S: Final = 0.25
SETTLE_EVERY_S: Final = 5.0

log = structlog.get_logger()


class InDoubt(Enum):
    """What to do with an upload when it turns out that the scheduler does not know it."""

    KEEP = "keep"
    """Its client may commit again."""
    DISCARD = "discard"
    """Its client knows no id to ask for."""


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """What an operator decides about new tasks."""

    splitmerge: bool = True
    flood_limit_count: int = 0
    commit_wait_s: float = 0.0
    keeps_tokens: bool = False
    """Whoever checks tokens is told of the end of a task with the token that it came with."""


async def persist(act: Callable[[], Awaitable[Done]], wait_s: float) -> Done:
    """Do what does no harm when it is done again, until it works: others need a moment to take over from who died.

    Raises BusFailed when time is up.
    """
    deadline_s = monotonic_s() + wait_s
    while True:
        try:
            return await act()
        except BusFailed:
            if monotonic_s() >= deadline_s:
                raise
            await asyncio.sleep(AGAIN_S)


class Uploads:
    """Takes new uploads in."""

    def __init__(  # noqa: PLR0913 what it needs of the world, by name
        self,
        spool: Spool,
        cluster: Cluster,
        forwarding: Forwarding,
        policy: UploadPolicy,
        *,
        now_ms: Callable[[], WallMs],
        fresh_id: Callable[[], str],
    ) -> None:
        self._spool = spool
        self._cluster = cluster
        self._forwarding = forwarding
        self._policy = policy
        self._now_ms = now_ms
        self._fresh_id = fresh_id
        self._limits = TenantLimits(spool, cluster)

    async def init(self, client: Caller, set_uuid: str | None, form: dict[str, str]) -> TaskId:
        """Begin a task whose files will follow. Raises Refused, BusFailed when time is up."""
        task = task_id(set_uuid, self._fresh_id())
        draft = self._draft(task, client, form)
        self._check_flood(task, client)
        self._limits.check_new(client.tenant)
        await self._require_free(task, chosen=bool(set_uuid))
        await persist(lambda: self._spool.create(draft), self._policy.commit_wait_s)
        log.info("upload.started", task=task, options=len(draft.options))
        return task

    async def upload(
        self, client: Caller, task: TaskId, read: Read[Taken], expected_bytes: int = 0, *, more_follow: bool = True
    ) -> Taken:
        """Take one upload request; what `read` makes of it. Raises NotFound when there is no such upload of this client, SpoolFull.

        `more_follow`: it is not known to be the last one, so that it may be worth while to send its files ahead.
        """
        if not may_touch(client.owner, self._spool.draft(task).owner):
            raise NotFound(NO_SUCH_UPLOAD)
        self._limits.check_upload(client.tenant, task, expected_bytes)
        async with self._spool.receive(task, expected_bytes) as receipt:
            taken = await read(receipt, partial(self._limits.check_arrived, client.tenant, task))
        if more_follow and (begins := self._forwarding.arrived(task, receipt.published)):
            await begins
        return taken

    async def begin(self, client: Caller, set_uuid: str | None) -> TaskId:
        """Make room for a task that comes in one request, fields and files in any order. Raises Refused, BusFailed."""
        task = task_id(set_uuid, self._fresh_id())
        self._check_flood(task, client)
        self._limits.check_new(client.tenant)
        draft = self._draft(task, client, {})
        await self._require_free(task, chosen=bool(set_uuid))
        if self._spool.find(task) is not None:
            raise Refused(f"Invalid set-uuid: {task}")
        await persist(lambda: self._spool.create(draft), self._policy.commit_wait_s)
        return task

    async def describe(self, client: Caller, task: TaskId, form: dict[str, str]) -> None:
        """Keep the fields of what came in one request, now that they are known. Raises Refused, BusFailed."""
        await self._spool.create(self._draft(task, client, form))

    async def _require_free(self, task: TaskId, *, chosen: bool) -> None:
        """Raise Refused for the id of a task, whoever's.

        It is looked at when nothing else is against the request: nobody finds out about an id by one that would be refused anyway.
        """
        has_ended = chosen and await self._has_ended(task)
        if has_ended or self._cluster.task(task) is not None:
            raise Refused(f"Invalid set-uuid: {task}")

    async def _has_ended(self, task: TaskId) -> bool:
        """Whether an id is that of an ended task; where that cannot be said now, the commit will tell."""
        try:
            return await self._cluster.recall(task) is not None
        except BusFailed:
            return False

    def _check_flood(self, task: TaskId, client: Caller) -> None:
        check_flood(self._spool.open_count(client.owner, but=task), self._policy.flood_limit_count)

    def _draft(self, task: TaskId, client: Caller, form: dict[str, str]) -> Draft:
        known, now_ms = self._cluster.options(), self._now_ms()
        return draft_of(
            task,
            client,
            form,
            known,
            splitmerge=self._policy.splitmerge,
            now_ms=now_ms,
            keeps_token=self._policy.keeps_tokens,
        )


class Commits:
    """Hands uploads over to the scheduler."""

    def __init__(  # noqa: PLR0913 what it needs of the world, by name
        self,
        spool: Spool,
        bus: Bus,
        cluster: Cluster,
        forwarding: Forwarding,
        policy: UploadPolicy,
        *,
        now_ms: Callable[[], WallMs],
        checker: TokenChecker,
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._cluster = cluster
        self._forwarding = forwarding
        self._policy = policy
        self._now_ms = now_ms
        self._checker = checker
        self._in_doubt: dict[TaskId, InDoubt] = {}

    async def commit(self, client: Caller, task: TaskId) -> TaskId:
        """Commit an upload; the same answer again for one that is committed. Raises NotFound, Refused, BusFailed."""
        held = self._spool.find(task)
        if held is None or not may_touch(client.owner, held.draft.owner) or is_removed(held.history):
            return await self._committed_before(client, task)
        draft = held.draft
        await self._approve(client, task)
        manifest = await self._spool.commit(task, self._now_ms(), lambda found: self._check(client, found))
        try:
            submission = submission_of(draft, manifest, self._spool.instance)
            ahead = await self._forwarding.staged_of(task)
            record = await self._submit(msgspec.structs.replace(submission, ahead=ahead))
        except BusFailed:
            self._in_doubt.setdefault(task, InDoubt.KEEP)
            raise
        await self._accept(record)
        log.info("task.committed", task=task, images=manifest.images_count, size_bytes=manifest.size_bytes)
        return task

    async def _submit(self, submission: SubmitTask) -> TaskRecord:
        """Have the scheduler write it down. Raises Refused, BusFailed when time is up."""
        return await persist(lambda: self._bus.request(SUBMIT_TASK, submission), self._policy.commit_wait_s)

    async def abandon(self, client: Caller, task: TaskId) -> None:
        """Drop everything of a client's request that failed; while in doubt, as soon as there is none."""
        held = self._spool.find(task)
        if held is None or not may_touch(client.owner, held.draft.owner):
            return
        if task in self._in_doubt:
            self._in_doubt[task] = InDoubt.DISCARD
        else:
            await self._spool.discard(task)

    async def settle(self) -> None:
        """Find out what became of commits whose answer was lost. Raises BusFailed."""
        for task, doubt in list(self._in_doubt.items()):
            try:
                record = await self._bus.request(GET_TASK, TaskRef(task=task))
            except NotFound:
                if doubt is InDoubt.DISCARD:
                    await self._spool.discard(task)
            else:
                await self._accept(record)
            self._in_doubt.pop(task, None)

    async def _accept(self, record: TaskRecord) -> None:
        """Take a task over that the scheduler has written down."""
        self._in_doubt.pop(record.task.id, None)
        self._cluster.learn(record)
        await self._forwarding.adopt(record.task.id)

    async def _approve(self, client: Caller, task: TaskId) -> None:
        """Have whoever checks tokens agree to a task, where he wants to be asked. Raises Refused; then the upload goes."""
        held = self._spool.find(task)
        if not self._checker.is_told or held is None or held.committed:
            return
        manifest = await self._spool.manifest(task)
        try:
            await self._checker.approve(shown(client.token), manifest.images_count)
        except Refused:
            await self._spool.discard(task)
            raise

    def _check(self, client: Caller, manifest: Manifest) -> None:
        check_seed(manifest.has_seed, enabled=self._policy.splitmerge)
        check_task_size(client.tenant, manifest.images_count, manifest.size_bytes)

    async def _committed_before(self, client: Caller, task: TaskId) -> TaskId:
        """Answer a commit whose upload is gone: it was committed earlier, or never was here. Another's is asked for all the same."""
        try:
            await self._bus.request(GET_TASK, TaskRef(task=task, owner=client.owner))
        except NotFound:
            raise NotFound(NO_SUCH_UPLOAD) from None
        return task


@asynccontextmanager
async def settling(commits: Commits) -> AsyncIterator[None]:
    """Settle doubts while the context is open."""
    async with background(lambda: every(SETTLE_EVERY_S, commits.settle, "settle"), "settle"):
        yield
