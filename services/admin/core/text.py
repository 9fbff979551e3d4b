"""Answers as telnet has always shown them. Lines end with CR LF; inside a JSON object with LF alone, as scripts expect.

Names, consoles and error messages come from nodes and clients, so nothing of them may steer the operator's terminal, or show letters in
another order than they are in: control characters are taken out of everything, and those of the second set, like what turns the direction
of writing, are shown as JSON escapes them.
"""

import json
import re
from typing import Any, Final

from libs.common.messages import MachineView, NodeView
from services.admin.core import shapes
from services.admin.core.answers import (
    Answer,
    Away,
    Best,
    ConsoleLines,
    Invalid,
    MachineCommand,
    Machines,
    No,
    Nodes,
    Ok,
    Told,
)
from services.admin.core.objects import value

END: Final = "\r\n"
CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
"""Control characters but tab and line feed."""
HIDDEN: Final = re.compile("[\x80-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
"""Control characters of the second set, and what is invisible and changes how the rest is shown (Unicode's UAX #9)."""


def printable(text: str) -> str:
    """Take out or show what would steer a terminal, or turn the text around."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", CONTROLS.sub("", text))


def one_line(text: str) -> str:
    """Make a text that somebody else wrote fit in a line."""
    return " ".join(printable(text).split())


def pretty(content: Any) -> str:
    """Write JSON with two spaces of indentation."""
    return printable(json.dumps(content, indent=2, ensure_ascii=False))


def node_line(number: int, node: NodeView) -> str:
    """Write a line of NODE LIST."""
    marks = (("L", node.locked), ("A", node.auto_spawned), ("D", node.draining))
    flags = ",".join(letter for letter, is_so in marks if is_so)
    return one_line(
        f"{number}) {shapes.name_of(node)} [{'online' if node.online else 'offline'}]"
        f" [{shapes.busy_count(node)}/{shapes.slots_count(node)}]"
        f" <engine: {shapes.engine_of(node)}> <API: {shapes.version_of(node)}>{f' [{flags}]' if flags else ''}"
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
    offer = f"{machine.size}@{machine.region}" if machine.region else machine.size
    return one_line(
        f"{view.number}) {machine.id} [{machine.state.value}] <tasks: {len(machine.tasks)}> <size: {offer or '?'}>"
        f" <node: {shapes.machine_node(view) or '?'}> <age: {duration(view.age_ms)}> <cost: {view.cost:.2f}>"
    )


def told(answer: Answer) -> str | None:
    """Write the answers that are a word or a sentence; None for those that are values."""
    match answer:
        case Ok():
            return "OK"
        case No():
            return "FAIL"
        case Invalid():
            return "INVALID"
        case Away(text) | Told(text):
            return one_line(text)
        case _:
            return None


def listed(answer: Answer) -> str | None:
    """Write the answers that are lines."""
    match answer:
        case Nodes(nodes):
            return "".join(node_line(node.number, node) + END for node in nodes)
        case Best(node):
            return "No best node available" if node is None else node_line(1, node)
        case ConsoleLines(lines):
            return END.join(printable(line.replace("\n", " ")) for line in lines)
        case MachineCommand(command):
            return one_line(command)
        case Machines(machines):
            return "".join(machine_line(view) + END for view in machines)
        case _:
            return None


def render(answer: Answer) -> str:
    """Write an answer for telnet, line end included."""
    words = told(answer)
    lines = listed(answer) if words is None else words
    return (pretty(value(answer)) if lines is None else lines) + END
