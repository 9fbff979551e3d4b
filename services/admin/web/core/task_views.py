"""What `/api/v1` answers and pages show of tasks, and of uploads that are to become some; where results are fetched. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from clusterodm.libs.common.chosen import chosen
from clusterodm.libs.common.hosts import bracketed
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.health import SettingInForce
from clusterodm.libs.common.messages.overview import SpoolReport, UploadProgress
from clusterodm.libs.common.messages.tasks import TaskDescription, TaskSummary
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.services.admin.commands.core.answers import UPLOADING
from clusterodm.services.admin.rendering.tasks import machine_cost
from clusterodm.services.admin.web.core.views import ListPage, MomentView, View, Wanted, moments, view_of

ASSET = "all.zip"


class ExpectedView(View, frozen=True, kw_only=True):
    """When a task should begin and end, and what it should cost: `from` and `until` are as far apart as it takes for at least eight of ten to lie between them.

    How many of the last hundred did is said with it. Null: not known.
    """

    start_at_ms: int | None = None
    start_from_ms: int | None = None
    start_until_ms: int | None = None
    end_at_ms: int | None = None
    end_from_ms: int | None = None
    end_until_ms: int | None = None
    cost: float | None = None
    """Of its time on a rented machine."""
    cost_from: float | None = None
    cost_until: float | None = None
    start_held_percent: int | None = None
    """Of the last hundred tasks so many began within what had been told at first; null: fewer than twenty are known."""
    end_held_percent: int | None = None
    """So many ended within it."""


class TaskRow(View, frozen=True, kw_only=True):
    """A task, or an upload that is to become one, in a list."""

    id: str
    name: str
    state: str
    """"uploading" until its commit; then that of the task."""
    images_count: int | None = None
    size_bytes: int = 0
    progress: float = 0.0
    """Percent."""
    node: str = ""
    """`hostname:port`"""
    node_id: str = ""
    created_at_ms: int
    committed_at_ms: int | None = None
    ended_at_ms: int | None = None
    processing_time_ms: int = -1
    attempts_count: int = 0
    position: int | None = None
    """Place in the queue, from 1."""
    priority: int = 0
    """An operator's, added to its tenant's."""
    tenant: str = ""
    """Whose it is: the name of its tenant, or its owner without one."""
    order: str = ""
    """Why it stands where it does in the queue; empty: by its commit alone."""
    reason: str = ""
    """Why it waits or failed."""
    has_owner: bool = False
    arrived_bytes: int = 0
    """What its client has sent so far, while it uploads."""
    sent_bytes: int = 0
    """What its node has, while it is forwarded."""
    rate_bytes_per_s: float = 0.0
    """How fast they come, or go there."""
    proxy: str = ""
    """The proxy that takes its upload."""
    expected: ExpectedView | None = None
    """Null: it has ended, or nothing is known yet."""

    @property
    def called(self) -> str:
        """Call it by its name; by its id where that would leave nothing to be seen."""
        return self.name if self.name.strip() else self.id


class TasksPage(ListPage[TaskRow], frozen=True, kw_only=True):
    """One page of tasks."""

    states: dict[str, int]
    """How many there are in each state, whatever was asked for."""


class AttemptView(View, frozen=True, kw_only=True):
    """One try of a task on one node."""

    number: int
    node: str
    node_task_id: str
    state: str
    started_at_ms: int
    running_at_ms: int | None
    ended_at_ms: int | None
    outcome: str
    reason: str
    machine: str
    counted: bool


class OptionView(View, frozen=True, kw_only=True):
    """An option as it was chosen."""

    name: str
    value: str


class TaskView(View, frozen=True, kw_only=True):
    """All that is known of a task."""

    task: TaskRow
    attempts: tuple[AttemptView, ...] = ()
    timeline: tuple[MomentView, ...] = ()
    options: tuple[OptionView, ...] = ()
    error: str = ""
    upload_owner: str = ""
    """The proxy that has its inputs."""
    inputs_kept: bool = False
    images_from_url: bool = False
    cost: float | None = None
    """Of its time on rented machines, as far as attempts have ended; null: it was on none whose price is known. Where a machine takes several tasks at once, the
    tenants' account divides what this counts whole."""
    results: str = ""
    """Where its client fetches `all.zip`, with its own token; empty: there is none, or nobody knows the address."""
    outputs: str = ""
    files_sent_count: int = 0


def task_row(task: TaskSummary) -> TaskRow:
    """Show a task in a list."""
    return view_of(
        TaskRow,
        task,
        state=task.state.value,
        progress=100.0 if task.state.value == "completed" else task.progress,
        node=task.node_name,
        node_id=task.node or "",
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
            view_of(
                AttemptView, each, node=each.node_name or each.node, state=each.state.value, machine=each.machine or ""
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


def text_of(value: Any) -> str:
    """Show a value of an option."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def results_url(task: str, spools: Iterable[SpoolReport], host: str) -> str:
    """Give the address of a task's results: at the cluster's public address, else where this page is, at a proxy's port. Empty: no proxy is there.

    `host`: the name under which whoever looks has reached this page, without its port.
    """
    reports = [settings_of(each.settings) for each in spools if each.settings]
    if not reports:
        return ""
    told = next((each for each in reports if each.get("public-address")), reports[0])
    base = told.get("public-address", "").rstrip("/") or local_address(told, host)
    return f"{base}/task/{quote(task, safe='')}/download/{ASSET}" if base else ""


def settings_of(settings: Iterable[SettingInForce]) -> Mapping[str, str]:
    """Give values by their names."""
    return {each.name: each.value for each in settings}


def local_address(told: Mapping[str, str], host: str) -> str:
    """Say where a proxy on this computer is reached; empty: nobody knows."""
    secure = bool(told.get("ssl-key"))
    tls_port = told.get("secure-port", "") if secure else ""
    port = tls_port if tls_port not in {"", "0"} else told.get("port", "")
    if not host or port in {"", "0"}:
        return ""
    return f"http{'s' if secure else ''}://{bracketed(host)}:{port}"
