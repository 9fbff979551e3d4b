"""Whether what the mirror says of a task is still so.

No answer is given from a mirror alone: it may be behind another proxy's.

    the owner      is asked whether the revision is the last one. One question is under way at a time; who asks meanwhile is in the
                   next one, which is asked APART_S after it, or when FULL_COUNT polls wait: so polls cost the scheduler 125 small questions a
                   second, and more only where each has that many polls to share it
    the store      is asked, through its leader, while no scheduler answers: it has just died, or another takes over
    the mirror     is believed when the only server of NATS is known to be away for AWAY_S: nobody can record anything new then.
                   That is known since the connection was found to be lost and only as long as tries to make it again fail,
                   never because nothing was heard. Of several servers another may be there for another proxy, which then knows
                   more: the mirror is not believed at all
    promptly       whoever can ask a node instead has the owner asked alone, and waits for PROMPT_S at most
    nobody         the question is asked again for HOLD_S, then BusFailed: the connection is closed
    the node       of a task that goes on, as its node says, counts where nobody tells within that time; promptly where there is one server of NATS:
                   it feeds all proxies, so none is ahead of another for more than moments

So the answer is never older than the question, whichever server of NATS feeds the mirror and however far it lags behind.

A poll is held, and not closed at once, because not every client asks again: PyODM's wait for completion does, its download asks for
the info of the task once. It waits for 30 s; a server of NATS that hangs is noticed within six, and the others agree on leaders
within ten. The first failure of a poll may be followed by a second attempt the usual way (polling/handlers/coalesce.py): twice HOLD_S is less
than clients wait.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import ENDED, TASKS
from clusterodm.libs.common.messages.tasks import CONFIRM_TASKS, GET_TASK, ConfirmTasks, SeenTask, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.retry import RetryPolicy
from clusterodm.services.proxy.cluster.ports import Cluster

log = structlog.get_logger()

Result = TypeVar("Result")
Listener = Callable[[bool], None]
"""Hears whether a record is the last one for certain."""
Seen = tuple[TaskId, int, TaskState]
"""A task, and its revision and state in the mirror: there may be the same revision in a store that was restored since."""

OWNER_S: Final = 0.5
"""How long the scheduler has for an answer before the store is asked."""
OWNER_REST_S: Final = 1.0
"""How long it is not asked after it has given none."""
STORE_S: Final = 1.0
PROMPT_S: Final = 0.1
"""How long somebody waits who can do without."""
APART_S: Final = 0.008
"""Between two questions: the fewer there are, the more polls share what one costs, which is more than all else about a poll."""
FULL_COUNT: Final = 48
"""A question for which so many polls wait is asked without that pause: what it costs is shared by enough of them."""
HOLD_S: Final = 8.0
"""So long a poll is held that nobody can confirm."""
AWAY_S: Final = 10.0
"""So long tries to reach the only server of NATS have failed when the mirror is believed."""
RETRIES: Final = RetryPolicy(tries_count=1_000, within_s=HOLD_S, first_s=0.05, longest_s=0.5)
"""Thousands may be held at once: each looks a few times a second whether NATS is back."""


async def retried(act: Callable[[], Awaitable[Result]], clock: Clock, hold_s: float = HOLD_S) -> Result:
    """Act again, ever less often, until that raises no BusFailed. Raises the last one when no further try fits into `hold_s`."""
    began, failures_count, policy = clock.instant(), 0, replace(RETRIES, within_s=hold_s)
    while True:
        try:
            return await act()
        except BusFailed:
            failures_count += 1
            pause_s = policy.pause_s(failures_count, clock.instant() - began, random.random())  # noqa: S311 no secret
            if pause_s is None:
                raise
        await asyncio.sleep(pause_s)


class ConfirmationBatch:
    """Revisions that are asked about together."""

    def __init__(self) -> None:
        self.seen: set[Seen] = set()
        self.outdated: asyncio.Future[frozenset[str] | None] = asyncio.get_running_loop().create_future()
        """None: whoever wanted to ask has gone."""
        self.listeners: list[tuple[TaskId, Listener]] = []
        """Who does without when the answer is late."""
        self._full: asyncio.Future[None] | None = None
        """Whoever is to ask waits for more to join."""

    def listen(self, task: TaskId, listener: Listener) -> None:
        """Be told of a task; who is enough lets it be asked now."""
        self.listeners.append((task, listener))
        if self._full is not None and len(self.listeners) >= FULL_COUNT:
            self._fill()

    async def filled(self, within_s: float) -> None:
        """Wait until enough listen, or so many seconds."""
        loop = asyncio.get_running_loop()
        if within_s <= 0 or len(self.listeners) >= FULL_COUNT:
            await asyncio.sleep(0)
            return
        self._full = loop.create_future()
        alarm = loop.call_later(within_s, self._fill)
        try:
            await self._full
        finally:
            alarm.cancel()

    def _fill(self) -> None:
        if self._full is not None and not self._full.done():
            self._full.set_result(None)

    def notify(self, outdated: frozenset[str] | None) -> None:
        """Tell those who do without what is known now; None: nothing."""
        listeners, self.listeners = self.listeners, []
        for task, listener in listeners:
            listener(outdated is not None and task not in outdated)


class Confirmer:
    """Confirms records."""

    def __init__(self, bus: Bus, cluster: Cluster, clock: Clock, *, apart_s: float = APART_S) -> None:
        self._bus = bus
        self._cluster = cluster
        self._clock = clock
        self._apart_s = apart_s
        self._open: ConfirmationBatch | None = None
        """The one that is still to be asked."""
        self._turn = asyncio.Lock()
        self._owner_from: Instant = clock.instant()
        self._next_from: Instant = clock.instant()

    async def confirm(self, record: TaskRecord) -> TaskRecord:
        """Find the last record of a task; this one, when it is still that. Raises BusFailed when nobody can tell, NotFound."""
        return await retried(lambda: self.confirm_now(record), self._clock)

    @property
    def is_prompt(self) -> bool:
        """Whether the owner has answered lately, or nothing is known of it. Who joins others that do without waits no longer than they do."""
        if self._open is not None and self._open.listeners:
            return True
        return self._bus.connected and self._clock.instant() >= self._owner_from

    def notify(self, record: TaskRecord, listener: Listener) -> Coroutine[Any, Any, None] | None:
        """Call `listener` with whether a record is the last one, PROMPT_S later at most; what is returned is to be awaited for that."""
        batch, is_new, task = self._open, False, record.task.id
        if batch is None or not batch.listeners:
            batch, is_new = self._join(record)
            asyncio.get_running_loop().call_later(PROMPT_S, batch.notify, None)
        else:
            batch.seen.add(seen_of(record))
        batch.listen(task, listener)
        return self._request_in_turn(batch) if is_new else None

    async def promptly(self, record: TaskRecord) -> bool:
        """Say whether a record is the last one for certain; False: it is not, or that takes too long."""
        if not self.is_prompt:
            return False
        try:
            async with asyncio.timeout(PROMPT_S):
                return record.task.id not in await self._outdated(record)
        except (BusFailed, TimeoutError):
            return False

    async def is_known_outdated(self, record: TaskRecord) -> bool:
        """Whether it is certain that a record is not the last one; False: it is the last, or nobody tells in time."""
        try:
            if self._bus.servers_count > 1:
                return await retried(lambda: self._is_outdated(record), self._clock)
            async with asyncio.timeout(PROMPT_S):
                return self.is_prompt and await self._is_outdated(record)
        except (BusFailed, TimeoutError):
            return False

    async def _is_outdated(self, record: TaskRecord) -> bool:
        if not self._bus.connected:
            raise BusFailed("nats is away")
        return record.task.id in await self._outdated(record)

    async def confirm_now(self, record: TaskRecord) -> TaskRecord:
        """Confirm a record, or raise at once."""
        if not self._bus.connected:
            if self._bus.servers_count == 1 and self._bus.away_s > AWAY_S:
                return record
            raise BusFailed("nats is away, and the mirror may be behind")
        if record.task.id not in await self._outdated(record):
            return record
        latest = await self._latest(record)
        self._cluster.learn(latest)
        return latest

    async def _outdated(self, record: TaskRecord) -> frozenset[str]:
        while True:
            batch, is_new = self._join(record)
            if is_new:
                await self._request_in_turn(batch)
            if (outdated := await asyncio.shield(batch.outdated)) is not None:
                return outdated

    def _join(self, record: TaskRecord) -> tuple[ConfirmationBatch, bool]:
        """Be in the next question; whether it is a new one, that is still to be asked."""
        batch, is_new = self._open, self._open is None
        if batch is None:
            batch = self._open = ConfirmationBatch()
        batch.seen.add(seen_of(record))
        return batch, is_new

    async def _request_in_turn(self, batch: ConfirmationBatch) -> None:
        try:
            async with self._turn:
                await batch.filled(self._next_from - self._clock.instant())
                self._next_from = self._clock.instant() + self._apart_s
                self._open = None
                batch.outdated.set_result(await self._request(batch.seen))
        except BusFailed as error:
            batch.outdated.set_exception(error)
        finally:
            if self._open is batch:
                self._open = None
            if not batch.outdated.done():
                batch.outdated.set_result(None)
            batch.notify(None if batch.outdated.exception() else batch.outdated.result())

    async def _request(self, seen: Collection[Seen]) -> frozenset[str]:
        if self._clock.instant() >= self._owner_from:
            asked = ConfirmTasks(seen=tuple(SeenTask(task=task, revision=at, state=state) for task, at, state in seen))
            try:
                return frozenset((await self._bus.request(CONFIRM_TASKS, asked, timeout_s=OWNER_S)).outdated)
            except BusFailed as error:
                self._owner_from = self._clock.instant() + OWNER_REST_S
                log.debug("records.not_confirmed", reason=error.message)
        return await self._read_store(seen)

    async def _read_store(self, seen: Collection[Seen]) -> frozenset[str]:
        try:
            async with asyncio.timeout(STORE_S):
                stored = {task: await self._stored(task) for task in {task for task, _, _ in seen}}
        except TimeoutError:
            raise BusFailed("neither the scheduler nor the store answers") from None
        return frozenset(each[0] for each in seen if (record := stored[each[0]]) is None or seen_of(record) != each)

    async def _latest(self, record: TaskRecord) -> TaskRecord:
        """Get a record that has changed. Raises NotFound, BusFailed."""
        try:
            return await self._bus.request(GET_TASK, TaskRef(task=record.task.id), timeout_s=OWNER_S)
        except BusFailed:
            stored = await self._stored(record.task.id)
            if stored is None:
                raise BusFailed(f"{record.task.id} is not there, and nobody says why") from None
            return stored

    async def _stored(self, task: TaskId) -> TaskRecord | None:
        """Read a record from the leader of its stream, among the active tasks or the ended ones. Raises BusFailed."""
        if active := await (await self._bus.bucket(TASKS)).get(task):
            return TaskRecord(task=active.value, revision=active.revision)
        if ended := await (await self._bus.bucket(ENDED)).get(task):
            return TaskRecord(task=ended.value.task, revision=ended.value.revision, archived=True)
        return None


def seen_of(record: TaskRecord) -> Seen:
    """Say what is asked about a record."""
    return record.task.id, record.revision, record.task.state
