"""What a test makes go wrong on a bus in memory: it forgets, it lags, and what was late comes in another order.

    lose(EVENT or REQUEST)       the next ones never arrive: nobody hears the event, the request ends by its time limit
    lose_answers(REQUEST)        the next ones are carried out, and their answers are lost
    hold_back() ... let_go()     watches and events hear nothing meanwhile, and then everything; in which order, the test says

A value that cannot be read is `MemoryBucket.write_raw`, a store that was lost `begin_anew`, a NATS that is away `connected`.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.kinds import Event, Request

Delivery = Callable[[], Awaitable[None]]


def as_they_came(held: Sequence[Delivery]) -> Sequence[Delivery]:
    """Keep the order."""
    return held


def the_last_first(held: Sequence[Delivery]) -> Sequence[Delivery]:
    """Turn the order round."""
    return held[::-1]


class Faults:
    """The faults of one bus."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._held: list[Delivery] | None = None

    def __repr__(self) -> str:
        """Show what will go wrong."""
        held = "nothing" if self._held is None else len(self._held)
        return f"Faults(lost={dict(self._lost)} unanswered={dict(self._unanswered)} held={held})"

    def lose(self, what: Event[Any] | Request[Any, Any], count: int = 1) -> None:
        """Forget the next ones."""
        self._lost[what.subject] += count

    def lose_answers(self, request: Request[Any, Any], count: int = 1) -> None:
        """Carry out the next ones, and forget their answers."""
        self._unanswered[request.subject] += count

    def hold_back(self) -> None:
        """Keep everything that watches and events would hear."""
        self._held = [] if self._held is None else self._held

    async def let_go(self, order: Callable[[Sequence[Delivery]], Sequence[Delivery]] = as_they_came) -> None:
        """Deliver what was held back."""
        held, self._held = self._held or [], None
        for deliver in order(held):
            await deliver()

    # --- what the bus asks

    def loses(self, subject: str) -> bool:
        """Whether this one is forgotten."""
        return take(self._lost, subject)

    def require_answer(self, subject: str) -> None:
        """Raise BusFailed when this answer is forgotten."""
        if take(self._unanswered, subject):
            raise BusFailed(f"no answer to {subject}: it was lost")

    def holds(self, deliver: Delivery) -> bool:
        """Keep it when everything is held back."""
        if self._held is None:
            return False
        self._held.append(deliver)
        return True


def take(counter: Counter[str], subject: str) -> bool:
    """Use one up."""
    if not counter[subject]:
        return False
    counter[subject] -= 1
    return True
