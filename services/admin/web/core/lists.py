"""Searching, filtering, sorting and paging what is in memory, and how the cluster's values become rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from clusterodm.libs.common.chosen import chosen
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.machines import AutoscalerStatus, MachineView
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.messages.overview import SpoolReport, UploadProgress
from clusterodm.libs.common.messages.tasks import TaskDescription, TaskSummary
from clusterodm.libs.common.messages.usage import UsageRow
from clusterodm.libs.common.model.nodes import reserved_for
from clusterodm.libs.common.model.tasks import Moment, TaskState
from clusterodm.libs.common.ports import StoredEvent
from clusterodm.libs.common.tenancy import IssuedToken, Tenant
from clusterodm.services.admin.commands.core.costs import machine_cost
from clusterodm.services.admin.web.core.budgets import budget_views
from clusterodm.services.admin.web.core.tenant_views import TenantRow, TokenView, UsageEntry
from clusterodm.services.admin.web.core.views import (
    AttemptView,
    AutoscalerView,
    EventRow,
    ExpectedView,
    ListPage,
    MachineDetail,
    MachineRow,
    MomentView,
    NodeRow,
    OptionView,
    SpoolView,
    TaskRow,
    TaskView,
    text_of,
)

Row = TypeVar("Row")
UPLOADING: Final = "uploading"
MOST_PER_PAGE: Final = 200
LARGEST_PAGE: Final = 10_000_000


@dataclass(frozen=True)
class Wanted:
    """What a list is asked for."""

    search: str = ""
    states: tuple[str, ...] = ()
    sort: str = ""
    descending: bool = False
    page: int = 1
    per_page: int = 50

    @property
    def offset_count(self) -> int:
        """How many rows come before the page."""
        return (self.page - 1) * self.per_page


def paged(rows: Sequence[Row], wanted: Wanted) -> ListPage[Row]:
    """Take one page."""
    some = tuple(rows[wanted.offset_count : wanted.offset_count + wanted.per_page])
    return ListPage(items=some, total_count=len(rows), page=wanted.page, per_page=wanted.per_page)


def listed(
    rows: Iterable[Row],
    wanted: Wanted,
    texts: Callable[[Row], Iterable[str]],
    sorts: Mapping[str, Callable[[Row], Any]],
    state: Callable[[Row], str] = lambda _: "",
) -> ListPage[Row]:
    """Search, filter, sort and page."""
    text = wanted.search.strip().lower()
    found = [
        row
        for row in rows
        if (not wanted.states or state(row) in wanted.states)
        and (not text or any(text in each.lower() for each in texts(row)))
    ]
    if wanted.sort in sorts:
        found.sort(key=sorts[wanted.sort], reverse=wanted.descending)
    return paged(found, wanted)


# --- tasks ----------------------------------------------------------------------------------------------------------


def task_row(task: TaskSummary) -> TaskRow:
    """Show a task in a list."""
    return TaskRow(
        id=task.id,
        name=task.name,
        state=task.state.value,
        images_count=task.images_count,
        size_bytes=task.size_bytes,
        progress=100.0 if task.state.value == "completed" else task.progress,
        node=task.node_name,
        node_id=task.node or "",
        created_at_ms=task.created_at_ms,
        committed_at_ms=task.committed_at_ms,
        ended_at_ms=task.ended_at_ms,
        processing_time_ms=task.processing_time_ms,
        attempts_count=task.attempts_count,
        position=task.position,
        priority=task.priority,
        tenant=task.tenant,
        order=task.order,
        reason=task.reason,
        has_owner=task.has_owner,
        sent_bytes=task.sent_bytes,
        rate_bytes_per_s=task.sent_bytes_per_s,
        expected=expected_view(task.expected) if task.expected else None,
    )


def expected_view(expected: Expected) -> ExpectedView:
    """Show what is expected of a task."""
    start_from, start, start_until = expected.start_at_ms or (None, None, None)
    end_from, end, end_until = expected.end_at_ms or (None, None, None)
    cost_from, cost, cost_until = expected.cost or (None, None, None)
    return ExpectedView(
        start_at_ms=start,
        start_from_ms=start_from,
        start_until_ms=start_until,
        end_at_ms=end,
        end_from_ms=end_from,
        end_until_ms=end_until,
        cost=cost,
        cost_from=cost_from,
        cost_until=cost_until,
        start_held_percent=expected.start_held_percent,
        end_held_percent=expected.end_held_percent,
    )


def upload_row(upload: UploadProgress) -> TaskRow:
    """Show an upload among the tasks."""
    return TaskRow(
        id=upload.task,
        name=upload.name,
        state=UPLOADING,
        images_count=upload.files_count,
        created_at_ms=upload.created_at_ms,
        reason="" if upload.receiving else "its client sends nothing at the moment",
        has_owner=bool(upload.owner),
        tenant=upload.owner,
        arrived_bytes=upload.arrived_bytes,
        rate_bytes_per_s=upload.rate_bytes_per_s,
        proxy=upload.instance,
    )


def matching_uploads(uploads: Iterable[UploadProgress], wanted: Wanted) -> list[TaskRow]:
    """Choose the uploads that a list of tasks shows: they come first."""
    if wanted.states and UPLOADING not in wanted.states:
        return []
    text = wanted.search.strip().lower()
    return [upload_row(each) for each in uploads if not text or text in each.name.lower() or text in each.task.lower()]


def task_view(described: TaskDescription, results: str = "") -> TaskView:
    """Show all that is known of a task."""
    task = described.task
    return TaskView(
        task=task_row(described.summary),
        attempts=tuple(
            AttemptView(
                number=each.number,
                node=each.node_name or each.node,
                node_task_id=each.node_task_id,
                state=each.state.value,
                started_at_ms=each.started_at_ms,
                running_at_ms=each.running_at_ms,
                ended_at_ms=each.ended_at_ms,
                outcome=each.outcome,
                reason=each.reason,
                machine=each.machine or "",
                counted=each.counted,
            )
            for each in task.attempts
        ),
        timeline=moments(task.timeline),
        options=tuple(OptionView(name=each.name, value=text_of(each.value)) for each in chosen(task)),
        error=task.error,
        upload_owner=task.upload_owner,
        inputs_kept=task.inputs_kept,
        images_from_url=bool(task.zip_url),
        cost=machine_cost(task),
        results=results if task.state is TaskState.COMPLETED else "",
        outputs=task.outputs,
        files_sent_count=described.summary.sent_count,
    )


def moments(timeline: Iterable[Moment]) -> tuple[MomentView, ...]:
    """Show a timeline."""
    return tuple(MomentView(at_ms=each.at_ms, text=each.text) for each in timeline)


# --- nodes ----------------------------------------------------------------------------------------------------------


def node_state(node: NodeView) -> str:
    """Say in a word how a node is."""
    if not node.online:
        return "offline"
    return "draining" if node.draining else "locked" if node.locked else "online"


def node_row(node: NodeView) -> NodeRow:
    """Show a node."""
    info = node.info
    return NodeRow(
        id=node.id,
        number=node.number,
        name=shown(node.hostname, node.port),
        hostname=node.hostname,
        port=node.port,
        state=node_state(node),
        online=node.online,
        locked=node.locked,
        draining=node.draining,
        drain_until_ms=node.drain_until_ms,
        labels=node.labels,
        reserved_for=tuple(sorted(reserved_for(node.labels))),
        rented=node.auto_spawned,
        has_token=node.has_token,
        slots_count=info.max_parallel_tasks if info else 0,
        slots_used_count=node.slots_used_count,
        pace=node.pace,
        queue_count=info.task_queue_count if info else 0,
        max_images=info.max_images if info else None,
        memory_bytes=info.total_memory if info else None,
        memory_free_bytes=info.available_memory if info else None,
        cpu_cores_count=info.cpu_cores if info else None,
        engine=f"{info.engine} {info.engine_version}" if info and info.engine != "?" else "",
        version=info.version if info else "",
        trouble=node.trouble,
        seen_at_ms=node.info_at_ms,
        lock_reason=node.lock_reason,
    )


NODE_SORTS: Final[dict[str, Callable[[NodeRow], Any]]] = {
    "number": lambda row: row.number,
    "name": lambda row: row.name,
    "state": lambda row: (row.state, row.number),
    "slots": lambda row: (row.slots_used_count, row.slots_count),
    "pace": lambda row: row.pace,
    "memory": lambda row: row.memory_bytes or 0,
    "max_images": lambda row: row.max_images or LARGEST_PAGE,
    "version": lambda row: (row.engine, row.version),
}


def node_texts(row: NodeRow) -> tuple[str, ...]:
    """Say what of a node is searched."""
    return row.name, row.id, row.engine, row.trouble, *row.labels


# --- machines -------------------------------------------------------------------------------------------------------


def machine_row(view: MachineView) -> MachineRow:
    """Show a machine."""
    machine = view.machine
    return MachineRow(
        id=machine.id,
        number=view.number,
        state=machine.state.value,
        provider=machine.provider,
        size=machine.size,
        region=machine.region,
        node=shown(machine.hostname, machine.port) if machine.hostname else "",
        tasks=tuple(machine.tasks),
        done_count=len(machine.done),
        for_task=machine.for_task or "",
        max_images=machine.max_images,
        memory_bytes=machine.memory_bytes,
        age_ms=view.age_ms,
        cost=view.cost,
        price_per_hour=machine.price_per_hour,
        reason=view.kept or machine.failure or machine.reason,
        removal=machine.removal_failure,
        requested_at_ms=machine.requested_at_ms,
        state_at_ms=machine.state_at_ms,
        kept=view.kept,
        kept_until_ms=view.kept_until_ms,
        spot=machine.spot,
        gpu=machine.gpu,
        owner=machine.owner,
    )


def machine_detail(view: MachineView) -> MachineDetail:
    """Show all that is known of a machine."""
    machine = view.machine
    return MachineDetail(
        machine=machine_row(view),
        created_at_ms=machine.created_at_ms,
        online_at_ms=machine.online_at_ms,
        ended_at_ms=machine.ended_at_ms,
        failure=machine.failure,
        done=tuple(machine.done),
        timeline=moments(machine.timeline),
    )


MACHINE_SORTS: Final[dict[str, Callable[[MachineRow], Any]]] = {
    "number": lambda row: row.number,
    "name": lambda row: row.id,
    "state": lambda row: (row.state, row.number),
    "age": lambda row: row.age_ms,
    "cost": lambda row: row.cost,
}


def machine_texts(row: MachineRow) -> tuple[str, ...]:
    """Say what of a machine is searched."""
    return row.id, row.node, row.size, row.region, row.reason, row.removal, *row.tasks


def autoscaler_view(status: AutoscalerStatus | None) -> AutoscalerView:
    """Show what the autoscaler does; None: it does not answer."""
    known = status or AutoscalerStatus(enabled=False, reason="The autoscaler does not answer.")
    return AutoscalerView(
        enabled=known.enabled,
        answers=status is not None,
        paused=known.paused,
        reason=known.reason,
        provider=known.provider,
        demand_count=known.demand_count,
        machines_count=sum(known.states.values()),
        machines_limit_count=known.machines_limit_count,
        cost_per_hour=known.cost_per_hour,
        cost_last_day=known.cost_last_day,
        max_hourly_cost=known.max_hourly_cost,
        max_daily_cost=known.max_daily_cost,
        trouble=known.trouble,
        file_check=known.file_check,
        file_mistakes=known.file_mistakes,
        budgets=budget_views(known.budgets),
    )


# --- tenants --------------------------------------------------------------------------------------------------------


def usage_entry(row: UsageRow) -> UsageEntry:
    """Show what a tenant has used."""
    used = row.used
    return UsageEntry(
        tenant=row.tenant,
        owner=row.owner,
        period=row.period,
        tasks=used.tasks_count,
        completed=used.completed_count,
        failed=used.failed_count,
        canceled=used.canceled_count,
        images=used.images_count,
        bytes=used.size_bytes,
        node_seconds=round(used.node_ms / 1000, 3),
        machine_cost=round(used.machine_cost, 6),
    )


def tenant_row(tenant: Tenant, tokens: Iterable[IssuedToken], used: UsageEntry, now_ms: WallMs) -> TenantRow:
    """Show a tenant."""
    return TenantRow(
        name=tenant.name,
        owner=tenant.account,
        weight=tenant.weight,
        priority=tenant.priority,
        max_images_count=tenant.max_images_count,
        max_task_bytes=tenant.max_task_bytes,
        tasks_at_once_count=tenant.tasks_at_once_count,
        storage_bytes=tenant.storage_bytes,
        options=tuple(sorted(tenant.options)),
        labels=tenant.labels,
        tokens_count=sum(not token_row(token, now_ms).expired for token in tokens),
        used=used,
    )


def token_row(token: IssuedToken, now_ms: WallMs) -> TokenView:
    """Show a token: neither it nor its digest."""
    expired = token.expires_at_ms is not None and token.expires_at_ms <= now_ms
    return TokenView(
        id=token.id,
        created_at_ms=token.created_at_ms,
        expires_at_ms=token.expires_at_ms,
        expired=expired,
        note=token.note,
    )


def tenant_texts(row: TenantRow) -> tuple[str, ...]:
    """Say what of a tenant is searched."""
    return row.name, row.owner, *row.labels


TENANT_SORTS: Final[Mapping[str, Callable[[TenantRow], Any]]] = {
    "name": lambda row: row.name,
    "weight": lambda row: row.weight,
    "priority": lambda row: row.priority,
    "tokens": lambda row: row.tokens_count,
    "tasks": lambda row: row.used.tasks,
    "images": lambda row: row.used.images,
    "nodes": lambda row: row.used.node_seconds,
    "cost": lambda row: row.used.machine_cost,
}


# --- events, spools -------------------------------------------------------------------------------------------------


def event_row(event: StoredEvent) -> EventRow:
    """Show an event."""
    told = event.payload

    def text(name: str) -> str:
        found = told.get(name, "")
        return found if isinstance(found, str) else ""

    at_ms = told.get("at_ms")
    return EventRow(
        sequence=event.sequence,
        at_ms=at_ms if isinstance(at_ms, int) else event.at_ms,
        name=event.name,
        kind=event.name.partition(".")[0],
        task=text("task"),
        node=text("node"),
        machine=text("machine"),
        state=text("state") or text("outcome"),
        reason=": ".join(filter(None, (f"{text('act')} {text('target')}".strip(), text("reason")))),
        cause=event.cause,
        user=text("user"),
        door=text("door"),
    )


def event_texts(row: EventRow) -> tuple[str, ...]:
    """Say what of an event is searched."""
    return row.name, row.task, row.node, row.machine, row.reason, row.cause, row.user


def spool_view(spool: SpoolReport) -> SpoolView:
    """Show the disk of a proxy."""
    return SpoolView(
        instance=spool.instance,
        host=spool.host,
        version=spool.version,
        free_bytes=spool.free_bytes,
        total_bytes=spool.total_bytes,
        uploads_count=spool.uploads_count,
        tasks_count=spool.tasks_count,
        rate_bytes_per_s=spool.rate_bytes_per_s,
        at_ms=spool.at_ms,
    )
