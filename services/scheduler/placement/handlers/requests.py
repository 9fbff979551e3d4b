"""What proxies ask: questions that are held open, hints to those who ask for single tasks, and where uploads may go.

An upload owner has one open question (`PlacementPoll`), with what there is to be said to it. It is open from the moment when it is read until it is answered. Slots are reserved only for those that are open, in the same
step in which they are chosen; once a question is being answered, nothing more is put to it.

Those who ask for single tasks (PLACE_TASK) are told that it is worth asking, and everybody is told who leads. A hint reserves nothing: who comes first gets the slot.

PLAN_STAGE_IN asks where the files of an upload may go before its commit (placement/core/stage_in.py). Nothing of it is written down: after a restart the upload owners ask again within seconds, and say where their files go.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.messages.placement import (
    PLACEMENT_POSSIBLE,
    PlacementPossible,
    PlaceTasks,
    PlanStageIn,
    StageInDeclined,
    StageInPlanned,
    StageInReply,
)
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.reservations import Reservation
from clusterodm.services.scheduler.placement.core.stage_in import NoStageIn, StageIns
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.proxies import ProxyRegistry
from clusterodm.services.scheduler.registry.ranking import Need
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import FirstRenewal
from clusterodm.services.scheduler.task_life.graphics import asks_for_gpu, listed


class PlacementPoll:
    """A question and what it will be answered with."""

    def __init__(self, request: PlaceTasks) -> None:
        self.upload_owner = request.upload_owner
        self.run = request.run
        self.places_count = request.places_count
        self.number = request.number
        self._renews_first = request.renews_first
        self._named = frozenset([each.task for each in request.tasks])
        self.held = request.hold_s > 0 and request.places_count > 0 and not request.tasks
        """Whether it waits until there is something to say."""
        self.reserved: list[Reservation] = []
        self.ahead = {each.task: each.ahead for each in request.tasks if each.ahead}
        self.changed: dict[TaskId, None] = {each.task: None for each in request.tasks}
        """Tasks of which something is to be said."""
        self._woken = asyncio.Event()

    def take(self, made: Reservation, ahead: StagedFiles | None = None) -> None:
        """Answer with a placement."""
        self.reserved.append(made)
        if ahead:
            self.ahead.setdefault(made.task, ahead)
        self._woken.set()

    def add(self, task: TaskId) -> None:
        """Answer with what has become of a task."""
        self.changed[task] = None
        self._woken.set()

    def end(self) -> None:
        """Answer now."""
        self._woken.set()

    async def wait(self, longest_s: float) -> bool:
        """Wait until there is something to say; False when there is not, so long after."""
        if self.reserved or self.changed or not self.held:
            return True
        return await wait_for_event(self._woken, longest_s) or bool(self.reserved or self.changed)

    def renewal_of(self, task: TaskId) -> FirstRenewal:
        """Say when its upload owner renews the attempt of a task for the first time."""
        if self._renews_first:
            return FirstRenewal.BEFORE
        return FirstRenewal.DONE if task in self._named else FirstRenewal.LATER


class PlacementPolls:
    """The questions that are held open, one for each upload owner."""

    def __init__(self, upload_owners: ProxyRegistry, clock: Clock) -> None:
        self._proxies = upload_owners
        self._clock = clock
        self._open: dict[InstanceId, PlacementPoll] = {}
        self._named: dict[InstanceId, tuple[str, int]] = {}
        """Run and number of the last one about named tasks, of each upload owner."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing is held open any more."""
        return self._closed

    def of(self, upload_owner: InstanceId) -> PlacementPoll | None:
        """Find the open question of an upload owner."""
        return self._open.get(upload_owner)

    def is_repeated(self, poll: PlacementPoll) -> bool:
        """Whether a question about named tasks has been here before; note it, where it has not."""
        if poll.held or not poll.number:
            return False
        run, number = self._named.get(poll.upload_owner, ("", 0))
        if run == poll.run and number >= poll.number:
            return True
        self._named[poll.upload_owner] = (poll.run, poll.number)
        return False

    def pass_on(self, poll: PlacementPoll, placed: Iterable[TaskId]) -> None:
        """Tell a later question what was placed with an open one: who asks again before the answer may not listen to it."""
        if poll.held and (later := self._open.get(poll.upload_owner)):
            for task in placed:
                later.add(task)

    @contextmanager
    def opened(self, poll: PlacementPoll) -> Iterator[None]:
        """Let slots be reserved for a question while the context is open. It ends the one before, where that counts no more."""
        before = self._open.get(poll.upload_owner)
        if before and (poll.held or poll.run != before.run or not poll.places_count):
            del self._open[poll.upload_owner]
            before.end()
        if poll.held:
            self._open[poll.upload_owner] = poll
        self._proxies.open_poll(poll.upload_owner, poll.places_count)
        try:
            yield
        finally:
            if self._open.get(poll.upload_owner) is poll:
                del self._open[poll.upload_owner]
            self._rest(poll.upload_owner)

    def _rest(self, upload_owner: InstanceId) -> None:
        self._proxies.heard(upload_owner, self._clock.instant())
        if still := self._open.get(upload_owner):
            self._proxies.open_poll(upload_owner, still.places_count)
        else:
            self._proxies.rest(upload_owner)

    def close(self) -> None:
        """Have all of them answered, and hold none open from now on."""
        self._closed = True
        for poll in self._open.values():
            poll.held = False
            poll.end()


HINTED_COUNT: Final = 16
REMEMBERED_S: Final = 60.0
"""Who asked for a single task gets hints for so long."""


class PlacementHints:
    """What is told without having been asked."""

    def __init__(self, state: ClusterState, records: Records, bus: Bus, polls: PlacementPolls) -> None:
        self._nodes = records.registry
        self._clock = records.clock
        self._leadership = records.leadership
        self._state = state
        self._bus = bus
        self._polls = polls
        self._interested: dict[InstanceId, Instant] = {}
        self._published: tuple[int, tuple[TaskId, ...]] = (0, ())

    def note_request(self, upload_owner: InstanceId) -> None:
        """Note that an upload owner asks for single tasks."""
        self._interested[upload_owner] = self._clock.instant()

    async def publish_leadership(self) -> None:
        """Have all questions asked again that a predecessor will not answer."""
        await self._publish(())

    async def publish(self) -> None:
        """Tell whom it may concern, once for each change of the nodes."""
        now = self._clock.instant()
        self._interested = {
            upload_owner: at for upload_owner, at in self._interested.items() if now - at < REMEMBERED_S
        }
        hint = (self._nodes.open.version, self._worth_asking())
        if hint[1] and hint != self._published:
            self._published = hint
            await self._publish(hint[1])

    def _worth_asking(self) -> tuple[TaskId, ...]:
        if not self._interested or not self._nodes.open.has_room:
            return ()
        lanes = [
            lane
            for upload_owner in self._interested
            if not self._polls.of(upload_owner)
            for lane in self._state.queue.of_upload_owner(upload_owner)
            if self._nodes.open.free_for(lane.need)
        ]
        return tuple(task for _, task in islice(merge(*lanes), HINTED_COUNT))

    async def _publish(self, tasks: tuple[TaskId, ...]) -> None:
        await self._bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=tasks, epoch=self._leadership.epoch))


log = structlog.get_logger()


class StageInPlanner:
    """Says where files may go."""

    def __init__(self, state: ClusterState, records: Records, settings: SchedulerSettings) -> None:
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._state = state
        self._gpu_options = listed(settings.gpu_options)
        self.stage_ins = StageIns(self._nodes, settings.aim_s, settings.aims_per_node_count)
        self._signals.task_listeners.append(self._task_changed)

    async def plan(self, request: PlanStageIn) -> StageInReply:
        """Say where files of an upload may go now."""
        found = self._found(request)
        log.debug("stage_in.planned", task=request.task, upload_owner=request.upload_owner, at=repr(found))
        return (
            StageInDeclined(reason=found.reason) if isinstance(found, NoStageIn) else StageInPlanned(node=found.record)
        )

    def _found(self, request: PlanStageIn) -> NodeState | NoStageIn:
        if request.task in self._index.tasks:
            return NoStageIn("it is committed")
        if not self._state.quota.left_count(request.owner):
            self.stage_ins.drop(request.task)
            return NoStageIn("as many tasks of this user are under way as may be")
        gpu = asks_for_gpu(request.options, self._gpu_options)
        need = Need(images_count=request.images_count, task=request.task, owner=request.owner, gpu=gpu)
        return self.stage_ins.plan(need, request.node, self._clock.instant())

    async def expire(self) -> None:
        """Forget uploads that nobody asks about any more."""
        for each in self.stage_ins.expire(self._clock.instant()):
            log.info("stage_in.expired", task=each.task, node=each.node)

    def _task_changed(self, _before: Task | None, after: Task | None) -> None:
        """End the stage-in of a task that has its place."""
        if after is not None and after.state is not TaskState.WAITING:
            self.stage_ins.drop(after.id)
