"""The one writer of nodes, and what proxies have written of themselves.

A node is decided and written as tasks are (records/handlers/task_store.py): synchronously on what is in memory, with the revision it was
read at, and again when the record turns out to have changed.
"""

from collections.abc import Callable

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import Conflict, NotFound
from clusterodm.libs.common.messages.buckets import PROXIES, UPLOADS
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import InstanceId, NodeId, TaskId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.services.scheduler.events import Signals
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.records.handlers.archive import Archive
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry

log = structlog.get_logger()


class NodeStore:
    """The records of nodes, and the registry of those."""

    def __init__(  # noqa: PLR0913, PLR0917 what is written, where, when and by whose right
        self,
        registry: NodeRegistry,
        index: TaskIndex,
        records: Bucket[Node],
        archive: Archive,
        clock: Clock,
        leadership: Leadership,
        signals: Signals,
    ) -> None:
        self.registry = registry
        self.records = records
        self._index = index
        self._archive = archive
        self._clock = clock
        self._leadership = leadership
        self._signals = signals
        self._revisions: dict[NodeId, int] = {}

    def read(self, record: Node, revision: int) -> None:
        """Take in a record as it was read."""
        self.registry.put(record, self._clock.instant())
        self._revisions[record.id] = revision

    async def write(self, node: NodeId, decide: Callable[[Node | None], Node]) -> NodeState:
        """Decide and write a node. What `decide` raises comes out; it may be asked again when the record has changed."""
        while True:
            known = self.registry.get(node)
            record = decide(known.record if known else None)
            self._leadership.require()
            try:
                revision = await self._put(node, record)
            except Conflict:
                await self._read_again(node)
            else:
                return self._apply(record, revision)

    async def retire(self, node: NodeId) -> None:
        """Take a node off the list. Its record stays as long as a task on it has to be reached: one may be on its way there at this moment."""
        await self.write(node, retired)

    def is_needed(self, node: NodeId) -> bool:
        """Whether a task lies on this node, ended ones too, or the node has still to be told something."""
        return self._index.is_needed(node) or self._archive.may_hold(node)

    async def drop(self, node: NodeId) -> None:
        """Delete a node's record. One that has changed meanwhile is read again and stays."""
        self._leadership.require()
        try:
            await self.records.delete(node, self._revisions.get(node))
        except Conflict:
            await self._read_again(node)
        else:
            self._forget(node)

    async def _put(self, node: NodeId, record: Node) -> int:
        revision = self._revisions.get(node)
        if revision is None:
            return await self.records.create(node, record)
        return await self.records.update(node, record, revision)

    async def _read_again(self, node: NodeId) -> None:
        entry = await self.records.get(node)
        log.warning("record.conflicted", node=node, revision=entry.revision if entry else None)
        if entry is None:
            self._forget(node)
        else:
            self._apply(entry.value, entry.revision)

    def _apply(self, record: Node, revision: int) -> NodeState:
        self._revisions[record.id] = revision
        is_new = self.registry.get(record.id) is None
        node = self.registry.put(record, self._clock.instant())
        for task in self._index.under_way_on(record.id):  # they knew it before it was registered
            self.registry.occupy(record.id, task)
        for listener in self._signals.node_listeners if is_new else ():
            listener(record.id)
        self._nodes_changed()
        return node

    def _forget(self, node: NodeId) -> None:
        self._revisions.pop(node, None)
        self.registry.drop(node)
        self._nodes_changed()

    def _nodes_changed(self) -> None:
        self._signals.capacity_freed.set()
        self._signals.changed.set()


def retired(record: Node | None) -> Node:
    """Decide that a node is in no list any more. Raises NotFound."""
    if record is None:
        raise NotFound("The node is gone already")
    return msgspec.structs.replace(record, retired=True)


async def announced_at(bus: Bus, task: TaskId) -> str:
    """Say where the upload of a task was announced; empty: nowhere."""
    notice = await (await bus.bucket(UPLOADS)).get(task)
    return notice.value.url if notice else ""


async def known_proxies(bus: Bus) -> dict[InstanceId, Proxy]:
    """List the proxies that have announced themselves."""
    return {entry.value.instance: entry.value for entry in (await (await bus.bucket(PROXIES)).load()).values()}
