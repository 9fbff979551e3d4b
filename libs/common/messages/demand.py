"""What is wanted and what will come: the scheduler tells of demand, the autoscaler of supply."""

from typing import ClassVar, Final

import msgspec

from clusterodm.libs.common.messages.kinds import Snapshot
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Frozen, MachineId, TaskId


class WaitingTask(Frozen, frozen=True, kw_only=True):
    """A waiting task without a slot, as far as a machine's size depends on it."""

    task: TaskId
    images_count: int | None
    """What a machine must take at least; None: nobody knows."""
    size_bytes: int = 0
    waiting_since_ms: int = 0
    min_memory_bytes: int = 0
    barred: tuple[MachineId, ...] = ()
    """Machines whose nodes have refused it."""
    tenant: str = ""
    """Whose it is, as labels of nodes and budgets name it: a tenant's name, else the owner as lists show it; empty: nobody's in particular."""
    labels: tuple[str, ...] = ()
    """Its node must have all of these."""
    interruptions_count: int = 0
    """So many spot machines were taken away from it."""
    gpu: bool = False
    """Its options ask for a graphics card."""


def waiting_task(task: Task, tenant: str = "", labels: tuple[str, ...] = ()) -> WaitingTask:
    """Make it of a task's record; `tenant` and `labels` are not in that."""
    return WaitingTask(
        task=task.id,
        images_count=task.needed_count,
        size_bytes=task.size_bytes,
        waiting_since_ms=task.committed_at_ms,
        min_memory_bytes=task.min_memory_bytes,
        barred=tuple(attempt.machine for attempt in task.attempts if attempt.barred and attempt.machine),
        tenant=tenant,
        labels=labels,
        interruptions_count=task.interruptions_count,
        gpu=task.gpu,
    )


def supersedes(epoch: int, last_epoch: int) -> bool:
    """Whether a snapshot counts after one of another term. They come in the order of the stream; 0: an older version's.

    Never by their times, which are of different hosts.
    """
    return epoch == 0 or epoch >= last_epoch


class DemandChanged(Frozen, frozen=True, kw_only=True):
    """The whole demand of a moment. A lost or doubled one does no harm: the next says everything again."""

    at_ms: int
    """For people: what is ordered is ordered by stream and term."""
    epoch: int = 0
    """The term of the scheduler that says so; 0: of an older version."""
    waiting: tuple[WaitingTask, ...] = ()
    """Those for which a machine would help, in the order of the queue; at most `LISTED` of them."""
    waiting_count: int = 0
    """How many they are; those that are counted below are none of them."""
    free_slots_count: int = 0
    running_count: int = 0
    slot_free: tuple[WaitingTask, ...] = ()
    """Those for which a slot is free and that begin there: nothing is to be started for them, and what is there is to stay.
    In the order of the queue; at most `LISTED` of them."""
    slot_free_count: int = 0
    """How many they are: their upload owner is sending as many tasks as it can, or they end earlier on a faster node."""
    upload_owner_away_count: int = msgspec.field(default=0, name="holder_away_count")
    """Waiting tasks whose photos lie with a proxy that does not answer."""
    owner_limit_count: int = 0
    """Waiting tasks beyond what their owner may have under way."""

    LISTED: ClassVar[int] = 2000


DEMAND_CHANGED: Final = Snapshot("demand.changed", DemandChanged, stream="DEMAND")


class MachineOutlook(Frozen, frozen=True, kw_only=True):
    """A machine that takes tasks, or will: what who estimates starts and costs has to know."""

    machine: MachineId
    size: str = ""
    slots_count: int = 1
    max_images: int | None = None
    """None: no limit."""
    price_per_hour: float | None = None
    """Of the whole machine; None: the configuration does not say."""
    ready_in_ms: int = 0
    """Until its node should be there, when this was told; 0: it is there."""
    labels: tuple[str, ...] = ()
    """Of its node."""


class SupplyChanged(Frozen, frozen=True, kw_only=True):
    """What the autoscaler does about the demand, whole: machines on their way, and why there are no more of them."""

    at_ms: int
    """For people: what is ordered is ordered by stream and term."""
    epoch: int = 0
    """The term of the autoscaler that says so; 0: of an older version."""
    coming_count: int = 0
    waits: tuple[TaskWaits, ...] = ()
    comes: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which there will be a machine, and how far it is."""
    meant: dict[TaskId, MachineId] = msgspec.field(default_factory=dict)
    """The machines without a task that were requested for a task which still waits."""
    outlook: tuple[MachineOutlook, ...] = ()
    """The machines that take tasks, or will; at most `OUTLOOK_COUNT` of them, first those that are there. Alone they are no news."""

    OUTLOOK_COUNT: ClassVar[int] = 500
    BELIEVED_S: ClassVar[float] = 120.0
    """What is older is no longer true: an autoscaler tells again well before, news or not."""


SUPPLY_CHANGED: Final = Snapshot("supply.changed", SupplyChanged, stream="SUPPLY")
