"""A driver of libcloud over the estate of lying_provider.py, and the vendor that uses it without threads: simulated time has none."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.adapters.libcloud.calls import LibcloudCalls
from clusterodm.services.autoscaler.providers.adapters.libcloud.client import LibcloudVendor
from clusterodm.services.autoscaler.providers.core.libcloud_settings import LibcloudSettings
from tests.lying_provider import NOTHING, Estate, Faults, Lies, Rented


class LyingDriver:
    """What LibcloudVendor asks of a driver."""

    def __init__(self, estate: Estate, lies: Lies, faults: Faults, sizes: tuple[Size, ...]) -> None:
        self._estate = estate
        self._lies = lies
        self._faults = faults
        self._sizes = sizes

    def list_nodes(self) -> list[Any]:
        self._faults.before("named")
        return [self._node(each) for each in self._lies.shown(self._estate)]

    def ex_get_node(self, ref: str) -> Any:
        rented = self._estate.book.get(ref)
        known = rented is not None and self._lies.knows(rented, self._estate.clock.wall_ms())
        return self._node(rented) if rented and known else None

    def create_node(self, name: str, size: Any, **_options: Any) -> Any:
        how = self._faults.before("begin")
        found = self._estate.create(name, size.id)
        if how:
            raise ProviderFailed("the answer was lost", Trouble.UNKNOWN_OUTCOME)
        return self._node(self._estate.book[found.ref])

    def destroy_node(self, node: Any) -> bool:
        how = self._faults.before("remove")
        if how == NOTHING:
            return True
        self._estate.delete(node.id)
        if how:
            raise ProviderFailed("the answer was lost", Trouble.RETRYABLE)
        return True

    def list_sizes(self) -> list[Any]:
        return [SimpleNamespace(id=size.slug, name=size.slug) for size in self._sizes]

    def _node(self, rented: Rented) -> Any:
        found = rented.found
        told = not self._lies.terse
        return SimpleNamespace(
            id=found.ref,
            name=found.name,
            state="running",
            public_ips=[found.address],
            private_ips=[],
            size=found.size if told else "",
            extra={},
            created_at=datetime.fromtimestamp(rented.created_ms / 1000, UTC) if told else None,
        )


class SameThread(LibcloudCalls):
    """Calls a driver where it is asked."""

    def __init__(self, driver: LyingDriver) -> None:
        self._one = driver

    async def call(self, do: Callable[[Any], Any], *, creates: bool = False, missing: Any = ...) -> Any:
        del creates, missing
        return do(self._one)


def lying_libcloud(driver: LyingDriver) -> LibcloudVendor:
    settings = LibcloudSettings(driver="vultr", keys={}, options={}, create_options={}, image="", tags=(), endpoint="")
    return LibcloudVendor(settings, ("",), 30.0, SameThread(driver))
