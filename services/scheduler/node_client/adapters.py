"""The nodes over clusterodm.libs.common.nodeodm.client, and the same for a scheduler that acts only while it leads.

The words and exceptions of clusterodm.libs.common.nodeodm.client are mapped to what `ports.NodeApi` promises.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

from clusterodm.libs.common.errors import ClusterError, NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.model.nodes import Node, NodeInfo, NodeOption, OptionValue, percent, whole_ms
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.nodeodm.calls import ANOTHER, Strays
from clusterodm.libs.common.nodeodm.client import NodeClient, NodeRefused, few, sentence
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.node_client.ports import HeardInfo, NodeApi, ObservedTask, count_of

Answer = TypeVar("Answer")

NOT_FOUND: Final = "not found"
"""NodeODM's `<uuid> not found` and `Invalid uuid (not found)`."""
ALREADY_CANCELED: Final = "already cancel"
"""NodeODM's `Task already cancelled`."""


async def within(timeout_s: float, node: Node, call: Awaitable[Answer]) -> Answer:
    """Await a call for so long at most. Raises Refused, NodeUnreachable or NodeFailed, and nothing else."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except ClusterError as error:
        raise mapped(error) from None
    except TimeoutError:
        raise NodeFailed(f"{node.name} did not answer within {timeout_s:g} s") from None


def mapped(error: ClusterError) -> ClusterError:
    """Say what happened in the classes that `ports.NodeApi` promises."""
    match error:
        case NodeRefused():
            return Refused(error.message)
        case NodeUnreachable():
            return error
        case NodeFailed():
            return NodeFailed(error.message)
    return error


async def if_found(call: Awaitable[Answer]) -> Answer | None:
    """Turn NodeODM's way of saying that there is no such task into None."""
    try:
        return await call
    except Refused as error:
        if NOT_FOUND in error.message:
            return None
        raise


class NodeODMAdapter:
    """Implements `ports.NodeApi`."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client
        self._strays = Strays()

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Ask `GET /info`."""
        return await within(timeout_s, node, self._client.info(node, timeout_s))

    async def infos(self, nodes: Iterable[Node], heard: HeardInfo, timeout_s: float) -> None:
        """Ask `GET /info` of each."""

        def said(node: Node, answer: NodeInfo | ClusterError) -> None:
            heard(node, mapped(answer) if isinstance(answer, ClusterError) else answer)

        await self._client.infos(nodes, said, timeout_s)

    async def options(self, node: Node, timeout_s: float) -> tuple[NodeOption, ...]:
        """Ask `GET /options`."""
        return await within(timeout_s, node, self._client.options(node, timeout_s))

    async def observe(
        self, node: Node, task: NodeTaskId, from_line: int | None, timeout_s: float
    ) -> ObservedTask | None:
        """Ask `GET /task/<id>/info`."""
        call = self._client.task_info(node, task, from_line=from_line, timeout_s=timeout_s)
        said = await if_found(within(timeout_s, node, call))
        if said is None:
            return None
        if self._strays.has(node, task, said.uuid):
            raise NodeFailed(f"{node.name} {ANOTHER}")
        processing_time_ms = whole_ms(said.processing_time)
        return ObservedTask(
            code=said.status.code,
            error=sentence(said.status.error_message),
            progress=percent(said.progress),
            processing_time_ms=processing_time_ms,
            options=few(said.options),
            lines=tuple(said.output),
            name=sentence(said.name or ""),
            created_at_ms=max(0, whole_ms(said.date_created)),
            images_count=count_of(said.status.code, processing_time_ms, said.images_count),
        )

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...] | None:
        """Ask `GET /task/<id>/output`."""
        lines = await if_found(within(timeout_s, node, self._client.output(node, task, from_line, timeout_s)))
        return None if lines is None else tuple(lines)

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Ask `POST /task/cancel`."""
        try:
            return await self._acted(node, self._client.cancel(node, task, timeout_s), timeout_s)
        except Refused as error:
            if ALREADY_CANCELED in error.message:
                return True
            raise

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Ask `POST /task/remove`."""
        return await self._acted(node, self._client.remove(node, task, timeout_s), timeout_s)

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Ask `POST /task/new/init` for what no NodeODM takes: it refuses, and removes what was uploaded."""
        with suppress(Refused):
            await within(timeout_s, node, self._client.discard(node, task, timeout_s))

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Ask `POST /task/restart`."""
        return await self._acted(node, self._client.restart(node, task, options, timeout_s), timeout_s)

    async def _acted(self, node: Node, call: Awaitable[None], timeout_s: float) -> bool:
        async def done() -> bool:
            await within(timeout_s, node, call)
            return True

        return await if_found(done()) is not None


class LeaderGuardedNodes:
    """The nodes' API of a scheduler: anybody may ask a node, only the leader may change something there. Implements ports.NodeApi."""

    def __init__(self, api: NodeApi, leadership: Leadership) -> None:
        self._api = api
        self._leadership = leadership
        self.info = api.info
        self.infos = api.infos
        self.options = api.options
        self.observe = api.observe
        self.output = api.output

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Cancel it."""
        self._leadership.require()
        return await self._api.cancel(node, task, timeout_s)

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Remove it."""
        self._leadership.require()
        return await self._api.remove(node, task, timeout_s)

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Remove what was uploaded and never committed."""
        self._leadership.require()
        await self._api.discard(node, task, timeout_s)

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Run it again."""
        self._leadership.require()
        return await self._api.restart(node, task, options, timeout_s)
