"""Whether a task that comes now can begin at once: whoever is told so (RUNNING) is not told afterwards that it waits (QUEUED).

A slot is reserved only when the upload owner asks, a moment after the commit. Until then a task that was said to begin counts here, so that what
is free is said to be free once: for this task, for its owner's limit, and for what its proxy may send at once.
"""

from collections.abc import Callable, Container, Mapping
from typing import NamedTuple

from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.services.scheduler.placement.core.reservations import Quota
from clusterodm.services.scheduler.placement.core.waiting import UPLOAD_OWNER_BUSY, over_limit
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.proxies import ProxyRegistry
from clusterodm.services.scheduler.registry.ranking import Need
from clusterodm.services.scheduler.task_life.transitions import OTHERS_FIRST


class Beginning(NamedTuple):
    """A task that was said to begin at once."""

    owner: Owner
    upload_owner: InstanceId


class Beginnings:
    """The tasks that were said to begin at once and have no slot yet."""

    def __init__(  # noqa: PLR0913, PLR0917 all that may be in its way
        self,
        tasks: Mapping[TaskId, Task],
        nodes: NodeRegistry,
        quota: Quota,
        proxies: ProxyRegistry,
        reserved: Container[TaskId],
        why_no_node: Callable[[Need], str],
    ) -> None:
        self._known = tasks
        self._nodes = nodes
        self._quota = quota
        self._proxies = proxies
        self._reserved = reserved
        """Who has one."""
        self._why_no_node = why_no_node
        self._tasks: dict[TaskId, Beginning] = {}

    def why_not(self, task: TaskId, upload_owner: InstanceId, need: Need) -> str:
        """Say why a task that comes now waits; empty: it begins at once, and counts from now on. `came` is to follow."""
        first = [each for known, each in self._tasks.items() if known not in self._reserved and known != task]
        because = (
            self._over_limit(need.owner, [each for each in first if each.owner == need.owner])
            or self._no_slot(need, first)
            or self._busy(upload_owner, [each for each in first if each.upload_owner == upload_owner])
        )
        if not because:
            self._tasks[task] = Beginning(need.owner, upload_owner)
        return because

    def came(self, task: TaskId) -> None:
        """Count a task as it was written down, or no more."""
        self._tasks.pop(task, None)
        self.task_changed(None, self._known.get(task))

    def task_changed(self, before: Task | None, after: Task | None) -> None:
        """Count a task that waits and was told no reason for it."""
        if after is not None and after.state is TaskState.WAITING and not (after.waiting_because or after.removed):
            self._tasks[after.id] = Beginning(after.owner, after.upload_owner)
        elif task := after or before:
            self._tasks.pop(task.id, None)

    def _over_limit(self, owner: Owner, first: list[Beginning]) -> str:
        if self._quota.left_count(owner) > len(first):
            return ""
        return over_limit(self._quota.used_count(owner) + len(first), self._quota.limit_of(owner))

    def _no_slot(self, need: Need, first: list[Beginning]) -> str:
        if self._nodes.open.choose(need) is None:
            return self._why_no_node(need)
        return "" if not first or self._nodes.open.has_room_for(need, len(first) + 1) else OTHERS_FIRST

    def _busy(self, upload_owner: InstanceId, first: list[Beginning]) -> str:
        return UPLOAD_OWNER_BUSY if self._proxies.is_full(upload_owner, len(first)) else ""
