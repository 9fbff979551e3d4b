"""What is due when, and how long to wait for it."""

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.delay_queue import DelayQueue

NOW = Instant(100.0)


@pytest.mark.parametrize(
    ("due_in_s", "least_s", "waits_s"),
    [
        pytest.param([], 0.1, 1.0, id="nothing is due: as long as may be"),
        pytest.param([0.4, 0.7], 0.1, 0.4, id="until the next one"),
        pytest.param([5.0], 0.1, 1.0, id="as long as may be"),
        pytest.param([0.01, 0.05], 0.1, 0.1, id="what is due at nearly the same time comes together"),
        pytest.param([-1.0], 0.1, 0.1, id="late already"),
        pytest.param([-1.0], 0.0, 0.0, id="late already, and nothing is waited for"),
    ],
)
def test_it_is_waited_until_the_next_is_due_within_limits(due_in_s: list[float], least_s: float, waits_s: float):
    delay_queue: DelayQueue[int] = DelayQueue()
    for key, seconds in enumerate(due_in_s):
        delay_queue.set(key, NOW + seconds)
    assert delay_queue.left_s(NOW, most_s=1.0, least_s=least_s) == pytest.approx(waits_s)


def test_what_is_due_is_taken_in_order_and_once():
    delay_queue: DelayQueue[str] = DelayQueue()
    delay_queue.set("late", NOW + 0.05)
    delay_queue.set("early", NOW)
    delay_queue.set("moved", NOW)
    delay_queue.set("moved", NOW + 9)
    assert delay_queue.take_due(NOW + 0.1) == ["early", "late"]
    assert delay_queue.take_due(NOW + 0.1) == []
    assert "moved" in delay_queue
