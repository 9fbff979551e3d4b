"""Waiting for NATS: until it works, and not for ever."""

import pytest

from clusterodm.libs.common.bus.retrying import retry
from clusterodm.libs.common.errors import BusFailed, Refused


class Opening:
    """Works at the third try."""

    def __init__(self, error: Exception, works_at: int = 3) -> None:
        self.tries_count = 0
        self._error = error
        self._works_at = works_at

    async def __call__(self) -> str:
        self.tries_count += 1
        if self.tries_count < self._works_at:
            raise self._error
        return "open"


async def test_what_the_bus_cannot_do_yet_is_done_a_moment_later():
    act = Opening(BusFailed("no leader"))
    assert await retry(act, "it opens", wait_s=5) == "open"
    assert act.tries_count == 3


async def test_that_somebody_waits_is_one_line(capsys: pytest.CaptureFixture[str]):
    await retry(Opening(BusFailed("no leader"), works_at=12), "it opens", wait_s=60)
    assert capsys.readouterr().out.count("nats.awaited") == 1


async def test_what_comes_a_moment_later_is_no_line(capsys: pytest.CaptureFixture[str]):
    await retry(Opening(BusFailed("not yet"), works_at=2), "it opens", wait_s=5)
    assert "nats.awaited" not in capsys.readouterr().out


async def test_retries_end_with_the_last_reason():
    act = Opening(BusFailed("no leader"))
    with pytest.raises(BusFailed, match="no leader"):
        await retry(act, "it opens", wait_s=0)
    assert act.tries_count == 1


async def test_another_error_is_not_waited_for():
    act = Opening(Refused("no"))
    with pytest.raises(Refused):
        await retry(act, "it opens", wait_s=5)
    assert act.tries_count == 1
