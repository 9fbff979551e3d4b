"""What a scheduler still knows when the store is lost under it: its nodes, with their tokens, and its active tasks.

The lease is lost with the store, so the term ends. The next one, seconds later in the same process, finds another incarnation and writes what
the last one knew, as far as it is missing and no tombstone speaks against it. What is older than a minute is no longer believed:
another scheduler may have led in between.
"""

from collections.abc import Callable
from typing import Final

import structlog

from libs.common.clocks import Instant
from libs.common.errors import Conflict
from libs.common.model import IncarnationId, Node, Task
from services.scheduler.records.handlers.task_store import Ledger

log = structlog.get_logger()

BELIEVED_S: Final = 60.0


class Memory:
    """What the last term of this process knew."""

    def __init__(self) -> None:
        self._incarnation: IncarnationId | None = None
        self._nodes: tuple[Node, ...] = ()
        self._tasks: tuple[Task, ...] = ()
        self._until: Instant | None = None

    def __repr__(self) -> str:
        """Show how much."""
        return f"Memory(nodes={len(self._nodes)} tasks={len(self._tasks)})"

    def keep(self, incarnation: IncarnationId, ledger: Ledger) -> None:
        """Remember what a term knew that is over."""
        self._incarnation = incarnation
        self._nodes = tuple(node.record for node in ledger.board.nodes)
        self._tasks = tuple(ledger.board.index.tasks.values())
        self._until = ledger.instant() + BELIEVED_S

    async def give_back(self, incarnation: IncarnationId, ledger: Ledger) -> None:
        """Write what is missing into a store that began anew. Raises BusFailed."""
        if self._is_of_use(incarnation, ledger.instant()):
            missing = [node for node in self._nodes if ledger.board.nodes.get(node.id) is None]
            for node in missing:
                await ledger.write_node(node.id, kept(node))
            count = sum([await written(ledger, task) for task in self._tasks])
            log.error("records were lost, and are written again from memory", nodes=len(missing), tasks=count)
        self._nodes, self._tasks, self._until = (), (), None

    def _is_of_use(self, incarnation: IncarnationId, now: Instant) -> bool:
        return self._incarnation not in {None, incarnation} and self._until is not None and now <= self._until


def kept(node: Node) -> Callable[[Node | None], Node]:
    """Make the decision that writes a node unless there is one."""
    return lambda known: known or node


async def written(ledger: Ledger, task: Task) -> bool:
    """Write a task that nobody knows and nobody has removed; whether that was so. Raises BusFailed."""
    async with ledger.holding(task.id):
        if await ledger.lookup(task.id) is not None or await ledger.tombstone(task.id) is not None:
            return False
        try:
            await ledger.create(task)
        except Conflict:
            return False
        return True
