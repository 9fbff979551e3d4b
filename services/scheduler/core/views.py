"""Nodes and tasks as operators see them: no token, and what only the scheduler's memory knows."""

from typing import Final

from libs.common.clocks import Instant
from libs.common.messages import NodeView, TaskSummary
from libs.common.model import Task, TaskState
from services.scheduler.core.board import Board
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.queue import key_of

SHOWN_LENGTH: Final = 300
"""Longest text of a task in a list; a page of them has to fit a message."""


def node_view(node: NodeState, number: int) -> NodeView:
    """Show a node. `number`: its place in the list, from 1."""
    record = node.record
    return NodeView(
        id=record.id,
        number=number,
        hostname=record.hostname,
        port=record.port,
        has_token=bool(record.token),
        locked=record.locked,
        draining=record.draining,
        drain_until_ms=record.drain_until_ms,
        auto_spawned=record.machine is not None,
        labels=record.labels,
        online=node.online,
        info=node.info,
        info_at_ms=node.info_at_ms,
        slots_used_count=node.ours_count,
        trouble="" if node.online else node.trouble,
    )


def node_views(board: Board) -> tuple[NodeView, ...]:
    """Show all nodes."""
    return tuple(node_view(node, number) for number, node in enumerate(board.nodes.listed(), start=1))


def view_of(board: Board, node: NodeState) -> NodeView:
    """Show one node with its place in the list."""
    return node_view(node, board.nodes.listed().index(node) + 1)


def task_summary(board: Board, task: Task, now: Instant) -> TaskSummary:
    """Show a task in a list."""
    last, known = task.attempt, board.observed.get(task.id, task.known)
    node = board.nodes.get(last.node) if last else None
    waits = task.state is TaskState.WAITING
    return TaskSummary(
        id=task.id,
        name=task.name[:SHOWN_LENGTH],
        state=task.state,
        images_count=task.images_count,
        created_at_ms=task.created_at_ms,
        committed_at_ms=task.committed_at_ms,
        progress=known.progress if known else 0.0,
        processing_time_ms=known.processing_time_ms if known else -1,
        node=last.node if last else None,
        node_name=node.record.name if node else "",
        attempts_count=len(task.attempts),
        position=board.waiting.position(key_of(task)) if waits else None,
        reason=board.why_waiting(task, now) if waits else task.error[:SHOWN_LENGTH],
        has_owner=bool(task.owner),
        seen_at_ms=known.seen_at_ms if known else None,
    )
