"""Which snapshot of demand counts: by term and stream, never by the clock of the scheduler that sent it."""

import pytest

from clusterodm.libs.common.messages.demand import DemandChanged
from tests.autoscaler_world import World


@pytest.mark.parametrize(
    ("epoch", "counts"),
    [
        pytest.param(4, False, id="an earlier term, which had not ended yet"),
        pytest.param(5, True, id="the same term"),
        pytest.param(6, True, id="a later term"),
        pytest.param(0, True, id="a scheduler that tells no term"),
    ],
)
@pytest.mark.parametrize("at_ms", [1, 10**13], ids=["a clock that is behind", "a clock that is ahead"])
async def test_a_snapshot_counts_unless_its_term_is_earlier_than_the_last(epoch: int, counts: bool, at_ms: int):
    async with World() as played:
        last = DemandChanged(at_ms=5_000, epoch=5, waiting_count=2)
        await played.planner.take_demand(last)
        told = DemandChanged(at_ms=at_ms, epoch=epoch, waiting_count=1)
        await played.planner.take_demand(told)
        assert played.planner.demand == (told if counts else last)
