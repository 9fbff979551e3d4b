"""Samples become series of as many points over an hour as over a week, with gaps where nothing is known."""

from math import isclose

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.machines import AutoscalerStatus
from clusterodm.libs.common.messages.overview import ClusterOverview, Sample, SpoolReport, UploadProgress
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.services.admin.watching.core import (
    MOST_COUNT,
    POINTS_COUNT,
    SAMPLE_S,
    SPARE_COUNT,
    SampleHistory,
    ended_per_hour,
    key_at,
    received_per_s,
    sample_of,
)

NOW_MS = WallMs(1_700_000_000_000)
NOW_S = NOW_MS / 1000
HOUR_S = 3600.0


def test_several_admins_write_the_sample_of_a_half_minute_under_one_key():
    first = WallMs(1_700_000_010_000)
    assert key_at(first) == key_at(WallMs(first + 19_000))
    assert key_at(first) != key_at(WallMs(first + 30_000))


def test_a_sample_leaves_out_what_did_not_answer():
    upload = UploadProgress(
        task=TaskId("t"), instance=InstanceId("p"), name="", created_at_ms=1, rate_bytes_per_s=5.0, receiving=True
    )
    spool = SpoolReport(instance=InstanceId("p"), free_bytes=25, total_bytes=100)
    assert sample_of(NOW_MS, None, None, None, [upload], [spool]).values == {
        "uploads": 1.0,
        "upload_bytes_per_s": 5.0,
        "spool_used_share:p": 0.75,
    }
    disabled = AutoscalerStatus(enabled=False, reason="none")
    assert "machines" not in sample_of(NOW_MS, None, None, disabled, [], []).values


def spool_at(at_ms: int, received_bytes: int | None, instance: str = "p") -> SpoolReport:
    return SpoolReport(instance=InstanceId(instance), at_ms=at_ms, received_bytes=received_bytes)


@pytest.mark.parametrize(
    ("before", "now", "rate"),
    [
        pytest.param([], [spool_at(30_000, 60)], None, id="the first"),
        pytest.param([spool_at(0, 0)], [spool_at(30_000, 60)], 2.0, id="all of it between two samples"),
        pytest.param([spool_at(0, 60)], [spool_at(30_000, 60)], 0.0, id="nothing came"),
        pytest.param([spool_at(0, 900)], [spool_at(30_000, 60)], 2.0, id="the proxy was started meanwhile"),
        pytest.param([spool_at(30_000, 60)], [spool_at(30_000, 60)], None, id="it has not been heard of since"),
        pytest.param([spool_at(0, None)], [spool_at(30_000, None)], None, id="an earlier version"),
        pytest.param(
            [spool_at(0, 0), spool_at(0, 0, "q")],
            [spool_at(30_000, 30), spool_at(10_000, 30, "q"), spool_at(30_000, 5, "r")],
            4.0,
            id="several, one of them new",
        ),
    ],
)
def test_what_clients_send_is_known_between_two_words_of_a_proxy(
    before: list[SpoolReport], now: list[SpoolReport], rate: float | None
):
    assert received_per_s(before, now).get("upload_bytes_per_s") == rate
    upload = UploadProgress(
        task=TaskId("t"), instance=InstanceId("p"), name="", created_at_ms=1, rate_bytes_per_s=5.0, receiving=True
    )
    sample = sample_of(NOW_MS, None, None, None, [upload], now, before)
    assert sample.values["upload_bytes_per_s"] == (5.0 if rate is None else rate)


def overview(at_ms: int, completed: int, since_ms: int = 1) -> ClusterOverview:
    return ClusterOverview(at_ms=at_ms, since_ms=since_ms, ended={"completed": completed}, ended_images_count=9)


@pytest.mark.parametrize(
    ("before", "now", "per_hour"),
    [
        pytest.param(None, overview(60_000, 5), None, id="the first"),
        pytest.param(overview(0, 5), overview(60_000, 7), 120.0, id="two in a minute"),
        pytest.param(overview(0, 5), overview(60_000, 2, since_ms=2), None, id="another leader counts anew"),
        pytest.param(overview(60_000, 5), overview(60_000, 5), None, id="no time has passed"),
    ],
)
def test_what_ends_per_hour_is_known_between_two_words_of_one_leader(
    before: ClusterOverview | None, now: ClusterOverview, per_hour: float | None
):
    assert ended_per_hour(before, now).get("completed_per_h") == per_hour


def a_history(count: int, every_s: float = SAMPLE_S) -> SampleHistory:
    history = SampleHistory()
    for number in range(count):
        at_s = NOW_S - (count - 1 - number) * every_s
        history.add(Sample(at_ms=round(at_s * 1000), values={"slots": float(number)}))
    return history


@pytest.mark.parametrize("range_s", [HOUR_S, 24 * HOUR_S, 168 * HOUR_S])
def test_a_plot_has_no_more_points_the_longer_it_looks_back(range_s: float):
    series = a_history(2_000).series(NOW_S + 1, range_s)
    assert len(series.times_s) <= POINTS_COUNT
    assert all(len(values) == len(series.times_s) for values in series.values.values())
    assert isclose(series.times_s[-1], NOW_S + 1)


def test_a_step_without_samples_is_a_gap():
    history = SampleHistory()
    for at_s, value in ((NOW_S - 3_000, 4.0), (NOW_S - 10, 6.0)):
        history.add(Sample(at_ms=round(at_s * 1000), values={"slots": value}))
    values = history.series(NOW_S, HOUR_S).values["slots"]
    assert [value for value in values if value is not None] == [4.0, 6.0]
    assert values.count(None) == len(values) - 2


def test_a_series_that_begins_late_has_a_gap_before_and_steps_are_means():
    history = SampleHistory()
    history.add(Sample(at_ms=NOW_MS - 70_000, values={"a": 1.0}))
    history.add(Sample(at_ms=NOW_MS - 20_000, values={"a": 2.0, "b": 7.0}))
    history.add(Sample(at_ms=NOW_MS - 10_000, values={"a": 4.0, "b": 9.0}))
    series = history.series(NOW_S, HOUR_S)
    assert series.values["a"][-1] == 3.0
    assert series.values["b"][-1] == 8.0
    assert series.values["b"][-3] is None


def test_what_was_sampled_while_a_clock_was_ahead_keeps_nothing_else_out():
    """As a computer's may be when it starts: until that time has come, plots would show nothing new."""
    history = a_history(3)
    for ahead_s in (7_200, 7_230):
        history.add(Sample(at_ms=round(1000 * (NOW_S + ahead_s)), values={"slots": 98.0, "new": 1.0}))
    history.add(Sample(at_ms=NOW_MS + 30_000, values={"slots": 99.0}))
    history.add(Sample(at_ms=NOW_MS + 60_000, values={"slots": 100.0}))
    assert len(history) == 5
    values = history.series(NOW_S + 61, HOUR_S).values
    assert values["slots"][-2:] == [99.0, 100.0]
    assert not any(values["new"])


def test_a_sample_of_a_moment_that_is_known_takes_its_place():
    history = a_history(3)
    history.add(Sample(at_ms=NOW_MS, values={"slots": 99.0}))
    assert len(history) == 3
    assert history.series(NOW_S + 1, HOUR_S).values["slots"][-1] == 99.0


def test_the_history_is_bounded_and_drops_series_that_have_ended():
    history = SampleHistory()
    history.add(Sample(at_ms=1_000, values={"gone": 1.0}))
    for number in range(MOST_COUNT + SPARE_COUNT + 1):
        history.add(Sample(at_ms=2_000 + number, values={"slots": 1.0}))
    assert MOST_COUNT <= len(history) <= MOST_COUNT + SPARE_COUNT
    assert "gone" not in history.series(10.0, HOUR_S).values
