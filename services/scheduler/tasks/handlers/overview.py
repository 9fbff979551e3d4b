"""The whole cluster at a glance: what is counted as it changes, and what is looked up when somebody asks."""

from collections import Counter

from clusterodm.libs.common.clocks import read
from clusterodm.libs.common.messages.overview import ClusterOverview, GetOverview
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.scheduler.records.core import LONGEST_S
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.tasks.ports import TaskQueue


class OverviewReader:
    """Counts what ends, and says how things stand."""

    def __init__(self, records: Records, queue: TaskQueue) -> None:
        self._queue = queue
        self._archive = records.archive
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._leadership = records.leadership
        self._since_ms = records.clock.wall_ms()
        self._ended: Counter[str] = Counter()
        self._images_count = 0
        records.signals.task_listeners.append(self._task_changed)

    async def get(self, _asked: GetOverview) -> ClusterOverview:
        """Say how the cluster is."""
        now, first = read(self._clock), self._index.waiting.first()
        longest = min(self._index.began, key=self._index.began.__getitem__, default=None)
        online = [node for node in self._nodes.listed() if node.online]
        sending = [
            (self._index.tasks[task].size_bytes, each.sent_bytes) for task, each in self._index.forwarding.items()
        ]
        return ClusterOverview(
            at_ms=now.wall_ms,
            epoch=self._leadership.epoch,
            since_ms=self._since_ms,
            states=self._states(),
            oldest_wait_s=round(now.instant - now.since(first[0], LONGEST_S), 1) if first else 0.0,
            upload_owner_away_count=self._queue.away_count(),
            on_offline_nodes_count=sum(len(node.tasks) for node in self._nodes.offline()),
            longest_run_task=longest,
            longest_run_s=round(now.instant - self._index.began[longest], 1) if longest else 0.0,
            ended=dict(self._ended),
            ended_images_count=self._images_count,
            nodes_count=len(self._nodes.listed()),
            nodes_online_count=len(online),
            slots_count=sum(node.slots_count for node in online),
            slots_used_count=sum(min(node.used_count, node.slots_count) for node in online),
            forwarding_bytes=sum(size for size, _ in sending),
            forwarding_sent_bytes=sum(sent for _, sent in sending),
        )

    def _states(self) -> dict[str, int]:
        """Count tasks by state. Those that ended a moment ago are in no index of their own: they come a moment later."""
        index = self._index
        active = {
            TaskState.WAITING: len(index.waiting),
            TaskState.FORWARDING: len(index.forwarding),
            TaskState.RUNNING: len(index.running),
        }
        counts = {state: count for state, count in self._archive.table.states().items() if state.ended} | active
        return {state.value: count for state, count in counts.items() if count}

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        if before is None or after is None or before.state.ended or not after.state.ended:
            return
        self._ended[after.state.value] += 1
        if after.state is TaskState.COMPLETED:
            self._images_count += after.images_count or 0
