"""The files of one task on their way to one node, under one id there: which steps there are, and which of them may be repeated.

Rule: a file is sent once. One whose fate is unknown ends the delivery, because the node keeps what it was sent, even half
of it; core/forwarding.py judges. Who delivers decides what that means: an attempt (attempt.py) is over by it, and the next one
goes under a fresh id.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import count

import structlog

from libs.common.errors import NodeFailed, NodeUnreachable
from libs.common.lifecycle import leaves
from libs.common.model import Node, NodeTaskId
from services.proxy.core.forwarding import Outcome, Step, Verdict, judge, sending_order
from services.proxy.ports import Draft, NodeRefused, Sender, Spool

log = structlog.get_logger()

Confirm = Callable[[], Awaitable[float]]
"""Asks, before each try, whether the node may begin; says until when (monotonic clock)."""


class StepFailed(Exception):
    """A step has ended the delivery."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Delivery:
    """One task, one node, one id there."""

    def __init__(  # noqa: PLR0913 what is sent, and where to
        self, sender: Sender, spool: Spool, draft: Draft, node: Node, node_task_id: NodeTaskId, *, parallel_count: int
    ) -> None:
        self._sender = sender
        self._spool = spool
        self.draft = draft
        self.node = node
        self.node_task_id = node_task_id
        self._parallel_count = parallel_count
        self.sent: dict[str, int] = {}
        """What the node has in full: names and sizes in bytes."""
        self._log = log.bind(task=draft.task, node=node.name)

    def __repr__(self) -> str:
        """Show what goes where."""
        return f"Delivery({self.draft.task} to {self.node.name} sent={len(self.sent)})"

    async def begin(self) -> None:
        """Announce the task. Raises StepFailed."""
        await self._step(Step.BEGIN, lambda: self._sender.begin(self.node, self.node_task_id, self.draft))

    async def send_all(self, sizes: Mapping[str, int]) -> None:
        """Send the files that are not there yet, several at once; the first failure ends all. Raises StepFailed, OSError."""
        names = deque(name for name in sending_order(sizes) if name not in self.sent)
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(min(self._parallel_count, len(names))):
                    group.create_task(self._send_some(names, sizes), name=f"send {self.draft.task} {number}")
        except* (StepFailed, OSError) as group_of_failures:
            failures = leaves(group_of_failures)
        if failures:
            raise failures[0]

    async def _send_some(self, names: deque[str], sizes: Mapping[str, int]) -> None:
        while names:
            name = names.popleft()
            await self.send(name, sizes[name])

    async def send(self, name: str, size_bytes: int) -> None:
        """Send one file. Raises StepFailed, OSError."""
        path = self._spool.path(self.draft.task, name)
        await self._step(Step.SEND, lambda: self._sender.send(self.node, self.node_task_id, name, path))
        self.sent[name] = size_bytes

    async def commit(self, confirm: Confirm) -> None:
        """Let the node begin. Raises StepFailed, and what `confirm` raises."""

        async def act() -> None:
            await self._sender.commit(self.node, self.node_task_id, await confirm())

        await self._step(Step.COMMIT, act)

    async def submit_zip(self, confirm: Confirm) -> None:
        """Announce and commit a task whose files the node fetches. Raises StepFailed, and what `confirm` raises."""

        async def act() -> None:
            await self._sender.submit_zip(self.node, self.node_task_id, self.draft, await confirm())

        await self._step(Step.SUBMIT, act)

    async def _step(self, step: Step, act: Callable[[], Awaitable[None]]) -> None:
        """Take one step, again as long as the node has not seen it."""
        for tries_count in count(1):
            try:
                await act()
            except NodeFailed as error:
                verdict = judge(step, outcome_of(error), error.message, tries_count)
                if verdict.again_after_s is None:
                    raise StepFailed(verdict) from None
                self._log.info("node not reached, trying again", step=step.name, reason=error.message)
                await asyncio.sleep(verdict.again_after_s)
            else:
                return


def outcome_of(error: NodeFailed) -> Outcome:
    """Say how the answer failed to come."""
    if isinstance(error, NodeUnreachable):
        return Outcome.UNREACHABLE
    return Outcome.REFUSED if isinstance(error, NodeRefused) else Outcome.UNKNOWN
