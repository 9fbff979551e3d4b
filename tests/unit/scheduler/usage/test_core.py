"""What a run has used, and whose share of a machine it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.usage import GetUsage, TenantUsage, UsageBy, Used
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.services.scheduler.usage.core import (
    NAMED_COUNT,
    Span,
    TenantSeries,
    added,
    end_of,
    page_of,
    run_of,
    share_ms,
)

HOUR = 3_600_000
NOON = 1_793_880_000_000
"""2026-11-05T12:00 UTC"""
SPANS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 30)).map(lambda it: Span(it[0], it[0] + it[1])), max_size=8
)


def attempt(number: int, start_ms: int | None, end_ms: int | None, **more: object) -> Attempt:
    """Make an attempt that was on its node in some time."""
    return Attempt(
        number=number,
        node=NodeId("n"),
        node_task_id=NodeTaskId(str(number)),
        state=AttemptState.ENDED,
        running_at_ms=start_ms,
        ended_at_ms=end_ms,
        **more,  # type: ignore[arg-type] # a test names what it needs
    )


def task(*attempts: Attempt, state: TaskState = TaskState.COMPLETED, **more: object) -> Task:
    """Make a task that has ended at noon."""
    values = {"ended_at_ms": NOON, "images_count": 40, "size_bytes": 900} | more
    return Task(
        id=TaskId("t"),
        owner=Owner("survey"),
        name="t",
        upload_owner=InstanceId("p"),
        created_at_ms=1,
        committed_at_ms=2,
        state=state,
        attempts=attempts,
        **values,  # type: ignore[arg-type]
    )


def worked(ms: int) -> LastKnown:
    """Say for how long a node has worked."""
    return LastKnown(code=StatusCode.COMPLETED, processing_time_ms=ms)


@pytest.mark.parametrize(
    ("ended", "used"),
    [
        pytest.param(
            task(attempt(1, NOON - HOUR, NOON)),
            Used(completed_count=1, images_count=40, size_bytes=900, node_ms=HOUR),
            id="one attempt",
        ),
        pytest.param(
            task(attempt(1, NOON - 5 * HOUR, NOON - 3 * HOUR), attempt(2, NOON - HOUR, NOON), state=TaskState.FAILED),
            Used(failed_count=1, images_count=40, size_bytes=900, node_ms=3 * HOUR),
            id="a lost attempt used a node as well",
        ),
        pytest.param(
            task(attempt(1, None, NOON), state=TaskState.CANCELED),
            Used(canceled_count=1),
            id="what was never on a node has used none",
        ),
        pytest.param(
            task(
                attempt(1, NOON - 5 * HOUR, NOON - 3 * HOUR),
                attempt(2, NOON - HOUR, NOON),
                restarted_at_ms=NOON - 2 * HOUR,
            ),
            Used(completed_count=1, images_count=40, size_bytes=900, node_ms=HOUR),
            id="what ran before a restart was counted then",
        ),
        pytest.param(
            task(attempt(1, NOON - 3 * HOUR, NOON), known=worked(HOUR)),
            Used(completed_count=1, images_count=40, size_bytes=900, node_ms=HOUR),
            id="the turn it waited for on the node is not counted",
        ),
        pytest.param(
            task(attempt(1, NOON - HOUR, NOON), known=worked(9 * HOUR)),
            Used(completed_count=1, images_count=40, size_bytes=900, node_ms=HOUR),
            id="a node cannot have worked for longer than it had the task",
        ),
        pytest.param(
            task(attempt(1, NOON + HOUR, NOON)),
            Used(completed_count=1, images_count=40, size_bytes=900),
            id="a clock that went back",
        ),
    ],
)
def test_a_run_has_used_what_its_attempts_have(ended: Task, used: Used):
    end = end_of(ended)
    assert (end.day, end.month, end.used) == ("2026-11-05", "2026-11", used)


def test_each_restart_makes_another_run():
    assert run_of(task()) == run_of(task(state=TaskState.FAILED)) != run_of(task(restarted_at_ms=5))


@pytest.mark.parametrize(
    ("own", "others", "ms"),
    [
        pytest.param(Span(0, 10), [], 10, id="alone"),
        pytest.param(Span(0, 10), [Span(10, 20)], 10, id="one after the other"),
        pytest.param(Span(0, 10), [Span(0, 10)], 5, id="two together"),
        pytest.param(Span(0, 10), [Span(5, 30)], 7.5, id="a while together"),
        pytest.param(Span(0, 10), [Span(-5, 30), Span(2, 4)], 4 + 2 / 3, id="three for a while"),
        pytest.param(Span(3, 3), [Span(0, 9)], 0, id="no time at all"),
    ],
)
def test_at_each_moment_those_on_a_machine_share_it(own: Span, others: list[Span], ms: float):
    assert share_ms(own, others) == pytest.approx(ms)


@given(SPANS)
def test_the_shares_together_are_the_time_in_which_anybody_was_there(spans: list[Span]):
    shares = [share_ms(span, spans[:at] + spans[at + 1 :]) for at, span in enumerate(spans)]
    there = sum(any(span.start_ms <= at < span.end_ms for span in spans) for at in range(100))
    assert sum(shares) == pytest.approx(there)


def test_a_run_is_counted_once_however_often_it_is_told():
    end = end_of(task(attempt(1, NOON - HOUR, NOON)))
    active = frozenset({end.run})
    once = added(TenantUsage(month=end.month), [(end, 2.0), (end, 2.0)], "Survey", active)
    again = added(once, [(end, 2.0)], "", active)
    assert again == once
    assert once.days["05"].tasks_count == 1
    assert (once.days["05"].machine_cost, once.name) == (2.0, "Survey")


def test_what_has_left_the_active_tasks_need_not_be_remembered():
    end, other = end_of(task(attempt(1, NOON - HOUR, NOON))), end_of(task(restarted_at_ms=7))
    kept = added(TenantUsage(month=end.month), [(end, 0.0)], "", frozenset({end.run}))
    kept = added(kept, [(other, 0.0)], "", frozenset({other.run}))
    assert kept.recent == (other.run,)
    assert kept.days["05"].tasks_count == 2


KEPT = [
    TenantUsage(owner=Owner("a"), month="2026-10", days={"31": Used(completed_count=1, machine_cost=1.5)}),
    TenantUsage(owner=Owner("a"), month="2026-11", days={"01": Used(failed_count=2), "09": Used(completed_count=4)}),
    TenantUsage(owner=Owner("f" * 32), month="2026-11", days={"09": Used(completed_count=8)}),
]


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        pytest.param(
            GetUsage(),
            [("a", "2026-10", 1), ("a", "2026-11", 6), ("b", "2026-11", 8)],
            id="by month, under the names that tenants have now",
        ),
        pytest.param(GetUsage(by=UsageBy.TOTAL), [("a", "", 7), ("b", "", 8)], id="in all"),
        pytest.param(GetUsage(tenant="b", by=UsageBy.DAY), [("b", "2026-11-09", 8)], id="of one tenant, by day"),
        pytest.param(GetUsage(tenant="f" * 32), [("b", "2026-11", 8)], id="of one owner"),
        pytest.param(GetUsage(text="B"), [("b", "2026-11", 8)], id="of those that are called so"),
        pytest.param(GetUsage(since="2026-11-02"), [("a", "2026-11", 4), ("b", "2026-11", 8)], id="since a day"),
        pytest.param(GetUsage(until="2026-10"), [("a", "2026-10", 1)], id="until a month"),
        pytest.param(GetUsage(since="2026-11", until="2026-11-01"), [("a", "2026-11", 2)], id="a month's first day"),
        pytest.param(GetUsage(offset_count=1, limit_count=1), [("a", "2026-11", 6)], id="a page"),
        pytest.param(GetUsage(tenant="nobody"), [], id="nothing"),
    ],
)
def test_usage_is_added_up_as_it_is_asked_for(asked: GetUsage, rows: list[tuple[str, str, int]]):
    page = page_of(KEPT, asked, {Owner("f" * 32): "b"})
    assert [(row.tenant, row.period, row.used.tasks_count) for row in page.rows] == rows


def test_the_total_is_of_all_pages():
    page = page_of(KEPT, GetUsage(limit_count=1), {})
    assert (page.total_count, page.total.tasks_count, page.total.machine_cost) == (3, 15, 1.5)


@pytest.mark.parametrize("day", ["yesterday", "2026-13", "2026-02-30", "x" * 7])
def test_what_is_no_day_is_refused(day: str):
    with pytest.raises(Refused, match="no day"):
        page_of(KEPT, GetUsage(since=day), {})
    with pytest.raises(Refused, match="no day"):
        page_of(KEPT, GetUsage(until=day), {})


def test_only_so_many_tenants_have_series_of_their_own():
    series = TenantSeries()
    assert [series.name_for(f"t{number}", Owner("x")) for number in (*range(NAMED_COUNT), 0)] == [
        f"t{number}" for number in (*range(NAMED_COUNT), 0)
    ]
    assert series.name_for("one more", Owner("x")) == "other"
    assert series.name_for("t7", Owner("x")) == "t7"
    assert (series.name_for("", Owner("x")), series.name_for("", Owner(""))) == ("unnamed", "")
