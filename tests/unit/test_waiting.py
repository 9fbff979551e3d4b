"""tests/waiting.py: what `passed` shows."""

import asyncio

import pytest

from tests.waiting import TurnedLoop, passed


def test_what_waits_for_its_time_has_acted_when_that_has_passed() -> None:
    acted: list[str] = []

    async def act(name: str, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            acted.append(name)

    async def act_late() -> None:
        try:
            async with asyncio.timeout(59):
                await asyncio.Event().wait()
        except TimeoutError:
            acted.append("in vain")

    async def example() -> None:
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(act("often", 10)), group.create_task(act("rarely", 25))]
            late = group.create_task(act_late())
            await passed(55, step_s=1)
            assert acted == ["often", "often", "rarely", "often", "often", "rarely", "often"]
            assert not late.done()
            await passed(5, step_s=1)
            assert late.done()
            for each in loops:
                each.cancel()

    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(example())


def test_time_cannot_be_turned_in_a_loop_of_another_kind() -> None:
    with pytest.raises(AssertionError):
        asyncio.run(passed())
