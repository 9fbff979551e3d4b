"""Rules about the shape of the code that neither ruff nor import-linter can express."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted(path for root in ("services", "libs", "deploy") for path in (REPOSITORY / root).rglob("*.py"))
SERVICES = sorted(path.parent.name for path in REPOSITORY.glob("services/*/__init__.py"))

MODULE_LINES = 300
FUNCTION_LINES = 60
"""Fences, far beyond what is asked for (150 and 8); whoever reaches one has to split."""
LONG_MODULES = {
    "deploy/nats_users.py": (450, "one table: who may publish and hear what"),
    "libs/common/bus/bus.py": (500, "NatsBus is the whole of `ports.Bus` over NATS"),
    "libs/common/bus/store.py": (520, "NatsBucket is the whole of `ports.Bucket` over NATS"),
    "libs/common/http_io/server.py": (500, "one protocol class, on the hottest path"),
    "libs/common/messages/tasks.py": (350, "declarations: what is asked and told of tasks"),
    "libs/machinesim/cloud_api_kubernetes.py": (350, "a stranger: one API, as it answers"),
    "libs/machinesim/docker_machine.py": (350, "a stranger: one program, as it is called"),
    "libs/nodesim/node.py": (350, "a stranger: one node, as it answers"),
    "services/proxy/exchange/request.py": (350, "what a request can be asked, in one class"),
    "services/proxy/forwarding/handlers/stage_in.py": (350, "one loop a task, whose steps share its state"),
    "services/scheduler/placement/handlers/place.py": (360, "one loop over the queue, whose steps share its state"),
}
"""Modules that may be longer, up to so many lines each, with the reason."""
LONG_FUNCTIONS = {
    "services/autoscaler/assembly.py:assembled": (80, "names each part that acts in a term, once, and decides nothing"),
}
"""Functions that may be longer, up to so many lines each, with the reason."""
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
    assert {name: lines for name, lines in long.items() if lines > LONG_MODULES.get(name, (MODULE_LINES,))[0]} == {}


def test_a_module_that_may_be_long_is():
    assert [name for name in LONG_MODULES if len((REPOSITORY / name).read_text().splitlines()) <= MODULE_LINES] == []


def test_no_function_grows_without_end():
    long = {
        f"{where(path)}:{node.name}": lines
        for path in MODULES
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1)
        > LONG_FUNCTIONS.get(f"{where(path)}:{node.name}", (FUNCTION_LINES,))[0]
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing():
    assert [where(path) for path in MODULES if path.stem in NAMELESS or path.parent.name in NAMELESS] == []


def test_no_module_is_called_as_one_of_the_standard_library():
    ours = [
        where(path) for path in MODULES for name in (path.stem, path.parent.name) if name in sys.stdlib_module_names
    ]
    assert ours == []


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
