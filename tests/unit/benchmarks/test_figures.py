"""Medians, ratios and tables of the benchmarks."""

import math

import pytest

from benchmarks.figures import Measured, Metric, case_table, medians, percentile, replaced, section, table
from benchmarks.programs import Broken, milliseconds
from benchmarks.targets import TARGETS, Target, dearest, own, targets_table

CPU = Metric("CPU", "s/GB", 2)


def measured(**costs: float) -> Measured:
    """One case whose first contender is ours."""
    return Measured(
        "downloads",
        "What it costs.",
        (CPU,),
        dict.fromkeys(costs, "relays"),
        {k: {"CPU": v} for k, v in costs.items()},
        3,
    )


def test_the_median_of_each_metric_counts():
    assert medians([{"CPU": 1, "rate": 9}, {"CPU": 5}, {"CPU": 2, "rate": 11}]) == {"CPU": 2, "rate": 10}


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        pytest.param(50, 50, id="half"),
        pytest.param(99, 99, id="nearly all"),
        pytest.param(100, 100, id="all"),
        pytest.param(0, 1, id="none: the smallest"),
    ],
)
def test_a_percentile_is_a_number_that_was_measured(percent: float, expected: float):
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == expected


def test_nothing_measured_has_no_percentile():
    assert math.isnan(percentile([], 99))


def test_a_ratio_is_ours_divided_by_theirs():
    assert measured(ours=1, nginx=4).ratio("nginx") == 0.25


@pytest.mark.parametrize("other", [pytest.param("absent", id="was left out"), pytest.param("idle", id="used nothing")])
def test_there_is_no_ratio_to_what_was_not_measured(other: str):
    assert measured(ours=1, idle=0).ratio(other) is None


def test_a_case_shows_what_each_contender_does_and_how_ours_compares():
    assert case_table(measured(ours=1, nginx=4)) == [
        "|  | does | CPU [s/GB] | ours ÷ it |",
        "|---|---|---|---|",
        "| ours | relays | 1.00 |  |",
        "| nginx | relays | 4.00 | 0.25 |",
    ]


def test_a_bar_inside_a_cell_does_not_end_it():
    assert table(["a"], [["x|y"]])[-1] == "| x\\|y |"


def test_a_section_says_how_many_rounds_there_were():
    assert section(measured(ours=1))[2] == "What it costs. Median of 3 rounds."


def test_only_what_stands_between_the_markers_is_replaced():
    page = "before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n"
    once = replaced(page, "x", ["new"])
    assert once == "before\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nafter\n"
    assert replaced(once, "x", ["new"]) == once


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- x: begin -->"):
        replaced("nothing", "x", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("250.00us", 0.25, id="us"),
        pytest.param("1.50ms", 1.5, id="ms"),
        pytest.param("2.00s", 2000, id="s"),
    ],
)
def test_durations_of_wrk_are_read(text: str, expected: float):
    assert milliseconds(text) == expected


def test_what_is_no_duration_is_not_guessed():
    with pytest.raises(Broken):
        milliseconds("fast")


@pytest.mark.parametrize(
    ("at_least", "figure", "met"),
    [
        pytest.param(False, 2.0, True, id="at most: on it"),
        pytest.param(False, 2.1, False, id="at most: above"),
        pytest.param(True, 2.0, True, id="at least: on it"),
        pytest.param(True, 1.9, False, id="at least: below"),
    ],
)
def test_an_aim_is_reached_on_its_own_side_only(at_least: bool, figure: float, met: bool):
    assert Target("x", "", 2, own("x", "y"), at_least=at_least).met(figure) is met


def test_of_what_was_measured_in_several_ways_the_dearest_counts():
    results = {"downloads": measured(calm=3.0, busy=2.0)}
    assert dearest("downloads", "CPU")(results) == 3.0
    assert own("downloads", "CPU")({"downloads": measured(calm=2.0, busy=3.0)}) == 2.0
    assert dearest("downloads", "CPU")({}) is None


def test_what_was_not_measured_is_said_and_never_counts_as_reached():
    rows = targets_table({})
    assert len(rows) == len(TARGETS) + 2
    assert all("not measured" in row and "reached" not in row for row in rows[2:])
    assert len(targets_table({}, whole=False)) == 2


PEERS = ("ours", "nginx", "Node.js", "Node.js, durable", "node-libcurl", "10 waiting")


def test_every_aim_reads_a_case_that_exists():
    from benchmarks.cases import CASES

    metrics = {case.name: {metric.name for metric in case.metrics} for case in CASES}
    full = {
        case.name: Measured(
            case.name,
            "",
            case.metrics,
            dict.fromkeys(PEERS, ""),
            {who: dict.fromkeys(metrics[case.name], 1.0) for who in PEERS},
        )
        for case in CASES
    }
    assert {target.path for target in TARGETS if target.read(full) is None} == {"makespan"}
