"""What `/api/v1` answers and pages show of the whole cluster: its numbers, proxies, settings and events."""

from clusterodm.libs.common.ports import StoredEvent
from clusterodm.services.admin.web.core.machine_views import AutoscalerView
from clusterodm.services.admin.web.core.views import View


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
    """telnet, web or cli; empty: of several"""
    address: str = ""
    """From where an operator has done it, or tried to."""
    service: str = ""
    """Which service logs more or less from now on; `all services`: each of them."""


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


class SettingRow(View, frozen=True, kw_only=True):
    """A setting in force."""

    service: str
    name: str
    value: str
    source: str
    description: str


def kind_of(event: StoredEvent) -> str:
    """Say what an event is about: "task", "node", "machine" or "operator"."""
    return event.name.partition(".")[0]


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
        kind=kind_of(event),
        task=text("task"),
        node=text("node"),
        machine=text("machine"),
        state=text("state") or text("outcome") or text("level"),
        reason=": ".join(filter(None, (f"{text('act')} {text('target')}".strip(), text("reason")))),
        cause=event.cause,
        user=text("user"),
        door=text("door"),
        address=text("address"),
        service=text("service") or ("all services" if text("level") else ""),
    )


def event_texts(row: EventRow) -> tuple[str, ...]:
    """Say what of an event is searched."""
    return row.name, row.task, row.node, row.machine, row.reason, row.cause, row.user, row.address
