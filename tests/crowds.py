"""Many who do the same at the same time, some of whom are cut off."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

STEPS_COUNT = 2_000
IN_TIME_S = 60.0


async def come_and_go(
    one: Callable[[], Coroutine[Any, Any, None]], by_chance: Random, present_count: int, cut_share: float
) -> None:
    """Have so many do something; who has ended is followed by another, and now and then one is cut off. Returns when all have ended."""
    async with asyncio.timeout(IN_TIME_S), asyncio.TaskGroup() as group:
        present = [group.create_task(one()) for _ in range(present_count)]
        for _ in range(STEPS_COUNT):
            place = by_chance.randrange(present_count)
            if present[place].done():
                present[place] = group.create_task(one())
            elif by_chance.random() < cut_share:
                present[place].cancel()
            await asyncio.sleep(0)
