# ruff: noqa: ARG002 the fakes keep the signatures of what they stand for
"""A lease in one process: how long a term counts, and that no failure of its renewal is a silence for ever."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.errors import APIError

from clusterodm.libs.common.bus.leases import (
    LONGEST_TTL_S,
    TTL_WORD,
    WRONG_REVISION,
    Lease,
    LeaseTerm,
    this_process,
    ttl_of,
)
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


class OneKey:
    """A bucket with one key: what is in it, and at which revision."""

    def __init__(self, value: bytes, revision: int) -> None:
        self.value: bytes | None = value
        self.revision = revision

    async def get(self, key: str) -> Any:
        return SimpleNamespace(value=self.value, revision=self.revision)

    async def delete(self, key: str, last: int) -> None:
        if last != self.revision:
            raise APIError(code=400, err_code=WRONG_REVISION)
        self.value = None

    async def purge(self, key: str) -> None:
        self.value = None


@pytest.mark.parametrize(
    ("holder", "revision", "is_freed"),
    [
        pytest.param("one", 0, True, id="as it was last written"),
        pytest.param("one", 3, True, id="written again, and the answer was lost"),
        pytest.param("two", 3, False, id="another's, while this one waited for NATS"),
    ],
)
async def test_who_leaves_frees_its_own_lease_and_no_other(holder: str, revision: int, is_freed: bool):
    """What is sent to a NATS that is away is heard when it is back: by then the term may be over, and another hold the lease."""
    clock = FakeClock()
    store = OneKey(f"{holder} {TTL_WORD}5 {this_process()}".encode(), revision)
    lease = Lease(BrokenStream(), store, "scheduler", "one", 5, clock)  # type: ignore[arg-type]
    await lease.leave(LeaseTerm(1, clock.instant() + 5, clock))
    assert (store.value is None) is is_freed


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
