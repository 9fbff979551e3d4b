"""Since when a machine costs nothing, told by tries to destroy it of which some fail."""

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.services.autoscaler.machines.core import gone_at_ms
from clusterodm.services.autoscaler.orders import Removal

NOW_MS = WallMs(100_000)
BEFORE_MS = WallMs(40_000)


@pytest.mark.parametrize(
    ("removal", "before_ms", "expected_ms"),
    [
        pytest.param(Removal(was_there=True, gone_ago_s=3.0), None, 97_000, id="taken in this try"),
        pytest.param(Removal(was_there=True, gone_ago_s=3.0), BEFORE_MS, 97_000, id="seen again and taken"),
        pytest.param(Removal(was_there=True, gone_ago_s=None), BEFORE_MS, None, id="seen again"),
        pytest.param(Removal(was_there=False, gone_ago_s=15.0), None, 85_000, id="first look that shows nothing"),
        pytest.param(
            Removal(was_there=False, gone_ago_s=15.0), BEFORE_MS, BEFORE_MS, id="taken before, not seen since"
        ),
        pytest.param(Removal(was_there=False, gone_ago_s=None), BEFORE_MS, BEFORE_MS, id="taken before, no look since"),
    ],
)
def test_what_was_taken_and_not_seen_since_costs_nothing(
    removal: Removal, before_ms: WallMs | None, expected_ms: int | None
):
    assert gone_at_ms(removal, before_ms, NOW_MS) == expected_ms
