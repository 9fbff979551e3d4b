"""What operators do with tenants and tokens, as values, and how the file of tokens is shown: never a secret, never a digest. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.values import Frozen
from clusterodm.libs.common.tenancy import IssuedToken, Tenant, TokensFile

CALENDAR_ENDS_MS: Final = 253_402_300_799_000
"""The last second of the year 9999."""


class CreateToken(Frozen, frozen=True):
    """TOKEN CREATE <tenant> [name=value ...]: a tenant that is new begins with it."""

    tenant: str
    changes: dict[str, Any] = msgspec.field(default_factory=dict)
    """Limits of the tenant, by the names of its fields."""
    expires: str = ""
    """`90d`; empty: never."""
    note: str = ""
    begins: bool = False
    """The tenant is to begin: one that is there already keeps its limits and its tokens, and nothing is made."""


class RotateToken(Frozen, frozen=True):
    """TOKEN ROTATE <id> [overlap]."""

    token: str
    overlap: str = "24h"
    """How long the old one counts."""


class RevokeToken(Frozen, frozen=True):
    """TOKEN REVOKE <id>."""

    token: str


class SetTenant(Frozen, frozen=True):
    """TENANT SET <tenant> <name=value ...>."""

    tenant: str
    changes: dict[str, Any]


class RemoveTenant(Frozen, frozen=True):
    """TENANT REMOVE <tenant>."""

    tenant: str


class ListTokens(Frozen, frozen=True):
    """TOKEN LIST [tenant]."""

    tenant: str = ""
    """Empty: of all."""


class ListTenants(Frozen, frozen=True):
    """TENANT LIST."""


TenantChange = CreateToken | RotateToken | RevokeToken | SetTenant | RemoveTenant
TenantCommand = TenantChange | ListTokens | ListTenants


@dataclass(frozen=True)
class TokenRow:
    """A token in a list."""

    issued: IssuedToken
    tenant: Tenant
    expired: bool


def rows(file: TokensFile, now_ms: WallMs) -> Iterator[TokenRow]:
    """List all tokens, those of a tenant together."""
    tenants = {tenant.name: tenant for tenant in file.tenants}
    for token in sorted(file.tokens, key=lambda each: (each.tenant, each.created_at_ms, each.id)):
        expired = token.expires_at_ms is not None and token.expires_at_ms <= now_ms
        yield TokenRow(token, tenants[token.tenant], expired)


def token_data(row: TokenRow) -> dict[str, Any]:
    """Write a token for programs."""
    return {
        "id": row.issued.id,
        "tenant": row.issued.tenant,
        "created": date(row.issued.created_at_ms),
        "expires": date(row.issued.expires_at_ms),
        "state": "expired" if row.expired else "valid",
        "note": row.issued.note,
    }


def tenants_data(file: TokensFile) -> list[dict[str, Any]]:
    """Write all tenants for programs, by their names."""
    return [tenant_data(file, tenant) for tenant in sorted(file.tenants, key=lambda each: each.name)]


def tenant_data(file: TokensFile, tenant: Tenant) -> dict[str, Any]:
    """Write a tenant for programs."""
    return {
        "tenant": tenant.name,
        "weight": tenant.weight,
        "priority": tenant.priority,
        "tokens": sum(token.tenant == tenant.name for token in file.tokens),
        "images": tenant.max_images_count or None,
        "task_bytes": tenant.max_task_bytes or None,
        "at_once": tenant.tasks_at_once_count or None,
        "storage_bytes": tenant.storage_bytes or None,
        "options": msgspec.to_builtins(tenant.options),
        "labels": list(tenant.labels),
    }


def date(at_ms: int | None) -> str:
    """Write a point in time; empty: there is none. What lies beyond the calendar is its end."""
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(min(at_ms, CALENDAR_ENDS_MS) / 1000, UTC).isoformat(timespec="seconds")
