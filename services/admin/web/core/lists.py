"""Searching, filtering, sorting and paging what is in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from clusterodm.services.admin.web.core.views import ListPage

Row = TypeVar("Row")

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
