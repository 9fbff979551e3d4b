"""Which telnet sessions there may be at the same time. Pure; the clock is an argument.

    arrived ──▶ waiting for its login ──▶ logged in ──▶ gone

Those that have not logged in are counted apart, so that nobody without the password takes an operator's entry. An address has so many of
them; one more ends its oldest, not itself, so that whoever holds connections open from an operator's own address (or through the same
gateway) does not keep that operator out. The same for all addresses together. When there are as many logged in as may be, the one that has been
silent for the longest gives way, if it has been so for a while, or of those with a lesser role than the new one's the one with the least; otherwise the new one is refused.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import account_of
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role

Key = TypeVar("Key")

WAITING_PER_ADDRESS_COUNT: Final = 8
WAITING_COUNT: Final = 256
SILENT_S: Final = 60.0


@dataclass(frozen=True)
class SessionLimits:
    """What holds for all sessions."""

    passwords: Passwords = field(default_factory=Passwords)
    """None: everybody is logged in."""
    sessions_count: int = 32
    idle_s: float = 1800.0
    """0: never."""
    login_s: float = 60.0


@dataclass
class SessionEntry:
    """What is known of a session."""

    address: str
    touched_at: Instant
    is_waiting: bool = True
    role: Role = Role.NONE


class Admission(Generic[Key]):
    """The sessions that there are, in the order of their arrival."""

    def __init__(
        self, count: int, waiting_per_address_count: int = WAITING_PER_ADDRESS_COUNT, waiting_count: int = WAITING_COUNT
    ) -> None:
        self._count = count
        self._waiting_per_address_count = waiting_per_address_count
        self._waiting_count = waiting_count
        self._entries: dict[Key, SessionEntry] = {}

    def connect(self, key: Key, address: str, now: Instant) -> Key | None:
        """Let a session in that has to log in; which other one it ends."""
        entry = SessionEntry(account_of(address), now)
        waiting = {other: known.address for other, known in self._entries.items() if known.is_waiting}
        self._entries[key] = entry
        same = [other for other, theirs in waiting.items() if theirs == entry.address]
        if len(same) >= self._waiting_per_address_count:
            return self._end(same)
        if len(waiting) >= self._waiting_count:
            [(busiest, _)] = Counter(waiting.values()).most_common(1)
            return self._end(other for other, theirs in waiting.items() if theirs == busiest)
        return None

    def log_in(self, key: Key, role: Role, now: Instant) -> tuple[bool, Key | None]:
        """Judge a session that has logged in: whether it may stay, and which other one it ends."""
        entry = self._entries[key]
        inside = [(other, known) for other, known in self._entries.items() if not known.is_waiting]
        ended: tuple[Key, ...] | None = self._giving_way(inside, role, now) if len(inside) >= self._count else ()
        if ended is None:
            return False, None
        entry.is_waiting, entry.role = False, role
        return True, self._end(ended) if ended else None

    def _giving_way(
        self, inside: Sequence[tuple[Key, SessionEntry]], role: Role, now: Instant
    ) -> tuple[Key, ...] | None:
        """Choose the one that gives way to one more; None: none does."""
        other, known = min(inside, key=lambda each: each[1].touched_at)
        if now - known.touched_at >= SILENT_S:
            return (other,)
        other, known = min(inside, key=lambda each: (each[1].role, each[1].touched_at))
        return (other,) if known.role < role else None

    def touch(self, key: Key, now: Instant) -> None:
        """Note that a session says something."""
        if entry := self._entries.get(key):
            entry.touched_at = now

    def leave(self, key: Key) -> None:
        """Forget a session."""
        self._entries.pop(key, None)

    def _end(self, keys: Iterable[Key]) -> Key:
        """Forget the oldest of some."""
        oldest = next(iter(keys))
        self.leave(oldest)
        return oldest
