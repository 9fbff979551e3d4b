"""Machines that are Pods of a Kubernetes cluster.

A name is unique in a namespace, so creating is safe to repeat: one that is taken is looked for. A Pod that no node takes within
`schedulingTimeout` is sold out: another size may be had. The server's list is read from its store and never behind.
"""

import asyncio
import importlib.util
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, ProviderMachine, Size, masked
from clusterodm.services.autoscaler.providers.core import kubernetes_settings
from clusterodm.services.autoscaler.providers.core.kubernetes_pods import pod, secret
from clusterodm.services.autoscaler.providers.core.kubernetes_settings import KubernetesSettings, PodSize
from clusterodm.services.autoscaler.providers.core.kubernetes_status import is_scheduled, machine, unschedulable
from clusterodm.services.autoscaler.providers.core.order_words import secrets_of
from clusterodm.services.autoscaler.providers.ports import Vendor, VendorContext

if TYPE_CHECKING:
    from clusterodm.services.autoscaler.providers.adapters.kubernetes.calls import KubernetesCalls

NEEDS: Final = "provider 'kubernetes' needs more: pip install 'clusterodm[kubernetes]'"
RIGHTS: Final = (("list", "pods"), ("get", "pods"), ("create", "pods"), ("delete", "pods"), ("create", "secrets"))
"""All that it cannot work without: a Secret is written and never read. Boot logs need one more (get pods/log); without it machines come up all the same."""
TRIED: Final = "clusterodm-tried"
POLL_EVERY_S: Final = 2.0
LOG_LINES_COUNT: Final = 1000
"""Nobody reads more of a log; NodeODM says twenty lines until it answers."""


class KubernetesVendor(Vendor):
    """A namespace of a cluster."""

    def __init__(
        self,
        settings: KubernetesSettings,
        calls: "KubernetesCalls",
        regions: Sequence[str] = ("",),
        poll_every_s: float = POLL_EVERY_S,
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._regions = regions
        self._poll_every_s = poll_every_s

    @staticmethod
    def read(keys: ObjectReader) -> KubernetesSettings:
        """Read which cluster, and what each size is there. Raises Refused where the library is missing."""
        if importlib.util.find_spec("lightkube") is None:
            raise Refused(NEEDS)
        return kubernetes_settings.read(keys)

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        from clusterodm.services.autoscaler.providers.adapters.kubernetes.calls import KubernetesCalls

        return cls(context.settings, KubernetesCalls(context.settings, context.answer_s), context.regions)

    async def __aexit__(self, *_: object) -> None:
        await self._calls.close()

    async def check(self) -> None:
        """See ports.Vendor: the rights are asked for one by one, and a Pod of each size is tried on the server, which makes none."""
        for verb, resource in RIGHTS:
            if not await self._calls.may(verb, resource):
                sentence = f"kubernetes: no right to {verb} {resource} in the namespace {self._calls.namespace!r}"
                raise ProviderFailed(f"{sentence} (deploy/kubernetes/machines.yaml has a Role)", Trouble.UNAUTHORISED)
        await self._calls.pods()
        for name, size in self._settings.sizes.items():
            for region in self._regions:
                await self._calls.create_pod(self._pod(tried(name, region), size), only_tried=True)

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        """See ports.Vendor: a name is unique, and no Pod ever changes its own."""
        found = await self._calls.pod(name)
        if found is not None:
            return [machine(found)]
        return [each for each in await self.starting("") if ref and each.ref == ref] if ref else []

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        found = [machine(each) for each in await self._calls.pods()]
        return sorted((each for each in found if each.name.startswith(prefix)), key=lambda each: each.created_at_ms)

    async def begin(self, order: Order) -> ProviderMachine:
        size = self._settings.sizes.get(order.offer.size.slug)
        if size is None:
            raise ProviderFailed(f"kubernetes: sizes has no {order.offer.size.slug!r}", Trouble.REFUSED)
        made = await self._calls.create_pod(self._pod(order, size))
        return await self._completed(order, machine(made))

    async def resume(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """See ports.Vendor: a Pod may lack its Secret."""
        if found.leaving:
            raise ProviderFailed(f"kubernetes: {order.name}: {found.leaving}", ref=found.ref)
        return found if found.running else await self._completed(order, found)

    async def remove(self, found: ProviderMachine) -> None:
        """See ports.Vendor; its Secret and its volume go with it."""
        await self._calls.delete_pod(found.name)

    async def boot_log(self, found: ProviderMachine) -> Sequence[str]:
        """See ports.LoggedVendor: what its node has written; where it is too much to be read from its first line, no more."""
        lines = await self._calls.log(found.name, LOG_LINES_COUNT)
        return lines if len(lines) < LOG_LINES_COUNT else ()

    def described(self, order: Order) -> str:
        size = self._settings.sizes.get(order.offer.size.slug, PodSize(cpu="?", memory="?"))
        text = json.dumps(self._pod(order, size), ensure_ascii=False)
        line = f"POST {self._calls.url}/api/v1/namespaces/{self._calls.namespace}/pods {text}"
        return masked(line, secrets_of(order.launch))

    def _pod(self, order: Order, size: PodSize) -> dict[str, Any]:
        return pod(order, self._settings, size)

    async def _completed(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """Give a Pod its Secret and wait until a node has taken it. Whatever fails here, the Pod is there."""
        try:
            await self._calls.create_secret(secret(order, found.ref))
        except ProviderFailed as error:
            words = masked(error.message, secrets_of(order.launch))
            raise ProviderFailed(words, error.trouble, ref=found.ref) from None
        return await self._taken(order, found)

    async def _taken(self, order: Order, made: ProviderMachine) -> ProviderMachine:
        deadline_s = monotonic_s() + self._settings.scheduling_s
        while True:
            try:
                content = await self._calls.pod(order.name)
            except ProviderFailed:
                return made  # it is there; who waits for its node looks again
            if content is None or is_scheduled(content):
                return made if content is None else machine(content)
            if monotonic_s() >= deadline_s:
                because = unschedulable(content) or "nobody has looked for a node"
                sentence = f"kubernetes: no node takes {order.name} within {self._settings.scheduling_s} s: {because}"
                raise ProviderFailed(sentence, Trouble.OUT_OF_CAPACITY, ref=made.ref)
            await asyncio.sleep(self._poll_every_s)


def tried(slug: str, region: str) -> Order:
    """Order a machine that nobody gets."""
    size = Size(slug=slug, max_images=1)
    launch = Launch(image="opendronemap/nodeodm", token=Secret("none"))
    return Order(name=MachineId(TRIED), offer=Offer(size=size, region=region), launch=launch)
