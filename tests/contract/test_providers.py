"""Every provider keeps one contract (services/autoscaler/providers/ports.py), in front of a stand-in that speaks the real interface."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model import MachineId
from clusterodm.services.autoscaler.orders import ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.contract.rentals import (
    BRIEF_S,
    NAME,
    NODE_TOKEN,
    OTHER,
    PATIENT_S,
    PREFIX,
    RENTALS,
    S3_SECRET,
    WEBHOOK,
    Rental,
    web,
)
from tests.waiting import until

WITH_KEYS = {"digitalocean", "hetzner", "scaleway", "aws"}


SLOW = {"aws": pytest.mark.slow}


@pytest.fixture(params=[pytest.param(kind, marks=SLOW.get(kind, ())) for kind in RENTALS])
async def rental(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rental]:
    async with RENTALS[request.param](tmp_path) as found:
        yield found


@pytest.fixture
async def provider(rental: Rental) -> AsyncIterator[BootedProvider]:
    async with rental.make() as found:
        yield found


async def test_a_machine_is_created_found_listed_destroyed_and_gone(rental: Rental, provider: BootedProvider):
    await provider.check()
    made = await provider.create(rental.order)
    assert made.name == NAME
    up = await provider.set_up(rental.order, made)
    assert up.address
    up = await until(lambda: running(provider))
    assert list(await provider.list(PREFIX)) == [up]
    assert list(await provider.list("clusterodm-c9-")) == []
    await provider.destroy(NAME, up.ref)
    assert await provider.inspect(NAME) is None
    assert list(await provider.list(PREFIX)) == []
    assert list(rental.present()) == []


async def running(provider: BootedProvider) -> ProviderMachine | None:
    found = await provider.inspect(NAME)
    return found if found and found.running else None


async def test_creating_again_goes_on_with_the_machine_that_is_there(rental: Rental, provider: BootedProvider):
    first = await provider.create(rental.order)
    async with rental.make() as restarted:
        again = await restarted.create(rental.order)
    assert again.ref == first.ref
    assert rental.created_count() == 1


async def test_creating_after_a_lost_answer_makes_no_second_machine(rental: Rental, provider: BootedProvider):
    rental.fail("create", "lost", 3 if rental.kind == "aws" else 1)
    try:
        await provider.create(rental.order)
    except ProviderFailed as error:
        assert error.trouble is Trouble.UNKNOWN_OUTCOME  # noqa: PT017 - both outcomes are right
        rental.fail("create", "lost", 0)
    found = await provider.create(rental.order)
    assert found.name == NAME
    assert rental.created_count() == 1
    assert list(rental.present()).count(NAME) == 1


async def test_a_server_error_that_came_too_late_makes_no_second_machine(rental: Rental, provider: BootedProvider):
    rental.fail("create", "late")
    try:
        await provider.create(rental.order)
    except ProviderFailed as error:
        assert error.trouble is Trouble.UNKNOWN_OUTCOME  # noqa: PT017 - both outcomes are right
    await provider.create(rental.order)
    assert rental.created_count() == 1


async def test_destroying_what_is_not_there_is_fine(rental: Rental, provider: BootedProvider):
    await provider.destroy(NAME, "")
    await provider.destroy(NAME, unknown_ref(rental))
    assert list(rental.present()) == []


def unknown_ref(rental: Rental) -> str:
    return {"aws": "us-west-2/i-0123456789abcdef0", "scaleway": "server/fr-par-1/none"}.get(rental.kind, "424242")


CREATION = [
    pytest.param("capacity", 30, Trouble.OUT_OF_CAPACITY, id="out of capacity"),
    pytest.param("limit", 30, Trouble.OUT_OF_CAPACITY, id="limit reached"),
    pytest.param("unauthorised", 1, Trouble.UNAUTHORISED, id="unauthorised"),
    pytest.param("rate", 3, Trouble.RETRYABLE, id="too many requests"),
    pytest.param("error", 3, Trouble.UNKNOWN_OUTCOME, id="server error"),
    pytest.param("slow", 3, Trouble.UNKNOWN_OUTCOME, id="no answer in time"),
    pytest.param("broken", 3, Trouble.UNKNOWN_OUTCOME, id="connection broken"),
]


def patience_with(how: str) -> float:
    """How long to wait for an answer: only one that does not come is not waited for."""
    return BRIEF_S if how == "slow" else PATIENT_S


@pytest.mark.parametrize(("how", "times", "trouble"), CREATION)
async def test_what_goes_wrong_when_creating_is_told_apart(rental: Rental, how: str, times: int, trouble: Trouble):
    rental.fail("create", how, times)
    async with rental.make(timeout_s=patience_with(how)) as provider:
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(rental.order)
    assert caught.value.trouble is trouble
    if rental.present():
        assert caught.value.ref, "what is there for certain is named"
        async with rental.make() as provider:
            await provider.destroy(NAME, caught.value.ref)
    assert list(rental.present()) == []
    no_secret_in(rental, caught.value.message)


@pytest.mark.parametrize(
    ("how", "times", "trouble"),
    [
        pytest.param("unauthorised", 9, Trouble.UNAUTHORISED, id="unauthorised"),
        pytest.param("rate", 9, Trouble.RETRYABLE, id="too many requests"),
        pytest.param("error", 9, Trouble.RETRYABLE, id="server error"),
        pytest.param("slow", 9, Trouble.RETRYABLE, id="no answer in time"),
        pytest.param("broken", 9, Trouble.RETRYABLE, id="connection broken"),
    ],
)
async def test_what_goes_wrong_when_listing_is_told_apart(rental: Rental, how: str, times: int, trouble: Trouble):
    rental.fail("list", how, times)
    async with rental.make(timeout_s=patience_with(how)) as provider:
        with pytest.raises(ProviderFailed) as caught:
            await provider.list(PREFIX)
    assert caught.value.trouble is trouble
    no_secret_in(rental, caught.value.message)


async def test_when_it_cannot_look_for_the_name_the_outcome_of_a_creation_is_unknown(
    rental: Rental, provider: BootedProvider
):
    rental.fail("list", "error", 3)
    with pytest.raises(ProviderFailed) as caught:
        await provider.create(rental.order)
    assert caught.value.trouble is Trouble.UNKNOWN_OUTCOME
    assert rental.created_count() == 0


async def test_a_failed_destruction_says_so_and_the_next_one_finishes_it(rental: Rental, provider: BootedProvider):
    made = await provider.create(rental.order)
    made = await provider.set_up(rental.order, made)
    on = "action" if rental.kind == "scaleway" else "delete"
    rental.fail(on, "error", 3 if rental.kind == "aws" else 1)
    with pytest.raises(ProviderFailed) as caught:
        await provider.destroy(NAME, made.ref)
    assert caught.value.trouble is Trouble.RETRYABLE
    await provider.destroy(NAME, made.ref)
    assert list(rental.present()) == []


async def test_machines_of_others_are_neither_listed_nor_touched(rental: Rental, provider: BootedProvider):
    rental.rent(OTHER)
    rental.rent(f"x{NAME}")
    rental.rent(f"{NAME}x")
    await provider.create(rental.order)
    assert [each.name for each in await provider.list(PREFIX)].count(NAME) == 1
    assert {each.name for each in await provider.list(PREFIX)} == {NAME, f"{NAME}x"}
    found = await provider.inspect(NAME)
    assert found is not None
    assert found.name == NAME
    await provider.destroy(NAME, found.ref)
    assert sorted(rental.present()) == sorted([OTHER, f"x{NAME}", f"{NAME}x"])


async def test_the_command_shows_what_would_be_done_and_no_secret(rental: Rental, provider: BootedProvider):
    line = await provider.command(rental.order)
    assert str(NAME) in line
    assert "\n" not in line
    no_secret_in(rental, line)
    assert rental.created_count() == 0


async def test_a_wrong_key_is_refused_at_the_start(rental: Rental, provider: BootedProvider):
    if rental.kind not in WITH_KEYS:
        pytest.skip("it has no keys")
    rental.fail("any", "unauthorised", 9)
    with pytest.raises(Refused) as caught:
        await provider.check()
    no_secret_in(rental, caught.value.message)


async def test_a_provider_that_is_out_of_reach_does_not_stop_the_start(rental: Rental, provider: BootedProvider):
    rental.fail("any", "error", 9)
    rental.fail("list", "error", 9)
    await provider.check()


async def test_two_machines_of_one_name_are_both_destroyed(rental: Rental, provider: BootedProvider):
    if rental.kind in {"hetzner", "docker", "command"}:
        pytest.skip("names are unique there")
    rental.rent(NAME)
    rental.rent(NAME)
    await provider.destroy(NAME, "")
    assert list(rental.present()) == []


class Killed(BaseException):
    """The process was ended."""


class Mortal(httpx.AsyncHTTPTransport):
    """Ends the process after so many calls have reached the API, before the last answer is seen."""

    def __init__(self, calls_count: int) -> None:
        super().__init__()
        self.left = calls_count

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        await answer.aread()
        self.left -= 1
        if self.left == 0:
            raise Killed
        return answer


async def lived_on(rental: Rental, calls_count: int, *, destroying: bool = False) -> bool:
    """Run until killed after so many calls; whether it came to its end before."""
    if destroying:
        async with rental.make() as before:
            await before.set_up(rental.order, await before.create(rental.order))
    try:
        async with rental.make(transport=Mortal(calls_count)) as mortal:
            if destroying:
                await mortal.destroy(NAME, "")
            else:
                await mortal.create(rental.order)
    except Killed:
        return False
    return True


KINDS = ["digitalocean", "hetzner", "scaleway", "scaleway block", "docker"]


@pytest.mark.slow
@pytest.mark.parametrize("destroying", [pytest.param(False, id="creating"), pytest.param(True, id="destroying")])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_kill_between_any_two_calls_leaves_nothing_that_a_list_does_not_show(kind: str, destroying: bool):
    name, _, block = kind.partition(" ")
    for calls_count in range(1, 60):
        async with web(name, size="PLAY2-NANO" if block else "", boot_s=0.0, delete_s=0.0) as rental:
            finished = await lived_on(rental, calls_count, destroying=destroying)
            async with rental.make() as after:
                shown = {each.name for each in await after.list(PREFIX)}
                assert set(rental.present()) <= shown
                if not destroying:
                    await after.create(rental.order)
                    assert rental.created_count() == 1
                await after.destroy(NAME, "")
                assert list(rental.present()) == []
            if finished:
                return
    raise AssertionError("it never came to an end")


async def test_a_long_list_is_read_to_its_end_and_each_machine_once(rental: Rental, provider: BootedProvider):
    count = 8 if rental.kind in {"aws", "command"} else 230
    names = [MachineId(f"{PREFIX}5-{number:04}") for number in range(count)]
    for name in names:
        rental.rent(name)
    assert [each.name for each in sorted(await provider.list(PREFIX), key=lambda each: each.name)] == names


async def test_what_is_found_is_the_machine_and_not_its_secrets(rental: Rental, provider: BootedProvider):
    made = await provider.create(rental.order)
    assert isinstance(made, ProviderMachine)
    no_secret_in(rental, repr(made))
    no_secret_in(rental, repr(provider))


def no_secret_in(rental: Rental, text: str) -> None:
    secret = WEBHOOK.partition("token=")[2]
    for each in (rental.key, NODE_TOKEN, S3_SECRET, secret):
        assert each not in text
