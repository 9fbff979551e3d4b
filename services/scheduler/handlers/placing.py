"""Promises free slots to waiting tasks, and turns a promise into an attempt when the holder asks.

Whatever may make room rings `ledger.room`; one loop answers it by walking the queue once. A submitted or asking task is served at
once when the queue needs no walk: its elders have been served already. New promises are told as a hint to their holders, who
ask again every few seconds anyway.
"""

from collections.abc import Sequence

import structlog

from libs.common.errors import Refused, Removed
from libs.common.messages import (
    PLACEMENT_POSSIBLE,
    TASK_PLACED,
    UPLOADS,
    NotWaiting,
    Placed,
    PlacementPossible,
    PlaceTask,
    SentAhead,
    SupplyChanged,
    Waiting,
)
from libs.common.model import AttemptState, InstanceId, NodeTaskId, Task, TaskId, TaskState
from libs.common.ports import Bus
from services.scheduler.core.placement import Need
from services.scheduler.core.queue import Grant, key_of
from services.scheduler.core.tasks import HOLDER_AWAY, placed, waiting_because, waiting_for_holder
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice
from services.scheduler.ports import NewId

log = structlog.get_logger()


class Placer:
    """Answers PLACE_TASK and keeps the promises."""

    def __init__(self, ledger: Ledger, bus: Bus, voice: Voice, new_id: NewId) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._bus = bus
        self._voice = voice
        self._new_id = new_id

    # --- promises --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Walk the queue whenever there may be room."""
        while True:
            await self._ledger.room.wait()
            await self._tell(self._walk())

    async def look_again(self) -> None:
        """Take back promises that nobody picked up; give those a chance whose back-off is over."""
        for promise in self._board.expire(self._ledger.instant()):
            holder = self._board.tasks[promise.task].holder
            log.warning("promise expired", task=promise.task, node=promise.node, holder=holder)
        self._board.unpromised.walk_all()
        await self._tell(self._walk())
        if self._board.away:
            await self._say_who_is_away()

    async def _say_who_is_away(self) -> None:
        """Tell users whose photos lie with a proxy that does not answer what their task waits for."""
        waiting = [task for task in self._board.waiting_tasks() if task.holder in self._board.away]
        for task in waiting:
            if task.waiting_because != HOLDER_AWAY:
                where, now_ms = await self._address_of_holder(task), self._ledger.now_ms()
                await self._ledger.change(task.id, lambda now: waiting_for_holder(now, where, now_ms))  # noqa: B023 called at once
                log.warning("task waits for its proxy", task=task.id, holder=task.holder, address=where)

    async def _address_of_holder(self, task: Task) -> str:
        """Say where the proxy was reached that holds a task; its id when it has told nobody."""
        notice = await (await self._bus.bucket(UPLOADS)).get(task.id)
        return notice.value.url if notice else task.holder

    async def offer(self, task: Task) -> None:
        """Promise a slot to a task that has just come, if there is one."""
        await self._tell(self._serve(task))

    def heard(self, holder: InstanceId) -> None:
        """Note that a holder is there."""
        if self._board.heard(holder):
            log.info("holder is back", holder=holder)
            self._ledger.room.set()

    async def take_supply(self, told: SupplyChanged) -> None:
        """Note what the autoscaler does for the tasks that wait; one that was held back for a machine may go elsewhere now."""
        if self._board.supply.take(told, self._ledger.instant()):
            self._board.unpromised.walk_all()
            self._ledger.room.set()

    def has_room(self, need: Need) -> bool:
        """Whether a node would take such a task at this moment."""
        return self._board.nodes.choose(need) is not None

    def _walk(self) -> list[Grant]:
        self._ledger.room.clear()
        return self._board.grant_new(self._ledger.instant())

    def _serve(self, task: Task) -> list[Grant]:
        if self._ledger.room.is_set():
            return self._walk()
        return self._board.grant_one(task, self._ledger.instant())

    async def _tell(self, promises: Sequence[Grant], but: TaskId | None = None) -> None:
        for promise in promises:
            log.debug("slot promised", task=promise.task, node=promise.node, reason=promise.reason)
        tasks = tuple(promise.task for promise in promises if promise.task != but)
        if tasks:
            self._ledger.news.set()
            await self._bus.tell(PLACEMENT_POSSIBLE, PlacementPossible(tasks=tasks, epoch=self._ledger.office.epoch))

    # --- PLACE_TASK ------------------------------------------------------------------------------------------------

    async def place(self, asked: PlaceTask) -> Placed | Waiting | NotWaiting:
        """Say where a task goes now; the same answer again until the attempt is over."""
        task = self._board.visible(asked.task, None)
        if task is None:
            return NotWaiting(state=None, removed=isinstance(await self._ledger.missing(asked.task), Removed))
        if task.holder != asked.holder:
            raise Refused(f"{asked.task} is held by another proxy")
        self.heard(asked.holder)
        if task.state is TaskState.WAITING:
            await self._tell(self._serve(task), but=task.id)
            return await self._place_waiting(self._board.tasks.get(task.id, task), asked.ahead)
        return self._answer_again(task.id)

    async def _place_waiting(self, task: Task, ahead: SentAhead | None) -> Placed | Waiting | NotWaiting:
        promise = self._board.grants.get(task.id)
        if task.state is TaskState.WAITING and promise is None:
            return await self._keep_waiting(task)
        if promise is not None:
            self._board.extend(promise, self._ledger.instant())
            return await self._begin(task, promise, ahead)
        return self._answer_again(task.id)

    async def _begin(self, task: Task, promise: Grant, ahead: SentAhead | None) -> Placed | Waiting | NotWaiting:
        goes_on = ahead if ahead and fits(ahead, task, promise) else None
        node_task = goes_on.node_task_id if goes_on else NodeTaskId(self._new_id() if task.attempts else task.id)
        now_ms, epoch = self._ledger.now_ms(), self._ledger.office.epoch

        def decide(now: Task) -> Task:
            kept = self._board.grants.get(now.id)
            node = self._board.nodes.get(promise.node)
            if now.state is not TaskState.WAITING or kept is not promise or node is None:
                return now
            return placed(now, node.record, node_task, now_ms, epoch, ahead=goes_on is not None)

        record = await self._ledger.change(task.id, decide)
        begun = record.task.attempt
        if begun is not None and begun.node_task_id == node_task and record.task.state is TaskState.FORWARDING:
            await self._voice.of_task(TASK_PLACED, record.task, reason=promise.reason)
        if record.task.state is TaskState.WAITING:
            return await self._keep_waiting(record.task)
        return self._answer_again(task.id)

    def _answer_again(self, task_id: TaskId) -> Placed | Waiting | NotWaiting:
        task = self._board.visible(task_id, None)
        attempt = task.attempt if task else None
        if task is None or task.state is not TaskState.FORWARDING or attempt is None:
            return NotWaiting(state=task.state if task else None, removed=task is None)
        node = self._board.nodes.get(attempt.node)
        if attempt.state is AttemptState.UNCERTAIN or node is None:
            return Waiting(position=1, reason=f"asking {self._board.name_of(attempt.node)} whether it has the task")
        self._board.forwarding[task.id].heard_at = self._ledger.instant()
        return Placed(
            node=node.record,
            attempt=attempt.number,
            node_task_id=attempt.node_task_id,
            revision=self._board.revisions[task.id],
            epoch=self._ledger.office.epoch,
            ahead=attempt.ahead,
        )

    async def _keep_waiting(self, task: Task) -> Waiting:
        now, now_ms = self._ledger.instant(), self._ledger.now_ms()
        because, word = self._board.why_waiting(task, now), self._board.supply.word(task.id, now)
        if waiting_because(task, because, now_ms, word) != task:
            await self._ledger.change(task.id, lambda now: waiting_because(now, because, now_ms, word))
        return Waiting(position=self._board.waiting.position(key_of(task)), reason=because)


def fits(ahead: SentAhead, task: Task, promise: Grant) -> bool:
    """Whether an attempt can go on with what was sent ahead: it is on this node, and no attempt has had that id before."""
    return ahead.node == promise.node and all(each.node_task_id != ahead.node_task_id for each in task.attempts)
