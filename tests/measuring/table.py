"""Prints how many statements of services and libs have run, package by package, and of the handlers of each service together.

`make coverage` calls it after the tests.

`python tests/measuring/table.py FOLDER [FILE ...]` prints the lines of these files that no test has reached instead.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DEPTH = 3
"""`services/proxy/uploads`, `libs/common`."""
HANDLERS = "handlers"
"""A story's package of this name, or its module: what a request, an event or a loop does, in order."""


class Statement(NamedTuple):
    """One statement, and who ran it."""

    file: str
    line: int
    in_unit: bool
    in_any: bool


def statements(folder: Path) -> Iterator[Statement]:
    """Read what the tests have marked."""
    unit, other = ((folder / column).read_bytes() for column in ("unit", "other"))
    number = 0
    for file, lines in json.loads((folder / "statements.json").read_text()).items():
        for line in lines:
            yield Statement(file, line, bool(unit[number]), bool(unit[number] or other[number]))
            number += 1


def table(found: Iterator[Statement]) -> list[str]:
    """Draw one line for each package, and one for all."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for statement in found:
        for name in rows_of(Path(statement.file)):
            for place, counted in enumerate((True, statement.in_unit, statement.in_any)):
                counts[name][place] += counted
    head = f"{'of the statements in functions of':34} {'count':>7} {'unit tests ran':>16} {'all tests ran':>16}"
    return [
        head,
        *(
            f"  {name:32} {count:7} {100 * unit / count:14.0f} % {100 * anyone / count:14.0f} %"
            for name, (count, unit, anyone) in sorted(counts.items(), key=lambda item: in_order(item[0]))
        ),
    ]


def rows_of(path: Path) -> Iterator[str]:
    """Name the rows in which a module counts."""
    yield "/".join(path.parent.parts[:DEPTH])
    if path.parts[0] == "services" and HANDLERS in path.with_suffix("").parts:
        yield f"handlers of {path.parts[1]}"
    yield "all"


def in_order(row: str) -> tuple[bool, bool, str]:
    """Say where a row stands: packages, handlers, all."""
    return row == "all", row.startswith(HANDLERS), row


def main(folder: Path, files: list[str]) -> None:
    """Print the table, or what was missed."""
    if files:
        lines = [f"{each.file}:{each.line}" for each in statements(folder) if each.file in files and not each.in_any]
    else:
        lines = table(statements(folder))
    print("\n".join(lines))  # noqa: T201 what it is for


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
