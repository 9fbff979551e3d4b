"""The index of ended tasks as a table of SQLite in memory: half a kilobyte each, where Python's own objects take ten times that.

Nothing here is ever written to a disk: the records are in KV `ended`, and whoever leads reads them in the background. A question
costs some microseconds, a page of a thousand summaries some milliseconds.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.model import NodeId, Owner, TaskId
from clusterodm.services.scheduler.records.core import Key
from clusterodm.services.scheduler.records.ports import EndedRow

TABLE: Final = """
CREATE TABLE ended (
    task TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, node INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, summary BLOB NOT NULL
);
CREATE INDEX by_commit ON ended (committed_ms);
CREATE INDEX by_owner ON ended (owner, committed_ms);
CREATE INDEX by_node ON ended (node, committed_ms);
CREATE INDEX by_end ON ended (ended_ms);
"""
IN_ORDER: Final = "ORDER BY committed_ms, task LIMIT ?"
BEHIND: Final = "(committed_ms > ? OR (committed_ms = ? AND task > ?))"
FIRST: Final[Key] = (-1, TaskId(""))


class SqliteIndex:
    """Implements ports.EndedIndex."""

    def __init__(self) -> None:
        self._table = sqlite3.connect(":memory:", isolation_level=None)
        self._table.executescript(TABLE)
        self._numbers: dict[str, int] = {}
        """Owners and nodes by number: their names repeat."""
        self._decoder = msgspec.msgpack.Decoder(TaskSummary)

    def __repr__(self) -> str:
        """Show its size."""
        return f"SqliteIndex({len(self)} tasks)"

    def __len__(self) -> int:
        """Count the tasks."""
        (count,) = self._table.execute("SELECT count(*) FROM ended").fetchone()
        return int(count)

    def add(self, rows: Iterable[EndedRow]) -> None:
        """Take tasks in."""
        self._table.executemany(
            "INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    row.task,
                    self._number(row.owner),
                    self._number(row.node or ""),
                    row.committed_at_ms,
                    row.ended_at_ms,
                    msgspec.msgpack.encode(row.summary),
                )
                for row in rows
            ],
        )

    def drop(self, task: TaskId) -> None:
        """Take a task out."""
        self._table.execute("DELETE FROM ended WHERE task = ?", (task,))

    def key_of(self, task: TaskId) -> Key | None:
        """Find a task's place in the order of commits."""
        found = self._table.execute("SELECT committed_ms FROM ended WHERE task = ?", (task,)).fetchone()
        return (int(found[0]), task) if found else None

    def ids(self, owner: Owner, after: Key | None, limit_count: int) -> list[Key]:
        """List an owner's tasks."""
        at_ms, task = after or FIRST
        found = self._table.execute(
            f"SELECT committed_ms, task FROM ended WHERE owner = ? AND committed_ms >= ? AND {BEHIND} {IN_ORDER}",  # noqa: S608 constants
            (self._numbers.get(owner, -1), at_ms, at_ms, at_ms, task, limit_count),
        )
        return [(committed_ms, TaskId(each)) for committed_ms, each in found]

    def summaries(
        self, owner: Owner | None, node: NodeId | None, after: Key | None, limit_count: int
    ) -> list[TaskSummary]:
        """List tasks."""
        at_ms, task = after or FIRST
        kinds = {"owner": owner, "node": node}
        wanted = {column: self._numbers.get(value, -1) for column, value in kinds.items() if value is not None}
        where = "".join(f"{column} = ? AND " for column in wanted)
        found = self._table.execute(
            f"SELECT summary FROM ended WHERE {where} committed_ms >= ? AND {BEHIND} {IN_ORDER}",  # noqa: S608 constants
            (*wanted.values(), at_ms, at_ms, at_ms, task, limit_count),
        )
        return [self._decoder.decode(summary) for (summary,) in found]

    def ended_before(self, ended_ms: int, limit_count: int) -> list[TaskId]:
        """Find tasks that ended long ago."""
        found = self._table.execute(
            "SELECT task FROM ended WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?", (ended_ms, limit_count)
        )
        return [TaskId(task) for (task,) in found]

    def holds(self, node: NodeId) -> bool:
        """Whether any of them was on this node."""
        number = self._numbers.get(node, -1)
        return self._table.execute("SELECT 1 FROM ended WHERE node = ? LIMIT 1", (number,)).fetchone() is not None

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))
