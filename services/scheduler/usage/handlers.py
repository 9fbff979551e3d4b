"""Counts what has ended, once, and answers what tenants have used.

Whatever ends is counted within a second, all of a tenant's in one write (compare-and-set). A task leaves the ended ones (it is restarted, put into the archive,
forgotten) only after it was counted: `settle` is awaited before that is written (records/handlers/task_store.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import structlog

from clusterodm.libs.common.errors import Conflict
from clusterodm.libs.common.messages.buckets import MACHINE_SPANS, USAGE
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, MachineSpans, TenantUsage, UsagePage
from clusterodm.libs.common.model.tasks import Attempt, Task
from clusterodm.libs.common.model.values import MachineId, Owner, TaskId
from clusterodm.libs.common.ports import Bucket, Bus, Handler
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.leadership import repeated
from clusterodm.services.scheduler.metrics import (
    TENANT_BYTES,
    TENANT_COST,
    TENANT_IMAGES,
    TENANT_NODE_SECONDS,
    TENANT_TASKS,
)
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.usage.core import (
    RentedSpan,
    RunEnd,
    Span,
    TenantSeries,
    added,
    cost_of,
    end_of,
    key_for,
    key_of,
    overlap,
    page_of,
    run_of,
    span_of,
    uncounted,
    with_span,
)

log = structlog.get_logger()

COUNT_EVERY_S: Final = 1.0
NOWHERE: Final = MachineId("")
"""The label of all owners that nobody has given a name."""

NameOf = Callable[[Owner], str]
"""Says how a tenant is called; empty: it has no name."""


class UsageAccount:
    """What tenants have used, as it is kept."""

    def __init__(
        self, records: Records, usage: Bucket[TenantUsage], spans: Bucket[MachineSpans], name_of: NameOf
    ) -> None:
        self._index = records.index
        self._clock = records.clock
        self._leadership = records.leadership
        self._usage = usage
        self._spans = spans
        self._name_of = name_of
        self._pending: dict[TaskId, Task] = {}
        """Those that have ended and are not known to be counted, as they were at their end."""
        self._ended: dict[TaskId, str] = {}
        """The runs of those that have ended and are among the active tasks, counted or not."""
        self._on_machine: defaultdict[MachineId, set[TaskId]] = defaultdict(set)
        """Active tasks that are, or were, on a machine."""
        self._series = TenantSeries()
        self._one_at_a_time = asyncio.Lock()
        for task in self._index.tasks.values():
            self._task_changed(None, task)
        records.signals.task_listeners.append(self._task_changed)
        records.signals.archive_listeners.append(self._archived)
        records.signals.departures.append(self.settle)

    @classmethod
    async def open(cls, records: Records, bus: Bus, name_of: NameOf) -> "UsageAccount":
        """Begin to listen. Raises BusFailed."""
        return cls(records, await bus.bucket(USAGE), await bus.bucket(MACHINE_SPANS), name_of)

    def requests(self) -> dict[Request[GetUsage, UsagePage], Handler]:
        """Name the handler of each request."""
        return {GET_USAGE: self.get}

    def loops(self) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {"count usage": repeated(self.count, "count usage", COUNT_EVERY_S)}

    async def get(self, request: GetUsage) -> UsagePage:
        """Say what tenants have used. Raises Refused, BusFailed."""
        await self.count()
        kept = [entry.value async for page in self._usage.pages() for entry in page]
        return page_of(kept, request, {usage.owner: self._name_of(usage.owner) for usage in kept})

    async def count(self) -> None:
        """Count all that has ended. Raises BusFailed."""
        async with self._one_at_a_time:
            if self._pending:
                await self._count(list(self._pending.values()))

    async def settle(self, task: TaskId) -> None:
        """Have a task counted before it is no longer among those that have ended. Raises BusFailed."""
        async with self._one_at_a_time:
            if task in self._pending:
                await self._count([self._pending[task]])

    async def _count(self, tasks: Sequence[Task]) -> None:
        of_month: defaultdict[tuple[Owner, str], list[tuple[Task, RunEnd]]] = defaultdict(list)
        for task in tasks:
            end = end_of(task)
            of_month[end.owner, end.month].append((task, end))
        for (owner, month), ends in of_month.items():
            costs = [(end, sum([await self._cost(task.id, each) for each in end.rented])) for task, end in ends]
            await self._add(owner, month, costs)
            for task, _ in ends:
                if self._pending.get(task.id) is task:
                    del self._pending[task.id]

    async def _add(self, owner: Owner, month: str, ends: Sequence[tuple[RunEnd, float]]) -> None:
        key, name = key_for(owner, month), self._name_of(owner)
        while True:
            entry = await self._usage.get(key)
            kept = entry.value if entry else TenantUsage(owner=owner, month=month)
            fresh = uncounted(kept, ends)
            if not fresh:
                return
            after = added(kept, fresh, name, self._active_runs())
            self._leadership.require()
            try:
                await (self._usage.update(key, after, entry.revision) if entry else self._usage.create(key, after))
            except Conflict:
                log.info("usage.conflicted", key=key)
                continue
            count_metrics(fresh, self._series.name_for(name, owner))
            return

    # --- machines ------------------------------------------------------------------------------------------------------

    async def _cost(self, task: TaskId, rented: RentedSpan) -> float:
        """Work out a share; what shares the time with others that go on is kept until those are counted. Raises BusFailed."""
        while True:
            entry = await self._spans.get(rented.machine)
            kept = entry.value if entry else MachineSpans()
            active = dict(self._active_on(rented.machine))
            spans = {key: Span(*span) for key, span in kept.spans.items()} | active
            spans.pop(rented.key, None)
            uncounted = [span for _, span in self._uncounted_on(rented.machine, task)]
            if any(overlap(rented.span, span) for span in uncounted):
                after = with_span(kept, rented, min(span.start_ms for span in uncounted))
                self._leadership.require()
                try:
                    await self._keep(rented.machine, after, entry.revision if entry else None)
                except Conflict:
                    continue
            return cost_of(rented, spans.values())

    async def _keep(self, machine: MachineId, spans: MachineSpans, revision: int | None) -> None:
        if revision is None:
            await self._spans.create(machine, spans)
        else:
            await self._spans.update(machine, spans, revision)

    def _active_on(self, machine: MachineId) -> Iterator[tuple[str, Span]]:
        """Go through the attempts of active tasks that are or were on a machine."""
        for task in list(self._on_machine.get(machine, ())):
            yield from self._attempts_on(machine, self._pending.get(task) or self._index.shown(self._index.tasks[task]))

    def _uncounted_on(self, machine: MachineId, but: TaskId) -> Iterator[tuple[str, Span]]:
        for task in self._on_machine.get(machine, ()):
            if task != but and (task not in self._ended or task in self._pending):
                yield from self._attempts_on(machine, self._index.shown(self._index.tasks[task]))

    def _attempts_on(self, machine: MachineId, task: Task) -> Iterator[tuple[str, Span]]:
        now_ms = self._clock.wall_ms()
        for attempt in on_machine(task):
            if attempt.machine == machine:
                yield key_of(run_of(task), attempt), span_of(attempt, task, now_ms)

    # --- what happens --------------------------------------------------------------------------------------------------

    def _active_runs(self) -> frozenset[str]:
        return frozenset((*self._ended.values(), *map(run_of, self._pending.values())))

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        """Note what has ended; a change after the end changes nothing."""
        if before is not None:
            self._forget(before)
        if after is None:
            return
        for attempt in on_machine(after):
            self._on_machine[attempt.machine or NOWHERE].add(after.id)
        if after.state.ended:
            self._ended[after.id] = run_of(after)
            if not after.accounted and not (before and before.state.ended):
                self._pending[after.id] = after

    def _archived(self, task: Task) -> None:
        """Forget one that has left the active ones; where another scheduler has moved it, that one has counted it."""
        self._forget(task)
        if task.accounted:
            self._pending.pop(task.id, None)

    def _forget(self, task: Task) -> None:
        self._ended.pop(task.id, None)
        for attempt in on_machine(task):
            machine = attempt.machine or NOWHERE
            if tasks := self._on_machine.get(machine):
                tasks.discard(task.id)
                if not tasks:
                    del self._on_machine[machine]


def on_machine(task: Task) -> Iterable[Attempt]:
    """Go through the attempts that were on a rented machine."""
    return (attempt for attempt in task.attempts if attempt.machine and attempt.running_at_ms is not None)


def count_metrics(ends: Iterable[tuple[RunEnd, float]], tenant: str) -> None:
    """Count what was counted."""
    for end, cost in ends:
        used = end.used
        for outcome, count in (
            ("completed", used.completed_count),
            ("failed", used.failed_count),
            ("canceled", used.canceled_count),
        ):
            if count:
                TENANT_TASKS.inc(tenant, outcome)
        TENANT_IMAGES.inc(tenant, by=used.images_count)
        TENANT_BYTES.inc(tenant, by=used.size_bytes)
        TENANT_NODE_SECONDS.inc(tenant, by=used.node_ms / 1000)
        TENANT_COST.inc(tenant, by=cost)
