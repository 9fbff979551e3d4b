"""What becomes of the file of tokens (libs/common/tenancy). Pure: chance and time are arguments."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.nodes import labels_of, mistake_in_labels
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.tenancy import LEAST_TOKEN_LENGTH, IssuedToken, Tenant, TokensFile, digest_of, mistakes_in
from clusterodm.services.admin.tenants.core.commands import (
    CreateToken,
    RemoveTenant,
    RevokeToken,
    RotateToken,
    SetTenant,
    TenantChange,
)

DURATION: Final = re.compile(r"([0-9]{1,6})\s*([smhdw])")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
LONGEST_S: Final = 100 * 365 * SECONDS["d"]
SIZE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([kmgt]b)?", re.IGNORECASE)
UNITS: Final = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
LONGEST_NOTE: Final = 200


@dataclass(frozen=True)
class NewToken:
    """A token that has just been made, and what the file says of it."""

    token: str
    issued: IssuedToken

    def __repr__(self) -> str:
        """Show no token."""
        return f"NewToken({self.issued!r})"


def carried_out(
    command: TenantChange, now_ms: WallMs, file: TokensFile, fresh: tuple[str, str]
) -> tuple[TokensFile, NewToken | None]:
    """Do to the file what a command says; the token that was made, if one was. `fresh`: a secret and an id for it. Raises Refused, NotFound."""
    match command:
        case CreateToken(tenant, changes, expires, note):
            new = new_token(*fresh, tenant, now_ms, span(expires) if expires else None, note)
            return created(without(file, tenant) if command.begins else file, new, read_limits(changes)), new
        case RotateToken(token, overlap):
            overlap_ms, old = span(overlap), exactly(file, token)
            new = successor(old, *fresh, now_ms, None)
            return rotated(file, old.id, new, now_ms, overlap_ms), new
        case RevokeToken(token):
            return revoked(file, [exactly(file, token).id])[0], None
        case SetTenant(tenant, changes):
            return changed(file, tenant, read_limits(changes)), None
        case RemoveTenant(tenant):
            return without_tenant(file, tenant), None


def has_tenant(file: TokensFile, name: str) -> bool:
    """Whether there is such a tenant."""
    return any(tenant.name == name for tenant in file.tenants)


def duration_ms(text: str) -> int:
    """Read `30m`, `12h`, `90d`, in milliseconds. Raises ValueError."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: 30m, 12h, 90d or 8w")
    seconds = int(match[1]) * SECONDS[match[2]]
    if seconds > LONGEST_S:
        raise ValueError(f"{text!r} is longer than {LONGEST_S // SECONDS['d']}d")
    return seconds * 1000


def size_bytes(text: str) -> int:
    """Read `500MB`, `50GB`; 0 is 0. Raises ValueError."""
    match = SIZE.fullmatch(text.strip())
    if match is None or (match[2] is None and float(match[1])):
        raise ValueError(f"{text!r} is no size: 500MB, 50GB or 2TB; 0: no limit")
    return int(float(match[1]) * UNITS[(match[2] or "kb").lower()])


def listed_labels(said: str | Sequence[str]) -> tuple[str, ...]:
    """Read labels: a list, or a text with commas or spaces between them. Raises ValueError."""
    labels = labels_of(said)
    if mistake := mistake_in_labels(labels):
        raise ValueError(mistake)
    return labels


def without(file: TokensFile, tenant: str) -> TokensFile:
    """Make sure that there is no such tenant yet. Raises Refused."""
    if has_tenant(file, tenant):
        raise Refused(f"there is a tenant {tenant[:80]!r} already")
    return file


def changed(file: TokensFile, tenant: str, limits: Mapping[str, Any]) -> TokensFile:
    """Change what a tenant may do. Raises Refused, NotFound."""
    if not limits:
        raise Refused("nothing is to be changed: name a limit")
    if not has_tenant(file, tenant):
        raise NotFound(f"there is no tenant {tenant[:80]!r}")
    return with_tenant(file, tenant, limits)


def exactly(file: TokensFile, id_: str) -> IssuedToken:
    """Find a token by its whole id: a button means one, whatever was made since. Raises NotFound."""
    token = found(file, id_)
    if token.id != id_:
        raise NotFound(f"there is no token {id_[:80]!r}")
    return token


def span(text: str) -> int:
    """Read a time span, in milliseconds. Raises Refused."""
    try:
        return duration_ms(text)
    except ValueError as error:
        raise Refused(str(error)) from None


READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "max_task_bytes": size_bytes,
    "storage_bytes": size_bytes,
    "labels": listed_labels,
}
"""Limits that people write in another way than the file: 50GB; labels one after the other."""


def read_limits(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Read limits as they are written on a page. Raises Refused."""
    try:
        return {name: READ[name](value) if name in READ else value for name, value in changes.items()}
    except ValueError as error:
        raise Refused(str(error)) from None


def with_tenant(file: TokensFile, name: str, changes: Mapping[str, Any], *, owner: Owner | None = None) -> TokensFile:
    """Change a tenant, or begin one. Raises Refused."""
    known = {tenant.name: tenant for tenant in file.tenants}
    begun = known.get(name) or Tenant(name=name, owner=owner or Owner(""))
    tenants = known | {name: msgspec.structs.replace(begun, **changes)}
    return checked(msgspec.structs.replace(file, tenants=tuple(tenants.values())))


def created(file: TokensFile, new: NewToken, changes: Mapping[str, Any], *, takes_over: bool = False) -> TokensFile:
    """Add a token, and its tenant where it is new. `takes_over`: the token was in use, and its tasks go on being its tenant's."""
    if len(new.token) < LEAST_TOKEN_LENGTH:
        raise Refused(f"a token has at least {LEAST_TOKEN_LENGTH} characters: a shorter one can be found by trying")
    if len(new.issued.note) > LONGEST_NOTE:
        raise Refused(f"a note has at most {LONGEST_NOTE} characters")
    owner = owner_of(new.token) if takes_over else None
    with_its = with_tenant(file, new.issued.tenant, changes, owner=owner)
    return checked(msgspec.structs.replace(with_its, tokens=(*file.tokens, new.issued)))


def new_token(  # noqa: PLR0913, PLR0917 all that is said of one
    token: str, id_: str, tenant: str, now_ms: WallMs, expires_ms: int | None, note: str = ""
) -> NewToken:
    """Describe a token. `expires_ms`: after how long it counts no more."""
    expires_at_ms = None if expires_ms is None else now_ms + expires_ms
    issued = IssuedToken(
        id=id_, tenant=tenant, sha256=digest_of(token), created_at_ms=now_ms, expires_at_ms=expires_at_ms, note=note
    )
    return NewToken(token, issued)


def successor(old: IssuedToken, token: str, id_: str, now_ms: WallMs, expires_ms: int | None) -> NewToken:
    """Describe the token that follows one; it expires when that would have, unless something else is asked for."""
    new = new_token(token, id_, old.tenant, now_ms, expires_ms, old.note)
    if expires_ms is not None or old.expires_at_ms is None or old.expires_at_ms <= now_ms:
        return new
    return NewToken(token, msgspec.structs.replace(new.issued, expires_at_ms=old.expires_at_ms))


def found(file: TokensFile, id_: str) -> IssuedToken:
    """Find a token by its id, or by the beginning of it. Raises NotFound, Refused."""
    matches = [token for token in file.tokens if token.id == id_] or [
        token for token in file.tokens if id_ and token.id.startswith(id_)
    ]
    if not matches:
        raise NotFound(f"there is no token {id_!r}; clusterodm token list shows their ids")
    if len(matches) > 1:
        raise Refused(f"{id_!r} may be {' or '.join(token.id for token in matches[:4])}")
    return matches[0]


def revoked(file: TokensFile, ids: Sequence[str], tenant: str = "") -> tuple[TokensFile, tuple[IssuedToken, ...]]:
    """Take tokens out, by their ids or all of a tenant; which ones. Raises NotFound, Refused."""
    going = {found(file, id_).id for id_ in ids} | {token.id for token in file.tokens if token.tenant == tenant}
    if not going:
        raise NotFound(f"tenant {tenant!r} has no token")
    kept = tuple(token for token in file.tokens if token.id not in going)
    gone = tuple(token for token in file.tokens if token.id in going)
    return msgspec.structs.replace(file, tokens=kept), gone


def rotated(file: TokensFile, id_: str, new: NewToken, now_ms: WallMs, overlap_ms: int) -> TokensFile:
    """Add another token for the same tenant; the old one counts for a while yet. Raises NotFound, Refused."""
    old = found(file, id_)
    ends_at_ms = min(now_ms + overlap_ms, old.expires_at_ms if old.expires_at_ms is not None else now_ms + overlap_ms)
    ending = msgspec.structs.replace(old, expires_at_ms=ends_at_ms)
    tokens = tuple(ending if token.id == old.id else token for token in file.tokens if overlap_ms or token.id != old.id)
    return checked(msgspec.structs.replace(file, tokens=(*tokens, new.issued)))


def without_tenant(file: TokensFile, name: str) -> TokensFile:
    """Take a tenant out with its tokens; its tasks stay, and nobody reaches them. Raises NotFound."""
    if not has_tenant(file, name):
        raise NotFound(f"there is no tenant {name!r}")
    tenants = tuple(tenant for tenant in file.tenants if tenant.name != name)
    tokens = tuple(token for token in file.tokens if token.tenant != name)
    return msgspec.structs.replace(file, tenants=tenants, tokens=tokens)


def checked(file: TokensFile) -> TokensFile:
    """Let no mistake into the file. Raises Refused."""
    if mistake := next(iter(mistakes_in(file)), ""):
        raise Refused(mistake)
    return file
