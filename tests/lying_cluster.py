"""An API server of Kubernetes over the estate of lying_provider.py, as KubernetesVendor calls it; what its lists show is by its lies."""

from datetime import UTC, datetime
from typing import Any

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.providers.adapters.kubernetes.client import KubernetesVendor
from clusterodm.services.autoscaler.providers.core.kubernetes_pods import SIZE
from clusterodm.services.autoscaler.providers.core.kubernetes_settings import KubernetesSettings, PodSize
from tests.lying_provider import NOTHING, Estate, Faults, Lies, Rented


class LyingCluster:
    """What KubernetesVendor asks of adapters/kubernetes/calls.py."""

    url, namespace = "https://cluster", "odm"

    def __init__(self, estate: Estate, lies: Lies, faults: Faults) -> None:
        self._estate = estate
        self._lies = lies
        self._faults = faults

    async def close(self) -> None:
        """Close nothing."""

    async def pods(self) -> list[dict[str, Any]]:
        self._faults.before("starting")
        return [self._pod(each) for each in self._lies.shown(self._estate)]

    async def pod(self, name: str) -> dict[str, Any] | None:
        self._faults.before("named")
        return next((self._pod(each) for each in self._lies.shown(self._estate) if each.found.name == name), None)

    async def create_pod(self, manifest: dict[str, Any]) -> dict[str, Any]:
        how = self._faults.before("begin")
        name = manifest["metadata"]["name"]
        if name in self._estate.machines:
            raise ProviderFailed("it already exists", Trouble.UNKNOWN_OUTCOME)
        found = self._estate.create(name, manifest["metadata"]["annotations"][SIZE])
        if how:
            raise ProviderFailed("the answer was lost", Trouble.UNKNOWN_OUTCOME)
        return self._pod(self._estate.book[found.ref])

    async def create_secret(self, manifest: dict[str, Any]) -> None:
        assert manifest["metadata"]["ownerReferences"][0]["uid"] in self._estate.book
        self._faults.before("switch on")

    async def delete_pod(self, name: str) -> None:
        how = self._faults.before("remove")
        if how == NOTHING:
            return
        if found := self._estate.machines.get(name):
            self._estate.delete(found.ref)
        if how:
            raise ProviderFailed("the answer was lost", Trouble.RETRYABLE)

    def _pod(self, rented: Rented) -> dict[str, Any]:
        found, told = rented.found, not self._lies.terse
        created = datetime.fromtimestamp(rented.created_ms / 1000, UTC).isoformat() if told else ""
        annotations = {SIZE: found.size} if told else {}
        metadata = {"name": found.name, "uid": found.ref, "annotations": annotations, "creationTimestamp": created}
        return {
            "metadata": metadata,
            "spec": {"nodeName": "computer-1"},
            "status": {"phase": "Running", "podIP": found.address},
        }


def lying_kubernetes(cluster: LyingCluster, sizes: tuple[Size, ...]) -> KubernetesVendor:
    settings = KubernetesSettings(sizes={size.slug: PodSize(cpu="4", memory="16Gi") for size in sizes})
    return KubernetesVendor(settings, cluster)
