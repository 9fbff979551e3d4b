"""Handlers change what a core keeps by the core's methods: they write no attribute of anything but themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SERVICES = REPOSITORY / "services"
ALONE = {SERVICES / "autoscaler" / "commands.py", SERVICES / "proxy" / "actions.py"}
"""Stories of one module."""
HANDLERS = sorted({*SERVICES.glob("*/*/handlers.py"), *SERVICES.glob("*/*/handlers/*.py"), *ALONE})
OWN = {
    "scheduler": {"poll.held"},
    "proxy": {
        *(
            "held.state",
            "held.at_work",
            "held.doubts_count",
            "held.timer",
        ),  # HeldTask: what the forwarder is doing for a task
        *("loop.begun", "loop.sending"),  # TaskLoop: the same, of one attempt
    },
    "admin": {
        "given.task",  # argparse's namespace: a shortened id becomes a whole one
        *("count.skipped", "count.taken", "count.failed"),  # what a takeover says at its end
    },
    "autoscaler": set[str](),
}
"""What belongs to another class of the same room's handlers, and to no core."""


def targets(tree: ast.AST) -> Iterator[ast.expr]:
    """Go through everything that is assigned to, or deleted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.Delete):
            for target in node.targets:
                yield from target.elts if isinstance(target, ast.Tuple) else [target]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target


def is_of_another(target: ast.expr) -> bool:
    """Whether an attribute is written, or an item of one, that is not an attribute of `self`."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return isinstance(target, ast.Attribute) and ast.unparse(target.value) != "self"


@pytest.mark.parametrize("service", sorted(OWN))
def test_handlers_write_no_attribute_of_a_core(service: str):
    folder = SERVICES / service
    handlers = [path for path in HANDLERS if path.is_relative_to(folder)]
    written = {
        f"{path.relative_to(folder)}: {ast.unparse(target)}"
        for path in handlers
        for target in targets(ast.parse(path.read_text(encoding="utf-8")))
        if is_of_another(target) and ast.unparse(target) not in OWN[service]
    }
    assert handlers
    assert written == set()
