"""Work in a thread of a pool, awaited by the event loop.

`run_in_executor` passes a result through two futures. The first has a lock, which the thread often still holds when the loop comes for the result; waiting for it
gives the interpreter away, and takes it back. Of what a small task cost a proxy a tenth was that. Here the thread hands its result to the loop, and to nobody else.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


async def in_thread(threads: Executor, work: Callable[[], Result]) -> Result:
    """Work in a thread; what `work` returns, or raises. Cancelled, however often, it ends the work first: what is half done would surprise the next one."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()
    threads.submit(carry_out, loop, done, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await outlast(done)
        raise


async def outlast(work: asyncio.Future[Any]) -> None:
    """Wait until work is over, however often whoever waits is cancelled: what a thread does ends no sooner for that."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])


def carry_out(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Result], work: Callable[[], Result]) -> None:
    """Work, and tell the loop. Runs in a thread."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 whatever it is, it is raised where the result is awaited
        loop.call_soon_threadsafe(done.set_exception, error)
    else:
        loop.call_soon_threadsafe(done.set_result, result)
