"""What a machine's record learns of what the provider says."""

from typing import Any

from libs.common.clocks import WallMs
from libs.common.errors import ProviderFailed
from libs.common.model import Machine
from services.autoscaler.core.orders import Found


def left_by(machine: Machine, error: ProviderFailed, now_ms: WallMs) -> dict[str, Any]:
    """Say what a creation that failed has left for certain, or a removal has met: from then on it has been seen."""
    if not error.ref:
        return {}
    return {"ref": error.ref, "seen_at_ms": machine.seen_at_ms or now_ms}


def facts_of(found: Found) -> dict[str, Any]:
    """Take what the provider says into a record; what it does not say stays."""
    facts: dict[str, Any] = {"port": found.port}
    if found.ref:
        facts["ref"] = found.ref
    if found.address:
        facts["hostname"] = found.address
    return facts
