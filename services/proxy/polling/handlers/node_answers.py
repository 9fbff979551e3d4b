"""What nodes say of tasks: asked for while a client waits, or told again when they have just said it and nothing has changed since.

*Asking* (`NodePoller`) takes a second at most, and never happens more often than it helps:

    the same question is under way    wait for that answer: any number of identical polls are one request to the node
    the node's breaker is open        no answer, at once (core/node_queries.py)
    else                              ask; POLL_TIMEOUTS for a place among the connections, a new one, and the head of the answer: a second together; then
                                      BODY_S for a long console while it flows, and while all of them have room together (http_io/room.py)

No answer is None: the caller then says what the record knows. The number of connections to one node is limited by the Upstream; a poll that finds no room in time goes without.

*Telling again* (`FreshAnswers`): each node is asked once in a while, however many ask about its task (core/node_queries.py).

    an answer that holds                  is told again
    the same is just being asked          is waited for, no longer than a node has for an answer
    else                                  the node is asked, from the earliest line on that somebody has wanted lately

What comes from here, and was not asked for the caller alone, is to be confirmed before it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.console import attempt_on_node
from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.http_io.room import NoRoom
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.nodeodm.calls import Strays
from clusterodm.libs.common.nodeodm.client import CONSOLE_LIMIT_BYTES
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.untrusted import LIMIT_BYTES, Malformed, decode_any_json
from clusterodm.services.proxy.cluster.handlers.confirming import Confirmer
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.nodes.ports import NodeRequest, Upstream
from clusterodm.services.proxy.polling.core.node_queries import (
    Breaker,
    NodeAnswer,
    failed,
    let_go,
    lines_from,
    may_be_told_again,
    tried,
    widest,
)
from clusterodm.services.proxy.polling.core.task_info import node_info

BODY_S: Final = 5.0
POLL_TIMEOUTS: Final = Timeouts(connect_s=0.3, head_s=0.4, silence_s=0.25)
BREAKERS_COUNT: Final = 10_000
OK: Final = 200
Question = tuple[str, bytes, tuple[tuple[str, str], ...]]
KEPT_COUNT: Final = 1024
REMEMBERED: Final = 4.0
"""An answer is forgotten when it is so many times as old as one that holds: until then it says from where its console was wanted."""
JOIN_S: Final = 1.0
"""As long as a node has for the head of its answer (POLL_TIMEOUTS)."""

Key = tuple[TaskId, bool]
"""A task, and whether its console alone is asked for."""
Ask = Callable[[int | None], Awaitable[NodeAnswer | None]]
"""Asks a node, from a line on."""


class NodePoller:
    """Asks nodes."""

    def __init__(self, nodes: Upstream, clock: Callable[[], Instant] = monotonic_s, *, fresh_s: float = 0.0) -> None:
        self.fresh_s = fresh_s
        """For how long what a node says may be told again."""
        self._nodes = nodes
        self._clock = clock
        self._breakers: dict[str, Breaker] = {}
        self._under_way: dict[Question, list[asyncio.Future[Any]]] = {}

    def __repr__(self) -> str:
        """Show what is going on."""
        return f"NodePoller(under_way={len(self._under_way)} breakers={self._breakers})"

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
            answer = await self._guarded(node, NodeRequest(b"GET", path, POLL_TIMEOUTS, query))
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

    async def _guarded(self, node: Node, call: NodeRequest) -> Any:
        try:
            answer = await self._ask(node, call)
        except NoRoom:  # it is the others' answers, not the node, that the room is full of
            self._let_go(node)
            return None
        except (NodeFailed, TimeoutError):
            if len(self._breakers) >= BREAKERS_COUNT:
                self._breakers.clear()
            self._breakers[node.name] = failed(self._breakers.get(node.name), self._clock())
            return None
        except BaseException:
            self._let_go(node)
            raise
        self._breakers.pop(node.name, None)
        return answer

    def _let_go(self, node: Node) -> None:
        if breaker := self._breakers.get(node.name):
            self._breakers[node.name] = let_go(breaker)

    async def _ask(self, node: Node, call: NodeRequest) -> Any:
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


class PendingAnswer:
    """A question under way."""

    __slots__ = ("answer", "line", "revision")

    def __init__(self, revision: int, line: int | None) -> None:
        self.revision = revision
        self.line = line
        self.answer: asyncio.Future[NodeAnswer | None] = asyncio.get_running_loop().create_future()


class FreshAnswers:
    """Keeps what nodes have just said."""

    def __init__(self, clock: Clock, fresh_s: float) -> None:
        self._clock = clock
        self._fresh_s = fresh_s
        self._kept: dict[Key, NodeAnswer] = {}
        """In the order of the answers."""
        self._pending: dict[Key, PendingAnswer] = {}

    def __repr__(self) -> str:
        """Show how many."""
        return f"FreshAnswers(kept={len(self._kept)} asking={len(self._pending)})"

    def holds(self, answer: NodeAnswer) -> bool:
        """Whether an answer may be told now."""
        return self._clock.instant() - answer.asked <= self._fresh_s

    def find(self, record: TaskRecord, *, output: bool) -> NodeAnswer | None:
        """Look for an answer that holds and was put together with this revision of a record."""
        answer = self._kept.get((record.task.id, output))
        if answer is None or answer.record.revision != record.revision:
            return None
        return answer if self._clock.instant() - answer.asked <= self._fresh_s else None

    def find_with(self, record: TaskRecord, line: int | None, *, output: bool) -> NodeAnswer | None:
        """Look for an answer that has the lines from one on."""
        answer = self.find(record, output=output)
        if answer is None or answer.lines_from(line) is None:
            return None
        answer.want(line)
        return answer

    async def join(self, record: TaskRecord, line: int | None, *, output: bool) -> tuple[bool, NodeAnswer | None]:
        """Wait for the answer to a question under way: whether there is one, and what came of it."""
        pending = self._pending.get((record.task.id, output))
        if pending is None or pending.revision != record.revision:
            return False, None
        if line is not None and lines_from(pending.line, (), line) is None:
            return False, None
        await asyncio.wait([pending.answer], timeout=JOIN_S)
        return True, pending.answer.result() if pending.answer.done() else None

    async def ask(self, record: TaskRecord, line: int | None, ask: Ask, *, output: bool) -> NodeAnswer | None:
        """Ask the node; keep what it says."""
        key = record.task.id, output
        if self._fresh_s <= 0:
            return await ask(line)
        before = self._kept.get(key)
        from_line = widest(line, before.wanted_line if before else None)
        pending = self._pending[key] = PendingAnswer(record.revision, from_line)
        answer = None
        try:
            answer = await ask(from_line)
        finally:
            if self._pending.get(key) is pending:
                del self._pending[key]
            pending.answer.set_result(answer)
        if answer is not None:
            answer.want(line)
            self._keep(key, answer)
        return answer

    def _keep(self, key: Key, answer: NodeAnswer) -> None:
        self._forget_old()
        self._kept.pop(key, None)
        if may_be_told_again(answer) and len(self._kept) < KEPT_COUNT:
            self._kept[key] = answer

    def _forget_old(self) -> None:
        now = self._clock.instant()
        while self._kept:
            key = next(iter(self._kept))
            if self._kept[key].holds(now, REMEMBERED * self._fresh_s):
                break
            del self._kept[key]


class NodeAnswers:
    """Gets the words of nodes."""

    def __init__(self, cluster: Cluster, inquiry: NodePoller, confirmer: Confirmer, clock: Clock) -> None:
        self._cluster = cluster
        self._inquiry = inquiry
        self._confirmer = confirmer
        self._clock = clock
        self._strays = Strays()
        self.fresh = FreshAnswers(clock, inquiry.fresh_s)
        """Whoever tells what is in there has the record confirmed before."""

    def __repr__(self) -> str:
        """Show what is kept."""
        return f"NodeAnswers({self.fresh!r})"

    async def of_running(self, record: TaskRecord, line: int | None, *, output: bool) -> NodeAnswer | None:
        """Hear what a node says: what it has just said, when nothing has changed since, or what it says now."""
        answer = self.fresh.find_with(record, line, output=output)
        if answer is not None and await self._confirmer.promptly(record) and self.fresh.holds(answer):
            return answer
        joined, answer = await self.fresh.join(record, line, output=output)
        if joined and (answer is None or await self._confirmer.promptly(record)):
            return answer
        ask = self.ask_for_output if output else self.ask_for_info
        return await self.fresh.ask(record, line, partial(ask, record), output=output)

    async def ask_for_info(self, record: TaskRecord, line: int | None) -> NodeAnswer | None:
        """Ask a node how a task stands, with its console from a line on; None: it has nothing to say of it."""
        asked = self._clock.instant()
        said = await self._ask_node(record.task, "info", {} if line is None else {"with_output": str(line)})
        if not isinstance(said, dict) or node_info(record.task, said) is None:
            return None
        return NodeAnswer(record, asked, {**said, "output": None}, line, strings(said.get("output")))

    async def ask_for_output(self, record: TaskRecord, line: int | None) -> NodeAnswer | None:
        """Ask a node for a task's console from a line on."""
        asked = self._clock.instant()
        said = await self._ask_node(record.task, "output", {"line": str(line or 0)})
        return NodeAnswer(record, asked, None, line, strings(said)) if isinstance(said, list) else None

    async def _ask_node(self, task: Task, what: str, query: dict[str, str]) -> Any:
        """Get a task's JSON from its node; None when there is none to be had."""
        attempt = attempt_on_node(task)
        node = self._cluster.node(attempt.node) if attempt else None
        if attempt is None or node is None:
            return None
        said = await self._inquiry.json(node, f"/task/{attempt.node_task_id}/{what}".encode(), query)
        names = isinstance(said, dict) and "error" not in said
        return None if names and self._strays.has(node, attempt.node_task_id, said.get("uuid")) else said


def strings(value: Any) -> list[str]:
    """Take the console lines out of a node's answer."""
    return [line for line in value if isinstance(line, str)] if isinstance(value, list) else []
