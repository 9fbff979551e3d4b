"""What the scheduler needs from the world, besides the bus and its buckets (libs/common/ports.py)."""

from collections.abc import Callable
from typing import Protocol

from libs.common.model import Node, NodeInfo, NodeOption, NodeTaskId, OptionValue
from services.scheduler.core.looks import Look

NewId = Callable[[], str]
"""A fresh UUID."""


class NodeApi(Protocol):
    """The nodes, over their own API. Every call ends within its time limit.

    Raises NodeUnreachable or NodeFailed (exactly these classes, they may cross the bus) for trouble, and Refused with the node's
    own words when it understood and said no.
    """

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Ask how it is."""
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
