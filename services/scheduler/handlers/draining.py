"""Nodes that leave: no new tasks, and off the list when they have none.

At its deadline, what waits for its turn on a draining node is moved. The node is asked first; only what it has not begun with is
taken, by removing it there under the task's lock and then ending the attempt. Should the write fail after that, the next look
finds that the node does not know the task, and it gets a new attempt in that way. What the node processes is left to end.
"""

import structlog

from libs.common.clocks import Instant
from libs.common.errors import ClusterError
from libs.common.lifecycle import Crew
from libs.common.messages import NODE_REMOVED
from libs.common.model import Attempt, NodeId, StatusCode, Task, TaskId, TaskState
from services.scheduler.core.attempts import MOVED, Ending
from services.scheduler.core.board import LONGEST_S
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.tasks import tried
from services.scheduler.handlers.calm import calm
from services.scheduler.handlers.forwarding import patience_of
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice
from services.scheduler.ports import NodeApi
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

DRAINED = "the node is being drained"


class Drainer:
    """Sees draining nodes off."""

    def __init__(self, ledger: Ledger, api: NodeApi, voice: Voice, settings: SchedulerSettings) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._api = api
        self._voice = voice
        self._patience = patience_of(settings)
        self._timeout_s = settings.action_timeout_s
        self._under_way: set[NodeId] = set()
        self._due: dict[NodeId, tuple[int, Instant]] = {}
        """Deadlines as they are recorded, and the instants that they became when they were first seen."""

    async def check(self, crew: Crew) -> None:
        """Take empty ones off the list; move what waits on those whose time is up."""
        for node in list(self._board.nodes):
            if not node.record.draining or node.record.retired:
                continue
            if not node.ours_count:
                await self._let_go(node)
            elif self._is_due(node) and node.id not in self._under_way:
                self._under_way.add(node.id)
                await crew.start(self._empty(node), name=f"drain {node.id}")

    async def _let_go(self, node: NodeState) -> None:
        await self._ledger.retire_node(node.id)
        self._due.pop(node.id, None)
        await self._voice.of_node(NODE_REMOVED, node.record, reason="drained")

    def _is_due(self, node: NodeState) -> bool:
        until_ms = node.record.drain_until_ms
        return until_ms is not None and self._deadline(node, until_ms) <= self._ledger.instant() and node.online

    def _deadline(self, node: NodeState, until_ms: int) -> Instant:
        recorded_ms, due = self._due.get(node.id, (0, self._ledger.instant()))
        if recorded_ms != until_ms:
            due = self._ledger.now().until(until_ms, node.record.drain_s or LONGEST_S)
            self._due[node.id] = until_ms, due
        return due

    async def _empty(self, node: NodeState) -> None:
        try:
            for task in list(node.tasks):
                await calm(lambda task=task: self._move(task, node), "drain nodes")()  # type: ignore[misc]
        finally:
            self._under_way.discard(node.id)

    async def _move(self, task_id: TaskId, node: NodeState) -> None:
        async with self._ledger.holding(task_id):
            task = self._board.tasks.get(task_id)
            if task is None or task.state is not TaskState.RUNNING or task.attempts[-1].node != node.id:
                return
            if not await self._taken_back(task, task.attempts[-1], node):
                return
            record = await self._ledger.write(task_id, lambda now: self._moved(now, node))
        await self._voice.of_end(record.task, DRAINED)

    def _moved(self, task: Task, node: NodeState) -> Task:
        ending = Ending(DRAINED, MOVED)
        return tried(self._board.final(task), ending, node.record.name, self._patience, self._ledger.now_ms())

    async def _taken_back(self, task: Task, attempt: Attempt, node: NodeState) -> bool:
        """Remove a task from its node if that has not begun with it; whether it is gone there."""
        try:
            look = await self._api.look(node.record, attempt.node_task_id, None, self._timeout_s)
            if look is None or look.code is not StatusCode.QUEUED:
                return False
            await self._api.remove(node.record, attempt.node_task_id, self._timeout_s)
        except ClusterError as error:
            log.info("task not moved", task=task.id, node=node.id, error=error.message)
            return False
        return True
