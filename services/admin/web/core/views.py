"""What `/api/v1` answers and pages show, as values: what all of it has in common, and the services. Times are milliseconds since 1970 UTC; `_s` are seconds, `_bytes` bytes.

What is shown of tasks, nodes, machines, tenants and the cluster stands in the modules of these names, each view beside the function that makes it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from clusterodm.libs.common.model.tasks import Moment

Item = TypeVar("Item")
Shown = TypeVar("Shown", bound="View")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is shown. All fields are there always."""


def view_of(kind: type[Shown], thing: msgspec.Struct, **others: Any) -> Shown:
    """Show a thing: what the view and it have under the same name is taken as it is; `others` are called or written otherwise."""
    names = in_both(kind.__struct_fields__, thing.__struct_fields__)
    return kind(**{name: getattr(thing, name) for name in names if name not in others}, **others)


@cache
def in_both(view: tuple[str, ...], thing: tuple[str, ...]) -> tuple[str, ...]:
    """Name the fields that two types have."""
    return tuple(name for name in view if name in thing)


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


class MomentView(View, frozen=True, kw_only=True):
    """One line of a timeline."""

    at_ms: int
    text: str


def moments(timeline: Iterable[Moment]) -> tuple[MomentView, ...]:
    """Show a timeline."""
    return tuple(MomentView(at_ms=each.at_ms, text=each.text) for each in timeline)


class ConsoleView(View, frozen=True, kw_only=True):
    """Lines of a console."""

    lines: tuple[str, ...]
    from_line: int
    next_line: int
    """Ask from here for what follows."""
    ended: bool
    """Nothing more will come."""


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


class ActDone(View, frozen=True, kw_only=True):
    """It is done."""

    success: bool = True
    message: str = ""


class Problem(View, frozen=True, kw_only=True):
    """Why something is not done, or not found; the same for every error."""

    error: str
