"""Writes docs/decisions/README.md, the index of the decisions: `python docs/write_decisions.py`. A test keeps the two together.

Title and status are read from the decisions: "Superseded by [decision N]" or "Amends [decision N]" stands below a title. The day on which a
decision was written down is kept in the index itself: a decision that is new to it is of today.
"""
# ruff: noqa: INP001 a script beside the documents that it writes

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("decisions")
TARGET: Final = FOLDER / "README.md"
TITLE: Final = re.compile(r"# (?P<number>\d+)\. (?P<title>.+)")
SUPERSEDED: Final = re.compile(r"^Superseded by \[decision (\d+)\]", re.MULTILINE)
AMENDS: Final = re.compile(r"^Amends \[decision (\d+)\]", re.MULTILINE)
ROW: Final = re.compile(r"^\| \[(?P<number>\d+)\]\(.*\| (?P<day>\d{4}-\d\d-\d\d) \|$", re.MULTILINE)

INTRODUCTION: Final = """\
# Decisions

Why things are as they are: half a page each, written when it was decided, and left as it was then (names of modules have changed since).
A decision that is not good any more is superseded by another one; that it was made is not deleted. Written by
`python docs/write_decisions.py`; do not edit.

Whoever works side by side with others takes a few numbers beforehand, so some were never used: {never}.

| number | decision | status | written down |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Decision:
    """One decision."""

    number: int
    title: str
    name: str
    """Of its file."""
    superseded_by: int | None
    amends: tuple[int, ...]


def main() -> int:
    """Write the index."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    before = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    TARGET.write_text(render(before, date.today().isoformat()), encoding="utf-8")  # noqa: DTZ011 the day of whoever writes
    return 0


def render(before: str, today: str) -> str:
    """Make the index; `before`: as it was, with the days that it knows."""
    decisions = sorted(map(read, FOLDER.glob("[0-9]*.md")), key=lambda each: each.number)
    days = {int(found["number"]): found["day"] for found in ROW.finditer(before)}
    amended_by = defaultdict[int, list[int]](list)
    for decision in decisions:
        for number in decision.amends:
            amended_by[number].append(decision.number)
    rows = [
        f"| [{each.number}]({each.name}) | {each.title} | {status(each, amended_by[each.number])} | {days.get(each.number, today)} |"
        for each in decisions
    ]
    never = ", ".join(holes([each.number for each in decisions]))
    return INTRODUCTION.format(never=never) + "\n".join(rows) + "\n"


def read(path: Path) -> Decision:
    """Read a decision."""
    text = path.read_text(encoding="utf-8")
    title = TITLE.match(text)
    if title is None:
        raise SystemExit(f"{path} does not begin with `# <number>. <title>`")
    superseded = SUPERSEDED.search(text)
    return Decision(
        number=int(title["number"]),
        title=title["title"],
        name=path.name,
        superseded_by=int(superseded[1]) if superseded else None,
        amends=tuple(map(int, AMENDS.findall(text))),
    )


def status(decision: Decision, amended_by: Iterable[int]) -> str:
    """Say whether a decision holds."""
    if decision.superseded_by is not None:
        return f"superseded by {decision.superseded_by}"
    amended = ", ".join(map(str, amended_by))
    return f"accepted; amended by {amended}" if amended else "accepted"


def holes(numbers: list[int]) -> Iterator[str]:
    """Name the numbers that are missing, a row of them by its first and last."""
    for before, after in zip([0, *numbers], numbers, strict=False):
        if after - before > 1:
            yield f"{before + 1}" if after - before == 2 else f"{before + 1}–{after - 1}"  # noqa: PLR2004, RUF001 one is missing


if __name__ == "__main__":
    raise SystemExit(main())
