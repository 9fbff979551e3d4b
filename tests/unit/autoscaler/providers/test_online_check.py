"""The file is tried at the provider's API: at the start for some seconds at most, then beside the work."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog.testing

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.config.core.configuration import Configuration, ScalingLimits
from clusterodm.services.autoscaler.orders import ProviderMachine, Size
from clusterodm.services.autoscaler.providers.adapters.online_check import (
    AGAIN_S,
    START_LIMIT_S,
    OnlineCheck,
    OnlineCheckedProvider,
)
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from tests.waiting import TurnedLoop, passed

FILE = Configuration(
    provider="test", mode="api", limits=ScalingLimits(sizes=(Size(slug="small", max_images=9),), regions=("a",))
)
SOLD = Catalogue(regions=frozenset({"a"}), sizes={"small": None})
KEYS = ProviderFailed("test: GET /: 401", Trouble.UNAUTHORISED)
AWAY = ProviderFailed("test: no connection", Trouble.RETRYABLE)


def turned(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop whose clock it turns."""

    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=TurnedLoop) as runner:
            runner.run(test(*given, **named))

    return run


class Api:
    """Answers what it is told to, one after the other, the last for ever; None: not at all."""

    def __init__(self, *answers: ProviderFailed | Catalogue | None, of_catalogue: ProviderFailed | None = None) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self._last: Any = None
        self._of_catalogue = of_catalogue
        self.asked_count = 0

    async def ask(self) -> None:
        self.asked_count += 1
        self._last = next(self._answers, self._last)
        if self._last is None:
            await asyncio.Event().wait()
        if isinstance(self._last, ProviderFailed):
            raise self._last

    async def catalogue(self) -> Catalogue | None:
        if self._of_catalogue:
            raise self._of_catalogue
        return self._last


class Worker(Cloud):
    """A provider that works; its program may not be there."""

    def __init__(self, refusal: str = "") -> None:
        super().__init__(ProviderMachine)
        self._refusal = refusal

    async def check(self) -> None:
        if self._refusal:
            raise Refused(self._refusal)


def checked(api: Api, *, decides: bool = True, refusal: str = "") -> OnlineCheckedProvider:
    return OnlineCheckedProvider(Worker(refusal), OnlineCheck(api, FILE), decides=decides)


async def test_a_file_that_the_cloud_accepts_is_a_line_and_a_word():
    with structlog.testing.capture_logs() as lines:
        async with checked(Api(SOLD)) as provider:
            await provider.check()
            assert str(provider.file_check) == "accepted"
    assert [line["event"] for line in lines] == ["asr_file.accepted"]


async def test_wrong_keys_end_the_start_by_api():
    async with checked(Api(KEYS)) as provider:
        with pytest.raises(Refused, match="test: GET /: 401"):
            await provider.check()


async def test_a_file_with_which_nothing_can_be_rented_ends_the_start_with_a_line_each():
    nothing = Catalogue(regions=frozenset({"b"}), sizes={"large": None})
    async with checked(Api(nothing)) as provider:
        with pytest.raises(Refused) as caught:
            await provider.check()
    assert caught.value.message.splitlines() == ["test: there is no region 'a'", "test: there is no size 'small'"]


async def test_what_is_wrong_in_part_is_said_and_stops_nothing():
    in_part = Catalogue(sizes={"small": frozenset({"b"})}, regions=frozenset({"a"}))
    with structlog.testing.capture_logs() as lines:
        async with checked(Api(in_part)) as provider:
            await provider.check()
            assert provider.file_check.findings.mistakes == ("test: 'small' is not to be had in a now",)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("asr_file.not_accepted", "test: 'small' is not to be had in a now")
    ]


@turned
async def test_a_cloud_that_does_not_answer_holds_the_start_up_for_some_seconds_only():
    api = Api(None)
    async with checked(api) as provider, asyncio.TaskGroup() as group:
        start = group.create_task(provider.check())
        await passed(START_LIMIT_S - 1, step_s=0.5)
        assert not start.done()
        await passed(2, step_s=0.5)
        assert start.done()
        assert str(provider.file_check) == "not tried yet: test has not answered in 10 s"


@pytest.mark.parametrize("decides", [True, False])
@turned
async def test_what_has_not_answered_is_tried_again_beside_the_work_and_then_no_more(decides: bool):
    api = Api(AWAY, AWAY, SOLD)
    with structlog.testing.capture_logs() as lines:
        async with checked(api, decides=decides) as provider:
            await provider.check()
            await passed(1, step_s=0.5)
            assert (api.asked_count, str(provider.file_check)) == (1, "not tried yet: test: no connection")
            assert await provider.list("") == []
            await passed(2 * AGAIN_S + 20, step_s=AGAIN_S / 4)
            assert (api.asked_count, str(provider.file_check)) == (3, "accepted")
            await passed(3 * AGAIN_S, step_s=AGAIN_S / 4)
            assert api.asked_count == 3
    assert [line["event"] for line in lines] == ["provider.not_reached", "asr_file.accepted"]


@turned
async def test_keys_that_turn_out_wrong_later_end_nothing():
    async with checked(Api(AWAY, KEYS)) as provider:
        await provider.check()
        await passed(AGAIN_S + 20, step_s=AGAIN_S / 4)
        assert str(provider.file_check) == "test: GET /: 401"


@turned
async def test_a_provider_that_could_not_be_had_is_asked_again_until_it_can():
    api = Api(KEYS, KEYS, SOLD)
    with structlog.testing.capture_logs() as lines:
        async with checked(api) as provider:
            with pytest.raises(Refused):
                await provider.check()
            await passed(2 * AGAIN_S + 20, step_s=AGAIN_S / 4)
            assert (api.asked_count, str(provider.file_check)) == (3, "accepted")
            await passed(2 * AGAIN_S, step_s=AGAIN_S / 4)
            assert api.asked_count == 3
    assert [line["event"] for line in lines] == ["asr_file.not_accepted", "asr_file.accepted"]


@turned
async def test_beside_docker_machine_nothing_waits_and_nothing_ends_the_start():
    async with checked(Api(KEYS), decides=False) as provider:
        await provider.check()
        assert not provider.file_check.answered
        await passed(1, step_s=0.5)
        assert provider.file_check.findings.mistakes == ("test: GET /: 401",)


async def test_without_its_program_docker_machine_ends_the_start():
    api = Api(SOLD)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(checked(api, decides=False, refusal="not found in PATH"))
        with pytest.raises(Refused, match="not found in PATH"):
            await provider.check()
    assert api.asked_count == 0


async def test_a_key_that_may_not_see_the_sizes_is_no_wrong_key():
    api = Api(SOLD, of_catalogue=ProviderFailed("test: GET /sizes: 403", Trouble.UNAUTHORISED))
    async with checked(api) as provider:
        await provider.check()
        assert str(provider.file_check) == "regions and sizes could not be tried: test: GET /sizes: 403"
