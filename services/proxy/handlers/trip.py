"""One upload's way to one node before its commit, under one id there: what is complete is sent, until an attempt goes on or not.

A trip ends once. *Confirmed*, the files under way are sent to their end and nothing else is begun: an attempt goes on from
there. *Given up*, everything stops at once. Whatever else ends it is a failure, so an attempt only ever goes on with a trip of
which every file is known to be on the node in full, or never to have been sent.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from libs.common.errors import ClusterError
from libs.common.lifecycle import leaves
from libs.common.messages import SentAhead
from services.proxy.core.ahead import Pile
from services.proxy.handlers.delivery import Delivery, StepFailed

Check = Callable[[], Awaitable[str]]
"""Says why the trip should end; empty: it goes on."""


class GivenUp(Exception):
    """The trip ends without an attempt."""


class Trip:
    """One way of one upload. `run` it once."""

    def __init__(self, delivery: Delivery, ahead: SentAhead, pile: Pile) -> None:
        self.delivery = delivery
        self.ahead = ahead
        self.failure: str | None = "it was interrupted"
        """Why it came to nothing, once it is over."""
        self.over = asyncio.Event()
        """Nothing of it is under way any more."""
        self._pile = pile
        self._more = asyncio.Event()
        self._told = asyncio.Event()
        self._dropped = asyncio.Event()
        self._confirmed = False
        self._given_up = ""

    def __repr__(self) -> str:
        """Show where it goes and how it is."""
        return f"Trip({self.delivery!r} confirmed={self._confirmed} given_up={self._given_up!r})"

    @property
    def may_be_confirmed(self) -> bool:
        """Whether an attempt could go on with it."""
        return not (self._given_up or self.over.is_set())

    def confirm(self) -> None:
        """End with the files that are under way."""
        self._confirmed = True
        self._more.set()
        self._told.set()

    def give_up(self, reason: str) -> None:
        """End at once."""
        self._given_up = self._given_up or reason
        self._told.set()
        self._dropped.set()

    def look_again(self) -> None:
        """Take note that there may be something to send."""
        self._more.set()

    async def run(self, check: Check, check_every_s: float, parallel_count: int, gives_way: Callable[[], bool]) -> None:
        """Go, to the end. `gives_way` says whether to begin no other file now."""
        try:
            self.failure = await self._run(check, check_every_s, parallel_count, gives_way) or self._given_up or None
        finally:
            self.over.set()

    async def _run(self, check: Check, check_every_s: float, parallel_count: int, gives_way: Callable[[], bool]) -> str:
        failures: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(check, check_every_s), name="watch trip")
                await self.delivery.begin()
                async with asyncio.TaskGroup() as hands:
                    for number in range(parallel_count):
                        hands.create_task(self._carry(gives_way), name=f"carry {number}")
                watching.cancel()
        except* (GivenUp, StepFailed, OSError, ClusterError) as group_of_failures:
            failures = leaves(group_of_failures)
        return str(failures[0]) if failures else ""

    async def _carry(self, gives_way: Callable[[], bool]) -> None:
        """Send one file after the other until the trip is confirmed."""
        while not self._confirmed:
            name = None if gives_way() else self._pile.take()
            if name is None:
                self._more.clear()
                await self._more.wait()
            else:
                await self.delivery.send(name, self._pile.sizes[name])

    async def _watch(self, check: Check, check_every_s: float) -> None:
        """Look again and again whether it should go on. Raises GivenUp."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(check_every_s):
                    await self._told.wait()
            if self._told.is_set():
                break
            if (why := await check()) and not self._told.is_set():
                raise GivenUp(why)
        await self._dropped.wait()
        raise GivenUp(self._given_up)
