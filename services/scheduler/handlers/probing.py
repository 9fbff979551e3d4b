"""Asks every node how it is, each on its own, off the request path.

A node is due every few seconds, give or take a little. All are asked at once when the scheduler starts, and the second time after a
part of the interval that chance gives to each: from then on a thousand of them are spread evenly over it. A slow or hung node
holds one place in the crew until its time limit and delays nobody else.
"""

import asyncio
import random
from typing import Final

import structlog

from libs.common.errors import ClusterError
from libs.common.lifecycle import Crew
from libs.common.loops import beat
from libs.common.messages import NODE_OFFLINE, NODE_ONLINE
from libs.common.model import NodeId, NodeInfo
from services.scheduler.core.board import OnNode
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.rota import Rota
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice
from services.scheduler.ports import NodeApi
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

JITTER: Final = 0.2
UPDATE_LIMIT_S: Final = 12.0
"""Two probes that end by their time limit, and a little."""
FIRST_LOOK_S: Final = 2.0
TOGETHER_S: Final = 0.1
"""Those that are due within so long are asked together: the loop wakes ten times a second for a thousand nodes, not two hundred times."""
IDLE_S: Final = 1.0


class Prober:
    """Keeps the registry's liveness up to date."""

    def __init__(self, ledger: Ledger, api: NodeApi, voice: Voice, settings: SchedulerSettings) -> None:
        self._ledger = ledger
        self._registry = ledger.board.nodes
        self._api = api
        self._voice = voice
        self._settings = settings
        self._rota: Rota[NodeId] = Rota()
        self._under_way: set[NodeId] = set()
        self._woken = asyncio.Event()

    def soon(self, node: NodeState) -> None:
        """Ask this node next."""
        self._rota.set(node.id, self._ledger.instant())
        self._woken.set()

    async def run(self) -> None:
        """Ask for ever, beginning with all."""
        for known in self._registry:
            self._rota.set(known.id, self._ledger.instant())
        async with Crew(self._settings.probes_at_once_count) as crew:
            while True:
                beat()
                for node_id in self._rota.take_due(self._ledger.instant()):
                    node = self._registry.get(node_id)
                    if node is not None and node_id not in self._under_way:
                        await crew.start(self._again_and_again(node), name=f"probe {node_id}")
                await self._pause()

    async def first_look(self, node: NodeState) -> None:
        """Ask a node that has just been added, for a moment; whoever lists it next sees what is true. Then as all others."""
        try:
            async with asyncio.timeout(FIRST_LOOK_S):
                await self.probe(node)
        except TimeoutError:
            self.soon(node)
        else:
            self._rota.set(node.id, self._ledger.instant() + self._settings.probe_every_s)
            self._woken.set()

    async def probe_all(self) -> None:
        """Ask every node now, and wait until it is known of each how it is, or the time is up."""
        probes = [self._probe_until_sure(node) for node in self._registry]
        try:
            async with asyncio.timeout(UPDATE_LIMIT_S):
                await asyncio.gather(*probes)
        except TimeoutError:
            log.warning("not all nodes answered in time", nodes=len(probes))

    async def _probe_until_sure(self, node: NodeState) -> None:
        """Ask; one that is believed to be online although it does not answer is asked again at once."""
        await self.probe(node)
        if node.online and node.misses_count:
            await self.probe(node)

    async def probe(self, node: NodeState) -> None:
        """Ask one node and take in what it says."""
        before = self._ledger.board.ours_on(node)
        try:
            info = await self._api.info(node.record, self._settings.probe_timeout_s)
        except ClusterError as error:
            await self._missed(node, error.message)
        else:
            await self._heard(node, info, before)

    async def _again_and_again(self, node: NodeState) -> None:
        self._under_way.add(node.id)
        earliest = 1 - JITTER if node.asked else 0.0
        try:
            await self.probe(node)
        finally:
            self._under_way.discard(node.id)
            if self._registry.get(node.id) is not None:
                share = random.uniform(earliest, 1 + JITTER)  # noqa: S311 no secret
                self._rota.set(node.id, self._ledger.instant() + self._settings.probe_every_s * share)

    async def _heard(self, node: NodeState, info: NodeInfo, before: OnNode) -> None:
        if self._registry.get(node.id) is not node:
            return
        version, known = self._registry.version, node.info
        ours = self._ledger.board.ours_since(node, before)
        came = self._registry.hit(node, info, ours, self._ledger.now())
        if self._registry.version != version:
            self._ledger.room.set()
        if came or known != info:
            self._ledger.news.set()
        if came:
            self._ledger.online.set()
            await self._voice.of_node(NODE_ONLINE, node.record, reason=f"{info.engine} {info.engine_version}")

    async def _missed(self, node: NodeState, trouble: str) -> None:
        if self._registry.get(node.id) is not node:
            return
        if self._registry.miss(node, trouble, self._ledger.instant()):
            self._ledger.board.release_on(node.id)
            self._ledger.room.set()
            self._ledger.news.set()
            await self._voice.of_node(NODE_OFFLINE, node.record, reason=trouble)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._rota.left_s(self._ledger.instant(), most_s=IDLE_S, least_s=TOGETHER_S)):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()
