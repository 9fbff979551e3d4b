"""Carries out what operators do with tenants and tokens, and puts it on record as an act of whoever does it, however it goes.

The pages, `/api/v1` and telnet all come here; `clusterodm token` and `clusterodm tenant` change the same file, as whoever may write it. It goes by no request on the
bus: a new token would be read there by whoever may listen.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import now_ms
from clusterodm.libs.common.tenancy import TokensFile
from clusterodm.services.admin.access.roles import Role, acting, refusal
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.tenants.core.commands import (
    CreateToken,
    RemoveTenant,
    RevokeToken,
    RotateToken,
    SetTenant,
    TenantChange,
)
from clusterodm.services.admin.tenants.core.file import NewToken, carried_out

Made = TypeVar("Made")
Change = Callable[[TokensFile, tuple[str, str]], tuple[TokensFile, Made]]
"""Is given the file, and a secret with an id that nothing has yet."""
NO_FILE: Final = "there is no file of tokens here: start the admin with --tokens"
ACTS: Final[Mapping[type[TenantChange], str]] = {
    CreateToken: "TOKEN CREATE",
    RotateToken: "TOKEN ROTATE",
    RevokeToken: "TOKEN REVOKE",
    SetTenant: "TENANT SET",
    RemoveTenant: "TENANT REMOVE",
}


class TokensStore(Protocol):
    """Keeps the file behind `--tokens`. Raises Refused with a sentence."""

    async def read(self) -> TokensFile:
        """Read all of it; it holds no secret."""

    async def change(self, change: Change[Made]) -> Made:
        """Replace it by what `change` makes of it, with nobody else changing it meanwhile; what was made besides."""


class TenantActs:
    """What is done with the file of tokens. Raises Refused, NotFound."""

    def __init__(self, bus: Bus, store: TokensStore | None) -> None:
        self._bus = bus
        self._store = store

    @property
    def has_file(self) -> bool:
        """Whether there is a file of tokens; without it there are no tenants to be seen."""
        return self._store is not None

    async def read(self) -> TokensFile:
        """Read the file."""
        return await self._file.read()

    async def do(self, command: TenantChange) -> NewToken | None:
        """Do what needs the role admin, and put it on record however it goes; the token that was made, if one was."""
        principal, act = acting.get(), ACTS[type(command)]
        target = command.token if isinstance(command, RotateToken | RevokeToken) else command.tenant
        try:
            if denied := refusal(principal, Role.ADMIN):
                raise Refused(denied)
            made = await self._file.change(partial(carried_out, command, now_ms()))
        except ClusterError as error:
            await publish_act(self._bus, principal, act, target, "refused", error.message)
            raise
        await publish_act(self._bus, principal, act, target, "done", "")
        return made

    @property
    def _file(self) -> TokensStore:
        if self._store is None:
            raise Refused(NO_FILE)
        return self._store
