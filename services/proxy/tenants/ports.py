"""Who checks tokens: a file of this computer, or somebody else who is asked."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from clusterodm.libs.common.tenancy import ShownToken, Tenant


class TokenChecker(Protocol):
    """Says for whom a token speaks."""

    @property
    def open_to_all(self) -> bool:
        """Whether everybody is let in, with whatever token or none."""

    @property
    def is_told(self) -> bool:
        """Whether it is asked before a task begins, and told of its end with the token that it came with, which is kept for that."""

    def known(self, token: ShownToken) -> Tenant | None:
        """Say at once, from memory; None: that cannot be said, or the token is not valid (`check` knows)."""

    async def check(self, token: ShownToken) -> Tenant | None:
        """Say for whom a token speaks; None: for nobody. Raises ServerBusy when that cannot be found out now."""

    async def approve(self, token: ShownToken, images_count: int) -> None:
        """Ask whether a task of so many images may begin. Raises Refused with the reason, ServerBusy."""

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell that a task has ended; tried again for as long as that makes sense, then given up."""

    def tenants(self) -> Iterable[Tenant]:
        """List the tenants that are known by now."""

    def auth_info(self) -> Mapping[str, Any]:
        """Say how clients come by a token: what `/auth/info` answers."""
