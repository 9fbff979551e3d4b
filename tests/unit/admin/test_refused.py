"""Which refusals for lack of a role are put on record."""

from clusterodm.libs.common.clocks import Instant
from clusterodm.services.admin.access.refused import MOST_COUNT, TELL_AGAIN_S, VISITORS_COUNT, RefusalsTold
from clusterodm.services.admin.access.roles import Principal, Role

NOW = Instant(1000.0)


def visitor(number: int = 1) -> Principal:
    return Principal("viewer", Role.VIEWER, "web", f"10.0.{number // 250}.{number % 250}")


def test_a_refusal_is_told_once_and_again_after_a_while() -> None:
    told = RefusalsTold()
    assert [told.is_news(visitor(), "POST", "/a", NOW) for _ in range(3)] == [True, False, False]
    assert told.is_news(visitor(), "POST", "/b", NOW)
    assert told.is_news(visitor(2), "POST", "/a", NOW)
    assert not told.is_news(visitor(), "POST", "/a", Instant(NOW + TELL_AGAIN_S - 1))
    assert told.is_news(visitor(), "POST", "/a", Instant(NOW + TELL_AGAIN_S))


def test_a_flood_of_different_refusals_is_told_in_part() -> None:
    told = RefusalsTold()
    assert sum(told.is_news(visitor(), "POST", f"/{number}", NOW) for number in range(500)) == MOST_COUNT


def test_no_more_visitors_are_remembered_than_may_be() -> None:
    told = RefusalsTold()
    for number in range(VISITORS_COUNT + 1):
        told.is_news(visitor(number), "POST", "/a", NOW)
    assert told.is_news(visitor(0), "POST", "/a", NOW)
    assert not told.is_news(visitor(VISITORS_COUNT), "POST", "/a", NOW)
