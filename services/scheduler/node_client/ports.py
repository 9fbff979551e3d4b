"""The nodes' own API, as the scheduler needs it, and what it says of a task."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.model.nodes import Node, NodeInfo, NodeOption, OptionValue, whole_count
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeTaskId


@dataclass(frozen=True)
class ObservedTask:
    """What a node says of a task."""

    code: StatusCode
    error: str = ""
    progress: float = 0.0
    processing_time_ms: int = -1
    options: tuple[OptionValue, ...] = ()
    lines: tuple[str, ...] = ()
    """The console from the line that was asked for on."""
    name: str = ""
    created_at_ms: int = 0
    images_count: int | None = None
    """None: it has not counted them yet."""


def count_of(code: StatusCode, processing_time_ms: int, said: Any) -> int | None:
    """Read how many images a node has counted; None: it has not, or says no number.

    While it initialises a task (RUNNING, no processing time yet), and when it has failed to, it says how many files came: an archive is one.
    """
    initialised = code is StatusCode.QUEUED or processing_time_ms >= 0
    return (whole_count(said) or None) if initialised else None


HeardInfo = Callable[[Node, NodeInfo | ClusterError], None]
"""How a node is, or why it did not say."""


class NodeApi(Protocol):
    """The nodes, over their own API. Every call ends within its time limit.

    Raises NodeUnreachable or NodeFailed (exactly these classes, they may cross the bus) for trouble, and Refused with the node's
    own words when it understood and said no.
    """

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Ask how it is."""

    async def infos(self, nodes: Iterable[Node], heard: HeardInfo, timeout_s: float) -> None:
        """Ask each how it is, all at once; each is told as soon as it is known. What would be raised is told. Ends when all are."""

    async def options(self, node: Node, timeout_s: float) -> tuple[NodeOption, ...]:
        """Ask which options it knows."""

    async def observe(
        self, node: Node, task: NodeTaskId, from_line: int | None, timeout_s: float
    ) -> ObservedTask | None:
        """Ask how a task is, and what it has written from a line on; None: it knows no such task."""

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...] | None:
        """Ask what a task has written from a line on; None: it knows no such task."""

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Cancel it; False: it knows no such task. One that is canceled already is a success."""

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Remove it; False: it knows no such task."""

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Remove what was uploaded and never committed; nothing happens to what was."""

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Run it again, with other options where given; False: it knows no such task."""
