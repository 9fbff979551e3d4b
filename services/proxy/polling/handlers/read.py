"""What clients ask again and again: info and output of a task, the list of tasks, the cluster's info and options.

The order for one task: find its record (cluster/handlers/finding.py); if it runs, say what its node has just said (node_answers.py), if the
record's owner says that nothing has changed; else ask its node for at most a second. In any case have the record confirmed by its owner: through
any number of proxies no client sees an earlier state after a later one, and a node need not know yet that its task was canceled. Only where
nobody confirms it in time, the word of the node counts that the task goes on. Then fall back to what the record knows. Trouble that may pass is never an answer: BusFailed leaves
here only when nothing at all is known, and the connection is then closed without one. The console of a task that has ended is kept beside its record, and read from there.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.console import OwnLines, attempt_on_node, kept_lines
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.http_io.room import ROOM, size_of
from clusterodm.libs.common.messages.placement import FINISH_REPORTED, FinishReported
from clusterodm.libs.common.messages.tasks import READ_CONSOLE, ReadConsole, TaskRecord
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import NodeOption
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.polling.core.node_queries import NodeAnswer
from clusterodm.services.proxy.polling.core.task_info import (
    contradicts,
    is_queued,
    known_info,
    node_info,
    own_lines_with_place,
)
from clusterodm.services.proxy.polling.handlers.lists import TaskLists
from clusterodm.services.proxy.polling.handlers.node_answers import NodeAnswers

KEPT_PART_S: Final = 0.9
"""How long a part of a kept console may take before the node is asked instead."""
KEPT_CONSOLE_S: Final = 5.0
"""How long all its parts may take."""


class Reader:
    """Answers polls."""

    def __init__(self, bus: Bus, cluster: Cluster, finder: TaskFinder, answers: NodeAnswers, clock: Clock) -> None:
        self._bus = bus
        self._cluster = cluster
        self._finder = finder
        self._answers = answers
        self._lists = TaskLists(bus, cluster, finder.comparison)
        self._now_ms = clock.wall_ms

    def summary(self) -> ClusterSummary:
        """Say the cluster's totals."""
        return self._cluster.summary()

    def options(self) -> tuple[NodeOption, ...]:
        """List the options that tasks may have; empty when no node was ever seen."""
        return self._cluster.options()

    async def tasks_of(self, owner: Owner) -> bytes:
        """List an owner's committed tasks, as JSON. Raises BusFailed when nothing is known of them."""
        return await self._lists.json_of(owner)

    async def info(self, task_id: TaskId, owner: Owner, from_line: int | None) -> dict[str, Any]:
        """Say how a task stands, with its console from a line on where asked."""
        return await self.info_of(await self._finder.find(task_id, owner, "info"), from_line)

    async def output(self, task_id: TaskId, owner: Owner, from_line: int) -> list[str]:
        """Say a task's console from a line on; negative: the last lines."""
        record = await self._finder.find(task_id, owner, "output")
        if self._finder.is_in_doubt(task_id):
            record, _ = await self._last(record, None)
        return await self.output_of(record, from_line)

    async def info_of(self, record: TaskRecord, from_line: int | None) -> dict[str, Any]:
        """Say how a task stands that has been found. Raises BusFailed when it is not certain that it still stands so."""
        latest, said = await self._last(record, from_line)
        if said is not None:
            return self._from_node(latest.task, said, from_line)
        return await self._known_info(latest.task, from_line)

    async def _last(self, record: TaskRecord, from_line: int | None) -> tuple[TaskRecord, dict[str, Any] | None]:
        """Find the last record of a task, and what its node says of one that runs. Raises BusFailed when nobody can tell.

        Its node may not know yet that it was canceled. That it has ended there may have been told already, of a later record.
        """
        while True:
            said = await self._said_of_running(record, from_line)
            ended = said is not None and contradicts(record.task, said)
            goes_on = said is not None and not ended
            if goes_on and not await self._finder.confirmer.is_known_outdated(record):
                return record, said
            if ended:
                await self._mention(record.task)
            latest = await self._finder.confirmed(record, seen_on_node=goes_on, ended_on_node=ended)
            if latest is record:
                return record, said
            if latest.task.state is not TaskState.RUNNING:
                return latest, None
            record = latest

    async def _said_of_running(self, record: TaskRecord, from_line: int | None) -> dict[str, Any] | None:
        """Say what the node of a running task says; None when it has nothing to say of it."""
        if record.task.state is not TaskState.RUNNING:
            return None
        line = self._line(record.task, from_line)
        answer = await self._answers.of_running(record, line, output=False)
        if answer is None or answer.info is None:
            return None
        return {**answer.info, "output": list(answer.lines_from(line) or ())}

    def _from_node(self, task: Task, said: dict[str, Any], from_line: int | None) -> dict[str, Any]:
        info = {**(node_info(task, said) or {})}
        lines = info.pop("output", None) or ()
        if from_line is None:
            return info
        return {**info, "output": self._console(task, lines, from_line)}

    async def _known_info(self, task: Task, from_line: int | None) -> dict[str, Any]:
        """Say how a task stands of which no node says anything."""
        info = known_info(task, self._now_ms())
        if from_line is None:
            return info
        if task.state.ended:
            return {**info, "output": await self.output_of(TaskRecord(task=task, revision=0), from_line)}
        lines = kept_lines(task.known, self._node_line(task, from_line))
        return {**info, "output": self._console(task, lines, from_line)}

    def _line(self, task: Task, from_line: int | None) -> int | None:
        return None if from_line is None else self._node_line(task, from_line)

    def _node_line(self, task: Task, from_line: int) -> int:
        return self._own_lines(task).node_line(from_line)

    async def output_of(self, record: TaskRecord, from_line: int) -> list[str]:
        """Say the console of a task that has been found."""
        task = record.task
        if (kept := await self._kept_console(task, from_line)) is not None:
            return kept
        line = self._node_line(task, from_line)
        if task.state is TaskState.RUNNING:
            answer = await self._answers.of_running(record, line, output=True)
        else:
            answer = await self._answers.ask_for_output(record, line)
        lines = answer.lines_from(line) if answer else None
        return self._console(task, kept_lines(task.known, line) if lines is None else lines, from_line)

    def told_again(self, answer: NodeAnswer, from_line: int | None) -> bytes | None:
        """Encode what is told of a node's answer, once; None: it does not have those lines."""
        if from_line in answer.encoded:
            return answer.encoded[from_line]
        task = answer.record.task
        line = self._line(task, from_line)
        found = self._answers.fresh.find_with(answer.record, line, output=answer.info is None)
        if found is None:
            return None
        lines = found.lines_from(line) or ()
        if found.info is not None:
            told: Any = self._from_node(task, {**found.info, "output": list(lines)}, from_line)
        else:
            told = self._console(task, lines, from_line or 0)
        return answer.keep_encoded(from_line, msgspec.json.encode(told))

    def info_of_ended(self, task: Task) -> dict[str, Any] | None:
        """Say how a task stands for ever; None: it has not ended. Whatever its node tells of it later is not about the task."""
        return known_info(task, self._now_ms()) if task.state.ended else None

    async def _kept_console(self, task: Task, from_line: int) -> list[str] | None:
        """Read the console of an ended task from where it is kept, in several answers where it is long; None: it is not, or cannot be read now."""
        if not (task.state.ended and task.console_kept):
            return None
        lines: list[str] = []
        try:
            async with asyncio.timeout(KEPT_CONSOLE_S), ROOM.share() as share:
                while answer := await self._read_console(task, from_line + len(lines) if from_line >= 0 else from_line):
                    lines.extend(answer)
                    if from_line < 0:
                        break
                    await share.add(size_of(answer))
        except (ClusterError, TimeoutError):
            return None
        return lines

    async def _read_console(self, task: Task, from_line: int) -> tuple[str, ...]:
        asked = ReadConsole(task=task.id, owner=task.owner, from_line=from_line)
        return (await self._bus.request(READ_CONSOLE, asked, timeout_s=KEPT_PART_S)).lines

    async def _mention(self, task: Task) -> None:
        """Have the scheduler look now: the node is ahead of the record."""
        if (attempt := attempt_on_node(task)) is not None:
            await self._bus.publish(FINISH_REPORTED, FinishReported(node_task_id=attempt.node_task_id))

    def _console(self, task: Task, node_lines: Sequence[str], from_line: int) -> list[str]:
        node_count = task.known.console_count if task.known else 0
        return self._own_lines(task).around(node_lines, node_count, from_line)

    def _own_lines(self, task: Task) -> OwnLines:
        position = self._cluster.position(task) if is_queued(task) else None
        return own_lines_with_place(task, position)
