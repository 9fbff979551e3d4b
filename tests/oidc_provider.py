"""An identity provider that speaks OpenID Connect: discovery, authorization code with PKCE, signed tokens. Who signs in is said by a form.

It follows OpenID Connect Core 1.0 and RFC 7636 as far as a client can see: codes work once, for one client, one redirect and one verifier.
"""

import base64
import hashlib
import html
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server


class OidcIdentityProvider:
    """One provider with one client."""

    def __init__(self, client: str, secret: str) -> None:
        self.client, self.secret = client, secret
        self.issuer = ""
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.signs_with = self.key
        self.groups: dict[str, list[str]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.lies: dict[str, Any] = {}
        """Claims of a token that are not as they should be."""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/authorize", self.authorize, methods=["GET", "POST"]),
                Route("/token", self.token, methods=["POST"]),
                Route("/keys", self.keys),
            ]
        )

    async def discovery(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if asked.get("client_id") != self.client or asked.get("code_challenge_method") != "S256":
            return Response("bad client", status_code=400)
        if request.method == "GET":
            where = html.escape(f"/authorize?{urlencode(asked)}")
            form = f'<form method="post" action="{where}"><label>Name<input name="sub"></label><button>Go on</button></form>'
            return HTMLResponse(f"<!doctype html><title>Provider</title>{form}")
        sub = parse_qs((await request.body()).decode())["sub"][0]
        return RedirectResponse(self.answer(asked, sub), 303)

    def answer(self, asked: dict[str, str], sub: str) -> str:
        """Where a browser goes that has signed in here."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, "sub": sub}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    async def token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        known = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        basic = base64.b64encode(f"{self.client}:{self.secret}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {basic}":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        if (
            known is None
            or known["redirect_uri"] != form.get("redirect_uri")
            or challenge.decode().rstrip("=") != known["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = int(time.time())  # noqa: TID251 a token's times are the wall clock's
        claims = {
            "iss": self.issuer,
            "aud": self.client,
            "sub": known["sub"],
            "preferred_username": known["sub"],
            "groups": self.groups.get(known["sub"], []),
            "nonce": known["nonce"],
            "iat": now,
            "exp": now + 60,
            **self.lies,
        }
        id_token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.signs_with)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": id_token})


@asynccontextmanager
async def identity_provider() -> AsyncIterator[OidcIdentityProvider]:
    """Serve one while the context is open."""
    provider = OidcIdentityProvider("cluster", "client-secret")
    listener = listen("127.0.0.1", 0, "--test")
    provider.issuer = f"http://127.0.0.1:{port_of(listener)}"
    async with web_server(provider.app(), listener):
        yield provider
