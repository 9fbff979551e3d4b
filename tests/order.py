"""In which order tests begin, and which of them stay together on one of the processes that run side by side.

What takes long begins first, so that in the end nobody waits for one long test that has begun last. How long each takes is written
in durations.txt: `make test ARGS=--write-durations` measures it anew; a test that is not there yet begins before those that are fast.

A file stays together when its tests share something that is costly to make (a fixture of the module, its own or one of a conftest.py), or
take milliseconds each, as in the folders that start no process; else its tests are spread.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
DURATIONS = TESTS / "durations.txt"
SPREAD = ("chaos", "e2e", "integration")
"""Folders of tests that take seconds each."""
SHARED = ('scope="module"', 'scope="session"')
SHARED_FIXTURE = re.compile(r'@pytest\.fixture\(scope="(?:module|session)"[^)]*\)\n(?:async )?def (\w+)')
UNKNOWN_S = 5.0
"""What is not written down is taken for as long as this, in folders of tests that start processes."""
WRITTEN_FROM_S = 3.0
"""Faster units are not worth a line: their order decides nothing."""


def folder_of(nodeid: str) -> str:
    """Name the folder below tests/ that a test lies in."""
    return nodeid.split("/")[1]


@cache
def shares(file: str) -> bool:
    """Whether the tests of a file use something that is made once for all of them."""
    text = (TESTS.parent / file).read_text()
    given = (name for folder in folders_of(file) for name in fixtures_of(folder))
    return any(words in text for words in SHARED) or any(re.search(rf"\b{name}\b", text) for name in given)


def folders_of(file: str) -> Iterator[Path]:
    """List the folders whose conftest.py counts for a file."""
    for folder in (TESTS.parent / file).parents:
        yield folder
        if folder == TESTS:
            return


@cache
def fixtures_of(folder: Path) -> tuple[str, ...]:
    """Name the fixtures of a folder's conftest.py that are made once for all tests of a file."""
    conftest = folder / "conftest.py"
    return tuple(SHARED_FIXTURE.findall(conftest.read_text())) if conftest.exists() else ()


def unit_of(nodeid: str) -> str:
    """Name what runs in one piece on one process: a test, or a file of them."""
    file = nodeid.partition("::")[0]
    return nodeid if folder_of(nodeid) in SPREAD and not shares(file) else file


def read_durations(text: str) -> dict[str, float]:
    """Read what was measured: a line for each unit, seconds first."""
    pairs = (line.split(" ", 1) for line in text.splitlines() if line)
    return {unit: float(seconds) for seconds, unit in pairs}


def written(took_s: dict[str, float]) -> str:
    """Write what was measured, the longest first."""
    lines = sorted(((seconds, unit) for unit, seconds in took_s.items() if seconds >= WRITTEN_FROM_S), reverse=True)
    return "".join(f"{seconds:.0f} {unit}\n" for seconds, unit in lines)


def longest_first(nodeids: Iterable[str], took_s: dict[str, float]) -> list[int]:
    """Sort: the places of the tests, in the order in which they begin. Those of one unit keep theirs."""

    def length(nodeid: str) -> tuple[float, str]:
        unit = unit_of(nodeid)
        unknown_s = UNKNOWN_S if folder_of(nodeid) in SPREAD else 0.0
        return -took_s.get(unit, unknown_s), nodeid.partition("::")[0]

    known = list(nodeids)
    return sorted(range(len(known)), key=lambda place: length(known[place]))


class LongestFirst(LoadScopeScheduling):
    """Gives one unit after the other to whichever process has nearly nothing left to do."""

    def _split_scope(self, nodeid: str) -> str:  # the one method that xdist's own schedulers override as well
        return unit_of(nodeid)


class Stopwatch:
    """A plugin of the process that gathers reports: writes down how long each unit took."""

    def __init__(self) -> None:
        self.took_s: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test."""
        self.took_s[unit_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        DURATIONS.write_text(written(self.took_s))
