"""How values are shown to people."""

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.services.admin.web.core import shown
from clusterodm.services.admin.web.core.task_views import TaskRow


def row(**changes: object) -> TaskRow:
    return TaskRow(**{"id": "t", "name": "n", "state": "running", "created_at_ms": 1, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        pytest.param("Field Ä 东", "Field Ä 东", id="letters stay"),
        pytest.param("a\u202egpj.exe", "a\\u202egpj.exe", id="direction"),
        pytest.param("a\x85\x9bb", "a\\u0085\\u009bb", id="C1"),
        pytest.param("a\x1b[31m", "a\\u001b[31m", id="escape"),
        pytest.param("zero\u200bwidth", "zero\\u200bwidth", id="no width"),
        pytest.param("two\nlines\t.", "two\nlines\t.", id="newline and tab"),
        pytest.param("<b>&", "<b>&", id="HTML is the template's business"),
    ],
)
def test_what_hides_is_shown(text: str, seen: str):
    assert shown.visible(text) == seen


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, shown.NONE),
        (0, "0 B"),
        (999, "999 B"),
        (1_500, "1.5 kB"),
        (3_500_000, "3.5 MB"),
        (250e9, "250 GB"),
        (3e18, "3000 PB"),
    ],
)
def test_bytes(count: float | None, text: str):
    assert shown.bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, shown.NONE), (-1, shown.NONE), (0, "0 s"), (75, "1 min 15 s"), (3_700, "1 h 1 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float | None, text: str):
    assert shown.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, shown.NONE),
        (None, shown.NONE),
        (99_999_500, "now"),
        (99_970_000, "30 s ago"),
        (92_000_000, "2 h ago"),
        (100_060_000, "in 1 min"),
    ],
)
def test_how_long_ago(at_ms: float | None, text: str):
    assert shown.ago_text(at_ms, WallMs(100_000_000)) == text


@pytest.mark.parametrize(
    ("pace", "text"),
    [(0, "usual"), (1, "1.2x slower"), (-2, "1.4x faster"), (4, "2.1x slower")],
)
def test_how_fast_a_node_is(pace: int, text: str):
    assert shown.pace_text(pace) == text


def test_a_time_that_is_none_is_shown_as_nothing():
    assert shown.utc_text(1_700_000_000_000) == "2023-11-14T22:13:20Z"
    assert shown.utc_text(10**30) == ""


@pytest.mark.parametrize(
    ("task", "percent", "doing"),
    [
        pytest.param(row(progress=42.0), 42.0, "", id="running"),
        pytest.param(row(progress=420.0), 100.0, "", id="more than all"),
        pytest.param(row(state="forwarding", size_bytes=1000, sent_bytes=250), 25.0, "250 B of 1.0 kB sent", id="sent"),
        pytest.param(
            row(state="forwarding", size_bytes=1000, sent_bytes=250, rate_bytes_per_s=10.0),
            25.0,
            "250 B of 1.0 kB sent, 10 B/s, 1 min 15 s left",
            id="how fast, and how long yet",
        ),
        pytest.param(
            row(state="forwarding", size_bytes=1000, sent_bytes=1000, rate_bytes_per_s=10.0),
            100.0,
            "1.0 kB of 1.0 kB sent, 10 B/s",
            id="all of it",
        ),
        pytest.param(
            row(state="uploading", arrived_bytes=2_000, rate_bytes_per_s=500.0),
            None,
            "2.0 kB received, 500 B/s",
            id="uploading",
        ),
        pytest.param(row(state="waiting", position=3, reason="busy"), None, "place 3; busy", id="waiting"),
    ],
)
def test_how_far_a_task_is(task: TaskRow, percent: float | None, doing: str):
    assert (shown.progress_of(task), shown.doing_of(task)) == (percent, doing)
