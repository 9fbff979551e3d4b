"""The contract of providers (clusterodm.providers.Vendor), whoever rents the machines: each test is a sentence of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from clusterodm.contract.failures import How, Step
from clusterodm.contract.stage import BRIEF_S, NAME, OTHER, PATIENT_S, PREFIX, Stage
from clusterodm.providers import MachineId, ProviderFailed, ProviderMachine, Refused, Trouble
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider

pytestmark = pytest.mark.asyncio
DEADLINE_S = 20.0
MOST_CALLS_COUNT = 60


@pytest_asyncio.fixture
async def provider(stage: Stage) -> AsyncIterator[BootedProvider]:
    """Make a provider whose calls may go wrong."""
    async with stage.provider() as found:
        yield found


async def running(provider: BootedProvider) -> ProviderMachine:
    """Wait until the machine runs."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await provider.inspect(NAME)
            if found and found.running and found.address:
                return found
            await asyncio.sleep(0.02)


def timeout_for_s(how: How) -> float:
    """How long to wait for an answer: only one that does not come is not waited for."""
    return BRIEF_S if how is How.SLOW else PATIENT_S


def needs(stage: Stage, how: How) -> None:
    """Skip where this cannot go wrong."""
    if str(how) in stage.trial.without or (how is How.UNAUTHORISED and not stage.trial.has_keys):
        pytest.skip(f"there is no such failure there: {how}")


async def test_a_machine_is_created_found_listed_destroyed_and_gone(stage: Stage, provider: BootedProvider) -> None:
    await provider.check()
    made = await provider.create(stage.order)
    assert made.name == NAME
    assert made.ref, "the id by which it is found where a list is behind"
    await provider.set_up(stage.order, made)
    up = await running(provider)
    assert list(await provider.list(PREFIX)) == [up]
    assert list(await provider.list("clusterodm-c9-")) == []
    assert await provider.destroy(NAME, up.ref)
    assert await provider.inspect(NAME) is None
    assert list(await provider.list(PREFIX)) == []
    assert await stage.present() == []


async def test_what_a_lost_record_needs_is_told(stage: Stage, provider: BootedProvider) -> None:
    made = await provider.create(stage.order)
    await provider.set_up(stage.order, made)
    (found,) = await provider.list(PREFIX)
    assert found.size in {"", stage.trial.slug}, "the size as the file names it, or nothing"
    assert found.created_at_ms >= 0


async def test_it_is_found_by_its_id_alone(stage: Stage, provider: BootedProvider) -> None:
    made = await provider.create(stage.order)
    found = await provider.inspect(NAME, made.ref)
    assert found is not None
    assert found.ref == made.ref


async def test_creating_again_goes_on_with_the_machine_that_is_there(stage: Stage, provider: BootedProvider) -> None:
    first = await provider.create(stage.order)
    async with stage.provider() as restarted:
        again = await restarted.create(stage.order)
    assert again.ref == first.ref
    assert (await stage.present()).count(NAME) == 1


@pytest.mark.parametrize("how", [How.LOST, How.LATE])
async def test_a_creation_without_an_answer_makes_no_second_machine(
    stage: Stage, how: How, provider: BootedProvider
) -> None:
    stage.faults.plan(Step.CREATE, how)
    try:
        await provider.create(stage.order)
    except ProviderFailed as error:
        assert error.trouble is Trouble.UNKNOWN_OUTCOME  # noqa: PT017 - both outcomes are right
    stage.faults.clear()
    found = await provider.create(stage.order)
    assert found.name == NAME
    assert (await stage.present()).count(NAME) == 1


async def test_destroying_what_is_not_there_is_fine(stage: Stage, provider: BootedProvider) -> None:
    assert not await provider.destroy(NAME, "")
    assert not await provider.destroy(NAME, stage.trial.unknown_ref)
    assert await stage.present() == []


CREATION = [
    pytest.param(How.CAPACITY, Trouble.OUT_OF_CAPACITY, id="out of capacity"),
    pytest.param(How.LIMIT, Trouble.OUT_OF_CAPACITY, id="limit reached"),
    pytest.param(How.UNAUTHORISED, Trouble.UNAUTHORISED, id="unauthorised"),
    pytest.param(How.RATE, Trouble.RETRYABLE, id="too many requests"),
    pytest.param(How.ERROR, Trouble.UNKNOWN_OUTCOME, id="server error"),
    pytest.param(How.SLOW, Trouble.UNKNOWN_OUTCOME, id="no answer in time"),
    pytest.param(How.BROKEN, Trouble.UNKNOWN_OUTCOME, id="connection broken"),
    pytest.param(How.NONSENSE, Trouble.UNKNOWN_OUTCOME, id="nonsense"),
    pytest.param(How.HOLLOW, Trouble.UNKNOWN_OUTCOME, id="an empty answer"),
]


@pytest.mark.parametrize(("how", "trouble"), CREATION)
async def test_what_goes_wrong_when_creating_is_told_apart(stage: Stage, how: How, trouble: Trouble) -> None:
    needs(stage, how)
    stage.faults.plan(Step.CREATE, how)
    async with stage.provider(answer_s=timeout_for_s(how)) as provider:
        with pytest.raises(ProviderFailed) as caught:
            await provider.create(stage.order)
    assert caught.value.trouble is trouble
    if await stage.present():
        assert caught.value.ref, "what is there for certain is named"
        async with stage.provider(straight=True) as straight:
            await straight.destroy(NAME, caught.value.ref)
    assert await stage.present() == []
    stage.no_secret_in(caught.value.message)


LISTING = [
    pytest.param(How.UNAUTHORISED, Trouble.UNAUTHORISED, id="unauthorised"),
    pytest.param(How.RATE, Trouble.RETRYABLE, id="too many requests"),
    pytest.param(How.ERROR, Trouble.RETRYABLE, id="server error"),
    pytest.param(How.SLOW, Trouble.RETRYABLE, id="no answer in time"),
    pytest.param(How.BROKEN, Trouble.RETRYABLE, id="connection broken"),
    pytest.param(How.NONSENSE, Trouble.RETRYABLE, id="nonsense"),
    pytest.param(How.HOLLOW, Trouble.RETRYABLE, id="an empty answer"),
]


@pytest.mark.parametrize(("how", "trouble"), LISTING)
async def test_what_goes_wrong_when_listing_is_told_apart(stage: Stage, how: How, trouble: Trouble) -> None:
    needs(stage, how)
    await stage.rent(NAME)
    stage.faults.plan(Step.LIST, how)
    async with stage.provider(answer_s=timeout_for_s(how)) as provider:
        with pytest.raises(ProviderFailed) as caught:
            await provider.list(PREFIX)
    assert caught.value.trouble is trouble
    stage.no_secret_in(caught.value.message)


async def test_when_it_cannot_look_for_the_name_the_outcome_of_a_creation_is_unknown(
    stage: Stage, provider: BootedProvider
) -> None:
    stage.faults.plan(Step.LIST, How.ERROR)
    with pytest.raises(ProviderFailed) as caught:
        await provider.create(stage.order)
    assert caught.value.trouble is Trouble.UNKNOWN_OUTCOME
    assert await stage.present() == []


@pytest.mark.parametrize("how", [How.ERROR, How.BROKEN, How.LOST, How.LATE])
async def test_a_failed_destruction_says_so_and_the_next_one_finishes_it(
    stage: Stage, how: How, provider: BootedProvider
) -> None:
    made = await provider.create(stage.order)
    made = await provider.set_up(stage.order, made)
    stage.faults.plan(Step.REMOVE, how)
    with pytest.raises(ProviderFailed) as caught:
        await provider.destroy(NAME, made.ref)
    assert caught.value.trouble is Trouble.RETRYABLE
    stage.faults.clear()
    await provider.destroy(NAME, made.ref)
    assert await stage.present() == []


async def test_machines_of_others_are_neither_listed_nor_touched(stage: Stage, provider: BootedProvider) -> None:
    await stage.rent(OTHER, f"x{NAME}", f"{NAME}x")
    await provider.create(stage.order)
    assert sorted(each.name for each in await provider.list(PREFIX)) == [NAME, f"{NAME}x"]
    found = await provider.inspect(NAME)
    assert found is not None
    assert found.name == NAME
    await provider.destroy(NAME, found.ref)
    assert sorted(await stage.present()) == sorted([OTHER, f"x{NAME}", f"{NAME}x"])


async def test_two_machines_of_one_name_are_both_destroyed(stage: Stage, provider: BootedProvider) -> None:
    if stage.trial.unique_names:
        pytest.skip("names are unique there")
    await stage.rent(NAME, NAME)
    await provider.destroy(NAME, "")
    assert await stage.present() == []


async def test_the_command_shows_what_would_be_done_and_no_secret(stage: Stage, provider: BootedProvider) -> None:
    line = await provider.command(stage.order)
    assert str(NAME) in line
    assert "\n" not in line
    stage.no_secret_in(line)
    assert await stage.present() == []


async def test_a_wrong_key_is_refused_at_the_start(stage: Stage, provider: BootedProvider) -> None:
    needs(stage, How.UNAUTHORISED)
    stage.faults.plan(Step.ANY, How.UNAUTHORISED)
    with pytest.raises(Refused) as caught:
        await provider.check()
    stage.no_secret_in(caught.value.message)


async def test_a_provider_that_is_out_of_reach_does_not_stop_the_start(stage: Stage, provider: BootedProvider) -> None:
    stage.faults.plan(Step.ANY, How.ERROR)
    await provider.check()


async def test_a_key_of_the_file_that_is_missing_or_wrong_is_named(stage: Stage) -> None:
    for key in stage.trial.required:
        _, mistakes = stage.read({name: value for name, value in stage.trial.keys.items() if name != key})
        assert any(key in mistake for mistake in mistakes), mistakes
    for key in stage.trial.keys:
        _, mistakes = stage.read({**stage.trial.keys, key: [["no such value"]]})
        assert any(key in mistake for mistake in mistakes), mistakes
    _, mistakes = stage.read({**stage.trial.keys, "noSuchKey": 1})
    assert [mistake for mistake in mistakes if "noSuchKey" in mistake]


@pytest.mark.parametrize("destroying", [pytest.param(False, id="creating"), pytest.param(True, id="destroying")])
async def test_an_end_after_any_call_leaves_nothing_that_a_list_does_not_show(stage: Stage, destroying: bool) -> None:
    for calls_count in range(1, MOST_CALLS_COUNT):
        name = MachineId(f"{NAME}{calls_count}")  # no name is ever used again
        finished = await lived_on(stage, name, calls_count, destroying=destroying)
        async with stage.provider(straight=True) as after:
            shown = {str(each.name) for each in await after.list(PREFIX)}
            assert set(await stage.present()) <= shown
            if not destroying:
                await after.create(stage.order_of(name))
                assert (await stage.present()).count(name) == 1
            await after.destroy(name, "")
            assert await stage.present() == []
        if finished:
            return
    raise AssertionError("it never came to an end")


async def lived_on(stage: Stage, name: MachineId, calls_count: int, *, destroying: bool) -> bool:
    """Create or destroy until nothing gets through any more; whether it came to its end before."""
    order = stage.order_of(name)
    if destroying:
        async with stage.provider(straight=True) as before:
            await before.set_up(order, await before.create(order))
    stage.faults.cut_after(calls_count)
    try:
        async with stage.provider() as mortal:
            if destroying:
                await mortal.destroy(name, "")
            else:
                await mortal.create(order)
    except ProviderFailed:
        return False
    finally:
        stage.faults.clear()
    return True


async def test_a_creation_that_is_given_up_is_found_by_the_next_one(stage: Stage) -> None:
    stage.faults.plan(Step.CREATE, How.SLOW, 1)
    async with stage.provider() as given_up:
        creating = asyncio.get_running_loop().create_task(given_up.create(stage.order), name="create")
        await asyncio.sleep(0.05)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
    stage.faults.clear()
    async with stage.provider() as restarted:
        await restarted.create(stage.order)
        assert (await stage.present()).count(NAME) == 1
        await restarted.destroy(NAME, "")
    assert await stage.present() == []


async def test_a_long_list_is_read_to_its_end_and_each_machine_once(stage: Stage, provider: BootedProvider) -> None:
    names = [MachineId(f"{PREFIX}5-{number:04}") for number in range(stage.trial.many_count)]
    await stage.rent(*names)
    assert sorted(each.name for each in await provider.list(PREFIX)) == names


async def test_what_is_found_is_the_machine_and_not_its_secrets(stage: Stage, provider: BootedProvider) -> None:
    made = await provider.create(stage.order)
    assert isinstance(made, ProviderMachine)
    stage.no_secret_in(repr(made))
    stage.no_secret_in(repr(provider))
