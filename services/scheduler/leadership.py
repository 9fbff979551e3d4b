"""Whether this scheduler may decide at this moment, and why no task is ever placed twice although schedulers come and go.

Any number of schedulers run; one leads (libs/common/bus/leases.py), the others stand by. A term has an epoch, and each
term's is higher than those before. What keeps two terms from doing the same thing:

1. An attempt begins with a write of its task's record at the revision that was read, and a holder hears of it only after
   that write. Of two schedulers that write at the same revision one fails, reads again, and finds the other's attempt.
2. Before each write, and before anything is told to a node, the term is looked at (`require`). A scheduler that was frozen
   finds its term over as soon as it goes on. The bus looks again before it hands out an answer.
3. A write that was on its way while its scheduler was frozen may still arrive. Either it is at an old revision, and NATS
   refuses it; or nothing has happened to the task since, and it counts: the new scheduler follows the records for as long as
   its term lasts, and takes it in (`RecordSync.watch_others`).
4. Before a proxy commits on a node, it has the attempt confirmed by whoever leads. A placement or hint of an
   older term than it has heard of, it does not even begin with.

Requests are heard by each scheduler that thinks it leads, and answered by the one whose term is valid (ports.Bus.serve).

While NATS is away, nobody leads, or a task is removed under its hands, a loop says so in a line, without a trace, and tries again in its next round
(`suppress_transient`). What NATS refuses is a failure of the loop.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from clusterodm.libs.common.errors import BusDenied, BusFailed, NotFound
from clusterodm.libs.common.ports import Term
from clusterodm.libs.common.process.loops import Start, every, missed


class Leadership:
    """The right to decide, while it lasts."""

    def __init__(self, term: Term) -> None:
        self._term = term

    @property
    def epoch(self) -> int:
        """Which term it is."""
        return self._term.epoch

    def require(self) -> None:
        """Raise BusFailed when the term is over: whoever asked should ask again, and will reach another."""
        if not self._term.valid:
            raise BusFailed("this scheduler is no longer the leader")

    def check_epoch(self, epoch: int) -> None:
        """Raise BusFailed when somebody has heard of a later term than this."""
        if epoch > self.epoch:
            raise BusFailed(f"a later scheduler leads (epoch {epoch}, not {self.epoch})")


SWEEP_S: Final = 0.5
"""How often a loop looks that has nothing to wait for."""

log = structlog.get_logger()


def suppress_transient(act: Callable[[], Awaitable[object]], name: str) -> Callable[[], Awaitable[None]]:
    """Wrap what a loop does."""

    async def acted() -> None:
        try:
            await act()
        except NotFound as error:
            log.debug("task.vanished", loop=name, error=error.message)
        except BusDenied as error:
            missed(error)
        except BusFailed as error:
            log.warning("loop.interrupted", loop=name, error=error.message)

    return acted


def repeated(act: Callable[[], Awaitable[object]], name: str, interval_s: float = SWEEP_S) -> Start:
    """Make a loop of something that is done again and again."""
    return lambda: every(interval_s, act, name)
