"""How a proxy asks the scheduler for slots: one question that stays open, and quick ones about tasks that it does not know about.

    a task is committed, resumed, or the mirror shows something new ──▶ *named*: one quick question about all that have come together
    a task waits ──▶ the *open* question: answered when a slot is free for any of them, asked again at once, for as long as one waits

What a quick question gets for a small task begins at once: its answer is a moment old, and says that the attempt counts. All else is renewed first: the open
question may be answered just when this proxy dies, with a slot that others wait for.
So a task that waits costs its entry and nothing else. The open question also says that this proxy is there; it is open while
the proxy sends as much as it may, too: how much room there is the scheduler knows from the attempts.

When another scheduler leads, the question that is open at its predecessor is given up and asked anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.placement import (
    PLACE_TASKS,
    PlacementPossible,
    Placements,
    PlaceReply,
    PlaceTasks,
    TaskQuery,
)
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import beat, missed
from clusterodm.services.proxy.forwarding.core.decisions import Epochs
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingIntervals

log = structlog.get_logger()

STOP_S: Final = 1.0
LEAST_PAUSE_S: Final = 0.05
"""Between two questions that are held open, when they are answered at once."""


class PlacementClient:
    """Asks, and hands on what it hears."""

    def __init__(  # noqa: PLR0913 what it asks with, and whom it tells
        self,
        bus: Bus,
        upload_owner: InstanceId,
        *,
        run: str,
        places_count: int,
        intervals: ForwardingIntervals,
        sending: Callable[[], Mapping[TaskId, int]],
        staged_of: Callable[[TaskId], Awaitable[StagedFiles | None]],
        begins_at_once: Callable[[TaskId], bool],
        answered: Callable[[TaskId, PlaceReply, Instant | None], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._upload_owner = upload_owner
        self._run = run
        self._places_count = places_count
        self._intervals = intervals
        self._sending = sending
        self._staged_of = staged_of
        self._begins_at_once = begins_at_once
        """Whether an attempt of a task begins without another renewal, where the question was about this task."""
        self._answered = answered
        """Called with each task, what was said of it, and when that was asked, where it was named."""
        self._epochs = Epochs()
        self._number = 0
        self._named: dict[TaskId, None] = {}
        self._waiting: set[TaskId] = set()
        self._to_name = asyncio.Event()
        self._to_hold = asyncio.Event()
        self._timeout: asyncio.Timeout | None = None
        """Of the question that is open."""

    # --- what its owner tells it -----------------------------------------------------------------------------------

    def name(self, task: TaskId) -> None:
        """Ask about a task, soon."""
        self._named[task] = None
        self._to_name.set()

    def waits(self, task: TaskId) -> None:
        """Keep a question open for a task."""
        self._waiting.add(task)
        self._to_hold.set()

    def waits_no_more(self, task: TaskId) -> None:
        """Take a task off the list; nothing happens when it is not there."""
        self._waiting.discard(task)
        if not self._waiting:
            self._to_hold.clear()

    async def hear(self, hint: PlacementPossible) -> None:
        """Begin anew when another scheduler leads."""
        before = self._epochs.highest
        if self._epochs.counts(hint.epoch, monotonic_s()) and hint.epoch > before:
            self._give_up_open()

    def begin_anew(self) -> None:
        """Ask again whoever leads now, whatever its term is."""
        self._epochs.forget()
        self._give_up_open()

    def _give_up_open(self) -> None:
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    # --- questions -------------------------------------------------------------------------------------------------

    async def request_named(self) -> None:
        """Ask about the tasks that were named, for ever."""
        while True:
            await self._to_name.wait()
            await self._request_some()

    async def _request_some(self) -> None:
        names = tuple(islice(self._named, PlaceTasks.NAMED))
        for task in names:
            del self._named[task]
        if not self._named:
            self._to_name.clear()
        tasks = tuple([TaskQuery(task=task, ahead=await self._staged_of(task)) for task in names])
        asked = monotonic_s()
        answer = await self._request(self._payload(tasks=tasks))
        if answer is None:
            await asyncio.sleep(self._intervals.bus_retry_s)
            for task in names:
                self.name(task)
            return
        await self._hand_on(answer, dict.fromkeys(names, asked))
        beat()

    async def hold_open(self) -> None:
        """Keep a question open while tasks wait, for ever."""
        while True:
            await self._to_hold.wait()
            began_s = monotonic_s()
            answer = await self._request_held_open()
            if answer is not None:
                await self._hand_on(answer, {})
                beat()
            if monotonic_s() - began_s < LEAST_PAUSE_S:
                await asyncio.sleep(LEAST_PAUSE_S if answer else self._intervals.bus_retry_s)

    async def _request_held_open(self) -> Placements | None:
        """Ask a question that is held open; None when there is no answer, or it is to be asked of another."""
        try:
            async with asyncio.timeout(None) as self._timeout:
                return await self._request(self._payload(hold_s=self._intervals.hold_s))
        except TimeoutError:
            log.info("scheduler.replaced", epoch=self._epochs.highest)
            return None
        finally:
            self._timeout = None

    async def stop(self) -> None:
        """Say that nothing more is to be sent from here."""
        with suppress(ClusterError):
            await self._bus.request(
                PLACE_TASKS, PlaceTasks(upload_owner=self._upload_owner, places_count=0, run=self._run), STOP_S
            )

    def _payload(self, tasks: tuple[TaskQuery, ...] = (), hold_s: float = 0.0) -> PlaceTasks:
        self._number += 1
        return PlaceTasks(
            upload_owner=self._upload_owner,
            number=self._number,
            places_count=self._places_count,
            run=self._run,
            sending=dict(self._sending()),
            tasks=tasks,
            hold_s=hold_s,
            renews_first=not any(self._begins_at_once(each.task) for each in tasks),
        )

    async def _request(self, question: PlaceTasks) -> Placements | None:
        """Ask; None when nobody answers whose word counts."""
        try:
            answer = await self._bus.request(
                PLACE_TASKS, question, timeout_s=question.hold_s + PLACE_TASKS.timeout_s / 2
            )
        except BusFailed as error:
            log.warning("placement.requests_failed", named=len(question.tasks), reason=error.message)
            missed(error)
            return None
        if not self._epochs.counts(answer.epoch, monotonic_s()):
            log.warning("placement.refused", epoch=answer.epoch, highest=self._epochs.highest)
            return None
        return answer

    async def _hand_on(self, answer: Placements, asked: Mapping[TaskId, Instant]) -> None:
        for each in answer.tasks:
            await self._answered(each.task, each.answer, asked.get(each.task))
