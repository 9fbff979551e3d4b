"""What is known of each node, and how many slots are free on it.

A slot is room for one task. A node's slots are used by three kinds of tasks: ours that are forwarded or run there (`tasks`),
ours for which room is reserved (`reserved`), and those that others have sent to the node directly (`foreign_count`). The last
is what remains of the reported queue after ours are taken away. A probe and a commit can cross, so ours at that moment are
known only as a range, at least `sure` and at most `possible`; within what the range leaves open, the last figure stands.
What was canceled while it ran, and its node has still to be told of, uses its slot too (`stopping`), until the next probe counts it among the last kind.

All of them together are in registry/nodes.py.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import Instant, WallMs
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.scheduler.registry.admissions import ANYBODY, NodeAdmission

UNDER_WAY: Final = frozenset((TaskState.FORWARDING, TaskState.RUNNING))
"""A task that is so uses a slot."""

RETIRED_EVERY_S: Final = 60.0
SILENT_EVERY_S: Final = 300.0
SILENT_PART: Final = 0.25
"""So much of its absence later, at most, a removed node that is back hears what it has still to be told."""


@dataclass(eq=False)
class NodeState:
    """A node, alive or not."""

    record: Node
    seen_at: Instant
    """When it last answered; at first, when it became known."""
    number: int = 0
    """Its place in the order of adding."""
    pace: int = 0
    """How fast it is (placement/core/pace.py): 0 as most are, or unknown; the larger, the slower."""
    online: bool = False
    misses_count: int = 0
    info: NodeInfo | None = None
    info_at_ms: WallMs | None = None
    missed_at: Instant | None = None
    """When it last did not answer."""
    trouble: str = ""
    tasks: set[TaskId] = field(default_factory=set)
    """Ours that are under way there."""
    stopping: set[TaskId] = field(default_factory=set)
    """Ours that ran there and were canceled, of which it has still to be told: they use a slot until it says itself what it has."""
    reserved: set[TaskId] = field(default_factory=set)
    """Ours for which a slot is kept while their attempt is written down."""
    staged: list[TaskId] = field(default_factory=list)
    """Uploads whose files come here before their commit, in the order of their beginning; they use no slot."""
    foreign_count: int = 0
    turn: int = 0
    """When it was last chosen; 0: never."""
    admission: NodeAdmission = ANYBODY
    """Whose tasks are sent there."""

    @property
    def id(self) -> NodeId:
        """Its key."""
        return self.record.id

    @property
    def asked(self) -> bool:
        """Whether it has been probed before."""
        return self.info_at_ms is not None or self.missed_at is not None

    def probe_after_s(self, every_s: float, now: Instant) -> float:
        """Say after how long it is to be probed again.

        One that was removed is known for as long as results lie there, and its address may be another's by now: where nothing is under way there, it is
        asked seldom, and the less often the longer it has been silent.
        """
        if not self.record.retired or self.tasks or (self.online and self.misses_count):
            return every_s
        seldom_s = RETIRED_EVERY_S if self.online else min((now - self.seen_at) * SILENT_PART, SILENT_EVERY_S)
        return max(every_s, seldom_s)

    @property
    def usable(self) -> bool:
        """Whether a task may be sent there at all. What it depends on and may change while the node is online belongs into `matters`, too."""
        record = self.record
        return self.online and not (record.locked or record.draining or record.retired)

    @property
    def ours_count(self) -> int:
        """Slots that this cluster uses or has reserved."""
        return len(self.tasks) + len(self.reserved)

    @property
    def used_count(self) -> int:
        """Slots in use, whoever uses them."""
        return self.ours_count + self.others_count

    @property
    def others_count(self) -> int:
        """Slots that are in use by what is none of our tasks, or none any more."""
        return self.foreign_count + len(self.stopping)

    @property
    def slots_count(self) -> int:
        """Slots that it has."""
        return self.info.max_parallel_tasks if self.info else 0

    @property
    def free_count(self) -> int:
        """Slots that nobody uses."""
        return max(0, self.slots_count - self.used_count)

    @property
    def limit_count(self) -> int | None:
        """Most images that it takes; None: no limit, which NodeODM says as null."""
        return (self.info.max_images or None) if self.info else None

    @property
    def memory_bytes(self) -> int:
        """Memory that it has; 0: unknown."""
        return (self.info.total_memory or 0) if self.info else 0

    def fits(self, images_count: int | None) -> bool:
        """Whether it takes so many images; None stands for more than any limit."""
        limit = self.limit_count
        return limit is None or (images_count is not None and images_count <= limit)

    def __repr__(self) -> str:
        """Show the whole state in one line."""
        liveness = "online" if self.online else "offline"
        locked = " locked" if self.record.locked else ""
        return f"NodeState({self.record.name} {liveness}{locked} {self.used_count}/{self.slots_count})"


@dataclass(frozen=True)
class OurTasks:
    """Which tasks of ours the node may have counted in its queue, while it was asked."""

    sure: frozenset[TaskId] = frozenset()
    """Running there before and after."""
    possible: frozenset[TaskId] = frozenset()
    """Under way there before or after."""


def foreign_of(reported_count: int, ours: OurTasks, before_count: int) -> int:
    """Work out how many tasks of others a node has."""
    least = max(0, reported_count - len(ours.possible))
    most = max(0, reported_count - len(ours.sure))
    return min(max(before_count, least), most)


def matters(node: NodeState) -> tuple[int, int | None, int, int]:
    """Pick what placement depends on. The memory that is left at the moment, which is another at every probe, is not of it."""
    return node.slots_count, node.limit_count, node.memory_bytes, node.others_count


def is_other(before: NodeInfo | None, now: NodeInfo) -> bool:
    """Whether a node says anything else than before, but for the memory that is left."""
    return before is None or msgspec.structs.replace(before, available_memory=now.available_memory) != now
