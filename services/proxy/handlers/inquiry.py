"""Asking nodes for the JSON of their tasks while a client waits: a second at most, and never more often than it helps.

    the same question is under way    wait for that answer: any number of identical polls are one request to the node
    the node's breaker is open        no answer, at once (core/breaker.py)
    else                              ask; PATIENCE for a place among the connections, a new one, and the head of the answer: a
                                      second together; then BODY_S for a long console while it flows

No answer is None: the caller then says what the record knows. The number of connections to one node is limited by the
Upstream; a poll that finds no room in time goes without.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from libs.common.clocks import Instant
from libs.common.errors import NodeFailed
from libs.common.lifecycle import monotonic_s
from libs.common.model import Node
from libs.common.nodeodm import CONSOLE_LIMIT_BYTES
from libs.common.untrusted import LIMIT_BYTES, Malformed, decode_any_json
from services.proxy.core.breaker import Breaker, failed, let_go, tried
from services.proxy.ports import Call, Patience, Upstream

BODY_S: Final = 5.0
PATIENCE: Final = Patience(connect_s=0.3, head_s=0.4, silence_s=0.25)
BREAKERS_COUNT: Final = 10_000
OK: Final = 200

Question = tuple[str, bytes, tuple[tuple[str, str], ...]]


class Inquiry:
    """Asks nodes."""

    def __init__(self, nodes: Upstream, clock: Callable[[], Instant] = monotonic_s, *, fresh_s: float = 0.0) -> None:
        self.fresh_s = fresh_s
        """For how long what a node says may be told again (handlers/fresh.py)."""
        self._nodes = nodes
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._under_way: dict[Question, list[asyncio.Future[Any]]] = {}

    def __repr__(self) -> str:
        """Show what is going on."""
        return f"Inquiry(under_way={len(self._under_way)} breakers={self._breakers})"

    async def json(self, node: Node, path: bytes, query: Mapping[str, str]) -> Any:
        """Get JSON from a node; None when there is none to be had."""
        question: Question = (node.name, path, tuple(query.items()))
        waiting = self._under_way.get(question)
        if waiting is not None:
            waiting.append(asyncio.get_running_loop().create_future())
            return await waiting[-1]
        if not self._admit(node):
            return None
        self._under_way[question] = []
        answer = None
        try:
            answer = await self._guarded(node, Call(b"GET", path, PATIENCE, query))
        finally:
            for each in self._under_way.pop(question):
                if not each.done():
                    each.set_result(answer)
        return answer

    def _admit(self, node: Node) -> bool:
        """Let a question through; the only one, when the node failed before."""
        breaker = self._breakers.get(node.name)
        if breaker is None:
            return True
        if not breaker.lets_through(self._clock()):
            return False
        self._breakers[node.name] = tried(breaker)
        return True

    async def _guarded(self, node: Node, call: Call) -> Any:
        try:
            answer = await self._ask(node, call)
        except (NodeFailed, TimeoutError):
            if len(self._breakers) >= BREAKERS_COUNT:
                self._breakers.clear()
            self._breakers[node.name] = failed(self._breakers.get(node.name), self._clock())
            return None
        except BaseException:
            if breaker := self._breakers.get(node.name):
                self._breakers[node.name] = let_go(breaker)
            raise
        self._breakers.pop(node.name, None)
        return answer

    async def _ask(self, node: Node, call: Call) -> Any:
        limit_bytes = CONSOLE_LIMIT_BYTES if call.query else LIMIT_BYTES
        async with self._nodes.ask(node, call) as reply:
            if reply.arrived:
                body = await reply.read(limit_bytes)
            else:
                async with asyncio.timeout(BODY_S):
                    body = await reply.read(limit_bytes)
        return decoded(body) if reply.status == OK else None


def decoded(body: bytes) -> Any:
    """Read JSON; nonsense is no answer."""
    try:
        return decode_any_json(body, limit_bytes=CONSOLE_LIMIT_BYTES)
    except Malformed:
        return None
