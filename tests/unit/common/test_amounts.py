"""So many of something."""

import re
from pathlib import Path

import pytest

from clusterodm.libs.common.amounts import amount

ROOT = Path(__file__).parents[3]
COUNTED = re.compile(
    r"(_count|len\([^}]*\)|\bcount)\}\s(task|node|machine|image|proxie|file|upload)s\b"  # in a text of Python
    r"|\|(count|length) *\}\}\s(task|node|machine|image|proxie|file|upload|loop)s\b"  # in a template
)
NEVER_ONE = {
    "tasks' ids begin with",
    "machines were taken away from it",
    "nodes are locked",
    "nodes that would take it",
    "nodes have refused it",
    "images are too many",
}
"""What is said of several only: of one there are other words, or there is none."""


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (0, "task", "0 tasks"),
        (1, "task", "1 task"),
        (2, "task", "2 tasks"),
        (1, "proxy", "1 proxy"),
        (3, "proxy", "3 proxies"),
    ],
)
def test_one_is_one(count: int, noun: str, said: str):
    assert amount(count, noun) == said


def test_nothing_that_is_counted_for_people_is_always_several():
    places = [*ROOT.glob("services/**/*.py"), *ROOT.glob("services/**/*.html"), *ROOT.glob("deploy/*.py")]
    lines = [line for place in places for line in place.read_text().splitlines() if COUNTED.search(line)]
    assert [line.strip() for line in lines if not any(each in line for each in NEVER_ONE)] == []
