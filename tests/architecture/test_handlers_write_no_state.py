"""Handlers change what a core keeps by the core's methods: they write no attribute of anything but themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SCHEDULER = REPOSITORY / "services" / "scheduler"
HANDLERS = sorted({*SCHEDULER.glob("*/handlers.py"), *SCHEDULER.glob("*/handlers/*.py")})
OWN = {"poll.held"}
"""What belongs to another class of the same handlers' module."""


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


def test_handlers_of_the_scheduler_write_no_attribute_of_a_core():
    written = {
        f"{path.relative_to(SCHEDULER)}: {ast.unparse(target)}"
        for path in HANDLERS
        for target in targets(ast.parse(path.read_text(encoding="utf-8")))
        if is_of_another(target) and ast.unparse(target) not in OWN
    }
    assert written == set()
