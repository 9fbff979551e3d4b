"""Rules about the tests themselves: what a slow computer may not decide, and what no pause can show."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
FOR_EVER_S: Final = 20
"""Whoever sleeps for so long plays somebody who hangs, and is cancelled."""
PAUSES: Final = {
    "chaos/test_frozen_proxy.py::test_a_task_whose_proxy_was_frozen_before_its_commit_runs_once": "for how long it is frozen",
    "chaos/test_polls_never_go_back.py::hit": "when a server is hit, by chance",
    "chaos/test_storm.py::one": "when a client comes",
    "chaos/test_two_leaders.py::client": "when a client comes",
    "chaos/test_two_leaders.py::depose": "for how long a leader is away, by chance",
    "e2e/test_nats_away.py::test_a_forward_under_way_goes_on_and_no_file_is_doubled": "for how long NATS is away",
    "integration/test_wire_fast_path.py::test_what_comes_while_an_answer_is_under_way_waits": "when the rest of a request comes",
    "unit/common/process/test_lifecycle.py::work": "how long work takes",
    "unit/proxy/forwarding/test_stage_in.py::pause": "how long the world has, as hypothesis draws it",
    "unit/proxy/forwarding/test_stage_in.py::ends": "the same",
}
"""Where a test pauses for a fixed time, outside of a loop: none of them to see that something has not happened meanwhile."""
LOOPS: Final = (ast.For, ast.AsyncFor, ast.While, ast.Lambda)


def texts(pattern: str, words: str) -> Iterator[tuple[Path, str]]:
    """Read the tests in which something is said at all."""
    read = ((path, path.read_text()) for path in TESTS.rglob(pattern))
    return ((path, text) for path, text in read if words in text)


def pauses(tree: ast.AST, function: str = "") -> Iterator[str]:
    """Name the functions that sleep for a while outside of a loop."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, LOOPS):
            continue
        if isinstance(node, ast.Call) and is_pause(node):
            yield function
        yield from pauses(node, node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function)


def is_pause(call: ast.Call) -> bool:
    """Whether a call sleeps for some time: not for a turn of the event loop, and not for ever."""
    if ast.unparse(call.func) not in {"asyncio.sleep", "time.sleep"}:
        return False
    seconds = call.args[0]
    return not (isinstance(seconds, ast.Constant) and (seconds.value == 0 or seconds.value >= FOR_EVER_S))


def deadlines(tree: ast.AST) -> list[int]:
    """List the lines that give hypothesis a deadline."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call.lineno for call in calls for given in call.keywords if given.arg == "deadline"]


def test_no_test_pauses_for_luck() -> None:
    found = {
        f"{path.relative_to(TESTS)}::{function}"
        for path, text in texts("test_*.py", "sleep(")
        for function in pauses(ast.parse(text))
    }
    assert found == set(PAUSES)


def test_hypothesis_has_one_profile_and_it_knows_no_deadline() -> None:
    found = {str(path.relative_to(TESTS)) for path, text in texts("*.py", "deadline=") if deadlines(ast.parse(text))}
    assert found == {"conftest.py"}


@pytest.mark.parametrize(
    ("code", "pausing"),
    [
        pytest.param("async def f():\n await asyncio.sleep(2)\n assert not x", ["f"], id="a fixed time"),
        pytest.param("def f():\n with g():\n  time.sleep(LONG_S)", ["f"], id="by a name, inside a block"),
        pytest.param("async def f():\n while not x:\n  await asyncio.sleep(0.1)", [], id="until a fact is there"),
        pytest.param("async def f():\n await asyncio.sleep(0)", [], id="a turn of the event loop"),
        pytest.param("async def f():\n await asyncio.sleep(60)", [], id="somebody who hangs"),
    ],
)
def test_a_pause_is_found(code: str, pausing: list[str]) -> None:
    assert list(pauses(ast.parse(code))) == pausing
