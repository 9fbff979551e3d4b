"""What lists of `/api/v1` and pages may be asked for, as parameters of an address."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from clusterodm.services.admin.web.core.lists import LARGEST_PAGE, MOST_PER_PAGE, Wanted

Order = Literal["asc", "desc"]
Text = Annotated[str, Query(max_length=200)]
Page = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
PerPage = Annotated[int, Query(ge=1, le=MOST_PER_PAGE)]


def listing(page: Page = 1, per_page: PerPage = 50, search: Text = "") -> Wanted:
    """Read what every list may be asked for."""
    return Wanted(search=search, page=page, per_page=per_page)


ListQuery = Annotated[Wanted, Depends(listing)]


def changed(wanted: Wanted, states: list[Any] | None = None, sort: str = "", order: str = "asc") -> Wanted:
    """Add what some lists may be asked for besides."""
    return Wanted(
        search=wanted.search,
        page=wanted.page,
        per_page=wanted.per_page,
        states=tuple(states or ()),
        sort=sort,
        descending=order == "desc",
    )


def router_of(tag: str) -> APIRouter:
    """Begin a group of routes."""
    return APIRouter(prefix="/api/v1", tags=[tag])
