"""What `/api/v1` answers and pages show of nodes."""

from collections.abc import Callable
from typing import Any, Final

from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.model.nodes import reserved_for
from clusterodm.services.admin.commands.core.answers import name_of
from clusterodm.services.admin.web.core.views import LARGEST_PAGE, View, view_of


class NodeRow(View, frozen=True, kw_only=True):
    """A node."""

    id: str
    number: int
    name: str
    hostname: str
    port: int
    state: str
    """"online", "offline", "locked" or "draining"."""
    online: bool
    locked: bool
    draining: bool
    drain_until_ms: int | None
    labels: tuple[str, ...]
    reserved_for: tuple[str, ...]
    """Tenants whose tasks alone are sent there; none: anybody's."""
    rented: bool
    has_token: bool
    slots_count: int
    slots_used_count: int
    pace: int
    """How fast it is, in steps of a fifth: 0 is usual, or unknown; the larger, the slower."""
    queue_count: int
    """Tasks that it has, as it says itself."""
    max_images: int | None
    memory_bytes: int | None
    memory_free_bytes: int | None
    cpu_cores_count: int | None
    engine: str
    version: str
    """Of NodeODM's API."""
    trouble: str
    seen_at_ms: int | None
    lock_reason: str = ""
    """Why it is locked for good and offers no unlocking; empty: it is not."""


def node_state(node: NodeView) -> str:
    """Say in a word how a node is."""
    if not node.online:
        return "offline"
    return "draining" if node.draining else "locked" if node.locked else "online"


def node_row(node: NodeView) -> NodeRow:
    """Show a node."""
    info = node.info
    return view_of(
        NodeRow,
        node,
        name=name_of(node),
        state=node_state(node),
        reserved_for=tuple(sorted(reserved_for(node.labels))),
        rented=node.auto_spawned,
        slots_count=info.max_parallel_tasks if info else 0,
        queue_count=info.task_queue_count if info else 0,
        max_images=info.max_images if info else None,
        memory_bytes=info.total_memory if info else None,
        memory_free_bytes=info.available_memory if info else None,
        cpu_cores_count=info.cpu_cores if info else None,
        engine=f"{info.engine} {info.engine_version}" if info and info.engine != "?" else "",
        version=info.version if info else "",
        seen_at_ms=node.info_at_ms,
    )


NODE_SORTS: Final[dict[str, Callable[[NodeRow], Any]]] = {
    "number": lambda row: row.number,
    "name": lambda row: row.name,
    "state": lambda row: (row.state, row.number),
    "slots": lambda row: (row.slots_used_count, row.slots_count),
    "pace": lambda row: row.pace,
    "memory": lambda row: row.memory_bytes or 0,
    "max_images": lambda row: row.max_images or LARGEST_PAGE,
    "version": lambda row: (row.engine, row.version),
}


def node_texts(row: NodeRow) -> tuple[str, ...]:
    """Say what of a node is searched."""
    return row.name, row.id, row.engine, row.trouble, *row.labels
