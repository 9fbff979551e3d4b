"""What `/api/v1` answers and pages show, as values. Times are milliseconds since 1970 UTC; `_s` are seconds, `_bytes` bytes."""

from typing import Any, Generic, TypeVar

import msgspec

from clusterodm.services.admin.web.core.budgets import BudgetView

Item = TypeVar("Item")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is shown. All fields are there always."""


class ListPage(View, Generic[Item], frozen=True, kw_only=True):
    """One page of a list."""

    items: tuple[Item, ...]
    total_count: int
    """How many there are on all pages."""
    page: int
    """From 1."""
    per_page: int

    @property
    def pages_count(self) -> int:
        """Say how many pages there are; one at least."""
        return max(1, -(-self.total_count // self.per_page))


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


class TasksPage(View, frozen=True, kw_only=True):
    """One page of tasks."""

    items: tuple[TaskRow, ...]
    total_count: int
    page: int
    per_page: int
    states: dict[str, int]
    """How many there are in each state, whatever was asked for."""

    @property
    def pages_count(self) -> int:
        """Say how many pages there are; one at least."""
        return max(1, -(-self.total_count // self.per_page))


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


class MomentView(View, frozen=True, kw_only=True):
    """One line of a timeline."""

    at_ms: int
    text: str


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


class ConsoleView(View, frozen=True, kw_only=True):
    """Lines of a console."""

    lines: tuple[str, ...]
    from_line: int
    next_line: int
    """Ask from here for what follows."""
    ended: bool
    """Nothing more will come."""


class NodeRow(View, frozen=True, kw_only=True):
    """A node."""

    id: str
    number: int
    name: str
    hostname: str
    port: int
    state: str
    """"online", "offline", "locked" or "draining"."""
    online: bool
    locked: bool
    draining: bool
    drain_until_ms: int | None
    labels: tuple[str, ...]
    reserved_for: tuple[str, ...]
    """Tenants whose tasks alone are sent there; none: anybody's."""
    rented: bool
    has_token: bool
    slots_count: int
    slots_used_count: int
    pace: int
    """How fast it is, in steps of a fifth: 0 is usual, or unknown; the larger, the slower."""
    queue_count: int
    """Tasks that it has, as it says itself."""
    max_images: int | None
    memory_bytes: int | None
    memory_free_bytes: int | None
    cpu_cores_count: int | None
    engine: str
    version: str
    """Of NodeODM's API."""
    trouble: str
    seen_at_ms: int | None
    lock_reason: str = ""
    """Why it is locked for good and offers no unlocking; empty: it is not."""


class MachineRow(View, frozen=True, kw_only=True):
    """A rented computer."""

    id: str
    number: int
    state: str
    provider: str
    size: str
    region: str
    node: str
    tasks: tuple[str, ...]
    done_count: int
    for_task: str
    max_images: int | None
    memory_bytes: int
    age_ms: int
    cost: float
    price_per_hour: float | None
    reason: str
    removal: str
    """Why it is not destroyed yet, where that was tried."""
    requested_at_ms: int
    state_at_ms: int
    kept: str = ""
    """For how long it stays because nobody but it has its results, in words."""
    kept_until_ms: int | None = None
    spot: bool = False
    """It may be taken away at any time."""
    gpu: bool = False
    owner: str = ""
    """Whose budget it counts against."""


class MachineDetail(View, frozen=True, kw_only=True):
    """All that is known of a machine."""

    machine: MachineRow
    created_at_ms: int | None
    online_at_ms: int | None
    ended_at_ms: int | None
    failure: str
    done: tuple[str, ...]
    timeline: tuple[MomentView, ...]


class AutoscalerView(View, frozen=True, kw_only=True):
    """What the autoscaler does."""

    enabled: bool
    answers: bool
    paused: bool
    reason: str
    provider: str
    demand_count: int
    machines_count: int
    machines_limit_count: int | None
    cost_per_hour: float
    cost_last_day: float
    max_hourly_cost: float | None
    """The budget; None: there is none."""
    max_daily_cost: float | None
    trouble: str
    file_check: str
    """What the provider's API says of the keys, image, regions and sizes of the file; empty: it is not asked."""
    file_mistakes: tuple[str, ...]
    budgets: tuple[BudgetView, ...] = ()
    """Each owner that has a budget, machines or bills of the last day."""


class EventRow(View, frozen=True, kw_only=True):
    """Something that has happened."""

    sequence: int
    at_ms: int
    name: str
    kind: str
    """"task", "node", "machine" or "operator"."""
    task: str
    node: str
    machine: str
    state: str
    reason: str
    cause: str
    user: str = ""
    """Which operator has done it; `reason` says what, and what came of it."""
    door: str = ""
    """telnet, web or cli"""


class SpoolView(View, frozen=True, kw_only=True):
    """The disk of a proxy."""

    instance: str
    host: str
    version: str
    free_bytes: int
    total_bytes: int
    uploads_count: int
    tasks_count: int
    rate_bytes_per_s: float
    at_ms: int


class AttentionView(View, frozen=True, kw_only=True):
    """Something that an operator should look at."""

    severity: str
    """"error" or "warning"."""
    text: str
    link: str
    """A page."""


class OverviewView(View, frozen=True, kw_only=True):
    """The cluster at a glance."""

    at_ms: int
    answers: bool
    """Whether the scheduler does."""
    states: dict[str, int]
    oldest_wait_s: float
    nodes_count: int
    nodes_online_count: int
    slots_count: int
    slots_used_count: int
    uploads_count: int
    upload_bytes_per_s: float
    forwarding_left_bytes: int
    completed_per_h: float | None
    images_per_h: float | None
    autoscaler: AutoscalerView
    spools: tuple[SpoolView, ...]
    attention: tuple[AttentionView, ...]


class SeriesView(View, frozen=True, kw_only=True):
    """What plots draw."""

    range: str
    times_s: tuple[float, ...]
    """Seconds since 1970 UTC."""
    values: dict[str, tuple[float | None, ...]]


class LoopView(View, frozen=True, kw_only=True):
    """A loop of a service."""

    name: str
    ok: bool
    late: bool
    failures_count: int
    success_age_s: float | None
    error: str


class ServiceView(View, frozen=True, kw_only=True):
    """A service, as it says itself."""

    name: str
    instance: str
    answers: bool
    ok: bool
    version: str
    host: str
    epoch: int | None
    """The term of the leader; None where nobody leads."""
    standby: bool = False
    """It waits to lead, and answers no requests meanwhile."""
    since_ms: int | None
    """Since when it leads, waits to lead, or runs."""
    lag_ms: float | None
    """How long its answer took, or how old its last word is."""
    turn_ms: float | None = None
    """How long its event loop takes for a turn; null: it does not say it."""
    facts: dict[str, bool]
    loops: tuple[LoopView, ...]
    needs: dict[str, bool]
    error: str


class ServiceListing(View, frozen=True, kw_only=True):
    """All services."""

    items: tuple[ServiceView, ...]


class SettingRow(View, frozen=True, kw_only=True):
    """A setting in force."""

    service: str
    name: str
    value: str
    source: str
    description: str


class ActDone(View, frozen=True, kw_only=True):
    """It is done."""

    success: bool = True
    message: str = ""


class Problem(View, frozen=True, kw_only=True):
    """Why something is not done, or not found; the same for every error."""

    error: str


def text_of(value: Any) -> str:
    """Show a value of an option."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
