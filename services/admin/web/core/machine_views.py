"""What `/api/v1` answers and pages show of machines and the autoscaler."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from clusterodm.libs.common.messages.machines import AutoscalerStatus, BudgetStatus, MachineView
from clusterodm.services.admin.rendering.machines import machine_node
from clusterodm.services.admin.web.core.views import MomentView, View, moments


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
    return MachineRow(
        id=machine.id,
        number=view.number,
        state=machine.state.value,
        provider=machine.provider,
        size=machine.size,
        region=machine.region,
        node=machine_node(view),
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


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
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


def budget_views(budgets: Iterable[BudgetStatus]) -> tuple[BudgetView, ...]:
    """Show how owners stand."""
    return tuple(
        BudgetView(
            owner=each.owner,
            cost_per_hour=each.cost_per_hour,
            cost_last_day=each.cost_last_day,
            max_hourly_cost=each.max_hourly_cost,
            max_daily_cost=each.max_daily_cost,
        )
        for each in budgets
    )


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
