"""Tokens: a proxy asks whoever answers for whom one speaks (`--cloud-provider nats`). No service of this project answers it."""

from typing import Final

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.model.values import Frozen


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
