"""What is told of the whole cluster: the tasks that a machine would help, and honest totals.

Demand is a snapshot for the autoscaler: the whole of it every time, so a lost one does no harm. A machine helps a task only when nothing else is in its way. Those are left out, and counted by what it is:

* its upload owner is away: nobody could send it anywhere;
* a slot is free that fits: it is its upload owner that cannot send yet, or it is better off on a faster node, or its turn comes at once.
  A slot on a machine that was requested for somebody else is not free for a task whose own machine is coming (placement/core/supply.py);
* its owner has as many tasks under way as may be;
* rented machines have refused it already: all are made alike. Such a task is in no count, it waits for a node of another kind.

All of a lane (placement/core/lanes.py) are in the same case, so the cost depends on lanes and on how many are listed, and not on how many wait.

The totals are over all nodes that are online, for `GET /info`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import Instant, Now
from clusterodm.libs.common.messages.demand import DemandChanged, WaitingTask, waiting_task
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.lanes import WaitingLane
from clusterodm.services.scheduler.records.core import Key, place_of
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import need_of


def demand_of(state: ClusterState, now: Now, epoch: int = 0) -> DemandChanged:
    """Take the snapshot."""
    state.queue.fit(state.nodes.limits, state.index.tasks, state.nodes.admissions.apart)
    cases = sorted_out(state)
    own = sorted(place_of(task) for task in expecting_their_own(state, cases.free, now.instant))
    free, wanted = list(of_owners(state, cases.free)), list(of_owners(state, cases.wanted))
    free_count, wanted_count = sum(share.count for share in free), sum(share.count for share in wanted)
    return DemandChanged(
        at_ms=now.wall_ms,
        epoch=epoch,
        waiting=listed(state, [*(share.keys for share in wanted), own]),
        waiting_count=wanted_count + len(own),
        free_slots_count=sum(node.free_count for node in state.nodes if node.usable),
        running_count=len(state.index.running) + len(state.index.forwarding),
        slot_free=listed(state, [share.keys for share in free], but=frozenset(task for _, task in own)),
        slot_free_count=max(0, free_count - len(own)),
        upload_owner_away_count=cases.away_count,
        owner_limit_count=cases.limited_count
        + sum(len(lane) for lane in (*cases.free, *cases.wanted))
        - free_count
        - wanted_count,
    )


@dataclass
class Cases:
    """The lanes by what is in the way of their tasks."""

    away_count: int = 0
    limited_count: int = 0
    free: list[WaitingLane] = field(default_factory=list)
    wanted: list[WaitingLane] = field(default_factory=list)


def sorted_out(state: ClusterState) -> Cases:
    """Tell apart whose upload owner is away, whose owner has enough under way, for whom a slot is free, and who needs one."""
    cases = Cases()
    free = {}
    for lane in state.queue:
        if lane.id.kind not in free:
            free[lane.id.kind] = state.nodes.open.has_room and state.nodes.open.free_for(lane.need) is not None
        if not lane.need.helped_by_machines and not free[lane.id.kind]:
            continue
        if lane.id.upload_owner in state.proxies.away:
            cases.away_count += len(lane)
        elif not state.quota.left_count(lane.id.owner):
            cases.limited_count += len(lane)
        elif free[lane.id.kind]:
            cases.free.append(lane)
        else:
            cases.wanted.append(lane)
    return cases


def expecting_their_own(state: ClusterState, free: Iterable[WaitingLane], now: Instant) -> Iterator[Task]:
    """Go through those whose own machine is coming, while no other slot is free than on machines of others."""
    among = frozenset(free)
    for task_id in state.supply.expecting(now):
        if state.queue.lane_of(task_id) in among:
            task = state.index.tasks[task_id]
            if not is_free_for(state, task, now):
                yield task


def is_free_for(state: ClusterState, task: Task, now: Instant) -> bool:
    """Whether a slot is free that this task would take."""
    supply = state.supply
    found = state.nodes.open.free_for(
        need_of(task), lambda node: not supply.is_for_another(task.id, node.record.machine, now)
    )
    return found is not None


@dataclass(frozen=True)
class Share:
    """Those of some tasks that may begin, in order."""

    count: int
    keys: Iterable[Key]


def of_owners(state: ClusterState, lanes: list[WaitingLane]) -> Iterator[Share]:
    """Take of each owner's tasks as many as may begin; all where there is no limit."""
    if not state.quota.limits_any:
        yield from (Share(len(lane), lane) for lane in lanes)
        return
    owned: defaultdict[Owner, list[WaitingLane]] = defaultdict(list)
    for lane in lanes:
        owned[lane.id.owner].append(lane)
    for owner, of_owner in owned.items():
        count = int(min(state.quota.left_count(owner), sum(len(lane) for lane in of_owner)))
        yield Share(count, islice(merge(*of_owner), count))


def listed(
    state: ClusterState, tasks: Iterable[Iterable[Key]], but: frozenset[TaskId] = frozenset()
) -> tuple[WaitingTask, ...]:
    """Name the first of them."""
    keys = (key for key in merge(*tasks) if key[1] not in but)
    return tuple(waiting(state, state.index.tasks[task]) for _, task in islice(keys, DemandChanged.LISTED))


def waiting(state: ClusterState, task: Task) -> WaitingTask:
    """Say what a machine for it depends on."""
    name = state.shares.name_of(task.owner) or task.owner
    return waiting_task(task, name, tuple(sorted(state.nodes.admissions.labels_of(task.owner))))


def demand_changed(before: DemandChanged | None, now: DemandChanged) -> bool:
    """Whether anything but the time is different."""
    return before is None or msgspec.structs.replace(before, at_ms=now.at_ms) != now


MOVED: Final = 0.01
"""The memory that is left is another at every probe: news is what has changed by so much of all memory."""


def summary_changed(before: ClusterSummary | None, now: ClusterSummary) -> bool:
    """Whether totals are worth telling."""
    if before is None:
        return True
    moved_bytes = abs(now.available_memory_bytes - before.available_memory_bytes)
    same = msgspec.structs.replace(before, available_memory_bytes=now.available_memory_bytes) == now
    return not same or moved_bytes > now.total_memory_bytes * MOVED


def summary_of(state: ClusterState) -> ClusterSummary:
    """Add up."""
    listed = state.nodes.listed()
    online = [node for node in listed if node.online]
    infos = [node.info for node in online if node.info]
    first = infos[0] if infos else None
    return ClusterSummary(
        nodes_count=len(listed),
        online_count=len(online),
        task_queue_count=len(state.index.waiting)
        - len(state.reservations.made)
        + sum(node.used_count for node in online),
        max_parallel_tasks=sum(node.slots_count for node in online),
        max_images=largest_limit(online),
        total_memory_bytes=sum(info.total_memory or 0 for info in infos),
        available_memory_bytes=sum(info.available_memory or 0 for info in infos),
        cpu_cores_count=sum(info.cpu_cores or 0 for info in infos),
        engine=first.engine if first else "odm",
        engine_version=first.engine_version if first else "?",
    )


def largest_limit(online: list[NodeState]) -> int | None:
    """Say how many images the cluster takes at most; None: some node has no limit, 0: no node is online."""
    limits = [node.limit_count for node in online]
    return None if None in limits else max((limit for limit in limits if limit), default=0)
