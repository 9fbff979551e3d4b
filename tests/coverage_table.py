"""Prints how many lines of services and libs have run, package by package: `make coverage` calls it after pytest has measured.

python tests/coverage_table.py "in the unit tests"
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from coverage import Coverage

DEPTH: Final = 3
"""`services/proxy/handlers`, `libs/common`."""


def main(title: str) -> None:
    """Read `.coverage` and print a line per package."""
    measured = Coverage()
    measured.load()
    lines: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path in measured.get_data().measured_files():
        _, statements, _, missing, _ = measured.analysis2(path)
        package = "/".join(Path(path).relative_to(Path.cwd()).parent.parts[:DEPTH])
        for name in (package, "all"):
            lines[name][0] += len(statements)
            lines[name][1] += len(statements) - len(missing)
    print(f"Lines of services and libs that ran {title}:")  # noqa: T201 what it is for
    for name in sorted(lines, key=lambda name: (name == "all", name)):
        all_count, ran_count = lines[name]
        print(f"  {name:32} {ran_count:6} of {all_count:6} {100 * ran_count / max(1, all_count):5.0f} %")  # noqa: T201 the same


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
