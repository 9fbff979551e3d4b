"""The files of one task on their way to one node, under one id there: which steps there are, and which of them may be repeated.

Rule: a file whose fate is unknown ends the delivery, because the node keeps what it was sent, even half of it;
core/decisions.py judges. Who delivers decides what that means: an attempt (attempt.py) is over by it, and the next one
goes under a fresh id.

A file that the node answered with an error (500) is sent again: a NodeODM has kept nothing of it then. Should it have, the
file lies there twice, so it is remembered as `doubted`, and after the commit the node's own count of images must be right
(`prove`) before anybody is told that the node has the task. Only images are counted, so only images are sent again; to a node that
was found out nothing is for a while (core/decisions.py).
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count

import structlog

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.process.lifecycle import leaves, monotonic_s
from clusterodm.services.proxy.errors import NodeErred
from clusterodm.services.proxy.forwarding.core.decisions import (
    DeliveryStep,
    Distrust,
    Failure,
    Outcome,
    Proof,
    Retries,
    StepDecision,
    counted,
    judge,
    sending_order,
)
from clusterodm.services.proxy.forwarding.ports import Sender
from clusterodm.services.proxy.metrics import FORWARDED_BYTES, FORWARDED_FILES
from clusterodm.services.proxy.spool.core.upload import ARCHIVE, Draft, is_image
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

Confirm = Callable[[], Awaitable[Instant]]
"""Asks, before each try, whether the node may begin; says until when (monotonic clock)."""


class StepFailed(Exception):
    """A step has ended the delivery."""

    def __init__(self, decision: StepDecision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


@dataclass(frozen=True)
class OnNode:
    """What lies on a node before the commit."""

    sent: Mapping[str, int]
    """In full: names and sizes in bytes."""
    doubted: frozenset[str]
    """Those of them that may lie there twice."""


class Delivery:
    """One task, one node, one id there."""

    def __init__(  # noqa: PLR0913 what is sent, and where to
        self,
        sender: Sender,
        spool: Spool,
        draft: Draft,
        node: Node,
        node_task_id: NodeTaskId,
        *,
        parallel_count: int,
        retries: Retries,
        distrust: Distrust,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._spool = spool
        self.draft = draft
        self.node = node
        self.node_task_id = node_task_id
        self._parallel_count = parallel_count
        self.sent: dict[str, int] = {}
        """What the node has in full: names and sizes in bytes."""
        self.doubted: set[str] = set()
        """Images that were sent again after the node had answered with an error: should it have kept them, they lie there twice."""
        self.touched = False
        """The node may have something of it."""
        self._retries = retries
        self._distrust = distrust
        self._clock = clock
        self._log = log.bind(task=draft.task, node=node.name)

    @property
    def on_node(self) -> OnNode:
        """Say how far it has come."""
        return OnNode(dict(self.sent), frozenset(self.doubted))

    def go_on_from(self, before: OnNode) -> None:
        """Go on where another delivery under the same id has ended."""
        self.sent.update(before.sent)
        self.doubted.update(before.doubted)
        self.touched = True

    async def begin(self) -> None:
        """Announce the task. Raises StepFailed."""
        await self._step(DeliveryStep.BEGIN, lambda: self._sender.begin(self.node, self.node_task_id, self.draft))

    async def send_all(self, sizes: Mapping[str, int]) -> None:
        """Send the files that are not there yet, several at once; the first failure ends all. Raises StepFailed, OSError."""
        names = deque(name for name in sending_order(sizes) if name not in self.sent)
        if len(names) <= 1:
            await self._send_some(names, sizes)
            return
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
        provable = is_image(name) and not self._distrust.holds(self.node.id, self._clock.instant())
        erred = await self._step(
            DeliveryStep.SEND, lambda: self._sender.send(self.node, self.node_task_id, name, path), provable=provable
        )
        if erred:
            self.doubted.add(name)
        self.sent[name] = size_bytes
        FORWARDED_FILES.inc()
        FORWARDED_BYTES.inc(by=size_bytes)

    async def commit(self, confirm: Confirm) -> None:
        """Let the node begin. Raises StepFailed, and what `confirm` raises."""

        async def act() -> None:
            await self._sender.commit(self.node, self.node_task_id, await confirm())

        await self._step(DeliveryStep.COMMIT, act)

    async def prove(self, ask_on: Callable[[], Awaitable[None]]) -> None:
        """See that the node has every image once. Raises StepFailed, and what `ask_on`, called before each question, raises."""
        if not self.doubted:
            return
        if ARCHIVE in self.sent:
            await self._take_back("images may lie there twice, and an archive among them hides how many there are")
        images_count = sum(1 for name in self.sent if is_image(name))
        seen_count = await self._proven_count(images_count, ask_on)
        if seen_count == images_count:
            self._distrust.proven(self.node.id)
        else:
            distrusted_s = self._distrust.found_out(self.node.id, self._clock.instant())
            self._log.warning("node.distrusted", distrusted_s=distrusted_s)
            reason = f"{self.node.name} counts {amount(seen_count, 'image')} instead of {images_count}"
            await self._take_back(f"{reason}: it has kept some that it had answered with an error")

    async def _proven_count(self, images_count: int, ask_on: Callable[[], Awaitable[None]]) -> int:
        """Ask until the node's count says something. It is `images_count` when all is right."""
        began_s = monotonic_s()
        for tries_count in count(1):
            await ask_on()
            reason = f"{self.node.name} does not say how many images it has"
            try:
                seen = await self._sender.count_images(self.node, self.node_task_id)
            except NodeRefused as error:
                raise StepFailed(StepDecision(reason=error.message, commit_uncertain=True)) from None
            except NodeFailed as error:
                reason = error.message
            else:
                proof = counted(seen, len(self.sent), images_count, len(self.doubted))
                if proof is not Proof.OPEN:
                    return images_count if proof is Proof.RIGHT else seen.count
            pause_s = self._retries.erred.pause_s(tries_count, monotonic_s() - began_s, chance())
            if pause_s is None:
                raise StepFailed(StepDecision(reason=reason, commit_uncertain=True))
            await asyncio.sleep(pause_s)
        raise AssertionError  # count() does not end

    async def _take_back(self, reason: str) -> None:
        """Remove the task from the node. Raises StepFailed."""
        removed = True
        try:
            await self._sender.remove(self.node, self.node_task_id)
        except NodeRefused:
            pass
        except NodeFailed:
            removed = False
        raise StepFailed(StepDecision(reason=reason, commit_uncertain=not removed))

    async def submit_zip(self, confirm: Confirm) -> None:
        """Announce and commit a task whose files the node fetches. Raises StepFailed, and what `confirm` raises."""

        async def act() -> None:
            await self._sender.submit_zip(self.node, self.node_task_id, self.draft, await confirm())

        await self._step(DeliveryStep.SUBMIT, act)

    async def _step(self, step: DeliveryStep, act: Callable[[], Awaitable[None]], *, provable: bool = True) -> bool:
        """Take one step, again as long as that does no harm; whether the node has answered with an error meanwhile."""
        began_s, erred = monotonic_s(), False
        for failures_count in count(1):
            try:
                await act()
            except NodeFailed as error:
                failure = Failure(
                    outcome=outcome_of(error),
                    reason=error.message,
                    failures_count=failures_count,
                    elapsed_s=monotonic_s() - began_s,
                    retry_after_s=error.retry_after_s if isinstance(error, NodeErred) else 0.0,
                    erred_before=erred,
                    provable=provable,
                )
                erred = erred or failure.outcome is Outcome.ERRED
                self.touched = self.touched or failure.outcome is not Outcome.UNREACHABLE
                decision = judge(step, failure, self._retries, chance())
                if decision.again_after_s is None:
                    raise StepFailed(decision) from None
                self._log.debug("step.retried", step=step.name, reason=error.message, after_s=decision.again_after_s)
                await asyncio.sleep(decision.again_after_s)
            else:
                self.touched = True
                return erred
        raise AssertionError  # count() does not end


def chance() -> float:
    """Draw a number between 0 and 1."""
    return random.random()  # noqa: S311 no secret


def outcome_of(error: NodeFailed) -> Outcome:
    """Say how the answer failed to come."""
    if isinstance(error, NodeUnreachable):
        return Outcome.UNREACHABLE
    if isinstance(error, NodeErred):
        return Outcome.ERRED
    return Outcome.REFUSED if isinstance(error, NodeRefused) else Outcome.UNKNOWN
