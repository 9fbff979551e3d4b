"""What tenants have used, as rows: for tables, JSON and CSV. Seconds and hours are of nodes; the cost is in whatever the prices are in."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from clusterodm.libs.common.messages.usage import UsageRow, Used

UNNAMED: Final = "(no token)"
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is computed by programs for tables."""
COLUMNS: Final = (
    "tenant",
    "owner",
    "period",
    "tasks",
    "completed",
    "failed",
    "canceled",
    "images",
    "bytes",
    "node_seconds",
    "machine_cost",
)
HEAD: Final = ("TENANT", "TIME", "TASKS", "COMPLETED", "FAILED", "CANCELED", "IMAGES", "SIZE", "NODE HOURS", "COST")
SECOND_MS: Final = 1000
HOUR_S: Final = 3600
UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
STEP: Final = 1000


def usage_data(row: UsageRow) -> dict[str, Any]:
    """Show a row."""
    return {"tenant": row.tenant, "owner": row.owner, "period": row.period} | figures(row.used)


def figures(used: Used) -> dict[str, Any]:
    """Show what was used."""
    return {
        "tasks": used.tasks_count,
        "completed": used.completed_count,
        "failed": used.failed_count,
        "canceled": used.canceled_count,
        "images": used.images_count,
        "bytes": used.size_bytes,
        "node_seconds": round(used.node_ms / SECOND_MS, 3),
        "machine_cost": round(used.machine_cost, 6),
    }


def usage_csv(rows: Iterable[UsageRow]) -> str:
    """Write a table for other programs, as RFC 4180 has it."""
    text = io.StringIO()
    lines = csv.DictWriter(text, COLUMNS)
    lines.writeheader()
    lines.writerows({key: harmless(value) for key, value in usage_data(row).items()} for row in rows)
    return text.getvalue()


def harmless(value: Any) -> Any:
    """Keep a program for tables from computing what somebody else has named."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def usage_row(row: UsageRow) -> Sequence[str]:
    """Write a row for a person."""
    return row.tenant or UNNAMED, row.period or "all", *used_cells(row.used)


def used_cells(used: Used) -> Sequence[str]:
    """Write what was used for a person."""
    counts = (used.tasks_count, used.completed_count, used.failed_count, used.canceled_count, used.images_count)
    hours = used.node_ms / SECOND_MS / HOUR_S
    return *map(str, counts), size_text(used.size_bytes), f"{hours:.2f}", f"{used.machine_cost:.2f}"


def size_text(size_bytes: int) -> str:
    """Write a size with three digits."""
    size, unit = float(size_bytes), 0
    while size >= STEP and unit < len(UNITS) - 1:
        size, unit = size / STEP, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.1f} {UNITS[unit]}"
