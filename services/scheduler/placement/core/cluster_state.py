"""All that the scheduler knows, joined: tasks, nodes, proxies, the queue, and what is reserved for whom.

Each part is what it is and knows nothing of the whole. What this module adds is the order in which they hear of a task that changes
(`ClusterState._task_changed`); it is behaviour, and happens in the synchronous step of the change itself, so nothing can interleave:

    reservations   first: a slot that was kept for a task which waits no more is free before the attempt takes it
    nodes          the slot that the task used is free, and the one that it uses now is taken
    quota, proxies count what is under way or has a slot reserved: by now both are known
    queue          holds what waits and has no slot reserved
    beginnings     holds what waits and was told no reason for it
    foresight      forgets who waits no more, and learns from what is completed
    submodels      counts the parts of split datasets
    slot_times     learns how long tasks hold their slots

Whoever drives the core (main, the benchmarks, tests) makes one of these, and changes tasks by `index.put` and `index.drop`.
"""

from collections.abc import Iterable

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.placement import PlaceTasks
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.services.scheduler.placement.core.beginnings import Beginnings
from clusterodm.services.scheduler.placement.core.foresight import Foresight
from clusterodm.services.scheduler.placement.core.lanes import WaitingLanes
from clusterodm.services.scheduler.placement.core.queue_order import QueueOrder
from clusterodm.services.scheduler.placement.core.reservations import Quota, Reservations
from clusterodm.services.scheduler.placement.core.shares import FairShares
from clusterodm.services.scheduler.placement.core.slot_times import SlotTimes
from clusterodm.services.scheduler.placement.core.supply import Supply
from clusterodm.services.scheduler.placement.core.waiting import Submodels, WaitReasons
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.proxies import SILENCE_S, ProxyRegistry


class ClusterState:
    """The parts, and the order in which they hear of a change."""

    def __init__(
        self,
        send_ahead_count: int = 0,
        per_owner_count: int = 0,
        longest_backoff_s: float = 60.0,
        *,
        foresees: bool = True,
        holder_silence_s: float = SILENCE_S,
    ) -> None:
        self.index = TaskIndex(longest_backoff_s, self._task_changed)
        self.nodes = NodeRegistry(send_ahead_count)
        self.proxies = ProxyRegistry(holder_silence_s)
        self.shares = FairShares()
        self.quota = Quota(per_owner_count, self.shares)
        self.queue = WaitingLanes(by_owner=per_owner_count > 0)
        self.order = QueueOrder(self.index, self.queue, self.shares)
        self.foresight = Foresight(self.nodes, enabled=foresees)
        self.supply = Supply()
        self.slot_times = SlotTimes()
        self.reservations = Reservations(
            self.index, self.nodes, self.proxies, self.quota, self.queue, self.foresight, self.supply, self.shares
        )
        self.submodels = Submodels(self.index, self.nodes, self.supply)
        self.reasons = WaitReasons(self.index, self.nodes, self.proxies, self.quota, self.foresight, self.supply)
        self.beginnings = Beginnings(
            self.index.tasks, self.nodes, self.quota, self.proxies, self.reservations.made, self.reasons.why_not
        )

    def set_shares(self, shares: Iterable[TenantShare]) -> None:
        """Take in what shares tenants have; from the first on, whose tasks wait is told apart."""
        shares = tuple(shares)
        self.shares.put(shares)
        self.nodes.set_tenants(shares)
        if self.shares:
            self.queue.tell_owners_apart(self.index.tasks)

    def learn(self, task: Task) -> None:
        """Take in a task that was completed before this scheduler led."""
        self.foresight.learn(task)
        self._learn_times(task)

    def hear(self, upload_owner: InstanceId, now: Instant) -> bool:
        """Note that an upload owner is there, and may yet take up what was placed; whether it was away."""
        for task in self.proxies.sending(upload_owner):
            forwarding = self.index.forwarding.get(task)
            if forwarding and forwarding.renews_first and forwarding.unheard_since is not None:
                forwarding.hear(now)
        return self.proxies.heard(upload_owner, now)

    def unheard_of(self, request: PlaceTasks) -> list[TaskId]:
        """Find attempts of which their upload owner has not heard: the answer was lost."""
        if not request.places_count:
            return []
        attempts = [
            (task, self.index.tasks[task].attempts[-1].number)
            for task in self.proxies.sending(request.upload_owner)
            if task in self.index.forwarding
        ]
        return [task for task, number in attempts if request.sending.get(task) != number]

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        """Tell everybody, in the order that is said above."""
        self.reservations.task_changed(before, after)
        self.nodes.task_changed(before, after)
        reserved = self.reservations.has(before, after)
        self.quota.task_changed(before, after, reserved=reserved)
        self.proxies.task_changed(before, after, reserved=reserved)
        self.queue.task_changed(before, after, reserved=reserved)
        self.beginnings.task_changed(before, after)
        self.foresight.task_changed(before, after)
        self.submodels.task_changed(before, after)
        was_completed = before is not None and before.state is TaskState.COMPLETED
        if after is not None and after.state is TaskState.COMPLETED and not was_completed:
            self._learn_times(after)

    def _learn_times(self, task: Task) -> None:
        node = self.nodes.get(task.attempt.node) if task.attempt else None
        outlook = self.supply.outlook(node.record.machine) if node else None
        under_way_count = len(self.index.running) + len(self.index.forwarding)
        self.slot_times.learn(task, node.pace if node else 0, outlook.size if outlook else "", under_way_count)
