"""Rules about the shape of the code that neither ruff nor import-linter can express."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(path for root in ("services", "libs", "deploy") for path in (REPOSITORY / root).rglob("*.py"))
SERVICES = sorted(path.parent.name for path in REPOSITORY.glob("services/*/__init__.py"))

MODULE_LINES = 500
FUNCTION_LINES = 80
"""Fences, far beyond what is asked for (150 and 8); whoever reaches one has to split."""
NAMELESS = {"utils", "util", "helpers", "helper", "manager", "base", "misc", "common_utils"}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def where(path: Path) -> str:
    """Name a module as people do."""
    return str(path.relative_to(REPOSITORY))


def tree(path: Path) -> ast.Module:
    """Parse a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[FunctionNode]:
    """Find all functions of a module."""
    return (node for node in ast.walk(tree(path)) if isinstance(node, FunctionNode))


def test_every_module_opens_with_what_lives_there():
    assert [where(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def test_no_module_grows_without_end():
    long = {where(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > MODULE_LINES} == {}


def test_no_function_grows_without_end():
    long = {
        f"{where(path)}:{node.name}": lines
        for path in MODULES
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [where(path) for path in MODULES if path.stem in NAMELESS or path.parent.name in NAMELESS] == []


def test_a_core_never_waits():
    waiting = [
        f"{where(path)}:{node.lineno}"
        for path in MODULES
        if "core" in path.relative_to(REPOSITORY).with_suffix("").parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    assert waiting == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_started_by_the_same_call(service: str):
    mains = [node for node in functions(REPOSITORY / "services" / service / "main.py") if node.name == "main"]
    assert [[argument.arg for argument in node.args.args] for node in mains] == [["argv"]]
    assert [ast.unparse(node.returns) for node in mains if node.returns] == ["int"]


def test_nothing_is_left_to_do():
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    found = [
        f"{where(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if any(mark in line for mark in marks)
    ]
    assert found == []
