"""All tasks that are active, in memory and indexed, so that a change costs what it changes and not what there is.

A task is in exactly one of the places waiting, forwarding, running, ended. `TaskIndex` changes by `put` (a task has a new value, and that is
durable) and `drop` (a record is gone): they move the task, and tell whoever counts tasks (slots, quota, the queue) in the same
synchronous step. Whoever keeps the records writes first and puts then, so the index never knows more than the store.

What belongs together in time but not in the store is here too: since when an attempt is uncertain, when its proxy was last heard, when a
back-off is over.

The order (`Ordered`) is that of the commits; a task that lost its node keeps its old place. Who gets a free slot is in
placement/core/reservations.py.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import Instant, Now, WallMs
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, LastKnown, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, Owner, TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState, OurTasks
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.task_life.attempts import ForwardingAttempt
from clusterodm.services.scheduler.task_life.life import run_of, running_at_ms
from clusterodm.services.scheduler.task_life.settled import final_of
from clusterodm.services.scheduler.task_life.transitions import Site

Key = tuple[int, TaskId]

OnNode = tuple[frozenset[TaskId], frozenset[TaskId]]
"""Which tasks of ours run on a node, and which are under way there (those, and the ones that are being sent)."""


NONE_ON_NODE: Final[OnNode] = (frozenset(), frozenset())
NONE_OF_OURS: Final = OurTasks()
LONGEST_S: Final = 7 * 24 * 3600.0
"""How long at most what this scheduler has not seen begin counts as having run: its record may be of another clock."""

Changed = Callable[[Task | None, Task | None], None]
"""Hears of a task's value before a change, and after it."""


def key_of(task: Task) -> Key:
    """Place of a task in every order: its commit, made unique by its id."""
    return task.committed_at_ms, task.id


def place_of(task: Task) -> Key:
    """Place of a waiting task in the queue: by its priority, then its commit, or what an operator has put instead."""
    return (task.queued_at_ms or task.committed_at_ms) - task.priority * PRIORITY_STEP_MS, task.id


PRIORITY_STEP_MS: Final = 10**13
"""Three centuries: no commit is so much older that it would outweigh a priority."""


class Ordered:
    """Task ids in the order of their commits. Adding, removing and finding a place cost a binary search."""

    def __init__(self) -> None:
        self._keys: list[Key] = []

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[TaskId]:
        """First the oldest."""
        return (task for _, task in self._keys)

    def add(self, key: Key) -> None:
        """Put a task in its place; nothing happens when it is there."""
        if not self.has(key):
            insort(self._keys, key)

    def discard(self, key: Key) -> None:
        """Take a task out; nothing happens when it is not there."""
        if self.has(key):
            del self._keys[bisect_left(self._keys, key)]

    def has(self, key: Key) -> bool:
        """Whether it is there."""
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key

    def position(self, key: Key) -> int:
        """Which place it has, or would have, from 1."""
        return bisect_left(self._keys, key) + 1

    def first(self) -> Key | None:
        """Say who is the oldest."""
        return self._keys[0] if self._keys else None

    def next_after(self, key: Key) -> Key | None:
        """Say who comes after a key, which need not be there."""
        at = bisect_left(self._keys, key)
        at += at < len(self._keys) and self._keys[at] == key
        return self._keys[at] if at < len(self._keys) else None

    def keys(self) -> Iterator[Key]:
        """Go through the places, first the oldest."""
        return iter(self._keys)

    def behind(self, key: Key | None) -> Iterator[TaskId]:
        """Those after a key; all when there is none."""
        start = 0 if key is None else bisect_left(self._keys, key)
        for at in range(start, len(self._keys)):
            if self._keys[at] != key:
                yield self._keys[at][1]


def tell_nobody(_before: Task | None, _after: Task | None) -> None:
    """Hear of a change, and do nothing."""


class TaskIndex:
    """The active tasks by whatever they are looked for."""

    def __init__(self, longest_backoff_s: float = 60.0, changed: Changed = tell_nobody) -> None:
        self.tasks: dict[TaskId, Task] = {}
        self.revisions: dict[TaskId, int] = {}
        self.all = Ordered()
        self.of_owner: defaultdict[Owner, Ordered] = defaultdict(Ordered)
        self.on_node: defaultdict[NodeId, Ordered] = defaultdict(Ordered)
        """Tasks whose last attempt is there, in whatever state."""
        self.waiting = Ordered()
        self.by_place = Ordered()
        """The same tasks in the order of the queue."""
        self.not_before: dict[TaskId, Instant] = {}
        """When the back-off of those is over that have been tried."""
        self.forwarding: dict[TaskId, ForwardingAttempt] = {}
        self.running: dict[TaskId, NodeId] = {}
        self.began: dict[TaskId, Instant] = {}
        """Since when each of them has been running."""
        self.observed: dict[TaskId, LastKnown] = {}
        """What nodes last said of running tasks."""
        self.by_node_task: dict[NodeTaskId, TaskId] = {}
        self.to_clean: defaultdict[NodeId, set[TaskId]] = defaultdict(set)
        """Tasks with an attempt that this node has still to be told about."""
        self._longest_backoff_s = longest_backoff_s
        self._changed = changed
        self._last_commit_ms = 0

    def next_commit_ms(self, now_ms: WallMs) -> WallMs:
        """Give out the time of a commit; each is later than all before, so that the order is total and survives.

        It survives a clock that steps back, and a take-over by a host whose clock is behind: then the times only count on.
        """
        self._last_commit_ms = max(now_ms, self._last_commit_ms + 1)
        return WallMs(self._last_commit_ms)

    # --- what is there ---------------------------------------------------------------------------------------------

    def visible(self, task: TaskId, owner: Owner | None) -> Task | None:
        """Find a task for whoever asks; None as owner is an operator."""
        found = self.tasks.get(task)
        if found is None or found.removed or not may_touch(owner, found.owner):
            return None
        return found

    def shown(self, task: Task) -> Task:
        """Show a task with what was last seen of it."""
        known = self.observed.get(task.id) if task.state is TaskState.RUNNING else None
        return msgspec.structs.replace(task, known=known) if known else task

    def final(self, task: Task) -> Task:
        """Give a task whose run is about to end what is to be known of it for ever."""
        return msgspec.structs.replace(task, known=final_of(self.shown(task).known, task))

    def ours_on(self, node: NodeState) -> OnNode:
        """Which tasks of ours are running there, and which are under way there."""
        if not node.tasks:
            return NONE_ON_NODE  # as on most nodes, at each of their probes
        return frozenset(task for task in node.tasks if task in self.running), frozenset(node.tasks)

    def ours_since(self, node: NodeState, before: OnNode) -> OurTasks:
        """Say which of ours the node may have counted since `before` was asked for."""
        running, under_way = self.ours_on(node)
        if not (before[1] or under_way):
            return NONE_OF_OURS
        return OurTasks(sure=before[0] & running, possible=before[1] | under_way)

    def under_way_on(self, node: NodeId) -> Iterator[TaskId]:
        """Go through the tasks that are sent to a node, or run there."""
        return (task for task in self.on_node.get(node, ()) if task in self.running or task in self.forwarding)

    def is_needed(self, node: NodeId) -> bool:
        """Whether a task lies on this node, or the node has still to be told something."""
        return bool(self.on_node.get(node)) or bool(self.to_clean.get(node))

    # --- what changes ----------------------------------------------------------------------------------------------

    def put(self, task: Task, revision: int, now: Now) -> None:
        """Take in a task's new value."""
        before = self.tasks.get(task.id)
        if before is not None:
            self._leave(before, task)
        task = self._without_seen(before, task)
        self.tasks[task.id] = task
        self.revisions[task.id] = revision
        self._last_commit_ms = max(self._last_commit_ms, task.committed_at_ms)
        self._enter(task, now)
        self._changed(before, task)

    def drop(self, task_id: TaskId) -> None:
        """Forget a task; its record is gone."""
        task = self.tasks.get(task_id)
        if task is None:
            return
        self._leave(task, None)
        self.observed.pop(task_id, None)
        del self.tasks[task_id], self.revisions[task_id]
        self.all.discard(key_of(task))
        self.of_owner[task.owner].discard(key_of(task))
        if not self.of_owner[task.owner]:
            del self.of_owner[task.owner]
        self._changed(task, None)

    def rewritten(self, task: TaskId, revision: int) -> None:
        """Note that a record was written anew as it was."""
        self.revisions[task] = revision

    def observe(self, task: TaskId, known: LastKnown) -> None:
        """Note what a node said of a running task."""
        self.observed[task] = known

    def _without_seen(self, before: Task | None, task: Task) -> Task:
        """Keep apart what was seen of a run: versions before this one had it in the record. Another run has seen nothing yet."""
        if task.state is not TaskState.RUNNING or (before and run_of(before) != run_of(task)):
            self.observed.pop(task.id, None)
        if task.state is not TaskState.RUNNING or task.known is None:
            return task
        self.observed.setdefault(task.id, task.known)
        return msgspec.structs.replace(task, known=None)

    def hold_back(self, task: TaskId, until: Instant) -> None:
        """Place a task that waits nowhere before then."""
        self.not_before[task] = until

    def _enter(self, task: Task, now: Now) -> None:
        key = key_of(task)
        self.all.add(key)
        self.of_owner[task.owner].add(key)
        if task.state is TaskState.WAITING:
            self.waiting.add(key)
            self.by_place.add(place_of(task))
            if task.not_before_ms and task.id not in self.not_before:
                self.not_before[task.id] = now.until(task.not_before_ms, self._longest_backoff_s)
        if last := task.attempt:
            self.on_node[last.node].add(key)
            self.by_node_task[last.node_task_id] = task.id
            self._enter_under_way(task, last, now)
        for attempt in task.attempts:
            if attempt.cleanup is not Cleanup.NONE:
                self.to_clean[attempt.node].add(task.id)

    def _enter_under_way(self, task: Task, last: Attempt, now: Now) -> None:
        if task.state is TaskState.FORWARDING:
            began = now.since(last.started_at_ms, LONGEST_S)
            forwarding = self.forwarding.setdefault(task.id, ForwardingAttempt(began, heard_at=now.instant))
            if last.state is AttemptState.UNCERTAIN:
                forwarding.suspect(now.instant)
        if task.state is TaskState.RUNNING:
            self.running[task.id] = last.node
            if task.id not in self.began:
                self.began[task.id] = now.since(last.running_at_ms or last.started_at_ms, LONGEST_S)

    def _leave(self, before: Task, after: Task | None) -> None:
        """Take a task out of every place where its next value will not be."""
        key = key_of(before)
        state = after.state if after else None
        if after is None or after.state is not TaskState.WAITING or place_of(after) != place_of(before):
            self.by_place.discard(place_of(before))
        if state is not TaskState.WAITING:
            self.waiting.discard(key)
            self.not_before.pop(before.id, None)
        if state is not TaskState.FORWARDING:
            self.forwarding.pop(before.id, None)
        if state is not TaskState.RUNNING:
            self.running.pop(before.id, None)
        if after is None or running_at_ms(after) != running_at_ms(before):
            self.began.pop(before.id, None)
        if last := before.attempt:
            self.on_node[last.node].discard(key)
            self.by_node_task.pop(last.node_task_id, None)
        for attempt in before.attempts:
            self.to_clean[attempt.node].discard(before.id)


def site_of(registry: NodeRegistry, node: NodeId) -> Site:
    """Say what a task's next value needs to know of where it runs."""
    state = registry.get(node)
    if state is None:
        return Site(node)
    return Site(state.record.name, state.memory_bytes, state.limit_count)
