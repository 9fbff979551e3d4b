"""A watch of a bucket that goes on whatever happens to NATS: each consumer that is interrupted is followed by another.

The next one tells everything that is there, and the watch compares: what it has told already it leaves out, and what it knew and no
longer sees it tells as gone. A bucket that began anew (its stream was made at another time, or ends before what has been told) has
revisions that mean something else: that is said first (`Reset`), and then everything is told again.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Generic, Self, TypeVar

import structlog

from clusterodm.libs.common.bus.consumers import Consumer, Interrupted, SignsOfLife, StreamMessage
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, Slices
from clusterodm.libs.common.ports import Change, Reset, Seen, Step

log = structlog.get_logger()

Value = TypeVar("Value")


class NatsWatch(Generic[Value]):
    """A watch under way; `clusterodm.libs.common.ports.Watch` says what it promises."""

    def __init__(
        self,
        name: str,
        consuming: Callable[[], AbstractAsyncContextManager[Consumer]],
        key_of: Callable[[StreamMessage], str],
        read: Callable[[StreamMessage], Step[Value]],
    ) -> None:
        self._name = name
        self._consuming = consuming
        self._key_of = key_of
        self._read = read
        self._known: dict[str, int] = {}
        """Revisions of the keys that are there, as far as they have been told."""
        self._reached = 0
        """The highest revision that has been told."""
        self._consumer: Consumer | None = None
        self._last: Consumer | None = None
        self._told_all = False
        self.signs = SignsOfLife()
        self._steps = self._all_steps()

    def __repr__(self) -> str:
        """Show what it reads from."""
        return f"NatsWatch({self._name} {self._consumer!r})"

    def __aiter__(self) -> Self:
        """Iterate over the steps."""
        return self

    async def __anext__(self) -> Step[Value]:
        """Wait for the next step."""
        return await anext(self._steps)

    async def end(self) -> None:
        """End it, on the server too."""
        await self._steps.aclose()

    async def _all_steps(self) -> AsyncGenerator[Step[Value]]:
        while True:
            async with self._consuming() as consumer:
                consumer.tell(self.signs)
                if consumer.began_anew(self._last, self._reached):
                    log.warning("bucket.began_anew", bucket=self._name, reached=self._reached, reaches=consumer.reaches)
                    self._known = dict.fromkeys(self._known, 0)
                    self._reached = 0
                    yield Reset()
                self._consumer = self._last = consumer
                try:
                    async for step in self._steps_of(consumer):
                        yield step
                except (Interrupted, *NATS_ERRORS) as error:
                    log.debug("watch.interrupted", bucket=self._name, reason=str(error) or type(error).__name__)
                self._consumer = None

    async def _steps_of(self, consumer: Consumer) -> AsyncGenerator[Step[Value]]:
        listed: set[str] = set()
        slices = Slices()
        while (told := await consumer.next()) is not None:
            await slices.turn()
            key = self._key_of(told)
            listed.add(key)
            if self._known.get(key) != told.sequence:
                yield self._learn(key, told)
        for key in self._known.keys() - listed:
            del self._known[key]
            yield Change(key, None, max(1, self._reached, consumer.reaches))
        del listed
        if not self._told_all:
            self._told_all = True
            yield None
        while True:
            if told := await consumer.next():
                yield self._learn(self._key_of(told), told)

    def _learn(self, key: str, told: StreamMessage) -> Step[Value]:
        self._reached = max(self._reached, told.sequence)
        step = self._read(told)
        if isinstance(step, Change) and step.value is None:
            self._known.pop(key, None)
        else:
            self._known[key] = told.sequence
        return step


async def revisions_of(
    consuming: Callable[[], AbstractAsyncContextManager[Consumer]],
    seen: Callable[[StreamMessage], Seen],
    signs: SignsOfLife,
) -> AsyncGenerator[Seen | Reset]:
    """Follow all keys without their values; who is interrupted is told everything again."""
    last: Consumer | None = None
    reached = 0
    while True:
        async with consuming() as consumer:
            consumer.tell(signs)
            if consumer.began_anew(last, reached):
                reached = 0
                yield Reset()
            last = consumer
            with suppress(Interrupted, *NATS_ERRORS):
                while True:
                    if told := await consumer.next():
                        reached = max(reached, told.sequence)
                        yield seen(told)
