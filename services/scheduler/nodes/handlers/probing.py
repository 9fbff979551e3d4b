"""Asks every node how it is, each on its own, off the request path.

A node is due every few seconds, give or take a little. All are asked at once when the scheduler starts, and the second time after a
part of the interval that chance gives to each: from then on a thousand of them are spread evenly over it. Those that are due
together are one round (libs/common/nodeodm/rounds.py), a little before their turn or a little after it: each answer is taken in where
it arrives. A slow or hung node holds one place until its time limit and delays nobody else.
Removed nodes that are silent are asked ever less often (registry/node_state.py).
"""

import asyncio
import random
from collections import deque
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant, Now, read
from clusterodm.libs.common.delay_queue import DelayQueue
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.messages.nodes import NODE_OFFLINE, NODE_ONLINE, NodeEvent
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import wait_until_woken
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.metrics import PROBE_SECONDS, PROBES
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.nodes.ports import ReservedSlots
from clusterodm.services.scheduler.records.core import OnNode
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import ProbeResult
from clusterodm.services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

JITTER: Final = 0.15
UPDATE_LIMIT_S: Final = 12.0
"""Two probes that end by their time limit, and a little."""
FIRST_ROUND_S: Final = 2.0
TOGETHER: Final = 0.2
"""Those that are due within such a part of the interval are asked together, about half of it before their turn and half of it after:
the loop wakes for them once a second, not for each. Together with JITTER this is what a node may wait longer for its turn, and a quarter of
a second where rounds are moved to moments that loops share."""
TOGETHER_S: Final = 0.1
"""But within so long at least."""
IDLE_S: Final = 1.0
"""And within so long at most, which is how long the loop sleeps where nothing is due."""


class NodeProber:
    """Keeps the registry's liveness up to date."""

    def __init__(
        self,
        records: Records,
        api: NodeApi,
        events: EventPublisher,
        reserved: ReservedSlots,
        settings: SchedulerSettings,
    ) -> None:
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._reserved = reserved
        self._api = api
        self._events = events
        self._settings = settings
        self._delay_queue: DelayQueue[NodeId] = DelayQueue()
        self._under_way: dict[NodeId, ProbeInFlight] = {}
        """Those of rounds."""
        self._to_publish: deque[tuple[Event[NodeEvent], Node, str]] = deque()
        self._woken = asyncio.Event()
        self._probe_seconds = PROBE_SECONDS.of()
        self._together_s = min(IDLE_S, max(TOGETHER_S, settings.probe_every_s * TOGETHER))
        self._idle_s = min(IDLE_S, max(TOGETHER_S, settings.probe_every_s))
        self._signals.node_listeners.append(self._became_known)

    def _became_known(self, node: NodeId) -> None:
        """Give a node its first turn, whatever becomes of the command that has added it."""
        self._delay_queue.set(node, self._clock.instant() + FIRST_ROUND_S)

    def soon(self, node: NodeState) -> None:
        """Ask this node next."""
        self._delay_queue.set(node.id, self._clock.instant())
        self._woken.set()

    async def run(self) -> None:
        """Ask for ever, beginning with all."""
        for known in self._nodes:
            self._delay_queue.set(known.id, self._clock.instant())
        async with TaskLimiter(self._settings.probes_at_once_count) as limiter:
            while True:
                beat()
                if self._to_publish:
                    await limiter.start(self._publish(), name="tell of nodes")
                if asked := self._due():
                    await limiter.start(self._round(asked), name="probe nodes")
                left_s = self._delay_queue.left_s(self._clock.instant(), most_s=self._idle_s, least_s=self._together_s)
                await wait_until_woken(self._woken, left_s)

    def _due(self) -> "list[ProbeInFlight]":
        """Take out whose turn it is, as many as may be asked now."""
        room_count = self._settings.probes_at_once_count - len(self._under_way)
        began = self._clock.instant()
        due = self._delay_queue.take_due(began + self._together_s / 2, room_count)
        nodes = (self._nodes.get(node) for node in due if node not in self._under_way)
        asked = [ProbeInFlight(node, self._index.ours_on(node), began) for node in nodes if node is not None]
        self._under_way.update((each.id, each) for each in asked)
        return asked

    async def first_probe(self, node: NodeState) -> None:
        """Ask a node that has just been added, for a moment; whoever lists it next sees what is true. Then as all others."""
        try:
            async with asyncio.timeout(FIRST_ROUND_S):
                await self.probe(node)
        except TimeoutError:
            self.soon(node)
        else:
            self._delay_queue.set(node.id, self._clock.instant() + self._settings.probe_every_s)
            self._woken.set()

    async def probe_all(self) -> None:
        """Ask every node now, and wait until it is known of each how it is, or the time is up."""
        probes = [self._probe_until_sure(node) for node in self._nodes]
        try:
            async with asyncio.timeout(UPDATE_LIMIT_S):
                await asyncio.gather(*probes)
        except TimeoutError:
            log.warning("nodes.timed_out", nodes=len(probes))

    async def _probe_until_sure(self, node: NodeState) -> None:
        """Ask; one that is believed to be online although it does not answer is asked again at once."""
        await self.probe(node)
        if node.online and node.misses_count:
            await self.probe(node)

    async def probe(self, node: NodeState) -> None:
        """Ask one node and take in what it says."""
        before = self._index.ours_on(node)
        said: NodeInfo | ClusterError
        try:
            said = await self._api.info(node.record, self._settings.probe_timeout_s)
        except ClusterError as error:
            said = error
        self._take_in(node, said, before, read(self._clock))
        await self._publish()

    async def _round(self, asked: "list[ProbeInFlight]") -> None:
        """Ask some at once."""
        records = [each.node.record for each in asked]
        try:
            await self._api.infos(records, self._heard_in_round, self._settings.probe_timeout_s)
        finally:
            for each in asked:
                if each.id in self._under_way:
                    self._ask_again(each, self._clock.instant())

    def _heard_in_round(self, record: Node, said: NodeInfo | ClusterError) -> None:
        asked, now = self._under_way[record.id], read(self._clock)
        self._probe_seconds.observe(now.instant - asked.began)
        self._take_in(asked.node, said, asked.before, now)
        self._ask_again(asked, now.instant)
        if self._to_publish:
            self._woken.set()

    def _ask_again(self, asked: "ProbeInFlight", now: Instant) -> None:
        """Give a node its next turn, once it was asked."""
        if self._under_way.get(asked.id) is not asked:
            return
        if len(self._under_way) >= self._settings.probes_at_once_count:
            self._woken.set()
        del self._under_way[asked.id]
        if self._nodes.get(asked.id) is not None:
            share = random.uniform(asked.earliest, 1 + JITTER)  # noqa: S311 no secret
            every_s = asked.node.probe_after_s(self._settings.probe_every_s, now)
            self._delay_queue.set(asked.id, now + every_s * share)

    def _take_in(self, node: NodeState, said: NodeInfo | ClusterError, before: OnNode, now: Now) -> None:
        if self._nodes.get(node.id) is not node:
            return
        if isinstance(said, ClusterError):
            PROBES.inc("missed")
            self._missed(node, said.message, now.instant)
        else:
            PROBES.inc("ok")
            self._heard(node, said, before, now)

    def _heard(self, node: NodeState, info: NodeInfo, before: OnNode, now: Now) -> None:
        version = self._nodes.open.version
        ours = self._index.ours_since(node, before)
        result = self._nodes.hit(node, info, ours, now)
        if self._nodes.open.version != version:
            self._signals.capacity_freed.set()
        if result is ProbeResult.SAME:
            return
        self._signals.changed.set()
        if result is ProbeResult.CAME:
            self._signals.node_online.set()
            self._to_publish.append((NODE_ONLINE, node.record, f"{info.engine} {info.engine_version}"))

    def _missed(self, node: NodeState, trouble: str, now: Instant) -> None:
        if self._nodes.miss(node, trouble, now):
            self._reserved.release_on(node.id)
            self._signals.capacity_freed.set()
            self._signals.changed.set()
            self._to_publish.append((NODE_OFFLINE, node.record, trouble))

    async def _publish(self) -> None:
        """Say who came and who went, in that order."""
        while self._to_publish:
            event, record, reason = self._to_publish.popleft()
            await self._events.publish_node(event, record, reason=reason)


class ProbeInFlight:
    """A node that is being asked in a round."""

    __slots__ = ("before", "began", "earliest", "id", "node")

    def __init__(self, node: NodeState, before: OnNode, began: Instant) -> None:
        self.began = began
        self.id = node.id
        self.node = node
        self.before = before
        self.earliest = 1 - JITTER if node.asked else 0.0
        """Its next turn, as a share of the interval: the second spreads them."""
