"""What waits without a slot, as a snapshot for the autoscaler: the whole of it every time, so a lost or doubled one does no harm."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import msgspec

from libs.common.clocks import WallMs
from libs.common.messages import DemandChanged, WaitingTask
from libs.common.model import Owner, Task
from services.scheduler.core.board import Board


def demand_of(board: Board, now_ms: WallMs, epoch: int = 0) -> DemandChanged:
    """Take the snapshot."""
    return DemandChanged(
        at_ms=now_ms,
        epoch=epoch,
        waiting=tuple(waiting(task) for task in islice(in_want(board), DemandChanged.LISTED)),
        waiting_count=wanted_count(board),
        free_slots_count=sum(node.free_count for node in board.nodes if node.usable),
        running_count=len(board.running) + len(board.forwarding),
    )


def wanted_count(board: Board) -> int:
    """Count them; without a limit there is nothing to go through."""
    if board.allowance.limit_count:
        return sum(1 for _ in in_want(board))
    return len(board.unpromised) - len(board.foresight.provided())


def in_want(board: Board) -> Iterator[Task]:
    """Go through waiting tasks that would begin if there were a slot.

    Not those beyond what their owner may have under way, and not those that wait although a slot is free for them.
    """
    begun: Counter[Owner] = Counter()
    provided = board.foresight.provided()
    for task in board.waiting_tasks():
        begun[task.owner] += 1
        if begun[task.owner] <= board.allowance.left_count(task.owner) and task.id not in provided:
            yield task


def waiting(task: Task) -> WaitingTask:
    """Say what a machine for it depends on."""
    return WaitingTask(
        task=task.id,
        images_count=task.images_count,
        size_bytes=task.size_bytes,
        waiting_since_ms=task.committed_at_ms,
        min_memory_bytes=task.min_memory_bytes,
    )


def is_news(before: DemandChanged | None, now: DemandChanged) -> bool:
    """Whether anything but the time is different."""
    return before is None or msgspec.structs.replace(before, at_ms=now.at_ms) != now
