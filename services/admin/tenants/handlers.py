"""Carries out what operators do with tenants and tokens, and puts it on record as an act of whoever does it, however it goes.

The pages, `/api/v1` and telnet all come here; `clusterodm token` and `clusterodm tenant` change the same file, as whoever may write it. It goes by no request on the
bus: a new token would be read there by whoever may listen.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.tenancy import TokensFile
from clusterodm.services.admin.access.roles import Role, acting, refusal
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.tenants.core import CreateToken, RemoveTenant, RevokeToken, RotateToken, SetTenant
from clusterodm.services.admin.tenants.ports import FreshToken, TokenKeeper

Came = TypeVar("Came")
NO_FILE: Final = "there is no file of tokens here: start the admin with --tokens"
LONGEST: Final = 200


class TenantActs:
    """What is done with the file of tokens. Raises Refused, NotFound."""

    def __init__(self, bus: Bus, keeper: TokenKeeper | None) -> None:
        self._bus = bus
        self._keeper = keeper

    def __repr__(self) -> str:
        """Show where tokens are kept."""
        return f"TenantActs({self._keeper!r})"

    @property
    def has_file(self) -> bool:
        """Whether there is a file of tokens; without it there are no tenants to be seen."""
        return self._keeper is not None

    async def read(self) -> TokensFile:
        """Read the file."""
        return await self._file.read()

    async def create(self, asked: CreateToken) -> FreshToken:
        """Make a token, and its tenant where it is new."""
        make = lambda: self._file.create(asked.tenant, asked.changes, asked.expires, asked.note, begins=asked.begins)  # noqa: E731 what is to be done
        return await self._acted("TOKEN CREATE", asked.tenant, make)

    async def rotate(self, asked: RotateToken) -> FreshToken:
        """Make another token for the tenant of one."""
        return await self._acted("TOKEN ROTATE", asked.token, lambda: self._file.rotate(asked.token, asked.overlap))

    async def revoke(self, asked: RevokeToken) -> None:
        """Let a token count no more."""
        await self._acted("TOKEN REVOKE", asked.token, lambda: self._file.revoke(asked.token))

    async def change(self, asked: SetTenant) -> None:
        """Change what a tenant may do."""
        await self._acted("TENANT SET", asked.tenant, lambda: self._file.change(asked.tenant, asked.changes))

    async def remove(self, asked: RemoveTenant) -> None:
        """Take a tenant out."""
        await self._acted("TENANT REMOVE", asked.tenant, lambda: self._file.remove(asked.tenant))

    @property
    def _file(self) -> TokenKeeper:
        if self._keeper is None:
            raise Refused(NO_FILE)
        return self._keeper

    async def _acted(self, act: str, target: str, do: Callable[[], Awaitable[Came]]) -> Came:
        """Do what needs the role admin, and put it on record however it goes."""
        principal = acting.get()
        try:
            if denied := refusal(principal, Role.ADMIN):
                raise Refused(denied)
            came = await do()
        except ClusterError as error:
            await publish_act(self._bus, principal, act, target[:LONGEST], "refused", error.message)
            raise
        await publish_act(self._bus, principal, act, target[:LONGEST], "done", "")
        return came
