"""Why tasks wait, and how many parts of a split dataset count as running although they do.

Split-merge: ODM's executor works on one part itself and sends others away, until one is answered QUEUED: then it removes that one, keeps it for its own machine or for
later, and sends no more at a time than run at that moment. If none is ever QUEUED it sends all of them, and its own machine idles; if too many are, nodes do.

    fewer count than there are slots, and LEAD_COUNT   RUNNING, also while it waits: the next one is there when a slot becomes free
    as many as that                                    *beyond*: QUEUED
    it has waited for as long as its upload took       beyond from then on: to send it again costs no more than to wait on has cost

Slots that tasks of others use, or wait for, are no room. Where an autoscaler rents machines for those that wait, there is room until it says no.

Why no node has room for a task now is said in words for its user.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

import msgspec

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.placement import NotWaiting
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.scheduler.placement.core.foresight import Foresight
from clusterodm.services.scheduler.placement.core.reservations import Quota
from clusterodm.services.scheduler.placement.core.supply import Supply
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.proxies import ProxyRegistry
from clusterodm.services.scheduler.registry.ranking import Need, is_other_kind, large_enough_for, need_of, suitable
from clusterodm.services.scheduler.task_life.transitions import INPUTS_MISSING, UPLOAD_OWNER_AWAY

UPLOAD_OWNER_BUSY: Final = "a slot is free for it; its proxy is sending as many tasks as it may"
LEAD_COUNT: Final = 1
LEAST_WAIT_S: Final = 3.0
"""Executors look every three seconds."""
LONGEST_WAIT_S: Final = 120.0
ACTIVE: Final = frozenset((TaskState.WAITING, TaskState.FORWARDING, TaskState.RUNNING))


def counts(task: Task) -> bool:
    """Whether it takes room, or is in front of those that will."""
    return task.submodel and not task.beyond and not task.removed and task.state in ACTIVE


def is_beyond(taken_count: int, room_count: int) -> bool:
    """Whether another one is too many."""
    return taken_count >= max(0, room_count) + LEAD_COUNT


def room_count(nodes: Iterable[NodeState], need: Need, is_part: Callable[[TaskId], bool], others_waiting: int) -> int:
    """Count the slots for parts like this: those that nobody else uses or waits for."""
    return sum(free_of_others(node, is_part) for node in suitable(nodes, need)) - others_waiting


def free_of_others(node: NodeState, is_part: Callable[[TaskId], bool]) -> int:
    """Count a node's slots that tasks of other kinds do not use."""
    others_count = sum(not is_part(task) for task in (*node.tasks, *node.reserved))
    return max(0, node.slots_count - node.others_count - others_count)


def longest_wait_s(task: Task) -> float:
    """Say for how long one of the lead counts as running: as long as its upload has taken."""
    upload_s = (task.committed_at_ms - task.created_at_ms) / 1000
    return min(max(LEAST_WAIT_S, upload_s), LONGEST_WAIT_S)


def gone_beyond(task: Task) -> Task:
    """Let a part that still waits count as running no more."""
    return msgspec.structs.replace(task, beyond=True) if task.state is TaskState.WAITING else task


class Submodels:
    """The parts of split datasets that count as running."""

    def __init__(self, index: TaskIndex, nodes: NodeRegistry, supply: Supply) -> None:
        self.counted: set[TaskId] = set()
        self._index = index
        self._nodes = nodes
        self._supply = supply

    def task_changed(self, before: Task | None, after: Task | None) -> None:
        """Count a part, or count it no more."""
        if after is None:
            if before is not None:
                self.counted.discard(before.id)
        elif after.submodel:
            (self.counted.add if counts(after) else self.counted.discard)(after.id)

    def is_beyond(self, need: Need, now: Instant) -> bool:
        """Whether there is no room for another with such a need."""
        waiting = [task for task in self.counted if self._index.tasks[task].state is TaskState.WAITING]
        if self._supply.helps(waiting, now):
            return False
        others_count = len(self._index.waiting) - len(waiting)
        room = room_count(self._nodes.listed(), need, self.counted.__contains__, others_count)
        return is_beyond(len(self.counted), room)


class WaitReasons:
    """Why tasks wait; what depends on the nodes is worked out once for all of a kind until something changes."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that may be in the way of a task
        self,
        index: TaskIndex,
        nodes: NodeRegistry,
        proxies: ProxyRegistry,
        quota: Quota,
        foresight: Foresight,
        supply: Supply,
    ) -> None:
        self._index = index
        self._nodes = nodes
        self._proxies = proxies
        self._quota = quota
        self._foresight = foresight
        self._supply = supply
        self._known: tuple[int, dict[Need, str]] = (-1, {})

    def why_waiting(self, task: Task, now: Instant) -> str:
        """Say why a task waits."""
        if self.lacks_inputs(task, now):
            return INPUTS_MISSING
        if task.upload_owner in self._proxies.away:
            return UPLOAD_OWNER_AWAY
        if (left_s := self._index.not_before.get(task.id, now) - now) > 0:
            return f"trying again in {ceil(left_s)} s"
        if not self._quota.left_count(task.owner):
            return over_limit(self._quota.used_count(task.owner), self._quota.limit_of(task.owner))
        if deferred := self._foresight.why_deferred(task.id):
            return deferred.reason
        need, word = need_of(task), self._supply.word(task.id, now)
        because = self.why_not(need)
        if (
            not word
            and self._nodes.open.has_room
            and self._proxies.polls(task.upload_owner)
            and self._nodes.open.free_for(need)
        ):
            because = UPLOAD_OWNER_BUSY
        return f"{because}; {word}" if word else because

    def lacks_inputs(self, task: Task, now: Instant) -> bool:
        """Whether a node is waited for that has it, because its upload owner does not have its photos: which does answer."""
        return bool(task.inputs_missing_since_ms) and self._index.not_before.get(task.id, now) > now

    def why_not(self, need: Need) -> str:
        """Say why no node has room now for a task with such a need."""
        version, known = self._known
        if version != self._nodes.open.version:
            known = {}
            self._known = (self._nodes.open.version, known)
        kind = replace(need, avoided=frozenset(), task=None, owner=self._nodes.admissions.kept_apart(need.owner))
        if kind not in known:
            known[kind] = why_not(self._nodes.listed(), kind, self._nodes.admissions.labels_of(kind.owner))
        return known[kind]


# --- why no node has room --------------------------------------------------------------------------------------------


def over_limit(used_count: int, limit_count: int) -> str:
    """Say that a user has as many tasks under way as may be."""
    are = "is" if used_count == 1 else "are"
    return f"{amount(used_count, 'task')} of this user {are} under way already (limit {limit_count})"


def why_not(nodes: Sequence[NodeState], need: Need, confined_to: frozenset[str] = frozenset()) -> str:
    """Say why no node has room for such a task now. `confined_to`: only nodes with these labels are its owner's."""
    if not nodes:
        return "no node is registered"
    if not confined_to:
        return why_none_of(nodes, need)
    which = f"with label{'s' if len(confined_to) > 1 else ''} {' and '.join(sorted(confined_to))}"
    labeled = [node for node in nodes if confined_to <= frozenset(node.record.labels)]
    if not any(node.online for node in labeled):
        return f"waits for a node {which} ({'none is online' if labeled else 'there is none'})"
    return f"waits for a node {which}: {why_none_of(labeled, need)}"


def why_none_of(nodes: Sequence[NodeState], need: Need) -> str:
    """Say why none of these has room."""
    online = [node for node in nodes if node.online]
    unlocked = [node for node in online if node.usable]
    fitting = suitable(unlocked, need)
    if not online:
        return "no node is online"
    if not unlocked:
        return f"all {len(online)} nodes are locked" if len(online) > 1 else "the only node online is locked"
    if not fitting:
        return kept_for_others(unlocked, need) or too_large(unlocked, need)
    slots_count = sum(node.slots_count for node in fitting)
    return f"no free slot ({sum(min(node.used_count, node.slots_count) for node in fitting)} of {slots_count} busy)"


def kept_for_others(unlocked: Sequence[NodeState], need: Need) -> str:
    """Say that only nodes would take it that are reserved; empty: that is not the reason."""
    would_count = sum(1 for _ in large_enough_for(unlocked, need))
    if would_count == 1:
        return "the only node that would take it is reserved for others"
    return f"all {would_count} nodes that would take it are reserved for others" if would_count else ""


def too_large(nodes: Sequence[NodeState], need: Need) -> str:
    """Say that the task has too many images for all, or what else none of them has."""
    if need.gpu and not any(node.record.has_gpu for node in nodes):
        return "no node has a graphics card, which its options ask for"
    if need.interruptions_count and all(is_other_kind(node, need) for node in nodes):
        return "its machine was taken away, and it waits for one that stays"
    if any(node.fits(need.images_count) for node in nodes):
        return "each node that is large enough has refused it"
    largest = max(node.limit_count or 0 for node in nodes)
    return f"no node takes {amount(need.images_count or 0, 'image')} (largest limit {largest})"


def got(task: Task) -> str:
    """Say what a task that was placed has waited for."""
    last = task.attempts[-1]
    return "retry" if len(task.attempts) > 1 else "machine" if last.machine else "slot"


def not_waiting(task: Task | None) -> NotWaiting:
    """Say how a task stands that is not to be placed. None: it is in no record of the active ones."""
    if task is None or not task.removed:
        return NotWaiting(state=task.state if task else None)
    return NotWaiting(state=None, removed=True, untold=task.is_untold)
