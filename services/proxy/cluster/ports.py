"""The view of the cluster: what is published of tasks, nodes, machines and totals, from memory."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from enum import Enum, auto
from typing import Protocol

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, NodeOption
from clusterodm.libs.common.model.tasks import Attempt, Task
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId

IsSure = Callable[[TaskId, Owner], Awaitable[bool]]
"""Whether a task that the scheduler does not know is sure not to exist, for a client. Another's task is like one that nobody has."""
StoreConnection = tuple[int, int]
"""Behind which connection, and after which new beginning of KV `tasks`, records are read: behind another one they may be those of an older store."""


class Standing(Enum):
    """What the last record in the store is, beside what was done."""

    LAST = auto()
    """Nothing is known that it does not say."""
    OLDER = auto()
    """Its upload owner has done more, and tells the scheduler."""
    UNSURE = auto()
    """Its upload owner does not answer yet, or has nothing of the task."""


class StoreComparison(Protocol):
    """Holds records against what their upload owners know."""

    @property
    def connection(self) -> StoreConnection:
        """Say which one it is now."""

    @property
    def is_new(self) -> bool:
        """Whether this connection has just been made: what was told before may not have been noted anywhere but in a store that is gone."""

    def is_compared(self, task: TaskId) -> bool:
        """Whether a record of this task has been the last one over this connection: later ones are, too."""

    async def compare(self, record: TaskRecord, connection: StoreConnection) -> Standing:
        """Hold a record against what its upload owner knows. It was the last one in the store behind this connection. Never raises."""

    def forget(self, task: TaskId) -> None:
        """Compare a task once more."""

    async def lacks(self, owner: Owner, listed: Collection[TaskId]) -> bool:
        """Whether the scheduler's list of an owner's tasks lacks one that lies here, and that it does not know yet. Raises BusFailed."""


class Trust:
    """Takes each record for the last one. Implements StoreComparison."""

    connection = (0, 0)
    is_new = False

    def is_compared(self, task: TaskId) -> bool:
        """Say that it has been."""
        del task
        return True

    async def compare(self, record: TaskRecord, connection: StoreConnection) -> Standing:
        """Compare nothing."""
        del record, connection
        return Standing.LAST

    def forget(self, task: TaskId) -> None:
        """Know nothing to forget."""

    async def lacks(self, owner: Owner, listed: Collection[TaskId]) -> bool:
        """Miss nothing."""
        del owner, listed
        return False


class ClusterView(Protocol):
    """The mirror of the scheduler's active tasks (KV `tasks`); what has ended is read when it is asked for."""

    @property
    def ready(self) -> bool:
        """Whether the mirror has been loaded: only then does a missing task mean anything."""

    def task(self, task: TaskId) -> TaskRecord | None:
        """Look up the last known record, with the revision at which it was seen; of an ended task, if it was asked for lately."""

    async def recall(self, task: TaskId) -> TaskRecord | None:
        """Look for an ended task where these are kept (KV `ended`), and for an active one as `task` does. Raises BusFailed."""

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        """Call `listener` (quick, never raising) after every change or disappearance of a task in the mirror."""

    def learn(self, record: TaskRecord) -> None:
        """Take over what the scheduler answered, when it is newer than what the mirror has."""


class Cluster(ClusterView, Protocol):
    """The mirrors as the HTTP side sees them: all that is published of tasks, nodes and machines, from memory."""

    def node(self, node: NodeId) -> Node | None:
        """Look up a registered (or retired) node."""

    def attempt(self, node_task: NodeTaskId) -> Attempt | None:
        """Look up an attempt by the id that its task has on the node."""

    @property
    def resets_count(self) -> int:
        """How often KV `tasks` began anew: what is in it may be older than what was there."""

    def machine(self, machine: MachineId) -> Machine | None:
        """Look up a rented machine, alive or ended within the last day."""

    def machines(self) -> Iterable[Machine]:
        """List these machines."""

    def summary(self) -> ClusterSummary:
        """Say the honest totals; zeros while nothing is known."""

    def options(self) -> tuple[NodeOption, ...]:
        """List the options that the cluster last saw on a node; empty when it never saw one."""

    def tasks(self) -> Iterable[Task]:
        """List the active tasks in the order of their commits."""

    def stored_bytes(self, owner: Owner, but: InstanceId) -> int:
        """Say what the inputs of an owner's active tasks take at all proxies but one, in bytes; without a walk."""

    def position(self, task: Task) -> int:
        """Say a waiting task's place in the queue, from 1."""

    def forget(self, task: TaskId) -> None:
        """Drop a task whose removal the scheduler has confirmed."""


async def always(task: TaskId, owner: Owner) -> bool:
    """Take the scheduler's word."""
    del task, owner
    return True


async def require_sure(is_sure: IsSure, task: TaskId, owner: Owner) -> None:
    """Raise BusFailed where "not found" would be no honest answer: the client asks again."""
    if not await is_sure(task, owner):
        raise BusFailed(f"the records are not complete yet: nobody can say whether {task} exists")
