"""The web page, guarded, and loaded when somebody asks for it.

What stands before it: security headers, known names, login, protection from foreign pages, a limit on bodies.

In this order: nothing of a request is read or parsed before its sender is known. Only `/healthz` and `/readyz` need no
known name, and they and the pages of signing in no login. An ASGI middleware, so that nothing that is added to the page can forget it.

A stream would go on for days after its request was judged: its sender is judged again before each piece, and there is one every few seconds (live.py;
bounds.py). An answer of a length that it has said is whole or broken, and soon over: it is let through. HEAD is answered as GET, without its body
(RFC 9110, 9.3.2).

FastAPI with all that it brings takes twenty megabytes and, on a small machine, most of a second. A cluster that nobody visits does
without: only this is there from the start, and health, which is asked for every few seconds and needs neither.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterodm.libs.common.health.health import PAGES, Health
from clusterodm.libs.common.health.vitals import health_app
from clusterodm.libs.common.hosts import plain_address
from clusterodm.libs.common.messages.health import SettingInForce
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.refused import ReportedRefusals
from clusterodm.services.admin.access.roles import NOBODY_ELSE, Principal, Role, acting, refusal, reported
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.api import PATHS, SignInPages
from clusterodm.services.admin.signin.core import SignInFailed
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.tenants.handlers import TokensStore
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.bounds import (
    TOO_LARGE,
    ComingBodies,
    OpenStreams,
    StreamEnded,
    lasting,
    limited,
    too_long,
)
from clusterodm.services.admin.web.core.visitors import (
    REQUESTED_WITH,
    SAFE_METHODS,
    by_page,
    credentials,
    has_requested_with,
    is_cross_site,
    is_foreign_load,
    is_known_host,
    role_of_request,
)

at_will = structlog.get_logger(at_will=True)

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
RETRY_AFTER_S: Final = 30
SEE_OTHER: Final = 303
SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NOT_KEPT: Final = "no-store"
"""What is not said to be kept is not kept."""
LOADING: Final = "load the web page"
CROSS_SITE: Final = "This request came from another site's page."
NO_REQUESTED_WITH: Final = f"What changes something needs a header {REQUESTED_WITH.title()}, with any value."
UNKNOWN_HOST: Final = (
    "This page is not known by that name: --admin-web-hosts names those beside its address and localhost."
)
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="ClusterODM"'}
CHALLENGE_TO_PAGES: Final = {"WWW-Authenticate": 'Session realm="ClusterODM"'}
"""Of no kind that a browser knows: it would ask for a password by itself, in the midst of a page whose session has ended, and keep that for ever."""


def web_app(  # noqa: PLR0913, PLR0917 what it stands on
    bus: Bus,
    password: str | Passwords,
    logins: LoginThrottle,
    health: Health,
    names: frozenset[str] = frozenset(),
    watched: Watched | None = None,
    settings: Sequence[SettingInForce] = (),
    *,
    signins: SignIns | None = None,
    tokens: TokensStore | None = None,
    secure: bool = False,
) -> ASGIApp:
    """Make the web, guarded.

    `names`: under which it is known, beside addresses and localhost; `watched`: what is followed all the time, also before the first visit;
    `signins`: who signs in and how, when it is more than by these passwords; `tokens`: the file of tokens, if there is one; `secure`: browsers reach it by HTTPS.
    """
    passwords = password if isinstance(password, Passwords) else Passwords({Role.ADMIN: password} if password else {})
    signins = signins or SignIns(bus, passwords, logins)

    def load() -> ASGIApp:
        from clusterodm.services.admin.web.api.app import WebDependencies, web_application

        return web_application(
            WebDependencies(bus, watched or Watched(bus), health, settings, signins.asks_who, tokens)
        )

    return Guard(LazyApplication(load, health), signins, SignInPages(signins, secure=secure), names)


class LazyApplication:
    """An ASGI application that is made for its first request, in a thread, so that nothing else waits for it."""

    def __init__(self, load: Callable[[], ASGIApp], health: Health) -> None:
        self._load = load
        self._health = health_app(health, errors=False)
        self._app: ASGIApp | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let it be answered."""
        if scope["type"] == "http" and scope["path"] in PAGES and scope["method"] in {"GET", "HEAD"}:
            return await self._health(scope, receive, send)
        app = self._app or await self._loaded()
        return await app(scope, receive, send)

    async def _loaded(self) -> ASGIApp:
        async with self._loading:  # those that come at once wait for one
            if self._app is None:
                self._app = await threaded(self._load, LOADING)
            return self._app


@dataclass(frozen=True)
class Guard:
    """The middleware."""

    app: ASGIApp
    signins: SignIns
    pages: SignInPages
    names: frozenset[str] = frozenset()
    """Under which the page is known, beside addresses and localhost."""
    reported: ReportedRefusals = field(default_factory=ReportedRefusals)
    coming: ComingBodies = field(default_factory=ComingBodies)
    streams: OpenStreams = field(default_factory=OpenStreams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = MutableHeaders(scope=message)
                said.update(SECURITY)
                said.setdefault("Cache-Control", NOT_KEPT)
            await send(message)

        headers = Headers(scope=scope)
        with suppress(StreamEnded, ClientDisconnect), self.coming.received(scope, receive) as timely:
            answer = await self.refusal(scope, timely, headers) or self.app
            may_go_on = (lambda: False) if is_head else self.pages.may_go_on(headers)
            begins = lambda: self.streams.begin(scope, acting.get().user)  # noqa: E731 what is to be done
            try:
                await answer(scope, limited(scope, timely), lasting(scope, send_with_headers, may_go_on, begins))
            finally:
                self.streams.end(scope)

    async def refusal(self, scope: Scope, receive: Receive, headers: Headers) -> ASGIApp | None:
        """Judge a request; None lets it through."""
        if scope["path"] in OPEN_PATHS:
            return None
        if not is_known_host(headers.get("host", ""), self.names):
            at_will.warning("request.host_refused", host=headers.get("host", "")[:100])
            return JSONResponse({"error": UNKNOWN_HOST}, status_code=421)
        if scope["method"] in SAFE_METHODS and is_foreign_load(headers):
            return self.forged(scope, headers, CROSS_SITE)
        if scope["path"] in PATHS:
            return await self.to_pages(scope, receive, headers)
        principal = await self.who(scope, headers)
        return await self.refusal_of(scope, headers, principal) if isinstance(principal, Principal) else principal

    async def to_pages(self, scope: Scope, receive: Receive, headers: Headers) -> ASGIApp:
        """Let the pages of signing in answer, unless a foreign one asks."""
        if scope["method"] not in SAFE_METHODS and is_cross_site(headers):
            return self.forged(scope, headers, CROSS_SITE)
        return await self.pages.answer(scope, receive, headers, address_of(scope))

    async def who(self, scope: Scope, headers: Headers) -> Principal | Response:
        """Say who asks: by a cookie, by HTTP Basic authentication, or anybody where nobody has to say so."""
        address = address_of(scope)
        if not self.signins.asks_who:
            return Principal(NOBODY_ELSE.user, NOBODY_ELSE.role, "web", address)
        found = self.pages.principal_of(headers, address) or await self.basic(address, headers)
        return found or (to_sign_in(scope) if wants_page(scope, headers) else challenge(headers))

    async def refusal_of(self, scope: Scope, headers: Headers, principal: Principal) -> Response | None:
        """Judge a request of somebody who is known; None lets it through, in that one's name."""
        acting.set(principal)
        reported.set(self.reported)
        if scope["method"] not in SAFE_METHODS:
            if forgery := forgery_reason(headers):
                return self.forged(scope, headers, forgery)
            if principal.role < Role.OPERATOR:  # who may do something is judged where it is known what is asked for
                denied = refusal(principal, role_of_request(scope["method"], scope["path"]))
                target = quote(scope["path"], errors="replace")
                await publish_act(self.signins.bus, principal, scope["method"], target, "refused", denied)
                return JSONResponse({"error": denied}, status_code=403)
        if too_long(headers.get("content-length", "0")):
            return JSONResponse({"error": TOO_LARGE}, status_code=413)
        return None

    def forged(self, scope: Scope, headers: Headers, reason: str) -> Response:
        """Refuse what a foreign page may have sent."""
        at_will.warning("request.origin_refused", path=scope["path"][:200], origin=headers.get("origin"))
        return JSONResponse({"error": reason}, status_code=403)

    async def basic(self, address: str, headers: Headers) -> Principal | Response | None:
        """Judge HTTP Basic authentication; None: there is none."""
        given = credentials(headers)
        if given is None:
            return None
        try:
            role = await self.signins.judge(*given, address)
        except SignInFailed:
            return Response(status_code=429, headers={"Retry-After": str(RETRY_AFTER_S)})
        if role is None:
            return challenge(headers)
        return Principal(role.word, role, "web", address)


def challenge(headers: Headers) -> Response:
    """Ask who it is."""
    return Response(status_code=401, headers=CHALLENGE_TO_PAGES if by_page(headers) else CHALLENGE)


def wants_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser wants to show a page, and could show that for signing in instead."""
    return scope["method"] == "GET" and "text/html" in headers.get("accept", "")


def to_sign_in(scope: Scope) -> Response:
    """Send a browser to the page for signing in."""
    query = scope.get("query_string", b"").decode("ascii", "replace")
    wanted = scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/signin?next={quote(wanted, safe='')}", SEE_OTHER)


def forgery_reason(headers: Headers) -> str:
    """Say why a request may change nothing; empty: it may."""
    if is_cross_site(headers):
        return CROSS_SITE
    return "" if has_requested_with(headers) else NO_REQUESTED_WITH


def address_of(scope: Scope) -> str:
    """Say where a request comes from."""
    client: Any = scope.get("client")
    return plain_address(str(client[0])) if client else "?"
