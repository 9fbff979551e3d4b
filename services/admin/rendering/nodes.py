"""How nodes are shown. A token is never there: `has_token` says whether one is set, and where scripts expect the key `token` it is masked."""

from typing import Final

import msgspec

from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.secret import HIDDEN
from clusterodm.services.admin.commands.core.answers import name_of
from clusterodm.services.admin.rendering.columns import Column, Columns, Json, json_object
from clusterodm.services.admin.rendering.text import memory, one_line


def masked(has_token: bool) -> str:
    """Stand in for a token."""
    return HIDDEN if has_token else ""


def busy_count(node: NodeView) -> int | str:
    """Count the tasks on a node: as it says itself, but at least those that this cluster has sent or promised."""
    return "?" if node.info is None else max(node.info.task_queue_count, node.slots_used_count)


def slots_count(node: NodeView) -> int | str:
    """Say how many tasks a node works on at once."""
    return "?" if node.info is None else node.info.max_parallel_tasks


def slots_of(node: NodeView) -> str:
    """Say how many of its slots are used."""
    return f"{busy_count(node)}/{slots_count(node)}"


def limit_of(node: NodeView) -> str:
    """Say how many images a node takes."""
    limit = None if node.info is None else node.info.max_images
    return "?" if node.info is None else "no limit" if limit is None else str(limit)


def engine_of(node: NodeView) -> str:
    """Name the engine of a node and its version."""
    known = node.info is not None and node.info.engine != "?"
    return f"{node.info.engine} {node.info.engine_version}" if known and node.info else "?"


def version_of(node: NodeView) -> str:
    """Say which NodeODM API a node speaks."""
    return "?" if node.info is None else node.info.version


def state_of(node: NodeView) -> str:
    """Say how a node is in a few words."""
    words = ["online" if node.online else f"offline ({node.trouble})" if node.trouble else "offline"]
    words += [f"locked ({node.lock_reason})" if node.lock_reason else "locked"] if node.locked else []
    words += ["draining"] if node.draining else []
    return ", ".join(words)


def node_line(number: int, node: NodeView) -> str:
    """Write a line of telnet's NODE LIST, which scripts read."""
    marks = (("L", node.locked), ("A", node.auto_spawned), ("D", node.draining))
    flags = ",".join(letter for letter, is_so in marks if is_so)
    return one_line(
        f"{number}) {name_of(node)} [{'online' if node.online else 'offline'}] [{slots_of(node)}]"
        f" <engine: {engine_of(node)}> <API: {version_of(node)}>{f' [{flags}]' if flags else ''}"
    )


DETAILS: Final[Columns[NodeView]] = (
    Column(lambda node: node.hostname, "hostname"),
    Column(lambda node: str(node.port), "port"),
    Column(lambda node: masked(node.has_token), "token"),
    Column(lambda node: node.has_token, "has_token"),
    Column(lambda node: {} if node.info is None else msgspec.to_builtins(node.info), "info"),
    Column(lambda node: node.info_at_ms if node.online and node.info_at_ms else 0, "lastRefreshed"),
    Column(lambda node: node.locked, "locked"),
    Column(lambda node: node.online, "online"),
    Column(lambda node: node.trouble, "trouble"),
    Column(lambda node: node.draining, "draining"),
    Column(lambda node: node.lock_reason, "lockReason"),
    Column(lambda node: list(node.labels), "labels", "LABELS", " ".join),
    Column(lambda node: node.slots_used_count, "slotsUsed"),
    Column(lambda node: node.pace, "pace"),
    Column(state_of, head="STATE"),
)
"""NODE INFO, and part of every node in a list."""


def node_data(node: NodeView) -> Json:
    """Show one node in detail."""
    return json_object(DETAILS, node)


ENTRY: Final[Columns[NodeView]] = (
    Column(lambda node: node.number, "number", "N"),
    Column(name_of, "name", "NODE"),
    Column(lambda node: node.locked, "isLocked"),
    Column(lambda node: node.auto_spawned, "isAutoSpawned"),
    Column(lambda node: node.online, "isOnline"),
    Column(busy_count, "getTaskQueueCount"),
    Column(slots_count, "getMaxParallelTasks"),
    Column(slots_of, head="SLOTS"),
    Column(limit_of, head="MAX IMAGES"),
    Column(engine_of, "getEngineInfo", "ENGINE"),
    Column(version_of, "getVersion", "API"),
    Column(lambda node: memory(node.info.total_memory) if node.info else "", head="MEMORY"),
    Column(lambda node: "yes" if node.auto_spawned else "no", head="AUTO"),
    Column(lambda node: node.trouble, "trouble"),
    Column(node_data, "nodeData"),
)
"""A node in a list (`/r/node/list`): the original's keys."""
TABLE: Final = (*ENTRY, *DETAILS)
"""A table has what both have a head for."""
