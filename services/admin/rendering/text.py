"""Answers as text: `render` as telnet has always shown them; `listing` and `sentence` for people at a terminal.

Telnet's lines end with CR LF; inside a JSON object with LF alone, as scripts expect.

Names, consoles and error messages come from nodes and clients, so nothing of them may steer the operator's terminal, or show letters in
another order than they are in: control characters are taken out of everything, and those of the second set, like what turns the direction
of writing, are shown as JSON escapes them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.machines import MachineView, PlannedStep
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.services.admin.commands.core.answers import (
    UPLOADING,
    Answer,
    ConsoleLines,
    Declined,
    DoneWithNote,
    Failed,
    Invalid,
    MachineCommandLine,
    MachineListing,
    MachinePlan,
    NodeChoice,
    NodeListing,
    Ok,
    Route,
    RouteListing,
    TaskChanged,
    TaskListing,
    Unavailable,
    UsageReport,
    name_of,
)
from clusterodm.services.admin.rendering.json_objects import (
    busy_count,
    engine_of,
    machine_node,
    machine_reason,
    removal_of,
    slots_count,
    value,
    version_of,
)
from clusterodm.services.admin.rendering.usage import HEAD, size_text, usage_csv, usage_row, used_cells

END: Final = "\r\n"
CONTROLS: Final = (*range(0x09), *range(0x0B, 0x20), 0x7F)
"""Control characters but tab and line feed."""
SPANS: Final = ((0x80, 0x9F), (0x61C, 0x61C), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB))  # fmt: skip
HIDDEN: Final = [code for first, last in SPANS for code in range(first, last + 1)]
"""Control characters of the second set, and what is invisible and changes how the rest is shown (Unicode's UAX #9)."""
SHOWN: Final = dict.fromkeys(CONTROLS, "") | {code: f"\\u{code:04x}" for code in HIDDEN}
"""What each of them becomes."""

GIB: Final = 1024**3
Row = Sequence[str]


def printable(text: str) -> str:
    """Take out or show what would steer a terminal, or turn the text around."""
    return text.translate(SHOWN)


def one_line(text: str) -> str:
    """Make a text that somebody else wrote fit in a line."""
    return " ".join(printable(text).split())


def pretty(content: Any) -> str:
    """Write JSON with two spaces of indentation."""
    import json  # tables do without

    return printable(json.dumps(content, indent=2, ensure_ascii=False))


def node_line(number: int, node: NodeView) -> str:
    """Write a line of NODE LIST."""
    marks = (("L", node.locked), ("A", node.auto_spawned), ("D", node.draining))
    flags = ",".join(letter for letter, is_so in marks if is_so)
    return one_line(
        f"{number}) {name_of(node)} [{'online' if node.online else 'offline'}]"
        f" [{busy_count(node)}/{slots_count(node)}]"
        f" <engine: {engine_of(node)}> <API: {version_of(node)}>{f' [{flags}]' if flags else ''}"
    )


def duration(ms: int) -> str:
    """Write a time span with the two units that matter."""
    if ms < 0:
        return ""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def machine_line(view: MachineView) -> str:
    """Write a line of ASR LIST."""
    machine = view.machine
    offer = (f"{machine.size}@{machine.region}" if machine.region else machine.size) + " (spot)" * machine.spot
    notes = "".join(f" <{note}>" for note in (view.kept, removal_of(machine)) if note)
    return one_line(
        f"{view.number}) {machine.id} [{machine.state.value}] <tasks: {len(machine.tasks)}> <size: {offer or '?'}>"
        f" <provider: {machine.provider}> <node: {machine_node(view) or '?'}> <age: {duration(view.age_ms)}> <cost: {view.cost:.2f}>{notes}"
    )


def status_word(answer: Answer) -> str | None:
    """Write the answers that are a word or a sentence; None for those that are values."""
    match answer:
        case Ok():
            return "OK"
        case Declined():
            return "FAIL"
        case Invalid():
            return "INVALID"
        case Unavailable(text) | DoneWithNote(text):
            return one_line(text)
        case _:
            return None


def plan_lines(steps: Sequence[PlannedStep]) -> str:
    """Write what the autoscaler would do."""
    return END.join(one_line(str(step)) for step in steps) or "nothing is to be done"


def lines_of(answer: Answer) -> str | None:  # noqa: PLR0911 one for each answer
    """Write the answers that are lines."""
    match answer:
        case MachinePlan(steps):
            return plan_lines(steps)
        case NodeListing(nodes):
            return "".join(node_line(node.number, node) + END for node in nodes)
        case NodeChoice(node):
            return "No best node available" if node is None else node_line(1, node)
        case ConsoleLines(lines):
            return END.join(printable(line.replace("\n", " ")) for line in lines)
        case MachineCommandLine(command):
            return one_line(command)
        case MachineListing(machines):
            return "".join(machine_line(view) + END for view in machines)
        case UsageReport(rows):
            return usage_csv(rows).removesuffix(END)
        case _:
            return None


def render(answer: Answer) -> str:
    """Write an answer for telnet, line end included."""
    lines = lines_of(answer) if (word := status_word(answer)) is None else word
    return (pretty(value(answer)) if lines is None else lines) + END


def memory(size_bytes: int | None) -> str:
    """Write a size of memory."""
    return "" if size_bytes is None else f"{size_bytes / GIB:.1f} GiB"


def state_of(node: NodeView) -> str:
    """Say how a node is in a few words."""
    words = ["online" if node.online else f"offline ({node.trouble})" if node.trouble else "offline"]
    words += [f"locked ({node.lock_reason})" if node.lock_reason else "locked"] if node.locked else []
    words += ["draining"] if node.draining else []
    return ", ".join(words)


def node_row(node: NodeView) -> Row:
    """Write one node."""
    limit = None if node.info is None else node.info.max_images
    return (
        str(node.number),
        name_of(node),
        f"{busy_count(node)}/{slots_count(node)}",
        "?" if node.info is None else "no limit" if limit is None else str(limit),
        engine_of(node),
        version_of(node),
        memory(node.info.total_memory) if node.info else "",
        "yes" if node.auto_spawned else "no",
        " ".join(node.labels),
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


def upload_row(upload: UploadProgress) -> Row:
    """Write one upload, which is to become a task."""
    rate = f", {size_text(round(upload.rate_bytes_per_s))}/s" if upload.receiving else ""
    arrived = f"{size_text(upload.arrived_bytes)} received{rate}"
    return upload.task, UPLOADING, "", str(upload.files_count), "", "", upload.name, arrived


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
        machine.provider,
        f"{machine.size} (spot)" if machine.spot else machine.size,
        machine.region,
        machine_node(view),
        str(len(machine.tasks)),
        duration(view.age_ms),
        f"{view.cost:.2f}",
        machine_reason(view),
    )


NODE_HEAD: Final = ("N", "NODE", "SLOTS", "MAX IMAGES", "ENGINE", "API", "MEMORY", "AUTO", "LABELS", "STATE")
TASK_HEAD: Final = ("TASK", "STATE", "DONE", "IMAGES", "TIME", "NODE", "NAME", "REASON")
MACHINE_HEAD: Final = ("N", "MACHINE", "STATE", "PROVIDER", "SIZE", "REGION", "NODE", "TASKS", "AGE", "COST", "REASON")
ROUTE_HEAD: Final = ("TASK", "NODE")


class Listing(NamedTuple):
    """A list, as a table has it."""

    head: Row
    rows: Sequence[Row]
    empty: str
    """What is said of a list without rows."""


def listing(answer: Answer) -> Listing | None:  # noqa: PLR0911 one for each answer
    """Make a table of an answer that is a list; None when it is none."""
    match answer:
        case NodeListing(nodes):
            return Listing(NODE_HEAD, cells(map(node_row, nodes)), "There are no nodes.")
        case NodeChoice(node) if node is not None:
            return Listing(NODE_HEAD, cells([node_row(node)]), "")
        case TaskListing(tasks, uploads, filtered):
            rows = [*map(task_row, tasks), *map(upload_row, uploads)]
            return Listing(TASK_HEAD, cells(rows), "No task is like that." if filtered else "There are no tasks.")
        case MachineListing(machines):
            return Listing(MACHINE_HEAD, cells(map(machine_row, machines)), "There are no machines.")
        case RouteListing(routes):
            return Listing(ROUTE_HEAD, cells(map(route_row, routes)), "There are no routes.")
        case UsageReport(rows, total):
            sums = [("total", "", *used_cells(total))] if len(rows) > 1 else []
            return Listing(HEAD, cells([*map(usage_row, rows), *sums]), "Nothing was used.")
        case _:
            return None


def cells(rows: Iterable[Row]) -> Sequence[Row]:
    """Make texts that somebody else wrote fit in a line each; an empty one is a dash."""
    return [[one_line(cell) or "-" for cell in row] for row in rows]


def sentence(answer: Answer) -> str:
    """Write an answer that is no list for a person."""
    return failure_reason(answer) or render(answer).replace("\r\n", "\n").removesuffix("\n")


def failure_reason(answer: Answer) -> str:
    """Write why a command came to nothing; empty when it did not."""
    match answer:
        case Declined(reason) | Invalid(reason) | Unavailable(reason) | Failed(reason) | TaskChanged(reason):
            return one_line(reason)
        case _:
            return ""


def exit_code(answer: Answer) -> int:
    """Say how a program ends that got this answer: 0 yes, 1 no, 3 nobody answered."""
    match answer:
        case Unavailable():
            return 3
        case Declined() | Invalid() | Failed() | NodeChoice(None):
            return 1
        case TaskChanged(error):
            return 1 if error else 0
        case _:
            return 0
