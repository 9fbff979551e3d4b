"""What is expected of a task, as pages show it."""

from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.services.admin.web.core.shown import end_between, start_between
from clusterodm.services.admin.web.core.task_views import expected_view


def test_an_estimate_is_shown_with_its_interval():
    told = Expected(
        start_at_ms=(60_000, 120_000, 180_000),
        end_at_ms=(3_600_000, 7_200_000, 86_400_000),
        cost=(0.5, 1.0, 2.0),
        end_held_percent=81,
    )
    view = expected_view(told)
    assert (view.start_at_ms, view.end_at_ms) == (120_000, 7_200_000)
    assert (view.cost_from, view.cost, view.cost_until) == (0.5, 1.0, 2.0)
    assert start_between(view) == "1970-01-01 00:01:00 to 1970-01-01 00:03:00 UTC"
    assert end_between(view) == "1970-01-01 01:00:00 to 1970-01-02 00:00:00 UTC (held for 81 % of the last tasks)"


def test_what_is_not_known_is_nothing():
    view = expected_view(Expected(end_at_ms=(1, 2, 3)))
    assert view.start_at_ms is None
    assert view.cost is None
