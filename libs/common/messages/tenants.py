"""Tenants: proxies, who check tokens, tell the scheduler what share each tenant has."""

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
