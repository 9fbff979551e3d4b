"""What docker-machine has to be told and the configuration says by name: a snapshot's number, the number of an SSH key."""

from services.autoscaler.adapters.digitalocean import DigitalOcean
from services.autoscaler.adapters.hetzner import Hetzner
from services.autoscaler.core.configuration import Configuration
from services.autoscaler.core.driver_flags import Resolved
from services.autoscaler.core.orders import Order


class Lookups:
    """Resolves an order for docker-machine. Raises ProviderFailed."""

    def __init__(self, configuration: Configuration) -> None:
        self._provider = configuration.provider
        self._cloud = configuration.cloud

    async def __call__(self, order: Order) -> Resolved:
        """Look up what this order needs; most need nothing."""
        region = order.offer.region
        if self._provider == "digitalocean" and self._cloud.snapshot:
            async with DigitalOcean(self._cloud) as vendor:
                image, region = await vendor.image(region)
                return Resolved(str(image), region)
        if self._provider == "hetzner" and (self._cloud.snapshot or self._cloud.ssh_fingerprint):
            async with Hetzner(self._cloud) as vendor:
                return Resolved(str(await vendor.image()), region, "".join(map(str, (await vendor.ssh_keys())[:1])))
        return Resolved(self._cloud.image, region)
