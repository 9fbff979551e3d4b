"""How much of the disk each upload request may still take: what is announced is not kept free, only what is about to come.

Else a body as large as the disk that is announced, and then comes slowly or not at all, would keep all others out. A request *claims* room:

    announced   more than is free now is refused before its body is read
    at first    FIRST_BYTES, less where little is free, or all of what is announced where that is less
    grows       with every megabyte, to as much ahead as has come, and to no more than is announced
    lapses      when little comes, to ASK_EVERY_BYTES
    refused     when it cannot grow; what it had claimed is the others' at once, what it had sent as soon as a thread has removed it

So requests that fit together are all taken. Of those that do not, one after the other is refused, each in the first half of its body, until the rest fits: from its half on a
request has claimed all that is still to come of it.
"""

from typing import Final, Protocol

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.free_space import FreeSpace

FIRST_BYTES: Final = 16 << 20
"""A usual photo: it is moved in one go."""
FIRST_SHARE: Final = 256
"""And no more than such a part of what is free: the 128 uploads that are taken at once by default claim half of it together before anything of them has come."""
ASK_EVERY_BYTES: Final = 1 << 20
"""So often the disk itself is asked. A body whose length nobody knows claims as much ahead."""
LAPSE_S: Final = 10.0
LIVELY_BYTES_PER_S: Final = 64 << 10
"""A claim lapses LAPSE_S after less has come than this. A move inside the kernel is never so slow: it is given up before."""


class Moving(Protocol):
    """A file whose bytes come without anybody being told."""

    size_bytes: int
    """What has been told of it."""

    @property
    def present_bytes(self) -> int:
        """What is there of it."""


class Claim:
    """What one request has taken, and may take next. Used by the event loop alone."""

    __slots__ = (
        "_ask_at_bytes",
        "_asked_at",
        "_asked_bytes",
        "_claims",
        "_expected_bytes",
        "claimed_bytes",
        "moving",
        "taken_bytes",
    )

    def __init__(self, claims: "Claims", expected_bytes: int, now: Instant) -> None:
        self._claims = claims
        self._expected_bytes = expected_bytes
        self._asked_at = now
        self._asked_bytes = self._ask_at_bytes = 0
        """What had been taken then, and when it is asked again."""
        self.taken_bytes = 0
        self.claimed_bytes = 0
        """What counts as claimed beyond that."""
        self.moving: Moving | None = None

    def __repr__(self) -> str:
        """Show both."""
        return f"Claim(taken={self.taken_bytes} claimed={self.claimed_bytes} of {self._expected_bytes})"

    def take(self, count_bytes: int) -> None:
        """Say that so many bytes are written. Raises SpoolFull, OSError."""
        self.taken_bytes += count_bytes
        if self.taken_bytes >= self._ask_at_bytes:
            self._claims.grow(self)

    @property
    def left_bytes(self) -> int:
        """How much may come before it has to ask again."""
        return max(0, self._asked_bytes + self.claimed_bytes - self.taken_bytes)

    def wanted_bytes(self, left_bytes: int, now: Instant) -> int:
        """Say how much it is to have ahead from now on, where so much is free."""
        if not self._expected_bytes:
            return ASK_EVERY_BYTES
        first_bytes = min(FIRST_BYTES, max(ASK_EVERY_BYTES, left_bytes // FIRST_SHARE))
        ahead_bytes = max(first_bytes, self.taken_bytes) if self._is_lively(self.taken_bytes, now) else ASK_EVERY_BYTES
        return min(ahead_bytes, max(0, self._expected_bytes - self.taken_bytes))

    def grant(self, ahead_bytes: int, now: Instant) -> None:
        """Let it have so much ahead."""
        self.claimed_bytes = ahead_bytes
        self._asked_at, self._asked_bytes = now, self.taken_bytes
        self._ask_at_bytes = self.taken_bytes + min(ahead_bytes, ASK_EVERY_BYTES)

    def give_back(self) -> int:
        """Claim nothing any more; what has come since the disk was asked last."""
        new_bytes = self.taken_bytes - self._asked_bytes
        self.claimed_bytes, self._asked_bytes = 0, self.taken_bytes
        return new_bytes

    def measure(self, now: Instant) -> int:
        """See what of its claim has come or has lapsed since it was granted; what counts of it now."""
        moved_bytes = self.moving.present_bytes - self.moving.size_bytes if self.moving is not None else 0
        arrived_bytes = self.taken_bytes + moved_bytes
        left_bytes = max(0, self.claimed_bytes - (arrived_bytes - self._asked_bytes))
        return left_bytes if self._is_lively(arrived_bytes, now) else min(left_bytes, ASK_EVERY_BYTES)

    def _is_lively(self, arrived_bytes: int, now: Instant) -> bool:
        silence_s = now - self._asked_at - LAPSE_S
        return arrived_bytes - self._asked_bytes >= silence_s * LIVELY_BYTES_PER_S


class Claims:
    """Those of all requests under way."""

    def __init__(self, free_space: FreeSpace, clock: Clock) -> None:
        self._free_space = free_space
        self._clock = clock
        self._open: set[Claim] = set()
        self._claimed_bytes = 0
        """By all of them, as it was granted: by now it may be less."""

    def __repr__(self) -> str:
        """Show how much is claimed."""
        return f"Claims({len(self._open)} claimed={self._claimed_bytes})"

    def begin(self, expected_bytes: int) -> Claim:
        """Claim room for a request whose body is so long; 0: nobody knows. Raises SpoolFull, OSError."""
        left_bytes = self._free_space.left_bytes()
        if left_bytes < expected_bytes:  # what was said a moment ago refuses nobody
            left_bytes = self._free_space.present_bytes()
        if left_bytes < expected_bytes:
            raise SpoolFull(disk.NO_ROOM)
        claim = Claim(self, expected_bytes, self._clock.instant())
        self._grant(claim, left_bytes)
        self._open.add(claim)
        return claim

    def grow(self, claim: Claim) -> None:
        """Let a request have more ahead. Raises SpoolFull, OSError; it has then ended."""
        self._grant(claim, self._free_space.present_bytes())

    def end(self, claim: Claim) -> None:
        """Give back what a request has claimed and not taken; again: nothing happens."""
        self._open.discard(claim)
        self._claimed_bytes -= claim.claimed_bytes
        self._free_space.taken(claim.give_back())

    def _grant(self, claim: Claim, left_bytes: int) -> None:
        now = self._clock.instant()
        wanted_bytes = claim.wanted_bytes(left_bytes, now)
        others_bytes = self._claimed_bytes - claim.claimed_bytes
        if others_bytes + wanted_bytes > left_bytes:
            measured_bytes = sum(other.measure(now) for other in self._open if other is not claim)
            if measured_bytes + wanted_bytes > self._free_space.present_bytes():
                self.end(claim)
                raise SpoolFull(disk.NO_ROOM)
        self._claimed_bytes = others_bytes + wanted_bytes
        claim.grant(wanted_bytes, now)
