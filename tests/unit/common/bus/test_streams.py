"""What is said when NATS does not do what it was asked."""

import nats.errors
import pytest
from nats.js.errors import APIError, ServerError, ServiceUnavailableError

from clusterodm.libs.common.bus.streams import why


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ServerError(code=500, err_code=10047, description="insufficient storage resources available"),
            "NATS has no room on its disk (insufficient storage resources available): free some of it",
        ),
        (
            APIError(code=400, description="write /n/1.blk: no space left on device"),
            "NATS has no room on its disk (write /n/1.blk: no space left on device): free some of it",
        ),
        (ServerError(code=500, err_code=10049, description="deadlock"), "deadlock"),
        (ServiceUnavailableError(), "ServiceUnavailableError"),
        (nats.errors.TimeoutError(), "TimeoutError: nats: timeout"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_reason_of_nats_is_told(error: Exception, said: str) -> None:
    assert why(error) == said
