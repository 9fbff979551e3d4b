"""Whether the records are those that this proxy knows, and what it does when they are not.

The spool keeps the incarnation of the store (libs/common/incarnation.py) beside its uploads. Another one in NATS means that the records
were lost. Then all held tasks are looked at again, and submitted again by their loops (handlers/forward.py), what is held is
announced again, the secret of the proxies is written again, and for a while "the scheduler does not know it" is no answer for clients: other proxies submit theirs again, too.
A task that lies here is known whatever the records say.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from libs.common.clocks import Clock, Instant
from libs.common.errors import BusFailed
from libs.common.incarnation import incarnation
from libs.common.model import Incarnation, TaskId, Upload
from libs.common.ports import Bus
from services.proxy.ports import Held, Mark

log = structlog.get_logger()

SETTLE_S: Final = 60.0
"""How long the proxies of a cluster take to submit again what they hold, at most."""
FRESH_S: Final = 1.0
"""How old what is known of the incarnation may be when a client is about to hear that a task does not exist."""


class RecoveredSpool(Protocol):
    """What recovering needs of the spool."""

    @property
    def incarnation(self) -> Incarnation | None:
        """The store that its tasks were submitted to; None: it is not known, for a new spool or one of an earlier version."""
        ...

    async def join(self, incarnation: Incarnation) -> None:
        """Keep durably to which store its tasks are submitted from now on, beside those before."""
        ...

    def find(self, task: TaskId) -> Held | None:
        """Look up one entry."""
        ...

    async def announce(self) -> list[Upload]:
        """Put KV `uploads` right."""
        ...


class Recovery:
    """Watches over the incarnation. `look` is called every few seconds."""

    def __init__(
        self,
        bus: Bus,
        spool: RecoveredSpool,
        clock: Clock,
        look_again: Callable[[], None],
        renew_secret: Callable[[], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._clock = clock
        self._look_again = look_again
        self._renew_secret = renew_secret
        self._looked_at: Instant | None = None
        self._settled_at = clock.instant()

    async def look(self, wait_s: float = 0.0) -> None:
        """Compare the incarnation with the spool's. Raises BusFailed."""
        current, known = await incarnation(self._bus, self._clock.wall_ms, wait_s), self._spool.incarnation
        self._looked_at = self._clock.instant()
        if known is not None and known.id == current.id:
            return
        await self._spool.join(current)
        if known is None:
            log.info("spool belongs to the store from now on", incarnation=current.id)
            return
        log.error("records were lost, what is held here is submitted again", was=known.id, incarnation=current.id)
        self._settled_at = self._clock.instant() + SETTLE_S
        self._look_again()
        await self._renew_secret()
        await self._spool.announce()

    async def is_sure(self, task: TaskId) -> bool:
        """Whether a task that the scheduler does not know is sure not to exist. Raises BusFailed."""
        held = self._spool.find(task)
        if held is not None and Mark.SUBMITTED in held.marks:
            return False
        now = self._clock.instant()
        if self._looked_at is None or now - self._looked_at > FRESH_S:
            await self.look()
        return self._clock.instant() >= self._settled_at


IsSure = Callable[[TaskId], Awaitable[bool]]
"""Whether a task that the scheduler does not know is sure not to exist."""


async def always(task: TaskId) -> bool:
    """Take the scheduler's word."""
    del task
    return True


async def require_sure(is_sure: IsSure, task: TaskId) -> None:
    """Raise BusFailed where "not found" would be no honest answer: the client asks again."""
    if not await is_sure(task):
        raise BusFailed(f"the records are not complete yet: nobody can say whether {task} exists")
