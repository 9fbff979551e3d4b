"""Makes records of creations, and orders of records. An order holds secrets and is made anew whenever it is needed."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState, offered
from clusterodm.libs.common.model.nodes import GPU_LABEL, NodeInfo, labels_of
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.boot_lines import BootLines
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.identity.core import (
    digest,
    images_in,
    machine_name,
    node_token,
    suffix_for,
    webhook_secret,
)
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.orders import (
    NO_SECRET,
    Creation,
    Launch,
    Offer,
    Order,
    ProviderMachine,
    Size,
    presumed_size,
)

CLUSTER_TAG: Final = "clusterodm-cluster"
COMMIT: Final = "/commit"
LEASE: Final = "/machine/lease"
REPORT: Final = "/machine/boot-log"
OUTPUT: Final = "/machine/boot-output"


class OrderFactory:
    """Knows the configuration, the cluster's key, and where machines reach the cluster."""

    def __init__(
        self, configuration: Configuration, identity: ClusterIdentity, public_url: str, boot_lines: BootLines
    ) -> None:
        self._configuration = configuration
        self._boot_lines = boot_lines
        self._identity = identity
        self._public_url = public_url.rstrip("/")

    def machine(self, creation: Creation, now_ms: WallMs, occasion: str) -> Machine:
        """Make the record of a machine that is to be created. `occasion`: what it is for, told from any earlier one."""
        suffix = suffix_for(self._identity.key, occasion)
        name = machine_name(self._identity.facts.cluster_id, creation.images_count, suffix)
        size = creation.offer.size
        return Machine(
            id=name,
            provider=size.provider or self._configuration.provider,
            region=creation.offer.region,
            size=size.slug,
            max_images=size.max_images,
            max_bytes=size.max_bytes,
            price_per_hour=size.price_per_hour,
            **terms_of(size),
            labels=self._labels(size),
            for_task=creation.for_task,
            owner=creation.owner,
            reason=creation.reason,
            requested_at_ms=now_ms,
            state_at_ms=now_ms,
            webhook_digest=digest(webhook_secret(self._identity.key, name)),
        )

    def order(self, machine: Machine) -> Order:
        """Make the order of a machine."""
        cluster_id = self._identity.facts.cluster_id
        return Order(
            name=machine.id,
            offer=Offer(size=self._size(machine), region=machine.region),
            launch=self._launch(machine),
            tags={CLUSTER_TAG: cluster_id},
            boot=self._boot_lines.of(machine.id),
        )

    def adopted(self, provider: str, found: ProviderMachine, now_ms: WallMs) -> Machine:
        """Make the record of a machine that bears one of our ids and that nobody knows; it costs since it was made."""
        since_ms = min(found.created_at_ms or now_ms, now_ms)
        size = presumed_size(self._sizes(provider), found.size, images_in(found.name), None)
        return Machine(
            id=found.name,
            state=MachineState.SETTING_UP,
            provider=provider,
            region=found.region,
            size=found.size,
            max_images=size.max_images or None,
            max_bytes=size.max_bytes,
            price_per_hour=size.price_per_hour,
            **terms_of(size),
            labels=self._labels(size),
            requested_at_ms=since_ms,
            state_at_ms=now_ms,
            called_at_ms=since_ms,
            created_at_ms=since_ms,
            seen_at_ms=now_ms,
            ref=found.ref,
            hostname=found.address,
            port=found.port,
            webhook_digest=self._digest_of(found.name),
        )

    def _digest_of(self, name: MachineId) -> str:
        """Give what a machine's calls are checked by; where its key is lost nothing, which no secret matches: of no key anybody could make one."""
        key = self._identity.key_of(name)
        return digest(webhook_secret(key, name)) if key else ""

    def learned(self, machine: Machine, info: NodeInfo) -> dict[str, Any]:
        """Say what a node's first answer tells of its machine; of one whose size nobody knows, how much it takes, too."""
        facts: dict[str, Any] = {"memory_bytes": info.total_memory or 0}
        if info.max_images and all(size.slug != machine.size for size in self._sizes(machine.provider)):
            size = presumed_size(self._sizes(machine.provider), machine.size, images_in(machine.id), info.max_images)
            facts |= {"max_images": size.max_images, "price_per_hour": size.price_per_hour}
        return facts

    def knows_key(self, machine: Machine) -> bool:
        """Whether a machine's secrets can be derived."""
        return bool(self._identity.key_of(machine.id))

    def token(self, machine: Machine) -> Secret:
        """Give the token of a machine's node."""
        return node_token(self._identity.key_of(machine.id), machine.id)

    def _labels(self, size: Size) -> tuple[str, ...]:
        """Give the labels of a node on a machine of a size."""
        return labels_of((*self._configuration.limits.labels, *((GPU_LABEL,) if size.gpu else ())))

    def _sizes(self, provider: str) -> Sequence[Size]:
        """Give a provider's sizes; of one that the file has no more, all."""
        sizes = self._configuration.limits.sizes
        return [size for size in sizes if size.provider == provider] or sizes

    def _size(self, machine: Machine) -> Size:
        """Find the size in the configuration, for other images by now if need be; of one that is no longer there a machine keeps what its record says."""
        key = offered(machine.size, spot=machine.spot)
        found = [size for size in self._sizes(machine.provider) if size.offered == key]
        usual = Size(slug=machine.size, max_images=machine.max_images or 1, spot=machine.spot)
        return next((size for size in found if size.max_images == machine.max_images), next(iter(found), usual))

    def _launch(self, machine: Machine) -> Launch:
        node = self._configuration.part(machine.provider).node
        return Launch(
            image=node.image,
            token=self.token(machine),
            webhook_url=self._url(COMMIT, machine),
            lease_url=self._url(LEASE, machine) if node.lease_s else NO_SECRET,
            report_url=self._url(REPORT, machine),
            output_url=self._url(OUTPUT, machine),
            lease_s=node.lease_s if self._public_url else 0,
            max_images=machine.max_images,
            tasks_at_once_count=machine.tasks_at_once_count,
            gpu=machine.gpu,
            swap_ratio=node.swap_ratio,
            data_mount=node.data_mount,
            setup_command=node.setup_command,
            registry=node.registry,
            s3=node.s3,
            port=machine.port,
        )

    def _url(self, path: str, machine: Machine) -> Secret:
        """Make an address of the cluster that only this machine may call; none when the cluster does not know its own."""
        if not self._public_url:
            return NO_SECRET
        secret = webhook_secret(self._identity.key_of(machine.id), machine.id).reveal()
        return Secret(f"{self._public_url}{path}?token={quote(secret)}")


def terms_of(size: Size) -> dict[str, Any]:
    """Say how a machine of a size is billed and used, as its record keeps it."""
    return {
        "billed_unit_ms": 0 if size.billed_unit_s <= 1 else size.billed_unit_s * 1000,
        "billed_least_ms": size.billed_least_s * 1000,
        "tasks_at_once_count": size.tasks_at_once_count,
        "spot": size.spot,
        "interruptions_limit_count": size.interruptions_limit_count,
        "gpu": size.gpu,
    }
