"""Answers for people at a terminal: lists as aligned tables, everything else as telnet shows it, failures with their reason."""

from collections.abc import Sequence
from typing import Final

from libs.common.hosts import shown
from libs.common.messages import MachineView, NodeView, TaskSummary
from services.admin.core import shapes
from services.admin.core.answers import (
    Acted,
    Answer,
    Away,
    Best,
    Invalid,
    Machines,
    No,
    Nodes,
    Route,
    Routes,
    Tasks,
    Trouble,
)
from services.admin.core.text import duration, one_line, render

GIB: Final = 1024**3
Row = Sequence[str]


def table(head: Row, rows: Sequence[Row]) -> str:
    """Align columns; the last one is not padded."""
    lines = [head, *([one_line(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    return "\n".join(padded)


def memory(size_bytes: int | None) -> str:
    """Write a size of memory."""
    return "" if size_bytes is None else f"{size_bytes / GIB:.1f} GiB"


def state_of(node: NodeView) -> str:
    """Say how a node is in a few words."""
    words = ["online" if node.online else f"offline ({node.trouble})" if node.trouble else "offline"]
    words += ["locked"] if node.locked else []
    words += ["draining"] if node.draining else []
    return ", ".join(words)


def node_row(node: NodeView) -> Row:
    """Write one node."""
    limit = None if node.info is None else node.info.max_images
    return (
        str(node.number),
        shapes.name_of(node),
        f"{shapes.busy_count(node)}/{shapes.slots_count(node)}",
        "?" if node.info is None else "no limit" if limit is None else str(limit),
        shapes.engine_of(node),
        shapes.version_of(node),
        memory(node.info.total_memory) if node.info else "",
        "yes" if node.auto_spawned else "no",
        state_of(node),
    )


def task_row(task: TaskSummary) -> Row:
    """Write one task."""
    waiting = f"{task.state.value} ({task.position})" if task.position is not None else task.state.value
    return (
        task.id,
        waiting,
        f"{task.progress:.0f}%",
        "?" if task.images_count is None else str(task.images_count),
        duration(task.processing_time_ms),
        task.node_name,
        task.name,
        task.reason,
    )


def route_row(route: Route) -> Row:
    """Write one route."""
    return route.task, shown(route.hostname, route.port)


def machine_row(view: MachineView) -> Row:
    """Write one machine."""
    machine = view.machine
    return (
        str(view.number),
        machine.id,
        machine.state.value,
        machine.size,
        machine.region,
        shapes.machine_node(view),
        str(len(machine.tasks)),
        duration(view.age_ms),
        f"{view.cost:.2f}",
        shapes.machine_reason(machine),
    )


NODE_HEAD: Final = ("N", "NODE", "SLOTS", "MAX IMAGES", "ENGINE", "API", "MEMORY", "AUTO", "STATE")
TASK_HEAD: Final = ("TASK", "STATE", "DONE", "IMAGES", "TIME", "NODE", "NAME", "REASON")
MACHINE_HEAD: Final = ("N", "MACHINE", "STATE", "SIZE", "REGION", "NODE", "TASKS", "AGE", "COST", "REASON")
ROUTE_HEAD: Final = ("TASK", "NODE")


def human(answer: Answer) -> str:
    """Write an answer for a person."""
    match answer:
        case Nodes(nodes):
            return table(NODE_HEAD, [node_row(node) for node in nodes]) if nodes else "There are no nodes."
        case Best(node) if node is not None:
            return table(NODE_HEAD, [node_row(node)])
        case Tasks(tasks):
            return table(TASK_HEAD, [task_row(task) for task in tasks]) if tasks else "There are no tasks."
        case Machines(machines):
            return (
                table(MACHINE_HEAD, [machine_row(view) for view in machines]) if machines else "There are no machines."
            )
        case Routes(routes):
            return table(ROUTE_HEAD, [route_row(route) for route in routes]) if routes else "There are no routes."
        case _:
            return complaint(answer) or render(answer).replace("\r\n", "\n").removesuffix("\n")


def complaint(answer: Answer) -> str:
    """Write why a command came to nothing; empty when it did not."""
    match answer:
        case No(reason) | Invalid(reason) | Away(reason) | Trouble(reason) | Acted(reason):
            return one_line(reason)
        case _:
            return ""


def exit_code(answer: Answer) -> int:
    """Say how a program ends that got this answer: 0 yes, 1 no, 3 nobody answered."""
    match answer:
        case Away():
            return 3
        case No() | Invalid() | Trouble() | Best(None):
            return 1
        case Acted(error):
            return 1 if error else 0
        case _:
            return 0
