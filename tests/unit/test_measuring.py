"""tests/measuring: what has run is marked, whatever ends the process, and nothing else changes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from tests.measuring import mark, table

SOURCE = '''"""A module."""
OUTSIDE = 1


def choose(value):
    """Choose."""
    global OUTSIDE
    if value:
        for each in (1, 2):
            OUTSIDE = each
    else:
        OUTSIDE = 0
    try:
        return 1 / value
    except ZeroDivisionError:
        return "nothing"


def never():
    ...
    return 5
'''


def ran(value: int) -> tuple[list[int], object, SimpleNamespace]:
    """Run it: the lines that were marked, what it returned, and its globals."""
    code, lines = mark.marked(SOURCE, "module.py", 3)
    marks = bytearray(3 + len(lines))
    names = {"__ran__": marks}
    exec(code, names)  # noqa: S102 what was compiled here
    returned = names["choose"](value)
    assert not any(marks[:3])
    return sorted(line for line, done in zip(lines, marks[3:], strict=True) if done), returned, SimpleNamespace(**names)


def test_what_has_run_is_marked_and_nothing_else():
    assert ran(2)[0] == [8, 9, 10, 13, 14]
    assert ran(0)[0] == [8, 12, 13, 14, 16]


def test_what_a_module_does_stays_the_same():
    _, returned, names = ran(2)
    assert (returned, names.OUTSIDE, names.choose.__doc__) == (0.5, 2, "Choose.")
    assert names.choose.__code__.co_firstlineno == 5


def test_a_process_that_is_killed_has_marked_what_it_ran_in_its_column(tmp_path: Path):
    file = mark.ROOT / "libs/common/retry.py"
    mark.write(tmp_path, [file])
    policy = "RetryPolicy(tries_count=3, within_s=9, first_s=1, longest_s=2)"
    program = (
        f"import os; from clusterodm.libs.common.retry import *; {policy}.pause_s(1, 0.5, 0.0); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {
        "RAN_FOLDER": str(tmp_path),
        "RAN_COLUMN": "unit",
        "PYTHONPATH": f"{mark.ROOT / 'tests/measuring'}:{mark.ROOT}",
    }

    ended = subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=60)

    assert ended.returncode == -signal.SIGKILL
    found = list(table.statements(tmp_path))
    assert any(each.in_unit and each.in_any for each in found)
    assert not all(each.in_any for each in found)


def test_what_tests_run_in_the_process_of_pytest_is_marked_as_of_unit_tests(tmp_path: Path):
    mark.write(tmp_path, [mark.ROOT / "libs/common/bus/ids.py"])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RAN_"))} | {
        "RAN_FOLDER": str(tmp_path),
        "PYTHONPATH": f"{mark.ROOT / 'tests/measuring'}",
        "PYTEST_ADDOPTS": "-p marked_first",
    }
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/common/bus/test_ids.py")

    ended = subprocess.run([sys.executable, *words], env=environment, cwd=mark.ROOT, check=False, timeout=100)

    assert ended.returncode == 0
    assert all(each.in_unit for each in table.statements(tmp_path))


def test_the_table_has_a_line_for_each_package_one_for_the_handlers_of_each_service_and_one_for_all():
    found = [
        table.Statement("libs/common/a.py", 1, in_unit=True, in_any=True),
        table.Statement("services/proxy/core/deep/b.py", 1, in_unit=False, in_any=True),
        table.Statement("services/proxy/core/c.py", 1, in_unit=False, in_any=False),
        table.Statement("services/proxy/uploads/handlers/create.py", 1, in_unit=True, in_any=True),
        table.Statement("services/proxy/peers/handlers.py", 1, in_unit=False, in_any=True),
    ]
    lines = [" ".join(line.split()) for line in table.table(iter(found))]
    assert lines[1:] == [
        "libs/common 1 100 % 100 %",
        "services/proxy/core 2 0 % 50 %",
        "services/proxy/peers 1 0 % 100 %",
        "services/proxy/uploads 1 100 % 100 %",
        "handlers of proxy 2 50 % 100 %",
        "all 5 40 % 80 %",
    ]
