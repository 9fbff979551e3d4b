"""The two clocks stay apart: cores are told the time as `Instant` or `WallMs`, and what the wall clock says decides hardly anything.

mypy keeps the types apart (libs/common/clocks.py); these tests hold that the types are used, and that whoever compares what the wall
clock says now with something has a reason that is written down here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
NUMBERS: Final = {"int", "float", "int | None", "float | None"}
"""What the present is never told as, whatever it is called."""
PRESENT: Final = {"now", "now_ms", "wall_ms"}
BARE: Final = re.compile(r"^(now|at|clock|wall)_s$")
"""The present as a number of seconds could be of either clock."""
WALL: Final = {"now_ms", "wall_ms"}
CORES: Final = (
    "services/**/core/**/*.py",
    "services/**/core.py",
    "services/autoscaler/machine_life/*.py",
    "services/autoscaler/orders.py",
)
AGED: Final = "the times of a machine are restated by the autoscaler before a plan is made"
COMPARED: Final = {
    "libs/common/tenancy.py::valid_count": "tokens expire at a time of the wall clock, as tenant_of says",
    "libs/common/tenancy.py::tenant_of": "an expiry is a date that an operator has set: it means the calendar",
    "services/admin/tenants/core/file.py::successor": "the same",
    "services/admin/web/core/tenant_views.py::token_row": "what the file says of a token is shown, and decides nothing",
    "services/admin/tenants/core/commands.py::rows": "the same, shown to people",
    "services/admin/web/core/attention.py::of_tasks": "shown to people: what failed within a day",
    "services/admin/web/core/services.py::proxy_view": "shown to people, at least 0",
    "services/scheduler/placement/core/estimates.py::start_in_s": "an instant became this wall time a moment ago, of the same clock",
    "services/admin/web/core/shown.py::ago_text": "shown to people: how long ago something was",
    "libs/common/clocks.py::since": "a record's time becomes an instant, within bounds",
    "libs/common/clocks.py::until": "a record's time becomes an instant, within bounds",
    "libs/common/bus/store.py::_old_markers": "a leftover of deleted keys goes early or late; nothing depends on it",
    "services/admin/cli/core/reading.py::began_ms": "what an operator wants to see: since a time of the wall clock",
    "services/autoscaler/planning/core/observation.py::_restated": "an instant becomes the wall time that a plan reckons with",
    "services/autoscaler/planning/core/budget.py::cost_of_last_day": "the last 24 hours; the times of machines that exist are restated",
    "services/autoscaler/machine_life/life.py::used_ms": AGED,
    "services/autoscaler/machine_life/life.py::paid_ms": AGED,
    "services/autoscaler/machine_life/starts.py::requested_count": "bounded on both sides",
    "services/autoscaler/planning/core/requests.py::_shares": "since when a task waits is restated with `targetWait`; else nothing depends on it",
    "services/autoscaler/planning/core/openings.py::starts_in_ms": AGED,
    "services/autoscaler/planning/core/openings.py::running_left_ms": "since when a task runs is restated",
    "services/autoscaler/boot_logs/core.py::listened_to": "how long a machine that is there is still listened to; what it says decides nothing",
    "services/autoscaler/boot_logs/core.py::lines_from": "whether a reader asks again: shown to people",
    "services/autoscaler/machines/core.py::newborn": "bounded on both sides",
    "services/autoscaler/machines/core.py::may_boot": "what a wrong clock makes young is waited for by the monotonic one, three minutes at most",
    "services/autoscaler/planning/core/offer_fallback.py::rests": "bounded on both sides: a pause ends when the clock goes back",
    "services/autoscaler/planning/core/offer_fallback.py::status_of": "what lies ahead of a clock that went back counts last",
    "services/autoscaler/machines/core.py::gone_at_ms": "a time of the record, from how long ago that was",
    "services/autoscaler/planning/core/plan.py::has_results": AGED,
    "services/autoscaler/planning/core/kept_results.py::kept": AGED,
    "services/autoscaler/planning/core/plan.py::dead": AGED,
    "services/autoscaler/planning/core/plan.py::is_ready": AGED,
    "services/autoscaler/planning/core/plan.py::is_unclaimed": AGED,
    "services/autoscaler/planning/core/plan.py::overdue": AGED,
    "services/autoscaler/planning/core/plan.py::unused": AGED,
    "services/autoscaler/planning/core/plan.py::without_task": AGED,
    "services/autoscaler/machine_life/history.py::of_last_day": "what machines that have ended cost, by their records",
    "services/autoscaler/machines/handlers/reconciler.py::_forget_old": "records of machines that have ended, kept for show",
    "services/autoscaler/providers/core/snapshots.py::left_behind": "two hours: a clock that is wrong destroys what somebody watches, or later",
    "services/autoscaler/providers/handlers.py::create": "a cloud's own times, with a margin; what is complete stays in any case",
    "services/proxy/polling/core/task_info.py::busy_ms": "shown to people, at least 0",
    "services/autoscaler/readings.py::of_machines": "shown to people, at least 0",
    "services/scheduler/readings.py::of_queue": "shown to people, at least 0",
    "services/scheduler/placement/handlers/place.py::waited_s": "counted for people, at least 0",
    "services/scheduler/task_life/life.py::may_repeat": "bounded on both sides: whether a line is shown again",
}
"""Where a wall reading is compared or subtracted, and why it may be."""


def sources(*patterns: str) -> list[Path]:
    """Find files of the repository."""
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def told(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Go through parameters and fields: name and type."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                if argument.annotation:
                    yield argument.arg, ast.unparse(argument.annotation)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.unparse(node.annotation)


def comparing(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name the functions that compare a wall reading, or take a difference with one."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(compares, ast.walk(function))):
            yield f"{path.relative_to(ROOT)}::{function.name}"


def compares(node: ast.AST) -> bool:
    """Whether this is a comparison of, or a difference with, what the wall clock says now."""
    if isinstance(node, ast.Compare):
        return any(map(is_wall, (node.left, *node.comparators)))
    if not isinstance(node, ast.BinOp):
        return False
    if isinstance(node.op, ast.Add):  # mypy takes a wall time for a number of seconds
        return (is_instant(node.left) and is_wall(node.right)) or (is_wall(node.left) and is_instant(node.right))
    return isinstance(node.op, ast.Sub) and (is_wall(node.left) or is_wall(node.right))


def is_instant(node: ast.AST) -> bool:
    """Whether an expression reads the monotonic clock, or was told what it says."""
    if isinstance(node, ast.Call):
        return is_instant(node.func)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_") == "instant"


def is_wall(node: ast.AST) -> bool:
    """Whether an expression reads the wall clock, or was told what it says."""
    if isinstance(node, ast.Call):
        return is_wall(node.func)
    if isinstance(node, ast.BinOp):
        return is_wall(node.left) or is_wall(node.right)
    if isinstance(node, ast.BoolOp):
        return any(map(is_wall, node.values))
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_") in WALL


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sources(*CORES)])
def test_a_core_is_told_the_time_as_one_of_the_two_types(path: Path):
    for name, kind in told(ast.parse(path.read_text())):
        assert not BARE.match(name), f"{name}: {kind} may be of either clock; call it `now` and make it an Instant"
        assert name not in PRESENT or kind not in NUMBERS, f"{name}: {kind} should be an Instant, a Now or WallMs"


def test_what_the_wall_clock_says_is_compared_only_where_a_reason_is_given():
    paths = sources("services/**/*.py", "libs/common/**/*.py")
    found = {name for path in paths for name in comparing(path, ast.parse(path.read_text()))}
    assert found == set(COMPARED)


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        pytest.param("def f(now_ms, at_ms): return now_ms - at_ms > 5", True, id="an age by the wall clock"),
        pytest.param("def f(clock): return clock.wall_ms() >= 5", True, id="a limit by the wall clock"),
        pytest.param("def f(now): return now.instant + now.wall_ms", True, id="both clocks in one sum"),
        pytest.param("def f(now, began): return now - began > 5", False, id="an age by the monotonic clock"),
        pytest.param("def f(now_ms): return Moment(at_ms=now_ms + 5)", False, id="a record"),
    ],
)
def test_a_comparison_with_the_wall_clock_is_found(code: str, wrong: bool):
    assert bool(list(comparing(ROOT / "x.py", ast.parse(code)))) is wrong
