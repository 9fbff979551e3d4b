"""What goes wrong between a provider and whoever rents out machines, ordered by the suite.

    not carried out   capacity, limit, unauthorised, rate, error: refused    slow: no answer    broken: the connection ends
                      nonsense: a page in HTML with status 200, as a proxy in between gives it    hollow: an empty JSON object
    carried out       lost: the answer breaks off    late: answered as an error

The ways to do it: `http.http_faults` stands before an API, `programs.program_faults` around programs. A provider that uses neither
brings a `Faults` of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

ALWAYS: Final = 1_000_000


class Step(StrEnum):
    """Which calls shall fail."""

    CREATE = "create"
    LIST = "list"
    REMOVE = "remove"
    OTHER = "other"
    ANY = "any"


class How(StrEnum):
    """What shall go wrong."""

    CAPACITY = "capacity"
    LIMIT = "limit"
    UNAUTHORISED = "unauthorised"
    RATE = "rate"
    ERROR = "error"
    SLOW = "slow"
    BROKEN = "broken"
    NONSENSE = "nonsense"
    HOLLOW = "hollow"
    LOST = "lost"
    LATE = "late"


CARRIED_OUT: Final = (How.LOST, How.LATE)


@dataclass(frozen=True)
class Words:
    """How an API says something."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


USUAL_WORDS: Final[Mapping[How, Words]] = {
    How.UNAUTHORISED: Words(401),
    How.RATE: Words(429, headers={"content-type": "application/json", "retry-after": "0"}),
    How.ERROR: Words(500),
    How.LATE: Words(500),
    How.HOLLOW: Words(200),
    How.NONSENSE: Words(200, b"<html><body>Please sign in</body></html>", {"content-type": "text/html"}),
}
"""What most APIs say. A lack of room and a quota have no usual words: the trial gives them."""


class Faults(Protocol):
    """Makes things go wrong."""

    def plan(self, step: Step, how: How, times: int = ALWAYS) -> None:
        """Let the next calls of this sort fail so."""
        ...

    def cut_after(self, calls_count: int) -> None:
        """Let so many calls through; the answer of the last is lost, and from then on nothing gets through, as after a kill."""
        ...

    def clear(self) -> None:
        """Let everything through again."""
        ...


class FaultPlan:
    """What was ordered, and what of it is left."""

    def __init__(self) -> None:
        self._planned: list[tuple[Step, How]] = []
        self._left: dict[int, int] = {}
        self._until_cut: int | None = None

    def __repr__(self) -> str:
        """Show what is planned."""
        return f"FaultPlan({self._planned})"

    def plan(self, step: Step, how: How, times: int = ALWAYS) -> None:
        """See Faults."""
        self._left[len(self._planned)] = times
        self._planned.append((step, how))

    def cut_after(self, calls_count: int) -> None:
        """See Faults."""
        self._until_cut = calls_count

    def clear(self) -> None:
        """See Faults."""
        self._planned.clear()
        self._left.clear()
        self._until_cut = None

    def take(self, step: Step) -> How | None:
        """Say what shall go wrong with the call that comes now; None: nothing."""
        if self._until_cut is not None:
            self._until_cut -= 1
            if self._until_cut <= 0:
                return How.LOST if self._until_cut == 0 else How.BROKEN
        for place, (on, how) in enumerate(self._planned):
            if self._left[place] and on in {step, Step.ANY}:
                self._left[place] -= 1
                return how
        return None
