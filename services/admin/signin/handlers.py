"""What happens when somebody signs in or out: judged at the time that the address has deserved, told to the bus, a session begun or ended.

Whoever has to wait for something has a place in a queue, of which no address fills more than others leave it (login.py).

Nothing is kept of whoever goes to the identity provider: what comes back with that browser is sealed for it (core.py), so that nobody's many beginnings push another's out.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Principal, Role
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.login import AT_ONCE_COUNT, FairQueue, LoginThrottle, Turns
from clusterodm.services.admin.metrics import LOGINS
from clusterodm.services.admin.signin.core import (
    SignInFailed,
    WebSession,
    WebSessions,
    derived,
    name_of,
    role_of,
    state_of,
    user_of,
    wanted_of,
)

HASHES: Final = ThreadPoolExecutor(AT_ONCE_COUNT, thread_name_prefix="compare a password")
COUNT_EVERY_S: Final = 600.0
"""So often it is put on record how many have failed to sign in that were not told by themselves."""
WRONG: Final = "Wrong user or password."
TOO_OFTEN: Final = "Too many attempts, try again later."
TOO_MANY: Final = "Too many sign in at this moment: try again."
UNKNOWN: Final = "This sign-in is not known any more: begin again."
NO_ROLE: Final = "You are known, and may do nothing here: ask whoever runs this cluster."


@dataclass(eq=False)
class WaitingSignIn:
    """Somebody who waits."""

    ends: asyncio.Timeout
    """Ends that, where the place has to be another's."""
    turn: asyncio.Future[None]
    """Done when it is that one's turn, in a queue that has such."""


@asynccontextmanager
async def place(queue: FairQueue[WaitingSignIn], address: str, full: str) -> AsyncIterator[WaitingSignIn]:
    """Give a place in a queue while the context is open. Raises SignInFailed where there is none, or as soon as it has to be another's."""
    loop = asyncio.get_running_loop()
    waiting = WaitingSignIn(asyncio.timeout(None), loop.create_future())
    try:
        async with waiting.ends:
            gives_way = queue.join(waiting, address)
            if gives_way is waiting:
                raise SignInFailed(full)
            if gives_way is not None:
                gives_way.ends.reschedule(loop.time())
            try:
                yield waiting
            finally:
                queue.leave(waiting)
    except TimeoutError:
        if not waiting.ends.expired():
            raise
        raise SignInFailed(full) from None


async def compared(
    passwords: Passwords, logins: LoginThrottle, door: str, address: str, compare: Callable[[], Role | None]
) -> Role | None:
    """Compare a password with what is set; where that takes long, in a thread and when it is its turn. One that nobody waits for any more is left out. Raises SignInFailed."""
    if not passwords.slow:
        return compare()
    turns: Turns[WaitingSignIn] = logins.turns
    async with place(turns.at(door), address, TOO_MANY) as waiting:
        give_turns(turns)
        try:
            await waiting.turn
            return await asyncio.get_running_loop().run_in_executor(HASHES, compare)
        finally:
            if waiting.turn.done() and not waiting.turn.cancelled():
                turns.end()
                give_turns(turns)


def give_turns(turns: Turns[WaitingSignIn]) -> None:
    """Let whoever is next begin, as long as more may."""
    while (waiting := turns.begin()) is not None:
        if waiting.turn.cancelled():  # and about to leave
            turns.end()
        else:
            waiting.turn.set_result(None)


async def publish_failed(bus: Bus, logins: LoginThrottle, principal: Principal, outcome: str, reason: str) -> None:
    """Put on record that somebody did not get in: who has not signed in may try as often as it likes, so that most of many are counted."""
    if logins.failures.is_told():
        await publish_act(bus, principal, "SIGN IN", "", outcome, reason)


async def publish_count(bus: Bus, logins: LoginThrottle) -> None:
    """Put on record how many did not get in that were not told by themselves, whichever way they tried."""
    if count := logins.failures.take_count():
        nobody = Principal("", Role.NONE, "")
        reason = f"{count} more failed within {COUNT_EVERY_S / 60:.0f} minutes"
        await publish_act(bus, nobody, "SIGN IN", "", "refused", reason, count)


@asynccontextmanager
async def failures_counted(bus: Bus, logins: LoginThrottle) -> AsyncIterator[None]:
    """Put it on record every now and then while the context is open, and at its end."""
    name = "count failed sign-ins"
    try:
        async with background(lambda: every(COUNT_EVERY_S, lambda: publish_count(bus, logins), name), name):
            yield
    finally:
        await publish_count(bus, logins)


class IdentityProvider(Protocol):
    """Who says who somebody is (OpenID Connect Core 1.0, authorization code flow with PKCE). Raises SignInFailed."""

    async def begin(self, state: str, nonce: str, verifier: str) -> str:
        """Say where a browser is to be sent."""

    async def finish(self, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """Exchange what the browser has brought back; the claims of a token that was checked."""


class Begun(NamedTuple):
    """A session that has just begun, and what its browser is to keep."""

    session_id: str
    session: WebSession


@dataclass
class SignIns:
    """Everybody who signs in or has signed in on the web."""

    bus: Bus
    passwords: Passwords
    logins: LoginThrottle
    provider: IdentityProvider | None = None
    claim: str = "groups"
    rules: Mapping[str, Role] = field(default_factory=dict)
    longest_s: float = 12 * 3600.0
    sessions: WebSessions = field(init=False)
    _late: FairQueue[WaitingSignIn] = field(init=False, default_factory=FairQueue, repr=False)
    """Those behind wrong passwords."""
    _asking: FairQueue[WaitingSignIn] = field(init=False, default_factory=FairQueue, repr=False)
    """Those for whom the identity provider is asked."""
    _right: dict[bytes, Role] = field(init=False, default_factory=dict, repr=False)
    """Passwords that were right, as digests with a key that nobody knows; no more than there are roles."""
    _key: bytes = field(init=False, default_factory=partial(secrets.token_bytes, 32), repr=False)

    def __post_init__(self) -> None:
        """Begin without any session."""
        self.sessions = WebSessions(self.longest_s)

    @property
    def asks_who(self) -> bool:
        """Whether anybody has to say who it is."""
        return bool(self.passwords) or self.provider is not None

    async def judge(self, user: str, password: str, address: str) -> Role | None:
        """Judge a user and a password at the time that an address has deserved. Raises SignInFailed when that is too late."""
        wait_s = self.logins.wait_s(address, monotonic_s())
        if wait_s is None:
            raise SignInFailed(TOO_OFTEN)
        if wait_s:
            async with place(self._late, address, TOO_OFTEN):
                await asyncio.sleep(wait_s)
        role = await self._opens(user, password, address)
        LOGINS.inc("web", "wrong" if role is None else "right")
        if role is None:
            self.logins.failed(address, monotonic_s())
            log.warning("web.login_failed", address=address, at_will=True)
            await self._publish_failed("", "", address, "refused", "wrong user or password")
        else:
            self.logins.succeeded(address)
        return role

    async def _opens(self, user: str, password: str, address: str) -> Role | None:
        """Compare; scripts send a password with each request, so what was right is known again without working out its hash."""
        opens = partial(self.passwords.opens, user, password)
        if not self.passwords.slow:
            return opens()
        seen = hmac.digest(self._key, f"{user}:{password}".encode("utf-8", "replace"), "sha256")
        if (role := self._right.get(seen)) is None:
            role = await compared(self.passwords, self.logins, "web", address, opens)
        if role is not None:
            self._right[seen] = role
        return role

    async def by_password(self, user: str, password: str, address: str) -> Begun:
        """Sign somebody in by a password. Raises SignInFailed."""
        role = await self.judge(user, password, address)
        if role is None:
            raise SignInFailed(WRONG)
        return await self._begin(role.word, role, address)

    async def to_provider(self, browser: str, wanted: str, address: str) -> str:
        """Say where a browser goes to sign in. Raises SignInFailed."""
        if self.provider is None:
            raise SignInFailed("There is no identity provider here.")
        state = state_of(self._key, browser, wanted, secrets.token_urlsafe(32), monotonic_s())
        async with place(self._asking, address, TOO_MANY):
            return await self.provider.begin(state, *self._derived(state, browser))

    async def from_provider(self, state: str, code: str, browser: str, address: str) -> tuple[Begun, str]:
        """Sign in somebody who comes back from the provider; where that one wanted to go. Raises SignInFailed."""
        wanted = wanted_of(self._key, browser, state, monotonic_s())
        if wanted is None or self.provider is None or not code:
            raise SignInFailed(UNKNOWN)
        try:
            async with place(self._asking, address, TOO_MANY):
                claims = await self.provider.finish(code, *self._derived(state, browser))
        except SignInFailed as failed:
            await self._publish_failed("", "", address, "failed", str(failed))
            raise
        user, name, role = user_of(claims), name_of(claims), role_of(claims, self.claim, self.rules)
        if role is None:
            await self._publish_failed(user, name, address, "refused", "no role")
            raise SignInFailed(NO_ROLE)
        return await self._begin(user, role, address, name), wanted

    async def out(self, session_id: str, address: str, *, everywhere: bool) -> None:
        """End a session, or all of its user's."""
        session = self.sessions.find(session_id, monotonic_s())
        if session is None:
            return
        if everywhere:
            self.sessions.end_all(session.user)
        self.sessions.end(session_id)
        act = "SIGN OUT EVERYWHERE" if everywhere else "SIGN OUT"
        await publish_act(self.bus, session.principal(address), act, "", "done", "")

    def _derived(self, state: str, browser: str) -> tuple[str, str]:
        """Make what only this sign-in has: its nonce, and its verifier (RFC 7636)."""
        return derived(self._key, "nonce", state, browser), derived(self._key, "verifier", state, browser)

    async def _publish_failed(self, user: str, name: str, address: str, outcome: str, reason: str) -> None:
        await publish_failed(self.bus, self.logins, Principal(user, Role.NONE, "web", address, name), outcome, reason)

    async def _begin(self, user: str, role: Role, address: str, name: str = "") -> Begun:
        session_id = secrets.token_urlsafe(32)
        session = self.sessions.begin(session_id, secrets.token_urlsafe(32), user, role, monotonic_s(), name)
        await publish_act(self.bus, session.principal(address), "SIGN IN", "", "done", "")
        return Begun(session_id, session)
