"""What the autoscaler does for waiting tasks, and which of them have no prospect of a node.

A task that no node has refused waits for as long as it must: an operator may add a node. One that has been on a node and was told why
not has its answer, so it ends when nobody else can take it: no node that is registered, whatever it does now, and no machine that
could be rented. What is not known is in its favour: a node that has not answered yet may be large enough.

A machine is requested for one task, in a size for it. Whoever else takes it, because it happens to be there first, leaves that
task without one, and another has to be requested: so a task whose own machine is coming waits for that (`is_for_another`), and leaves
those of others alone.

The autoscaler's words come as snapshots, whole each time, in the order in which NATS took them, and again now and then. One of an
earlier term than the last is a leader's that does not know yet that another leads. What was heard long ago is no longer believed:
there may be no autoscaler any more, and a task would wait for ever "for a machine".
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import Final

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.demand import MachineOutlook, SupplyChanged, supersedes
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import may_ever_fit, need_of
from clusterodm.services.scheduler.task_life.attempts import refused


class Rental(Enum):
    """What the autoscaler says of a machine for a task."""

    POSSIBLE = auto()
    """It may come, or is not known yet."""
    NEVER = auto()
    """There is no such size."""
    SILENT = auto()
    """There is no autoscaler, or none that has spoken lately."""


def was_refused(task: Task) -> bool:
    """Whether a task waits that a node has refused for something that another may not have."""
    return task.state is TaskState.WAITING and bool(refused(task.attempts))


def has_prospect(task: Task, nodes: Sequence[NodeState], rental: Rental) -> bool:
    """Whether it may still find a node. A silent autoscaler may be starting: whoever asks waits for a while first."""
    need = need_of(task)
    may_be_rented = rental is Rental.POSSIBLE and need.helped_by_machines
    return may_be_rented or any(may_ever_fit(node, need) for node in nodes)


def why_unplaceable(task: Task, nodes: Sequence[NodeState]) -> str:
    """Say in one sentence why no node takes it."""
    reason = refused(task.attempts)[-1].reason
    least = task.least_limit_count
    limits = [node.limit_count for node in nodes if node.limit_count is not None]
    if least and limits and len(limits) == len(nodes) and max(limits) < least:
        return f"No node takes {amount(least, 'image')} (the largest limit is {max(limits)}), and no machine that does can be rented"
    return f"No other node can take it, and no machine that does can be rented: {reason}"


NO_MACHINE: Final = "no machine is started"


class Supply:
    """The last snapshot of supply."""

    def __init__(self) -> None:
        self._epoch = 0
        self._heard: Instant | None = None
        self._words: dict[TaskId, str] = {}
        self._never: frozenset[TaskId] = frozenset()
        """Those for which there is no size of machine."""
        self._own: dict[TaskId, MachineId] = {}
        self._tasks: dict[MachineId, TaskId] = {}
        self._outlook: dict[MachineId, MachineOutlook] = {}

    def take(self, message: SupplyChanged, now: Instant) -> bool:
        """Take in a snapshot, unless it is of an earlier term. Whether other machines are meant for other tasks now."""
        if not supersedes(message.epoch, self._epoch):
            return False
        before = self._own
        self._epoch, self._heard = message.epoch, now
        self._outlook = {each.machine: each for each in message.outlook}
        self._words = {each.task: f"{NO_MACHINE}: {each.reason}" for each in message.waits}
        self._words |= {each.task: each.reason for each in message.comes}
        self._never = frozenset(each.task for each in message.waits if each.never)
        self._own = message.meant
        self._tasks = {machine: task for task, machine in message.meant.items()}
        return before != message.meant

    def word(self, task: TaskId, now: Instant) -> str:
        """Say what is done for a task; empty when nothing is known."""
        return self._words.get(task, "") if self._believed(now) else ""

    def helps(self, waiting: Iterable[TaskId], now: Instant) -> bool:
        """Whether machines come for those that wait: an autoscaler is there, and has said no to none of these."""
        return self._believed(now) and not any(self._words.get(task, "").startswith(NO_MACHINE) for task in waiting)

    def rental(self, task: TaskId, now: Instant) -> Rental:
        """Say whether a machine may come for a task."""
        if not self._believed(now):
            return Rental.SILENT
        return Rental.NEVER if task in self._never else Rental.POSSIBLE

    def is_for_another(self, task: TaskId, machine: MachineId | None, now: Instant) -> bool:
        """Whether a task should leave a machine to the one for which it was requested: its own is coming."""
        if machine is None or task not in self._own or machine not in self._tasks:
            return False
        return self._tasks[machine] != task and self._believed(now)

    def outlook(self, machine: MachineId | None) -> MachineOutlook | None:
        """Say what is known of a machine that takes tasks; known also while its autoscaler is silent."""
        return self._outlook.get(machine) if machine else None

    def coming(self, now: Instant) -> Iterator[tuple[MachineOutlook, Instant]]:
        """Go through the machines that take tasks, or will, and say when each should be there."""
        if self._heard is not None and self._believed(now):
            for each in self._outlook.values():
                yield each, max(now, self._heard + each.ready_in_ms / 1000)

    def expecting(self, now: Instant) -> tuple[TaskId, ...]:
        """Name the tasks that have a machine of their own, on its way or there."""
        return tuple(self._own) if self._believed(now) else ()

    def _believed(self, now: Instant) -> bool:
        return self._heard is not None and now - self._heard < SupplyChanged.BELIEVED_S
