"""What a tenant may do: the limits of its uploads and options, in the words of the original and of NodeODM. Pure.

Options, as the original does it. What a client may choose is the node's list with the tenant's own domains and defaults in it; a choice
outside of that is refused. What is chosen is then changed where a limit says so: brought between two values, set, or assured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import NodeOption, OptionValue
from clusterodm.libs.common.tenancy import OptionLimit, OptionRange, Tenant
from clusterodm.services.proxy.options.check import check_options

TOO_MANY_IMAGES: Final = "Max images count exceeded."
"""The original's words."""
NOT_OFFERED: Final = frozenset(("max-concurrency",))
"""An option of single nodes, left out where there are limits, as in the original."""
UNITS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))


def share_of(tenant: Tenant) -> TenantShare | None:
    """Say what share a tenant has, as the scheduler is told; None: nobody in particular."""
    if not tenant.account:
        return None
    return TenantShare(
        owner=tenant.account,
        name=tenant.name,
        weight=tenant.weight,
        priority=tenant.priority,
        tasks_at_once_count=tenant.tasks_at_once_count,
        labels=tenant.labels,
    )


def check_task_size(tenant: Tenant, images_count: int, size_bytes: int) -> None:
    """Raise Refused when a task is, or is about to be, larger than its tenant's may be."""
    if tenant.max_images_count and images_count > tenant.max_images_count:
        raise Refused(f"{TOO_MANY_IMAGES} (limit {tenant.max_images_count})")
    if tenant.max_task_bytes and size_bytes > tenant.max_task_bytes:
        raise Refused(f"The files of this task are larger than yours may be (limit {in_words(tenant.max_task_bytes)}).")


def check_storage(tenant: Tenant, stored_bytes: int, more_bytes: int) -> None:
    """Raise Refused when a tenant's files would take more room than they may."""
    if tenant.storage_bytes and stored_bytes + more_bytes > tenant.storage_bytes:
        raise Refused(
            f"Your files take {in_words(stored_bytes)} of {in_words(tenant.storage_bytes)} on this cluster: "
            "wait until tasks have finished, or remove some."
        )


def in_words(size_bytes: int) -> str:
    """Write a number of bytes."""
    for unit, name in UNITS:
        if size_bytes >= unit:
            return f"{size_bytes / unit:.4g} {name}"
    return f"{size_bytes} bytes"


def limited_options(known: Sequence[NodeOption], limits: Mapping[str, OptionLimit]) -> tuple[NodeOption, ...]:
    """List the options as a tenant may choose them."""
    if not limits:
        return tuple(known)
    return tuple(with_limit(option, limits.get(option.name)) for option in known if option.name not in NOT_OFFERED)


def chosen_options(
    raw: str | None, known: Sequence[NodeOption], limits: Mapping[str, OptionLimit]
) -> tuple[OptionValue, ...]:
    """Read and check what a client has chosen, and change it as its tenant's limits say. Raises Refused."""
    offered = limited_options(known, limits)
    chosen = check_options(raw, offered)
    if not limits:
        return chosen
    changed = augmented(chosen, limits)
    return chosen if changed == chosen else check_options(msgspec.json.encode(changed).decode(), offered)


def with_limit(option: NodeOption, limit: OptionLimit | None) -> NodeOption:
    """Put a limit's domain and default into an option."""
    if limit is None:
        return option
    changes: dict[str, Any] = {}
    if limit.domain is not None:
        changes["domain"] = limit.domain
    if limit.value is not None:
        changes["value"] = as_text(limit.value)
    return msgspec.structs.replace(option, **changes) if changes else option


def as_text(value: str | float | bool) -> str:
    """Write a default as option lists do."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def augmented(chosen: Sequence[OptionValue], limits: Mapping[str, OptionLimit]) -> tuple[OptionValue, ...]:
    """Change what was chosen as the limits say, and add what they assure."""
    if not limits:
        return tuple(chosen)
    names = {option.name for option in chosen}
    assured = tuple(
        OptionValue(name, limit.value)
        for name, limit in limits.items()
        if limit.assure and limit.value is not None and name not in names
    )
    return (*(brought_in(option, limits.get(option.name)) for option in chosen), *assured)


def brought_in(option: OptionValue, limit: OptionLimit | None) -> OptionValue:
    """Bring one chosen value in."""
    if limit is None:
        return option
    if limit.value == "true":
        return OptionValue(option.name, True)
    value = between(option.value, limit.between) if limit.between else option.value
    return option if value == option.value else OptionValue(option.name, value)


def between(value: Any, bounds: OptionRange) -> Any:
    """Bring a number between two others; what is no number stays."""
    if bounds.max is not None and bounds.max_if_equal_to is not None and equal(value, bounds.max_if_equal_to):
        value = whole(bounds.max)
    if bounds.min is None or bounds.max is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return whole(max(bounds.min, min(bounds.max, value)))


def equal(value: Any, other: Any) -> bool:
    """Compare as the original does: a text is equal to the number that it writes."""
    return bool(value == other) or as_text(value) == as_text(other)


def whole(number: float) -> int | float:
    """Write a number without a fraction as one of the whole numbers, for options that are."""
    return int(number) if float(number).is_integer() else number
