"""forwarding/core/decisions.py: how long errors of a node that was found out end attempts at once."""

import pytest

from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.proxy.forwarding.core.decisions import Distrust

NODE = NodeId("n1")
START = clocks_at(0).instant


def test_a_node_is_distrusted_for_a_minute_and_no_other_is() -> None:
    distrust = Distrust()
    assert not distrust.holds(NODE, START)
    assert distrust.found_out(NODE, START) == 60
    assert distrust.holds(NODE, START + 59.9)
    assert not distrust.holds(NODE, START + 60)
    assert not distrust.holds(NodeId("n2"), START)


@pytest.mark.parametrize(("times_count", "seconds"), [(2, 120), (3, 240), (6, 1_920), (7, 3_600), (1_000, 3_600)])
def test_each_repetition_doubles_the_time_up_to_an_hour(times_count: int, seconds: float) -> None:
    distrust = Distrust()
    told = [distrust.found_out(NODE, START) for _ in range(times_count)]
    assert told[-1] == seconds
    assert distrust.holds(NODE, START + seconds - 1)
    assert not distrust.holds(NODE, START + seconds)


def test_a_count_that_was_right_after_all_forgets_what_was_before() -> None:
    distrust = Distrust()
    for _ in range(5):
        distrust.found_out(NODE, START)
    distrust.proven(NODE)
    assert not distrust.holds(NODE, START)
    assert distrust.found_out(NODE, START) == 60
