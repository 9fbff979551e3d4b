"""tests/polled.py: what a client sees that went back, and what did not."""

import pytest

from tests.polled import Polled

RUNNING, QUEUED, COMPLETED = 20, 10, 40


@pytest.mark.parametrize(
    ("codes", "went_back"),
    [
        pytest.param([QUEUED, QUEUED, RUNNING, COMPLETED], [], id="forward"),
        pytest.param([RUNNING, RUNNING, QUEUED, RUNNING, COMPLETED], [], id="no slot had been looked for at first"),
        pytest.param([QUEUED, RUNNING, QUEUED, RUNNING], [(RUNNING, QUEUED)], id="two proxies by turns"),
        pytest.param(
            [COMPLETED, RUNNING, QUEUED], [(COMPLETED, RUNNING), (COMPLETED, QUEUED)], id="an end that is none any more"
        ),
        pytest.param([QUEUED, COMPLETED, RUNNING, COMPLETED], [(COMPLETED, RUNNING)], id="after the end"),
    ],
)
def test_a_state_that_comes_after_a_later_one_went_back(codes: list[int], went_back: list[tuple[int, int]]) -> None:
    found = Polled([(3000, code) for code in codes]).went_back()
    assert [(higher[1], lower[1]) for higher, lower in found] == went_back
