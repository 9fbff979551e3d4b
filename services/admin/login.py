"""How fast passwords may be tried: a delay that grows with the failures of an address. Pure; the clock is an argument.

Attempts of one address are judged one after the other, whichever connection they come over: each is given the time at
which it is judged and charges the next one in advance, so that many at once are no faster than one by one. A right password
clears the account. The delay is `FIRST_DELAY_S` doubled with every failure up to `LONGEST_DELAY_S`; an attempt that would
have to wait longer than `LONGEST_WAIT_S` behind others is refused instead of queued.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.hosts import account_of

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 8.0
LONGEST_WAIT_S: Final = 30.0
FORGET_AFTER_S: Final = 900.0
ADDRESSES_COUNT: Final = 4096
"""Addresses remembered; beyond, the one that has been quiet for longest is forgotten."""


def same(given: str, right: str) -> bool:
    """Compare a password in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode("utf-8", "replace"))


def delay_s(failures_count: int) -> float:
    """How long an address waits after so many failures."""
    return min(FIRST_DELAY_S * 2.0 ** min(failures_count, 10), LONGEST_DELAY_S)


@dataclass
class LoginAttempts:
    """What one address has done."""

    free: Instant
    """When its next attempt may be judged."""
    failures_count: int = 0


class LoginThrottle:
    """The failures of every address that had some."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, LoginAttempts] = OrderedDict()

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
