"""Takes over an existing installation: its nodes, then the tasks that they have. May be run again at any time.

What is there already is left as it is and said. A node keeps its token and its lock. Machines of the autoscaler are not
taken over: the new autoscaler owns only machines that it has recorded itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from clusterodm.libs.common.errors import ClusterError, NotFound
from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.nodes import ADD_NODE, AddNode
from clusterodm.libs.common.messages.tasks import GET_TASK, IMPORT_ROUTE, ImportRoute, TaskRef
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.access.roles import acting
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.commands.handlers.queries import nodes_of
from clusterodm.services.admin.takeover.core import Address, OldNode, OldRoute

Say = Callable[[str], None]


@dataclass
class ImportCount:
    """What became of the entries of one kind."""

    taken: int = 0
    skipped: int = 0
    failed: int = 0

    def __str__(self) -> str:
        """Say it in a summary."""
        return f"{self.taken} imported, {self.skipped} skipped, {self.failed} failed"


@dataclass
class ImportResult:
    """What became of everything."""

    nodes: ImportCount
    routes: ImportCount

    @property
    def complete(self) -> bool:
        """Whether nothing failed."""
        return not (self.nodes.failed or self.routes.failed)

    def counts(self) -> dict[str, dict[str, int]]:
        """Say it in JSON."""
        return {"nodes": vars(self.nodes), "tasks": vars(self.routes)}


class Takeover:
    """One import under way."""

    def __init__(self, bus: Bus, at_ms: int, say: Say) -> None:
        self._bus = bus
        self._at_ms = at_ms
        self._say = say
        self._known: dict[Address, NodeId] = {}
        self.result = ImportResult(ImportCount(), ImportCount())

    async def run(self, nodes: Sequence[OldNode], routes: Sequence[OldRoute]) -> ImportResult:
        """Import nodes, then routes. Raises BusFailed when the scheduler does not answer at all."""
        self._known = {(node.hostname.lower(), node.port): node.id for node in await nodes_of(self._bus)}
        for node in nodes:
            await self._entry(self.result.nodes, "node", shown(node.hostname, node.port), self._node(node))
        for route in routes:
            await self._entry(self.result.routes, "task", route.task, self._route(route))
        return self.result

    async def _entry(self, count: ImportCount, kind: str, name: str, work: Awaitable[str]) -> None:
        """Import one entry; say, count and put on record what becomes of it. What is skipped is no act."""
        try:
            reason = await work
        except ClusterError as error:
            count.failed += 1
            await self._tell(kind, name, "failed", error.message)
            return self._say(f"{kind} {name}: failed, {error.message}")
        if reason:
            count.skipped += 1
            return self._say(f"{kind} {name}: skipped, {reason}")
        count.taken += 1
        await self._tell(kind, name, "done", "")
        return self._say(f"{kind} {name}: imported")

    async def _tell(self, kind: str, name: str, outcome: str, reason: str) -> None:
        await publish_act(self._bus, acting.get(), f"{kind.upper()} IMPORT", name, outcome, reason)

    async def _node(self, node: OldNode) -> str:
        """Import one node, or say why not."""
        if node.is_machine:
            return "machines belong to the autoscaler"
        if node.address in self._known:
            return "exists already"
        wanted = AddNode(hostname=node.hostname, port=node.port, token=node.token, locked=node.locked)
        self._known[node.address] = (await self._bus.request(ADD_NODE, wanted)).id
        return ""

    async def _route(self, route: OldRoute) -> str:
        """Import one route, or say why not."""
        if route.node not in self._known:
            return f"its node {route.node[0]}:{route.node[1]} is not in the cluster"
        if route.expired(self._at_ms):
            return "nobody has asked for it for five days"
        if await self._has(route):
            return "exists already"
        wanted = ImportRoute(task=route.task, node=self._known[route.node], owner=route.owner)
        await self._bus.request(IMPORT_ROUTE, wanted)
        return ""

    async def _has(self, route: OldRoute) -> bool:
        """Say whether the cluster has the task."""
        try:
            await self._bus.request(GET_TASK, TaskRef(task=route.task))
        except NotFound:
            return False
        return True
