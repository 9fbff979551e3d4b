"""What tenants have used, as rows: for tables, JSON and CSV. Seconds and hours are of nodes; the cost is in whatever the prices are in."""

import csv
import io
from collections.abc import Iterable
from typing import Any, Final

from clusterodm.libs.common.messages.usage import UsageRow, Used
from clusterodm.services.admin.rendering.columns import Column, Columns, Json, Listing, json_object, listing, row_of
from clusterodm.services.admin.rendering.text import printable, size_text

UNNAMED: Final = "(no token)"
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is computed by programs for tables."""
SECOND_MS: Final = 1000
HOUR_S: Final = 3600

FIGURES: Final[Columns[Used]] = (
    Column(lambda used: used.tasks_count, "tasks", "TASKS"),
    Column(lambda used: used.completed_count, "completed", "COMPLETED"),
    Column(lambda used: used.failed_count, "failed", "FAILED"),
    Column(lambda used: used.canceled_count, "canceled", "CANCELED"),
    Column(lambda used: used.images_count, "images", "IMAGES"),
    Column(lambda used: used.size_bytes, "bytes", "SIZE", size_text),
    Column(lambda used: round(used.node_ms / SECOND_MS, 3), "node_seconds"),
    Column(lambda used: f"{used.node_ms / SECOND_MS / HOUR_S:.2f}", head="NODE HOURS"),
    Column(lambda used: round(used.machine_cost, 6), "machine_cost"),
    Column(lambda used: f"{used.machine_cost:.2f}", head="COST"),
)
WHOSE: Final[Columns[UsageRow]] = (
    Column(lambda row: row.tenant, "tenant", "TENANT", lambda tenant: tenant or UNNAMED),
    Column(lambda row: row.owner, "owner"),
    Column(lambda row: row.period, "period", "TIME", lambda period: period or "all"),
)


def of_row(column: Column[Used]) -> Column[UsageRow]:
    """Show of a row what it says of what was used."""
    return Column(lambda row: column.value(row.used), column.key, column.head, column.cell)


USAGE: Final[Columns[UsageRow]] = (*WHOSE, *map(of_row, FIGURES))


def usage_data(row: UsageRow) -> Json:
    """Show a row."""
    return json_object(USAGE, row)


def usage_listing(rows: tuple[UsageRow, ...], total: Used) -> Listing:
    """Make a table; several rows have their sum below them."""
    sums = [("total", "", *row_of(FIGURES, total))] if len(rows) > 1 else []
    return listing(USAGE, rows, "Nothing was used.", sums)


def usage_csv(rows: Iterable[UsageRow]) -> str:
    """Write a table for other programs, as RFC 4180 has it."""
    text = io.StringIO()
    lines = csv.DictWriter(text, [column.key for column in USAGE if column.key])
    lines.writeheader()
    lines.writerows({key: harmless(value) for key, value in usage_data(row).items()} for row in rows)
    return text.getvalue()


def harmless(value: Any) -> Any:
    """Keep a program for tables from computing what somebody else has named, and show what hides in it."""
    text = printable(value) if isinstance(value, str) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA) else text
