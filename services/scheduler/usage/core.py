"""What a task has used, whose share of a machine it was, and how that is added up so that nothing counts twice.

A task's *run* is named by `run_of`: it ends once, however often its record is written or read again afterwards. What is kept of a tenant's month
names the runs that it holds and that are still among the active tasks (`TenantUsage.recent`): so a scheduler that starts, or takes over, finds out
of each ended task whether it is counted. A task leaves the active ones only when it is, and is then marked (`Task.accounted`); its name need not
be kept any longer.

A machine's time is shared by the tasks that are on it: while there are two, each has half of the time. So the shares together are the time in
which there was any task on it, which is never more than the machine has existed; that nobody was on it is nobody's share.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.usage import (
    GetUsage,
    MachineSpans,
    TenantUsage,
    UsageBy,
    UsagePage,
    UsageRow,
    Used,
)
from clusterodm.libs.common.model.tasks import Attempt, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import MachineId, Owner

RUN_BYTES: Final = 8
HOUR_MS: Final = 3_600_000
UNNAMED: Final = "_"
"""Stands in keys for the owner of tasks without a token: no tenant can be called so."""
MONTH_LENGTH: Final = 7


class Span(NamedTuple):
    """From when to when an attempt was on its node, milliseconds since 1970."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class RentedSpan:
    """When an attempt was on a rented machine whose price is known."""

    key: str
    """Of this attempt, for ever."""
    machine: MachineId
    price_per_hour: float
    span: Span


@dataclass(frozen=True)
class RunEnd:
    """A run that has ended, and what it has used; its share of machines is worked out apart."""

    run: str
    owner: Owner
    day: str
    """`2026-11-27`"""
    used: Used
    rented: tuple[RentedSpan, ...] = ()

    @property
    def month(self) -> str:
        """Say in which month it ended."""
        return self.day[:MONTH_LENGTH]


# --- what a run has used -----------------------------------------------------------------------------------------------


def run_of(task: Task) -> str:
    """Name the run of a task that has ended or goes on: another one for each restart."""
    said = f"{task.id} {task.created_at_ms} {task.restarted_at_ms}"
    return hashlib.sha256(said.encode()).hexdigest()[: 2 * RUN_BYTES]


def day_of(at_ms: int) -> str:
    """Say on which day something was."""
    return datetime.fromtimestamp(max(0, at_ms) / 1000, UTC).date().isoformat()


def end_of(task: Task) -> RunEnd:
    """Say what the run of a task has used that has ended."""
    run = run_of(task)
    ran = [attempt for attempt in task.attempts if ran_in(attempt, task)]
    spans = [span_of(attempt, task, WallMs(task.ended_at_ms or 0)) for attempt in ran]
    rented = tuple(
        RentedSpan(key_of(run, attempt), attempt.machine, attempt.price_per_hour, span)
        for attempt, span in zip(ran, spans, strict=True)
        if attempt.machine and attempt.price_per_hour
    )
    used = Used(
        completed_count=task.state is TaskState.COMPLETED,
        failed_count=task.state is TaskState.FAILED,
        canceled_count=task.state is TaskState.CANCELED,
        images_count=(task.images_count or 0) if ran else 0,
        size_bytes=task.size_bytes if ran else 0,
        node_ms=sum(span.end_ms - span.start_ms for span in spans),
    )
    return RunEnd(run, task.owner, day_of(task.ended_at_ms or 0), used, rented)


def ran_in(attempt: Attempt, task: Task) -> bool:
    """Whether an attempt was on its node in the last run; those before a restart were counted when that ended."""
    return attempt.running_at_ms is not None and attempt.running_at_ms >= task.restarted_at_ms


def key_of(run: str, attempt: Attempt) -> str:
    """Name an attempt among those on its machine."""
    return f"{run}-{attempt.number}"


def span_of(attempt: Attempt, task: Task, now_ms: WallMs) -> Span:
    """Say from when to when an attempt was on its node, as far as is known now. What waited there for its turn was not yet on it."""
    start_ms = attempt.running_at_ms or 0
    end_ms = max(start_ms, attempt.ended_at_ms or task.ended_at_ms or now_ms)
    known = task.known if attempt is task.attempt else None
    if known is None:
        return Span(start_ms, end_ms)
    if task.state is TaskState.RUNNING:
        waits = known.code is StatusCode.QUEUED
        return Span(min(max(start_ms, known.seen_at_ms), end_ms) if waits else start_ms, end_ms)
    worked_ms = known.processing_time_ms
    return Span(max(start_ms, end_ms - worked_ms) if worked_ms > 0 else start_ms, end_ms)


# --- the share of a machine --------------------------------------------------------------------------------------------


def share_ms(own: Span, others: Iterable[Span]) -> float:
    """Say how much of a machine's time was an attempt's: at each moment its part among those that were there."""
    there = [other for other in others if overlap(own, other)]
    edges = sorted({own.start_ms, own.end_ms, *(edge for other in there for edge in clipped(other, own))})
    return sum(
        (end - start) / (1 + sum(other.start_ms <= start and end <= other.end_ms for other in there))
        for start, end in itertools.pairwise(edges)
    )


def overlap(one: Span, other: Span) -> bool:
    """Whether two were there at the same time."""
    return one.start_ms < other.end_ms and other.start_ms < one.end_ms


def clipped(span: Span, to: Span) -> Span:
    """Take the part of a span that lies in another."""
    return Span(max(span.start_ms, to.start_ms), min(span.end_ms, to.end_ms))


def cost_of(rented: RentedSpan, others: Iterable[Span]) -> float:
    """Say what an attempt's share of its machine costs."""
    return share_ms(rented.span, others) * rented.price_per_hour / HOUR_MS


def with_span(kept: MachineSpans, rented: RentedSpan, oldest_ms: int | None) -> MachineSpans:
    """Keep a span as long as others that were there at the same time are not counted; `oldest_ms`: when the first of them came."""
    spans = kept.spans | {rented.key: (rented.span.start_ms, rented.span.end_ms)}
    needed = {key: span for key, span in spans.items() if oldest_ms is not None and span[1] > oldest_ms}
    return MachineSpans(spans=needed)


# --- the account -------------------------------------------------------------------------------------------------------


def key_for(owner: Owner, month: str) -> str:
    """Say under which key a tenant's month is kept."""
    return f"{owner or UNNAMED}.{month}"


def added(kept: TenantUsage, ends: Iterable[tuple[RunEnd, float]], name: str, active: frozenset[str]) -> TenantUsage:
    """Count runs with their share of machines, each once. `active`: runs that are among the active tasks and have ended."""
    days, recent = dict(kept.days), dict.fromkeys(run for run in kept.recent if run in active)
    for end, cost in ends:
        if end.run in kept.recent or end.run in recent:
            continue
        day = end.day[MONTH_LENGTH + 1 :]
        days[day] = days.get(day, Used()).plus(msgspec.structs.replace(end.used, machine_cost=cost))
        recent[end.run] = None
    return msgspec.structs.replace(kept, days=days, recent=tuple(recent), name=name or kept.name)


def uncounted(kept: TenantUsage, ends: Iterable[tuple[RunEnd, float]]) -> list[tuple[RunEnd, float]]:
    """Leave out the runs that are counted."""
    return [(end, cost) for end, cost in ends if end.run not in kept.recent]


# --- what operators ask ------------------------------------------------------------------------------------------------


def first_day(text: str) -> str:
    """Read the day, or the first day of the month, from which on is asked. Raises Refused."""
    return "" if not text else checked(f"{text}-01" if len(text) == MONTH_LENGTH else text)


def last_day(text: str) -> str:
    """Read the day, or the last day of the month, until which is asked. Raises Refused."""
    if len(text) == MONTH_LENGTH:
        checked(f"{text}-01")
        return f"{text}-31"  # compared as text, so whether there is such a day does not matter
    return "9999-12-31" if not text else checked(text)


def checked(day: str) -> str:
    """Insist on a day. Raises Refused."""
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise Refused(f"{day[:40]!r} is no day such as 2026-11-27, nor a month such as 2026-11") from None


def page_of(kept: Iterable[TenantUsage], asked: GetUsage, names: Mapping[Owner, str]) -> UsagePage:
    """Add up what is asked for. Raises Refused."""
    since, until = first_day(asked.since), last_day(asked.until)
    rows: dict[tuple[str, Owner, str], Used] = {}
    for usage in kept:
        tenant = names.get(usage.owner) or usage.name or usage.owner
        if asked.tenant not in {"", tenant, usage.owner} or asked.text.lower() not in tenant.lower():
            continue
        for day, used in days_of(usage):
            if since <= day <= until:
                key = tenant, usage.owner, period_of(day, asked.by)
                rows[key] = rows.get(key, Used()).plus(used)
    first, count = max(0, asked.offset_count), min(max(0, asked.limit_count), GetUsage.MOST)
    listed = [UsageRow(tenant=key[0], owner=key[1], period=key[2], used=rows[key]) for key in sorted(rows)]
    total = Used()
    for used in rows.values():
        total = total.plus(used)
    return UsagePage(rows=tuple(listed[first : first + count]), total_count=len(listed), total=total)


def days_of(usage: TenantUsage) -> Iterator[tuple[str, Used]]:
    """Go through the days of a month."""
    return ((f"{usage.month}-{day}", used) for day, used in usage.days.items())


def period_of(day: str, by: UsageBy) -> str:
    """Say into which row a day goes."""
    return {UsageBy.DAY: day, UsageBy.MONTH: day[:MONTH_LENGTH], UsageBy.TOTAL: ""}[by]


NO_NAME: Final = "unnamed"
NAMED_COUNT: Final = 500
"""So many tenants have series of their own: the first whose tasks end in a scheduler's time. All others are one."""
OTHERS: Final = "other"


class TenantSeries:
    """Under which names tenants are counted in metrics, of which there may not be any number."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def name_for(self, name: str, owner: Owner) -> str:
        """Say under which name a tenant is counted."""
        if name and (name in self._named or len(self._named) < NAMED_COUNT):
            self._named.add(name)
            return name
        return OTHERS if name else NO_NAME if owner else ""
