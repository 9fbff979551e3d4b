"""All that the scheduler knows, indexed, so that a change costs what it changes and not what there is.

`Board` holds tasks, nodes, the queue and the reservations. It changes by `put` (a task has a new value, and that is durable),
`drop` (a record is gone), what `Registry` takes in about nodes, who asks (registry/proxies.py), and the reservations. A task is in
exactly one of the places waiting, forwarding, running, ended; `put` moves it and takes or gives back its slot in the same step.
Whoever keeps the records writes first and puts then, so the board never knows more than the store.

What belongs together in time but not in the store is here too: since when an attempt is uncertain, when a holder was last heard.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import msgspec

from libs.common.clocks import Instant, Now, WallMs
from libs.common.identity import may_touch
from libs.common.model import (
    Attempt,
    AttemptState,
    Cleanup,
    InstanceId,
    LastKnown,
    Node,
    NodeId,
    NodeTaskId,
    Owner,
    Task,
    TaskId,
    TaskState,
)
from services.scheduler.placement.core.foresight import Busy, Foresight
from services.scheduler.placement.core.queue import Lanes
from services.scheduler.placement.core.reservations import Allowance, Reservation, Walk
from services.scheduler.placement.core.supply import Supply
from services.scheduler.placement.core.waiting import counts, is_beyond, room_count
from services.scheduler.records.core import Ordered, key_of
from services.scheduler.registry.node_state import NodeState, Ours
from services.scheduler.registry.nodes import Registry
from services.scheduler.registry.proxies import SILENCE_S, Holders
from services.scheduler.registry.ranking import Need, Placement, need_of, why_not
from services.scheduler.task_life.attempts import final_of
from services.scheduler.task_life.transitions import HOLDER_AWAY, Site

OnNode = tuple[frozenset[TaskId], frozenset[TaskId]]
"""Which tasks of ours run on a node, and which are under way there (those, and the ones that are being sent)."""


NONE_ON_NODE: Final[OnNode] = (frozenset(), frozenset())
NONE_OF_OURS: Final = Ours()
LONGEST_S: Final = 7 * 24 * 3600.0
"""How long at most what this scheduler has not seen begin counts as having run: its record may be of another clock."""
HOLDER_BUSY: Final = "a slot is free for it; its proxy is sending as many tasks as it may"


@dataclass
class Held:
    """What is known of an attempt that is being forwarded."""

    began: Instant
    heard_at: Instant
    """When its holder last said that it is at it."""
    uncertain_since: Instant | None = None
    unheard_since: Instant | None = None
    """It was placed then, and its holder has not renewed it since: the answer may have been lost."""
    renews_first: bool = False
    """Its holder begins nothing before it has renewed it."""
    doubtful: bool = False
    """Images may lie on the node twice, says its holder."""


def run_of(task: Task) -> tuple[NodeTaskId, int | None] | None:
    """Tell the runs of a task apart."""
    last = task.attempt
    return (last.node_task_id, last.running_at_ms) if last else None


class Board:
    """Tasks, nodes, queue and reservations."""

    def __init__(
        self,
        send_ahead_count: int = 0,
        per_owner_count: int = 0,
        longest_backoff_s: float = 60.0,
        *,
        foresees: bool = True,
        holder_silence_s: float = SILENCE_S,
    ) -> None:
        self.allowance = Allowance(per_owner_count)
        self.nodes = Registry(send_ahead_count)
        self.foresight = Foresight(self.nodes, enabled=foresees)
        self.supply = Supply()
        self.tasks: dict[TaskId, Task] = {}
        self.revisions: dict[TaskId, int] = {}
        self.waiting = Ordered()
        self.lanes = Lanes(by_owner=per_owner_count > 0)
        """Those of them for which no slot is reserved."""
        self.not_before: dict[TaskId, Instant] = {}
        """When the back-off of those is over that have been tried."""
        self.holders = Holders(holder_silence_s)
        self.all = Ordered()
        self.of_owner: defaultdict[Owner, Ordered] = defaultdict(Ordered)
        self.on_node: defaultdict[NodeId, Ordered] = defaultdict(Ordered)
        """Tasks whose last attempt is there, in whatever state."""
        self.running: dict[TaskId, NodeId] = {}
        self.began: dict[TaskId, Instant] = {}
        """Since when each of them has been running."""
        self.observed: dict[TaskId, LastKnown] = {}
        """What nodes last said of running tasks."""
        self.forwarding: dict[TaskId, Held] = {}
        self.by_node_task: dict[NodeTaskId, TaskId] = {}
        self.to_clean: defaultdict[NodeId, set[TaskId]] = defaultdict(set)
        """Tasks with an attempt that this node has still to be told about."""
        self.reserved: dict[TaskId, Reservation] = {}
        self.submodels: set[TaskId] = set()
        """Those that count as running for split-merge."""
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
        task = self._without_seen(before, task)
        self.tasks[task.id] = task
        self.revisions[task.id] = revision
        self._last_commit_ms = max(self._last_commit_ms, task.committed_at_ms)
        self._file(task, now)
        if task.submodel:
            (self.submodels.add if counts(task) else self.submodels.discard)(task.id)
        if task.state is TaskState.COMPLETED and (before is None or before.state is not TaskState.COMPLETED):
            self.foresight.learn(task)

    def _without_seen(self, before: Task | None, task: Task) -> Task:
        """Keep apart what was seen of a run: versions before this one had it in the record. Another run has seen nothing yet."""
        if task.state is not TaskState.RUNNING or (before and run_of(before) != run_of(task)):
            self.observed.pop(task.id, None)
        if task.state is not TaskState.RUNNING or task.known is None:
            return task
        self.observed.setdefault(task.id, task.known)
        return msgspec.structs.replace(task, known=None)

    def shown(self, task: Task) -> Task:
        """Show a task with what was last seen of it."""
        known = self.observed.get(task.id) if task.state is TaskState.RUNNING else None
        return msgspec.structs.replace(task, known=known) if known else task

    def final(self, task: Task) -> Task:
        """Give a task whose run is about to end what is to be known of it for ever."""
        return msgspec.structs.replace(task, known=final_of(self.shown(task).known, task))

    def drop(self, task_id: TaskId) -> None:
        """Forget a task; its record is gone."""
        task = self.tasks.get(task_id)
        if task is None:
            return
        self._unfile(task, None)
        self.observed.pop(task_id, None)
        self.submodels.discard(task_id)
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
            if task.id not in self.reserved:
                self.lanes.add(task)
        else:
            self.release(task.id)
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
            if last.state is AttemptState.FORWARDING:
                self.holders.take(task.holder, task.id)
        if task.state is TaskState.RUNNING:
            self.running[task.id] = last.node
            if task.id not in self.began:
                self.began[task.id] = now.since(last.running_at_ms or last.started_at_ms, LONGEST_S)
        if task.state in {TaskState.FORWARDING, TaskState.RUNNING}:
            self.nodes.occupy(last.node, task.id)
            self.allowance.take(task.owner, task.id)

    def awaits_holder(self, task: TaskId, *, renews_first: bool) -> None:
        """Note that an attempt has just been placed: its holder has still to say that it is at it."""
        held = self.forwarding[task]
        held.unheard_since, held.renews_first = held.heard_at, renews_first

    def hear(self, holder: InstanceId, now: Instant) -> bool:
        """Note that a holder is there, and may yet take up what was placed; whether it was away."""
        for task in self.holders.sending(holder):
            held = self.forwarding.get(task)
            if held and held.renews_first and held.unheard_since is not None:
                held.heard_at = now
        return self.holders.heard(holder, now)

    def _unfile(self, before: Task, after: Task | None) -> None:
        """Take a task out of every place where its next value will not be."""
        key = key_of(before)
        state = after.state if after else None
        if state is not TaskState.WAITING:
            self._unfile_waiting(before)
        if state is not TaskState.FORWARDING:
            self.forwarding.pop(before.id, None)
        if state is not TaskState.RUNNING:
            self.running.pop(before.id, None)
        self._forget_beginning(before, after)
        if before.id not in self.reserved:
            self.holders.give_back(before.holder, before.id)
        if last := before.attempt:
            self.on_node[last.node].discard(key)
            self.by_node_task.pop(last.node_task_id, None)
            if state not in {TaskState.FORWARDING, TaskState.RUNNING}:
                self._leave_node(before, last.node)
        for attempt in before.attempts:
            self.to_clean[attempt.node].discard(before.id)

    def _leave_node(self, task: Task, node: NodeId) -> None:
        self.nodes.release(node, task.id)
        if task.id not in self.reserved:
            self.allowance.give_back(task.owner, task.id)

    def _unfile_waiting(self, task: Task) -> None:
        self.waiting.discard(key_of(task))
        self.release(task.id)
        self.lanes.discard(task)
        self.not_before.pop(task.id, None)
        self.foresight.forget(task.id)

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
        if not node.tasks:
            return NONE_ON_NODE  # as on most nodes, at each of their probes
        return frozenset(task for task in node.tasks if task in self.running), frozenset(node.tasks)

    def ours_since(self, node: NodeState, before: OnNode) -> Ours:
        """Say which of ours the node may have counted since `before` was asked for."""
        running, under_way = self.ours_on(node)
        if not (before[1] or under_way):
            return NONE_OF_OURS
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
        if state is None:
            return Site(self.name_of(node))
        return Site(state.record.name, state.memory_bytes, state.limit_count)

    # --- who waits, and for what -------------------------------------------------------------------------------------

    def why_waiting(self, task: Task, now: Instant) -> str:
        """Say why a task waits; what depends on the nodes is worked out once for all of a kind until something changes."""
        if task.holder in self.holders.away:
            return HOLDER_AWAY
        if (left_s := self.not_before.get(task.id, now) - now) > 0:
            return f"trying again in {ceil(left_s)} s"
        if not self.allowance.left_count(task.owner):
            used_count, limit_count = self.allowance.used_count(task.owner), self.allowance.limit_count
            return f"{used_count} tasks of this user are under way already (limit {limit_count})"
        if held := self.foresight.why_held(task.id):
            return held.reason
        need, word = need_of(task), self.supply.word(task.id, now)
        because = self.why_not(need)
        if not word and self.nodes.has_room and self.holders.asks(task.holder) and self.nodes.free_for(need):
            because = HOLDER_BUSY
        return f"{because}; {word}" if word else because

    def is_beyond(self, need: Need, now: Instant) -> bool:
        """Whether there is no room for another sub-model with such a need."""
        waiting = [task for task in self.submodels if self.tasks[task].state is TaskState.WAITING]
        if self.supply.helps(waiting, now):
            return False
        others_count = len(self.waiting) - len(waiting)
        room = room_count(self.nodes.listed(), need, self.submodels.__contains__, others_count)
        return is_beyond(len(self.submodels), room)

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

    # --- reservations ------------------------------------------------------------------------------------------------

    def reserve_all(self, now: Instant) -> list[Reservation]:
        """Reserve what is free for those who ask, the oldest task first."""
        made: list[Reservation] = []
        self.lanes.fit(self.nodes.limits, self.tasks)
        walk = Walk(self.tasks, self.nodes, self.holders, self.allowance, self._may(now), self._holds(now))
        walk.reserve_all(self.lanes, lambda task, choice: made.append(self._reserve(task, choice)))
        return made

    def reserve_one(self, task: Task, now: Instant) -> Reservation | None:
        """Reserve a slot for this task, whether its holder can send any more or not; the reservation, if there is room."""
        if not self._may(now)(task) or not self.allowance.left_count(task.owner) or task.id in self.reserved:
            return None
        choice = self.nodes.choose(need_of(task))
        if choice is None or self._holds(now)(task, choice.node):
            return None
        return self._reserve(task, choice)

    def _may(self, now: Instant) -> Callable[[Task], bool]:
        return lambda task: self.not_before.get(task.id, now) <= now

    def _holds(self, now: Instant) -> Callable[[Task, NodeState], bool]:
        plan = self.foresight.plan(lambda: self._busy(now), self.lanes.images_count, now)
        return lambda task, node: self.supply.holds(task.id, node.record.machine, now) or plan.holds(task, node)

    def _busy(self, now: Instant) -> Iterator[Busy]:
        """Go through the slots that tasks of ours use, or that are reserved."""
        begun = [*self.began.items(), *((task, held.began) for task, held in self.forwarding.items())]
        for task_id, began in begun:
            task = self.tasks[task_id]
            if node := self.nodes.get(task.attempts[-1].node):
                yield Busy(node, task.images_count or 0, began)
        for each in self.reserved.values():
            if node := self.nodes.get(each.node):
                yield Busy(node, self.tasks[each.task].images_count or 0, now)

    def _reserve(self, task: Task, choice: Placement) -> Reservation:
        made = self.reserved[task.id] = Reservation(task.id, choice.node.id, choice.reason)
        self.nodes.reserve(choice.node.id, task.id)
        self.allowance.take(task.owner, task.id)
        self.holders.take(task.holder, task.id)
        self.nodes.take_turn(choice.node)
        self.lanes.discard(task)
        return made

    def release(self, task_id: TaskId) -> None:
        """Give a reservation up; nothing happens when there is none."""
        made = self.reserved.pop(task_id, None)
        if made is None:
            return
        task = self.tasks[task_id]
        self.nodes.unreserve(made.node, task_id)
        if self.waiting.has(key_of(task)):
            self.lanes.add(task)
        if task_id not in self.running and task_id not in self.forwarding:
            self.allowance.give_back(task.owner, task_id)
            self.holders.give_back(task.holder, task_id)

    def release_on(self, node: NodeId) -> None:
        """Give up what is reserved on a node that takes no more tasks."""
        for task in [each.task for each in self.reserved.values() if each.node == node]:
            self.release(task)


def running_at_ms(task: Task) -> int | None:
    """When its last attempt began to run, if it runs."""
    return task.attempts[-1].running_at_ms if task.state is TaskState.RUNNING else None
