"""A round: the same small question to many nodes at once, each answer told as it comes.

What costs most of a small question is waiting for its answer: an asyncio task, its time limits, and waking it. Here all of a round
share one task and one time limit. A question goes out over a connection that is kept, and the answer is told from where it was
read. What does not fit this (no connection is kept, the node closed it, the answer is large) is asked as any other call, by an
asyncio task of its own. The bounds are those of any other call.

A slow node delays nobody: the others have been told by then. The round lasts until its slowest has answered or its time is up.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from clusterodm.libs.common.errors import ClusterError, NodeFailed
from clusterodm.libs.common.http_io.client import Pool
from clusterodm.libs.common.http_io.link import Link, Stale
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.nodeodm.calls import LIMIT_BYTES, CallAnswer, Calls, answer_of, question

Heard = Callable[[Node, CallAnswer | ClusterError], None]
"""What a node said, or why it said nothing."""
Question = tuple[Node, str]
"""Whom to ask, and the target."""
LEAST_S: Final = 0.001


async def ask_all(
    calls: Calls, questions: Iterable[Question], limit_s: float, heard: Heard, limit_bytes: int = LIMIT_BYTES
) -> None:
    """Ask what may be asked twice; returns when each was heard. Cancelled, it closes the connections under way.

    Raises what `heard` raises, and then not all are heard.
    """
    await Round(calls, limit_s, heard, limit_bytes).run(questions)


class Round:
    """One round."""

    def __init__(self, calls: Calls, limit_s: float, heard: Heard, limit_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self._calls = calls
        self._limit_bytes = limit_bytes
        self._heard = heard
        self._loop = loop
        self._until_s = loop.time() + limit_s
        self._under_way: set[Link] = set()
        """Those that call back."""
        self._over: asyncio.Future[None] = loop.create_future()
        self._others = asyncio.TaskGroup()

    async def run(self, questions: Iterable[Question]) -> None:
        """Ask and wait."""
        async with self._others:
            for node, target in questions:
                self._ask(node, target)
            if self._under_way:
                await self._wait()

    def _ask(self, node: Node, target: str) -> None:
        pool = self._calls.pool(node)
        try:
            link = pool.borrow(question(node, target), partial(self._back, pool, node, target))
        except ClusterError as error:
            self._heard(node, error)
            return
        if link is None:
            self._others.create_task(self._alone(node, target))
        else:
            self._under_way.add(link)

    async def _wait(self) -> None:
        alarm = self._loop.call_at(self._until_s, self._late)
        try:
            await self._over
        finally:
            alarm.cancel()
            left, self._under_way = self._under_way, set()
            for link in left:
                link.close()

    def _late(self) -> None:
        for link in list(self._under_way):
            link.give_up()

    def _back(self, pool: Pool, node: Node, target: str, link: Link) -> None:
        """Take in what has come over a connection."""
        if link not in self._under_way:
            pool.take_back(link)  # nobody wants to know any more
            return
        self._under_way.remove(link)
        try:
            self._take(pool, node, target, link)
        except Exception as error:  # noqa: BLE001 it is raised where the round is awaited
            if not self._over.done():
                self._over.set_exception(error)
        if not self._under_way and not self._over.done():
            self._over.set_result(None)

    def _take(self, pool: Pool, node: Node, target: str, link: Link) -> None:
        try:
            content = link.content(self._limit_bytes)
        except Stale:
            pool.take_back(link)
            self._others.create_task(self._alone(node, target))
        except NodeFailed as error:
            pool.take_back(link)
            self._heard(node, error)
        else:
            if content is None:
                self._others.create_task(self._rest(pool, node, link))
                return
            pool.take_back(link)
            self._heard(node, answer_of(link.head, content))

    async def _alone(self, node: Node, target: str) -> None:
        """Ask as any other call."""
        try:
            answer = await self._calls.get(node, target, self._left_s, limit_bytes=self._limit_bytes)
        except ClusterError as error:
            self._heard(node, error)
        else:
            self._heard(node, answer)

    async def _rest(self, pool: Pool, node: Node, link: Link) -> None:
        """Read a large answer to its end."""
        try:
            head = await link.answered(self._left_s)
            content = await link.read(self._limit_bytes, self._left_s, self._until_s)
        except ClusterError as error:
            self._heard(node, error)
        else:
            self._heard(node, answer_of(head, content))
        finally:
            pool.take_back(link)

    @property
    def _left_s(self) -> float:
        return max(LEAST_S, self._until_s - self._loop.time())
