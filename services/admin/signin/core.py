"""Sessions of people who have signed in, and what is read of an identity provider's answer. Pure; clock and chance are arguments.

A browser holds a random id; what is kept here is a digest of it. An id is made at each sign-in and never taken from a browser, so nobody
can have one ready for somebody else. A session ends after `IDLE_S` without a request, after `longest_s` whatever happens, when it is signed
out, and when its user signs out everywhere; all of them end with this process. Of a user there are no more than `SESSIONS_PER_USER_COUNT`, so that nobody who
signs in again and again ends those of others.
"""

import base64
import hashlib
import hmac
import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.services.admin.access.roles import Principal, Role

IDLE_S: Final = 3600.0
SESSIONS_COUNT: Final = 1000
"""Beyond, the one of whoever has most that has been silent for the longest ends."""
SESSIONS_PER_USER_COUNT: Final = 250
"""Beyond, that user's own that has been silent for the longest ends. Who signs in by a password is called as its role."""
PENDING_S: Final = 600.0
"""So long somebody may be at the identity provider."""
LONGEST_WANTED_COUNT: Final = 1000
"""Characters of where somebody wants to go that are sent there and back."""
ANYBODY: Final = "*"
LONGEST_NAME_COUNT: Final = 64
NOT_IN_NAMES: Final = re.compile(r"[^\w .@+'-]")
"""Least of all brackets and colons: what stands in them identifies somebody."""
ID_PREFIX: Final = "oidc:"
ID_COUNT: Final = 16
"""Hexadecimal digits; nobody tries so many ids at a provider until one is another's."""


class SignInFailed(Exception):
    """The provider does not answer, answers nonsense, or does not know whoever came back. Its text is safe to show."""


@dataclass
class WebSession:
    """One browser that has signed in."""

    user: str
    role: Role
    began: Instant
    seen: Instant
    form_token: str
    """What a form of ours carries, and no form of another site."""
    name: str = ""
    """What it is called; `user` identifies it (Principal)."""

    def principal(self, address: str) -> Principal:
        """Say who acts by it, from where."""
        return Principal(self.user, self.role, "web", address, self.name)


class WebSessions:
    """All of them, by the digest of their ids."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._sessions: OrderedDict[str, WebSession] = OrderedDict()

    def begin(  # noqa: PLR0913, PLR0917 what a session is
        self, session_id: str, form_token: str, user: str, role: Role, now: Instant, name: str = ""
    ) -> WebSession:
        """Begin a session under a fresh id."""
        counts = Counter(session.user for session in self._sessions.values())
        if counts[user] >= SESSIONS_PER_USER_COUNT:
            self._end_most_silent(user)
        elif len(self._sessions) >= SESSIONS_COUNT:
            self._end_most_silent(counts.most_common(1)[0][0])
        self._sessions[digest(session_id)] = made = WebSession(user, role, now, now, form_token, name)
        return made

    def find(self, session_id: str, now: Instant) -> WebSession | None:
        """Find the session of an id, and note that it is used."""
        found = self.stands(session_id, now)
        if found is not None:
            found.seen = now
            self._sessions.move_to_end(digest(session_id))
        return found

    def stands(self, session_id: str, now: Instant) -> WebSession | None:
        """Find the session of an id without a use of it: a stream that is open keeps none from ending by silence."""
        key = digest(session_id)
        found = self._sessions.get(key)
        if found is not None and (now - found.seen > IDLE_S or now - found.began > self._longest_s):
            del self._sessions[key]
            return None
        return found

    def _end_most_silent(self, user: str) -> None:
        del self._sessions[next(key for key, session in self._sessions.items() if session.user == user)]

    def end(self, session_id: str) -> None:
        """End one session."""
        self._sessions.pop(digest(session_id), None)

    def end_all(self, user: str) -> int:
        """End all sessions of a user; how many."""
        keys = [key for key, session in self._sessions.items() if session.user == user]
        for key in keys:
            del self._sessions[key]
        return len(keys)


def derived(key: bytes, *parts: str) -> str:
    """Make a secret of others: the same each time, and by nobody without the key."""
    return hmac.digest(key, repr(parts).encode(), "sha256").hex()


def state_of(key: bytes, browser: str, wanted: str, chance: str, now: Instant) -> str:
    """Write what a browser brings back from the identity provider: when it went there and where it wants to go then, sealed for this browser."""
    kept = wanted if len(wanted) <= LONGEST_WANTED_COUNT else "/"
    said = base64.urlsafe_b64encode(f"{now:.0f} {chance} {kept}".encode()).decode()
    return f"{said}.{derived(key, 'state', said, browser)}"


def wanted_of(key: bytes, browser: str, state: str, now: Instant) -> str | None:
    """Read where a browser wants to go that is back; None: it did not begin here, or too long ago."""
    said, _, seal = state.partition(".")
    if not equal(seal, derived(key, "state", said, browser)):
        return None
    began, _, wanted = base64.urlsafe_b64decode(said).decode().split(" ", 2)
    return wanted if now - Instant(float(began)) <= PENDING_S else None


def digest(session_id: str) -> str:
    """Say under what a session is kept."""
    return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()


def equal(one: str, other: str) -> bool:
    """Compare two secrets that are there."""
    return bool(one) and hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def role_of(claims: Mapping[str, Any], claim: str, rules: Mapping[str, Role]) -> Role | None:
    """Say which role the identity provider's word gives somebody, the highest that fits; None: none."""
    said = claims.get(claim)
    groups: Sequence[Any] = said if isinstance(said, list) else [said]
    fitting = [rules[group] for group in groups if isinstance(group, str) and group in rules]
    fitting += [rules[ANYBODY]] if ANYBODY in rules else []
    return max(fitting, default=None)


def user_of(claims: Mapping[str, Any]) -> str:
    r"""Identify somebody: by issuer and subject, the only claims that stay somebody's and are nobody else's (OpenID Connect Core 1.0, 5.7).

    `oidc:` and the first digits of `printf '%s\n%s' ISSUER SUBJECT | sha256sum`. No password's user and no user of a computer is called so.
    """
    told = f"{claims.get('iss')}\n{claims.get('sub')}".encode("utf-8", "surrogatepass")
    return ID_PREFIX + hashlib.sha256(told).hexdigest()[:ID_COUNT]


def name_of(claims: Mapping[str, Any]) -> str:
    """Call somebody as people do: by a verified address, the name at the provider, else the provider's own id. It may be anybody's."""
    email = claims.get("email") if claims.get("email_verified") is True else None
    name = email or claims.get("preferred_username") or claims.get("sub") or ""
    return " ".join(NOT_IN_NAMES.sub("", str(name)).split())[:LONGEST_NAME_COUNT]


def local_path(wanted: str) -> str:
    """Read where somebody wanted to go: a path of this site, or its first page."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/signin", "/signout"))
    return wanted if is_ours and wanted.isascii() and wanted.isprintable() and "\\" not in wanted else "/"
