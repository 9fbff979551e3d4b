"""Whether this scheduler may decide at this moment, and why no task is ever placed twice although schedulers come and go.

Any number of schedulers run; one holds the office (libs/common/leases.py), the others stand by. A term has an epoch, and each
term's is higher than those before. What keeps two terms from doing the same thing:

1. An attempt begins with a write of its task's record at the revision that was read, and a holder hears of it only after
   that write. Of two schedulers that write at the same revision one fails, reads again, and finds the other's attempt.
2. Before each write, and before anything is told to a node, the term is looked at (`require`). A scheduler that was frozen
   finds its term over as soon as it goes on. The bus looks again before it hands out an answer.
3. A write that was on its way while its scheduler was frozen may still arrive. Either it is at an old revision, and NATS
   refuses it; or nothing has happened to the task since, and it counts: the new scheduler follows the records for as long as
   its term lasts, and takes it in (`Ledger.follow_others`).
4. Before a proxy commits on a node, it has the attempt confirmed by whoever is in office. A placement or hint of an
   older term than it has heard of, it does not even begin with.

Requests are heard by each scheduler that thinks it is in office, and answered by the one whose term is valid (ports.Bus.serve).
"""

from collections.abc import Iterable

from libs.common.errors import BusFailed
from libs.common.model import Node, NodeInfo, NodeOption, NodeTaskId, OptionValue
from libs.common.ports import Term
from services.scheduler.core.looks import Look
from services.scheduler.ports import HeardInfo, NodeApi


class Office:
    """The right to decide, while it lasts."""

    def __init__(self, term: Term) -> None:
        self._term = term

    def __repr__(self) -> str:
        """Show the epoch and whether it still counts."""
        return f"Office(epoch={self.epoch} {'valid' if self._term.valid else 'over'})"

    @property
    def epoch(self) -> int:
        """Which term it is."""
        return self._term.epoch

    def require(self) -> None:
        """Raise BusFailed when the term is over: whoever asked should ask again, and will reach another."""
        if not self._term.valid:
            raise BusFailed("this scheduler is no longer in office")

    def heed(self, epoch: int) -> None:
        """Raise BusFailed when somebody has heard of a later term than this."""
        if epoch > self.epoch:
            raise BusFailed(f"a later scheduler is in office (epoch {epoch}, not {self.epoch})")


class NodesInOffice:
    """The nodes' API for a scheduler that may look at any time, but act only while it is in office. Implements ports.NodeApi."""

    def __init__(self, api: NodeApi, office: Office) -> None:
        self._api = api
        self._office = office

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Ask how it is."""
        return await self._api.info(node, timeout_s)

    async def infos(self, nodes: Iterable[Node], heard: HeardInfo, timeout_s: float) -> None:
        """Ask each how it is."""
        await self._api.infos(nodes, heard, timeout_s)

    async def options(self, node: Node, timeout_s: float) -> tuple[NodeOption, ...]:
        """Ask which options it knows."""
        return await self._api.options(node, timeout_s)

    async def look(self, node: Node, task: NodeTaskId, from_line: int | None, timeout_s: float) -> Look | None:
        """Ask how a task is."""
        return await self._api.look(node, task, from_line, timeout_s)

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...] | None:
        """Ask what a task has written."""
        return await self._api.output(node, task, from_line, timeout_s)

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Cancel it."""
        self._office.require()
        return await self._api.cancel(node, task, timeout_s)

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Remove it."""
        self._office.require()
        return await self._api.remove(node, task, timeout_s)

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Remove what was uploaded and never committed."""
        self._office.require()
        await self._api.discard(node, task, timeout_s)

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Run it again."""
        self._office.require()
        return await self._api.restart(node, task, options, timeout_s)
