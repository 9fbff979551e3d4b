"""Loops while NATS is away: one line instead of a trace, and the next round tries again."""

from collections.abc import Awaitable, Callable

import structlog

from libs.common.errors import BusFailed

log = structlog.get_logger()


def calm(act: Callable[[], Awaitable[object]], name: str) -> Callable[[], Awaitable[None]]:
    """Wrap what a loop does."""

    async def acted() -> None:
        try:
            await act()
        except BusFailed as error:
            log.warning("loop is interrupted", loop=name, error=error.message)

    return acted
