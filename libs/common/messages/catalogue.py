"""All of them by name: for what is about every message, as its documents, rights on the bus and tests are."""

from clusterodm.libs.common.messages import (
    boot_logs,
    buckets,
    demand,
    estimates,
    from_url,
    health,
    kinds,
    machines,
    nodes,
    operators,
    overview,
    placement,
    tasks,
    tenants,
    usage,
)

MODULES = (
    kinds,
    buckets,
    health,
    nodes,
    tasks,
    from_url,
    placement,
    demand,
    estimates,
    machines,
    boot_logs,
    tenants,
    usage,
    overview,
    operators,
)


def catalogue() -> dict[str, object]:
    """Find every name that one of the modules defines or uses, and what it stands for."""
    return {name: value for module in MODULES for name, value in vars(module).items()}
