"""How full a spool is: what each owner's files take, added up as it changes (nobody walks the spool for a limit), and all together. Pure."""

from dataclasses import dataclass

from clusterodm.libs.common.model.values import Owner, TaskId


class StoredBytes:
    """Sums by owner. What was counted of a task is known, so that a change of its size or of its owner counts once."""

    def __init__(self) -> None:
        self._tasks: dict[TaskId, tuple[Owner, int]] = {}
        self._owners: dict[Owner, int] = {}

    def __repr__(self) -> str:
        """Show how many are counted."""
        return f"StoredBytes(tasks={len(self._tasks)} owners={len(self._owners)})"

    def put(self, task: TaskId, owner: Owner, size_bytes: int) -> None:
        """Count what a task's files take now, instead of what was counted of it before."""
        self.drop(task)
        if size_bytes:
            self._tasks[task] = owner, size_bytes
            self._owners[owner] = self._owners.get(owner, 0) + size_bytes

    def drop(self, task: TaskId) -> None:
        """Count a task no longer; nothing happens when it is not counted."""
        owner, size_bytes = self._tasks.pop(task, (Owner(""), 0))
        if not size_bytes:
            return
        self._owners[owner] -= size_bytes
        if not self._owners[owner]:
            del self._owners[owner]

    def of(self, owner: Owner) -> int:
        """Say what an owner's files take, in bytes."""
        return self._owners.get(owner, 0)


@dataclass(frozen=True, kw_only=True)
class SpoolFigures:
    """Entries, and the disk that they lie on, for who counts."""

    open_count: int
    """Uploads that are not committed."""
    tasks_count: int
    """All entries."""
    unsubmitted_count: int
    free_bytes: int
    """0 where the directory is gone."""
    size_bytes: int
    reserve_bytes: int
    """Uploads are refused when less than that is free."""
