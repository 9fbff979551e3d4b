"""The index of ended tasks as a table of SQLite in memory: half a kilobyte each, where Python's own objects take ten times that.

Lists that are searched are read from the same table. For them it has a row for each active task too (`active`), brought up to date when
somebody searches and not before: it holds what is searched and sorted by, and no summary, which changes with every look at the node.

Nothing here is ever written to a disk: the records are in KV `ended`, and whoever leads reads them in the background. A question
costs some microseconds, a page of a thousand summaries some milliseconds.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from clusterodm.libs.common.messages.tasks import SearchTasks, TaskOrder, TaskSummary
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId, Owner, TaskId
from clusterodm.services.scheduler.records.core import Key
from clusterodm.services.scheduler.records.ports import EndedRow, Matches

TABLE: Final = """
CREATE TABLE ended (
    task TEXT NOT NULL, owner INTEGER NOT NULL, node INTEGER NOT NULL,
    committed_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, active INTEGER NOT NULL, state INTEGER NOT NULL,
    images_count INTEGER NOT NULL, time_ms INTEGER NOT NULL, name TEXT NOT NULL, summary BLOB,
    UNIQUE (task, active)
);
CREATE INDEX by_commit ON ended (committed_ms);
CREATE INDEX by_owner ON ended (owner, committed_ms);
CREATE INDEX by_node ON ended (node, committed_ms);
CREATE INDEX by_end ON ended (ended_ms);
CREATE INDEX by_state ON ended (state, committed_ms);
CREATE INDEX by_name ON ended (name);
CREATE INDEX by_images ON ended (images_count);
CREATE INDEX by_time ON ended (time_ms);
CREATE TABLE counts (state INTEGER PRIMARY KEY, tasks_count INTEGER NOT NULL);
CREATE TRIGGER counted AFTER INSERT ON ended BEGIN
    UPDATE counts SET tasks_count = tasks_count + 1 WHERE state = new.state;
END;
CREATE TRIGGER uncounted AFTER DELETE ON ended BEGIN
    UPDATE counts SET tasks_count = tasks_count - 1 WHERE state = old.state;
END;
PRAGMA recursive_triggers = ON;
"""
"""How many tasks are in each state is counted as rows come and go: every list shows it. What is replaced is deleted for triggers, too, once they are recursive."""
SORTED_BY: Final = {
    TaskOrder.COMMITTED: ("committed_ms", "by_commit"),
    TaskOrder.ENDED: ("ended_ms", "by_end"),
    TaskOrder.NAME: ("name", "by_name"),
    TaskOrder.IMAGES: ("images_count", "by_images"),
    TaskOrder.TIME: ("time_ms", "by_time"),
}
"""Column and index of each order."""
STATES: Final = tuple(TaskState)
"""States by number."""
NO_SUCH: Final = -1
LARGEST_ROW: Final = 2**63 - 1
INSERT: Final = "INSERT OR REPLACE INTO ended VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UNLIST: Final = "DELETE FROM ended WHERE task = ? AND active = 1"
IN_ORDER: Final = "ORDER BY committed_ms, task LIMIT ?"
BEHIND: Final = "(committed_ms > ? OR (committed_ms = ? AND task > ?))"
FIRST: Final[Key] = (-1, TaskId(""))


class SqliteIndex:
    """Implements ports.EndedIndex."""

    def __init__(self) -> None:
        self._table = sqlite3.connect(":memory:", isolation_level=None)
        self._table.executescript(TABLE)
        self._table.executemany("INSERT INTO counts VALUES (?, 0)", [(number,) for number in range(len(STATES))])
        self._numbers: dict[str, int] = {}
        """Owners and nodes by number: their names repeat."""
        self._decoder = msgspec.msgpack.Decoder(TaskSummary)

    def __len__(self) -> int:
        (count,) = self._table.execute("SELECT count(*) FROM ended WHERE active = 0").fetchone()
        return int(count)

    def add(self, rows: Iterable[EndedRow]) -> None:
        """Take tasks in. Each is in lists once: no more as an active one."""
        values = [(*self._values(row, active=False), msgspec.msgpack.encode(row.summary)) for row in rows]
        with self._transaction():
            self._table.executemany(INSERT, values)
            self._table.executemany(UNLIST, [(value[0],) for value in values])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write several rows as one: otherwise each is a transaction."""
        self._table.execute("BEGIN")
        try:
            yield
        finally:
            self._table.execute("COMMIT")  # what was written before a failure stays, as without a transaction

    def _values(self, row: EndedRow, *, active: bool) -> tuple[object, ...]:
        summary = row.summary
        return (
            row.task,
            self._number(row.owner),
            self._number(row.node or ""),
            row.committed_at_ms,
            row.ended_at_ms,
            int(active),
            STATES.index(summary.state),
            NO_SUCH if summary.images_count is None else summary.images_count,
            summary.processing_time_ms,
            summary.name.lower(),
        )

    def drop(self, task: TaskId) -> None:
        """Take a task out."""
        self._table.execute("DELETE FROM ended WHERE task = ? AND active = 0", (task,))

    def key_of(self, task: TaskId) -> Key | None:
        """Find a task's place in the order of commits."""
        found = self._table.execute("SELECT committed_ms FROM ended WHERE task = ? AND active = 0", (task,)).fetchone()
        return (int(found[0]), task) if found else None

    def is_anothers(self, task: TaskId, owner: Owner) -> bool:
        """Whether a task is here, and out of this owner's reach."""
        found = self._table.execute("SELECT owner FROM ended WHERE task = ? AND active = 0", (task,)).fetchone()
        mine = {self._numbers.get(owner, NO_SUCH), self._numbers.get("", NO_SUCH)}
        return bool(owner) and found is not None and found[0] not in mine

    def ids(self, owner: Owner, after: Key | None, limit_count: int) -> list[Key]:
        """List an owner's tasks."""
        at_ms, task = after or FIRST
        found = self._table.execute(
            f"SELECT committed_ms, task FROM ended WHERE active = 0 AND owner = ? AND committed_ms >= ? AND {BEHIND} {IN_ORDER}",  # noqa: S608 constants
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
            f"SELECT summary FROM ended WHERE active = 0 AND {where} committed_ms >= ? AND {BEHIND} {IN_ORDER}",  # noqa: S608 constants
            (*wanted.values(), at_ms, at_ms, at_ms, task, limit_count),
        )
        return [self._decoder.decode(summary) for (summary,) in found]

    def ended_before(self, ended_ms: int, limit_count: int) -> list[TaskId]:
        """Find tasks that ended long ago."""
        found = self._table.execute(
            "SELECT task FROM ended WHERE active = 0 AND ended_ms < ? ORDER BY ended_ms LIMIT ?",
            (ended_ms, limit_count),
        )
        return [TaskId(task) for (task,) in found]

    def holds(self, node: NodeId) -> bool:
        """Whether any of them was on this node."""
        number = self._numbers.get(node, -1)
        return (
            self._table.execute("SELECT 1 FROM ended WHERE active = 0 AND node = ? LIMIT 1", (number,)).fetchone()
            is not None
        )

    # --- lists that are searched -----------------------------------------------------------------------------------

    def list_active(self, rows: Iterable[EndedRow]) -> None:
        """Take active tasks into lists, as they are now; not those that are among the ended ones already."""
        ours = [row for row in rows if self.key_of(row.task) is None]
        self._table.executemany(INSERT, [(*self._values(row, active=True), None) for row in ours])

    def unlist_active(self, tasks: Iterable[TaskId]) -> None:
        """Take tasks out of lists that are active no more."""
        self._table.executemany(UNLIST, [(task,) for task in tasks])

    def states(self) -> dict[TaskState, int]:
        """Count all listed tasks by their state."""
        found = self._table.execute("SELECT state, tasks_count FROM counts WHERE tasks_count > 0")
        return {STATES[state]: int(count) for state, count in found}

    def matches(self, asked: SearchTasks, after: int, rows_count: int) -> Matches:
        """Look for what is like this among the next rows of the table."""
        where, values = self._condition(asked)
        part = "SELECT rowid FROM ended WHERE rowid > ? ORDER BY rowid LIMIT 1 OFFSET ?"
        found = self._table.execute(part, (after, rows_count - 1)).fetchone()
        last = int(found[0]) if found else LARGEST_ROW
        rows = self._table.execute(
            f"SELECT rowid FROM ended NOT INDEXED WHERE rowid > ? AND rowid <= ? AND {where}",  # noqa: S608 constants
            (after, last, *values),
        )
        return Matches(last, tuple(row for (row,) in rows), more=found is not None)

    def page(self, asked: SearchTasks, rows: Sequence[int] | None = None) -> list[tuple[TaskId, TaskSummary | None]]:
        """Sort what is like this, or those rows alone, and read one page of it; an active task comes without summary."""
        column, index = SORTED_BY[asked.order]
        where, values = self._condition(asked)
        if rows is not None:
            where, values, index = f"rowid IN ({','.join('?' * len(rows))})", tuple(rows), ""
        elif len(asked.states) == 1 and asked.order is TaskOrder.COMMITTED:
            index = "by_state"
        by = f"INDEXED BY {index}" if index else ""
        way = "DESC" if asked.descending else "ASC"
        found = self._table.execute(
            f"SELECT task, summary FROM ended {by} WHERE {where} ORDER BY {column} {way}, rowid {way} LIMIT ? OFFSET ?",  # noqa: S608 constants
            (*values, asked.limit_count, asked.offset_count),
        )
        return [(TaskId(task), self._decoder.decode(summary) if summary else None) for task, summary in found]

    def _condition(self, asked: SearchTasks) -> tuple[str, tuple[object, ...]]:
        """Write what is asked for as SQL, and its values."""
        terms: list[str] = []
        values: list[object] = []
        if asked.states:
            terms.append(f"state IN ({','.join('?' * len(asked.states))})")
            values += [STATES.index(state) for state in asked.states]
        for column, name in (("owner", asked.owner), ("node", asked.node)):
            if name is not None:
                terms.append(f"{column} = ?")
                values.append(self._numbers.get(name, NO_SUCH))
        if asked.since_ms:
            terms.append("committed_ms >= ?")
            values.append(asked.since_ms)
        if text := asked.text.strip().lower():
            terms.append("(instr(name, ?) OR instr(lower(task), ?))")
            values += [text, text]
        return " AND ".join(terms) or "1", tuple(values)

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))
