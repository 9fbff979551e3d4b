"""Writes docs/logs.md, the list of all log lines, from the code: `python docs/write_logs.py`. A test keeps the two together."""
# ruff: noqa: INP001 a script beside the documents that it writes

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = Path(__file__).with_name("logs.md")
SERVICES: Final = ROOT / "services"
SHARED: Final = ROOT / "libs" / "common"
LEVELS: Final = ("debug", "info", "warning", "error", "exception")
LOGGERS: Final = frozenset({"log", "self._log"})
"""What a logger is called; beside these, whatever a module has made of one with `bind`."""
EVENT_NAME: Final = "*the name of an event*"
"""Stands for a line that is called as the event of which it speaks."""

INTRODUCTION: Final = f"""\
# Log lines

Every line that a service may write: what it says, how loudly, and its fields. Written by `python docs/write_logs.py` from the code; do not edit.

A line is called `noun.verb_past`; the few sentences among them tell an operator what to do, or are the original's own.
A decision is logged once, by who makes it, with ids and its `reason` as fields. Beside the fields below each line has `timestamp` and `level`,
`service`, and where it came of a request `cause`, the id that the same request has in every service, and the client's `tenant`. *exception* has a traceback. `--log-level` and
`--log-format json` are for all services; `debug` lines show with `--debug`. Where a line is {EVENT_NAME}, it is called as what is published with it
([subjects.md](subjects.md) has them): `task.placed`, `node.went_offline`. [debugging.md](debugging.md) shows which lines belong together.

Six lines that say the same within ten seconds are five, and the next one says how many were kept back (`repeated`). What clients, nodes or programs can cause as often as they like is marked
`at_will`, which is not written itself: of those all lines of one name count as the same, whatever their fields.
"""


@dataclass
class Line:
    """A log line: the fields that it may have, and in which rooms it is written."""

    fields: dict[str, None] = field(default_factory=dict)
    rooms: set[str] = field(default_factory=set)


Lines = dict[tuple[str, str], Line]
"""By what they say and how loudly."""


def main() -> int:
    """Write the file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(render(), encoding="utf-8")
    return 0


def render() -> str:
    """Make the whole document."""
    folders = [path.parent for path in sorted(SERVICES.glob("*/__init__.py"))]
    chapters = [chapter(f"The {folder.name}", lines_of(folder)) for folder in folders]
    return "\n".join([INTRODUCTION, *chapters, chapter("Every service", lines_of(SHARED))])


def chapter(title: str, lines: Lines) -> str:
    """Make the table of one service."""
    rows = [
        f"| {said} | {level} | {', '.join(f'`{name}`' for name in line.fields)} | {', '.join(sorted(line.rooms))} |"
        for (said, level), line in sorted(lines.items(), key=lambda each: each[0][0].lower())
    ]
    return "\n".join([f"## {title}\n", "| line | level | fields | where |", "|---|---|---|---|", *rows, ""])


def lines_of(folder: Path) -> Lines:
    """Find all lines that the modules in a folder write."""
    found: Lines = defaultdict(Line)
    for path in sorted(folder.rglob("*.py")):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        for said, level, fields in written_in(ast.parse(path.read_text(encoding="utf-8"))):
            line = found[said, level]
            line.rooms.add(room)
            line.fields.update(dict.fromkeys(fields))
    return found


def written_in(tree: ast.Module) -> Iterator[tuple[str, str, list[str]]]:
    """Find the lines that a module writes: what each says, its level and its fields."""
    bound, chosen = bindings(tree), choices(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[said, *_]) if level in LEVELS:
                name = ast.unparse(logger)
                if name in LOGGERS or name in bound:
                    yield from ((text, level, [*fields_of(node), *bound.get(name, [])]) for text in sayings(said))
            case ast.Call(func=ast.Name(id=name), args=[said, *_]) if name in chosen:
                yield from ((text, level, fields_of(node)) for text in sayings(said) for level in chosen[name])


def bindings(tree: ast.Module) -> dict[str, list[str]]:
    """Find the loggers that have fields of their own: `self._log = log.bind(task=...)`, `at_will = structlog.get_logger(at_will=True)`."""
    return {
        ast.unparse(node.targets[0]): fields_of(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in {"structlog.get_logger", *(f"{logger}.bind" for logger in LOGGERS)}
    }


def choices(tree: ast.Module) -> dict[str, list[str]]:
    """Find what is called instead of a logger's method, one of two: `say = log.debug if known else log.warning`."""
    return {
        name: [body.attr, orelse.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target, value in [(node.targets[0], node.value)]
        if isinstance(target, ast.Name) and isinstance(value, ast.IfExp)
        for name, body, orelse in [(target.id, value.body, value.orelse)]
        if isinstance(body, ast.Attribute) and isinstance(orelse, ast.Attribute) and ast.unparse(body.value) in LOGGERS
    }


def fields_of(call: ast.Call) -> list[str]:
    """Name the fields of a line; `...` stands for those that are known only when it is written."""
    return [keyword.arg or "..." for keyword in call.keywords]


def sayings(said: ast.expr) -> Iterator[str]:
    """Say what a line may say: a text, one of two texts, or the name of an event."""
    match said:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from sayings(said.body)
            yield from sayings(said.orelse)
        case ast.JoinedStr():
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in said.values)
        case ast.Attribute(attr="name"):
            yield EVENT_NAME
        case _:
            yield "*a sentence*"


if __name__ == "__main__":
    raise SystemExit(main())
