"""What signing in needs of the world: an identity provider (OpenID Connect Core 1.0, authorization code flow with PKCE)."""

from collections.abc import Mapping
from typing import Any, Protocol


class SignInFailed(Exception):
    """The provider does not answer, answers nonsense, or does not know whoever came back. Its text is safe to show."""


class IdentityProvider(Protocol):
    """Who says who somebody is. Raises SignInFailed."""

    async def begin(self, state: str, nonce: str, verifier: str) -> str:
        """Say where a browser is to be sent."""
        ...

    async def finish(self, code: str, nonce: str, verifier: str) -> Mapping[str, Any]:
        """Exchange what the browser has brought back; the claims of a token that was checked."""
        ...
