"""Gives up attempts on nodes that have been silent for longer than their grace.

Silent means: neither a probe nor a look was answered. What is given up is written with a cleanup, so that a node which returns is
told to remove it. After a start of the scheduler the grace begins anew. When the autoscaler says that a node's machine is gone,
nothing is waited for.

Nobody was silent while nobody listened: when this process was frozen, or its computer slept, or its clock was put forward, that
time is taken off each node's silence.
"""

from typing import Final

import structlog

from libs.common.errors import NotFound
from libs.common.messages import Done, LoseNode
from libs.common.model import Cleanup, Task, TaskState
from services.scheduler.core.attempts import LOST, Ending
from services.scheduler.core.nodes import NodeState
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.tracking import Tracker
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

ABSENT_MS: Final = 1_000
"""Twice as long as `watch` pauses."""


class Loser:
    """Watches the silence of nodes."""

    def __init__(self, ledger: Ledger, tracker: Tracker, settings: SchedulerSettings) -> None:
        self._ledger = ledger
        self._tracker = tracker
        self._grace_ms = round(settings.node_grace_s * 1000)
        self._killer_within_ms = round(settings.killer_within_s * 1000)
        self._watched_at_ms: int | None = None

    async def watch(self) -> None:
        """Check, again and again. A time in which we did not look ourselves counts as nobody's silence."""
        now_ms = self._ledger.now_ms()
        away_ms = now_ms - (self._watched_at_ms or now_ms)
        self._watched_at_ms = now_ms
        if away_ms > ABSENT_MS:
            log.warning("this scheduler was away", away_ms=away_ms)
            for node in self._ledger.board.nodes:
                node.seen_at_ms = min(now_ms, node.seen_at_ms + away_ms)
        await self.check()

    async def check(self) -> None:
        """Give up what runs on nodes that are silent for too long."""
        for node in list(self._ledger.board.nodes):
            silent_ms = self._ledger.now_ms() - node.seen_at_ms
            if not node.online and node.tasks and silent_ms > self._grace_ms:
                await self._give_up_on(node, silent_ms)

    async def _give_up_on(self, node: NodeState, silent_ms: int) -> None:
        reason = f"the node has been silent for {silent_ms // 1000} s"
        for task_id in list(node.tasks):
            task = self._ledger.board.tasks[task_id]
            if task.state is TaskState.RUNNING:
                await self._tracker.give_up(task_id, self._lost(task, node, reason))

    def _lost(self, task: Task, node: NodeState, reason: str) -> Ending:
        began_ms = task.attempts[-1].running_at_ms or 0
        fatal = node.seen_at_ms - began_ms <= self._killer_within_ms
        return Ending(reason, LOST, counted=True, fatal=fatal, cleanup=Cleanup.REMOVE)

    async def lose(self, asked: LoseNode) -> Done:
        """Take a node off the list whose machine is gone, and give up at once what runs there. Raises NotFound."""
        node = self._ledger.board.nodes.get(asked.node)
        if node is None or node.record.retired:
            raise NotFound(f"There is no node {asked.node}")
        self._ledger.board.revoke_on(node.id)
        await self._ledger.retire_node(node.id)
        for task_id in list(node.tasks):
            task = self._ledger.board.tasks[task_id]
            if task.state is TaskState.RUNNING:
                await self._tracker.give_up(task_id, Ending(asked.reason, LOST, counted=True))
        return Done()
