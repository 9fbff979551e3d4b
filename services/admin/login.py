"""How fast passwords may be tried, whose turn it is where many are, and what of wrong ones is told. Pure; the clock is an argument.

Attempts of one address are judged one after the other, whichever connection they come over: each is given the time at
which it is judged and charges the next one in advance, so that many at once are no faster than one by one. A right password
clears the account. The delay is `FIRST_DELAY_S` doubled with every failure up to `LONGEST_DELAY_S`; an attempt that would
have to wait longer than `LONGEST_WAIT_S` behind others is refused instead of queued.

A hash takes long on purpose. Where more wait for theirs than are worked out at a time, the doors have turns (telnet, web), and at each door its addresses:
whoever sends many waits behind itself, and keeps neither the other door nor other addresses waiting for more than one of them.

Who has not signed in may fail as often as it likes, from as many addresses as it has, and what is on record has to last for what others did: the
first few failures are told each, of all others their number, once in a while.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import account_of

Waiter = TypeVar("Waiter")

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 8.0
LONGEST_WAIT_S: Final = 30.0
FORGET_AFTER_S: Final = 900.0
ADDRESSES_COUNT: Final = 4096
"""Addresses remembered; beyond, the one that has been quiet for longest is forgotten."""
DOORS: Final = ("telnet", "web")
"""Where passwords are tried."""
AT_ONCE_COUNT: Final = 2
"""Hashes that are worked out at a time: each takes some 50 ms of a core, and 16 MB."""
WAITING_COUNT: Final = 32
"""Sign-ins that wait for the same at a door: the 200 connections of the web are for those who have signed in, too."""
TOLD_COUNT: Final = 10
"""Failed sign-ins that are told each; of these, one may be told again after each time that the others are counted."""


def same(given: str, right: str) -> bool:
    """Compare a password in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def delay_s(failures_count: int) -> float:
    """How long an address waits after so many failures."""
    return min(FIRST_DELAY_S * 2.0 ** min(failures_count, 10), LONGEST_DELAY_S)


class FairQueue(Generic[Waiter]):
    """Those who wait: their addresses have turns, and of one address the first to come is the first.

    There are no more than may be. One more has the last of the address that has the most give way, and gives way itself where no other has more than its own.
    """

    def __init__(self, most_count: int = WAITING_COUNT) -> None:
        self._most_count = most_count
        self._queues: OrderedDict[str, list[Waiter]] = OrderedDict()
        """Of each address, in the order of turns."""

    def __len__(self) -> int:
        """Count them."""
        return sum(map(len, self._queues.values()))

    def join(self, waiter: Waiter, address: str) -> Waiter | None:
        """Let one wait; who gives way to it, which may be itself. None: nobody has to."""
        own = self._queues.setdefault(account_of(address), [])
        own.append(waiter)
        if len(self) <= self._most_count:
            return None
        longest = max(self._queues.values(), key=len)
        gives_way = (own if len(own) == len(longest) else longest)[-1]
        self.leave(gives_way)
        return gives_way

    def take(self) -> Waiter:
        """Take whoever is next. There has to be one."""
        account, queue = self._queues.popitem(last=False)
        waiter = queue.pop(0)
        if queue:
            self._queues[account] = queue
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Forget one that waits no more; one that was taken is not there."""
        for account, queue in self._queues.items():
            if waiter in queue:
                queue.remove(waiter)
                if not queue:
                    del self._queues[account]
                return


class Turns(Generic[Waiter]):
    """Whose password is compared next: so many at a time, the doors in turn, and at each door its addresses."""

    def __init__(self) -> None:
        self._free_count = AT_ONCE_COUNT
        self._doors: OrderedDict[str, FairQueue[Waiter]] = OrderedDict((door, FairQueue[Waiter]()) for door in DOORS)

    def at(self, door: str) -> FairQueue[Waiter]:
        """Give those who wait at a door."""
        return self._doors[door]

    def begin(self) -> Waiter | None:
        """Take whoever is next, and count it until `end`; None: nobody waits, or no more may be worked out at a time."""
        door = next((door for door, queue in self._doors.items() if queue), None)
        if door is None or not self._free_count:
            return None
        self._free_count -= 1
        self._doors.move_to_end(door)
        return self._doors[door].take()

    def end(self) -> None:
        """Know that one is worked out."""
        self._free_count += 1


class FailedSignIns:
    """How many have failed that were not told, and how many more may be."""

    def __init__(self) -> None:
        self._left_count = TOLD_COUNT
        self._untold_count = 0

    def is_told(self) -> bool:
        """Judge whether one that has failed is told by itself; otherwise it is counted."""
        if self._left_count:
            self._left_count -= 1
            return True
        self._untold_count += 1
        return False

    def take_count(self) -> int:
        """Take the number of those that were counted. To be asked for once in a while: each time one more may be told by itself."""
        self._left_count = min(self._left_count + 1, TOLD_COUNT)
        count, self._untold_count = self._untold_count, 0
        return count


@dataclass
class LoginAttempts:
    """What one address has done."""

    free: Instant
    """When its next attempt may be judged."""
    failures_count: int = 0


class LoginThrottle:
    """What holds for all doors together: the failures of every address that had some, whose turn it is, and what is told."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, LoginAttempts] = OrderedDict()
        self.turns: Turns[Any] = Turns()
        self.failures = FailedSignIns()

    def wait_s(self, address: str, now: Instant) -> float | None:
        """Say how long an attempt that comes now waits until it is judged; None refuses it."""
        account = self._account(address, now)
        start = max(now, account.free)
        if start - now > LONGEST_WAIT_S:
            return None
        account.free = start + delay_s(account.failures_count)
        return start - now

    def failed(self, address: str, now: Instant) -> None:
        """Count a wrong password."""
        account = self._account(address, now)
        account.failures_count += 1
        account.free = max(account.free, now + delay_s(account.failures_count - 1))

    def succeeded(self, address: str) -> None:
        """Forget what an address has done wrong."""
        self._accounts.pop(account_of(address), None)

    def _account(self, address: str, now: Instant) -> LoginAttempts:
        who = account_of(address)
        account = self._accounts.get(who)
        if account is None or now - account.free > FORGET_AFTER_S:
            account = self._accounts[who] = LoginAttempts(free=now)
        self._accounts.move_to_end(who)
        while len(self._accounts) > ADDRESSES_COUNT:
            self._accounts.popitem(last=False)
        return account
