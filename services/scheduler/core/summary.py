"""Honest totals over all nodes that are online, for `GET /info`."""

from typing import Final

import msgspec

from libs.common.model import ClusterSummary
from services.scheduler.core.board import Board
from services.scheduler.core.nodes import NodeState

MOVED: Final = 0.01
"""The memory that is left is another at every probe: news is what has changed by so much of all memory."""


def is_news(told: ClusterSummary | None, now: ClusterSummary) -> bool:
    """Whether totals are worth telling."""
    if told is None:
        return True
    moved_bytes = abs(now.available_memory_bytes - told.available_memory_bytes)
    same = msgspec.structs.replace(told, available_memory_bytes=now.available_memory_bytes) == now
    return not same or moved_bytes > now.total_memory_bytes * MOVED


def summary_of(board: Board) -> ClusterSummary:
    """Add up."""
    listed = board.nodes.listed()
    online = [node for node in listed if node.online]
    infos = [node.info for node in online if node.info]
    first = infos[0] if infos else None
    return ClusterSummary(
        nodes_count=len(listed),
        online_count=len(online),
        task_queue_count=len(board.waiting) - len(board.reserved) + sum(node.used_count for node in online),
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
