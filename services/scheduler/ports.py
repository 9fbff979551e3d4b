"""What the scheduler needs from the world, besides the bus and its buckets (libs/common/ports.py)."""

from collections.abc import Callable, Iterable
from typing import Protocol

from libs.common.errors import ClusterError
from libs.common.messages import TaskSummary
from libs.common.model import Node, NodeId, NodeInfo, NodeOption, NodeTaskId, OptionValue, Owner, TaskId
from services.scheduler.core.ended import EndedRow
from services.scheduler.core.looks import Look
from services.scheduler.core.queue import Key

NewId = Callable[[], str]
"""A fresh UUID."""


HeardInfo = Callable[[Node, NodeInfo | ClusterError], None]
"""How a node is, or why it did not say."""


class NodeApi(Protocol):
    """The nodes, over their own API. Every call ends within its time limit.

    Raises NodeUnreachable or NodeFailed (exactly these classes, they may cross the bus) for trouble, and Refused with the node's
    own words when it understood and said no.
    """

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Ask how it is."""
        ...

    async def infos(self, nodes: Iterable[Node], heard: HeardInfo, timeout_s: float) -> None:
        """Ask each how it is, all at once; each is told as soon as it is known. What would be raised is told. Ends when all are."""
        ...

    async def options(self, node: Node, timeout_s: float) -> tuple[NodeOption, ...]:
        """Ask which options it knows."""
        ...

    async def look(self, node: Node, task: NodeTaskId, from_line: int | None, timeout_s: float) -> Look | None:
        """Ask how a task is, and what it has written from a line on; None: it knows no such task."""
        ...

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...] | None:
        """Ask what a task has written from a line on; None: it knows no such task."""
        ...

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Cancel it; False: it knows no such task. One that is canceled already is a success."""
        ...

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Remove it; False: it knows no such task."""
        ...

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Remove what was uploaded and never committed; nothing happens to what was."""
        ...

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Run it again, with other options where given; False: it knows no such task."""
        ...


class EndedIndex(Protocol):
    """What can be asked of all ended tasks without reading their records. It is in memory, and small: see docs/decisions/0062."""

    def __len__(self) -> int:
        """Count them."""
        ...

    def add(self, rows: Iterable[EndedRow]) -> None:
        """Take tasks in; one that is there is replaced."""
        ...

    def drop(self, task: TaskId) -> None:
        """Take a task out; nothing happens when it is not there."""
        ...

    def key_of(self, task: TaskId) -> Key | None:
        """Find a task's place in the order of commits; None: it is not there."""
        ...

    def ids(self, owner: Owner, after: Key | None, limit_count: int) -> list[Key]:
        """List an owner's tasks in the order of their commits."""
        ...

    def summaries(
        self, owner: Owner | None, node: NodeId | None, after: Key | None, limit_count: int
    ) -> list[TaskSummary]:
        """List tasks in the order of their commits: those of an owner, and those whose last attempt was on a node."""
        ...

    def ended_before(self, ended_ms: int, limit_count: int) -> list[TaskId]:
        """Find tasks that ended long ago."""
        ...

    def holds(self, node: NodeId) -> bool:
        """Whether the last attempt of any of them was on this node."""
        ...
