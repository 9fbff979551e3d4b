"""What is shown of a thing, said once: a column is in tables under its head, in JSON under its key, or in one of the two.

Tables and JSON have their columns in the order in which they are listed; where the two differ, a column is listed for each.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from clusterodm.services.admin.rendering.text import one_line

Thing = TypeVar("Thing")
Json = dict[str, Any]
Row = Sequence[str]


class Column(NamedTuple, Generic[Thing]):
    """One thing that is shown of each."""

    value: Callable[[Thing], Any]
    """As JSON has it."""
    key: str = ""
    """In JSON; empty: it is not there."""
    head: str = ""
    """In tables; empty: it is not there."""
    cell: Callable[[Any], str] = str
    """Writes the value into a table."""


Columns = Sequence[Column[Thing]]


class Listing(NamedTuple):
    """A list, as a table has it."""

    head: Row
    rows: Sequence[Row]
    empty: str
    """What is said of a list without rows."""


def json_object(columns: Columns[Thing], thing: Thing) -> Json:
    """Put a thing into JSON."""
    return {column.key: column.value(thing) for column in columns if column.key}


def head_of(columns: Columns[Any]) -> Row:
    """Name what a table has."""
    return [column.head for column in columns if column.head]


def row_of(columns: Columns[Thing], thing: Thing) -> Row:
    """Write a thing into a table."""
    return [column.cell(column.value(thing)) for column in columns if column.head]


def row_under(head: Row, columns: Columns[Thing], thing: Thing) -> Row:
    """Write a thing into a table of others; what it has not is empty."""
    found = dict(zip(head_of(columns), row_of(columns, thing), strict=True))
    return [found.get(name, "") for name in head]


def listing(columns: Columns[Thing], things: Iterable[Thing], empty: str, more: Iterable[Row] = ()) -> Listing:
    """Make a table of things; `more`: rows of others behind them."""
    return Listing(head_of(columns), cells([*(row_of(columns, thing) for thing in things), *more]), empty)


def cells(rows: Iterable[Row]) -> Sequence[Row]:
    """Make texts that somebody else wrote fit in a line each; an empty one is a dash."""
    return [[one_line(cell) or "-" for cell in row] for row in rows]
