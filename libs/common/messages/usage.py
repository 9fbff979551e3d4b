"""What tenants have used: kept by the scheduler as tasks end, and asked for by operators.

Days and months are UTC's; what a task has used belongs to the day of its end.
"""

from enum import StrEnum
from typing import ClassVar, Final

import msgspec

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.model.values import Frozen, Owner


class Used(Frozen, frozen=True, kw_only=True):
    """What was used. A task that runs again after its end counts again."""

    completed_count: int = 0
    failed_count: int = 0
    canceled_count: int = 0
    images_count: int = 0
    """Of tasks that have run on a node."""
    size_bytes: int = 0
    """Of the files of these tasks."""
    node_ms: int = 0
    """How long nodes had them, every attempt counted."""
    machine_cost: float = 0.0
    """Their share of what rented machines cost, where the configuration names prices."""

    @property
    def tasks_count(self) -> int:
        """Say how many tasks have ended."""
        return self.completed_count + self.failed_count + self.canceled_count

    def plus(self, other: "Used") -> "Used":
        """Add."""
        return Used(**{name: getattr(self, name) + getattr(other, name) for name in Used.__struct_fields__})


class TenantUsage(Frozen, frozen=True, kw_only=True):
    """What a tenant has used in a month, as it is kept."""

    owner: Owner = Owner("")
    name: str = ""
    """Of the tenant, when it was last known."""
    month: str
    """`2026-11`"""
    days: dict[str, Used] = msgspec.field(default_factory=dict)
    """By the day: `01` to `31`."""
    recent: tuple[str, ...] = ()
    """Ends of tasks that are counted in here and still among the active tasks: none of them is counted twice."""


class MachineSpans(Frozen, frozen=True, kw_only=True):
    """When tasks that are put away were on a machine beside others that are still there: those share the time with them."""

    spans: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """From when to when, milliseconds since 1970."""


class UsageBy(StrEnum):
    """What a row of usage is of."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"
    """All of the time that was asked for."""


class GetUsage(Frozen, frozen=True, kw_only=True):
    """What have tenants used? For operators. Refused where a day is none; an answer is a page."""

    tenant: str = ""
    """Its name, or its owner; empty: all."""
    text: str = ""
    """Part of its name, in any case."""
    since: str = ""
    """The first day, `2026-11-01`, or a month, `2026-11`; empty: from the beginning."""
    until: str = ""
    """The last day or month; empty: until now."""
    by: UsageBy = UsageBy.MONTH
    offset_count: int = 0
    """So many rows come before the page."""
    limit_count: int = 1000

    MOST: ClassVar[int] = 2000


class UsageRow(Frozen, frozen=True, kw_only=True):
    """What one tenant has used in a day, in a month, or in all of the time."""

    tenant: str
    """Its name; that of its owner where it has none; empty: tasks without a token."""
    owner: Owner = Owner("")
    period: str = ""
    """`2026-11-27`, `2026-11`, or empty."""
    used: Used = Used()


class UsagePage(Frozen, frozen=True, kw_only=True):
    """Answer to GetUsage: by tenant, then by time."""

    rows: tuple[UsageRow, ...] = ()
    total_count: int = 0
    """How many rows there are on all pages."""
    total: Used = Used()
    """Of all of them."""


GET_USAGE: Final = Request("scheduler.get_usage", GetUsage, UsagePage, timeout_s=15.0, idempotent=True)
