"""What is under way for a token that counts no more is cut, and nothing else."""

import asyncio
from typing import Any

import pytest

from clusterodm.libs.common.tenancy import ShownToken, Tenant
from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.server.revocation import LongRequests
from clusterodm.services.proxy.tenants.adapters.local import EverybodyMayCome


class Checker(EverybodyMayCome):
    """Says of tokens what a test wants."""

    open_to_all = False  # type: ignore[assignment]

    def __init__(self) -> None:
        self.valid: set[str] = set()
        self.remembered: set[str] = set()
        self.answers = True
        self.asked: list[str] = []

    def known(self, token: ShownToken) -> Tenant | None:
        """Say what is remembered."""
        return Tenant() if token.text in self.remembered else None

    async def check(self, token: ShownToken) -> Tenant | None:
        """Ask somebody."""
        self.asked.append(token.text)
        if not self.answers:
            raise ServerBusy("nobody answers")
        return Tenant() if token.text in self.valid else None


class Exchange:
    """As much of a request as matters here."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.body_left = True


class Stage:
    """Requests that wait for ever."""

    def __init__(self) -> None:
        self.checker = Checker()
        self.requests = LongRequests(self.checker)

    async def begins(self, token: str, *, body_left: bool = True) -> "asyncio.Task[str]":
        """Begin one; what came of it."""
        exchange: Any = Exchange(token)
        exchange.body_left = body_left

        async def wait() -> str:
            self.requests.begin(exchange)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return "cut" if self.requests.end(exchange) else "stopped"
            return "ended"

        task = asyncio.create_task(wait())  # noqa: TID251 the test ends it
        await asyncio.sleep(0)
        return task


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_what_was_sent_as_a_whole_is_carried_out(stage: Stage) -> None:
    whole, held = await stage.begins("anne", body_left=False), await stage.begins("anne")
    await stage.requests.cut_revoked()
    assert await held == "cut"
    assert not whole.done()
    whole.cancel()


async def test_requests_of_a_token_that_counts_no_more_are_cut_and_others_go_on(stage: Stage) -> None:
    one, too, other, fresh = [await stage.begins(token) for token in ("anne", "anne", "bert", "carl")]
    stage.checker.remembered, stage.checker.valid = {"bert"}, {"carl"}
    await stage.requests.cut_revoked()
    assert [await one, await too] == ["cut", "cut"]
    assert sorted(stage.checker.asked) == ["anne", "carl"]  # once each
    assert [other.done(), fresh.done()] == [False, False]
    other.cancel()
    fresh.cancel()
    assert [await other, await fresh] == ["stopped", "stopped"]


async def test_they_go_on_while_nobody_can_say_whether_their_token_counts(stage: Stage) -> None:
    stage.checker.answers = False
    one = await stage.begins("anne")
    await stage.requests.cut_revoked()
    assert not one.done()
    stage.checker.answers = True
    await stage.requests.cut_revoked()
    assert await one == "cut"


async def test_what_has_ended_meanwhile_is_not_cut(stage: Stage) -> None:
    one = await stage.begins("anne")
    one.cancel()
    assert await one == "stopped"
    await stage.requests.cut_revoked()
    assert stage.checker.asked == []
