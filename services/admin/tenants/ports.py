"""What is needed of whoever keeps the file of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clusterodm.libs.common.tenancy import IssuedToken, TokensFile


@dataclass(frozen=True)
class FreshToken:
    """A token that has just been made, with its secret: to be shown this once, and kept nowhere."""

    secret: str
    issued: IssuedToken

    def __repr__(self) -> str:
        """Show no secret."""
        return f"FreshToken({self.issued!r})"


class TokenKeeper(Protocol):
    """Reads and changes the file behind `--tokens`. Raises Refused and NotFound with a sentence."""

    async def read(self) -> TokensFile:
        """Read all of it; it holds no secret."""
        ...

    async def create(
        self, tenant: str, changes: Mapping[str, Any], expires: str, note: str, *, begins: bool = False
    ) -> FreshToken:
        """Make a token; a tenant that is new begins with it. `changes`: limits; `expires`: `90d`, or empty; `begins`: raises Refused when the tenant is not new."""
        ...

    async def rotate(self, token: str, overlap: str) -> FreshToken:
        """Make another for the same tenant; the old one counts for a while yet (`24h`)."""
        ...

    async def revoke(self, token: str) -> None:
        """Let it count no more."""
        ...

    async def change(self, tenant: str, changes: Mapping[str, Any]) -> None:
        """Change what a tenant may do."""
        ...

    async def remove(self, tenant: str) -> None:
        """Take a tenant out with its tokens."""
        ...
