"""Gives free slots to those who ask for them, and begins the attempts.

An upload owner keeps a question open while tasks of its wait (`PLACE_TASKS`, placement/handlers/requests.py). Whatever may make room sets `Signals.capacity_freed`;
one loop answers it by walking the queue once (placement/core/reservations.py), and what it finds is put to the questions that are open. A slot is
reserved in the moment of the choice and until the attempt is written down, and for nobody who does not ask: so nothing has to
expire, and a proxy that is busy or gone keeps no slot from others.

An answer may be lost with its proxy. The attempt is written by then, and counts: the next question of the upload owner gets it again,
and from one that gives no other sign of life the slot is taken back (forwarding/handlers/uncertain.py).

`PLACE_TASK` asks for one task and is answered at once: for integrations, and for proxies of the versions before.
"""

import asyncio
from collections.abc import Callable
from heapq import merge
from itertools import islice
from typing import Final

import structlog

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, Refused, Removed
from clusterodm.libs.common.messages.demand import SupplyChanged
from clusterodm.libs.common.messages.placement import (
    NotWaiting,
    Placed,
    Placements,
    PlaceReply,
    PlaceTask,
    PlaceTasks,
    TaskPlacement,
    Waiting,
)
from clusterodm.libs.common.messages.tasks import TASK_PLACED, StagedFiles
from clusterodm.libs.common.model.tasks import AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.telemetry.tracing import Spans
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.metrics import QUEUE_SECONDS, RESERVATIONS
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.reservations import Reservation, fits, has_left
from clusterodm.services.scheduler.placement.core.waiting import got, not_waiting
from clusterodm.services.scheduler.placement.handlers.forecasting import Forecaster
from clusterodm.services.scheduler.placement.handlers.requests import PlacementHints, PlacementPoll, PlacementPolls
from clusterodm.services.scheduler.records.core import place_of
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.ranking import Need
from clusterodm.services.scheduler.spans import exemplar, of_attempt
from clusterodm.services.scheduler.task_life.attempts import FirstRenewal
from clusterodm.services.scheduler.task_life.transitions import placed

NewId = Callable[[], str]
"""A fresh UUID."""

log = structlog.get_logger()

LISTED_COUNT: Final = 100
"""Of so many waiting tasks the position and the reason are told when there is nothing else to say."""


class PlacementLoop:
    """Answers PLACE_TASKS and PLACE_TASK."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        state: ClusterState,
        records: Records,
        bus: Bus,
        events: EventPublisher,
        new_id: NewId,
        forecaster: Forecaster,
    ) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._leadership = records.leadership
        self._signals = records.signals
        self._state = state
        self._events = events
        self._new_id = new_id
        self.expected = forecaster.expected
        self.why_not_at_once, self.came = state.beginnings.why_not, state.beginnings.came
        self._polls = PlacementPolls(state.proxies, records.clock)
        self._beginning: set[TaskId] = set()
        """Tasks whose attempt is being written down."""
        self._hints = PlacementHints(state, records, bus, self._polls)
        self._signals.task_listeners.append(self._task_changed)

    # --- the queue -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Walk the queue whenever there may be room. First of all: who has asked our predecessor is to ask us."""
        await self._hints.publish_leadership()
        while True:
            await self._signals.capacity_freed.wait()
            self._walk()
            await self._hints.publish()
            beat()

    async def recheck(self) -> None:
        """Note who is away; give those a chance whose back-off is over, or who were deferred for long enough."""
        now = self._clock.instant()
        for upload_owner in self._state.proxies.check(self._state.queue.upload_owners(), now):
            log.warning("upload_owner.went_away", upload_owner=upload_owner)
            self._signals.changed.set()
        self._walk()
        await self._hints.publish()

    def offer(self, task: Task, ahead: StagedFiles | None = None) -> None:
        """Give a task that has just come a slot, if there is one and its upload owner asks."""
        self._walk(ahead={task.id: ahead} if ahead else {})

    def heard(self, upload_owner: InstanceId) -> None:
        """Note that an upload owner is there."""
        if self._state.hear(upload_owner, self._clock.instant()):
            log.info("upload_owner.returned", upload_owner=upload_owner)
            self._signals.changed.set()

    async def take_supply(self, message: SupplyChanged) -> None:
        """Note what the autoscaler does for the tasks that wait; one that was deferred for a machine may go elsewhere now."""
        if self._state.supply.take(message, self._clock.instant()):
            self._signals.capacity_freed.set()

    def is_beyond(self, need: Need) -> bool:
        """Whether there is no room for another part of a split dataset."""
        return self._state.submodels.is_beyond(need, self._clock.instant())

    def why_waiting(self, task: Task) -> str:
        """Say why a task waits."""
        return self._state.reasons.why_waiting(task, self._clock.instant())

    def away_count(self) -> int:
        """Count the waiting tasks whose upload owner is away."""
        return sum(len(lane) for lane in self._state.queue if lane.id.upload_owner in self._state.proxies.away)

    def position(self, task: Task) -> int:
        """Say which place a waiting task has in the queue, from 1."""
        return self._state.order.position(task)

    def page(self, offset_count: int, limit_count: int) -> list[TaskId]:
        """Name some of the waiting tasks, in the order in which they should get slots."""
        return self._state.order.page(offset_count, limit_count)

    def why_here(self, task: Task) -> str:
        """Say why a task stands where it does in the queue; empty: by its commit alone."""
        return self._state.shares.why(task)

    def tenant_of(self, owner: Owner) -> str:
        """Say how an owner is called; empty: nobody has given it a name."""
        return self._state.shares.name_of(owner)

    def is_away(self, upload_owner: InstanceId) -> bool:
        """Whether an upload owner neither asks nor sends."""
        return upload_owner in self._state.proxies.away

    def close(self) -> None:
        """Answer all questions, and hold none open any more: whoever asked is to ask our successor."""
        self._polls.close()

    def _walk(self, asker: PlacementPoll | None = None, ahead: dict[TaskId, StagedFiles] | None = None) -> None:
        """Put what is free to the open questions; `asker` is one of them."""
        self._signals.capacity_freed.clear()
        made = self._state.reservations.reserve_all(self._clock.instant())
        for each in made:
            upload_owner = self._index.tasks[each.task].upload_owner
            poll = asker if asker and asker.upload_owner == upload_owner else self._polls.of(upload_owner)
            RESERVATIONS.inc("made" if poll else "unclaimed")
            if poll is None:
                self._state.reservations.release(each.task)
                continue
            log.debug("slot.reserved", task=each.task, node=each.node, upload_owner=upload_owner, reason=each.reason)
            poll.take(each, (ahead or {}).get(each.task))
        if made:
            self._signals.changed.set()

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        """Tell an upload owner what has become of its task; give up a reservation that a write without an answer had left."""
        if after and after.state is TaskState.WAITING and self._is_left_over(after.id):
            self._state.reservations.release(after.id)
            self._signals.capacity_freed.set()
        if before and has_left(before, after) and (poll := self._polls.of(before.upload_owner)):
            poll.add(before.id)

    def _is_left_over(self, task: TaskId) -> bool:
        return task in self._state.reservations.made and task not in self._beginning

    # --- PLACE_TASKS -----------------------------------------------------------------------------------------------

    async def place_tasks(self, request: PlaceTasks) -> Placements:
        """Answer an upload owner as soon as there is something to say. Raises BusFailed when another is to be asked."""
        if self._polls.closed:
            raise BusFailed("this scheduler is about to stop")
        poll = PlacementPoll(request)
        self.heard(request.upload_owner)
        try:
            with self._polls.opened(poll):
                poll.changed.update(dict.fromkeys(self._state.unheard_of(request)))
                if not self._polls.is_repeated(poll):
                    self._walk(poll)
                said = await poll.wait(min(request.hold_s, PlaceTasks.HOLD_S))
        except BaseException:
            self._give_up(poll)
            raise
        placements = await self._begin_all(poll) if poll.reserved else {}
        self._polls.pass_on(poll, placements)
        named = poll.changed if said else self._first_waiting(request.upload_owner)
        answers = placements | {
            task: await self._say(task, request.upload_owner) for task in named if task not in placements
        }
        return Placements(
            tasks=tuple(TaskPlacement(task=task, answer=answer) for task, answer in answers.items()),
            epoch=self._leadership.epoch,
        )

    def _give_up(self, poll: PlacementPoll) -> None:
        """Free what is reserved for a question that will not be answered."""
        for made in poll.reserved:
            self._state.reservations.release(made.task)
        self._signals.capacity_freed.set()

    def _first_waiting(self, upload_owner: InstanceId) -> list[TaskId]:
        return [task for _, task in islice(merge(*self._state.queue.of_upload_owner(upload_owner)), LISTED_COUNT)]

    async def _begin_all(self, poll: PlacementPoll) -> dict[TaskId, PlaceReply]:
        """Begin the attempts for which slots are reserved, side by side; those that fail are not spoken of."""
        begun = await asyncio.gather(*(self._try_to_begin(each, poll) for each in poll.reserved))
        return {each.task: answer for each, answer in zip(poll.reserved, begun, strict=True) if answer}

    async def _try_to_begin(self, made: Reservation, poll: PlacementPoll) -> PlaceReply | None:
        try:
            return await self._begin(made, poll.ahead.get(made.task), poll.renewal_of(made.task))
        except ClusterError as error:
            log.warning("attempt.not_begun", task=made.task, node=made.node, reason=error.message)
            return None

    async def _say(self, task_id: TaskId, upload_owner: InstanceId) -> PlaceReply:
        """Say what is true of a task now."""
        task = self._index.visible(task_id, None)
        if task is None:
            return await self._not_active(task_id, upload_owner)
        if task.upload_owner != upload_owner:
            return NotWaiting(state=task.state, held_by=task.upload_owner)
        if task.state is not TaskState.WAITING:
            return self._answer_again(task_id)
        return self._waiting(task)

    async def _not_active(self, task_id: TaskId, upload_owner: InstanceId) -> NotWaiting:
        """Say of a task that is not in the index whether it has ended, was removed, or is unknown. Raises BusFailed."""
        if known := self._index.tasks.get(task_id):
            return not_waiting(known)
        try:
            task = (await self._tasks.find(task_id)).task
            another = InstanceId("") if task.upload_owner == upload_owner else task.upload_owner
            return NotWaiting(state=task.state, held_by=another)
        except NotFound as error:
            return NotWaiting(state=None, removed=isinstance(error, Removed))

    def _waiting(self, task: Task) -> Waiting:
        return Waiting(position=self._index.by_place.position(place_of(task)), reason=self.why_waiting(task))

    # --- PLACE_TASK ------------------------------------------------------------------------------------------------

    async def place(self, request: PlaceTask) -> PlaceReply:
        """Say where a task goes now; the same answer again until the attempt is over."""
        task = self._index.visible(request.task, None)
        if task is not None and task.upload_owner != request.upload_owner:
            raise Refused(f"{request.task} is held by another proxy")
        if task is None or task.state is not TaskState.WAITING:
            return await self._say(request.task, request.upload_owner)
        self.heard(request.upload_owner)
        self._hints.note_request(request.upload_owner)
        self._walk()
        if made := self._state.reservations.reserve_one(task, self._clock.instant()):
            return await self._begin(made, request.ahead, FirstRenewal.LATER)
        return await self._say(task.id, request.upload_owner)

    # --- attempts --------------------------------------------------------------------------------------------------

    async def _begin(self, made: Reservation, ahead: StagedFiles | None, renewal: FirstRenewal) -> PlaceReply:
        """Write an attempt down; its slot is reserved until that is done, or known not to have been done."""
        self._beginning.add(made.task)
        try:
            return await self._write_down(made, ahead, renewal)
        finally:
            self._beginning.discard(made.task)
            if made.task not in self._tasks.doubtful and self._state.reservations.made.get(made.task) is made:
                self._state.reservations.release(made.task)
                self._signals.capacity_freed.set()

    async def _write_down(self, made: Reservation, ahead: StagedFiles | None, renewal: FirstRenewal) -> PlaceReply:
        task = self._index.tasks[made.task]
        goes_on = ahead if ahead and fits(ahead, task, made) else None
        node_task = goes_on.node_task_id if goes_on else NodeTaskId(self._new_id() if task.attempts else task.id)
        now_ms, epoch = self._clock.wall_ms(), self._leadership.epoch

        def decide(now: Task) -> Task:
            node = self._nodes.get(made.node)
            if (
                now.state is not TaskState.WAITING
                or self._state.reservations.made.get(now.id) is not made
                or node is None
                or not node.admission.admits(now.owner)
            ):
                return now
            return placed(now, node.record, node_task, now_ms, epoch, ahead=goes_on is not None)

        record = (await self._tasks.change(made.task, decide)).record
        begun = record.task.attempt
        ours = begun is not None and begun.node_task_id == node_task and record.task.state is TaskState.FORWARDING
        if ours:
            self._index.forwarding[made.task].await_upload_owner(renewal)
            QUEUE_SECONDS.observe(waited_s(task, now_ms), got(record.task), trace_id=exemplar(record.task))
            await self._events.publish_task(TASK_PLACED, record.task, reason=made.reason)
        if record.task.state is TaskState.WAITING:
            return self._waiting(record.task)
        return self._answer_again(made.task, node_task if ours else None)

    def _answer_again(self, task_id: TaskId, begun: NodeTaskId | None = None) -> PlaceReply:
        """Say where a task is sent now. `begun`: the attempt that this question has begun."""
        task = self._index.visible(task_id, None)
        attempt = task.attempt if task else None
        if task is None or task.state is not TaskState.FORWARDING or attempt is None:
            return not_waiting(self._index.tasks.get(task_id))
        node = self._nodes.get(attempt.node)
        if attempt.state is AttemptState.UNCERTAIN or node is None:
            return Waiting(position=1, reason=f"asking {self._nodes.name_of(attempt.node)} whether it has the task")
        self._index.forwarding[task.id].hear(self._clock.instant())
        return Placed(
            node=node.record,
            attempt=attempt.number,
            node_task_id=attempt.node_task_id,
            revision=self._index.revisions[task.id],
            epoch=self._leadership.epoch,
            ahead=attempt.ahead,
            again=attempt.node_task_id != begun,
            trace=of_attempt(task, attempt.number).header if Spans.export is not None else "",
        )


def waited_s(task: Task, now_ms: int) -> float:
    """Say for how long a task has waited: since its commit, or the end of its last attempt."""
    since_ms = max([task.committed_at_ms, *(attempt.ended_at_ms or 0 for attempt in task.attempts[-1:])])
    return max(0, now_ms - since_ms) / 1000
