"""Loops while NATS is away or a task is removed under their hands: a line, no trace, and the next round tries again."""

from collections.abc import Awaitable, Callable

import structlog

from libs.common.errors import BusFailed, NotFound

log = structlog.get_logger()


def calm(act: Callable[[], Awaitable[object]], name: str) -> Callable[[], Awaitable[None]]:
    """Wrap what a loop does."""

    async def acted() -> None:
        try:
            await act()
        except NotFound as error:
            log.debug("task went away meanwhile", loop=name, error=error.message)
        except BusFailed as error:
            log.warning("loop is interrupted", loop=name, error=error.message)

    return acted
