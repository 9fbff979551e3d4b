# ruff: noqa: ARG002 the fakes keep the signatures of what they stand for
"""A lease in one process: how long a term counts, and that no failure of its renewal is a silence for ever."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from clusterodm.libs.common.bus.leases import LONGEST_TTL_S, Lease, LeaseTerm, ttl_of
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.common.testing.clock import FakeClock


class BrokenStream:
    """JetStream that raises what nobody expects of it."""

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, msg_ttl: float | None = None
    ) -> Any:
        """Fail."""
        raise ValueError("what nobody expects")


async def test_whatever_goes_wrong_with_a_renewal_ends_the_term_so_that_the_process_stands_by_again():
    clock = FakeClock()
    lease = Lease(BrokenStream(), object(), "scheduler", "one", 1, clock)  # type: ignore[arg-type]
    term = LeaseTerm(1, clock.instant() + 1, clock)
    async with asyncio.timeout(5), background(lambda: lease.renew(term), "renew"):
        await term.over()
    assert not term.valid


def test_a_term_ends_when_its_time_has_passed_and_not_when_a_wall_clock_steps():
    clock = FakeClock()
    term = LeaseTerm(1, clock.instant() + 5, clock)
    for step_s in (-7200, 7200, 7200):
        clock.step_wall_s(step_s)
        assert term.valid
    clock.pass_s(4.9)
    assert term.valid
    clock.pass_s(0.1)
    assert not term.valid


@pytest.mark.parametrize(
    ("words", "ttl_s"),
    [
        pytest.param("host-1-abc nonce ttl=5 boot/1/2/3", 5, id="as it is written"),
        pytest.param("host-1-abc nonce boot/1/2/3", LONGEST_TTL_S, id="by an older version"),
        pytest.param("host ttl=soon boot/1/2/3", LONGEST_TTL_S, id="nonsense"),
        pytest.param("", LONGEST_TTL_S, id="nothing"),
    ],
)
def test_a_key_says_how_long_it_lives(words: str, ttl_s: int):
    assert ttl_of(words) == ttl_s
