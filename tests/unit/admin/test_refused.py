"""Which refusals for lack of a role are put on record."""

from clusterodm.libs.common.clocks import Instant
from clusterodm.services.admin.access.refused import MOST_COUNT, REPORT_AGAIN_S, VISITORS_COUNT, ReportedRefusals
from clusterodm.services.admin.access.roles import Principal, Role

NOW = Instant(1000.0)


def visitor(number: int = 1) -> Principal:
    return Principal("viewer", Role.VIEWER, "web", f"10.0.{number // 250}.{number % 250}")


def test_a_refusal_is_told_once_and_again_after_a_while() -> None:
    told = ReportedRefusals()
    assert [told.is_new(visitor(), "POST", "/a", NOW) for _ in range(3)] == [True, False, False]
    assert told.is_new(visitor(), "POST", "/b", NOW)
    assert told.is_new(visitor(2), "POST", "/a", NOW)
    assert not told.is_new(visitor(), "POST", "/a", Instant(NOW + REPORT_AGAIN_S - 1))
    assert told.is_new(visitor(), "POST", "/a", Instant(NOW + REPORT_AGAIN_S))


def test_a_flood_of_different_refusals_is_told_in_part() -> None:
    told = ReportedRefusals()
    assert sum(told.is_new(visitor(), "POST", f"/{number}", NOW) for number in range(500)) == MOST_COUNT


def test_no_more_visitors_are_remembered_than_may_be() -> None:
    told = ReportedRefusals()
    for number in range(VISITORS_COUNT + 1):
        told.is_new(visitor(number), "POST", "/a", NOW)
    assert told.is_new(visitor(0), "POST", "/a", NOW)
    assert not told.is_new(visitor(VISITORS_COUNT), "POST", "/a", NOW)
