"""Answers of polls as they go over the wire, each worked out once however many ask for it at the same moment.

    /info                      encoded once per change of the totals
    info of an ended task      encoded once per record, and given when its owner has confirmed that it is still the last one
    what a node has just said  encoded once, and given when the record's owner has confirmed that nothing has changed
    everything else            asked of read.py; who asks the same before the answer is there gets the same bytes,
                               unless the record has changed meanwhile: who has just cancelled must see it

Whose task it is, is looked at for everybody who asks. What is unknown here, or fails, is not answered: the usual way says
it in the proper words.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.polling.core.node_queries import NodeAnswer
from clusterodm.services.proxy.polling.core.task_info import cluster_info, within
from clusterodm.services.proxy.polling.handlers.node_answers import FreshAnswers
from clusterodm.services.proxy.polling.handlers.read import Reader

log = structlog.get_logger()

ENDED_COUNT: Final = 2048
"""So many encoded answers of ended tasks are kept."""

INFOS_COUNT: Final = 1024
LONG_BYTES: Final = 64 * 1024
"""What is no longer is given to all who wait for it at once. Of what is longer each takes a copy to its connection."""
UNLIMITED: Final = (0, 0)

Take = Callable[[bytes | None], None]


class Poll(NamedTuple):
    """What is asked about a task."""

    task: TaskId
    output: bool
    """The console alone; otherwise how it stands."""
    from_line: int | None
    """From where the console is wanted; None: it is not."""


class PendingPoll:
    """A poll under way, and who waits for its answer."""

    __slots__ = ("record", "takers")

    def __init__(self, record: TaskRecord, take: Take) -> None:
        self.record = record
        self.takers = deque((take,))

    def __repr__(self) -> str:
        """Show how many wait."""
        return f"PendingPoll({self.record.task.id} takers={len(self.takers)})"

    def hand_out(self, content: bytes | None) -> None:
        """Give all who wait the answer; a long one to one in each turn of the loop: what they do not take at once is bounded from turn to turn (sharing.py), and others are answered in between."""
        while self.takers:
            self.takers.popleft()(content)
            if content is not None and len(content) > LONG_BYTES:
                asyncio.get_running_loop().call_soon(self.hand_out, content)
                return


class PollCoalescer:
    """Answers polls with bytes."""

    def __init__(self, reader: Reader, finder: TaskFinder, answers: FreshAnswers, cluster: Cluster) -> None:
        self._reader = reader
        self._finder = finder
        self._comparison = finder.comparison
        self._confirmer = finder.confirmer
        self._answers = answers
        self._cluster = cluster
        self._under_way: dict[Poll, PendingPoll] = {}
        self._ended: dict[TaskId, tuple[Task, bytes]] = {}
        self._info_of: ClusterSummary | None = None
        self._info: dict[tuple[int, int], bytes] = {}
        """By the limits of tenants that it shows."""

    def __repr__(self) -> str:
        """Show what is going on."""
        return f"PollCoalescer(under_way={list(self._under_way.values())} ended={len(self._ended)})"

    def info(self, tenant: Tenant | None = None) -> bytes:
        """Answer `/info`; a tenant sees what it may have of it."""
        summary = self._reader.summary()
        if summary is not self._info_of or len(self._info) > INFOS_COUNT:
            self._info_of, self._info = summary, {}
        limits = (tenant.max_images_count, tenant.tasks_at_once_count) if tenant else UNLIMITED
        if limits not in self._info:
            self._info[limits] = msgspec.json.encode(cluster_info(within(summary, *limits)))
        return self._info[limits]

    def answer(self, poll: Poll, owner: Owner, take: Take) -> Coroutine[Any, Any, None] | None:
        """Call `take` with the answer, now or later, or with None; what is returned is to be awaited for that."""
        record = self._cluster.task(poll.task)
        if (
            record is None
            or record.task.removed
            or not may_touch(owner, record.task.owner)
            or not self._comparison.is_compared(poll.task)
        ):
            take(None)
            return None
        answer = self._answers.find(record, output=poll.output)
        if answer is not None and self._confirmer.is_prompt:
            content = answer.encoded.get(poll.from_line) or self._reader.told_again(answer, poll.from_line)
            if content is not None:
                return self._confirmer.notify(record, partial(self._tell_again, answer, content, take))
        asked = self._under_way.get(poll)
        if asked is not None and asked.record.task is record.task:
            asked.takers.append(take)
            return None
        asked = self._under_way[poll] = PendingPoll(record, take)
        return self._find_out(poll, asked)

    def _tell_again(self, answer: NodeAnswer, content: bytes, take: Take, is_last: bool) -> None:
        """Tell what a node has just said, when the record's owner has said that nothing has changed."""
        take(content if is_last and self._answers.holds(answer) else None)

    def _of_ended(self, task: Task) -> bytes | None:
        kept = self._ended.get(task.id)
        if kept is not None and kept[0] is task:
            return kept[1]
        info = self._reader.info_of_ended(task)
        if info is None:
            return None
        if len(self._ended) >= ENDED_COUNT:
            self._ended.clear()
        content = msgspec.json.encode(info)
        self._ended[task.id] = task, content
        return content

    async def _find_out(self, poll: Poll, asked: PendingPoll) -> None:
        content = None
        try:
            content = await self._said(poll, asked.record)
        except ClusterError as error:
            log.debug("poll.fast_path_left", task=poll.task, reason=error.message)
        finally:
            if self._under_way.get(poll) is asked:
                del self._under_way[poll]
            asked.hand_out(content)

    async def _said(self, poll: Poll, record: TaskRecord) -> bytes:
        if poll.output:
            return msgspec.json.encode(await self._reader.output_of(record, poll.from_line or 0))
        if poll.from_line is None and self._of_ended(record.task) is not None:
            record = await self._finder.confirmed(record)
            if (content := self._of_ended(record.task)) is not None:
                return content
        return msgspec.json.encode(await self._reader.info_of(record, poll.from_line))
