"""How arguments are read."""

import datetime as dt

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.services.admin.cli.core.reading import READERS, began_ms, day, duration, priority, since, states
from clusterodm.services.admin.cli.core.words import COMMON, NOUNS

NOW_MS = WallMs(1_700_000_000_000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("1H", 3600)],
)
def test_a_time_span_has_a_unit_or_is_seconds(text: str, seconds: int) -> None:
    assert duration(text) == seconds
    assert began_ms(since(text), NOW_MS) == NOW_MS - seconds * 1000


@pytest.mark.parametrize(
    "text", ["", "h", "1y", "-1h", "1.5h", "1h30m", "9999999999d", "999999999w", "3651d", "²", "٣h"]
)
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time span"):
        duration(text)
    with pytest.raises(ValueError, match="neither a time span"):
        since(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "inf", "1e3", "1_0", "٣", "315360001", "9999999999"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no number of seconds"):
        READERS["seconds"](text)


@pytest.mark.parametrize("text", ["2026-05-01T12:00+00:00", "2026-05-01T12:00Z", "2026-05-01T14:00+02:00"])
def test_a_point_in_time_is_one(text: str) -> None:
    expected = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    assert began_ms(since(text), NOW_MS) == int(expected.timestamp() * 1000)


@pytest.mark.parametrize("text", ["2026-13", "2026-02-30", "2026", "yesterday", "2026-1"])
def test_what_is_no_day_and_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no day such as"):
        day(text)


@pytest.mark.parametrize("text", ["", "2026-11", "2026-11-27"])
def test_a_day_and_a_month_are_taken_as_they_are(text: str) -> None:
    assert day(text) == text


@pytest.mark.parametrize(("text", "expected"), [("10", 10), ("-10", -10), ("+3", 3), ("0", 0)])
def test_a_priority_may_have_a_sign(text: str, expected: int) -> None:
    assert priority(text) == expected


@pytest.mark.parametrize("text", ["", "11", "-11", "high", "1.5", "++1"])
def test_what_is_no_priority_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no priority"):
        priority(text)


def test_states_are_separated_by_commas_and_the_nearest_is_named() -> None:
    assert states("Failed, waiting") == ("failed", "waiting")
    with pytest.raises(ValueError, match="did you mean 'failed'"):
        states("faild")
    with pytest.raises(ValueError, match="no state"):
        states(",")


def test_every_argument_names_a_reader_that_there_is() -> None:
    arguments = [each for noun in NOUNS.values() for verb in noun.verbs for each in verb.arguments] + list(COMMON)
    assert [each.name for each in arguments if each.reads not in READERS] == []
