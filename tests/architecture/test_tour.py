"""docs/tour.md is true: what it names exists, and each step is called by the one that it stands under.

A step is `path` `name`; one that is indented is called by the step above it with less indentation, so its name stands in the code of that one.
A step over NATS names its message instead: the step above hands that over, and a table of the step's service gives it to the step. A step that is
woken waits for a signal that the step above sets.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOUR = (REPOSITORY / "docs" / "tour.md").read_text(encoding="utf-8")
STORIES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TOUR, flags=re.MULTILINE | re.DOTALL))
STEP = re.compile(r"^( *)- `([\w/]+\.py)` `([\w.]+)`(?:, (over NATS|woken by) `(\w+)`)?", re.MULTILINE)
FILES_COUNT = 10
RETURNS_COUNT = 1


@dataclass(frozen=True)
class Step:
    """One step of a story."""

    depth: int
    path: str
    name: str
    link: str
    """How it is reached, when it is not called: over NATS, or woken by a signal."""
    through: str
    """By which message or signal."""

    @property
    def called(self) -> str:
        """How it is called: by its last name, or by that of its class where Python calls the method."""
        *owner, last = self.name.split(".")
        return owner[-1] if owner and last.startswith("__") else last

    @property
    def room(self) -> str:
        """In which room it lies."""
        return "/".join(self.path.removesuffix(".py").split("/")[:3])


def steps(story: str) -> list[Step]:
    """Read the steps of a story."""
    return [Step(len(indent), *rest) for indent, *rest in STEP.findall(STORIES[story])]


TOLD = {title: found for title in STORIES if (found := steps(title))}
ALL = [pytest.param(step, id=f"{title}: {step.name}") for title, found in TOLD.items() for step in found]


def parent_of(place: int, found: list[Step]) -> Step | None:
    """Find the step under which one stands."""
    return next((each for each in reversed(found[:place]) if each.depth < found[place].depth), None)


PAIRS = [
    pytest.param(parent, step, id=f"{title}: {parent.name} calls {step.name}")
    for title, found in TOLD.items()
    for place, step in enumerate(found)
    if (parent := parent_of(place, found))
]


@cache
def tree(path: str) -> ast.Module:
    """Parse a module."""
    return ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))


def found(path: str, name: str) -> ast.AST | None:
    """Find a function, a class or a method in a module."""
    node: ast.AST | None = tree(path)
    for part in name.split("."):
        node = next(
            (
                each
                for each in getattr(node, "body", [])
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and each.name == part
            ),
            None,
        )
    return node


def names_in(node: ast.AST) -> set[str]:
    """List every name that stands in some code."""
    return {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Name | ast.Attribute)
    }


@cache
def imports(path: str) -> frozenset[str]:
    """List the modules that a module imports, as paths."""
    named = {
        name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }
    return frozenset(f"{name.removeprefix('clusterodm.').replace('.', '/')}.py" for name in named)


@cache
def reached(path: str) -> frozenset[str]:
    """List what a module imports, and what that imports."""
    known = [each for each in imports(path) if (REPOSITORY / each).exists()]
    return imports(path).union(*map(imports, known))


@cache
def given() -> frozenset[str]:
    """List what those reach who wire."""
    wiring = [path for name in ("main", "server", "api") for path in REPOSITORY.glob(f"services/*/**/{name}.py")]
    return frozenset().union(*(reached(str(path.relative_to(REPOSITORY))) for path in wiring))


def registered(step: Step) -> bool:
    """Whether a table of a service says that a step answers a message, or is called for it."""
    service = REPOSITORY.joinpath(*step.path.split("/")[:2])
    for path in service.rglob("*.py"):
        for node in ast.walk(tree(str(path.relative_to(REPOSITORY)))):
            pairs: list[tuple[ast.expr | None, ast.expr]] = []
            if isinstance(node, ast.Dict):
                pairs = list(zip(node.keys, node.values, strict=True))
            elif isinstance(node, ast.Call) and len(node.args) + len(node.keywords) > 1:
                pairs = [(node.args[0] if node.args else None, argument) for argument in node.args[1:]]
                pairs += [(node.args[0] if node.args else None, keyword.value) for keyword in node.keywords]
            if any(
                key is not None and step.through in names_in(key) and step.called in names_in(value)
                for key, value in pairs
            ):
                return True
    return False


@pytest.mark.parametrize("step", ALL)
def test_what_the_tour_names_exists(step: Step):
    assert found(step.path, step.name) is not None


@pytest.mark.parametrize(("parent", "step"), PAIRS)
def test_each_step_is_called_by_the_one_that_it_stands_under(parent: Step, step: Step):
    calling = found(parent.path, parent.name)
    assert calling is not None
    if not step.link:
        assert step.called in names_in(calling)
        return
    assert step.through in names_in(calling), f"{parent.name} does not send {step.through}"
    if step.link == "over NATS":
        assert registered(step), f"nobody hands {step.through} to {step.name}"
    else:
        woken = found(step.path, step.name)
        assert woken is not None
        assert step.through in names_in(woken), f"{step.name} does not wait for {step.through}"


@pytest.mark.parametrize("title", TOLD)
def test_a_story_is_short_and_goes_back_into_one_room_at_most(title: str):
    parents = [parent_of(place, TOLD[title]) for place in range(len(TOLD[title]))]
    entered = [
        step.room for step, parent in zip(TOLD[title], parents, strict=True) if not parent or parent.room != step.room
    ]
    assert len({step.path for step in TOLD[title]}) <= FILES_COUNT
    assert len(entered) - len(set(entered)) <= RETURNS_COUNT, entered


@pytest.mark.parametrize(("parent", "step"), PAIRS)
def test_each_step_knows_the_next_or_is_given_it(parent: Step, step: Step):
    """What a module does not import itself it gets from what it imports, or is given by who wires: `main`, or a story's `api`."""
    assert step.path in {parent.path} | reached(parent.path) | given()
