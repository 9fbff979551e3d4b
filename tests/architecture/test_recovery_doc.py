"""Each line of docs/recovery.md names tests that exist."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NAMED = re.compile(r"`(test_\w+)`")


def test_every_loss_names_a_test_that_runs_it():
    document = (REPOSITORY / "docs" / "recovery.md").read_text()
    tests = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    losses = document.partition("## What each loss costs")[2].partition("## ")[0]
    rows = [line for line in losses.splitlines() if line.startswith("| ") and not line.startswith("| lost")]
    assert len(rows) >= 6
    for row in rows:
        names = NAMED.findall(row)
        assert names, row
        assert [name for name in names if f"def {name}(" not in tests] == []
