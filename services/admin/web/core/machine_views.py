"""What `/api/v1` answers and pages show of machines and the autoscaler."""

from collections.abc import Callable
from typing import Any, Final

from clusterodm.libs.common.messages.machines import AutoscalerStatus, MachineView
from clusterodm.services.admin.rendering.machines import machine_node
from clusterodm.services.admin.web.core.views import MomentView, View, moments, view_of


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


def machine_row(view: MachineView) -> MachineRow:
    """Show a machine."""
    machine = view.machine
    return view_of(
        MachineRow,
        machine,
        number=view.number,
        state=machine.state.value,
        node=machine_node(view),
        tasks=tuple(machine.tasks),
        done_count=len(machine.done),
        for_task=machine.for_task or "",
        age_ms=view.age_ms,
        cost=view.cost,
        reason=view.kept or machine.failure or machine.reason,
        removal=machine.removal_failure,
        kept=view.kept,
        kept_until_ms=view.kept_until_ms,
    )


def machine_detail(view: MachineView) -> MachineDetail:
    """Show all that is known of a machine."""
    machine = view.machine
    return view_of(
        MachineDetail, machine, machine=machine_row(view), done=tuple(machine.done), timeline=moments(machine.timeline)
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


class BudgetView(View, frozen=True, kw_only=True):
    """What is spent for the tasks of one owner."""

    owner: str
    cost_per_hour: float
    cost_last_day: float
    max_hourly_cost: float | None
    max_daily_cost: float | None


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


def autoscaler_view(status: AutoscalerStatus | None) -> AutoscalerView:
    """Show what the autoscaler does; None: it does not answer."""
    known = status or AutoscalerStatus(enabled=False, reason="The autoscaler does not answer.")
    return view_of(
        AutoscalerView,
        known,
        answers=status is not None,
        machines_count=sum(known.states.values()),
        budgets=tuple(view_of(BudgetView, each) for each in known.budgets),
    )
