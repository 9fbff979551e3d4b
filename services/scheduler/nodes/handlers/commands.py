"""What operators do with nodes, how a list of them looks, and how their records change."""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import NoNode, NotFound, Refused
from clusterodm.libs.common.hosts import FORMS, LARGEST_PORT, canonical, is_host, shown
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import (
    NODE_ADDED,
    NODE_DRAINED,
    NODE_LABELED,
    NODE_LOCKED,
    NODE_REMOVED,
    NODE_UNLOCKED,
    AddNode,
    BestNode,
    BestNodeFound,
    DrainNode,
    FindUiNode,
    LabelNode,
    ListNodes,
    LockNode,
    NodeList,
    NodeRef,
    NodeView,
    UiNode,
    UpdateNodes,
)
from clusterodm.libs.common.model.nodes import Node, mistake_in_labels
from clusterodm.libs.common.model.values import NodeId
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.nodes.handlers.probing import NodeProber
from clusterodm.services.scheduler.nodes.ports import ReservedSlots
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.ranking import Need, best

at_will = structlog.get_logger(at_will=True)


class NodeCommands:
    """Adds, removes, locks, lists."""

    def __init__(self, records: Records, prober: NodeProber, events: EventPublisher, reserved: ReservedSlots) -> None:
        self._node_store = records.nodes
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._reserved = reserved
        self._prober = prober
        self._events = events
        self._one_at_a_time = asyncio.Lock()

    async def add(self, request: AddNode) -> NodeView:
        """Register a node and ask it how it is: when it answers at once, the next list shows it online."""
        check_address(request.hostname, request.port)
        labels = checked_labels(request.labels)
        async with self._one_at_a_time:
            self._require_new(request)
            node = await self._node_store.write(
                node_id(request.hostname, request.port), lambda known: self._new_record(request, labels, known)
            )
        await self._events.publish_node(NODE_ADDED, node.record)
        await self._prober.first_probe(node)
        return view_of(self._nodes, node)

    def _require_new(self, request: AddNode) -> None:
        """Refuse another spelling of a node that is there: it would be given its tasks twice."""
        host = canonical(request.hostname)
        for node in self._nodes.listed():
            if node.record.port == request.port and canonical(node.record.hostname) == host:
                check_new(request, node.record)

    async def remove(self, request: NodeRef) -> Done:
        """Take a node off the list. Tasks that run there go on and are followed to their end."""
        async with self._one_at_a_time:
            node = self._find(request.node)
            self._reserved.release_on(node.id)
            await self._node_store.retire(node.id)
        await self._events.publish_node(
            NODE_REMOVED, node.record, reason=f"{amount(len(node.tasks), 'task')} will go on there"
        )
        return Done()

    async def lock(self, request: LockNode) -> NodeView:
        """Send no new tasks there."""
        return await self._set_lock(request.node, locked=True, reason=request.reason)

    async def unlock(self, request: NodeRef) -> NodeView:
        """Send tasks there again. Raises Refused where its machine takes no more."""
        return await self._set_lock(request.node, locked=False)

    async def drain(self, request: DrainNode) -> NodeView:
        """Send no new tasks there, and take it off the list when it has none."""
        if request.deadline_s is not None and request.deadline_s < 0:
            raise Refused("the deadline of a drain lies in the future")
        async with self._one_at_a_time:
            node = self._find(request.node)
            now_ms = self._clock.wall_ms()
            await self._node_store.write(
                node.id, lambda known: with_drain(registered(known), request.deadline_s, now_ms)
            )
            self._reserved.release_on(node.id)
        reason = "" if request.deadline_s is None else f"what waits there is moved in {request.deadline_s:g} s"
        await self._events.publish_node(NODE_DRAINED, node.record, reason=reason)
        return view_of(self._nodes, node)

    async def label(self, request: LabelNode) -> NodeView:
        """Give a node its labels; what is reserved there for a task that may not go there any more is free again."""
        labels = checked_labels(request.labels)
        async with self._one_at_a_time:
            node = self._find(request.node)
            if node.record.labels != labels:
                await self._node_store.write(
                    node.id, lambda known: msgspec.structs.replace(registered(known), labels=labels)
                )
                self._reserved.release_on(node.id)
                self._signals.capacity_freed.set()
                self._signals.changed.set()
                await self._events.publish_node(NODE_LABELED, node.record, reason=", ".join(labels))
        return view_of(self._nodes, node)

    async def list_nodes(self, _request: ListNodes) -> NodeList:
        """Show all nodes."""
        return NodeList(nodes=node_views(self._nodes))

    async def update(self, _request: UpdateNodes) -> NodeList:
        """Ask all nodes now; answered when all have answered or timed out."""
        await self._prober.probe_all()
        return NodeList(nodes=node_views(self._nodes))

    async def best(self, request: BestNode) -> BestNodeFound:
        """Say which node a task of so many images would go to; it has had its turn by that, as in the original."""
        choice = best(self._nodes.listed(), Need(images_count=request.images_count))
        if choice is None:
            return BestNodeFound(node=None)
        self._nodes.open.take_turn(choice.node)
        at_will.info("node.recommended", images=request.images_count, node=choice.node.id, reason=choice.reason)
        return BestNodeFound(node=view_of(self._nodes, choice.node))

    async def find_ui(self, _request: FindUiNode) -> UiNode:
        """Say which node serves the web page."""
        node = self._nodes.first_online()
        if node is None:
            raise NoNode("No nodes available")
        return UiNode(node=node.id)

    async def _set_lock(self, asked: NodeId, *, locked: bool, reason: str = "") -> NodeView:
        async with self._one_at_a_time:
            node = self._find(asked)
            before = node.record
            if with_lock(before, locked, reason) != before:
                await self._node_store.write(node.id, lambda known: with_lock(registered(known), locked, reason))
            if before.locked != locked or (before.draining and not locked):
                await self._events.publish_node(NODE_LOCKED if locked else NODE_UNLOCKED, node.record)
            if locked:
                self._reserved.release_on(node.id)
                self._signals.capacity_freed.set()
        return view_of(self._nodes, node)

    def _find(self, asked: NodeId) -> NodeState:
        node = self._nodes.get(asked)
        if node is None or node.record.retired:
            raise NotFound(f"There is no node {asked}")
        return node

    def _new_record(self, request: AddNode, labels: tuple[str, ...], known: Node | None) -> Node:
        check_new(request, known)
        return Node(
            id=node_id(request.hostname, request.port),
            hostname=request.hostname,
            port=request.port,
            token=request.token,
            locked=request.locked,
            labels=labels,
            machine=request.machine,
            price_per_hour=request.price_per_hour,
            spot=request.spot,
            interruptions_limit_count=request.interruptions_limit_count,
            added_at_ms=self._later_than_all(),
        )

    def _later_than_all(self) -> int:
        """Keep the order of adding apart, whatever the clock does."""
        latest = max((node.record.added_at_ms for node in self._nodes), default=0)
        return max(self._clock.wall_ms(), latest + 1)


def registered(record: Node | None) -> Node:
    """Insist that a node is there. Raises NotFound."""
    if record is None:
        raise NotFound("The node is gone")
    return record


def check_new(request: AddNode, known: Node | None) -> None:
    """Refuse a node that is registered already, or one whose key another has."""
    if known is None or known.retired:
        return
    if (canonical(known.hostname), known.port) == (canonical(request.hostname), request.port):
        raise Refused(f"{known.name} is registered already")
    raise Refused(
        f"{shown(request.hostname, request.port)} cannot be told from {known.name}, which is registered already"
    )


def check_address(hostname: str, port: int) -> None:
    """Refuse what cannot be an address."""
    if not is_host(hostname):
        raise Refused(f"{hostname[:60]!a} is not a host name: {FORMS}")
    if not 1 <= port <= LARGEST_PORT:
        raise Refused(f"{port} is not a port (1 to {LARGEST_PORT})")


def checked_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Insist on labels, each once. Raises Refused."""
    found = tuple(dict.fromkeys(labels))
    if mistake := mistake_in_labels(found):
        raise Refused(mistake)
    return found


def node_id(hostname: str, port: int) -> NodeId:
    """Make the key of a node: what a key-value store does not allow becomes an underscore."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "_" for sign in hostname)
    return NodeId(f"{kept}-{port}")


def with_lock(record: Node, locked: bool, reason: str = "") -> Node:
    """Lock or unlock. Unlocking ends a drain, too. Raises Refused where its machine takes no more tasks."""
    if locked:
        return msgspec.structs.replace(record, locked=True, lock_reason=reason or record.lock_reason)
    if record.lock_reason:
        raise Refused(f"{record.name} stays locked, its machine takes no more tasks: {record.lock_reason}")
    return msgspec.structs.replace(record, locked=False, draining=False, drain_until_ms=None, drain_s=0.0)


def with_drain(record: Node, deadline_s: float | None, now_ms: WallMs) -> Node:
    """Take no more tasks; what waits there is moved after the deadline, if there is one."""
    until_ms = None if deadline_s is None else now_ms + round(deadline_s * 1000)
    return msgspec.structs.replace(record, draining=True, drain_until_ms=until_ms, drain_s=deadline_s or 0.0)


def node_view(node: NodeState, number: int) -> NodeView:
    """Show a node. `number`: its place in the list, from 1."""
    record = node.record
    return NodeView(
        id=record.id,
        number=number,
        hostname=record.hostname,
        port=record.port,
        has_token=bool(record.token),
        locked=record.locked,
        draining=record.draining,
        drain_until_ms=record.drain_until_ms,
        auto_spawned=record.machine is not None,
        labels=record.labels,
        online=node.online,
        info=node.info,
        info_at_ms=node.info_at_ms,
        slots_used_count=node.ours_count,
        trouble="" if node.online else node.trouble,
        lock_reason=record.lock_reason,
        pace=node.pace,
    )


def node_views(registry: NodeRegistry) -> tuple[NodeView, ...]:
    """Show all nodes."""
    return tuple(node_view(node, number) for number, node in enumerate(registry.listed(), start=1))


def view_of(registry: NodeRegistry, node: NodeState) -> NodeView:
    """Show one node with its place in the list."""
    return node_view(node, registry.listed().index(node) + 1)
