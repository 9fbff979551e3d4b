"""Tenants: proxies, who check tokens, tell the scheduler what share each tenant has.

A proxy may ask for whom a token speaks (`--cloud-provider nats`). No service of this project answers that.
"""

from typing import ClassVar, Final

from clusterodm.libs.common.messages.kinds import Done, Request
from clusterodm.libs.common.model.values import Frozen, Owner


class TenantShare(Frozen, frozen=True, kw_only=True):
    """What decides whose task is next."""

    owner: Owner
    """What the tenant's tasks are marked with."""
    name: str = ""
    weight: int = 1
    """Its share of the slots against the others that wait."""
    priority: int = 0
    """Who goes first, whatever the weights: the higher the sooner."""
    tasks_at_once_count: int = 0
    """Tasks under way; more wait. 0: no limit."""
    labels: tuple[str, ...] = ()
    """Its tasks go only to nodes with all of these."""


class SetTenants(Frozen, frozen=True, kw_only=True):
    """From now on these tenants have these shares; of others nothing is said. Told when it changes, and every hour."""

    tenants: tuple[TenantShare, ...]

    MOST: ClassVar[int] = 1000


SET_TENANTS: Final = Request("scheduler.set_tenants", SetTenants, Done, idempotent=True)


class CheckToken(Frozen, frozen=True, kw_only=True):
    """For whom does this token speak? Asked when it is first shown, and every few seconds while it is in use."""

    token: str

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "CheckToken(***)"


class TokenChecked(Frozen, frozen=True, kw_only=True):
    """For a tenant, with what it may do (0: no limit); for nobody when `tenant` is empty."""

    tenant: str = ""
    """Small letters, digits, - and _."""
    weight: int = 1
    priority: int = 0
    max_images_count: int = 0
    max_task_bytes: int = 0
    tasks_at_once_count: int = 0
    storage_bytes: int = 0
    labels: tuple[str, ...] = ()
    """Its tasks go only to nodes with all of these."""


CHECK_TOKEN: Final = Request("auth.check_token", CheckToken, TokenChecked, idempotent=True)
