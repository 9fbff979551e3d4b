"""Prints how many statements of services and libs have run, package by package: `make coverage` calls it after the tests.

`python tests/measuring/table.py FOLDER [FILE ...]` prints the lines of these files that no test has reached instead.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DEPTH = 3
"""`services/proxy/handlers`, `libs/common`."""


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
        for name in ("/".join(Path(statement.file).parent.parts[:DEPTH]), "all"):
            for place, counted in enumerate((True, statement.in_unit, statement.in_any)):
                counts[name][place] += counted
    head = f"{'of the statements in functions of':34} {'count':>7} {'unit tests ran':>16} {'all tests ran':>16}"
    return [
        head,
        *(
            f"  {name:32} {count:7} {100 * unit / count:14.0f} % {100 * anyone / count:14.0f} %"
            for name, (count, unit, anyone) in sorted(counts.items(), key=lambda item: (item[0] == "all", item[0]))
        ),
    ]


def main(folder: Path, files: list[str]) -> None:
    """Print the table, or what was missed."""
    if files:
        lines = [f"{each.file}:{each.line}" for each in statements(folder) if each.file in files and not each.in_any]
    else:
        lines = table(statements(folder))
    print("\n".join(lines))  # noqa: T201 what it is for


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
