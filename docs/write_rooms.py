"""Draws the rooms of each service in docs/architecture.md from the imports of the code: `python docs/write_rooms.py`. A test keeps the two together.

An arrow is an import; one that other arrows imply is left out, and so is `main`, which imports them all.
"""
# ruff: noqa: INP001 a script beside the document that it writes

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

TARGET: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- rooms: begin -->"
END: Final = "<!-- rooms: end -->"
SERVICES: Final = ("proxy", "scheduler", "autoscaler", "admin")
Rooms = Mapping[str, frozenset[str]]
"""Each room, and those that it imports."""


def main() -> int:
    """Draw them."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    TARGET.write_text(with_rooms(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def with_rooms(text: str) -> str:
    """Put the drawings between their marks."""
    before, _, rest = text.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    drawn_all = "\n".join(drawings())
    return f"{before}{BEGIN}\n\n{drawn_all}\n{END}\n{after}"


def drawings() -> Iterator[str]:
    """Draw all services."""
    graph = grimp.build_graph("clusterodm", cache_dir=None)
    for service in SERVICES:
        rooms = rooms_of(graph, f"clusterodm.services.{service}")
        yield f"**{service}**\n\n```mermaid\n{drawn(rooms)}\n```\n"


def rooms_of(graph: grimp.ImportGraph, service: str) -> Rooms:
    """Find the rooms of a service, and which imports which."""
    found = {room for room in graph.find_children(service) if room != f"{service}.main"}
    for room in found:
        graph.squash_module(room)
    return {
        name_of(room): frozenset(map(name_of, graph.find_modules_directly_imported_by(room) & found))
        for room in sorted(found)
    }


def name_of(room: str) -> str:
    """Name a room within its service."""
    return room.rpartition(".")[2]


def drawn(rooms: Rooms) -> str:
    """Write a drawing in Mermaid."""
    lines = ["flowchart LR"]
    for room, imported in rooms.items():
        implied = {far for near in imported for far in reached(rooms, near)}
        lines += [f"    {room} --> {other}" for other in sorted(imported - implied)] or [f"    {room}"]
    return "\n".join(lines)


def reached(rooms: Rooms, room: str) -> frozenset[str]:
    """Find what a room imports, directly or not."""
    return rooms[room].union(*(reached(rooms, each) for each in rooms[room]))


if __name__ == "__main__":
    raise SystemExit(main())
