"""Each edge of docs/security.md, and each mistake of docs/exit-codes.md, names tests that exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NAMED = re.compile(r"`(test_\w+)`")


def test_every_edge_names_a_test_that_tries_it():
    document = (REPOSITORY / "docs" / "security.md").read_text()
    tests = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    rows = [line for line in document.splitlines() if line.startswith("| ") and not line.startswith("| edge")]
    assert len(rows) >= 12
    for row in rows:
        names = NAMED.findall(row)
        assert names, row
        assert [name for name in names if f"def {name}(" not in tests] == []


def test_every_late_mistake_names_a_test_that_makes_it():
    document = (REPOSITORY / "docs" / "exit-codes.md").read_text().partition("## What may go wrong")[2]
    rows = [line for line in document.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) >= 12
    paths = list((REPOSITORY / "tests").rglob("test_*.py"))
    tests = "\n".join(path.read_text() for path in paths)
    for row in rows:
        names, files = NAMED.findall(row), re.findall(r"`(test_\w+\.py)`", row)
        assert names or files, row
        assert [name for name in names if f"def {name}(" not in tests] == []
        assert set(files) <= {path.name for path in paths}
