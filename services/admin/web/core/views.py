"""What `/api/v1` answers and pages show, as values: what all of it has in common, and lists of it. Times are milliseconds since 1970 UTC; `_s` are seconds, `_bytes` bytes.

What is shown of tasks, nodes, machines, tenants, services and the cluster stands in the modules of these names, each view beside the function that makes it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Generic, TypeVar

import msgspec

from clusterodm.libs.common.model.tasks import Moment

Item = TypeVar("Item")
Row = TypeVar("Row")
Shown = TypeVar("Shown", bound="View")

MOST_PER_PAGE: Final = 200
LARGEST_PAGE: Final = 10_000_000


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


class ActDone(View, frozen=True, kw_only=True):
    """It is done."""

    success: bool = True
    message: str = ""


class Problem(View, frozen=True, kw_only=True):
    """Why something is not done, or not found; the same for every error."""

    error: str


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
