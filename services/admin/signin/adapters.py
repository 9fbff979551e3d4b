"""An identity provider over OpenID Connect, by Authlib: discovery, authorization code with PKCE, and a token that is checked.

Authlib is an extra (`pip install 'clusterodm[oidc]'`): most clusters do without. What the provider says of itself is asked for when somebody
signs in, and kept for a while, its keys too; a token by a key that is not known asks once more.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.untrusted import Malformed, decode_any_json
from clusterodm.services.admin.signin.core import SignInFailed

DISCOVERY: Final = "/.well-known/openid-configuration"
TIMEOUT_S: Final = 10.0
KEPT_S: Final = 600.0
AWAY_S: Final = 5.0
"""A provider that did not answer is not asked again for so long: anybody may begin to sign in, as often as they like."""
ANSWER_BYTES: Final = 1024 * 1024
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
"""Signatures with a key of the provider's alone: no `none`, and none by a secret that is shared."""
LEEWAY_S: Final = 60
AWAY: Final = "The identity provider does not answer as it should."


@dataclass
class OidcProvider:
    """One identity provider, and this cluster's client at it."""

    issuer: str
    client: str
    secret: Secret | None
    callback: str
    scope: str = "openid email profile"
    transport: httpx.AsyncBaseTransport | None = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False)
    _keys: dict[str, Any] = field(default_factory=dict, repr=False)
    _known_until: Instant | None = None
    _away_until: Instant | None = None
    _tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context, repr=False)
    """One for all connections: to make it takes some 20 ms, for which everybody waits, and anybody may begin to sign in."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def __post_init__(self) -> None:
        """See that Authlib is there. Raises Refused."""
        try:
            import authlib.integrations.httpx_client  # noqa: F401 it is loaded now, not when the first one signs in
        except ImportError:
            raise Refused("--admin-oidc-issuer needs an extra: pip install 'clusterodm[oidc]'") from None

    async def begin(self, state: str, nonce: str, verifier: str) -> str:
        """Say where a browser is to be sent."""
        known = await self._discovered()
        url, _ = self._client().create_authorization_url(
            known["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
        return str(url)

    async def finish(self, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """Exchange what the browser has brought back; the claims of the token."""
        known = await self._discovered()
        from authlib.integrations.base_client import OAuthError

        try:
            async with asyncio.timeout(TIMEOUT_S), self._client() as client:
                answer = await client.fetch_token(known["token_endpoint"], code=code, code_verifier=verifier)
        except (httpx.HTTPError, OAuthError, TimeoutError, ValueError) as error:
            raise SignInFailed(f"The identity provider did not accept the sign-in ({type(error).__name__}).") from None
        return await self._checked(str(answer.get("id_token", "")), nonce)

    def _client(self) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        return AsyncOAuth2Client(
            client_id=self.client,
            client_secret=self.secret.reveal() if self.secret else None,
            token_endpoint_auth_method="client_secret_basic" if self.secret else "none",
            redirect_uri=self.callback,
            scope=self.scope,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
            verify=self._tls,
            transport=self.transport,
        )

    async def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Check a token's signature, who made it, for whom, when, and for which sign-in."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": self._known["issuer"]},
            aud={"essential": True, "value": self.client},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for fresh in (False, True):
            if fresh:
                self._known_until = None
                await self._discovered()
            try:
                read = jwt.decode(token, KeySet.import_key_set({"keys": self._keys["keys"]}), algorithms=ALGORITHMS)
                registry.validate(read.claims)
            except (JoseError, ValueError, KeyError, TypeError):
                continue
            return dict(read.claims)
        raise SignInFailed("The identity provider's token is not valid.")

    async def _discovered(self) -> dict[str, Any]:
        """Say where what is at the provider, and keep its keys; one asks for all who want to know."""
        async with self._one_at_a_time:
            if self._known_until is not None and monotonic_s() < self._known_until:
                return self._known
            if self._away_until is not None and monotonic_s() < self._away_until:
                raise SignInFailed(AWAY)
            try:
                return await self._ask()
            except SignInFailed:
                self._away_until = monotonic_s() + AWAY_S
                raise

    async def _ask(self) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=self._tls, transport=self.transport) as client:
            known = await fetched(client, self.issuer.rstrip("/") + DISCOVERY)
            if str(known.get("issuer", "")).rstrip("/") != self.issuer.rstrip("/"):
                raise SignInFailed(AWAY)
            keys = await fetched(client, str(known.get("jwks_uri", "")))
        if not isinstance(keys.get("keys"), list) or not {"authorization_endpoint", "token_endpoint"} <= known.keys():
            raise SignInFailed(AWAY)
        self._known, self._keys, self._known_until = known, keys, monotonic_s() + KEPT_S
        return known


async def fetched(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Fetch a JSON object, within bounds. Raises SignInFailed."""
    try:
        async with asyncio.timeout(TIMEOUT_S), client.stream("GET", url) as answer:
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise SignInFailed(AWAY)
            found = decode_any_json(body) if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, Malformed):
        raise SignInFailed(AWAY) from None
    if not isinstance(found, dict):
        raise SignInFailed(AWAY)
    return found
