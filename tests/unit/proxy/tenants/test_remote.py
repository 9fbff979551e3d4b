"""Somebody who is asked about tokens: what is remembered, for how long, and what a flood costs."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.tenancy import Tenant, shown
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.tenants.adapters.remote import (
    REMEMBERED_COUNT,
    WAITING_COUNT,
    RemoteChecker,
    RemoteCheckPolicy,
    Unanswered,
)

POLICY = RemoteCheckPolicy(fresh_s=4.0, grace_s=60.0, tries_count=3, pause_s=0.0, finished_pause_s=0.0)
TOKEN = shown("sesame")


class Told:
    """Answers what a test says."""

    def __init__(self) -> None:
        self.valid = {"sesame"}
        self.silent_count = 0
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def validate(self, token: str) -> Tenant | None:
        self.asked.append(token)
        await self.hold.wait()
        if self.silent_count:
            self.silent_count -= 1
            raise Unanswered("timed out")
        return Tenant(name="survey") if token in self.valid else None

    async def approve(self, token: str, images_count: int) -> None:
        assert token
        if images_count > 5:
            raise Refused("Not enough credits")
        if images_count == 5:
            raise Unanswered("timed out")

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        assert token
        self.ended.append(info["uuid"])
        if self.silent_count:
            self.silent_count -= 1
            raise Unanswered("timed out")

    def auth_info(self) -> Mapping[str, Any]:
        return {"message": "log in"}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def checker(told: Told, clock: FakeClock) -> RemoteChecker:
    return RemoteChecker(told, POLICY, clock)


async def test_an_answer_is_remembered_while_it_is_fresh(checker: RemoteChecker, told: Told, clock: FakeClock) -> None:
    assert checker.known(TOKEN) is None
    assert await checker.check(TOKEN) == Tenant(name="survey")
    assert checker.known(TOKEN) == Tenant(name="survey")
    clock.pass_s(4.1)
    assert checker.known(TOKEN) is None
    assert told.asked == ["sesame"]


async def test_a_token_in_use_is_asked_for_again_before_it_is_stale_and_no_other(
    checker: RemoteChecker, told: Told, clock: FakeClock
) -> None:
    told.valid.add("idle")
    await checker.check(TOKEN)
    await checker.check(shown("idle"))
    clock.pass_s(2.1)
    await checker.refresh()
    told.asked.clear()
    checker.known(TOKEN)
    clock.pass_s(2.1)
    await checker.refresh()
    assert told.asked == ["sesame"]
    told.valid.clear()
    checker.known(TOKEN)
    clock.pass_s(2.1)
    await checker.refresh()
    assert checker.known(TOKEN) is None
    assert await checker.check(TOKEN) is None


async def test_who_shows_the_same_token_waits_for_the_same_answer(checker: RemoteChecker, told: Told) -> None:
    told.hold.clear()
    asking = [asyncio.ensure_future(checker.check(TOKEN)) for _ in range(20)]  # noqa: TID251 a test
    await asyncio.sleep(0)
    told.hold.set()
    assert await asyncio.gather(*asking) == [Tenant(name="survey")] * 20
    assert told.asked == ["sesame"]


async def test_what_is_not_answered_is_tried_again_then_put_off(checker: RemoteChecker, told: Told) -> None:
    told.silent_count = 2
    assert await checker.check(TOKEN) == Tenant(name="survey")
    assert len(told.asked) == 3
    told.silent_count = 9
    with pytest.raises(ServerBusy):
        await checker.check(shown("another"))


async def test_a_token_that_was_valid_counts_for_a_while_when_nobody_answers(
    checker: RemoteChecker, told: Told, clock: FakeClock
) -> None:
    await checker.check(TOKEN)
    told.silent_count = 99
    clock.pass_s(30.0)
    assert await checker.check(TOKEN) == Tenant(name="survey")
    clock.pass_s(40.0)
    with pytest.raises(ServerBusy):
        await checker.check(TOKEN)


async def test_an_invalid_token_is_not_asked_for_at_each_request(
    checker: RemoteChecker, told: Told, clock: FakeClock
) -> None:
    for _ in range(5):
        assert await checker.check(shown("wrong")) is None
    assert await checker.check(shown("")) is None
    assert await checker.check(shown("x" * 2_000)) is None
    assert told.asked == ["wrong"]
    clock.pass_s(4.1)
    told.valid.add("wrong")
    assert await checker.check(shown("wrong")) == Tenant(name="survey")


async def test_a_flood_of_made_up_tokens_is_bounded(checker: RemoteChecker, told: Told) -> None:
    told.hold.clear()
    flood = [asyncio.ensure_future(checker.check(shown(f"made up {n}"))) for n in range(WAITING_COUNT)]  # noqa: TID251 a test
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy):
        await checker.check(TOKEN)
    assert len(told.asked) < WAITING_COUNT
    told.hold.set()
    await asyncio.gather(*flood)
    assert await checker.check(TOKEN) == Tenant(name="survey")
    for number in range(REMEMBERED_COUNT + 10):
        checker._remember(shown(str(number)), None)
    assert len(checker._remembered) == REMEMBERED_COUNT


async def test_a_task_is_approved_refused_or_put_off(checker: RemoteChecker) -> None:
    await checker.approve(TOKEN, 1)
    with pytest.raises(Refused, match="Not enough credits"):
        await checker.approve(TOKEN, 9)
    with pytest.raises(ServerBusy):
        await checker.approve(TOKEN, 5)


async def test_an_end_is_told_until_it_is_heard_and_then_given_up(checker: RemoteChecker, told: Told) -> None:
    told.silent_count = 2
    await checker.finished("sesame", {"uuid": "a"})
    assert told.ended == ["a"] * 3
    told.silent_count = 9
    await checker.finished("sesame", {"uuid": "b"})
    assert told.ended == ["a"] * 3 + ["b"] * 3
