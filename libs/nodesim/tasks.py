"""The life of the tasks on one node: a state machine without I/O.

Rule 1: what decides about a task's state lives here, and time is an argument.
Rule 2: files, the network and the console's words do not.

    initialising ──▶ queued ──▶ processing ──▶ packing ──▶ completed
         │                          │              │
         └────────▶ failed ◀────────┴──────────────┘        canceled: from anywhere, by request

NodeODM has five codes, and RUNNING (20) stands for three of these phases: a new
task is RUNNING while its files are moved, QUEUED once it waits, RUNNING again
while it works and while its results are packed.

`advance` is called with the time and returns what happened since; the caller
does what follows from it (pack the results, call webhooks) and asks
`next_change_ms` when to come back.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

NEVER_MS: Final = -1
PACKED_PROGRESS: Final = 97.0
PROCESSED_PROGRESS: Final = 90.0


class Phase(enum.Enum):
    """Where a task is; the value is the code that NodeODM's API shows for it."""

    INITIALISING = (20, "initialising")
    QUEUED = (10, "queued")
    PROCESSING = (20, "processing")
    PACKING = (20, "packing")
    FAILED = (30, "failed")
    COMPLETED = (40, "completed")
    CANCELED = (50, "canceled")

    @property
    def code(self) -> int:
        """NodeODM's status code."""
        return self.value[0]


BUSY: Final = frozenset({Phase.PROCESSING, Phase.PACKING})
ENDED: Final = frozenset({Phase.FAILED, Phase.COMPLETED, Phase.CANCELED})


class TaskError(Exception):
    """The client asked for what cannot be; the message is NodeODM's."""


@dataclass(frozen=True)
class Plan:
    """How one run of a task will go, decided when it starts."""

    duration_s: float
    error_message: str | None = None


@dataclass
class Task:
    """One task, as the node knows it. Times are milliseconds since 1970."""

    uuid: str
    name: str | None
    date_created_ms: int
    options: list[dict[str, Any]]
    images_count: int
    webhook: str = ""
    skip_post_processing: bool = False
    outputs: list[str] = field(default_factory=list)
    phase: Phase = Phase.INITIALISING
    error_message: str | None = None
    initialised: bool = False
    started_ms: int = 0
    ended_ms: int = 0
    processing_time_ms: int = NEVER_MS
    progress: float = 0.0
    plan: Plan = Plan(0.0)
    run_count: int = 0

    def elapsed_s(self, now_ms: int) -> float:
        """How long the current or last run has been writing to its console."""
        if not self.started_ms:
            return 0.0
        end_ms = now_ms if self.phase in BUSY else self.ended_ms
        return max(0.0, (end_ms - self.started_ms) / 1000)

    def ends_ms(self) -> int:
        """When the current run will have been processed."""
        return self.started_ms + round(self.plan.duration_s * 1000)


@dataclass(frozen=True)
class Started:
    """A task began to be processed."""

    task: Task


@dataclass(frozen=True)
class Processed:
    """A task has been processed and its results must be packed; then say `packed`."""

    task: Task


@dataclass(frozen=True)
class Ended:
    """A run is over, well or not: webhooks are due."""

    task: Task


Change = Started | Processed | Ended


class Tasks:
    """All tasks of a node, in the order in which they came."""

    def __init__(self) -> None:
        self.all: dict[str, Task] = {}

    def find(self, uuid: str) -> Task:
        """Return a task. Raises: TaskError."""
        if uuid not in self.all:
            raise TaskError(f"{uuid} not found")
        return self.all[uuid]

    def waiting_count(self) -> int:
        """Tasks queued or running: `taskQueueCount` in /info."""
        return sum(task.phase not in ENDED for task in self.all.values())

    def add(self, task: Task) -> None:
        """Take a committed task; it stays RUNNING until `initialised` is called."""
        self.all[task.uuid] = task

    def initialised(self, task: Task, images_count: int, error_message: str | None = None) -> None:
        """Its files are in place (or could not be put there). A task canceled meanwhile stays so."""
        task.initialised = True
        task.images_count = images_count
        if task.phase is Phase.INITIALISING:
            task.phase = Phase.FAILED if error_message else Phase.QUEUED
            task.error_message = error_message

    def advance(self, now_ms: int, parallel_count: int, plan: Callable[[Task], Plan]) -> list[Change]:
        """Let the time pass: end what is due, then start what there is room for, first come first served."""
        changes: list[Change] = [
            self._processed(task)
            for task in self.all.values()
            if task.phase is Phase.PROCESSING and task.ends_ms() <= now_ms
        ]
        for task in self.all.values():
            if task.phase is Phase.QUEUED and self._busy_count() < parallel_count:
                self._start(task, now_ms, plan(task))
                changes.append(Started(task))
        return changes

    def next_change_ms(self) -> int | None:
        """When `advance` has something to do next, if time alone brings it."""
        due = [task.ends_ms() for task in self.all.values() if task.phase is Phase.PROCESSING]
        return min(due, default=None)

    def packed(self, task: Task, run: int, now_ms: int, error_message: str | None = None) -> list[Change]:
        """Its results are packed. A task canceled or started anew meanwhile is left alone."""
        if task.phase is not Phase.PACKING or task.run_count != run:
            return []
        return [self._end(task, now_ms, error_message)]

    def cancel(self, task: Task, now_ms: int) -> list[Change]:
        """Stop a task, whatever it does; canceling twice is fine."""
        if task.phase is Phase.CANCELED:
            return []
        was_busy = task.phase in BUSY
        task.phase, task.error_message = Phase.CANCELED, None
        task.processing_time_ms = NEVER_MS
        if was_busy:
            task.ended_ms = now_ms
        return [Ended(task)] if was_busy else []

    def remove(self, task: Task) -> None:
        """Forget a task; cancel it first."""
        del self.all[task.uuid]

    def restart(self, task: Task, now_ms: int, options: list[dict[str, Any]] | None) -> None:
        """Put an ended task back into the queue, with other options if given. Raises: TaskError."""
        if task.phase not in ENDED:
            raise TaskError("Task cannot be restarted")
        task.phase = Phase.QUEUED if task.initialised else Phase.INITIALISING
        task.error_message = None
        if options is not None:
            task.options = options
        if task.initialised:
            task.date_created_ms = now_ms
            task.started_ms = task.ended_ms = 0
            task.progress, task.processing_time_ms = 0.0, NEVER_MS

    def expired(self, now_ms: int, keep_s: float) -> list[Task]:
        """Return the ended tasks that have been kept long enough."""
        return [task for task in self.all.values() if task.phase in ENDED and _kept_s(task, now_ms) > keep_s]

    def _busy_count(self) -> int:
        return sum(task.phase in BUSY for task in self.all.values())

    def _start(self, task: Task, now_ms: int, plan: Plan) -> None:
        task.phase, task.started_ms, task.plan = Phase.PROCESSING, now_ms, plan
        task.processing_time_ms = NEVER_MS
        task.run_count += 1

    def _processed(self, task: Task) -> Change:
        if task.plan.error_message is not None:
            return self._end(task, task.ends_ms(), task.plan.error_message)
        task.phase, task.progress = Phase.PACKING, PACKED_PROGRESS
        return Processed(task)

    def _end(self, task: Task, now_ms: int, error_message: str | None) -> Change:
        task.phase = Phase.FAILED if error_message is not None else Phase.COMPLETED
        task.error_message = error_message
        task.ended_ms, task.progress = now_ms, 100.0
        task.processing_time_ms = now_ms - task.started_ms
        return Ended(task)


def info(task: Task, now_ms: int) -> dict[str, Any]:
    """Describe a task as `GET /task/{uuid}/info` does: keys, order and types are NodeODM's."""
    status: dict[str, Any] = {"code": task.phase.code}
    if task.error_message is not None:
        status["errorMessage"] = task.error_message
    # NodeODM leaves the key out for a task that was never given a name.
    named = {} if task.name is None else {"name": task.name}
    return {
        "uuid": task.uuid,
        **named,
        "dateCreated": task.date_created_ms,
        "processingTime": processing_time_ms(task, now_ms),
        "status": status,
        "options": task.options,
        "imagesCount": task.images_count,
        "progress": progress(task, now_ms),
    }


def processing_time_ms(task: Task, now_ms: int) -> int:
    """Time that the current or last run took; -1 for none, and for a canceled one."""
    return max(0, now_ms - task.started_ms) if task.phase in BUSY else task.processing_time_ms


def progress(task: Task, now_ms: int) -> float:
    """Per cent done. NodeODM keeps the last tenth for packing."""
    if task.phase is not Phase.PROCESSING:
        return _short(task.progress)
    part = min(1.0, task.elapsed_s(now_ms) / task.plan.duration_s) if task.plan.duration_s else 1.0
    return _short(round(part * PROCESSED_PROGRESS, 2))


def _kept_s(task: Task, now_ms: int) -> float:
    return (now_ms - task.date_created_ms - max(0, task.processing_time_ms)) / 1000


def _short(number: float) -> float:
    """Write a whole number without a fraction, as JSON from JavaScript does."""
    return int(number) if number == int(number) else number
