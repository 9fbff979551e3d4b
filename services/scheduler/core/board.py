"""All that the scheduler knows, indexed, so that a change costs what it changes and not what there is.

`Board` holds tasks, nodes, the queue and the promises. It changes by `put` (a task has a new value, and that is durable),
`drop` (a record is gone), what `Registry` takes in about nodes, and the grants. A task is in exactly one of the places
waiting, forwarding, running, ended; `put` moves it and takes or gives back its slot in the same step. Whoever keeps the records
writes first and puts then, so the board never knows more than the store.

What belongs together in time but not in the store is here too: since when an attempt is uncertain, when a holder was last heard.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from libs.common.clocks import Instant, Now, WallMs
from libs.common.identity import may_touch
from libs.common.model import (
    Attempt,
    AttemptState,
    Cleanup,
    InstanceId,
    Node,
    NodeId,
    NodeTaskId,
    Owner,
    Task,
    TaskId,
    TaskState,
)
from services.scheduler.core.foresight import Busy, Foresight
from services.scheduler.core.nodes import NodeState, Ours
from services.scheduler.core.placement import Need, Placement, need_of, why_not
from services.scheduler.core.queue import Allowance, Grant, Ordered, Unpromised, grant, key_of
from services.scheduler.core.registry import Registry
from services.scheduler.core.supply import Supply
from services.scheduler.core.tasks import HOLDER_AWAY, Site

OnNode = tuple[frozenset[TaskId], frozenset[TaskId]]
"""Which tasks of ours run on a node, and which are under way there (those, and the ones that are being sent)."""


LONGEST_S: Final = 7 * 24 * 3600.0
"""How long at most what this scheduler has not seen begin counts as having run: its record may be of another clock."""


@dataclass
class Held:
    """What is known of an attempt that is being forwarded."""

    began: Instant
    heard_at: Instant
    """When its holder last said that it is at it."""
    uncertain_since: Instant | None = None
    doubtful: bool = False
    """Images may lie on the node twice, says its holder."""


class Board:
    """Tasks, nodes, queue and promises."""

    def __init__(
        self,
        grant_s: float = 15.0,
        send_ahead_count: int = 0,
        per_owner_count: int = 0,
        longest_backoff_s: float = 60.0,
        *,
        foresees: bool = True,
    ) -> None:
        self.allowance = Allowance(per_owner_count)
        self.nodes = Registry(send_ahead_count)
        self.foresight = Foresight(self.nodes, enabled=foresees)
        self.supply = Supply()
        self.tasks: dict[TaskId, Task] = {}
        self.revisions: dict[TaskId, int] = {}
        self.waiting = Ordered()
        self.not_before: dict[TaskId, Instant] = {}
        """When the back-off of those is over that have been tried."""
        self.unpromised = Unpromised()
        self.all = Ordered()
        self.of_owner: defaultdict[Owner, Ordered] = defaultdict(Ordered)
        self.on_node: defaultdict[NodeId, Ordered] = defaultdict(Ordered)
        """Tasks whose last attempt is there, in whatever state."""
        self.running: dict[TaskId, NodeId] = {}
        self.began: dict[TaskId, Instant] = {}
        """Since when each of them has been running."""
        self.forwarding: dict[TaskId, Held] = {}
        self.by_node_task: dict[NodeTaskId, TaskId] = {}
        self.to_clean: defaultdict[NodeId, set[TaskId]] = defaultdict(set)
        """Tasks with an attempt that this node has still to be told about."""
        self.grants: dict[TaskId, Grant] = {}
        self.away: set[InstanceId] = set()
        """Holders that did not pick up what they were promised."""
        self._grant_s = grant_s
        self._longest_backoff_s = longest_backoff_s
        self._reasons: tuple[int, dict[Need, str]] = (-1, {})
        self._last_commit_ms = 0

    # --- tasks -----------------------------------------------------------------------------------------------------

    def next_commit_ms(self, now_ms: WallMs) -> WallMs:
        """Give out the time of a commit; each is later than all before, so that the order is total and survives.

        It survives a clock that steps back, and a take-over by a host whose clock is behind: then the times only count on.
        """
        self._last_commit_ms = max(now_ms, self._last_commit_ms + 1)
        return WallMs(self._last_commit_ms)

    def visible(self, task: TaskId, owner: Owner | None) -> Task | None:
        """Find a task for whoever asks; None as owner is an operator."""
        found = self.tasks.get(task)
        if found is None or found.removed or not (owner is None or may_touch(owner, found.owner)):
            return None
        return found

    def put(self, task: Task, revision: int, now: Now) -> None:
        """Take in a task's new value."""
        before = self.tasks.get(task.id)
        if before is not None:
            self._unfile(before, task)
        self.tasks[task.id] = task
        self.revisions[task.id] = revision
        self._last_commit_ms = max(self._last_commit_ms, task.committed_at_ms)
        self._file(task, now)
        if task.state is TaskState.COMPLETED and (before is None or before.state is not TaskState.COMPLETED):
            self.foresight.learn(task)

    def drop(self, task_id: TaskId) -> None:
        """Forget a task; its record is gone."""
        task = self.tasks.get(task_id)
        if task is None:
            return
        self._unfile(task, None)
        del self.tasks[task_id], self.revisions[task_id]
        self.all.discard(key_of(task))
        self.of_owner[task.owner].discard(key_of(task))
        if not self.of_owner[task.owner]:
            del self.of_owner[task.owner]

    def _file(self, task: Task, now: Now) -> None:
        key = key_of(task)
        self.all.add(key)
        self.of_owner[task.owner].add(key)
        if task.state is TaskState.WAITING:
            self.waiting.add(key)
            if task.not_before_ms and task.id not in self.not_before:
                self.not_before[task.id] = now.until(task.not_before_ms, self._longest_backoff_s)
            if task.id not in self.grants:
                self.unpromised.add(task, self.not_before.get(task.id))
        else:
            self.revoke(task.id)
        if last := task.attempt:
            self.on_node[last.node].add(key)
            self.by_node_task[last.node_task_id] = task.id
            self._file_under_way(task, last, now)
        for attempt in task.attempts:
            if attempt.cleanup is not Cleanup.NONE:
                self.to_clean[attempt.node].add(task.id)

    def _file_under_way(self, task: Task, last: Attempt, now: Now) -> None:
        if task.state is TaskState.FORWARDING:
            began = now.since(last.started_at_ms, LONGEST_S)
            held = self.forwarding.setdefault(task.id, Held(began, heard_at=now.instant))
            if last.state is AttemptState.UNCERTAIN and held.uncertain_since is None:
                held.uncertain_since = now.instant
        if task.state is TaskState.RUNNING:
            self.running[task.id] = last.node
            if task.id not in self.began:
                self.began[task.id] = now.since(last.running_at_ms or last.started_at_ms, LONGEST_S)
        if task.state in {TaskState.FORWARDING, TaskState.RUNNING}:
            self.nodes.occupy(last.node, task.id)
            self.allowance.take(task.owner, task.id)

    def _unfile(self, before: Task, after: Task | None) -> None:
        """Take a task out of every place where its next value will not be."""
        key = key_of(before)
        state = after.state if after else None
        if state is not TaskState.WAITING:
            self.waiting.discard(key)
            self.not_before.pop(before.id, None)
            self.revoke(before.id)
            self.unpromised.discard(before)
            self.foresight.forget(before.id)
        if state is not TaskState.FORWARDING:
            self.forwarding.pop(before.id, None)
        if state is not TaskState.RUNNING:
            self.running.pop(before.id, None)
        self._forget_beginning(before, after)
        if last := before.attempt:
            self.on_node[last.node].discard(key)
            self.by_node_task.pop(last.node_task_id, None)
            if state not in {TaskState.FORWARDING, TaskState.RUNNING}:
                self.nodes.release(last.node, before.id)
                if before.id not in self.grants:
                    self.allowance.give_back(before.owner, before.id)
        for attempt in before.attempts:
            self.to_clean[attempt.node].discard(before.id)

    def _forget_beginning(self, before: Task, after: Task | None) -> None:
        if after is None or running_at_ms(after) != running_at_ms(before):
            self.began.pop(before.id, None)

    # --- nodes -----------------------------------------------------------------------------------------------------

    def put_node(self, record: Node, now: Instant) -> NodeState:
        """Take in a node, with the slots of those tasks that knew it before it was registered."""
        node = self.nodes.put(record, now)
        for task in self.on_node.get(record.id, ()):
            if task in self.running or task in self.forwarding:
                self.nodes.occupy(record.id, task)
        return node

    def ours_on(self, node: NodeState) -> OnNode:
        """Which tasks of ours are running there, and which are under way there."""
        return frozenset(task for task in node.tasks if task in self.running), frozenset(node.tasks)

    def ours_since(self, node: NodeState, before: OnNode) -> Ours:
        """Say which of ours the node may have counted since `before` was asked for."""
        running, under_way = self.ours_on(node)
        return Ours(sure=before[0] & running, possible=before[1] | under_way)

    def is_needed(self, node: NodeId) -> bool:
        """Whether a task lies on this node, or the node has still to be told something."""
        return bool(self.on_node.get(node)) or bool(self.to_clean.get(node))

    def name_of(self, node: NodeId) -> str:
        """Say how operators call a node, known or not."""
        state = self.nodes.get(node)
        return state.record.name if state else node

    def site_of(self, node: NodeId) -> Site:
        """Say what a task's next value needs to know of where it runs."""
        state = self.nodes.get(node)
        return Site(self.name_of(node), state.memory_bytes if state else 0)

    # --- promises --------------------------------------------------------------------------------------------------

    def why_waiting(self, task: Task, now: Instant) -> str:
        """Say why a task waits; what depends on the nodes is worked out once for all of a kind until something changes."""
        if task.holder in self.away:
            return HOLDER_AWAY
        if (left_s := self.not_before.get(task.id, now) - now) > 0:
            return f"trying again in {ceil(left_s)} s"
        if not self.allowance.left_count(task.owner):
            used_count, limit_count = self.allowance.used_count(task.owner), self.allowance.limit_count
            return f"{used_count} tasks of this user are under way already (limit {limit_count})"
        if held := self.foresight.held.get(task.id):
            return held.reason
        because, word = self.why_not(need_of(task)), self.supply.word(task.id, now)
        return f"{because}; {word}" if word else because

    def why_not(self, need: Need) -> str:
        """Say why no node has room now for a task with such a need."""
        version, known = self._reasons
        if version != self.nodes.version:
            known = {}
            self._reasons = (self.nodes.version, known)
        kind = replace(need, avoided=frozenset(), task=None)
        if kind not in known:
            known[kind] = why_not(self.nodes.listed(), kind)
        return known[kind]

    def waiting_tasks(self) -> Iterator[Task]:
        """Go through waiting tasks without a promise, the oldest first."""
        return (self.tasks[task] for task in self.unpromised)

    def grant_all(self, now: Instant) -> list[Grant]:
        """Promise what is free; the new promises."""
        self.unpromised.walk_all()
        return self.grant_new(now)

    def grant_new(self, now: Instant) -> list[Grant]:
        """Do the same where only nodes and tasks have changed since the last time: it costs what has changed."""
        if self.foresight.held:
            self.unpromised.walk_all()
        tasks = self.unpromised.to_walk(self.nodes.version, now)
        made = self._grant((self.tasks[task] for task in tasks), now)
        self.unpromised.walked(self.nodes.version)
        return made

    def grant_one(self, task: Task, now: Instant) -> list[Grant]:
        """Promise a slot to one task whose elders have been served already; the promise, if there is one."""
        if self.foresight.held:
            return self.grant_all(now)
        return [] if task.id in self.grants else self._grant([task], now)

    def _grant(self, waiting: Iterable[Task], now: Instant) -> list[Grant]:
        made: list[Grant] = []
        plan = self.foresight.plan(lambda: self._busy(now), self.unpromised.images_count, now)

        def holds(task: Task, node: NodeState) -> bool:
            return self.supply.holds(task.id, node.record.machine, now) or plan.holds(task, node)

        grant(waiting, self.nodes, self._reserver(made, now), self.away, self.allowance, self.not_before, now, holds)
        for promise in made:
            self.unpromised.discard(self.tasks[promise.task])
        return made

    def _busy(self, now: Instant) -> Iterator[Busy]:
        """Go through the slots that tasks of ours use, or have been promised."""
        begun = [*self.began.items(), *((task, held.began) for task, held in self.forwarding.items())]
        for task_id, began in begun:
            task = self.tasks[task_id]
            if node := self.nodes.get(task.attempts[-1].node):
                yield Busy(node, task.images_count, began)
        for promise in self.grants.values():
            if node := self.nodes.get(promise.node):
                yield Busy(node, self.tasks[promise.task].images_count, now)

    def _reserver(self, made: list[Grant], now: Instant) -> Callable[[Task, Placement], None]:
        def reserve(task: Task, choice: Placement) -> None:
            promise = Grant(task.id, choice.node.id, now + self._grant_s, choice.reason)
            self.grants[task.id] = promise
            self.nodes.grant(choice.node.id, task.id)
            self.allowance.take(task.owner, task.id)
            self.nodes.take_turn(choice.node)
            made.append(promise)

        return reserve

    def extend(self, promise: Grant, now: Instant) -> None:
        """Keep a promise while it is being turned into an attempt."""
        promise.expires = now + self._grant_s

    def revoke(self, task: TaskId) -> None:
        """Take a promise back."""
        if promise := self.grants.pop(task, None):
            self.nodes.ungrant(promise.node, task)
            if self.waiting.has(key_of(self.tasks[task])):
                self.unpromised.add(self.tasks[task], self.not_before.get(task))
            if task not in self.running and task not in self.forwarding:
                self.allowance.give_back(self.tasks[task].owner, task)

    def revoke_on(self, node: NodeId) -> None:
        """Take back what was promised on a node that takes no more tasks."""
        for task in [promise.task for promise in self.grants.values() if promise.node == node]:
            self.revoke(task)

    def expire(self, now: Instant) -> list[Grant]:
        """Take back promises that nobody picked up; their holders count as away."""
        expired = [promise for promise in self.grants.values() if promise.expires <= now]
        for promise in expired:
            self.revoke(promise.task)
            self.away.add(self.tasks[promise.task].holder)
        return expired

    def heard(self, holder: InstanceId) -> bool:
        """Note that a holder is there; whether it was away."""
        was_away = holder in self.away
        if was_away:
            self.unpromised.walk_all()
        self.away.discard(holder)
        return was_away


def running_at_ms(task: Task) -> int | None:
    """When its last attempt began to run, if it runs."""
    return task.attempts[-1].running_at_ms if task.state is TaskState.RUNNING else None
