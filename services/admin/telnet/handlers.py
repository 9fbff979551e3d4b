"""Signs somebody in, and answers one line of a session that has logged in: what is about tenants and tokens by the file of tokens, all else over the bus."""

import asyncio
from collections.abc import Iterable
from functools import partial

from clusterodm.libs.common.errors import ClusterError, NotFound
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s, now_ms
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Principal, Role
from clusterodm.services.admin.commands.core.commands import UnknownCommand
from clusterodm.services.admin.commands.handlers.execute import execute, publish_act
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.metrics import LOGINS
from clusterodm.services.admin.rendering.answers import rendered
from clusterodm.services.admin.rendering.text import END, one_line, pretty
from clusterodm.services.admin.signin.core import SignInFailed
from clusterodm.services.admin.signin.handlers import TOO_OFTEN, compared, publish_failed
from clusterodm.services.admin.telnet.core.grammar import parse
from clusterodm.services.admin.telnet.core.tenant_words import parse_tenants
from clusterodm.services.admin.tenants.core.commands import (
    ListTenants,
    ListTokens,
    TenantCommand,
    date,
    rows,
    tenants_data,
    token_data,
)
from clusterodm.services.admin.tenants.core.file import NewToken
from clusterodm.services.admin.tenants.handlers import TenantActs


async def sign_in(bus: Bus, passwords: Passwords, logins: LoginThrottle, address: str, given: str) -> Role | None:
    """Judge a password, or its first word, at the time that an address has deserved, and put it on record; None: it opens nothing. Raises SignInFailed where that is too late."""
    wait_s = logins.wait_s(address, monotonic_s())
    if wait_s is None:
        raise SignInFailed(TOO_OFTEN)
    await asyncio.sleep(wait_s)
    role: Role | None = None
    for each in dict.fromkeys((given, given.partition(" ")[0])):
        role = role or await compared(passwords, logins, "telnet", address, partial(passwords.role_of, each))
    LOGINS.inc("telnet", "right" if role else "wrong")
    if role:
        logins.succeeded(address)
        await publish_act(bus, Principal(role.word, role, "telnet", address), "SIGN IN", "", "done", "")
    else:
        logins.failed(address, monotonic_s())
        nobody = Principal("", Role.NONE, "telnet", address)
        await publish_failed(bus, logins, nobody, "refused", "wrong password")
    return role


async def answer(bus: Bus, tenants: TenantActs, line: str) -> Iterable[str]:
    """Carry out a line; the pieces of its answer, its end included."""
    command = parse_tenants(line)
    if command is None:
        return rendered(await execute(bus, parse(line)))
    if isinstance(command, UnknownCommand):
        return ("INVALID", END)
    try:
        return (await about_tenants(tenants, command), END)
    except NotFound:
        return ("INVALID", END)
    except ClusterError as error:
        return (f"FAIL {one_line(error.message)}", END)


async def about_tenants(tenants: TenantActs, command: TenantCommand) -> str:
    """Carry out what is about the file of tokens. Raises NotFound, Refused."""
    match command:
        case ListTenants():
            return pretty(tenants_data(await tenants.read()))
        case ListTokens(tenant):
            listed = rows(await tenants.read(), now_ms())
            return pretty([token_data(row) for row in listed if tenant in {"", row.issued.tenant}])
        case _:
            new = await tenants.do(command)
            return "OK" if new is None else made(new)


def made(new: NewToken) -> str:
    """Show a token, this once."""
    issued = new.issued
    said = {"token": new.token, "id": issued.id, "tenant": issued.tenant, "expires": date(issued.expires_at_ms)}
    return pretty(said)
