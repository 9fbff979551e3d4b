"""What happens when somebody signs in or out: judged at the time that the address has deserved, told to the bus, a session begun or ended.

Nothing is kept of whoever goes to the identity provider: what comes back with that browser is sealed for it (core.py), so that nobody's many beginnings push another's out.
"""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.refused import ReportedRefusals
from clusterodm.services.admin.access.roles import Principal, Role
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.login import LoginThrottle
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

HASHES: Final = ThreadPoolExecutor(2, thread_name_prefix="compare a password")
"""A hash takes 50 ms of a core and 16 MB on purpose: however many sign in at once, so many are worked out at a time."""
WAITING_COUNT: Final = 32
"""Sign-ins that wait for their turn behind wrong passwords, for a hash, and for the identity provider, so many each: the 200 connections are for those who have signed in, too."""
WRONG: Final = "Wrong user or password."
TOO_OFTEN: Final = "Too many attempts, try again later."
TOO_MANY: Final = "Too many sign in at this moment: try again."
UNKNOWN: Final = "This sign-in is not known any more: begin again."
NO_ROLE: Final = "You are known, and may do nothing here: ask whoever runs this cluster."


async def compared(passwords: Passwords, compare: Callable[[], Role | None]) -> Role | None:
    """Compare a password with what is set, in a thread where that takes long; one that nobody waits for any more is left out."""
    return await asyncio.get_running_loop().run_in_executor(HASHES, compare) if passwords.slow else compare()


def free(places: asyncio.Semaphore, full: str) -> asyncio.Semaphore:
    """Give places of which one is free. Raises SignInFailed where none is."""
    if places.locked():
        raise SignInFailed(full)
    return places


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
    _late: asyncio.Semaphore = field(init=False, default_factory=partial(asyncio.Semaphore, WAITING_COUNT), repr=False)
    _comparing: asyncio.Semaphore = field(
        init=False, default_factory=partial(asyncio.Semaphore, WAITING_COUNT), repr=False
    )
    _asking: asyncio.Semaphore = field(
        init=False, default_factory=partial(asyncio.Semaphore, WAITING_COUNT), repr=False
    )
    _failed: ReportedRefusals = field(init=False, default_factory=ReportedRefusals, repr=False)

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
            async with free(self._late, TOO_OFTEN):
                await asyncio.sleep(wait_s)
        role = await self._opens(user, password)
        LOGINS.inc("web", "wrong" if role is None else "right")
        if role is None:
            self.logins.failed(address, monotonic_s())
            log.warning("web.login_failed", address=address)
            nobody = Principal("", Role.NONE, "web", address)
            await publish_act(self.bus, nobody, "SIGN IN", "", "refused", "wrong user or password")
        else:
            self.logins.succeeded(address)
        return role

    async def _opens(self, user: str, password: str) -> Role | None:
        """Compare; scripts send a password with each request, so what was right is known again without working out its hash."""
        opens = partial(self.passwords.opens, user, password)
        if not self.passwords.slow:
            return opens()
        seen = hmac.digest(self._key, f"{user}:{password}".encode("utf-8", "replace"), "sha256")
        if (role := self._right.get(seen)) is None:
            async with free(self._comparing, TOO_MANY):
                role = await compared(self.passwords, opens)
        if role is not None:
            self._right[seen] = role
        return role

    async def by_password(self, user: str, password: str, address: str) -> Begun:
        """Sign somebody in by a password. Raises SignInFailed."""
        role = await self.judge(user, password, address)
        if role is None:
            raise SignInFailed(WRONG)
        return await self._begin(role.word, role, address)

    async def to_provider(self, browser: str, wanted: str) -> str:
        """Say where a browser goes to sign in. Raises SignInFailed."""
        if self.provider is None:
            raise SignInFailed("There is no identity provider here.")
        state = state_of(self._key, browser, wanted, secrets.token_urlsafe(32), monotonic_s())
        async with free(self._asking, TOO_MANY):
            return await self.provider.begin(state, *self._derived(state, browser))

    async def from_provider(self, state: str, code: str, browser: str, address: str) -> tuple[Begun, str]:
        """Sign in somebody who comes back from the provider; where that one wanted to go. Raises SignInFailed."""
        wanted = wanted_of(self._key, browser, state, monotonic_s())
        if wanted is None or self.provider is None or not code:
            raise SignInFailed(UNKNOWN)
        try:
            async with free(self._asking, TOO_MANY):
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
        """Put on record that somebody did not get in by the provider, once a while: who has not signed in may try as often as it likes."""
        principal = Principal(user, Role.NONE, "web", address, name)
        if self._failed.is_new(principal, "SIGN IN", reason, monotonic_s()):
            await publish_act(self.bus, principal, "SIGN IN", "", outcome, reason)

    async def _begin(self, user: str, role: Role, address: str, name: str = "") -> Begun:
        session_id = secrets.token_urlsafe(32)
        session = self.sessions.begin(session_id, secrets.token_urlsafe(32), user, role, monotonic_s(), name)
        await publish_act(self.bus, session.principal(address), "SIGN IN", "", "done", "")
        return Begun(session_id, session)
