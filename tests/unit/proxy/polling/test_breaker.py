"""polling/core/node_queries.py: when a node is asked, and when not."""

import pytest

from clusterodm.services.proxy.polling.core.node_queries import PAUSES_S, Breaker, failed, let_go, tried


@pytest.mark.parametrize(
    ("breaker", "now_s", "asked"),
    [
        pytest.param(Breaker(1, 10.0), 9.9, False, id="open"),
        pytest.param(Breaker(1, 10.0), 10.0, True, id="the pause is over"),
        pytest.param(Breaker(1, 10.0, trying=True), 11.0, False, id="somebody is asking"),
        pytest.param(let_go(Breaker(1, 10.0, trying=True)), 11.0, True, id="who asked has left"),
    ],
)
def test_one_asks_when_the_pause_is_over(breaker: Breaker, now_s: float, asked: bool):
    assert breaker.lets_through(now_s) is asked


def test_the_first_failure_opens_for_the_shortest_pause():
    assert failed(None, 5.0) == Breaker(1, 5.0 + PAUSES_S[0])


def test_failures_that_were_under_way_together_count_once():
    assert failed(Breaker(1, 6.0), 5.5) == Breaker(1, 6.0)


def test_pauses_grow_up_to_a_limit():
    breaker, now_s, pauses_s = failed(None, 0.0), 0.0, []
    for _ in range(5):
        pauses_s.append(breaker.open_until - now_s)
        now_s = breaker.open_until
        breaker = failed(tried(breaker), now_s)

    assert pauses_s == [*PAUSES_S, PAUSES_S[-1], PAUSES_S[-1]]
