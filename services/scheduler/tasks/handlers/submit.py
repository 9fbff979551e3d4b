"""How a task begins: a client's commit, an address over the bus, an upload owner that submits it again, or a route that is taken over.

An upload owner submits again when the record is lost, or older than what has happened (tasks/core/submission.py).
"""

from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.errors import Conflict, NotFound, Refused, Removed
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.from_url import ClaimTask, SubmitFromUrl
from clusterodm.libs.common.messages.tasks import (
    TASK_STARTED,
    TASK_SUBMITTED,
    AdoptTask,
    ImportRoute,
    SubmitTask,
    TaskRecord,
    TaskSummary,
)
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TASK_ID, NodeTaskId, TaskId
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.node_client.ports import NodeApi, ObservedTask
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import Need
from clusterodm.services.scheduler.task_life.graphics import asks_for_gpu, with_demand
from clusterodm.services.scheduler.task_life.transitions import HELD_BY_NOBODY
from clusterodm.services.scheduler.tasks.core.submission import (
    adopted,
    caught_up,
    check_from_url,
    claimed,
    images_in,
    imported,
    same_address,
    same_commit,
    submitted,
    submitted_from_url,
)
from clusterodm.services.scheduler.tasks.ports import TaskQueue

log = structlog.get_logger()

LARGEST_BYTES: Final = 256 * 1024
IMPORT_TIMEOUT_S: Final = 3.0
"""Shorter than whoever imports waits for an answer."""


class TaskSubmission:
    """Takes tasks in: one durable write, then the answer."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        records: Records,
        queue: TaskQueue,
        api: NodeApi,
        events: EventPublisher,
        summary: Callable[[Task], TaskSummary],
        gpu_options: frozenset[str],
    ) -> None:
        """Take its collaborators; `gpu_options`: those that ask for a graphics card."""
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._queue = queue
        self._api = api
        self._events = events
        self._summary = summary
        self._gpu_options = gpu_options

    async def submit(self, request: SubmitTask) -> TaskRecord:
        """Take a commit. The same one again gets the same answer, and nothing happens twice."""
        check_uuid(request.task)
        check_size(request)
        self._queue.heard(request.upload_owner)
        async with self._tasks.holding(request.task):
            if known := await self._tasks.lookup(request.task):
                return same(known, request)
            record = await self._create(request)
        await self._events.publish_task(TASK_SUBMITTED, record.task, reason=record.task.waiting_because)
        self._queue.offer(record.task, request.ahead)
        return record

    async def _create(self, request: SubmitTask) -> TaskRecord:
        now_ms = self._index.next_commit_ms(self._clock.wall_ms())
        images_count = images_in(request)
        gpu = asks_for_gpu(request.options, self._gpu_options)
        need = Need(images_count or 0, images_known=images_count is not None, owner=request.owner, gpu=gpu)
        beyond = request.submodel and self._queue.is_beyond(need)
        because = self._queue.why_not_at_once(request.task, request.upload_owner, need)
        try:
            begun = submitted(request, now_ms, because, beyond=beyond)
            return await self._tasks.create(with_demand(begun, self._gpu_options))
        except Conflict:
            return same(self._tasks.record(request.task), request)
        finally:
            self._queue.came(request.task)

    async def submit_from_url(self, request: SubmitFromUrl) -> TaskSummary:
        """Take a task that somebody sends over the bus; the first proxy that has room claims it. The same one again gets the same answer."""
        check_uuid(request.task)
        check_from_url(request)
        check_size(request)
        async with self._tasks.holding(request.task):
            known = await self._tasks.lookup(request.task)
            if known and not same_address(known.task, request):
                raise Refused(f"Invalid task: {request.task} is another task's id")
            record = known or await self._create_from_url(request)
        if known is None:
            await self._events.publish_task(TASK_SUBMITTED, record.task, reason=record.task.waiting_because)
            log.info("task.submitted_from_url", task=request.task, owner=request.owner)
        return self._summary(self._index.shown(record.task))

    async def _create_from_url(self, request: SubmitFromUrl) -> TaskRecord:
        now_ms = self._index.next_commit_ms(self._clock.wall_ms())
        gpu = asks_for_gpu(request.options, self._gpu_options)
        need = Need(0, images_known=False, owner=request.owner, gpu=gpu)
        begun = submitted_from_url(request, now_ms, self._queue.why_not_at_once(request.task, HELD_BY_NOBODY, need))
        try:
            return await self._tasks.create(with_demand(begun, self._gpu_options))
        finally:
            self._queue.came(request.task)

    async def claim(self, request: ClaimTask) -> TaskRecord:
        """Let a proxy hold a task that nobody holds. Raises Refused when another was first."""
        if not request.upload_owner:
            raise Refused("nobody claims it")
        change = await self._tasks.change(request.task, lambda task: claimed(task, request.upload_owner))
        self._queue.heard(request.upload_owner)
        return change.record

    async def adopt(self, request: AdoptTask) -> TaskRecord:
        """Take in what an upload owner knows of a task and the records do not. Raises Removed where a tombstone, or what is taken in, says so."""
        submission = request.submission
        check_uuid(submission.task)
        check_size(submission)
        self._queue.heard(submission.upload_owner)
        async with self._tasks.holding(submission.task):
            known = await self._tasks.lookup(submission.task)
            before = known.task if known else None
            record = await (self._adopt(request) if known is None else self._catch_up(request, known.task))
        if record.task.removed:  # that was told when it was done; now its nodes are
            raise Removed(f"{submission.task} was removed")
        if record.task != before:
            reason = "its record was lost" if before is None else "its record was older than it"
            await self._events.publish_task(TASK_SUBMITTED, record.task, reason=reason)
            if record.task.state.ended:
                await self._events.publish_end(before, record.task, reason)
        if record.task.state is TaskState.WAITING:
            self._queue.offer(record.task)
        return record

    async def _adopt(self, request: AdoptTask) -> TaskRecord:
        submission = request.submission
        gone = await self._tasks.tombstone(submission.task)
        if gone and (gone.owner, gone.created_at_ms) == (submission.owner, submission.created_at_ms):
            raise Removed(f"{submission.task} was removed")
        try:
            begun = adopted(request, self._clock.wall_ms())
            return await self._tasks.create(with_demand(begun, self._gpu_options))
        except Conflict:
            return await self._catch_up(request, self._tasks.record(submission.task).task)

    async def _catch_up(self, request: AdoptTask, known: Task) -> TaskRecord:
        submission = request.submission
        if known.removed:
            raise Removed(f"{submission.task} was removed")
        if not same_commit(known, submission):
            raise Refused(f"{submission.task} is another task, or held by another proxy")
        return await self._tasks.write(submission.task, lambda task: caught_up(task, request, self._clock.wall_ms()))

    async def import_route(self, request: ImportRoute) -> TaskRecord:
        """Take over a task that runs on a known node. Once is enough: again gets the same answer."""
        check_uuid(request.task)
        node = self._nodes.get(request.node)
        if node is None:
            raise NotFound(f"There is no node {request.node}")
        async with self._tasks.holding(request.task):
            if known := await self._tasks.lookup(request.task):
                return taken_over_before(known, request)
            record = await self._take_over(request, node)
        await self._events.publish_task(TASK_STARTED, record.task, reason="taken over")
        return record

    async def _take_over(self, request: ImportRoute, node: NodeState) -> TaskRecord:
        observation = await self._api.observe(node.record, NodeTaskId(request.task), None, IMPORT_TIMEOUT_S)
        if observation is None:
            raise NotFound(f"{request.task} not found on {node.record.name}")
        return await self._tasks.create(self._imported(request, observation))

    def _imported(self, request: ImportRoute, observation: ObservedTask) -> Task:
        now_ms = self._index.next_commit_ms(self._clock.wall_ms())
        return imported(
            request, observation.name, observation.created_at_ms or now_ms, observation.images_count, now_ms
        )


def same(known: TaskRecord, request: SubmitTask) -> TaskRecord:
    """Answer a commit with what it made when it came before. Raises Refused when that was another."""
    if not same_commit(known.task, request):
        raise Refused(f"Invalid set-uuid: {request.task}")
    return known


def taken_over_before(known: TaskRecord, request: ImportRoute) -> TaskRecord:
    """Answer with what a route was taken over as. Raises Refused when its id is another's."""
    if known.task.removed or not may_touch(request.owner, known.task.owner):
        raise Refused(f"Invalid set-uuid: {request.task}")
    return known


def check_size(request: SubmitTask | SubmitFromUrl) -> None:
    """Refuse what would not leave room for the rest of its record."""
    if len(msgspec.json.encode(request)) > LARGEST_BYTES:
        raise Refused("The name, options and outputs of this task are too long")


def check_uuid(task: TaskId) -> None:
    """Refuse what is no UUID: it becomes a key, a directory and part of URLs."""
    if not TASK_ID.fullmatch(task):
        raise Refused(f"Invalid set-uuid: {task[:100]}")
