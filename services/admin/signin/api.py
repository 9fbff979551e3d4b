"""The pages of signing in, and the cookie of a session.

    GET  /signin            the form                    GET  /signin/oidc      on to the identity provider
    POST /signin            user, password, next        GET  /signin/callback  back from it
    GET  /signout           asks, or says that it is    POST /signout          ends this session, or all of its user's
    GET  /favicon.ico       what browsers ask for beside any answer

The cookie is HttpOnly and SameSite=Lax (Strict would not come back from the provider), Secure with a `__Host-` name where the page is reached
by HTTPS. A form carries a token that its browser's cookie must match, so that no other site's page signs anybody in or out.
"""

import html
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope

from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.admin.access.roles import Principal
from clusterodm.services.admin.signin.core import SignInFailed, WebSession, equal, local_path
from clusterodm.services.admin.signin.handlers import Begun, SignIns

PATHS: Final = frozenset(
    {"/signin", "/signin/oidc", "/signin/callback", "/signin/style.css", "/signout", "/favicon.ico"}
)
FORM_BYTES: Final = 8192
FIELDS_COUNT: Final = 16
FORM_AGE_S: Final = 3600
SEE_OTHER: Final = 303
Form = Mapping[str, str]

STYLE: Final = """\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{display:grid;place-items:center;min-height:100vh;margin:0;background:Canvas;color:CanvasText}
main{width:min(22rem,calc(100vw - 2rem))}h1{font-size:1.4rem}
label{display:block;margin:.8rem 0 .2rem}
input{box-sizing:border-box;width:100%;padding:.5rem;font:inherit;border:1px solid GrayText;border-radius:.3rem}
button,.provider{display:block;box-sizing:border-box;width:100%;margin-top:1rem;padding:.6rem;font:inherit;text-align:center;border:1px solid #1a5fb4;
border-radius:.3rem;background:#1a5fb4;color:#fff;text-decoration:none;cursor:pointer}
.provider,.second{background:Canvas;color:CanvasText}[role=alert]{padding:.6rem;border:1px solid #c01c28;border-radius:.3rem}
"""
ICON: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#2f6f5e"/>
<path stroke="#fff" stroke-width="2" d="M16 16 8 9M16 16l8-7M16 16v9"/><circle cx="16" cy="16" r="4.5" fill="#fff"/></svg>
"""
LOADED: Final = {"/signin/style.css": (STYLE, "text/css"), "/favicon.ico": (ICON, "image/svg+xml")}
"""What pages load before anybody has signed in."""


class SignInPages:
    """The pages, and who somebody is by a cookie."""

    def __init__(self, signins: SignIns, *, secure: bool) -> None:
        self._signins = signins
        self._secure = secure
        prefix = "__Host-" if secure else ""
        self._cookie, self._form_cookie = f"{prefix}clusterodm_session", f"{prefix}clusterodm_form"

    def principal_of(self, headers: Mapping[str, str], address: str) -> Principal | None:
        """Say who a browser is; None: nobody who has signed in."""
        session = self._session(headers)
        return None if session is None else session.principal(address)

    def may_go_on(self, headers: Mapping[str, str]) -> Callable[[], bool]:
        """Give what judges whether an answer may go on: until the session that asks for it has ended; without one, to its end."""
        session = self._session(headers)
        if session is None:
            return lambda: True
        session_id, role = cookie(headers, self._cookie), session.role
        sessions = self._signins.sessions
        return lambda: sessions.stands(session_id, monotonic_s()) is session and session.role is role

    async def answer(self, scope: Scope, receive: Receive, headers: Mapping[str, str], address: str) -> ASGIApp:
        """Answer a request for one of the pages; foreign pages' have been refused already."""
        path, method = scope["path"], scope["method"]
        query = fields(scope.get("query_string", b""))
        if path in LOADED:
            content, kind = LOADED[path]
            return Response(content, media_type=kind)
        if path == "/signout":
            return await self._out(headers, address, await form_of(receive) if method == "POST" else None)
        if path == "/signin":
            if method == "POST":
                return await self._by_password(headers, address, await form_of(receive))
            return self._form(headers, "", local_path(query.get("next", "/")), 200)
        try:
            going = path == "/signin/oidc"
            return await (self._to_provider(address, query) if going else self._from_provider(headers, address, query))
        except SignInFailed as failed:
            return self._form(headers, str(failed), "/", 403)

    async def _by_password(self, headers: Mapping[str, str], address: str, form: Form) -> Response:
        wanted = local_path(form.get("next", "/"))
        if not equal(form.get("form_token", ""), cookie(headers, self._form_cookie)):
            return self._form(headers, "This form was too old: try again.", wanted, 403)
        try:
            begun = await self._signins.by_password(form.get("user", ""), form.get("password", ""), address)
        except SignInFailed as failed:
            return self._form(headers, str(failed), wanted, 403)
        return self._signed_in(headers, begun, wanted)

    async def _to_provider(self, address: str, query: Form) -> Response:
        browser = secrets.token_urlsafe(32)
        going = await self._signins.to_provider(browser, local_path(query.get("next", "/")), address)
        response = RedirectResponse(going, SEE_OTHER)
        self._set(response, self._form_cookie, browser, FORM_AGE_S)
        return response

    async def _from_provider(self, headers: Mapping[str, str], address: str, query: Form) -> Response:
        browser = cookie(headers, self._form_cookie)
        begun, wanted = await self._signins.from_provider(
            query.get("state", ""), query.get("code", ""), browser, address
        )
        return self._signed_in(headers, begun, wanted)

    def _signed_in(self, headers: Mapping[str, str], begun: Begun, wanted: str) -> Response:
        """Give a browser its session; the one that it had ends."""
        self._signins.sessions.end(cookie(headers, self._cookie))
        response = RedirectResponse(wanted, SEE_OTHER)
        self._set(response, self._cookie, begun.session_id, None)
        response.delete_cookie(self._form_cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return response

    async def _out(self, headers: Mapping[str, str], address: str, form: Form | None) -> Response:
        session = self._session(headers)
        if session is None:
            return page("Signed out", '<p>Signed out.</p><a class="provider" href="/">Sign in again</a>', 401)
        if form is None or not equal(form.get("form_token", ""), session.form_token):
            token = html.escape(session.form_token)
            ask = (
                f'<p>You are {html.escape(session.principal(address).shown)} ({session.role.word}).</p><form method="post" action="/signout">'
                f'<input type="hidden" name="form_token" value="{token}"><button name="where" value="here">Sign out</button>'
                '<button class="second" name="where" value="everywhere">Sign out everywhere</button></form>'
            )
            return page("Sign out", ask, 200 if form is None else 403)
        everywhere = form.get("where") == "everywhere"
        await self._signins.out(cookie(headers, self._cookie), address, everywhere=everywhere)
        response = RedirectResponse("/signin", SEE_OTHER)
        response.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return response

    def _form(self, headers: Mapping[str, str], problem: str, wanted: str, status: int) -> Response:
        """Show the form. A browser that has a token keeps it, so that two of its tabs can both be used."""
        token = cookie(headers, self._form_cookie) or secrets.token_urlsafe(32)
        shown = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
        if self._signins.passwords:
            shown += (
                '<form method="post" action="/signin">'
                f'<input type="hidden" name="form_token" value="{html.escape(token)}">'
                f'<input type="hidden" name="next" value="{html.escape(wanted)}">'
                '<label for="user">User</label><input id="user" name="user" autocomplete="username" required autofocus>'
                '<label for="password">Password</label>'
                '<input id="password" name="password" type="password" autocomplete="current-password" required>'
                "<button>Sign in</button></form>"
            )
        if self._signins.provider:
            shown += f'<a class="provider" href="/signin/oidc?next={quote(wanted, safe="")}">Sign in at your organisation</a>'
        response = page("Sign in", shown, status)
        self._set(response, self._form_cookie, token, FORM_AGE_S)
        return response

    def _set(self, response: Response, name: str, value: str, age_s: int | None) -> None:
        response.set_cookie(name, value, max_age=age_s, path="/", secure=self._secure, httponly=True, samesite="lax")

    def _session(self, headers: Mapping[str, str]) -> WebSession | None:
        found = cookie(headers, self._cookie)
        return self._signins.sessions.find(found, monotonic_s()) if found else None


def page(title: str, content: str, status: int) -> HTMLResponse:
    """Make a page."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{title} - ClusterODM</title><link rel="icon" href="/favicon.ico"><link rel="stylesheet" href="/signin/style.css"></head>'
        f"<body><main><h1>{title}</h1>{content}</main></body></html>",
        status_code=status,
    )


def cookie(headers: Mapping[str, str], name: str) -> str:
    """Read a cookie; empty: there is none.

    As browsers write them: whatever stands beside it, for this computer's name is that of other programs too, and `http.cookies` reads no further than the first
    that is not as RFC 6265 wants it.
    """
    pairs = (each.partition("=") for each in headers.get("cookie", "").split(";"))
    return next((value.strip() for known, _, value in pairs if known.strip() == name), "")


async def form_of(receive: Receive) -> Form:
    """Read a form, within bounds; one that is too long is empty."""
    body = b""
    while True:
        message: Any = await receive()
        body += message.get("body", b"")
        if len(body) > FORM_BYTES or message["type"] != "http.request":
            return {}
        if not message.get("more_body"):
            return fields(body)


def fields(text: bytes) -> Form:
    """Read fields that are written as a URL has them; each name once."""
    try:
        found = parse_qs(text.decode("utf-8", "replace"), max_num_fields=FIELDS_COUNT, keep_blank_values=True)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}
