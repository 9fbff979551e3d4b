"""A flag is written in full: an abbreviation means another one when there are more, and may hold a secret where none is expected."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("benchmarks", "deploy", "libs", "services")


def parsers(path: Path) -> Iterator[ast.Call]:
    """Find where a file makes a parser of flags."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"argparse.ArgumentParser", "ArgumentParser"}:
            yield node


def test_no_program_takes_abbreviations():
    made = [(path, call) for name in PROGRAMS for path in (ROOT / name).rglob("*.py") for call in parsers(path)]
    assert made
    assert [
        f"{path}:{call.lineno}"
        for path, call in made
        if not any(word.arg == "allow_abbrev" and ast.unparse(word.value) == "False" for word in call.keywords)
    ] == []
