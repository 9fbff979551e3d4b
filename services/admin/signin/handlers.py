"""What happens when somebody signs in or out: judged at the time that the address has deserved, told to the bus, a session begun or ended."""

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s, threaded
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import ROLES, Principal, Role
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.metrics import LOGINS
from clusterodm.services.admin.signin.core import SignInFailed, WebSession, WebSessions, digest, equal, role_of, user_of

PENDING_COUNT: Final = 1000
PENDING_S: Final = 600.0
COMPARING: Final = "compare a password"
WRONG: Final = "Wrong user or password."
TOO_OFTEN: Final = "Too many attempts, try again later."
UNKNOWN: Final = "This sign-in is not known any more: begin again."
NO_ROLE: Final = "You are known, and may do nothing here: ask whoever runs this cluster."


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


@dataclass(frozen=True)
class Pending:
    """Somebody is at the identity provider."""

    browser: str
    """The digest of what only this browser has."""
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    wanted: str
    began: Instant


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
    _pending: OrderedDict[str, Pending] = field(init=False, default_factory=OrderedDict, repr=False)

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
            await asyncio.sleep(wait_s)
        role = await self._opens(user, password)
        LOGINS.inc("web", "wrong" if role is None else "right")
        if role is None:
            self.logins.failed(address, monotonic_s())
            log.warning("web.login_failed", address=address)
            await self._publish("", Role.NONE, address, "refused", "wrong user or password")
        else:
            self.logins.succeeded(address)
        return role

    async def _opens(self, user: str, password: str) -> Role | None:
        """Compare; scripts send a password with each request, so what was right is known again without working out its hash."""
        opens = partial(self.passwords.opens, user, password)
        if not self.passwords.slow:
            return opens()
        seen = hmac.digest(self._key, f"{user}:{password}".encode("utf-8", "replace"), "sha256")
        role = self._right.get(seen) or await threaded(opens, COMPARING)
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
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url = await self.provider.begin(state, nonce, verifier)
        self._pending[state] = Pending(digest(browser), nonce, verifier, wanted, monotonic_s())
        while len(self._pending) > PENDING_COUNT:
            self._pending.popitem(last=False)
        return url

    async def from_provider(self, state: str, code: str, browser: str, address: str) -> tuple[Begun, str]:
        """Sign in somebody who comes back from the provider; where that one wanted to go. Raises SignInFailed."""
        pending = self._pending.pop(state, None)
        if pending is None or monotonic_s() - pending.began > PENDING_S or not equal(pending.browser, digest(browser)):
            raise SignInFailed(UNKNOWN)
        if self.provider is None or not code:
            raise SignInFailed(UNKNOWN)
        try:
            claims = await self.provider.finish(code, pending.nonce, pending.verifier)
        except SignInFailed as failed:
            await self._publish("", Role.NONE, address, "failed", str(failed))
            raise
        user, role = user_of(claims), role_of(claims, self.claim, self.rules)
        user = f"oidc:{user}" if user in ROLES else user  # nobody is called as the passwords' users are
        if role is None or not user:
            await self._publish(user, Role.NONE, address, "refused", "no role")
            raise SignInFailed(NO_ROLE)
        return await self._begin(user, role, address), pending.wanted

    async def out(self, session_id: str, address: str, *, everywhere: bool) -> None:
        """End a session, or all of its user's."""
        session = self.sessions.find(session_id, monotonic_s())
        if session is None:
            return
        if everywhere:
            self.sessions.end_all(session.user)
        self.sessions.end(session_id)
        act = "SIGN OUT EVERYWHERE" if everywhere else "SIGN OUT"
        await publish_act(self.bus, Principal(session.user, session.role, "web", address), act, "", "done", "")

    async def _begin(self, user: str, role: Role, address: str) -> Begun:
        session_id = secrets.token_urlsafe(32)
        session = self.sessions.begin(session_id, secrets.token_urlsafe(32), user, role, monotonic_s())
        await self._publish(user, role, address, "done", "")
        return Begun(session_id, session)

    async def _publish(self, user: str, role: Role, address: str, outcome: str, reason: str) -> None:
        await publish_act(self.bus, Principal(user, role, "web", address), "SIGN IN", "", outcome, reason)
